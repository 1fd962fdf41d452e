"""What the data types that change in place have in common, and how they tell the keyspace what they take.

A command looks a collection up (or makes a new one), changes it, and hands it to `Keyspace.settle`, which stores
what is new, drops what has become empty and counts what has grown. So no type keeps books of its own, and no
command can leave an empty collection behind.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Self

from sortedcontainers import SortedList

# What the allocator adds to an object on average: sizes are rounded up to 16 bytes.
ALLOCATION_OVERHEAD_BYTES = 8
_STRING_BYTES = sys.getsizeof("") + ALLOCATION_OVERHEAD_BYTES
_BYTES_BYTES = sys.getsizeof(b"") + ALLOCATION_OVERHEAD_BYTES


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


def text_bytes(text: str) -> int:
    """Memory of a string that is kept."""
    return _STRING_BYTES + len(text) if text.isascii() else sys.getsizeof(text) + ALLOCATION_OVERHEAD_BYTES


def json_bytes(value: bytes) -> int:
    """Memory of a JSON value that is kept."""
    return _BYTES_BYTES + len(value)


class NameOrder:
    """The names of a collection in the order of their UTF-8 bytes.

    Sorted at the first use (O(n log n)) and kept from then on (O(log n) a change), so that what is never paged
    through or picked from does not pay for it.
    """

    __slots__ = ("_names", "_sorted")

    def __init__(self, names: Iterable[str]) -> None:
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

    def cleared(self) -> None:
        """Take note that all names are gone."""
        if self._sorted is not None:
            self._sorted.clear()

    def build(self) -> SortedList:
        """The sorted names."""
        if self._sorted is None:
            self._sorted = SortedList(self._names)
        return self._sorted

    def after(self, name: str | None, prefix: str = "") -> Iterator[str]:
        """Names that begin with `prefix`, from the first one behind `name` on. O(log n) for the first one.

        The names must not change while the iterator is in use.
        """
        if name is not None and name >= prefix:
            candidates = self.build().irange(name, inclusive=(False, True))
        else:
            candidates = self.build().irange(prefix)
        for candidate in candidates:
            if not candidate.startswith(prefix):
                return
            yield candidate
