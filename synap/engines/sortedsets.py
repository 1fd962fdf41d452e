"""Sorted sets: members with a score, ordered by score and then by the bytes of the member.

A dict finds the score of a member in O(1); a sorted list of (score, member) finds rank and range in O(log n). While it
is short, that is a plain list, which takes less memory and is quicker; one that has grown long stays a SortedList. A
score is a float and never NaN; infinities are allowed.
"""

from __future__ import annotations

import math
import operator
import re
import sys
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Collection as Sized
from itertools import chain, filterfalse, repeat
from typing import Any, ClassVar, NamedTuple, Self

from sortedcontainers import SortedList

from synap.engines.collection import FEW, Collection, NameOrder, exhaust, is_large_share, text_bytes, texts_bytes

# The object with its lists, its dict's head and the keyspace's reference to it.
_BASE_BYTES = 170
# Up to this many members moving those behind a place is quicker than finding out which of several lists it is in.
_SHORT_MAX = 512
_LONG_BYTES = 900
# One input may be named any number of times: if more often than this, its weights are combined and not its scores.
_REPETITIONS_MAX = 16
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
        ranked = zip(scores.values(), scores, strict=True)
        made._ranked = sorted(ranked) if len(scores) <= _SHORT_MAX else SortedList(ranked)
        made._text_bytes = texts_bytes(scores)
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

    def put_all(self, scores: Scores) -> tuple[int, int]:
        """Give members scores; says how many are new, and how many had another one. O(n log n) at most for many."""
        own = self.scores
        new = {member: score for member, score in scores.items() if member not in own}
        changed = {member: score for member, score in scores.items() if own.get(member, score) != score}
        stale = [(own[member], member) for member in changed]
        own.update(changed)
        own.update(new)
        self._text_bytes += texts_bytes(new)
        self._order.added_all(new)
        self._unrank_all(stale)
        self._rank_all(chain(zip(changed.values(), changed, strict=True), zip(new.values(), new, strict=True)))
        return len(new), len(changed)

    def remove(self, member: str) -> bool:
        """Drop a member; says whether it was there. O(log n)."""
        score = self.scores.get(member)
        if score is None:
            return False
        self._unrank((score, member))
        self._forget(member)
        return True

    def remove_all(self, members: Sequence[str]) -> int:
        """Drop members; says how many were there. O(n) at most for many."""
        if len(members) <= FEW:
            return sum([self.remove(member) for member in members])
        doomed = dict.fromkeys(filter(self.scores.__contains__, members))
        if len(doomed) == len(self.scores):
            self._clear()
        else:
            stale = list(zip(map(self.scores.__getitem__, doomed), doomed, strict=True))
            self._forget_all(doomed)
            self._unrank_all(stale)
        return len(doomed)

    def remove_ranks(self, start: int, stop: int) -> int:
        """Drop the members with ranks from `start` up to, not including, `stop`; says how many. O(log n + removed)."""
        return len(self._taken(start, stop))

    def pop(self, count: int, *, highest: bool) -> list[Ranked]:
        """Take out up to `count` members, the lowest or the highest first. O(log n + count)."""
        if count > FEW:
            length = len(self.scores)
            return self._taken(max(length - count, 0), length)[::-1] if highest else self._taken(0, count)
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
        copied = SortedSet()
        copied.scores.update(self.scores)
        copied._ranked = self._ranked.copy()
        copied._text_bytes = self._text_bytes
        return copied

    def dump(self) -> Any:
        """See Collection."""
        return list(self._ranked)

    @classmethod
    def load(cls, dumped: Any) -> SortedSet:
        """See Collection."""
        return cls.of({member: score for score, member in dumped})

    def _taken(self, start: int, stop: int) -> list[Ranked]:
        """What had the ranks from `start` up to, not including, `stop`, and is dropped."""
        taken: list[Ranked] = self._ranked[start:stop]
        if len(taken) == len(self.scores):
            self._clear()
        elif taken:
            del self._ranked[start:stop]
            self._forget_all([member for _, member in taken])
        return taken

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

    def _rank_all(self, pairs: Iterable[Ranked]) -> None:
        """Put pairs in their places."""
        if not isinstance(self._ranked, list):
            self._ranked.update(pairs)
            return
        ranked = sorted(chain(self._ranked, pairs))
        self._ranked = ranked if len(ranked) <= _SHORT_MAX else SortedList(ranked)

    def _unrank(self, ranked: Ranked) -> None:
        """Take out a pair that is there."""
        if isinstance(self._ranked, list):
            del self._ranked[bisect_left(self._ranked, ranked)]
        else:
            self._ranked.remove(ranked)

    def _unrank_all(self, stale: list[Ranked]) -> None:
        """Take out pairs that are there and that the scores do not have any more."""
        if is_large_share(len(stale), len(self._ranked)):
            score_of = self.scores.get
            kept = [pair for pair in self._ranked if score_of(pair[1]) == pair[0]]
            self._ranked = kept if isinstance(self._ranked, list) else SortedList(kept)
            return
        for pair in stale:
            self._unrank(pair)

    def _forget(self, member: str) -> None:
        del self.scores[member]
        self._text_bytes -= text_bytes(member)
        self._order.removed(member)

    def _forget_all(self, members: Sized[str]) -> None:
        exhaust(map(self.scores.__delitem__, members))
        self._text_bytes -= texts_bytes(members)
        self._order.removed_all(members)

    def _clear(self) -> None:
        self.scores.clear()
        self._ranked.clear()
        self._text_bytes = 0
        self._order.cleared()


Scores = dict[str, float]
Weighted = tuple[Scores, float]
Aggregate = Callable[[float, float], float]

AGGREGATES: dict[str, Aggregate] = {"sum": operator.add, "min": min, "max": max}
"""A sum of infinities of both signs is no number, and then counts as 0, as in Redis."""


def union(inputs: Iterable[Weighted], aggregate: Aggregate) -> Scores:
    """All members of the inputs, each given with its weight. O(total)."""
    result: Scores = {}
    for scores, weight in _by_size(inputs, aggregate):
        weighted = scores.values() if weight == 1 else _numbers(map(operator.mul, scores.values(), repeat(weight)))
        if not result:
            result.update(zip(scores, weighted, strict=True))
            continue
        for member, score in zip(scores, weighted, strict=True):
            other = result.get(member)
            result[member] = score if other is None else _number(aggregate(other, score))
    return result


def intersection(inputs: Iterable[Weighted], aggregate: Aggregate) -> Scores:
    """The members that all inputs have. O(smallest x inputs).

    As in Redis, infinity times 0 counts as 0 in the smallest input only; in others it makes a sum 0 and is no minimum
    or maximum.
    """
    (smallest, weight), *others = _by_size(inputs, aggregate)
    found: Iterable[str] = smallest
    for scores, _ in others:
        found = filter(scores.__contains__, found)
    members = list(found)
    combined = _numbers(map(operator.mul, map(smallest.__getitem__, members), repeat(weight)))
    for scores, weight in others:
        weighted = map(operator.mul, map(scores.__getitem__, members), repeat(weight))
        combined = _numbers(map(aggregate, combined, weighted))
    return dict(zip(members, combined, strict=True))


def difference(first: Scores, others: Iterable[Scores]) -> Scores:
    """The members of the first that no other has. O(first x different others)."""
    found: Iterable[str] = first
    for other in {id(other): other for other in others}.values():
        found = filterfalse(other.__contains__, found)
    members = list(found)
    return dict(zip(members, map(first.__getitem__, members), strict=True))


def _by_size(inputs: Iterable[Weighted], aggregate: Aggregate) -> list[Weighted]:
    """The inputs, the smallest first; of one that is repeated too often only the weights that decide."""
    by_size = sorted(inputs, key=lambda weighted: len(weighted[0]))
    if len(by_size) <= _REPETITIONS_MAX:
        return by_size
    weights: dict[int, list[float]] = {}
    for scores, weight in by_size:
        weights.setdefault(id(scores), []).append(weight)
    if max(map(len, weights.values()), default=0) <= _REPETITIONS_MAX:
        return by_size
    decide = [sum] if aggregate is operator.add else [min, max]
    return [
        (scores, combined(repeated))
        for scores, _ in by_size
        if (repeated := weights.pop(id(scores), None)) is not None
        for combined in decide
    ]


def _numbers(scores: Iterable[float]) -> list[float]:
    """The scores, with 0 for what is no number."""
    found = list(scores)
    return [_number(score) for score in found] if any(map(math.isnan, found)) else found


def _number(score: float) -> float:
    """The score, with 0 for what is no number: that alone is not equal to itself."""
    return score if score == score else 0.0
