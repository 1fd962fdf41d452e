"""Who is at work for a consumer group: what `stream.groups` counts. No state, and never journalled.

Groups know no sign-off, so a consumer counts for a while after it has asked for events, the time it waits included.
"""

from __future__ import annotations

from synap.clock import Millis

ATTENDS_MS = 30_000
WAIT_SECS_MAX = 3_600.0
CONSUMERS_MAX = 100_000


class Attendance:
    """How long each consumer of each group counts."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], dict[str | None, Millis]] = {}
        self._noted = 0

    def note(self, room: str, group: str, consumer_id: str | None, now: Millis, wait_secs: float) -> None:
        """A consumer has asked for events and may wait; those without a name count as one."""
        self._noted += 1
        if self._noted > CONSUMERS_MAX:
            self._forget(now)
        until = now + ATTENDS_MS + round(min(wait_secs, WAIT_SECS_MAX) * 1000)
        self._groups.setdefault((room, group), {})[consumer_id] = until

    def count(self, room: str, group: str, now: Millis) -> int:
        """How many are at work."""
        return sum(until > now for until in self._groups.get((room, group), {}).values())

    def _forget(self, now: Millis) -> None:
        self._noted = 0
        attending = {
            name: {consumer: until for consumer, until in consumers.items() if until > now}
            for name, consumers in self._groups.items()
        }
        self._groups = {name: consumers for name, consumers in attending.items() if consumers}
