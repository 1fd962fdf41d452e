"""`queue.dlq*`: messages that could not be delivered."""

from __future__ import annotations

from synap.clock import Millis
from synap.commands.messages import MessageId, QueueName, QueueOnly, described, existing_queue
from synap.commands.queue import Messages, Purged
from synap.commands.state import State
from synap.commands.table import command, unchanged
from synap.commands.types import Count, Payload, Result
from synap.engines.queues import Queue
from synap.errors import MessageNotFound, QueueFull


class DeadLetters(Payload):
    """Payload of queue.dlq."""

    queue: QueueName
    count: Count = 100


@command("queue.dlq", keys=("queue",), routes=("GET /queue/{queue}/dlq",), cost="O(count)", since="0.3")
def dlq(state: State, payload: DeadLetters, now: Millis) -> Messages:
    """Look at the dead letters, the first to die first; headers `x-death-reason` and `x-death-at` say why and when."""
    queue = existing_queue(state, payload.queue, now)
    return Messages([described(queue, message) for message in queue.dead_letters(payload.count)])


class Replay(Payload):
    """Payload of queue.dlq_replay: one dead letter, or with `all` all of them."""

    queue: QueueName
    message_id: MessageId | None = None
    all: bool = False

    def __post_init__(self) -> None:
        if (self.message_id is None) != self.all:
            raise ValueError("expected either message_id or all=true")


class Replayed(Result):
    """How many dead letters are messages again; what a single one is called now."""

    replayed: int
    message_id: str | None = None
    seq: int | None = None


@command("queue.dlq_replay", writes=True, grows=False, keys=("queue",), cost="O(replayed * log n)", since="0.3")
def dlq_replay(state: State, payload: Replay, now: Millis) -> Replayed:
    """Publish dead letters anew, as messages never delivered before. QUEUE_FULL when not all of them fit."""
    queue = existing_queue(state, payload.queue, now)
    if payload.message_id is None:
        _check_room(queue, queue.dlq_depth)
        count = queue.replay_all(now)
        return Replayed(count) if count else unchanged(Replayed(0))
    letter = queue.dead_letter(payload.message_id)
    if letter is None:
        raise MessageNotFound(
            f"queue {queue.name[:100]!r} has no dead letter {payload.message_id[:100]!r}",
            queue=queue.name,
            message_id=payload.message_id,
        )
    _check_room(queue, 1)
    replayed = queue.replay(letter, now)
    return Replayed(1, queue.message_id(replayed), replayed.seq)


@command("queue.dlq_purge", writes=True, grows=False, keys=("queue",), cost="O(dead letters)", since="0.3")
def dlq_purge(state: State, payload: QueueOnly, now: Millis) -> Purged:
    """Drop all dead letters."""
    purged = existing_queue(state, payload.queue, now).purge_dead()
    return Purged(purged) if purged else unchanged(Purged(0))


def _check_room(queue: Queue, count: int) -> None:
    """Raise QueueFull when the queue does not take so many messages."""
    room = queue.room
    if room is not None and count > room:
        raise QueueFull(
            f"queue {queue.name[:100]!r} has room for {room} messages, fewer than {count}",
            queue=queue.name,
            max_depth=queue.config.max_depth,
        )
