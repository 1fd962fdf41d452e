"""The deterministic middle: the command table applied to the state, one record at a time.

Live requests, crash recovery, snapshots and replicas all change the state through `run`, so there is
nothing to keep in step: same records in, same state out.

Two commands exist only in the journal. `system.transaction` holds calls that stand or fall together (an
atomic batch) and replies to remember under idempotency keys. `system.clock` says how late it was when
something had expired, so that a restart on a slower clock cannot bring it back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from math import frexp
from operator import attrgetter
from typing import Any, get_type_hints

import msgspec

from synap.clock import Millis
from synap.commands.envelope import invalid_payload, invalid_request
from synap.commands.state import State, Timed
from synap.commands.table import Command, Table
from synap.errors import SynapError
from synap.journal.record import Record

TRANSACTION = "system.transaction"
CLOCK = "system.clock"

LATENCY_COUNTS = 64
# So many calls of a command are all timed; after them, where that is enough, one of so many.
TIMED_EACH = 1_024
TIMED_ONE_OF = 16


class Call(msgspec.Struct, array_like=True, gc=False):
    """A command of a transaction that changed something."""

    command: str
    payload: msgspec.Raw


class Memory(msgspec.Struct, array_like=True, gc=False):
    """A reply to remember: the result as it stands in a batch's `results` (or all of them, for a batch)."""

    key: str
    fingerprint: bytes
    reply: msgspec.Raw


class Transaction(msgspec.Struct, array_like=True, gc=False):
    """The payload of `system.transaction`."""

    calls: list[Call]
    memories: list[Memory] = []


class Bound:
    """A command made ready to run, with the tallies that metrics report."""

    __slots__ = (
        "admit",
        "attaches",
        "command",
        "decode",
        "decode_journalled",
        "failed",
        "handler",
        "is_audited",
        "is_single",
        "is_steady",
        "key_of",
        "latencies",
        "looks_at",
        "name",
        "needs_master",
        "rejected",
        "seconds",
        "succeeded",
        "tag",
        "untimed",
        "writes",
    )

    def __init__(self, command: Command, looks_at: Timed) -> None:
        self.command = command
        self.looks_at = looks_at
        """What it could notice that time has changed."""
        self.name = command.name
        self.tag = command.name.encode()
        self.handler = command.handler
        self.admit = command.admit
        self.attaches = command.attaches
        self.writes = command.writes
        self.needs_master = command.writes or (command.has_effect and not command.admin)
        """A replica refuses it."""
        self.is_single = command.attaches or command.is_secret or command.is_alone
        """It stands in no batch."""
        self.is_steady = command.cost.partition(";")[0] in ("O(1)", "O(log n)")
        """What it takes hardly depends on the data: once it has run often, timing one call of many is enough."""
        self.is_audited = command.writes and command.namespace == "auth"
        self.key_of = _key_reader(command)
        self.decode: Callable[[Any], Any] = msgspec.json.Decoder(command.payload).decode
        """Of what clients send."""
        self.decode_journalled: Callable[[Any], Any] = self.decode
        """Of what the journal keeps."""
        if command.journalled is not command.payload:
            self.decode_journalled = msgspec.json.Decoder(command.journalled).decode
        self.succeeded = 0
        self.failed = 0
        self.rejected = 0
        self.seconds = 0.0
        """What it took in all."""
        self.untimed = 0
        """Calls are timed when this many, a power of two less one, are over since the last one."""
        self.latencies = [0] * LATENCY_COUNTS
        """How often it took less than 2**i seconds and not less than half of that, by i; those below 0 at the end."""

    def took(self, secs: float) -> None:
        """Count a call that was timed, also for those after the one before that were not."""
        calls = self.untimed + 1
        self.seconds += calls * secs
        self.latencies[frexp(secs)[1]] += calls
        if self.is_steady and self.succeeded >= TIMED_EACH:
            self.untimed = TIMED_ONE_OF - 1

    def refusal(self, error: Exception, *, hints: bool) -> SynapError:
        """The error for a payload that `decode` refused with `error`; with `hints`, also what may have been meant."""
        if isinstance(error, msgspec.ValidationError):
            return invalid_payload(error, self.command.payload, hints=hints)
        return invalid_request(error, self.command.payload, hints=hints)


@functools.cache
def _key_reader(command: Command) -> Callable[[Any], str] | None:
    """Reads the key of a payload that names exactly one, which is what most do; None for the others."""
    payload, is_one = command.payload, len(command.keys) == 1 and not command.scopes
    if not (is_one and isinstance(payload, type) and issubclass(payload, msgspec.Struct)):
        return None
    (field,) = command.keys
    return attrgetter(field) if get_type_hints(payload)[field] is str else None


class Executor:
    """Runs commands against the state."""

    def __init__(self, table: Table, state: State) -> None:
        self.state = state
        self.bound = {command.name: Bound(command, state.seen_by(command.namespace)) for command in table}
        state.operations = self.operations

    def operations(self, namespace: str) -> dict[str, int]:
        """How often each command of a namespace has run on the live path."""
        rows = (bound for bound in self.bound.values() if bound.command.namespace == namespace)
        return {bound.command.operation: bound.succeeded + bound.failed for bound in rows}

    def apply(self, record: Record) -> None:
        """Repeat a journalled change. An exception means that code and journal disagree: stop the node."""
        bound = self.bound.get(record.command)
        if bound is not None:
            bound.handler(self.state, bound.decode_journalled(record.payload), record.time)
        elif record.command == TRANSACTION:
            self._apply_transaction(msgspec.json.decode(record.payload, type=Transaction), record.time)
        elif record.command != CLOCK:
            raise LookupError(f"this version knows no command {record.command!r}")
        self.state.lsn = record.lsn
        self.state.time = record.time

    def _apply_transaction(self, transaction: Transaction, now: Millis) -> None:
        for call in transaction.calls:
            bound = self.bound[call.command]
            bound.handler(self.state, bound.decode_journalled(call.payload), now)
        self.remember(transaction.memories, now)

    def remember(self, memories: list[Memory], now: Millis) -> None:
        """Keep replies for their idempotency keys."""
        for memory in memories:
            self.state.idempotency.remember(memory.key, memory.fingerprint, bytes(memory.reply), now)

    def digest(self, now: Millis) -> str:
        """See State.digest."""
        return self.state.digest(now)

    def dump(self) -> Iterator[bytes]:
        """The state as chunks for a snapshot."""
        return self.state.dump(msgspec.msgpack.Encoder().encode)

    def load(self, chunk: bytes) -> None:
        """Add one chunk of a snapshot."""
        self.state.load(msgspec.msgpack.decode(chunk))

    def loaded(self, lsn: int, time: Millis) -> None:
        """A snapshot that holds everything up to `lsn` has been loaded."""
        self.state.lsn = lsn
        self.state.time = time
