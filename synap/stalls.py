"""How long the event loop was kept busy at a stretch: as long, everybody else had to wait.

A tick that executed commands is measured from its first command until its replies are sent (Clock, Committer). What
keeps the loop busy otherwise shows as lateness of a timer, if it lasts until that was due.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

BOUNDS_SECS = (0.001, 0.002, 0.005, 0.010, 0.020, 0.050, 0.100, 0.200, 0.500, 1.0)
LATE_SECS = 0.010
"""Timers that come a little less late than this do so for other reasons."""
REMEMBERED_SECS = 60


class Stalls:
    """The stretches of one event loop."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_SECS) + 1)
        """How many took up to each of the bounds and longer than the one before; those past the last at the end."""
        self.total_secs = 0.0
        self._longest = 0.0
        self._before: deque[float] = deque(maxlen=REMEMBERED_SECS)
        """The longest one of each second."""

    def note(self, secs: float) -> None:
        """The loop was busy for `secs`."""
        self.counts[bisect_left(BOUNDS_SECS, secs)] += 1
        self.total_secs += secs
        if secs > self._longest:
            self._longest = secs

    def late(self, secs: float) -> None:
        """A timer has come `secs` late."""
        if secs >= LATE_SECS:
            self.note(secs)

    def longest(self) -> float:
        """Seconds of the longest one of the last minute."""
        return max(self._longest, *self._before, 0.0)

    def second_over(self) -> None:
        """Another second has passed."""
        self._before.append(self._longest)
        self._longest = 0.0
