"""The one clock: wall time in milliseconds that never runs backwards, and never stands still for long.

A wall clock can be set back, and a restart or a failover can land on a slower one. Commands are decided
from `now`, so time that ran backwards would bring an expired key back to life; `advance_to` lifts the
floor to the newest time the journal holds. Behind that floor time goes on at half the pace of the wall
clock until that has caught up: leases and delays take longer then, but they end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

Millis = int


class Moments(Protocol):
    """What commands ask for the time."""

    @property
    def held(self) -> Millis:
        """The moment of this tick, 0 before anybody has asked."""

    def hold(self) -> Millis:
        """The moment of this tick."""


class Clock:
    """Monotone wall clock. `source` returns Unix time in nanoseconds.

    Everything one tick of the event loop executes happens at one moment: `hold` reads the time once, and it
    stands still until `release`.
    """

    def __init__(self, source: Callable[[], int] = time.time_ns) -> None:
        self.held: Millis = 0
        """The moment of this tick, 0 before anybody has asked."""
        self.held_since = 0.0
        """When somebody first asked for it, by `time.perf_counter`."""
        self._source = source
        self._floor: Millis = 0
        self._shown: Millis = 0
        """What the wall clock showed the last time, 0 before anybody has asked."""
        self._passed = 0
        """What has passed on the wall clock, behind the floor, and is not counted yet."""

    def now(self) -> Millis:
        """Unix milliseconds, at least every value returned before."""
        wall = self._source() // 1_000_000
        if wall >= self._floor:
            self._floor = wall
        elif self._shown:
            self._passed += max(wall - self._shown, 0)
            self._floor += self._passed // 2
            self._passed %= 2
        self._shown = wall
        return self._floor

    def hold(self) -> Millis:
        """The moment of this tick."""
        if not self.held:
            self.held = self.now()
            self.held_since = time.perf_counter()
        return self.held

    def release(self) -> None:
        """The tick is over: let the time go on."""
        self.held = 0

    def advance_to(self, at: Millis) -> None:
        """Never return less than `at` from here on."""
        self._floor = max(self._floor, at)
        self.held = 0
