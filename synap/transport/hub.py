"""Who is to be looked at when a tick is over: connections with something to send.

Arrivals in watched topics, writes of the connection itself and a client that reads again all end up here. A tick in
which a room gets many events wakes each of its subscribers once, after the journal has taken them.
"""

from __future__ import annotations

import logging
from typing import Protocol

from aiohttp import WSCloseCode

from synap.commands.waiting import Line
from synap.engines.arrivals import Topic
from synap.journal.committer import Committer

log = logging.getLogger("synap.hub")


class Sleeper(Protocol):
    """Somebody to look at."""

    def notice(self, topic: Topic) -> None:
        """A topic that it watches has arrived; `advance` is called next."""

    def advance(self) -> None:
        """Send what may be sent."""

    def stop(self, code: WSCloseCode, reason: bytes) -> None:
        """End the connection, politely."""


class Hub:
    """Wakes connections at the end of the tick. One per server."""

    def __init__(self, line: Line, committer: Committer) -> None:
        self._line = line
        self._committer = committer
        self._topics: dict[Topic, None] = {}
        self._woken: dict[Sleeper, None] = {}
        self._has_joined = False
        line.notify = self._note

    def wake(self, sleeper: Sleeper) -> None:
        """Have `sleeper.advance` called when this tick is over."""
        self._woken[sleeper] = None
        if not self._has_joined:
            self._join()

    def advance(self) -> None:
        """The tick is over."""
        topics, self._topics = self._topics, {}
        woken, self._woken = self._woken, {}
        self._has_joined = False
        for topic in topics:
            for sleeper in self._line.watchers(topic):
                sleeper.notice(topic)
                woken[sleeper] = None
        for sleeper in woken:
            try:
                sleeper.advance()
            except Exception:  # the replies of all others wait behind it
                log.exception("a connection is closed")
                sleeper.stop(WSCloseCode.INTERNAL_ERROR, b"an unexpected error")

    def _note(self, topic: Topic) -> None:
        self._topics[topic] = None
        if not self._has_joined:
            self._join()

    def _join(self) -> None:
        self._has_joined = True
        self._committer.join(self)
