"""When time changes something in queues, and what memory they take.

Each queue has an `Agenda` of the moments when something changes in it. What all queues have in one place is a `Ledger`:
it knows whose turn is next, so that a queue is brought up to date without a look at the others. What no longer matters
stays in a heap until it surfaces, or until only such is left or there is much, and all is dropped at once.

Costs: O(log n) a moment, n being those held; dropping comes to O(1) each in the long run.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Callable
from weakref import WeakMethod

from synap.clock import Millis
from synap.engines.arrivals import Arrivals, Topic
from synap.engines.bin import Bin

# Past this many times the moments that matter the others are dropped.
STALE_MOMENT_FACTOR = 2
STALE_MOMENT_SLACK = 1_000

MANY_MOMENTS = 1_000
_SAMPLE = 64

# The pair, its time, and its slot in the heap.
_MOMENT_BYTES = 98

Moment = tuple[Millis, int]
"""When, and the sequence number of a message."""


class Ledger:
    """The books of all queues."""

    def __init__(self, arrivals: Arrivals, waste: Bin) -> None:
        self.content_bytes = 0
        """Without the moments."""
        self.moment_bytes = 0
        self.bin = waste
        self.next_due: float = math.inf
        """No queue changes by time before this; one may then."""
        self._arrivals = arrivals
        self._turns: list[tuple[Millis, int]] = []
        """When, and the serial number of the queue."""
        self._turn_at: dict[int, Millis] = {}
        """The turn that counts of each queue that has one; it may be early."""

    @property
    def used_bytes(self) -> int:
        """Content and moments."""
        return self.content_bytes + self.moment_bytes

    def note(self, topic: Topic) -> None:
        """Tell of an arrival if anybody waits for one."""
        if self._arrivals.awaited:
            self._arrivals.note(topic)

    def expect(self, serial: int, at: Millis) -> None:
        """A queue will change at a time."""
        if at >= self._turn_at.get(serial, math.inf):
            return
        self._turn_at[serial] = at
        heapq.heappush(self._turns, (at, serial))
        if len(self._turns) > STALE_MOMENT_FACTOR * len(self._turn_at) + STALE_MOMENT_SLACK:
            self._turns = [(at, serial) for serial, at in self._turn_at.items()]
            heapq.heapify(self._turns)
        self.next_due = self._turns[0][0]

    def forget(self, serial: int) -> None:
        """Nothing will change in a queue."""
        if self._turn_at.pop(serial, None) is not None and not self._turn_at:
            self._turns.clear()
            self.next_due = math.inf

    def next_turn(self) -> int | None:
        """Take out the first turn: the serial number of its queue; None when it no longer counts."""
        at, serial = heapq.heappop(self._turns)
        self.next_due = self._turns[0][0] if self._turns else math.inf
        if self._turn_at.get(serial) != at:
            return None
        del self._turn_at[serial]
        return serial


class Agenda:
    """The moments of one queue. `is_live` tells whether one still matters."""

    def __init__(self, serial: int, ledger: Ledger, is_live: Callable[[Moment], bool]) -> None:
        self.next_due: float = math.inf
        """Nothing changes before this; it may then."""
        self._serial = serial
        self._ledger = ledger
        # The queue holds its agenda; a circle of both would not be freed when the queue is removed.
        self._is_live = WeakMethod(is_live)
        self._moments: list[Moment] = []
        self._live = 0

    def schedule(self, at: Millis, seq: int) -> None:
        """Something will change at a moment. There is at most one to come for each message."""
        self._live += 1
        self._ledger.moment_bytes += _MOMENT_BYTES
        heapq.heappush(self._moments, (at, seq))
        if at < self.next_due:
            self.next_due = at
            self._ledger.expect(self._serial, at)
        if len(self._moments) > STALE_MOMENT_FACTOR * self._live + STALE_MOMENT_SLACK:
            self._drop_stale()

    def unschedule(self, count: int = 1) -> None:
        """As many moments have passed, or will not come."""
        self._live = live = self._live - count
        if not live:
            self._clear()
        elif len(self._moments) > STALE_MOMENT_FACTOR * live + STALE_MOMENT_SLACK:
            self._drop_stale()

    def pop(self) -> Moment:
        """Take out the first moment, which may be one that no longer matters."""
        moment = heapq.heappop(self._moments)
        self._ledger.moment_bytes -= _MOMENT_BYTES
        self.next_due = self._moments[0][0] if self._moments else math.inf
        return moment

    def pop_all(self, now: Millis) -> list[Moment]:
        """Take out all moments until `now` if these are a large part of many, the last first; else none.

        For them a sort is several times as fast as `pop`.
        """
        moments = self._moments
        sample = moments[:: max(len(moments) // _SAMPLE, 1)]
        if len(moments) < MANY_MOMENTS or sum(at <= now for at, _ in sample) < len(sample) // 4:
            return []
        moments.sort()
        count = bisect_right(moments, (now, math.inf))
        popped = moments[:count]
        del moments[:count]
        self._ledger.moment_bytes -= _MOMENT_BYTES * count
        self.next_due = moments[0][0] if moments else math.inf
        return popped[::-1]

    def is_before(self, moment: Moment) -> bool:
        """Whether the first moment is before another one."""
        return bool(self._moments) and self._moments[0] < moment

    def expect(self) -> None:
        """Have the ledger know when the first moment is."""
        if self._moments:
            self._ledger.expect(self._serial, self._moments[0][0])

    @property
    def live(self) -> int:
        """How many moments matter."""
        return self._live

    def _drop_stale(self) -> None:
        """Drop the moments that no longer matter once they are many, and those held twice."""
        held = len(self._moments)
        self._moments = list(dict.fromkeys(filter(self._is_live(), self._moments)))
        heapq.heapify(self._moments)
        self.next_due = self._moments[0][0] if self._moments else math.inf
        self._ledger.moment_bytes -= _MOMENT_BYTES * (held - len(self._moments))

    def _clear(self) -> None:
        """Drop all moments: none matters any more."""
        moments, self._moments = self._moments, []
        self._ledger.bin.throw(moments, len(moments))
        self._ledger.moment_bytes -= _MOMENT_BYTES * len(moments)
        self._ledger.forget(self._serial)
        self.next_due = math.inf
