"""Everything that commands change and the journal must bring back: the engines, side by side.

`sections` is the one list of what belongs to the state; snapshots and the digest walk it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec

from synap.clock import Millis
from synap.commands.attendance import Attendance
from synap.commands.frames import EventFrames
from synap.commands.host import Host, Replicating
from synap.commands.waiting import Line
from synap.engines.accounts import Accounts
from synap.engines.arrivals import Arrivals
from synap.engines.bin import Bin
from synap.engines.bitmaps import Bitmap
from synap.engines.collection import Collection
from synap.engines.hashes import Hash
from synap.engines.hyperloglogs import HyperLogLog
from synap.engines.idempotency import IdempotencyTable
from synap.engines.keyspace import STRING, Keyspace
from synap.engines.lists import List
from synap.engines.pubsub import PubSub
from synap.engines.queue_config import QueueConfig
from synap.engines.queues import Queues
from synap.engines.sets import Set
from synap.engines.sortedsets import SortedSet
from synap.engines.streams import Retention, Streams

SNAPSHOT_CHUNK_ROWS = 2_000
VALUE_TYPES: tuple[type[Collection], ...] = (Hash, List, Set, SortedSet, Bitmap, HyperLogLog)
"""What a key can hold beside a string."""
TYPE_NAMES = (STRING, *(kind.type_name for kind in VALUE_TYPES))


class Section(Protocol):
    """A part of the state that can be written out, read back and compared."""

    def clear(self) -> None:
        """Forget everything: as before the first record."""

    def dump(self, chunk_rows: int, /) -> Iterator[list[Any]]:
        """The content in chunks of MessagePack-encodable rows."""

    def load(self, rows: list[Any], /) -> None:
        """Add the rows of one chunk."""

    def canonical(self, now: Millis, /) -> Iterator[Any]:
        """What a client could observe at `now`, in an order that depends on nothing else."""


class Timed(Protocol):
    """What time changes."""

    @property
    def next_due(self) -> float:
        """Nothing changes before this; it may then."""


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What new queues and streams are like. Part of the state, so that a replayed command makes what it made before."""

    queue: QueueConfig = QueueConfig()
    creates_queues: bool = True
    """Publishing to a queue that is not there creates it."""
    retention: Retention = Retention()


class State:
    """The data of one server after the record `lsn`, whose time was `time`."""

    def __init__(self, pubsub: PubSub | None = None) -> None:
        self.lsn = 0
        self.time: Millis = 0
        self.arrivals = Arrivals()
        """What has come that somebody waits for."""
        self.bin = Bin()
        """What has been dropped and takes long to free."""
        self.keyspace = Keyspace(VALUE_TYPES, self.arrivals, self.bin)
        self.queues = Queues(self.arrivals, self.bin)
        self.streams = Streams(self.arrivals, self.bin)
        self.defaults = Defaults()
        self.idempotency = IdempotencyTable()
        self.accounts = Accounts()
        self.sections: dict[str, Section] = {
            "counters": _Counters(self.keyspace),
            "keyspace": self.keyspace,
            "idempotency": self.idempotency,
            "defaults": _DefaultsSection(self),
            "queues": self.queues,
            "streams": self.streams,
            "accounts": self.accounts,
        }
        # No data: never journalled, different on every server, and gone with it.
        self.pubsub = PubSub("none") if pubsub is None else pubsub
        self.operations: Callable[[str], dict[str, int]] = lambda _: {}
        """How often each command of a namespace has run since the server started."""
        self.frames = EventFrames()
        self.attendance = Attendance()
        self.line = Line(self.arrivals)
        """Who waits for something or is subscribed to it."""
        self.host: Host | None = None
        """The server around it, where there is one."""
        self.replicating: Replicating | None = None

    @property
    def used_bytes(self) -> int:
        """Estimated memory of the data."""
        data = self.keyspace.used_bytes + self.queues.used_bytes + self.streams.used_bytes
        return data + self.idempotency.used_bytes + self.accounts.used_bytes

    @property
    def next_due(self) -> float:
        """Time changes nothing before this; it may then."""
        return min(self.keyspace.next_due, self.queues.next_due, self.streams.next_due)

    def seen_by(self, namespace: str) -> Timed:
        """The part of the state that commands of a namespace look at; the whole for those of the server itself."""
        parts: dict[str, Timed] = {"queue": self.queues, "stream": self.streams, "admin": self}
        parts |= {"auth": _Timeless(), "replication": _Timeless()}
        return parts.get(namespace, self.keyspace.calendar)

    def digest(self, now: Millis) -> str:
        """A hash of all that a client can observe at `now`: equal states give equal digests on every machine."""
        self.keyspace.sweep(now)
        digest = hashlib.blake2b(digest_size=32)
        encode = msgspec.msgpack.Encoder().encode
        for name, section in self.sections.items():
            digest.update(encode(name))
            for row in section.canonical(now):
                digest.update(encode(row))
        return digest.hexdigest()

    def clear(self) -> None:
        """Forget all data in place, so that whoever has the state goes on with it: as before the first record.

        Who waits or is subscribed stays in line, and would be told of what comes as if nothing had happened.
        """
        for section in self.sections.values():
            section.clear()
        self.lsn = 0
        self.time = 0
        # They go by serial numbers and names, which may soon be those of others.
        self.frames = EventFrames()
        self.attendance = Attendance()

    def dump(self, encode: Callable[[Any], bytes]) -> Iterator[bytes]:
        """The whole state as encoded chunks for a snapshot."""
        for name, section in self.sections.items():
            for rows in section.dump(SNAPSHOT_CHUNK_ROWS):
                yield encode((name, rows))

    def load(self, chunk: tuple[str, list[Any]]) -> None:
        """Add one decoded chunk of `dump`."""
        name, rows = chunk
        self.sections[name].load(rows)


class _Timeless:
    """What time does not change."""

    next_due = math.inf


class _DefaultsSection:
    """The defaults as a part of the state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def clear(self) -> None:
        self._state.defaults = Defaults()

    def dump(self, _chunk_rows: int, /) -> Iterator[list[Any]]:
        if self._state.defaults != Defaults():
            yield [msgspec.to_builtins(self._state.defaults)]

    def load(self, rows: list[Any], /) -> None:
        (row,) = rows
        self._state.defaults = msgspec.convert(row, Defaults)

    def canonical(self, _now: Millis, /) -> Iterator[Any]:
        yield from next(self.dump(1), [])


class _Counters:
    """Totals of the keyspace that survive a restart."""

    _NAMES = ("expired", "evicted")

    def __init__(self, keyspace: Keyspace) -> None:
        self._keyspace = keyspace

    def clear(self) -> None:
        for name in self._NAMES:
            setattr(self._keyspace, name, 0)

    def dump(self, _chunk_rows: int, /) -> Iterator[list[Any]]:
        yield [(name, getattr(self._keyspace, name)) for name in self._NAMES]

    def load(self, rows: list[Any], /) -> None:
        for name, value in rows:
            if name not in self._NAMES:
                raise LookupError(f"this version knows no counter {name!r}")
            setattr(self._keyspace, name, value)

    def canonical(self, _now: Millis, /) -> Iterator[Any]:
        yield from next(self.dump(1))
