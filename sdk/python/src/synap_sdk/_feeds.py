"""Subscriptions without the connection: what to ask for, again after every reconnect, and what came.

A stream goes on at the next offset of each partition; pub/sub names the epoch and the last number it has seen; a queue
has its unacknowledged messages again. What is missing all the same is a `Missed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from synap_sdk import results as r
from synap_sdk._failure import SynapError
from synap_sdk._protocol import encode

T = TypeVar("T")


class Message(msgspec.Struct, gc=False):
    """A pub/sub message. `pattern` is one that matched the topic; `timestamp` is in Unix milliseconds."""

    topic: str
    pattern: str
    message: Any
    message_id: str
    seq: int
    timestamp: int
    metadata: dict[str, Any] | None = None


class Missed(msgspec.Struct, frozen=True):
    """Something that a subscriber would have got and will not get."""

    source: str
    """The room, or the topic; "" where it was several topics."""
    missed: int | None
    """How many events or messages; None: nobody knows, the server has started anew."""
    reason: str
    partition: int | None = None
    first: int | None = None
    """Of a stream: the first offset that is gone."""
    last: int | None = None

    def __str__(self) -> str:
        many = "an unknown number" if self.missed is None else str(self.missed)
        return f"missed {many} of {self.source or 'several topics'} ({self.reason})"


class MissedEvents(SynapError):
    """Retention has removed events of a stream before they were read. Iterating again goes on behind them."""

    def __init__(self, gap: Missed) -> None:
        super().__init__(f"{gap}: offsets {gap.first} to {gap.last} of partition {gap.partition} are gone")
        self.gap = gap


class SubscriptionEnded(SynapError):
    """There will be nothing more: the room or queue was deleted."""


class Push(msgspec.Struct, gc=False):
    """What is said about a frame that is pushed."""

    type: str
    reason: str = ""
    topic: str = ""
    room: str = ""
    partition: int | None = None
    missed: int | None = None
    first: int | None = msgspec.field(default=None, name="from")
    last: int | None = msgspec.field(default=None, name="to")


_read_push = msgspec.json.Decoder(Push).decode


class Feed(Generic[T]):
    """One subscription. Subclasses say what to ask for and what a frame is."""

    command: str
    kind: str
    item: type[T]

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(self.item).decode

    def payload(self) -> Mapping[str, Any]:
        """What to subscribe with."""
        raise NotImplementedError

    def begun(self, result: Any) -> Missed | None:
        """The subscription is made."""

    def advance(self, item: T) -> None:
        """An item was taken."""

    def skipped(self, gap: Missed) -> None:
        """A gap was told."""

    def request(self) -> bytes:
        """The frame that subscribes."""
        return encode({"command": self.command, "payload": self.payload(), "request_id": "subscribe"})

    def read(self, frame: bytes) -> T | Missed | SubscriptionEnded | None:
        """What was pushed; None for what does not matter here."""
        push = _read_push(frame)
        if push.type == self.kind:
            item = self._decode(frame)
            self.advance(item)
            return item
        if push.type == "gap":
            gap = Missed(push.room or push.topic, push.missed, "overrun", push.partition, push.first, push.last)
            self.skipped(gap)
            return gap
        if push.type == "end":
            return SubscriptionEnded(push.reason or "the subscription has ended")
        return None


class StreamFeed(Feed[r.StreamEvent]):
    """Events of a room."""

    command, kind, item = "stream.subscribe", "event", r.StreamEvent

    def __init__(self, payload: dict[str, Any]) -> None:
        super().__init__()
        self._payload = payload
        self._next: dict[int, int] = {}

    def payload(self) -> Mapping[str, Any]:
        if not self._next:
            return self._payload
        kept = {
            name: self._payload[name]
            for name in ("room", "partition", "event_types", "create")
            if name in self._payload
        }
        return kept | {"from_offsets": {str(partition): offset for partition, offset in self._next.items()}}

    def begun(self, result: Any) -> Missed | None:
        begun = msgspec.convert(result, r.StreamSubscribeResult)
        self._next = {int(partition): offset for partition, offset in begun.next_offsets.items()}
        if not self._next:
            self._payload = {**self._payload, "replay": True}  # all that will be in a room that is still to come
        if begun.gap is None:
            return None
        gap = begun.gap
        return Missed(begun.room, gap.to - gap.from_ + 1, "retention", min(self._next, default=0), gap.from_, gap.to)

    def advance(self, item: r.StreamEvent) -> None:
        self._next[item.partition] = item.offset + 1

    def skipped(self, gap: Missed) -> None:
        if gap.partition is not None and gap.last is not None:
            self._next[gap.partition] = gap.last + 1


class PubsubFeed(Feed[Message]):
    """Messages of topics."""

    command, kind, item = "pubsub.subscribe", "message", Message

    def __init__(self, payload: dict[str, Any]) -> None:
        super().__init__()
        self._payload = payload
        self._epoch: str | None = payload.get("epoch")
        self._last_seq: int | None = payload.get("last_seq")

    def payload(self) -> Mapping[str, Any]:
        return {**self._payload, "epoch": self._epoch, "last_seq": self._last_seq}

    def begun(self, result: Any) -> Missed | None:
        begun = msgspec.convert(result, r.PubsubSubscribeResult)
        if begun.epoch != self._epoch or self._last_seq is None:
            self._epoch, self._last_seq = begun.epoch, begun.seq
        return None if begun.gap is None else Missed("", begun.gap.missed, begun.gap.reason)

    def advance(self, item: Message) -> None:
        self._last_seq = max(item.seq, self._last_seq or 0)


class QueueFeed(Feed[r.QueueDelivery]):
    """Messages of a queue, each leased to this connection until it is acknowledged."""

    command, kind, item = "queue.subscribe", "message", r.QueueDelivery

    def __init__(self, payload: dict[str, Any]) -> None:
        super().__init__()
        self._payload = payload

    def payload(self) -> Mapping[str, Any]:
        return self._payload


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
