"""Sorted sets: members with a score, ordered by score and then by the bytes of the member.

A dict finds the score of a member in O(1); a sorted list of (score, member) finds rank and range in O(log n). While it
is short, that is a plain list, which takes less memory and is quicker; one that has grown long stays a SortedList. A
score is a float and never NaN; infinities are allowed.
"""

from __future__ import annotations

import math
import re
import sys
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, NamedTuple, Self

from sortedcontainers import SortedList

from synap.engines.collection import Collection, NameOrder, text_bytes

# The object with its lists, its dict's head and the keyspace's reference to it.
_BASE_BYTES = 170
# Up to this many members moving those behind a place is quicker than finding out which of several lists it is in.
_SHORT_MAX = 512
_LONG_BYTES = 900
# A float, a pair of score and member, its slot in the sorted list, and what the allocator adds.
_RANKED_BYTES = 24 + 56 + 9 + 8

_BOUND = re.compile(r"(\(?)([+-]?(?:inf|[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|\.[0-9]+(?:e[+-]?[0-9]+)?))", re.I)

Ranked = tuple[float, str]


class Bound(NamedTuple):
    """One end of a range of scores."""

    score: float
    is_exclusive: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "5", "(5", "-inf" or "+inf". Raises ValueError."""
        match = _BOUND.fullmatch(text.strip())
        if match is None:
            raise ValueError(f'expected a number, "-inf" or "+inf", after a "(" if exclusive, got {text[:40]!r}')
        return cls(float(match[2]), bool(match[1]))


class SortedSet(Collection):
    """Members and scores of one key."""

    __slots__ = ("_order", "_ranked", "_text_bytes", "scores")
    type_name: ClassVar[str] = "sortedset"

    def __init__(self) -> None:
        super().__init__()
        self.scores: dict[str, float] = {}
        """To look at; `put` and the others change it."""
        self._ranked: list[Ranked] | SortedList = []
        self._order = NameOrder(self.scores)
        self._text_bytes = 0

    @classmethod
    def of(cls, scores: dict[str, float]) -> Self:
        """A sorted set with these scores. O(n log n)."""
        made = cls()
        made.scores.update(scores)
        ranked = sorted((score, member) for member, score in scores.items())
        made._ranked = ranked if len(ranked) <= _SHORT_MAX else SortedList(ranked)
        made._text_bytes = sum(map(text_bytes, scores))
        return made

    def put(self, member: str, score: float) -> None:
        """Give a member a score, new or not. O(log n)."""
        old = self.scores.get(member)
        self.scores[member] = score
        if old is None:
            self._text_bytes += text_bytes(member)
            self._order.added(member)
        else:
            self._unrank((old, member))
        self._rank((score, member))

    def remove(self, member: str) -> bool:
        """Drop a member; says whether it was there. O(log n)."""
        score = self.scores.get(member)
        if score is None:
            return False
        self._unrank((score, member))
        self._forget(member)
        return True

    def remove_ranks(self, start: int, stop: int) -> int:
        """Drop the members with ranks from `start` up to, not including, `stop`; says how many. O(log n + removed)."""
        removed = self._ranked[start:stop]
        del self._ranked[start:stop]
        for _, member in removed:
            self._forget(member)
        return len(removed)

    def pop(self, count: int, *, highest: bool) -> list[Ranked]:
        """Take out up to `count` members, the lowest or the highest first. O(count log n)."""
        popped: list[Ranked] = []
        while self._ranked and len(popped) < count:
            ranked = self._ranked.pop(-1 if highest else 0)
            self._forget(ranked[1])
            popped.append(ranked)
        return popped

    def rank(self, member: str) -> int | None:
        """How many members come before it; None when it is not there. O(log n)."""
        score = self.scores.get(member)
        return None if score is None else self._place((score, member))

    def ranked(self, start: int, stop: int) -> list[Ranked]:
        """(score, member) of ranks from `start` up to, not including, `stop`. O(log n + result)."""
        found: list[Ranked] = self._ranked[start:stop]
        return found

    def ranks_between(self, low: Bound, high: Bound) -> tuple[int, int]:
        """The ranks, first and one past the last, of the scores between two bounds. O(log n)."""
        start = self._ranks_below(low.score, itself=low.is_exclusive)
        stop = self._ranks_below(high.score, itself=not high.is_exclusive)
        return start, max(start, stop)

    def after(self, member: str | None, prefix: str) -> Iterator[str]:
        """Members in byte order from the first one behind `member` on, see NameOrder.after."""
        return self._order.after(member, prefix)

    def __len__(self) -> int:
        return len(self.scores)

    def used_bytes(self) -> int:
        """See Collection."""
        long_bytes = _LONG_BYTES if len(self.scores) > _SHORT_MAX else 0
        content_bytes = sys.getsizeof(self.scores) + self._text_bytes + _RANKED_BYTES * len(self.scores)
        return _BASE_BYTES + long_bytes + content_bytes

    def copy(self) -> SortedSet:
        """See Collection."""
        return SortedSet.of(self.scores)

    def dump(self) -> Any:
        """See Collection."""
        return list(self._ranked)

    @classmethod
    def load(cls, dumped: Any) -> SortedSet:
        """See Collection."""
        return cls.of({member: score for score, member in dumped})

    def _ranks_below(self, score: float, *, itself: bool) -> int:
        """How many members have a lower score, or that score `itself`."""
        if itself:
            if score == math.inf:
                return len(self._ranked)
            score = math.nextafter(score, math.inf)
        return self._place((score,))

    def _place(self, ranked: Ranked | tuple[float]) -> int:
        """Where a pair is, or would be."""
        if isinstance(self._ranked, list):
            return bisect_left(self._ranked, ranked)
        return int(self._ranked.bisect_left(ranked))

    def _rank(self, ranked: Ranked) -> None:
        """Put a pair in its place."""
        if not isinstance(self._ranked, list):
            self._ranked.add(ranked)
            return
        insort(self._ranked, ranked)
        if len(self._ranked) > _SHORT_MAX:
            self._ranked = SortedList(self._ranked)

    def _unrank(self, ranked: Ranked) -> None:
        """Take out a pair that is there."""
        if isinstance(self._ranked, list):
            del self._ranked[bisect_left(self._ranked, ranked)]
        else:
            self._ranked.remove(ranked)

    def _forget(self, member: str) -> None:
        del self.scores[member]
        self._text_bytes -= text_bytes(member)
        self._order.removed(member)


Scores = dict[str, float]
Aggregate = Callable[[float, float], float]


def plus(first: float, second: float) -> float:
    """The sum, where infinities of both signs cancel out to 0, as in Redis."""
    return _number(first + second)


AGGREGATES: dict[str, Aggregate] = {"sum": plus, "min": min, "max": max}


def union(inputs: Iterable[tuple[Scores, float]], aggregate: Aggregate) -> Scores:
    """All members of the inputs, each given with its weight. O(total)."""
    result: Scores = {}
    for scores, weight in sorted(inputs, key=_cardinality):
        for member, score in scores.items():
            weighted = _number(score * weight)
            result[member] = aggregate(result[member], weighted) if member in result else weighted
    return result


def intersection(inputs: Iterable[tuple[Scores, float]], aggregate: Aggregate) -> Scores:
    """The members that all inputs have. O(smallest x inputs).

    As in Redis, infinity times 0 counts as 0 in the smallest input only; in others it makes a sum 0 and is no minimum
    or maximum.
    """
    (smallest, weight), *others = sorted(inputs, key=_cardinality)
    result: Scores = {}
    for member, score in smallest.items():
        if all(member in scores for scores, _ in others):
            result[member] = _number(score * weight)
            for scores, other_weight in others:
                result[member] = aggregate(result[member], scores[member] * other_weight)
    return result


def difference(first: Scores, others: Iterable[Scores]) -> Scores:
    """The members of the first that no other has. O(first x others)."""
    rest = list(others)
    return {m: score for m, score in first.items() if not any(m in scores for scores in rest)}


def _cardinality(weighted: tuple[Scores, float]) -> int:
    return len(weighted[0])


def _number(score: float) -> float:
    return 0.0 if math.isnan(score) else score
