"""Blocking commands: who waits for what, first come, first served.

A blocking command is a plain handler that says `nothing_yet` instead of waiting. The dispatcher then raises
`WouldBlock` with a `Wait`, which stands in line under the topics it waits for. When one arrives (engines/arrivals.py)
the command is tried again, for those who came first before others. Waiting is no state: nothing is journalled until a
try succeeds, and a client that goes away takes nothing with it.

Time and connections are the transport's: it calls `begin`, keeps the timer, and `abandon`s when the client is gone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from typing import Any

from synap.engines.arrivals import Arrivals, Topic


class Wait:
    """A request that has found nothing yet. It is answered once: when something arrives, or when its time is over."""

    __slots__ = (
        "_deliver",
        "_give_up",
        "_is_gone",
        "_line",
        "attempt",
        "for_all",
        "name",
        "render",
        "seconds",
        "topics",
    )

    def __init__(
        self,
        line: Line,
        topics: Iterable[Topic],
        seconds: float,
        attempt: Callable[[Topic], Any],
        give_up: Callable[[], Any],
        name: str | None = None,
        for_all: bool = False,
    ) -> None:
        self.topics = tuple(topics)
        self.seconds = seconds
        """How long to wait at most."""
        self.name = name
        """Who waits, where it says."""
        self.for_all = for_all
        """What comes is there for everybody in line: that one finds nothing says nothing about those behind."""
        self.attempt = attempt
        """Tries the command on a topic; the answer, or None when there is still nothing."""
        self._give_up = give_up
        """Makes the answer that nothing has come."""
        self._line = line
        self._deliver: Callable[[Any], None] | None = None
        self._is_gone: Callable[[], bool] | None = None
        self.render: Callable[[Any], Any] | None = None
        """What the answer goes through on its way."""

    def begin(self, deliver: Callable[[Any], None], is_gone: Callable[[], bool] | None = None) -> None:
        """Get in line. `deliver` is called once with the answer, unless the wait is abandoned.

        `is_gone` tells of a client that went away in this very tick: `abandon` is still to be called.
        """
        self._deliver, self._is_gone = deliver, is_gone
        self._line.join(self)

    def time_out(self) -> None:
        """Answer that nothing has come, unless there has been an answer."""
        if self._deliver is not None:
            self._leave_with(self.give_up())

    def give_up(self) -> Any:
        """The answer that nothing has come."""
        return self._rendered(self._give_up())

    def answer(self, answer: Any) -> None:
        """Leave the line with an answer."""
        self._leave_with(self._rendered(answer))

    def is_gone(self) -> bool:
        """Whether nobody would take the answer."""
        return self._is_gone is not None and self._is_gone()

    def _rendered(self, answer: Any) -> Any:
        return answer if self.render is None else self.render(answer)

    def _leave_with(self, answer: Any) -> None:
        deliver = self._deliver
        self.abandon()
        if deliver is not None:
            deliver(answer)

    def abandon(self) -> None:
        """Leave the line without one."""
        self._deliver = None
        self._line.leave(self)


class WouldBlock(Exception):
    """A blocking command has found nothing. Begin the `wait`, or `give_up`."""

    def __init__(self, wait: Wait) -> None:
        super().__init__()
        self.wait = wait


class Line:
    """Everybody who waits, by topic; and who watches a topic for good, which `notify` is told of."""

    def __init__(self, arrivals: Arrivals) -> None:
        self.arrived = arrivals.arrived
        """Topics that somebody waits for and that `serve` has not seen to."""
        self.notify: Callable[[Topic], None] = lambda _: None
        """Called with a watched topic that has arrived."""
        self._waits: dict[Topic, OrderedDict[Wait, None]] = {}
        self._watchers: dict[Topic, dict[Any, None]] = {}
        arrivals.awaited = self._waits

    def join(self, wait: Wait) -> None:
        """Put a wait at the end of the line of each of its topics."""
        for topic in wait.topics:
            self._waits.setdefault(topic, OrderedDict())[wait] = None

    def leave(self, wait: Wait) -> None:
        """Take a wait out of the lines it is in."""
        for topic in wait.topics:
            waits = self._waits.get(topic)
            if waits is not None:
                waits.pop(wait, None)
                if not waits and topic not in self._watchers:
                    del self._waits[topic]

    def watch(self, topic: Topic, watcher: Any) -> None:
        """Have `notify` called whenever a topic has arrived."""
        self._watchers.setdefault(topic, {})[watcher] = None
        self._waits.setdefault(topic, OrderedDict())

    def unwatch(self, topic: Topic, watcher: Any) -> None:
        """Take back a `watch`."""
        watchers = self._watchers.get(topic, {})
        watchers.pop(watcher, None)
        if not watchers:
            self._watchers.pop(topic, None)
            if not self._waits.get(topic, True):
                del self._waits[topic]

    def watchers(self, topic: Topic) -> Collection[Any]:
        """Who watches a topic, in the order they began."""
        return self._watchers.get(topic, {})

    def names(self, topic: Topic) -> list[str | None]:
        """The names of those who wait for a topic; None for each that has told none."""
        return [wait.name for wait in self._waits.get(topic, ())]

    def serve(self) -> None:
        """Try the waiting commands on what has arrived, until there is nothing left or nobody waits for it."""
        while self.arrived:
            topic, _ = self.arrived.popitem(last=False)
            while waits := self._waits.get(topic):
                wait = next(iter(waits))
                if wait.for_all:
                    self._try_all(topic)
                    break
                if not self._try(wait, topic):
                    break
            if topic in self._watchers:
                self.notify(topic)

    def _try_all(self, topic: Topic) -> None:
        for wait in list(self._waits[topic]):
            self._try(wait, topic)

    def _try(self, wait: Wait, topic: Topic) -> bool:
        """Whether the wait has left the line."""
        if wait.is_gone():
            wait.abandon()
            return True
        answer = wait.attempt(topic)
        if answer is not None:
            wait.answer(answer)
        return answer is not None

    def dismiss(self) -> None:
        """Answer everybody that nothing has come."""
        for waits in list(self._waits.values()):
            for wait in list(waits):
                wait.time_out()

    def __len__(self) -> int:
        """How many wait."""
        return len({wait for waits in self._waits.values() for wait in waits})
