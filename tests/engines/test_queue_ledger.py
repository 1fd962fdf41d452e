"""The moments when time changes a queue, against a plain dict of those that matter."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap.engines import queue_ledger
from synap.engines.arrivals import Arrivals
from synap.engines.bin import Bin
from synap.engines.queue_ledger import STALE_MOMENT_FACTOR, STALE_MOMENT_SLACK, Agenda, Ledger, Moment


class Plan:
    """A ledger beside what is planned: for each message one moment at most."""

    def __init__(self) -> None:
        self.planned: dict[int, int] = {}
        self.ledger = Ledger(Arrivals(), Bin())
        self.agenda = Agenda(1, self.ledger, self.is_live)

    def is_live(self, moment: Moment) -> bool:
        at, seq = moment
        return self.planned.get(seq) == at

    def drop(self, seq: int) -> None:
        if self.planned.pop(seq, None) is not None:
            self.agenda.unschedule()

    def move(self, at: int, seq: int) -> None:
        if seq in self.planned:
            self.agenda.unschedule()
        self.planned[seq] = at
        self.agenda.schedule(at, seq)

    def pop(self) -> Moment | None:
        """The next moment that matters."""
        while self.agenda.next_due != math.inf:
            moment = self.agenda.pop()
            if self.is_live(moment):
                self.drop(moment[1])
                return moment
        return None

    def pop_all(self, now: int) -> list[Moment]:
        """All moments that matter until `now`, in order, as far as they come at once."""
        popped = list(dict.fromkeys(moment for moment in reversed(self.agenda.pop_all(now)) if self.is_live(moment)))
        for _, seq in popped:
            self.drop(seq)
        return popped


steps = st.tuples(st.sampled_from("mmmmdpa"), st.integers(0, 50), st.integers(1, 60))


@given(steps=st.lists(steps, min_size=60, max_size=150), slack=st.sampled_from([0, 1000]))
def test_moments_come_in_order_each_once_and_only_those_that_matter(
    steps: list[tuple[str, int, int]], slack: int
) -> None:
    plan = Plan()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue_ledger, "STALE_MOMENT_SLACK", slack)
        patch.setattr(queue_ledger, "MANY_MOMENTS", 1)
        for what, at, seq in steps:
            ahead = sorted((at, seq) for seq, at in plan.planned.items())
            assert plan.ledger.next_due <= plan.agenda.next_due <= (ahead[0][0] if ahead else math.inf)
            if what == "m":
                plan.move(at, seq)
            elif what == "d":
                plan.drop(seq)
            elif what == "p":
                assert plan.pop() == (ahead[0] if ahead else None)
            else:
                assert plan.pop_all(at) in ([], [moment for moment in ahead if moment[0] <= at])
        rest = sorted((at, seq) for seq, at in plan.planned.items())
        assert [plan.pop() for _ in range(len(rest) + 1)] == [*rest, None]
        assert (plan.ledger.used_bytes, plan.ledger.next_due) == (0, math.inf)


@pytest.mark.parametrize("deadlines", [1, 2, 10**6])
def test_moments_that_no_longer_matter_do_not_pile_up(deadlines: int) -> None:
    plan = Plan()
    plan.move(5, 1)
    for number in range(20 * STALE_MOMENT_SLACK):
        plan.move(10 + number % deadlines, 2)
    held = 0
    while plan.agenda.next_due != math.inf:
        plan.agenda.pop()
        held += 1
    assert held <= STALE_MOMENT_FACTOR * 2 + STALE_MOMENT_SLACK + 1


def test_once_nothing_is_to_come_nothing_is_due() -> None:
    plan = Plan()
    plan.move(5, 1)
    plan.move(7, 1)
    plan.drop(1)
    assert plan.ledger.next_due == math.inf
