"""What tests of queues, streams and pub/sub share: connections without a socket, stories, and recovery."""

from __future__ import annotations

import json
from typing import Any

from synap.clock import Millis
from synap.commands.caller import Caller
from synap.commands.events import StreamFeed
from synap.commands.outbox import MessageFrames, Outbox, Policy, Push
from synap.commands.session import Session
from synap.engines.streams import Stream
from tests.commands.waiters import Waiter, blocked
from tests.support import Harness, payload_of

NO_MESSAGE = dict.fromkeys(
    ("message_id", "message", "priority", "retry_count", "headers", "seq", "published_at", "delivery", "deadline")
)


class Connection(Session):
    """A connection that stays open, as far as commands know; counts how often it is woken."""

    def __init__(
        self,
        harness: Harness,
        name: str = "session",
        *,
        messages_max: int = 1_000,
        bytes_max: int = 1_000_000,
        policy: Policy = "drop_oldest",
    ) -> None:
        self.harness = harness
        self.woken = 0
        outbox = Outbox(
            harness.state.pubsub,
            MessageFrames(),
            self._wake,
            messages_max=messages_max,
            bytes_max=bytes_max,
            policy=policy,
        )
        super().__init__(name, harness.state.line, outbox)

    def _wake(self) -> None:
        self.woken += 1

    def send(self, request: Any) -> Any:
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        return json.loads(self.harness.dispatcher.answer(body, caller=Caller(session=self)).body)

    def call(self, command: str, /, **payload: Any) -> Any:
        return payload_of(self.send({"command": command, "payload": payload}))

    def waiting(self, command: str, /, **payload: Any) -> Waiter:
        body = json.dumps({"command": command, "payload": payload}).encode()
        return blocked(lambda: self.harness.dispatcher.answer(body, caller=Caller(session=self)))

    def drained(self, bytes_max: int = 1_000_000) -> list[Any]:
        """What pub/sub has for it, decoded."""
        return [json.loads(push.body) for push in self.outbox.drain(bytes_max)]

    def feed(self, room: str) -> StreamFeed:
        feed = self.feeds[(Stream, room)]
        assert isinstance(feed, StreamFeed)
        return feed

    def pulled(self, room: str, bytes_max: int = 1_000_000) -> list[Any]:
        """What a subscription to a room has, decoded; one pull."""
        return decoded(self.feed(room).pull(self.harness.clock.now(), bytes_max))


def decoded(pushes: list[Push]) -> list[Any]:
    return [json.loads(push.body) for push in pushes]


def waiting(harness: Harness, command: str, /, **payload: Any) -> Waiter:
    """A client whose blocking command finds nothing."""
    body = json.dumps({"command": command, "payload": payload}).encode()
    return blocked(lambda: harness.dispatcher.answer(body))


def raw_payload(harness: Harness, command: str, payload: str) -> bytes:
    """The payload of the reply to a payload given as text, byte for byte."""
    body = harness.answer(f'{{"command":"{command}","payload":{payload}}}'.encode()).body
    assert b'"status":"success"' in body, body
    return body.partition(b'"payload":')[2][:-1]


def tick(harness: Harness, seconds: float) -> None:
    """Let time pass, and the server notice."""
    harness.clock.advance(seconds)
    harness.dispatcher.tick(1_000)


def check_recovery(harness: Harness) -> None:
    """Journal and snapshot both tell how things are."""
    now: Millis = harness.clock.now()
    digest = harness.digest()
    assert harness.replayed().digest(now) == digest
    assert harness.restored().digest(now) == digest


# Queues


def queue(harness: Harness, name: str = "q", **config: Any) -> None:
    harness.call("queue.create", queue=name, config=config)


def put(harness: Harness, message: Any = 1, queue: str = "q", **fields: Any) -> Any:
    return harness.call("queue.publish", queue=queue, message=message, **fields)


def take(harness: Harness, queue: str = "q", **fields: Any) -> Any:
    return harness.call("queue.consume", queue=queue, **fields)


def taken(harness: Harness, queue: str = "q") -> list[Any]:
    """Everything that is ready, leased."""
    return [each["message"] for each in take(harness, queue, max_messages=10_000)["messages"]]


def stats(harness: Harness, queue: str = "q") -> Any:
    return harness.call("queue.stats", queue=queue)


def counts(harness: Harness, queue: str = "q") -> tuple[int, int, int, int]:
    """Ready, delayed, in flight, dead."""
    now = stats(harness, queue)
    return now["depth"], now["delayed"], now["in_flight"], now["dlq_depth"]


# Streams


def event(harness: Harness, data: Any = 1, room: str = "r", event_type: str = "e", **fields: Any) -> Any:
    return harness.call("stream.publish", room=room, event_type=event_type, data=data, **fields)


def events(harness: Harness, *data: Any, room: str = "r", **fields: Any) -> None:
    for each in data:
        event(harness, each, room, **fields)


def history(harness: Harness, room: str = "r", **fields: Any) -> list[Any]:
    return [each["data"] for each in harness.call("stream.history", room=room, **fields)["events"]]


def read(harness: Harness, group: str = "g", room: str = "r", **fields: Any) -> Any:
    return harness.call("stream.consume", room=room, group=group, **fields)
