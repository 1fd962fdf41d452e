"""A worker of the synchronous client: takes messages of a queue and has a handler deal with them in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future as Job
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any

from synap_sdk import results as r
from synap_sdk._failure import SynapError
from synap_sdk._iterating import BlockingSubscription
from synap_sdk._jobs import DRAIN_SECS, LEASE_SECS, Reject, RetryLater, log
from synap_sdk.errors import MessageNotFound

Handler = Callable[[r.QueueDelivery], object]
_LOOK_SECS = 0.5
"""How long the end of a worker may take to be noticed by the thread that receives."""


class BlockingWorker:
    """Acknowledges what the handler returns from, gives back what it raises for, and extends leases meanwhile.

    As a context it works until the block is left; `wait` blocks until then. Leaving lets the messages in progress be
    finished, for `drain_secs` at most; what is not done by then comes again at once.
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
        self._messages: BlockingSubscription[r.QueueDelivery] = queues.subscribe(
            queue, prefetch=concurrency, ack_deadline=lease_secs
        )
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="synap-worker")
        self._jobs: dict[Job[None], r.QueueDelivery] = {}
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._error: SynapError | None = None
        self._counting = threading.Lock()
        self.done = 0
        """Messages acknowledged."""
        self.failed = 0
        """Messages given back."""

    def start(self) -> BlockingWorker:
        """Subscribe and begin. Raises SynapError, QueueNotFound among others."""
        self._messages.start()
        self._threads = [threading.Thread(target=task, daemon=True) for task in (self._take, self._extend)]
        for thread in self._threads:
            thread.start()
        return self

    def wait(self) -> None:
        """Work until `close` is called elsewhere, or until the subscription fails; raises its error."""
        if not self._threads:
            self.start()
        self._stopped.wait()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Take no more, finish what is in progress."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        with suppress(SynapError):  # the connection may be gone, and the subscription with it
            self._messages.quiesce("queue.unsubscribe", queue=self._queue)
        extending = threading.Timer(self._lease_secs / 2, self._extend_all)
        extending.daemon = True
        extending.start()
        wait(list(self._jobs), timeout=self._drain_secs)
        extending.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._messages.close()

    def __enter__(self) -> BlockingWorker:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self) -> None:
        try:
            while not self._stopped.is_set():
                message = self._messages.get(_LOOK_SECS)
                if message is not None:
                    job = self._pool.submit(self._handle, message)
                    self._jobs[job] = message
                    job.add_done_callback(lambda done: self._jobs.pop(done, None))
        except SynapError as error:
            self._error = error
            self._stopped.set()

    def _handle(self, message: r.QueueDelivery) -> None:
        try:
            self._handler(message)
        except Exception as error:
            self._give_back(message, error)
        else:
            self._acknowledge(message)

    def _acknowledge(self, message: r.QueueDelivery) -> None:
        try:
            self._queues.ack(self._queue, message_id=message.message_id, delivery=message.delivery)
            with self._counting:
                self.done += 1
        except MessageNotFound:
            log.warning("message %s was done after its lease was over, it may come again", message.message_id)
        except SynapError as error:
            log.warning("message %s was done and could not be acknowledged: %s", message.message_id, error)

    def _give_back(self, message: r.QueueDelivery, error: Exception) -> None:
        with self._counting:
            self.failed += 1
        if not isinstance(error, RetryLater | Reject):
            log.warning("message %s failed", message.message_id, exc_info=error)
        delay_secs = error.delay_secs if isinstance(error, RetryLater) else None
        try:
            self._queues.nack(
                self._queue,
                message.message_id,
                requeue=not isinstance(error, Reject),
                delay_secs=delay_secs,
                delivery=message.delivery,
            )
        except SynapError as refusal:
            log.warning("message %s could not be given back: %s", message.message_id, refusal)

    def _extend(self) -> None:
        while not self._stopped.wait(self._lease_secs / 2):
            self._extend_all()

    def _extend_all(self) -> None:
        for message in list(self._jobs.values()):
            try:
                self._queues.extend(
                    self._queue,
                    message.message_id,
                    self._lease_secs,
                    delivery=message.delivery,
                    timeout=self._lease_secs / 2,
                )
            except SynapError as error:
                log.warning("the lease of message %s could not be extended: %s", message.message_id, error)


class Threading:
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
    ) -> BlockingWorker:
        """Have `handler` deal with the messages of a queue, in up to `concurrency` threads.

        A message is acknowledged when the handler returns. When it raises, the message is given back and comes again as
        the queue's retry policy says: `RetryLater(delay_secs)` asks for a delay, `Reject` for the dead letters.

        Args:
            lease_secs: how long messages are this worker's alone; extended at half time while the handler works
            drain_secs: how long leaving waits for handlers
        """
        return BlockingWorker(self, queue, handler, concurrency, lease_secs, drain_secs)
