"""Sets of strings, in the order the members were added."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import filterfalse
from typing import Any, ClassVar, Self

from synap.engines.chance import Chance
from synap.engines.collection import FEW, Collection, NameOrder, exhaust, text_bytes, texts_bytes

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
        made.members.update(dict.fromkeys(members))
        made._content_bytes = texts_bytes(made.members)
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

    def add_all(self, members: Sequence[str]) -> int:
        """Add members; says how many are new."""
        if len(members) <= FEW:
            return sum([self.add(member) for member in members])
        new = dict.fromkeys(filterfalse(self.members.__contains__, members))
        self.members.update(new)
        self._content_bytes += texts_bytes(new)
        self._order.added_all(new)
        return len(new)

    def remove_all(self, members: Sequence[str]) -> int:
        """Drop members; says how many were there."""
        if len(members) <= FEW:
            return sum([self.remove(member) for member in members])
        doomed = dict.fromkeys(filter(self.members.__contains__, members))
        if len(doomed) == len(self.members):
            self._clear()
        else:
            self._drop(doomed)
            self._order.removed_all(doomed)
        return len(doomed)

    def pop(self, count: int, chance: Chance) -> list[str]:
        """Take out up to `count` members, each with the same chance. O(count log n), the first time O(n log n).

        All of them cost O(n) and come in the order they were added in.
        """
        length = len(self.members)
        if count >= length:
            popped = list(self.members)
            self._clear()
            return popped
        if count <= FEW:
            return [self._popped(chance) for _ in range(count)]
        popped = self._order.taken(chance.below(left) for left in range(length, length - count, -1))
        self._drop(popped)
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
        copied = Set()
        copied.members.update(self.members)
        copied._content_bytes = self._content_bytes
        return copied

    def dump(self) -> Any:
        """See Collection."""
        return list(self.members)

    @classmethod
    def load(cls, dumped: Any) -> Set:
        """See Collection."""
        return cls.of(dumped)

    def _popped(self, chance: Chance) -> str:
        member = self._order.all()[chance.below(len(self.members))]
        self.remove(member)
        return member

    def _drop(self, members: Iterable[str]) -> None:
        """Take out members that are there, but not out of the order."""
        exhaust(map(self.members.__delitem__, members))
        self._content_bytes -= texts_bytes(members)

    def _clear(self) -> None:
        self.members.clear()
        self._content_bytes = 0
        self._order.cleared()


Members = dict[str, None]


def intersection(sets: Sequence[Members]) -> Members:
    """The members that all have. O(smallest x different sets)."""
    smallest, others = smallest_first(sets)
    found: Iterable[str] = smallest
    for other in others:
        found = filter(other.__contains__, found)
    return dict.fromkeys(found)


def union(sets: Sequence[Members]) -> Members:
    """The members that any has. O(total)."""
    result: Members = {}
    for members in different(sets):
        result |= members
    return result


def difference(sets: Sequence[Members]) -> Members:
    """The members of the first that no other has. O(first x different sets)."""
    first, *others = sets
    found: Iterable[str] = first
    for other in different(others):
        found = filterfalse(other.__contains__, found)
    return dict.fromkeys(found)


def different(sets: Sequence[Members]) -> Sequence[Members]:
    """Many sets without those that came before: a request may name one any number of times."""
    return sets if len(sets) <= FEW else list({id(members): members for members in sets}.values())


def smallest_first(sets: Sequence[Members]) -> tuple[Members, list[Members]]:
    """The smallest of the different sets, and the others."""
    smallest, *others = sorted(different(sets), key=len)
    return smallest, others
