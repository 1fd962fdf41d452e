"""Lists against a naive twin: a Python list."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from synap.engines.lists import List
from tests.engines.twins import MACHINE_SETTINGS, Machine, check_bookkeeping, reloaded

INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)
# Values that are equal stand together: the twin knows nothing of JSON.
EQUAL = [{b"1", b"1.0", b"10e-1"}, {b'"a"', b'"\\u0061"'}, {b"true"}, {b"[1]", b"[ 1.0 ]"}, {b'"%b"' % (b"x" * 100)}]
SORT_OF = {value: number for number, values in enumerate(EQUAL) for value in sorted(values)}

values_ = st.sampled_from(list(SORT_OF))
counts = st.sampled_from([0, 1, 2, 100, -1, -2, INT64_MAX, INT64_MIN])


def of(*values: bytes) -> List:
    return List.load(values)


def numbered(length: int) -> list[bytes]:
    return [b"%d" % number for number in range(length)]


def items_bytes(held: List) -> int:
    return sys.getsizeof(held._items)


def indexes_of(values: list[bytes], wanted: bytes) -> list[int]:
    return [index for index, value in enumerate(values) if SORT_OF[value] == SORT_OF[wanted]]


def test_values_pushed_left_come_out_last_pushed_first() -> None:
    held = List()
    held.push([b"1", b"2", b"3"], left=True)
    held.push([b"4"], left=False)
    assert held.dump() == [b"3", b"2", b"1", b"4"]
    assert held.pop(2, left=True) == [b"3", b"2"]
    assert held.pop(9, left=False) == [b"4", b"1"]


def test_values_are_found_as_json_and_kept_as_written() -> None:
    held = of(b"1", b"1.0", b'"1"', b"true", b'{"a": 1, "b": 2}')
    assert held.positions(b"10e-1", 1, 0) == [0, 1]
    assert held.positions(b'{"b":2.0,"a":1}', 1, 0) == [4]
    assert held.remove(b"1.00", 1) == 1
    assert held.dump() == [b"1.0", b'"1"', b"true", b'{"a": 1, "b": 2}']


@pytest.mark.parametrize(
    ("rank", "found"), [(1, [0, 2, 3]), (2, [2, 3]), (-1, [3, 2, 0]), (-3, [0]), (4, []), (-4, [])]
)
def test_a_rank_says_with_which_match_to_begin_and_in_which_direction(rank: int, found: list[int]) -> None:
    held = of(b"1", b"2", b"1", b"1")
    assert held.positions(b"1", rank, 0) == found
    assert held.positions(b"1", rank, 1) == found[:1]


def test_a_copy_goes_its_own_way() -> None:
    held = of(b"1", b"2")
    copied = held.copy()
    copied.replace(0, b"3")
    copied.pop(1, left=False)
    assert held.dump() == [b"1", b"2"]


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_any_part_of_a_long_list_is_what_slicing_gives(length: int, one: int, other: int) -> None:
    start, stop = sorted((min(one, length), min(other, length)))
    values = numbered(length)
    assert of(*values).between(start, stop) == values[start:stop]


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_what_is_trimmed_off_a_long_list_is_counted_off(length: int, one: int, other: int) -> None:
    start, stop = sorted((min(one, length), min(other, length)))
    held, values = of(*numbered(length)), numbered(length)
    held.keep(start, stop)
    assert held.dump() == values[start:stop]
    check_bookkeeping(held, items_bytes)


class AgainstTwin(Machine):
    def __init__(self) -> None:
        super().__init__()
        self.held = List()
        self.twin: list[bytes] = []

    @rule(values=st.lists(values_, max_size=4), left=st.booleans())
    def push(self, values: list[bytes], left: bool) -> None:
        self.held.push(values, left=left)
        self.twin[:] = values[::-1] + self.twin if left else self.twin + values

    @rule(count=st.integers(0, 5), left=st.booleans())
    def pop(self, count: int, left: bool) -> None:
        inwards = self.twin if left else self.twin[::-1]
        assert self.held.pop(count, left=left) == inwards[:count]
        self.twin[:] = inwards[count:] if left else inwards[count:][::-1]

    @rule(index=st.integers(-12, 12), value=values_)
    def replace(self, index: int, value: bytes) -> None:
        exists = -len(self.twin) <= index < len(self.twin)
        assert self.held.at(index) == (self.twin[index] if exists else None)
        if exists:
            self.held.replace(index, value)
            self.twin[index] = value

    @rule(value=values_, count=counts)
    def remove(self, value: bytes, count: int) -> None:
        doomed = indexes_of(self.twin, value)[:: -1 if count < 0 else 1][: abs(count) or None]
        assert self.held.remove(value, count) == len(doomed)
        self.twin[:] = [kept for index, kept in enumerate(self.twin) if index not in doomed]

    @rule(pivot=values_, value=values_, after=st.booleans())
    def insert(self, pivot: bytes, value: bytes, after: bool) -> None:
        found = indexes_of(self.twin, pivot)
        assert self.held.insert(pivot, value, after=after) == bool(found)
        if found:
            self.twin.insert(found[0] + after, value)

    @rule(value=values_, rank=counts.filter(bool), count=counts.map(abs))
    def positions(self, value: bytes, rank: int, count: int) -> None:
        found = indexes_of(self.twin, value)[:: -1 if rank < 0 else 1]
        assert self.held.positions(value, rank, count) == found[abs(rank) - 1 :][: count or None]

    @rule()
    def restart(self) -> None:
        self.held = reloaded(self.held)

    @rule()
    def go_on_with_a_copy(self) -> None:
        original, self.held = self.held, self.held.copy()
        original.pop(len(original), left=True)

    @invariant()
    def holds_what_the_twin_holds(self) -> None:
        assert self.held.dump() == self.twin
        assert len(self.held) == len(self.twin)
        check_bookkeeping(self.held, items_bytes)

    def empty(self) -> None:
        self.held.pop(len(self.twin), left=True)
        assert self.held.used_bytes() - items_bytes(self.held) == List().used_bytes() - items_bytes(List())


TestAgainstTwin = AgainstTwin.TestCase
TestAgainstTwin.settings = MACHINE_SETTINGS
