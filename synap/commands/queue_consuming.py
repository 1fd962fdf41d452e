"""`queue.*` for consumers: leasing messages, acknowledging them, giving them back, having them pushed."""

from __future__ import annotations

from itertools import repeat
from typing import Annotated, Any, Literal

import msgspec

from synap.clock import Millis
from synap.commands.admission import Admission
from synap.commands.messages import (
    Delivery,
    MessageId,
    QueueName,
    QueueOnly,
    described,
    existing_queue,
    message_not_found,
)
from synap.commands.session import SESSION_MARK, Session
from synap.commands.state import State
from synap.commands.table import NoPayload, command, nothing_yet, unchanged
from synap.commands.types import UNSET, Count, Json, Payload, Result, Unset, check_either, expires_at
from synap.engines.arrivals import Topic
from synap.engines.queue_config import Delay, Period
from synap.engines.queue_holders import Lease
from synap.engines.queue_message import Message
from synap.engines.queues import Queue
from synap.errors import InvalidPayload

PREFETCH_MAX = 10_000
CONSUMED_AT_ONCE_MAX = 100
FOREVER_SECS = 9e9
CONSUMER_ID_CHARS_MAX = 256
ConsumerId = Annotated[str, msgspec.Meta(min_length=1, max_length=CONSUMER_ID_CHARS_MAX)]
# A consumer with the session that it is part of: what the journal keeps must fit as well.
Holder = Annotated[str, msgspec.Meta(min_length=1, max_length=2 * CONSUMER_ID_CHARS_MAX)]


class Consume(Payload):
    """Payload of queue.consume. A `timeout` in seconds waits for a message; `max_messages` asks for several at once.

    `ack_deadline` in seconds says how long the messages are the consumer's alone; default is the queue's.
    """

    queue: QueueName
    timeout: Annotated[float, msgspec.Meta(ge=0)] = 0
    ack_deadline: Period | None = None
    consumer_id: Holder | None = None
    max_messages: Count | None = None

    def leased_until(self, queue: Queue, now: Millis) -> Millis:
        """When a lease that begins now is over."""
        return expires_at(queue.config.ack_deadline_secs if self.ack_deadline is None else self.ack_deadline, now)


class Consumed(Result):
    """A message, or nulls when there was none; with `max_messages`, the list `messages` instead."""

    message_id: str | Unset | None = UNSET
    message: Json | Unset | None = UNSET
    priority: int | Unset | None = UNSET
    retry_count: int | Unset | None = UNSET
    headers: Json | Unset | None = UNSET
    seq: int | Unset | None = UNSET
    published_at: int | Unset | None = UNSET
    delivery: int | Unset | None = UNSET
    deadline: int | Unset | None = UNSET
    message_base64: bytes | Unset = UNSET
    messages: list[Delivery] | Unset = UNSET


_NOTHING: dict[str, Any] = dict.fromkeys(
    ("message_id", "message", "priority", "retry_count", "headers", "seq", "published_at", "delivery", "deadline")
)


def _lease_in_session(payload: Consume, admission: Admission) -> Consume | None:
    """On a connection that stays open, leases are held in its name: they end with it."""
    session = admission.caller.session
    if session is None:
        return None
    length = len(payload.consumer_id or "")
    if length > CONSUMER_ID_CHARS_MAX:
        raise InvalidPayload(
            f"payload.consumer_id: expected at most {CONSUMER_ID_CHARS_MAX} characters, got {length}",
            path="payload.consumer_id",
        )
    payload.consumer_id = session.holder(payload.queue, payload.consumer_id)
    return payload


@command(
    "queue.consume",
    writes=True,
    grows=False,
    waits=True,
    keys=("queue",),
    routes=("GET /queue/{queue}/consume", "POST /queue/{queue}/consume"),
    admit=_lease_in_session,
    cost="O(messages * log n)",
    since="0.3",
)
def consume(state: State, payload: Consume, now: Millis) -> Consumed:
    """Take the next message, or several. They come again unless they are acknowledged before their deadline."""
    queue = existing_queue(state, payload.queue, now)
    leased = queue.lease(payload.max_messages or 1, payload.leased_until(queue, now), payload.consumer_id)
    if leased:
        if payload.max_messages is None:
            return described(queue, leased[0], Consumed)
        return Consumed(messages=[described(queue, message) for message in leased])
    nothing = Consumed(**_NOTHING) if payload.max_messages is None else Consumed(messages=[])
    if not payload.timeout:
        return unchanged(nothing)
    return nothing_yet(nothing, payload.timeout, [(Queue, payload.queue)], lambda _: payload, name=payload.consumer_id)


class Acknowledge(Payload):
    """Payload of queue.ack. With `delivery` (`deliveries` for several), as it came with the message, an earlier lease
    of it does not count.
    """

    queue: QueueName
    message_id: MessageId | None = None
    message_ids: Annotated[list[MessageId], msgspec.Meta(min_length=1, max_length=10_000)] | None = None
    delivery: int | None = None
    deliveries: Annotated[list[int], msgspec.Meta(min_length=1, max_length=10_000)] | None = None

    def __post_init__(self) -> None:
        check_either(self.message_id, self.message_ids, "message_id or message_ids")
        if self.message_ids is not None and self.delivery is not None:
            raise ValueError("delivery: goes with message_id only")
        if self.deliveries is not None and len(self.deliveries) != len(self.message_ids or ()):
            raise ValueError("deliveries: expected one for each of message_ids")


class Acknowledged(Result):
    """`missing` lists messages that are unknown or whose lease is over; `success`: there were none."""

    success: bool
    acked: int
    missing: list[str]


@command(
    "queue.ack",
    writes=True,
    grows=False,
    keys=("queue",),
    routes=("POST /queue/{queue}/ack",),
    cost="O(messages * log n)",
    since="0.3",
)
def ack(state: State, payload: Acknowledge, now: Millis) -> Acknowledged:
    """Say that messages are done with. MESSAGE_NOT_FOUND when none of them is leased any longer."""
    queue = existing_queue(state, payload.queue, now)
    if payload.message_id is not None:
        queue.ack(_leased(queue, payload.message_id, payload.delivery))
        return Acknowledged(True, 1, [])
    wanted = dict(zip(payload.message_ids or (), payload.deliveries or repeat(None), strict=False))
    found = {i: message for i, delivery in wanted.items() if (message := queue.leased(i, delivery)) is not None}
    if not found:
        raise message_not_found(queue, next(iter(wanted)))
    for message in found.values():
        queue.ack(message)
    missing = [message_id for message_id in wanted if message_id not in found]
    return Acknowledged(not missing, len(found), missing)


class Nack(Payload):
    """Payload of queue.nack. `delay_secs`: how long it rests; by default, as the queue's retry policy says."""

    queue: QueueName
    message_id: MessageId
    requeue: bool = True
    delay_secs: Delay | None = None
    delivery: int | None = None


class Nacked(Result):
    """What has become of the message."""

    success: bool
    action: Literal["requeued", "dead_lettered", "dropped"]


@command(
    "queue.nack",
    writes=True,
    grows=False,
    keys=("queue",),
    routes=("POST /queue/{queue}/nack",),
    cost="O(log n)",
    since="0.3",
)
def nack(state: State, payload: Nack, now: Millis) -> Nacked:
    """Give a message back: it comes again, or is a dead letter with `requeue` false or after too many deliveries."""
    queue = existing_queue(state, payload.queue, now)
    message = _leased(queue, payload.message_id, payload.delivery)
    if not payload.requeue:
        return Nacked(True, queue.reject(message, now))
    delay_ms = None if payload.delay_secs is None else round(payload.delay_secs * 1000)
    return Nacked(True, queue.give_back(message, now, delay_ms))


class Extend(Payload):
    """Payload of queue.extend; `ack_deadline` in seconds from now."""

    queue: QueueName
    message_id: MessageId
    ack_deadline: Period
    delivery: int | None = None


class Extended(Result):
    """When the lease is over now."""

    success: bool
    deadline: int


@command("queue.extend", writes=True, grows=False, keys=("queue",), cost="O(log n)", since="0.3")
def extend(state: State, payload: Extend, now: Millis) -> Extended:
    """Let a lease run until `ack_deadline` seconds from now."""
    queue = existing_queue(state, payload.queue, now)
    message = _leased(queue, payload.message_id, payload.delivery)
    deadline = expires_at(payload.ack_deadline, now)
    queue.extend(message, deadline)
    return Extended(True, deadline)


class Release(Payload):
    """Payload of queue.release."""

    queue: QueueName
    consumer_id: str


class Released(Result):
    """How many messages were in flight."""

    released: int


@command("queue.release", writes=True, grows=False, internal=True, cost="O(released * log n)", since="0.3")
def release(state: State, payload: Release, now: Millis) -> Released:
    """Give back all that a consumer has in flight, because its connection is gone."""
    queue = state.queues.find(payload.queue, now)
    released = 0 if queue is None else queue.release(payload.consumer_id, now)
    return Released(released) if released else unchanged(Released(0))


@command("queue.release_sessions", writes=True, grows=False, internal=True, cost="O(released * log n)", since="0.3")
def release_sessions(state: State, payload: NoPayload, now: Millis) -> Released:
    """Give back all that was in flight on connections, because the server has started anew and there are none."""
    released = 0
    for name in state.queues.names():
        queue = existing_queue(state, name, now)
        for holder in sorted(queue.holders()):
            if SESSION_MARK in holder:
                released += queue.release(holder, now)
    return Released(released) if released else unchanged(Released(0))


class Subscribe(Payload):
    """Payload of queue.subscribe: at most `prefetch` messages are unacknowledged at a time."""

    queue: QueueName
    prefetch: Annotated[int, msgspec.Meta(ge=1, le=PREFETCH_MAX)] = 1
    ack_deadline: Period | None = None
    consumer_id: ConsumerId | None = None


class Subscribed(Result):
    """The subscription is made."""

    subscribed: bool
    queue: str
    prefetch: int


class QueueFeed:
    """A subscription to a queue: how many messages its session may have in flight there."""

    def __init__(self, payload: Subscribe, holder: str) -> None:
        self.queue = payload.queue
        self.prefetch = payload.prefetch
        self.holder = holder
        self.ack_deadline = payload.ack_deadline
        self.topic: Topic = (Lease, payload.queue, holder)
        self.subscribed = ("queue.subscribe", payload.queue)
        self.ended = False

    def credit(self, state: State, now: Millis) -> int:
        """How many more messages it may have now. Raises QueueNotFound."""
        return self.prefetch - existing_queue(state, self.queue, now).in_flight_of(self.holder)

    def request(self, credit: int) -> Consume:
        """What to ask for, for as long as it takes."""
        return Consume(
            queue=self.queue,
            timeout=FOREVER_SECS,
            ack_deadline=self.ack_deadline,
            consumer_id=self.holder,
            max_messages=min(credit, CONSUMED_AT_ONCE_MAX),
        )


@command("queue.subscribe", attaches=True, has_effect=True, keys=("queue",), cost="O(1)", since="0.3")
def subscribe(state: State, payload: Subscribe, now: Millis, session: Session) -> Subscribed:
    """Have messages pushed on this WebSocket. What is not acknowledged when it closes comes again at once."""
    existing_queue(state, payload.queue, now)
    session.open(QueueFeed(payload, session.holder(payload.queue, payload.consumer_id)))
    return Subscribed(True, payload.queue, payload.prefetch)


class Unsubscribed(Result):
    """Whether there was a subscription."""

    unsubscribed: bool


@command("queue.unsubscribe", attaches=True, keys=("queue",), cost="O(subscriptions)", since="0.3")
def unsubscribe(state: State, payload: QueueOnly, now: Millis, session: Session) -> Unsubscribed:
    """Have no more messages of a queue pushed. Those unacknowledged stay leased until the connection closes."""
    topics = [t for t, f in session.feeds.items() if isinstance(f, QueueFeed) and f.queue == payload.queue]
    for topic in topics:
        session.close(topic)
    return Unsubscribed(bool(topics))


def _leased(queue: Queue, message_id: str, delivery: int | None) -> Message:
    """The message if it is leased, under that delivery where one is named. Raises MessageNotFound."""
    message = queue.leased(message_id, delivery)
    if message is None:
        raise message_not_found(queue, message_id)
    return message
