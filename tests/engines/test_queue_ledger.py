"""The moments when time changes a queue, against a plain dict of those that matter."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap.engines import queue_ledger
from synap.engines.arrivals import Arrivals
from synap.engines.queue_ledger import STALE_MOMENT_FACTOR, STALE_MOMENT_SLACK, Ledger, Moment


class Plan:
    """A ledger beside what is planned: for each message one moment at most."""

    def __init__(self) -> None:
        self.planned: dict[tuple[int, int], int] = {}
        self.ledger = Ledger(Arrivals(), self.is_live)

    def is_live(self, moment: Moment) -> bool:
        at, serial, seq = moment
        return self.planned.get((serial, seq)) == at

    def drop(self, serial: int, seq: int) -> None:
        if self.planned.pop((serial, seq), None) is not None:
            self.ledger.unschedule()

    def move(self, at: int, serial: int, seq: int) -> None:
        if (serial, seq) in self.planned:
            self.ledger.unschedule()
        self.planned[serial, seq] = at
        self.ledger.schedule(at, serial, seq)

    def pop(self) -> Moment | None:
        """The next moment that matters."""
        while self.ledger.next_due != math.inf:
            moment = self.ledger.pop()
            if self.is_live(moment):
                self.drop(*moment[1:])
                return moment
        return None


steps = st.tuples(st.sampled_from("mmmdp"), st.integers(0, 50), st.integers(1, 2), st.integers(1, 30))


@given(steps=st.lists(steps, min_size=60, max_size=150), slack=st.sampled_from([0, 1000]))
def test_moments_come_in_order_each_once_and_only_those_that_matter(
    steps: list[tuple[str, int, int, int]], slack: int
) -> None:
    plan = Plan()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue_ledger, "STALE_MOMENT_SLACK", slack)
        for what, at, serial, seq in steps:
            first = min(((at, *key) for key, at in plan.planned.items()), default=None)
            assert plan.ledger.next_due <= (first[0] if first else math.inf)
            if what == "m":
                plan.move(at, serial, seq)
            elif what == "d":
                plan.drop(serial, seq)
            else:
                assert plan.pop() == first
        rest = sorted((at, *key) for key, at in plan.planned.items())
        assert [plan.pop() for _ in range(len(rest) + 1)] == [*rest, None]
        assert plan.ledger.used_bytes == Ledger(Arrivals(), plan.is_live).used_bytes


@pytest.mark.parametrize("deadlines", [1, 2, 10**6])
def test_moments_that_no_longer_matter_do_not_pile_up(deadlines: int) -> None:
    plan = Plan()
    plan.move(5, 1, 1)
    for number in range(20 * STALE_MOMENT_SLACK):
        plan.move(10 + number % deadlines, 1, 2)
    held = 0
    while plan.ledger.next_due != math.inf:
        plan.ledger.pop()
        held += 1
    assert held <= STALE_MOMENT_FACTOR * 2 + STALE_MOMENT_SLACK + 1


def test_once_nothing_is_to_come_nothing_is_due() -> None:
    plan = Plan()
    plan.move(5, 1, 1)
    plan.move(7, 1, 1)
    plan.drop(1, 1)
    assert plan.ledger.next_due == math.inf
