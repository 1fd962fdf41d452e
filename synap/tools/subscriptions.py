"""What a WebSocket is subscribed to, kept so that another one can go on where it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

Payload = dict[str, Any]


class Subscription(Protocol):
    """One of them. `command` with `resumed()` continues it."""

    @property
    def command(self) -> str:
        """What it is begun with."""

    @property
    def label(self) -> str:
        """What a person calls it."""

    def begun(self, result: Payload) -> None:
        """The server has agreed."""

    def saw(self, push: Payload) -> None:
        """This has been pushed."""

    def resumed(self) -> Payload:
        """What to ask for so that nothing is missed or comes twice."""


class Room:
    """Events of a stream: continues behind the last event of every partition."""

    command = "stream.subscribe"

    def __init__(self, payload: Payload) -> None:
        self.label = f"room {payload.get('room')}"
        self._payload = payload
        self._next: dict[str, int] = {}
        self._was_missing = False

    def begun(self, result: Payload) -> None:
        """See Subscription."""
        self._next |= result["next_offsets"]
        self._was_missing = not self._next

    def saw(self, push: Payload) -> None:
        """See Subscription."""
        last = push.get("to") if push["type"] == "gap" else push.get("offset")
        if last is not None:
            self._next[str(push.get("partition", 0))] = last + 1

    def resumed(self) -> Payload:
        """See Subscription."""
        kept = {name: value for name, value in self._payload.items() if name not in ("from_offset", "replay")}
        if self._was_missing:
            kept["from_offset"] = 0
        return kept | {"from_offsets": self._next}


class Queue:
    """Messages of a queue: what was not acknowledged comes again anyway."""

    command = "queue.subscribe"

    def __init__(self, payload: Payload) -> None:
        self.label = f"queue {payload.get('queue')}"
        self._payload = payload

    def begun(self, result: Payload) -> None:
        """See Subscription."""

    def saw(self, push: Payload) -> None:
        """See Subscription."""

    def resumed(self) -> Payload:
        """See Subscription."""
        return self._payload


class Topics:
    """Pub/sub: the patterns of a connection belong together, so that a message comes once however many match."""

    command = "pubsub.subscribe"

    def __init__(self, payload: Payload) -> None:
        self._payload = payload
        self._epoch = ""
        self._seq = 0

    @property
    def label(self) -> str:
        """What a person calls it."""
        return f"topics {', '.join(self.patterns)}"

    @property
    def patterns(self) -> list[str]:
        """What is subscribed to."""
        return list(self._payload.get("topics", ()))

    def keep(self, patterns: list[str]) -> None:
        """Be subscribed to these from now on."""
        self._payload = self._payload | {"topics": patterns}

    def begun(self, result: Payload) -> None:
        """See Subscription."""
        self._epoch = result["epoch"]
        self._seq = result["seq"]
        self.keep(result["subscribed"])

    def saw(self, push: Payload) -> None:
        """See Subscription."""
        self._seq = push.get("seq", self._seq)

    def resumed(self) -> Payload:
        """See Subscription."""
        return self._payload | {"epoch": self._epoch, "last_seq": self._seq}


class Subscriptions:
    """All of a connection. It learns of them from what is asked and answered."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}
        self._queues: dict[str, Queue] = {}
        self._topics: Topics | None = None

    def __iter__(self) -> Iterator[Subscription]:
        yield from self._rooms.values()
        yield from self._queues.values()
        if self._topics is not None:
            yield self._topics

    def answered(self, command: str, payload: str, result: Payload) -> None:
        """The server has agreed to a command that begins or ends a subscription."""
        asked = json.loads(payload)
        match command:
            case "stream.subscribe":
                room = self._rooms[asked["room"]] = Room(asked)
                room.begun(result)
            case "queue.subscribe":
                self._queues[asked["queue"]] = Queue(asked)
            case "pubsub.subscribe":
                self._topics = self._topics or Topics(asked)
                self._topics.begun(result)
            case "stream.unsubscribe":
                self._rooms.pop(asked["room"], None)
            case "queue.unsubscribe":
                self._queues.pop(asked["queue"], None)
            case "pubsub.unsubscribe" if self._topics is not None:
                self._topics.keep([p for p in self._topics.patterns if p not in result["unsubscribed"]])
                self._topics = self._topics if self._topics.patterns else None

    def saw(self, push: Payload) -> None:
        """This has been pushed."""
        if push["type"] == "end":
            self._rooms.pop(push.get("room", ""), None)
            self._queues.pop(push.get("queue", ""), None)
        elif "room" in push and push["room"] in self._rooms:
            self._rooms[push["room"]].saw(push)
        elif "topic" in push and self._topics is not None:
            self._topics.saw(push)

    def drop(self, subscription: Subscription) -> None:
        """It could not be continued."""
        self._rooms = {name: room for name, room in self._rooms.items() if room is not subscription}
        self._queues = {name: queue for name, queue in self._queues.items() if queue is not subscription}
        self._topics = None if self._topics is subscription else self._topics

    def endings(self) -> list[tuple[str, Payload]]:
        """The commands that end all of them."""
        rooms: list[tuple[str, Payload]] = [("stream.unsubscribe", {"room": room}) for room in self._rooms]
        queues: list[tuple[str, Payload]] = [("queue.unsubscribe", {"queue": queue}) for queue in self._queues]
        return [*rooms, *queues, *([("pubsub.unsubscribe", {})] if self._topics else [])]

    def clear(self) -> None:
        """There are none any more."""
        self._rooms, self._queues, self._topics = {}, {}, None
