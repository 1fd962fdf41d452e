"""Which commands took long lately: newest first, in memory only, and without their values."""

from __future__ import annotations

from collections import deque
from itertools import islice

from synap.clock import Millis
from synap.commands.types import Result

ENTRIES_MAX = 1_000
TEXT_CHARS_MAX = 200
"""Of what clients choose: keys and request ids are cut there."""


class SlowCommand(Result):
    """A command that took long, when it was done, and the first key it named; `trace` is its traceparent."""

    at: Millis
    command: str
    key: str | None
    duration_ms: float
    client: str
    request_id: str | None
    trace: str | None


class SlowLog:
    """The last `capacity` commands that took long."""

    def __init__(self, capacity: int = ENTRIES_MAX) -> None:
        self.total = 0
        """How many there have been."""
        self._commands: deque[SlowCommand] = deque(maxlen=capacity)

    def note(
        self,
        at: Millis,
        command: str,
        key: str | None,
        secs: float,
        client: str,
        request_id: str | None = None,
        trace: str | None = None,
    ) -> None:
        """A command took `secs` and was done `at`; `client` is where it came from."""
        self.total += 1
        self._commands.append(
            SlowCommand(at, command, _cut(key), round(secs * 1000, 3), client, _cut(request_id), trace)
        )

    def entries(self, count: int) -> list[SlowCommand]:
        """Up to `count` of them, newest first."""
        return list(islice(reversed(self._commands), count))


def _cut(text: str | None) -> str | None:
    return None if text is None else text[:TEXT_CHARS_MAX]
