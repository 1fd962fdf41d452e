"""What a request must pass before its handler runs: permission, key length, nesting, a writable journal, memory.

Each gate stands here once, in front of all handlers, and is driven by what a command declares.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from synap.clock import Millis
from synap.commands import envelope
from synap.commands.caller import Caller
from synap.commands.executor import Bound, Executor
from synap.commands.permissions import KeyPatterns, named_keys, outside
from synap.engines import eviction
from synap.errors import DiskFull, Forbidden, MemoryLimit, PayloadTooLarge, Unauthorized

_EVICT = "kv.evict"
# A write removes no more keys than this to make room, and is let in when there are more to go for those after it ...
REMOVED_PER_WRITE_MAX = 500
# ... unless memory is over its limit by this much: then as many go as it takes, however long that takes.
EXCESS_BYTES_MAX = 64 * 1024 * 1024
_UTF8_BYTES_MAX = 4  # of a character
_encode_json = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Limits:
    """Bounds on requests and on memory. 0 bytes of memory means no bound."""

    max_batch: int = 10_000
    max_key_bytes: int = 65_536
    memory_bytes: int = 0
    memory_policy: str = "noeviction"
    max_wait_secs: float = 3_600.0
    slow_secs: float = math.inf
    """Commands that take longer are kept in the slowlog."""


class Log(Protocol):
    """What the live path needs of a journal."""

    failure: OSError | None
    """Why the journal takes no writes at present."""

    def append(self, lsn: int, time: Millis, name: bytes, payload: bytes) -> None:
        """Take a record, to be written at the end of the tick."""


class Gates:
    """The gates of one server."""

    def __init__(self, executor: Executor, journal: Log, limits: Limits) -> None:
        self.unchecked_bytes = min(envelope.SHALLOW_BYTES, limits.max_key_bytes)
        """A payload of at most this length passes `check_large`."""
        self._executor = executor
        self._state = executor.state
        self._journal = journal
        self._limits = limits

    def check_command(self, bound: Bound, caller: Caller) -> None:
        """Raise Unauthorized or Forbidden for a command that the caller may not run on any key."""
        if bound.command.is_open:
            return
        raise lacking(caller, bound.name, command=bound.name)

    def check_keys(self, bound: Bound, payload: Any, patterns: KeyPatterns, caller: Caller) -> None:
        """Raise Unauthorized or Forbidden for keys outside those that the caller may use this command on."""
        if bound.command.is_open:
            return
        stray = outside(bound.command, payload, patterns)
        if stray is not None:
            permission = bound.name if stray == "*" else f"{bound.name}:{stray[:200]}"
            raise lacking(caller, permission, command=bound.name)

    def check_large(self, bound: Bound, raw: bytes, payload: Any) -> None:
        """Raise InvalidRequest for a payload that nests too deep, PayloadTooLarge for a key that is too long."""
        envelope.check_nesting(bytes(raw))
        limit = self._limits.max_key_bytes
        if len(raw) <= limit:
            return
        for key in named_keys(bound.command, payload):
            if len(key) * _UTF8_BYTES_MAX > limit and len(key.encode()) > limit:
                raise PayloadTooLarge(f"expected a key of at most {limit} bytes, got {len(key.encode())}", limit=limit)

    def admit_write(self, bound: Bound, now: Millis, record: Callable[[Bound, bytes, Millis], None]) -> None:
        """Raise DiskFull, MemoryLimit. What is evicted to make room is handed to `record`."""
        if self._journal.failure is not None:
            raise DiskFull.because(self._journal.failure)
        if bound.command.grows and 0 < self._limits.memory_bytes < self._state.used_bytes:
            self._make_room(now, record)

    def _make_room(self, now: Millis, record: Callable[[Bound, bytes, Millis], None]) -> None:
        """Remove what is due and evict, as the policy says, until memory is below its limit or on the way there."""
        state, limit, policy = self._state, self._limits.memory_bytes, self._limits.memory_policy
        keys_max = REMOVED_PER_WRITE_MAX if state.used_bytes - limit <= EXCESS_BYTES_MAX else None
        if state.keyspace.sweep(now, keys_max) == keys_max:
            return
        keys = eviction.victims(state.keyspace, policy, state.used_bytes - limit, now, keys_max)
        if keys:
            raw = _encode_json({"keys": keys})
            evict = self._executor.bound[_EVICT]
            evict.handler(state, evict.decode(raw), now)
            record(evict, raw, now)
        if state.used_bytes > limit and len(keys) != keys_max:
            raise MemoryLimit(
                f"the data takes {state.used_bytes} bytes of the {limit} allowed and policy"
                f" {policy} frees no more; delete keys or raise memory.limit_bytes",
                used_bytes=state.used_bytes,
                limit_bytes=limit,
                policy=policy,
            )


def unauthorized(**details: Any) -> Unauthorized:
    """The refusal of somebody without a credential."""
    return Unauthorized(
        "this needs a credential: X-API-Key, Authorization: Bearer or Basic, or a token from auth.login", **details
    )


def lacking(caller: Caller, permission: str, **details: Any) -> Unauthorized | Forbidden:
    """The refusal of somebody who lacks a permission; a credential may help who has none."""
    if not caller.has_credential:
        return unauthorized(**details)
    return Forbidden(f"this needs the permission {permission}", permission=permission, **details)
