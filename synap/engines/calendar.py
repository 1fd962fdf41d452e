"""Which names have their day when: what the keyspace knows of expiries.

Names stand by the millisecond they are due at. The milliseconds that have come are set apart, and what is due then is
counted by them: so it is known at once how many are due, however many those are. A millisecond whose names are all
gone stays in the heap until it surfaces, or until many such are dropped at once.

Costs: adding and removing O(1) on average; counting O(1) a millisecond that has come since it was last asked for.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator

from synap.clock import Millis
from synap.engines.bin import Bin

# Past this many times the milliseconds that matter the others are dropped.
STALE_TIME_FACTOR = 2
STALE_TIME_SLACK = 1_000


class Calendar:
    """Names by the time they are due at. A name stands in it once at most."""

    def __init__(self) -> None:
        self._names: dict[Millis, str | dict[str, None]] = {}
        """One name as it is, several in a table."""
        self._ahead: list[Millis] = []
        """A heap of the times behind `_come_to`."""
        self._come: deque[Millis] = deque()
        """The times up to `_come_to`, the earliest first."""
        self._come_to: Millis = -1
        self._due = 0
        """How many names stand at times up to `_come_to`."""
        self.next_due: float = math.inf
        """No name is due before this; one may then."""

    def add(self, name: str, at: Millis) -> None:
        """A name that is not in it is due at a time."""
        there = self._names.get(at)
        if there is None:
            self._names[at] = name
            self._take_note(at)
        elif isinstance(there, str):
            self._names[at] = {there: None, name: None}
        else:
            there[name] = None
        if at <= self._come_to:
            self._due += 1

    def remove(self, name: str, at: Millis) -> None:
        """Take out a name that is due at a time."""
        there = self._names[at]
        if isinstance(there, str):
            del self._names[at]
        else:
            del there[name]
            if not there:
                del self._names[at]
        if at <= self._come_to:
            self._due -= 1

    def count(self, now: Millis) -> int:
        """How many names are due."""
        if now > self._come_to:
            self._come_on(now)
        return self._due

    def pop(self, now: Millis) -> str | None:
        """Take out a name that is due, one of those that were first; None when there is none."""
        if now > self._come_to:
            self._come_on(now)
        while self._come:
            at = self._come[0]
            there = self._names.get(at)
            if there is not None:
                self._due -= 1
                if isinstance(there, str):
                    del self._names[at]
                    return there
                name, _ = there.popitem()
                if not there:
                    del self._names[at]
                return name
            self._come.popleft()
        self.next_due = self._ahead[0] if self._ahead else math.inf
        return None

    def soonest(self) -> Iterator[str]:
        """The names in the order of their times. O(log n) each; the calendar must not change meanwhile."""
        for at in self._times():
            there = self._names.get(at, ())
            yield from (there,) if isinstance(there, str) else there

    def clear(self, waste: Bin, elements: int) -> None:
        """Forget what it holds, `elements` names, and have it freed later."""
        for container in (self._names, self._ahead, self._come):
            waste.throw(container, elements)
        self._names, self._ahead, self._come = {}, [], deque()
        self._come_to, self._due, self.next_due = -1, 0, math.inf

    def _take_note(self, at: Millis) -> None:
        if at <= self._come_to:
            self._come.append(at)
        else:
            heapq.heappush(self._ahead, at)
            if len(self._ahead) > STALE_TIME_FACTOR * len(self._names) + STALE_TIME_SLACK:
                self._drop_stale()
        if at < self.next_due:
            self.next_due = at

    def _come_on(self, now: Millis) -> None:
        """It is `now`: set apart the times that have come, and count their names."""
        ahead, names = self._ahead, self._names
        last = -1
        while ahead and ahead[0] <= now:
            at = heapq.heappop(ahead)
            there = names.get(at)
            if there is not None and at != last:
                last = at
                self._come.append(at)
                self._due += 1 if isinstance(there, str) else len(there)
        self._come_to = now

    def _drop_stale(self) -> None:
        """Drop the times whose names are gone, and those held twice."""
        self._ahead = list(self._names)
        heapq.heapify(self._ahead)
        while self._ahead and self._ahead[0] <= self._come_to:
            heapq.heappop(self._ahead)

    def _times(self) -> Iterator[Millis]:
        """All times in order, each once."""
        yield from self._come
        ahead, last = self._ahead, -1
        # The heap as it is: next is always one of the children of those that have been.
        reached = [(ahead[0], 0)] if ahead else []
        while reached:
            at, index = heapq.heappop(reached)
            if at != last:
                last = at
                yield at
            for child in range(2 * index + 1, min(2 * index + 3, len(ahead))):
                heapq.heappush(reached, (ahead[child], child))
