"""What the tests of queues share: a queue that is quickly filled, and a waiter that awaits everything."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from synap.engines.arrivals import Arrivals
from synap.engines.queue_config import QueueConfig
from synap.engines.queue_message import Message
from synap.engines.queues import Queue, Queues

NOW = 1_000_000
LEASE_MS = 30_000


class Everything:
    """A collection that has whatever is asked for."""

    def __contains__(self, topic: object) -> bool:
        return True

    def __iter__(self) -> Iterator[Hashable]:
        return iter(())

    def __len__(self) -> int:
        return 1


def make(**config: Any) -> tuple[Queues, Queue]:
    """A queue called "q"."""
    queues = Queues(Arrivals())
    return queues, queues.create("q", QueueConfig(**config))


def at(queues: Queues, now: int) -> Queue:
    """That queue at another time."""
    queue = queues.find("q", now)
    assert queue is not None
    return queue


def publish(queue: Queue, body: bytes = b"1", now: int = NOW, priority: int = 5, **options: Any) -> Message:
    headers = options.pop("headers", b"{}")
    return queue.publish(body, is_json=True, priority=priority, headers=headers, now=now, **options)


def lease(queue: Queue, now: int = NOW, holder: str | None = None) -> Message:
    """The next message, which must be there."""
    (message,) = queue.lease(1, now + LEASE_MS, holder)
    return message


def fail(queue: Queue, times: int, now: int = NOW) -> str:
    """Lease the next message and give it back at once, several times; what became of it."""
    outcomes = [queue.give_back(lease(queue, now), now, 0) for _ in range(times)]
    return outcomes[-1]


def bodies(messages: list[Message]) -> list[bytes]:
    return [message.body for message in messages]


def reloaded(queues: Queues, chunk_rows: int = 2) -> Queues:
    """The queues as a snapshot brings them back."""
    loaded = Queues(Arrivals())
    for rows in queues.dump(chunk_rows):
        loaded.load(rows)
    return loaded
