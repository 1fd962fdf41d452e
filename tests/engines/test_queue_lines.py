"""The lines of a queue beside a sorted list, whatever they are made of at the moment."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sortedcontainers import SortedList

from synap.engines import queue_lines
from synap.engines.arrivals import Arrivals
from synap.engines.bin import Bin
from synap.engines.queue_ledger import Ledger
from synap.engines.queue_lines import Lines

PRIORITIES = (5, 9)
Step = Callable[[Lines, dict[int, list[int]]], None]

numbers = st.integers(1, 60)
priorities = st.sampled_from(PRIORITIES)


@pytest.fixture(autouse=True)
def a_line_soon_has_an_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_lines, "NEAR", 3)


def lines() -> Lines:
    return Lines(Ledger(Arrivals(), Bin()))


def add(priority: int, seq: int) -> Step:
    def step(real: Lines, model: dict[int, list[int]]) -> None:
        if seq not in model[priority]:
            real.add(priority, seq)
            model[priority] = sorted([*model[priority], seq])

    return step


def add_many(priority: int, seqs: list[int]) -> Step:
    def step(real: Lines, model: dict[int, list[int]]) -> None:
        new = [seq for seq in seqs if seq not in model[priority]]
        real.gather()
        for seq in new:
            real.add(priority, seq)
        real.line_up()
        model[priority] = sorted(model[priority] + new)

    return step


def remove(priority: int, which: int) -> Step:
    def step(real: Lines, model: dict[int, list[int]]) -> None:
        if model[priority]:
            real.remove(priority, model[priority].pop(which % len(model[priority])))

    return step


def take(count: int) -> Step:
    def step(real: Lines, model: dict[int, list[int]]) -> None:
        line = [*model[9], *model[5]]
        assert real.take(count) == line[:count]
        rest = max(count - len(model[9]), 0)
        model[9], model[5] = model[9][count:], model[5][rest:]

    return step


steps = st.one_of(
    st.builds(add, priorities, numbers),
    st.builds(add_many, priorities, st.lists(numbers, max_size=8, unique=True)),
    st.builds(remove, priorities, st.integers(0, 60)),
    st.builds(take, st.integers(1, 4)),
)


@given(st.lists(steps, max_size=40))
@settings(max_examples=300)
def test_lines_keep_their_order_whoever_comes_and_goes_where(history: list[Step]) -> None:
    real, model = lines(), {priority: list[int]() for priority in PRIORITIES}
    for step in history:
        step(real, model)
        line = [*model[9], *model[5]]
        assert list(real) == line
        assert real.oldest() == min(line, default=None)
        for place, (priority, seq) in enumerate([(p, seq) for p in (9, 5) for seq in model[p]], 1):
            assert real.place(priority, seq) == place


def test_a_line_of_which_only_the_ends_are_needed_stays_a_plain_one() -> None:
    line = lines()
    for seq in range(1, 11):
        line.add(5, seq)
    line.remove(5, 10)
    line.remove(5, 1)
    line.add(5, 1)
    assert type(line._lines[5]) is deque
    assert list(line) == list(range(1, 10))


def test_a_line_whose_inside_was_needed_is_a_plain_one_again_when_it_was_empty() -> None:
    line = lines()
    for seq in range(1, 11):
        line.add(5, seq)
    line.remove(5, 7)
    assert type(line._lines[5]) is SortedList
    assert line.take(100) == [1, 2, 3, 4, 5, 6, 8, 9, 10]
    line.add(5, 11)
    assert type(line._lines[5]) is deque
    assert list(line) == [11]
