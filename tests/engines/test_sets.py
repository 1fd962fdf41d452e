"""Sets against a naive twin: a Python set, and the order its members came in."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from synap.engines.chance import Chance
from synap.engines.sets import Members, Set, difference, intersection, union
from tests.engines.twins import (
    MACHINE_SETTINGS,
    Machine,
    chances,
    check_bookkeeping,
    chi_square,
    in_byte_order,
    names,
    reloaded,
)

DIGITS = "0123456789"
# Of 9 degrees of freedom, passed by one in a thousand.
CHI_SQUARE_MAX = 27.9


def members_bytes(of: Set) -> int:
    return sys.getsizeof(of.members)


def test_members_keep_the_order_they_were_added_in() -> None:
    held = Set.of(["b", "a", "c"])
    assert not held.add("b")
    held.remove("a")
    assert held.add("a")
    assert list(held.members) == list(reloaded(held).members) == ["b", "c", "a"]


def test_what_is_picked_stays_and_what_is_popped_goes() -> None:
    held = Set.of(DIGITS)
    assert len(held.sample(4, Chance(1))) == 4
    assert len(held.picks(40, Chance(2))) == 40
    assert held.sample(99, Chance(3)) == list(DIGITS)
    assert len(held) == 10
    assert sorted(held.pop(99, Chance(4))) == list(DIGITS)
    assert len(held) == 0
    assert held.picks(3, Chance(5)) == held.sample(3, Chance(5)) == held.pop(3, Chance(5)) == []


def test_the_same_seed_picks_the_same_members_whatever_order_they_came_in() -> None:
    one, other = Set.of("abcdefgh"), Set.of("hgfedcba")
    for pick in (Set.picks, Set.sample, Set.pop):
        assert pick(one, 3, Chance(7)) == pick(other, 3, Chance(7))


@pytest.mark.parametrize("pick", [Set.picks, Set.sample, Set.pop])
def test_every_member_has_the_same_chance(pick: Callable[[Set, int, Chance], list[str]]) -> None:
    found = Counter(member for seed in range(1_500) for member in pick(Set.of(DIGITS), 2, Chance(seed)))
    assert chi_square(found[digit] for digit in DIGITS) < CHI_SQUARE_MAX


def test_a_copy_goes_its_own_way() -> None:
    held = Set.of("abc")
    copied = held.copy()
    copied.pop(2, Chance(1))
    copied.add("d")
    assert list(held.members) == list(held.after(None, "")) == ["a", "b", "c"]


@pytest.mark.parametrize("count", [100, 5_000])
def test_many_members_are_popped_as_they_would_be_one_by_one(count: int) -> None:
    one, other = (Set.of(map(str, range(10_000))) for _ in range(2))
    chance = Chance(1)
    assert one.pop(count, Chance(1)) == [member for _ in range(count) for member in other.pop(1, chance)]
    assert list(one.members) == list(other.members)
    assert list(one.after(None, "")) == list(other.after(None, "")) == sorted(one.members)
    assert one.used_bytes() == other.used_bytes()


@given(st.lists(st.lists(names), min_size=1, max_size=4), st.sampled_from([1, 20]))
def test_sets_are_combined_as_python_combines_them(given_: list[list[str]], times: int) -> None:
    members = [Set.of(one).members for one in given_] * times
    sets = [set(one) for one in given_] * times
    assert set(intersection(members)) == reduce(set.intersection, sets)
    assert set(union(members)) == reduce(set.union, sets)
    assert set(difference(members)) == reduce(set.difference, sets)


def test_combining_changes_no_set() -> None:
    members: list[Members] = [Set.of("ab").members, Set.of("bc").members]
    for combine in (intersection, union, difference):
        combine(members)["z"] = None
    assert [list(one) for one in members] == [["a", "b"], ["b", "c"]]


class AgainstTwin(Machine):
    def __init__(self) -> None:
        super().__init__()
        self.held = Set()
        self.twin: list[str] = []

    @rule(member=names)
    def add(self, member: str) -> None:
        assert self.held.add(member) == (member not in self.twin)
        if member not in self.twin:
            self.twin.append(member)

    @rule(member=names)
    def remove(self, member: str) -> None:
        assert self.held.remove(member) == (member in self.twin)
        if member in self.twin:
            self.twin.remove(member)

    @rule(members=st.lists(names))
    def add_all(self, members: list[str]) -> None:
        new = [member for member in dict.fromkeys(members) if member not in self.twin]
        assert self.held.add_all(members) == len(new)
        self.twin += new

    @rule(members=st.lists(names))
    def remove_all(self, members: list[str]) -> None:
        doomed = set(members) & set(self.twin)
        assert self.held.remove_all(members) == len(doomed)
        self.twin = [member for member in self.twin if member not in doomed]

    @rule(count=st.integers(0, 4) | st.just(50), seed=chances)
    def pop(self, count: int, seed: int) -> None:
        popped = self.held.pop(count, Chance(seed))
        assert len(popped) == min(count, len(self.twin))
        for member in popped:
            self.twin.remove(member)

    @rule(count=st.integers(0, 20), seed=chances)
    def pick(self, count: int, seed: int) -> None:
        sample, picks = self.held.sample(count, Chance(seed)), self.held.picks(count, Chance(seed))
        assert len(sample) == len(set(sample)) == min(count, len(self.twin))
        assert len(picks) == (count if self.twin else 0)
        assert {*sample, *picks} <= set(self.twin)

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
        original.pop(len(original), Chance(0))

    @invariant()
    def holds_what_the_twin_holds(self) -> None:
        assert list(self.held.members) == self.twin
        assert len(self.held) == len(self.twin)
        check_bookkeeping(self.held, members_bytes)

    def empty(self) -> None:
        self.held.pop(len(self.twin), Chance(0))
        assert self.held.used_bytes() - members_bytes(self.held) == Set().used_bytes() - members_bytes(Set())


TestAgainstTwin = AgainstTwin.TestCase
TestAgainstTwin.settings = MACHINE_SETTINGS
