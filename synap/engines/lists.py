"""Lists of JSON values. Both ends are O(1); the middle is O(n), 64 elements a step.

Short lists are Python lists, which take a tenth of the memory of a deque; one that has grown long stays a deque.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice, repeat
from typing import Any, ClassVar, Self

from synap.engines.collection import FEW, Collection, json_bytes, jsons_bytes
from synap.engines.json_values import places

# The object and the keyspace's reference to it.
_BASE_BYTES = 80
# As many elements as a deque has room for at least.
_SHORT_MAX = 64
# Up to this many elements, looking up each one is quicker than walking to the first.
_LOOKED_UP_MAX = 64


class List(Collection):
    """Elements of one key."""

    __slots__ = ("_content_bytes", "_items")
    type_name: ClassVar[str] = "list"

    def __init__(self) -> None:
        super().__init__()
        self._items: list[bytes] | deque[bytes] = []
        self._content_bytes = 0

    def push(self, values: Sequence[bytes], *, left: bool) -> None:
        """Add values one after the other at an end."""
        items = self._items
        self._content_bytes += jsons_bytes(values)
        if not left:
            items.extend(values)
        elif isinstance(items, deque):
            items.extendleft(values)
        else:
            items[:0] = values[::-1]
        self._lengthened()

    def pop(self, count: int, *, left: bool) -> list[bytes]:
        """Take up to `count` values from an end, the outermost first."""
        items = self._items
        count = min(count, len(items))
        if isinstance(items, deque):
            take = items.popleft if left else items.pop
            popped = [take() for _ in repeat(None, count)]
        elif left:
            popped = items[:count]
            del items[:count]
        else:
            popped = items[: -count - 1 : -1]
            del items[len(items) - count :]
        self._content_bytes -= jsons_bytes(popped)
        return popped

    def between(self, start: int, stop: int) -> list[bytes]:
        """The values from `start` up to, not including, `stop`; both within the list. O(n) in the middle."""
        items, length = self._items, len(self._items)
        if stop - start <= _LOOKED_UP_MAX:
            return [items[index] for index in range(start, stop)]
        if start <= length - stop:
            return list(islice(items, start, stop))
        return list(islice(reversed(items), length - stop, length - start))[::-1]

    def at(self, index: int) -> bytes | None:
        """The value at an index, negative ones from the end; None when there is none."""
        return self._items[index] if -len(self._items) <= index < len(self._items) else None

    def replace(self, index: int, value: bytes) -> None:
        """Put a value in the place of the one at an index that exists."""
        self._content_bytes += json_bytes(value) - json_bytes(self._items[index])
        self._items[index] = value

    def keep(self, start: int, stop: int) -> None:
        """Drop all but the values from `start` up to, not including, `stop`. O(dropped)."""
        self.pop(len(self._items) - stop, left=False)
        self.pop(start, left=True)

    def remove(self, value: bytes, count: int) -> int:
        """Drop up to `count` values equal to `value`, from the end when negative, all when 0; says how many. O(n)."""
        most = min(abs(count), len(self._items)) or None
        doomed = set(islice(self._indexes_of(value, backwards=count < 0), most))
        if len(doomed) <= FEW:
            for index in sorted(doomed, reverse=True):
                self._content_bytes -= json_bytes(self._items[index])
                del self._items[index]
        else:
            kept = [item for index, item in enumerate(self._items) if index not in doomed]
            self._items = kept if len(kept) <= _SHORT_MAX else deque(kept)
            self._content_bytes = jsons_bytes(kept)
        return len(doomed)

    def insert(self, pivot: bytes, value: bytes, *, after: bool) -> bool:
        """Put a value next to the first one equal to `pivot`; says whether there is one. O(n)."""
        index = next(self._indexes_of(pivot), None)
        if index is None:
            return False
        self._items.insert(index + after, value)
        self._content_bytes += json_bytes(value)
        self._lengthened()
        return True

    def positions(self, value: bytes, rank: int, count: int) -> list[int]:
        """Indexes of up to `count` (0: all) values equal to `value`, from the `rank`-th match on.

        A negative rank counts from the end, and so come the indexes. O(n).
        """
        length = len(self._items)
        first = min(abs(rank) - 1, length)
        return list(islice(self._indexes_of(value, backwards=rank < 0), first, first + min(count or length, length)))

    def __len__(self) -> int:
        return len(self._items)

    def used_bytes(self) -> int:
        """See Collection."""
        return _BASE_BYTES + sys.getsizeof(self._items) + self._content_bytes

    def copy(self) -> List:
        """See Collection."""
        copied = List()
        copied._items, copied._content_bytes = self._items.copy(), self._content_bytes
        return copied

    def dump(self) -> Any:
        """See Collection."""
        return list(self._items)

    @classmethod
    def load(cls, dumped: Any) -> Self:
        """See Collection."""
        loaded = cls()
        loaded.push(dumped, left=False)
        return loaded

    def _lengthened(self) -> None:
        if len(self._items) > _SHORT_MAX and not isinstance(self._items, deque):
            self._items = deque(self._items)

    def _indexes_of(self, value: bytes, *, backwards: bool = False) -> Iterator[int]:
        if not backwards:
            return places(value, self._items)
        last = len(self._items) - 1
        return (last - step for step in places(value, reversed(self._items)))
