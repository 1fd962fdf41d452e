"""The keyspace: one ordered map from key to value, shared by every data type, with expiry.

Rules the rest of the house relies on:

1. A key whose expiry is at or before `now` does not exist. Whoever looks at a key passes `now`; removing
   what is due (`sweep`) only frees memory.
2. A string value is the bytes of the JSON the client sent. Any other type is a `Collection` of a class the
   keyspace was made with; it never looks inside.
3. `used_bytes` is kept as an estimate of process growth. Whoever changes a collection in place hands it to
   `settle` afterwards, which counts the difference, stores a new collection and drops an empty one.
4. Keys come out in the order of their UTF-8 bytes, which for Python strings is the order of `<`.

Costs: lookup O(1), new or removed key O(log n), a page of a scan O(log n + page). What is large is freed by the bin.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from synap.clock import Millis
from synap.engines.arrivals import Arrivals
from synap.engines.bin import WORTH_THROWING, Bin
from synap.engines.calendar import Calendar
from synap.engines.chance import Chance
from synap.engines.chunks import chunked
from synap.engines.collection import Collection, NameOrder, string_bytes
from synap.errors import WrongType

Value = Any  # bytes for a string, else a Collection of a registered type
V = TypeVar("V")
C = TypeVar("C", bound=Collection)

# Measured on CPython 3.11 at a million keys: hash table slot, slot in the ordered index, allocator rounding.
ENTRY_OVERHEAD_BYTES = 72
EXPIRY_OVERHEAD_BYTES = 170
RECENCY_OVERHEAD_BYTES = 90

# So often another key is drawn in the place of one that is due.
KEY_TRIES_MAX = 100

STRING = "string"
_BYTES_OVERHEAD = sys.getsizeof(b"")


@dataclass(slots=True)
class Tally:
    """What the keys of one type come to, those due but not yet swept included."""

    keys: int = 0
    elements: int = 0
    bytes: int = 0
    """Of the values; kept for collections only."""


class Keyspace:
    """All keys of one server. Methods that look at a key take `now` and see only what is alive then."""

    def __init__(
        self, types: Iterable[type[Collection]] = (), arrivals: Arrivals | None = None, waste: Bin | None = None
    ) -> None:
        self._type_names: dict[type, str] = {bytes: STRING} | {kind: kind.type_name for kind in types}
        self._types = {name: kind for kind, name in self._type_names.items()}
        self.arrivals = Arrivals() if arrivals is None else arrivals
        """Told of every new key, as the topic (class of the value, key)."""
        self._entries: dict[str, Value] = {}
        self.expires: dict[str, Millis] = {}
        """When a key that is there will be gone. To look at; `set_expiry` and `clear_expiry` change it."""
        self.calendar = Calendar()
        """When keys are due. To look at."""
        self._bin = Bin() if waste is None else waste
        self._order = NameOrder(self._entries)
        self._is_indexed = False
        self._tallies = {kind: Tally() for kind in self._type_names}
        self._recency: OrderedDict[str, None] | None = None
        self._recency_volatile_only = False
        self.used_bytes = 0
        self.hits = 0
        self.misses = 0
        self.expired = 0
        self.evicted = 0

    @property
    def next_due(self) -> float:
        """No key expires before this; one may then."""
        return self.calendar.next_due

    # Looking up

    def get(self, key: str, now: Millis) -> Value | None:
        """The value at `key`, or None when there is none alive."""
        value = self._entries.get(key)
        if value is None:
            return None
        if self.expires and self._is_due(key, now):
            self._expire(key)
            return None
        if self._recency is not None:
            self._touch(key)
        return value

    def peek(self, key: str, now: Millis) -> Value | None:
        """Like `get`, without counting as a use of the key and without removing it when it is due."""
        return None if self._is_due(key, now) else self._entries.get(key)

    def seen(self, key: str, now: Millis) -> bool:
        """Whether the key is there, for a command that asks no more; counts hits and misses, but as no use of it."""
        found = self.peek(key, now) is not None
        self.hits += found
        self.misses += not found
        return found

    def type_at(self, key: str, now: Millis) -> str | None:
        """The contract's name of the type `key` holds, without counting as a use; None when there is none."""
        value = self.peek(key, now)
        return None if value is None else self._type_names[type(value)]

    def holds(self, key: str, kind: type, now: Millis) -> bool:
        """Whether the key is there and of a type, without counting as a use."""
        return type(self.peek(key, now)) is kind

    def typed(self, key: str, kind: type[V], now: Millis) -> V | None:
        """Like `get`, for a command that only works on one type. Raises WrongType."""
        value = self.get(key, now)
        if value is not None and type(value) is not kind:
            raise self.wrong_type(key, kind, value)
        return value

    def wrong_type(self, key: str, kind: type, value: Value) -> WrongType:
        """The error for a `value` found where `kind` was needed."""
        expected, actual = self._type_names[kind], self._type_names[type(value)]
        return WrongType(
            f"{key[:100]!r} holds a {actual}, expected a {expected}", key=key, expected=expected, actual=actual
        )

    def read(self, key: str, now: Millis) -> Value | None:
        """`get` for a command that reads the value; counts hits and misses."""
        value = self._entries.get(key)
        if value is not None and (self.expires or self._recency is not None):
            value = self.get(key, now)
        if value is None:
            self.misses += 1
        else:
            self.hits += 1
        return value

    def look(self, key: str, kind: type[C], now: Millis) -> C | None:
        """`read` for a command that only works on one type of collection. Raises WrongType."""
        value = self.read(key, now)
        if value is not None and type(value) is not kind:
            raise self.wrong_type(key, kind, value)
        return value

    # Changing

    def put(
        self, key: str, value: Value, now: Millis, expires_at: Millis | None = None, keep_expiry: bool = False
    ) -> None:
        """Store `value`, replacing whatever the key held, and its expiry unless `keep_expiry`."""
        if self.expires and self._is_due(key, now):
            self._expire(key)
        kind = type(value)
        old = self._entries.get(key)
        if old is None:
            self._insert(key, value, kind)
        elif kind is bytes and type(old) is bytes:
            self.used_bytes += len(value) - len(old)
            self._entries[key] = value
        else:
            self._count_out(old)
            self._count_in(value)
            self._entries[key] = value
            if self.arrivals.awaited:
                self.arrivals.note((kind, key))
        if expires_at is not None:
            self.set_expiry(key, expires_at)
        elif self.expires and not keep_expiry:
            self.clear_expiry(key)
        if self._recency is not None:
            self._touch(key)

    def remove(self, key: str) -> None:
        """Drop a key that is there."""
        self._count_out(self._entries.pop(key))
        self.used_bytes -= ENTRY_OVERHEAD_BYTES + string_bytes(key)
        self._order.removed(key)
        self.clear_expiry(key)
        self._forget_recency(key)

    def discard(self, key: str, now: Millis) -> bool:
        """Drop a key if it is alive; says whether it was."""
        if self.get(key, now) is None:
            return False
        self.remove(key)
        return True

    def settle(self, key: str, collection: Collection, now: Millis) -> None:
        """A command has made or changed `collection`: store it if it is new, drop it if it is empty, count it.

        It takes the place of what the key held; an expiry stays.
        """
        held = self._entries.get(key)
        if len(collection) == 0:
            if held is not None:
                self.remove(key)
        elif held is collection:
            tally = self._tallies[type(collection)]
            used_bytes, elements = collection.used_bytes(), len(collection)
            self.used_bytes += used_bytes - collection.tallied_bytes
            tally.bytes += used_bytes - collection.tallied_bytes
            tally.elements += elements - collection.tallied_elements
            collection.tallied_bytes, collection.tallied_elements = used_bytes, elements
        else:
            self.put(key, collection, now, keep_expiry=True)

    def set_expiry(self, key: str, at: Millis) -> None:
        """Let a key that is there expire at `at`."""
        old = self.expires.get(key)
        if old is None:
            self.used_bytes += EXPIRY_OVERHEAD_BYTES
        elif old == at:
            return
        else:
            self.calendar.remove(key, old)
        self.expires[key] = at
        self.calendar.add(key, at)
        if self._recency is not None and self._recency_volatile_only:
            self._touch(key)

    def clear_expiry(self, key: str) -> bool:
        """Let the key live for ever; says whether it had an expiry."""
        at = self.expires.pop(key, None)
        if at is None:
            return False
        self.calendar.remove(key, at)
        self.used_bytes -= EXPIRY_OVERHEAD_BYTES
        if self._recency is not None and self._recency_volatile_only:
            self._forget_recency(key)
        return True

    def copy_value(self, value: Value) -> Value:
        """A value that shares nothing mutable with `value`."""
        return value.copy() if isinstance(value, Collection) else value

    def flush(self, now: Millis) -> int:
        """Remove every key; returns how many were alive."""
        count, due = self.size(now), self.due(now)
        self.clear()
        self.expired += due  # as if they had been swept before
        return count

    def sweep(self, now: Millis, limit: int | None = None) -> int:
        """Remove up to `limit` (default all) keys that are due; returns how many."""
        if now < self.calendar.next_due and not self.due(now):
            return 0
        swept = 0
        while limit is None or swept < limit:
            key = self.calendar.pop(now)
            if key is None:
                break
            # It is out of the calendar already, where `remove` would look for it.
            del self.expires[key]
            self.used_bytes -= EXPIRY_OVERHEAD_BYTES
            self._expire(key)
            swept += 1
        return swept

    # Looking at the whole

    def __len__(self) -> int:
        """Keys held, those due but not yet swept included."""
        return len(self._entries)

    def size(self, now: Millis) -> int:
        """How many keys are alive."""
        return len(self._entries) - self.due(now)

    def expiring(self, now: Millis) -> int:
        """How many live keys have an expiry."""
        return len(self.expires) - self.due(now)

    def due(self, now: Millis) -> int:
        """How many keys are due but not yet swept. O(1) while it is asked for, or swept, now and then."""
        return self.calendar.count(now)

    def counts_by_type(self, now: Millis) -> dict[str, int]:
        """How many keys of each type are alive. Sweeps all that is due."""
        self.sweep(now)
        return {self._type_names[kind]: tally.keys for kind, tally in self._tallies.items()}

    def tally(self, kind: type[Collection], now: Millis) -> Tally:
        """What the live keys of one type of collection come to. Sweeps all that is due."""
        self.sweep(now)
        return self._tallies[kind]

    def entry_bytes(self, key: str, value: Value) -> int:
        """What the key and its value count for in `used_bytes`."""
        expiry = EXPIRY_OVERHEAD_BYTES if key in self.expires else 0
        return ENTRY_OVERHEAD_BYTES + string_bytes(key) + _counted_bytes(value) + expiry

    def keys(self, now: Millis, *, after: str | None = None, prefix: str = "") -> Iterator[str]:
        """Live keys in order that begin with `prefix`, from the first one behind `after` on.

        The keyspace must not change while the iterator is in use.
        """
        for key in self.held(after=after, prefix=prefix):
            if not self._is_due(key, now):
                yield key

    def held(self, *, after: str | None = None, prefix: str = "") -> Iterator[str]:
        """`keys`, those due but not yet swept included."""
        return self._order.after(after, prefix)

    def key_at(self, position: int, now: Millis) -> str | None:
        """Some key, the one at `position` modulo the number of keys if that is alive; None when there is none."""
        if not self.size(now):
            return None
        keys, chance = self._order.all(), Chance(position)
        for _ in range(KEY_TRIES_MAX):
            key = keys[position % len(keys)]
            if not self._is_due(key, now):
                return key
            position = chance.below(len(keys))
        self.sweep(now)
        return self._order.all()[position % len(self._entries)]

    def build_index(self) -> None:
        """Sort the keys now (O(n log n)) instead of at the first scan. Until then writes keep no order."""
        self._is_indexed = True
        self._order.keep()

    # Eviction

    def track_recency(self, *, volatile_only: bool) -> None:
        """Remember the order of use from here on, for keys with an expiry or for all. What was remembered is gone."""
        self.used_bytes -= RECENCY_OVERHEAD_BYTES * len(self._recency or ())
        self._recency = OrderedDict()
        self._recency_volatile_only = volatile_only
        for key in self.expires if volatile_only else self._entries:
            self._touch(key)

    def least_recent(self) -> Iterator[str]:
        """Tracked keys, the one unused for longest first."""
        return iter(self._recency or ())

    def soonest_to_expire(self) -> Iterator[str]:
        """Keys with an expiry, the nearest first. The keyspace must not change while the iterator is in use."""
        return self.calendar.soonest()

    # Snapshot

    def clear(self) -> None:
        """Forget every key. Whether the order of use is remembered stays, and so does what was counted of the past."""
        for container in (self._entries, self.expires, self._recency):
            if container is not None:
                self._bin.throw(container, len(container))
        self._bin.throw(self._order, len(self._entries))
        self.calendar.clear(self._bin, len(self.expires))
        self._entries, self.expires = {}, {}
        self._recency = None if self._recency is None else OrderedDict()
        self._order = NameOrder(self._entries)
        if self._is_indexed:
            self._order.keep()
        self._tallies = {kind: Tally() for kind in self._type_names}
        self.used_bytes = 0

    def dump(self, chunk_keys: int) -> Iterator[list[Any]]:
        """The content, in key order, in chunks of up to `chunk_keys` rows [type, key, value, expiry].

        A chunk ends early when its values are large, so that neither it nor the memory to make it grows too big.
        """
        return chunked(self._rows(), chunk_keys)

    def load(self, rows: list[Any]) -> None:
        """Add the rows of one chunk of `dump`."""
        for name, key, dumped, expires_at in rows:
            kind = self._types[name]
            value = kind.load(dumped) if issubclass(kind, Collection) else dumped
            self._insert(key, value, type(value))
            if expires_at is not None:
                self.set_expiry(key, expires_at)
            if self._recency is not None:
                self._touch(key)

    def canonical(self, now: Millis) -> Iterator[Any]:
        """The live content as data, in key order: equal keyspaces give equal sequences."""
        for key in self.keys(now):
            value = self._entries[key]
            yield (key, self._type_names[type(value)], _dumped(value), self.expires.get(key))

    def _rows(self) -> Iterator[tuple[Any, int]]:
        """The rows of a dump, and the memory each takes."""
        for key in self._order.all():
            value = self._entries[key]
            row = (self._type_names[type(value)], key, _dumped(value), self.expires.get(key))
            yield row, _counted_bytes(value)

    def _insert(self, key: str, value: Value, kind: type) -> None:
        self._entries[key] = value
        self.used_bytes += ENTRY_OVERHEAD_BYTES + string_bytes(key)
        self._count_in(value)
        self._order.added(key)
        if self.arrivals.awaited:
            self.arrivals.note((kind, key))

    def _count_in(self, value: Value) -> None:
        tally = self._tallies[type(value)]
        tally.keys += 1
        if type(value) is bytes:
            self.used_bytes += _BYTES_OVERHEAD + len(value)
            return
        value.tallied_bytes, value.tallied_elements = used_bytes, elements = value.used_bytes(), len(value)
        self.used_bytes += used_bytes
        tally.bytes += used_bytes
        tally.elements += elements

    def _count_out(self, value: Value) -> None:
        tally = self._tallies[type(value)]
        tally.keys -= 1
        if type(value) is bytes:
            self.used_bytes -= _BYTES_OVERHEAD + len(value)
            return
        self.used_bytes -= value.tallied_bytes
        tally.bytes -= value.tallied_bytes
        tally.elements -= value.tallied_elements
        if value.tallied_elements >= WORTH_THROWING:
            self._bin.throw(value, value.tallied_elements)

    def _is_due(self, key: str, now: Millis) -> bool:
        at = self.expires.get(key)
        return at is not None and at <= now

    def _expire(self, key: str) -> None:
        self.remove(key)
        self.expired += 1

    def _touch(self, key: str) -> None:
        recency = self._recency
        if recency is None or (self._recency_volatile_only and key not in self.expires):
            return
        if key not in recency:
            self.used_bytes += RECENCY_OVERHEAD_BYTES
        recency[key] = None
        recency.move_to_end(key)

    def _forget_recency(self, key: str) -> None:
        if self._recency is not None and self._recency.pop(key, self) is None:
            self.used_bytes -= RECENCY_OVERHEAD_BYTES


def _counted_bytes(value: Value) -> int:
    """What a value that is stored counts for."""
    return _BYTES_OVERHEAD + len(value) if type(value) is bytes else cast(Collection, value).tallied_bytes


def _dumped(value: Value) -> Any:
    return value.dump() if isinstance(value, Collection) else value
