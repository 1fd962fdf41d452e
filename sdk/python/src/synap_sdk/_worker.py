"""A worker of the asyncio client: takes messages of a queue and has a handler deal with them, several at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from synap_sdk import results as r
from synap_sdk._failure import SynapError
from synap_sdk._jobs import DRAIN_SECS, LEASE_SECS, Reject, RetryLater, log
from synap_sdk._subscription import Subscription
from synap_sdk.errors import MessageNotFound

Handler = Callable[[r.QueueDelivery], Awaitable[object]]


class Worker:
    """Acknowledges what the handler returns from, gives back what it raises for, and extends leases meanwhile.

    As a context it works until the block is left, `wait` lets it work until it is cancelled. Leaving lets the messages
    in progress be finished, for `drain_secs` at most; what is not done by then comes again at once.
    """

    def __init__(
        self, queues: Any, queue: str, handler: Handler, concurrency: int, lease_secs: float, drain_secs: float
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"expected a concurrency of at least 1, got {concurrency}")
        self._queues = queues
        self._queue = queue
        self._handler = handler
        self._lease_secs = lease_secs
        self._drain_secs = drain_secs
        self._messages: Subscription[r.QueueDelivery] = queues.subscribe(
            queue, prefetch=concurrency, ack_deadline=lease_secs
        )
        self._jobs: dict[asyncio.Task[None], r.QueueDelivery] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.done = 0
        """Messages acknowledged."""
        self.failed = 0
        """Messages given back."""

    async def start(self) -> Worker:
        """Subscribe and begin. Raises SynapError, QueueNotFound among others."""
        await self._messages.start()
        self._tasks = [asyncio.create_task(self._take()), asyncio.create_task(self._extend())]
        return self

    async def wait(self) -> None:
        """Work until this is cancelled, or until the subscription fails; raises its error."""
        if not self._tasks:
            await self.start()
        await asyncio.shield(self._tasks[0])

    async def close(self) -> None:
        """Take no more, finish what is in progress."""
        if self._tasks:
            self._tasks[0].cancel()
        self._messages.quiesce("queue.unsubscribe", queue=self._queue)
        if self._jobs:
            await asyncio.wait(list(self._jobs), timeout=self._drain_secs)
        for task in [*self._tasks, *self._jobs]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._jobs, return_exceptions=True)
        await self._messages.close()

    async def __aenter__(self) -> Worker:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _take(self) -> None:
        async for message in self._messages:
            job = asyncio.create_task(self._handle(message))
            self._jobs[job] = message
            job.add_done_callback(self._jobs.pop)

    async def _handle(self, message: r.QueueDelivery) -> None:
        try:
            await self._handler(message)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.failed += 1
            await self._give_back(message, error)
        else:
            await self._acknowledge(message)

    async def _acknowledge(self, message: r.QueueDelivery) -> None:
        try:
            await self._queues.ack(self._queue, message_id=message.message_id, delivery=message.delivery)
            self.done += 1
        except MessageNotFound:
            log.warning("message %s was done after its lease was over, it may come again", message.message_id)
        except SynapError as error:
            log.warning("message %s was done and could not be acknowledged: %s", message.message_id, error)

    async def _give_back(self, message: r.QueueDelivery, error: Exception) -> None:
        if not isinstance(error, RetryLater | Reject):
            log.warning("message %s failed", message.message_id, exc_info=error)
        delay_secs = error.delay_secs if isinstance(error, RetryLater) else None
        try:
            await self._queues.nack(
                self._queue,
                message.message_id,
                requeue=not isinstance(error, Reject),
                delay_secs=delay_secs,
                delivery=message.delivery,
            )
        except SynapError as refusal:
            log.warning("message %s could not be given back: %s", message.message_id, refusal)

    async def _extend(self) -> None:
        while True:
            await asyncio.sleep(self._lease_secs / 2)
            kept = [self._keep(message) for message in list(self._jobs.values())]
            await asyncio.gather(*kept)

    async def _keep(self, message: r.QueueDelivery) -> None:
        try:
            await self._queues.extend(
                self._queue,
                message.message_id,
                self._lease_secs,
                delivery=message.delivery,
                timeout=self._lease_secs / 2,
            )
        except SynapError as error:
            log.warning("the lease of message %s could not be extended: %s", message.message_id, error)


class Working:
    """`queue.worker`."""

    __slots__ = ()

    def worker(
        self,
        queue: str,
        handler: Handler,
        *,
        concurrency: int = 1,
        lease_secs: float = LEASE_SECS,
        drain_secs: float = DRAIN_SECS,
    ) -> Worker:
        """Have `handler` deal with the messages of a queue, up to `concurrency` at a time.

        A message is acknowledged when the handler returns. When it raises, the message is given back and comes again as
        the queue's retry policy says: `RetryLater(delay_secs)` asks for a delay, `Reject` for the dead letters.

        Args:
            lease_secs: how long messages are this worker's alone; extended at half time while the handler works
            drain_secs: how long leaving waits for handlers
        """
        return Worker(self, queue, handler, concurrency, lease_secs, drain_secs)
