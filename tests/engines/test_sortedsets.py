"""Sorted sets against a naive twin: a dict of scores, sorted anew whenever the order matters."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from synap.engines import sortedsets
from synap.engines.sortedsets import AGGREGATES, Bound, Ranked, Scores, SortedSet
from tests.engines.twins import MACHINE_SETTINGS, NAMES, Machine, check_bookkeeping, in_byte_order, names, reloaded

INF = math.inf
SMALLEST, LARGEST = 5e-324, sys.float_info.max
scores_ = st.sampled_from([0.0, -0.0, 1.0, -1.5, 2.0, SMALLEST, -SMALLEST, LARGEST, -LARGEST, INF, -INF])
bounds = st.builds(Bound, scores_, st.booleans())
ranks = st.integers(0, 16) | st.just(50)


def ordered(scores: Scores) -> list[Ranked]:
    return sorted(((score, member) for member, score in scores.items()), key=lambda r: (r[0], r[1].encode()))


def exactly(scores: Iterable[float]) -> list[str]:
    """Scores as text, which tells -0.0 from 0.0."""
    return list(map(repr, scores))


def scores_bytes(of: SortedSet) -> int:
    return sys.getsizeof(of.scores)


def test_members_with_one_score_stand_in_the_order_of_their_bytes() -> None:
    held = SortedSet.of(dict.fromkeys(reversed(NAMES), 1.0))
    assert [member for _, member in held.ranked(0, len(held))] == sorted(NAMES, key=str.encode)
    assert held.rank("\U0001f600") == sorted(NAMES, key=str.encode).index("\U0001f600")


def test_infinities_stand_at_the_ends() -> None:
    held = SortedSet.of({"top": INF, "bottom": -INF, "high": LARGEST, "low": -LARGEST})
    assert [member for _, member in held.ranked(0, 4)] == ["bottom", "low", "high", "top"]
    assert held.ranks_between(Bound(-INF), Bound(INF)) == (0, 4)
    assert held.ranks_between(Bound(-INF, True), Bound(INF, True)) == (1, 3)


def test_minus_zero_stands_where_zero_stands_and_stays_minus_zero() -> None:
    held = SortedSet.of({"a": 0.0, "b": -0.0, "c": 0.0})
    assert [member for _, member in held.ranked(0, 3)] == ["a", "b", "c"]
    assert held.ranks_between(Bound(0.0), Bound(-0.0)) == (0, 3)
    assert exactly([reloaded(held).scores["b"], held.copy().scores["b"]]) == ["-0.0", "-0.0"]


def test_pops_come_from_either_end() -> None:
    held = SortedSet.of({"a": 1.0, "b": 2.0, "c": 3.0, "d": 3.0})
    assert held.pop(1, highest=False) == [(1.0, "a")]
    assert held.pop(2, highest=True) == [(3.0, "d"), (3.0, "c")]
    assert held.pop(9, highest=True) == [(2.0, "b")]
    assert held.pop(1, highest=False) == []


def test_a_copy_goes_its_own_way() -> None:
    held = SortedSet.of({"a": 1.0, "b": 2.0})
    copied = held.copy()
    copied.put("a", 9.0)
    copied.remove("b")
    assert held.scores == {"a": 1.0, "b": 2.0}
    assert held.ranked(0, 2) == [(1.0, "a"), (2.0, "b")]


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("5", Bound(5.0)),
        ("(5", Bound(5.0, True)),
        ("-1.5e3", Bound(-1500.0)),
        ("(+.5", Bound(0.5, True)),
        ("3.", Bound(3.0)),
        ("-inf", Bound(-INF)),
        ("+inf", Bound(INF)),
        ("inf", Bound(INF)),
        (" inf", Bound(INF)),  # what an unescaped +inf in a query turns into
        ("(-INF", Bound(-INF, True)),
    ],
)
def test_a_bound_is_a_number_or_an_infinity_and_may_exclude_itself(text: str, bound: Bound) -> None:
    assert Bound.parse(text) == bound


@pytest.mark.parametrize("text", ["", "(", "((5", "5)", "[5", "nan", "(nan", "five", "1_000", "0x10", "1e", "٣", "5 6"])
def test_what_is_no_bound_is_refused_with_what_was_given(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number") as raised:
        Bound.parse(text)
    assert repr(text) in str(raised.value)


class AgainstTwin(Machine):
    def __init__(self) -> None:
        super().__init__()
        self.held = SortedSet()
        self.twin: Scores = {}

    def drop(self, ranked: list[Ranked]) -> None:
        for _, member in ranked:
            del self.twin[member]

    @rule(member=names, score=scores_)
    def put(self, member: str, score: float) -> None:
        self.held.put(member, score)
        self.twin[member] = score

    @rule(member=names)
    def remove(self, member: str) -> None:
        assert self.held.remove(member) == (self.twin.pop(member, None) is not None)

    @rule(scores=st.dictionaries(names, scores_))
    def put_all(self, scores: Scores) -> None:
        new = {member: score for member, score in scores.items() if member not in self.twin}
        changed = {member: score for member, score in scores.items() if self.twin.get(member, score) != score}
        assert self.held.put_all(scores) == (len(new), len(changed))
        self.twin |= new | changed

    @rule(members=st.lists(names))
    def remove_all(self, members: list[str]) -> None:
        doomed = set(members) & self.twin.keys()
        assert self.held.remove_all(members) == len(doomed)
        for member in doomed:
            del self.twin[member]

    @rule(start=ranks, length=ranks)
    def remove_ranks(self, start: int, length: int) -> None:
        doomed = ordered(self.twin)[start : start + length]
        assert self.held.remove_ranks(start, start + length) == len(doomed)
        self.drop(doomed)

    @rule(count=st.integers(0, 3), highest=st.booleans())
    def pop(self, count: int, highest: bool) -> None:
        expected = ordered(self.twin)[:: -1 if highest else 1][:count]
        assert self.held.pop(count, highest=highest) == expected
        self.drop(expected)

    @rule(low=bounds, high=bounds)
    def between(self, low: Bound, high: Bound) -> None:
        def admitted(score: float) -> bool:
            above = low.score < score or (low.score == score and not low.is_exclusive)
            return above and (score < high.score or (score == high.score and not high.is_exclusive))

        expected = [pair for pair in ordered(self.twin) if admitted(pair[0])]
        assert self.held.ranked(*self.held.ranks_between(low, high)) == expected

    @rule(after=st.none() | names, prefix=names)
    def page(self, after: str | None, prefix: str) -> None:
        assert list(self.held.after(after, prefix)) == in_byte_order(self.twin, after, prefix)
        assert list(self.held.after(None, "")) == in_byte_order(self.twin)

    @rule()
    def restart(self) -> None:
        self.held = reloaded(self.held)

    @rule()
    def go_on_with_a_copy(self) -> None:
        original, self.held = self.held, self.held.copy()
        original.pop(len(original), highest=True)

    @invariant()
    def holds_what_the_twin_holds(self) -> None:
        expected = ordered(self.twin)
        assert self.held.ranked(0, len(self.twin)) == expected
        assert exactly(self.held.scores[m] for _, m in expected) == exactly(score for score, _ in expected)
        assert [self.held.rank(member) for _, member in expected] == list(range(len(expected)))
        assert len(self.held) == len(self.twin)
        check_bookkeeping(self.held, scores_bytes)

    def empty(self) -> None:
        self.held.remove_ranks(0, len(self.twin))
        assert self.held.rank("a") is None
        assert self.held.used_bytes() - scores_bytes(self.held) == SortedSet().used_bytes() - scores_bytes(SortedSet())


TestAgainstTwin = AgainstTwin.TestCase
TestAgainstTwin.settings = MACHINE_SETTINGS


# Combining, as zunionInterGenericCommand of Redis does it: smallest input first, a sum that is no number is 0.

Weighted = list[tuple[Scores, float]]
weighted: st.SearchStrategy[Weighted] = st.lists(
    st.tuples(st.dictionaries(st.sampled_from("abc"), st.sampled_from([1.0, -2.0, 0.0, INF, -INF])), scores_),
    min_size=1,
    max_size=3,
)


def aggregated(scores: list[float], aggregate: str, *, by_union: bool) -> float:
    first, *others = scores
    total = 0.0 if math.isnan(first) else first
    for score in others:
        score = 0.0 if by_union and math.isnan(score) else score
        if aggregate == "sum":
            total = 0.0 if math.isnan(total + score) else total + score
        elif score < total if aggregate == "min" else score > total:
            total = score
    return total


@pytest.mark.parametrize("by_union", [True, False], ids=["union", "intersection"])
@given(inputs=weighted, aggregate=st.sampled_from(["sum", "min", "max"]))
def test_scores_are_combined_as_redis_combines_them(inputs: Weighted, aggregate: str, by_union: bool) -> None:
    by_size = sorted(inputs, key=lambda weighted: len(weighted[0]))
    expected = {}
    for member in "abc":
        scores = [scores[member] * weight for scores, weight in by_size if member in scores]
        if scores and (by_union or len(scores) == len(inputs)):
            expected[member] = aggregated(scores, aggregate, by_union=by_union)
    combine = sortedsets.union if by_union else sortedsets.intersection
    assert combine(inputs, AGGREGATES[aggregate]) == expected


@pytest.mark.parametrize("aggregate", ["sum", "min", "max"])
@pytest.mark.parametrize("combine", [sortedsets.union, sortedsets.intersection])
def test_an_input_repeated_very_often_counts_as_often(combine: Any, aggregate: str) -> None:
    scores, other = {"a": 2.0, "b": -3.0, "c": 0.0}, {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}
    weights = [float(number) for number in range(-10, 30)]
    inputs = [*((scores, weight) for weight in weights), (other, 1.0)]
    combined: Any = {"sum": sum, "min": min, "max": max}[aggregate]
    result = combine(inputs, AGGREGATES[aggregate])
    assert {m: result[m] for m in scores} == {
        m: combined([1.0, *(score * w for w in weights)]) for m, score in scores.items()
    }


@given(weighted)
def test_a_difference_keeps_the_scores_of_the_first(inputs: Weighted) -> None:
    first, *others = [scores for scores, _ in inputs]
    expected = {member: score for member, score in first.items() if all(member not in other for other in others)}
    assert sortedsets.difference(first, others) == expected
