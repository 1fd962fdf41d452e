"""What the data types that change in place have in common, and how they tell the keyspace what they take.

A command looks a collection up (or makes a new one), changes it, and hands it to `Keyspace.settle`, which stores
what is new, drops what has become empty and counts what has grown. So no type keeps books of its own, and no
command can leave an empty collection behind.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Collection as Sized
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, takewhile
from typing import Any, ClassVar, Self, cast

from sortedcontainers import SortedList

# What the allocator adds to an object on average: sizes are rounded up to 16 bytes.
ALLOCATION_OVERHEAD_BYTES = 8
_ASCII_BYTES = sys.getsizeof("")
_FEW_NAMES = 64
_WIDE_BYTES = sys.getsizeof("\u0100") - 2
_BYTES_BYTES = sys.getsizeof(b"") + ALLOCATION_OVERHEAD_BYTES

FEW = 16
"""Up to this many elements one by one are quicker than all of them in a few calls of C."""
# Texts are looked at together, but not a gigabyte of them.
_TEXTS_AT_ONCE = 10_000
# Where more than one of so many names goes, those that stay are sorted anew: they are in order already.
_SHARE_REBUILT = 16


class Collection(ABC):
    """A value of the keyspace that changes in place. Subclasses declare `__slots__`."""

    __slots__ = ("tallied_bytes", "tallied_elements")

    type_name: ClassVar[str]
    """What clients call the type."""

    def __init__(self) -> None:
        self.tallied_bytes = 0
        """What the keyspace has counted for it so far."""
        self.tallied_elements = 0

    @abstractmethod
    def __len__(self) -> int:
        """Number of elements; a collection without any is removed."""

    @abstractmethod
    def used_bytes(self) -> int:
        """Estimated memory of the content, within 20 % of the growth of the process. O(1)."""

    @abstractmethod
    def copy(self) -> Self:
        """A collection with the same content that shares nothing mutable with this one."""

    @abstractmethod
    def dump(self) -> Any:
        """The content as MessagePack-encodable data: equal for collections that no command can tell apart."""

    @classmethod
    @abstractmethod
    def load(cls, dumped: Any) -> Self:
        """The collection that `dump` was called on."""


def string_bytes(text: str) -> int:
    """Memory of a string, without what the allocator adds.

    Not what `sys.getsizeof` says: that grows when a string which is not ASCII is sent, and Python keeps its UTF-8.
    """
    if text.isascii():
        return _ASCII_BYTES + len(text)
    return _WIDE_BYTES + 2 * len(text) + len(text.encode())


def text_bytes(text: str) -> int:
    """Memory of a string inside a collection."""
    return string_bytes(text) + ALLOCATION_OVERHEAD_BYTES


def texts_bytes(texts: Iterable[str]) -> int:
    """Memory of many strings inside a collection."""
    total, texts = 0, iter(texts)
    while some := list(islice(texts, _TEXTS_AT_ONCE)):
        together = "".join(some)
        if together.isascii():
            total += len(together) + len(some) * (_ASCII_BYTES + ALLOCATION_OVERHEAD_BYTES)
        else:
            total += sum(map(text_bytes, some))
    return total


def json_bytes(value: bytes) -> int:
    """Memory of a JSON value that is kept."""
    return _BYTES_BYTES + len(value)


def jsons_bytes(values: Sized[bytes]) -> int:
    """Memory of many JSON values that are kept."""
    return len(values) * _BYTES_BYTES + sum(map(len, values))


def exhaust(calls: Iterable[object]) -> None:
    """Have a `map` make its calls, for what they do."""
    deque(calls, maxlen=0)


def is_large_share(part: int, whole: int) -> bool:
    """Whether it is quicker to make what is left anew than to take out `part` elements one by one."""
    return part > FEW and part * _SHARE_REBUILT > whole


def span(start: int, stop: int, length: int) -> tuple[int, int]:
    """The indexes, first and one past the last, that Redis means by `start` to `stop`, both inclusive.

    Negative ones count from the end; what lies outside is cut off.
    """
    first = max(start + length, 0) if start < 0 else min(start, length)
    past = (stop + length if stop < 0 else min(stop, length - 1)) + 1
    return first, max(first, past)


class NameOrder:
    """The names of a collection in the order of their UTF-8 bytes.

    Many names are sorted at the first use (O(n log n)) and kept so from then on (O(log n) a change): what is never
    paged through or picked from does not pay for it. A few are sorted whenever it is asked for, and take no memory.
    """

    __slots__ = ("_names", "_sorted")

    def __init__(self, names: Mapping[str, object]) -> None:
        self._names = names
        """Where the names are; read when they are sorted."""
        self._sorted: SortedList | None = None

    def added(self, name: str) -> None:
        """Take note of a new name."""
        if self._sorted is not None:
            self._sorted.add(name)

    def removed(self, name: str) -> None:
        """Take note that a name is gone."""
        if self._sorted is not None:
            self._sorted.remove(name)

    def added_all(self, names: Iterable[str]) -> None:
        """Take note of new names."""
        if self._sorted is not None:
            self._sorted.update(names)

    def removed_all(self, names: Sized[str]) -> None:
        """Take note that names, different ones, are gone. Many of them cost O(what is left)."""
        if self._sorted is None:
            return
        if is_large_share(len(names), len(self._sorted)):
            self._sorted = SortedList(filter(self._names.__contains__, self._sorted))
            return
        for name in names:
            self._sorted.remove(name)

    def cleared(self) -> None:
        """Take note that all names are gone."""
        if self._sorted is not None:
            self._sorted.clear()

    def keep(self) -> SortedList:
        """Sort the names now, and keep them so from here on, however few there are."""
        if self._sorted is None:
            self._sorted = SortedList(self._names)
        return self._sorted

    def taken(self, positions: Iterable[int]) -> list[str]:
        """The names at positions, each among those that the ones before have left. They are to be removed now."""
        names = cast("list[str]", self.all())
        return [names.pop(position) for position in positions]

    def all(self) -> Sequence[str]:
        """The sorted names."""
        if self._sorted is None and len(self._names) <= _FEW_NAMES:
            return sorted(self._names)
        return cast(Sequence[str], self.keep())

    def after(self, name: str | None, prefix: str = "") -> Iterator[str]:
        """Names that begin with `prefix`, from the first one behind `name` on. O(log n) for the first one.

        The names must not change while the iterator is in use.
        """
        names = self.all()
        is_behind = name is not None and name >= prefix
        start = cast(str, name) if is_behind else prefix
        if isinstance(names, list):
            candidates = islice(names, bisect_right(names, start) if is_behind else bisect_left(names, start), None)
        else:
            candidates = cast(SortedList, names).irange(start, inclusive=(not is_behind, True))
        return takewhile(lambda candidate: candidate.startswith(prefix), candidates)
