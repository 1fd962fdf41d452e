"""The one clock: wall time in milliseconds that never runs backwards.

A wall clock can be set back, and a restart or a failover can land on a slower one. Commands are decided
from `now`, so time that ran backwards would bring an expired key back to life; `advance_to` lifts the
floor to the newest time the journal holds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Millis = int


class Clock:
    """Monotone wall clock. `source` returns Unix time in nanoseconds.

    Everything one tick of the event loop executes happens at one moment: `hold` reads the time once, and it
    stands still until `release`.
    """

    def __init__(self, source: Callable[[], int] = time.time_ns) -> None:
        self.held: Millis = 0
        """The moment of this tick, 0 before anybody has asked."""
        self._source = source
        self._floor: Millis = 0

    def now(self) -> Millis:
        """Unix milliseconds, at least every value returned before."""
        self._floor = max(self._floor, self._source() // 1_000_000)
        return self._floor

    def hold(self) -> Millis:
        """The moment of this tick."""
        if not self.held:
            self.held = self.now()
        return self.held

    def release(self) -> None:
        """The tick is over: let the time go on."""
        self.held = 0

    def advance_to(self, at: Millis) -> None:
        """Never return less than `at` from here on."""
        self._floor = max(self._floor, at)
        self.held = 0
