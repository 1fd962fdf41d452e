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
    """Monotone wall clock. `source` returns Unix time in nanoseconds."""

    __slots__ = ("_floor", "_source")

    def __init__(self, source: Callable[[], int] = time.time_ns) -> None:
        self._source = source
        self._floor: Millis = 0

    def now(self) -> Millis:
        """Unix milliseconds, at least every value returned before."""
        now = self._source() // 1_000_000
        if now < self._floor:
            return self._floor
        self._floor = now
        return now

    def advance_to(self, at: Millis) -> None:
        """Never return less than `at` from here on."""
        self._floor = max(self._floor, at)
