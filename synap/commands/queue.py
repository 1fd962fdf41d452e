"""`queue.*`: making queues, publishing to them and looking at them. The rules stand in engines/queues.py.

What consumers ask for is in queue_consuming.py, dead letters are in queue_dead_letters.py.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from synap.clock import Millis
from synap.commands import large
from synap.commands.messages import (
    Body,
    Delivery,
    Headers,
    QueueName,
    QueueOnly,
    described,
    encoded_headers,
    existing_queue,
    queue_not_found,
)
from synap.commands.state import State
from synap.commands.table import NoPayload, command, unchanged
from synap.commands.types import UNSET, Count, Payload, Result, Ttl, Unset, expires_at
from synap.engines.queue_config import (
    Delay,
    MaxDepth,
    MaxRetries,
    Multiplier,
    Period,
    QueueConfig,
    Strategy,
)
from synap.engines.queues import Queue
from synap.errors import QueueExists, QueueFull

DedupId = Annotated[str, msgspec.Meta(min_length=1, max_length=1_024)]


class RetryOptions(Payload):
    """How long a message rests before it comes again; what is left out is as the server's defaults say."""

    strategy: Strategy | Unset = UNSET
    initial_secs: Delay | Unset = UNSET
    max_secs: Delay | Unset = UNSET
    multiplier: Multiplier | Unset = UNSET


class QueueOptions(Payload):
    """What a queue is like; what is left out is as the server's defaults say."""

    max_depth: MaxDepth | Unset | None = UNSET
    ack_deadline_secs: Period | Unset = UNSET
    max_retries: MaxRetries | Unset = UNSET
    retry: RetryOptions | Unset = UNSET
    message_ttl_secs: Period | Unset | None = UNSET
    dead_letter: bool | Unset = UNSET

    def over(self, base: QueueConfig) -> QueueConfig:
        """The configuration where these options take the place of `base`'s."""
        given = _given(self)
        if self.retry is not UNSET:
            given["retry"] = msgspec.structs.replace(base.retry, **_given(self.retry))
        return msgspec.structs.replace(base, **given)


class Create(Payload):
    """Payload of queue.create and queue.configure."""

    queue: QueueName
    config: QueueOptions = msgspec.field(default_factory=QueueOptions)


class Created(Result):
    """`created` is false when the queue was there already, with the same configuration."""

    queue: str
    created: bool


@command(
    "queue.create",
    writes=True,
    creates=True,
    keys=("queue",),
    routes=("POST /queue/{queue}",),
    cost="O(1)",
    since="0.3",
)
def create(state: State, payload: Create, now: Millis) -> Created:
    """Create a queue. One that is there with another configuration is QUEUE_EXISTS."""
    queue = state.queues.find(payload.queue, now)
    config = payload.config.over(state.defaults.queue)
    if queue is None:
        state.queues.create(payload.queue, config)
        return Created(payload.queue, True)
    if queue.config != config:
        raise QueueExists(
            f"there is a queue {payload.queue[:100]!r} with another configuration; queue.configure changes it",
            queue=payload.queue,
            config=msgspec.to_builtins(queue.config),
        )
    return unchanged(Created(payload.queue, False))


class Configured(Result):
    """The configuration now in force."""

    queue: str
    config: QueueConfig


@command("queue.configure", writes=True, grows=False, keys=("queue",), cost="O(1)", since="0.3")
def configure(state: State, payload: Create, now: Millis) -> Configured:
    """Change the configuration of a queue; what is left out stays. It holds for what happens from now on."""
    queue = existing_queue(state, payload.queue, now)
    config = payload.config.over(queue.config)
    if config == queue.config:
        return unchanged(Configured(queue.name, config))
    queue.config = config
    return Configured(queue.name, config)


class Publish(Body, kw_only=True):
    """Payload of queue.publish: `message`, or `message_base64` for bytes that are not JSON."""

    queue: QueueName
    priority: Annotated[int, msgspec.Meta(ge=0, le=9, description="9 comes first")] = 5
    headers: Headers = msgspec.field(default_factory=dict)
    delay_secs: Delay = 0
    ttl: Ttl | None = None
    dedup_id: DedupId | None = None


class Published(Result):
    """`position` 1 is next; null while delayed, or when the message is with a consumer or gone.

    `duplicate`: the `dedup_id` was seen in the last five minutes. Nothing was added, and the rest describes that
    message.
    """

    message_id: str
    position: int | None
    seq: int
    duplicate: bool


@command(
    "queue.publish",
    trace_in="headers",
    writes=True,
    keys=("queue",),
    routes=("POST /queue/{queue}/publish",),
    cost="O(log n)",
    since="0.3",
)
def publish(state: State, payload: Publish, now: Millis) -> Published:
    """Add a message. A queue that is not there is created, unless the server says otherwise."""
    queue = state.queues.find(payload.queue, now)
    if queue is None:
        if not state.defaults.creates_queues:
            raise queue_not_found(payload.queue)
        queue = state.queues.create(payload.queue, state.defaults.queue)
    elif payload.dedup_id is not None and (first := queue.duplicate_of(payload.dedup_id, now)) is not None:
        message_id, seq = first
        return unchanged(Published(message_id, queue.position(seq), seq, True))
    if queue.room == 0:
        raise QueueFull(
            f"queue {queue.name[:100]!r} holds {queue.depth + queue.delayed} messages, as many as it may",
            queue=queue.name,
            max_depth=queue.config.max_depth,
        )
    body, is_json = payload.content()
    message = queue.publish(
        body,
        is_json=is_json,
        priority=payload.priority,
        headers=encoded_headers(payload.headers),
        now=now,
        delay_ms=round(payload.delay_secs * 1000) if payload.delay_secs else 0,
        ttl_ms=None if payload.ttl is None else expires_at(payload.ttl, 0),
        dedup_id=payload.dedup_id,
    )
    return Published(queue.message_id(message), queue.place(message), message.seq, False)


class Peek(Payload):
    """Payload of queue.peek."""

    queue: QueueName
    count: Count = 1


class Messages(Result):
    """Messages in order."""

    messages: list[Delivery]


@command("queue.peek", keys=("queue",), cost="O(count)", since="0.3")
def peek(state: State, payload: Peek, now: Millis) -> Messages:
    """Look at the next messages without taking them."""
    queue = existing_queue(state, payload.queue, now)
    return Messages([described(queue, message) for message in queue.peek(payload.count)])


class Purged(Result):
    """How many messages were dropped."""

    purged: int


@command(
    "queue.purge",
    writes=True,
    grows=False,
    keys=("queue",),
    routes=("POST /queue/{queue}/purge",),
    cost="O(n)",
    since="0.3",
)
def purge(state: State, payload: QueueOnly, now: Millis) -> Purged:
    """Drop the messages that are ready or delayed; those in flight and the dead letters stay."""
    purged = existing_queue(state, payload.queue, now).purge()
    return Purged(purged) if purged else unchanged(Purged(0))


class Deleted(Result):
    """Whether there was something to delete."""

    deleted: bool


@command(
    "queue.delete",
    writes=True,
    grows=False,
    keys=("queue",),
    routes=("DELETE /queue/{queue}",),
    cost="O(n)",
    since="0.3",
)
def delete(state: State, payload: QueueOnly, now: Millis) -> Deleted:
    """Delete a queue with everything in it."""
    if state.queues.find(payload.queue, now) is None:
        return unchanged(Deleted(False))
    state.queues.remove(payload.queue)
    return Deleted(True)


class Stats(Result):
    """A queue in numbers. Totals count since it was created.

    `consumers` are those subscribed or waiting, and those named ones that have messages in flight.
    """

    queue: str
    depth: int
    delayed: int
    in_flight: int
    consumers: int
    published_total: int
    consumed_total: int
    acked_total: int
    nacked_total: int
    dead_lettered_total: int
    dlq_depth: int
    oldest_message_age_secs: int
    config: QueueConfig


@command("queue.stats", keys=("queue",), routes=("GET /queue/{queue}/stats",), cost="O(1)", since="0.3")
def stats(state: State, payload: QueueOnly, now: Millis) -> Stats:
    """Describe a queue."""
    queue = existing_queue(state, payload.queue, now)
    oldest_at = queue.oldest_ready_at()
    return Stats(
        queue=queue.name,
        depth=queue.depth,
        delayed=queue.delayed,
        in_flight=queue.in_flight,
        consumers=_consumers(state, queue),
        published_total=queue.published_total,
        consumed_total=queue.consumed_total,
        acked_total=queue.acked_total,
        nacked_total=queue.nacked_total,
        dead_lettered_total=queue.dead_lettered_total,
        dlq_depth=queue.dlq_depth,
        oldest_message_age_secs=0 if oldest_at is None else (now - oldest_at) // 1000,
        config=queue.config,
    )


class Listed(Result):
    """A queue in the list of all."""

    name: str
    depth: int
    in_flight: int


class Queues(Result):
    """All queues, by name."""

    queues: list[Listed]


@command("queue.list", routes=("GET /queue/list",), cost="O(queues)", since="0.3")
def list_(state: State, payload: NoPayload, now: Millis) -> Queues:
    """List all queues.

    Where there are many, this takes several turns of the server: each is described as it is at its turn.
    """
    listing = (
        Listed(name, queue.depth, queue.in_flight)
        for name in state.queues.names()
        if (queue := state.queues.find(name, now)) is not None
    )
    return large.listed(Queues, listing, len(state.queues))


def _consumers(state: State, queue: Queue) -> int:
    waiting = state.line.names((Queue, queue.name))
    return len({name for name in waiting if name is not None} | set(queue.holders())) + waiting.count(None)


def _given(options: msgspec.Struct) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(options).items() if value is not UNSET}
