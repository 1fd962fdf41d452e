"""What clients wait for, and what of it has come: how an engine tells that a blocking command may go on.

An engine calls `note` when something appears that was not there; that is all it knows of waiting. Whoever keeps
the line of waiters (commands/waiting.py) says what is awaited and takes out what has arrived.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable

Topic = Hashable


class Arrivals:
    """Topics that have arrived while somebody awaited them, in the order they came."""

    __slots__ = ("arrived", "awaited")

    def __init__(self) -> None:
        self.awaited: Collection[Topic] = ()
        self.arrived: OrderedDict[Topic, None] = OrderedDict()

    def note(self, topic: Topic) -> None:
        """Something has come."""
        if topic in self.awaited:
            self.arrived[topic] = None
