"""Sets of strings, in the order the members were added."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Self

from synap.engines.chance import Chance
from synap.engines.collection import Collection, NameOrder, text_bytes

# The object, its dict's head and the keyspace's reference to it.
_BASE_BYTES = 130


class Set(Collection):
    """Members of one key. Every operation on a member is O(1), or O(log n) once one was picked at random."""

    __slots__ = ("_content_bytes", "_order", "members")
    type_name: ClassVar[str] = "set"

    def __init__(self) -> None:
        super().__init__()
        self.members: dict[str, None] = {}
        """To look at; `add` and `remove` change it."""
        self._order = NameOrder(self.members)
        self._content_bytes = 0

    @classmethod
    def of(cls, members: Iterable[str]) -> Self:
        """A set of these members."""
        made = cls()
        for member in members:
            made.add(member)
        return made

    def add(self, member: str) -> bool:
        """Add a member; says whether it is new."""
        if member in self.members:
            return False
        self.members[member] = None
        self._content_bytes += text_bytes(member)
        self._order.added(member)
        return True

    def remove(self, member: str) -> bool:
        """Drop a member; says whether it was there."""
        if member not in self.members:
            return False
        del self.members[member]
        self._content_bytes -= text_bytes(member)
        self._order.removed(member)
        return True

    def pop(self, count: int, chance: Chance) -> list[str]:
        """Take out up to `count` members, each with the same chance. O(count log n), the first time O(n log n)."""
        popped: list[str] = []
        while self.members and len(popped) < count:
            member = self._order.all()[chance.below(len(self.members))]
            self.remove(member)
            popped.append(member)
        return popped

    def sample(self, count: int, chance: Chance) -> list[str]:
        """Up to `count` different members, each with the same chance. O(count log n), the first time O(n log n)."""
        if count >= len(self.members):
            return list(self.members)
        names = self._order.all()
        return [names[position] for position in chance.distinct(count, len(names))]

    def picks(self, count: int, chance: Chance) -> list[str]:
        """`count` members, the same one again perhaps. O(count log n), the first time O(n log n)."""
        names = self._order.all()
        return [names[chance.below(len(names))] for _ in range(count)] if names else []

    def after(self, member: str | None, prefix: str) -> Iterator[str]:
        """Members in byte order from the first one behind `member` on, see NameOrder.after."""
        return self._order.after(member, prefix)

    def __len__(self) -> int:
        return len(self.members)

    def used_bytes(self) -> int:
        """See Collection."""
        return _BASE_BYTES + sys.getsizeof(self.members) + self._content_bytes

    def copy(self) -> Set:
        """See Collection."""
        return Set.of(self.members)

    def dump(self) -> Any:
        """See Collection."""
        return list(self.members)

    @classmethod
    def load(cls, dumped: Any) -> Set:
        """See Collection."""
        return cls.of(dumped)


Members = dict[str, None]


def intersection(sets: list[Members]) -> Members:
    """The members that all have. O(smallest x sets)."""
    smallest, *others = sorted(sets, key=len)
    return dict.fromkeys(member for member in smallest if all(member in other for other in others))


def union(sets: list[Members]) -> Members:
    """The members that any has. O(total)."""
    result: Members = {}
    for members in sets:
        result |= members
    return result


def difference(sets: list[Members]) -> Members:
    """The members of the first that no other has. O(first x sets)."""
    first, *others = sets
    return dict.fromkeys(member for member in first if not any(member in other for other in others))
