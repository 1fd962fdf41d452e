"""What a connection that stays open is subscribed to, as far as commands need to know.

A session is no state: it is gone with its connection, and nothing of it is journalled. Commands that declare
`attaches` change it; the transport that made it finds its feeds here and delivers what they have.
"""

from __future__ import annotations

from typing import Protocol

from synap.commands.outbox import Outbox
from synap.commands.waiting import Line
from synap.engines.arrivals import Topic
from synap.errors import InvalidRequest

# Between what a client calls itself and its session. Who sends it in a name gives up its leases at a restart, no more.
SESSION_MARK = "\0"

# Names under which one connection may take messages, counted for each queue.
HOLDERS_MAX = 10_000


class Feed(Protocol):
    """A subscription that reads at its own pace."""

    topic: Topic
    """Its arrival says that there may be something to read. Of one topic a session has one feed."""
    ended: bool
    """There will be nothing more."""
    subscribed: tuple[str, str]
    """The command that has opened it, and the key: what it needs permission for as long as it lasts."""


class Session:
    """The subscriptions of one connection."""

    def __init__(self, name: str, line: Line, outbox: Outbox) -> None:
        self.name = name
        """Unlike that of any other session, ever."""
        self.outbox = outbox
        """What pub/sub has for it."""
        self.feeds: dict[Topic, Feed] = {}
        self.holders: dict[tuple[str, str], None] = {}
        """The queues it takes messages from, each with the name that holds the leases."""
        self._line = line

    def open(self, feed: Feed) -> None:
        """Add a feed, in the place of one of the same topic."""
        self.feeds[feed.topic] = feed
        self._line.watch(feed.topic, self)

    def close(self, topic: Topic) -> bool:
        """Remove the feed of a topic; says whether there was one."""
        if self.feeds.pop(topic, None) is None:
            return False
        self._line.unwatch(topic, self)
        return True

    def holder(self, queue: str, consumer_id: str | None) -> str:
        """The name under which leases of this session are held: they end with it. Raises InvalidRequest."""
        name = f"{consumer_id or 'consumer'}{SESSION_MARK}{self.name}"
        if len(self.holders) >= HOLDERS_MAX and (queue, name) not in self.holders:
            raise InvalidRequest(f"a connection may consume under {HOLDERS_MAX} names and queues, these are more")
        self.holders[queue, name] = None
        return name

    def end(self) -> None:
        """Remove all feeds."""
        for topic in list(self.feeds):
            self.close(topic)
