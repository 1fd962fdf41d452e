"""What all queues keep in one place: the moments when time changes something, and what memory they take.

A moment that no longer matters stays in the heap until it surfaces, or until only such are left or there are many,
and all are dropped at once. Costs: O(log n) a moment, n being those held; dropping comes to O(1) each in the long run.
"""

from __future__ import annotations

import heapq
import math
import sys
from collections.abc import Callable

from synap.clock import Millis
from synap.engines.arrivals import Arrivals, Topic

# Past this many times the moments that matter the others are dropped.
STALE_MOMENT_FACTOR = 2
STALE_MOMENT_SLACK = 1_000

_EMPTY_BYTES = sys.getsizeof([])
_MOMENT_BYTES = 96

Moment = tuple[Millis, int, int]
"""When, the serial number of a queue, the sequence number of a message."""


class Ledger:
    """The books of all queues. `is_live` tells whether a moment still matters."""

    def __init__(self, arrivals: Arrivals, is_live: Callable[[Moment], bool]) -> None:
        self.next_due: float = math.inf
        self.content_bytes = 0
        """Without the moments."""
        self._arrivals = arrivals
        self._is_live = is_live
        self._moments: list[Moment] = []
        self._live = 0

    @property
    def used_bytes(self) -> int:
        """Content and moments."""
        return self.content_bytes + sys.getsizeof(self._moments) - _EMPTY_BYTES + _MOMENT_BYTES * len(self._moments)

    def note(self, topic: Topic) -> None:
        """Tell of an arrival if anybody waits for one."""
        if self._arrivals.awaited:
            self._arrivals.note(topic)

    def schedule(self, at: Millis, serial: int, seq: int) -> None:
        """Something will change at a moment. There is at most one to come for each message."""
        self._live += 1
        heapq.heappush(self._moments, (at, serial, seq))
        if at < self.next_due:
            self.next_due = at
        self._drop_stale()

    def unschedule(self, count: int = 1) -> None:
        """As many moments have passed, or will not come."""
        self._live -= count
        self._drop_stale()

    def pop(self) -> Moment:
        """Take out the first moment, which may be one that no longer matters."""
        moment = heapq.heappop(self._moments)
        self.next_due = self._moments[0][0] if self._moments else math.inf
        return moment

    def _drop_stale(self) -> None:
        """Drop the moments that no longer matter once they are many, and those held twice."""
        if not self._live:
            self._moments.clear()
            self.next_due = math.inf
        elif len(self._moments) > STALE_MOMENT_FACTOR * self._live + STALE_MOMENT_SLACK:
            self._moments = list(dict.fromkeys(filter(self._is_live, self._moments)))
            heapq.heapify(self._moments)
            self.next_due = self._moments[0][0] if self._moments else math.inf
