"""Everything that commands change and the journal must bring back: the engines, side by side.

`sections` is the one list of what belongs to the state; snapshots and the digest walk it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import msgspec

from synap.clock import Millis
from synap.engines.bitmaps import Bitmap
from synap.engines.collection import Collection
from synap.engines.hashes import Hash
from synap.engines.hyperloglogs import HyperLogLog
from synap.engines.idempotency import IdempotencyTable
from synap.engines.keyspace import STRING, Keyspace
from synap.engines.lists import List
from synap.engines.sets import Set
from synap.engines.sortedsets import SortedSet

SNAPSHOT_CHUNK_ROWS = 2_000
VALUE_TYPES: tuple[type[Collection], ...] = (Hash, List, Set, SortedSet, Bitmap, HyperLogLog)
"""What a key can hold beside a string."""
TYPE_NAMES = (STRING, *(kind.type_name for kind in VALUE_TYPES))


class Section(Protocol):
    """A part of the state that can be written out, read back and compared."""

    def dump(self, chunk_rows: int, /) -> Iterator[list[Any]]:
        """The content in chunks of MessagePack-encodable rows."""

    def load(self, rows: list[Any], /) -> None:
        """Add the rows of one chunk."""

    def canonical(self, now: Millis, /) -> Iterator[Any]:
        """What a client could observe at `now`, in an order that depends on nothing else."""


class State:
    """The data of one server after the record `lsn`, whose time was `time`."""

    def __init__(self) -> None:
        self.lsn = 0
        self.time: Millis = 0
        self.keyspace = Keyspace(VALUE_TYPES)
        self.idempotency = IdempotencyTable()
        self.operations: Callable[[str], dict[str, int]] = lambda _: {}
        """How often each command of a namespace has run since the server started. Not data: only for statistics."""
        self.sections: dict[str, Section] = {
            "counters": _Counters(self.keyspace),
            "keyspace": self.keyspace,
            "idempotency": self.idempotency,
        }

    @property
    def used_bytes(self) -> int:
        """Estimated memory of the data."""
        return self.keyspace.used_bytes + self.idempotency.used_bytes

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

    def dump(self, encode: Callable[[Any], bytes]) -> Iterator[bytes]:
        """The whole state as encoded chunks for a snapshot."""
        for name, section in self.sections.items():
            for rows in section.dump(SNAPSHOT_CHUNK_ROWS):
                yield encode((name, rows))

    def load(self, chunk: tuple[str, list[Any]]) -> None:
        """Add one decoded chunk of `dump`."""
        name, rows = chunk
        self.sections[name].load(rows)


class _Counters:
    """Totals of the keyspace that survive a restart."""

    _NAMES = ("expired", "evicted")

    def __init__(self, keyspace: Keyspace) -> None:
        self._keyspace = keyspace

    def dump(self, _chunk_rows: int, /) -> Iterator[list[Any]]:
        yield [(name, getattr(self._keyspace, name)) for name in self._NAMES]

    def load(self, rows: list[Any], /) -> None:
        for name, value in rows:
            if name not in self._NAMES:
                raise LookupError(f"this version knows no counter {name!r}")
            setattr(self._keyspace, name, value)

    def canonical(self, _now: Millis, /) -> Iterator[Any]:
        yield from next(self.dump(1))
