"""A queue of tasks: workers take them, some fail and are tried again, one is hopeless and becomes a dead letter."""

from __future__ import annotations

import os
import threading
from uuid import uuid4

from synap_sdk import RetryLater, Synap
from synap_sdk.results import QueueDelivery

URL = os.environ.get("SYNAP_URL", "http://127.0.0.1:15500")
QUEUE = f"tasks-{uuid4().hex[:8]}"
finished = threading.Semaphore(0)


def handle(task: QueueDelivery) -> None:
    """Send an e-mail, or so."""
    if task.message["to"] == "nobody":
        if task.retry_count == 2:
            finished.release()  # the third delivery is the last one
        raise RetryLater(0.05)
    if task.retry_count == 0 and task.message["to"] == "flaky":
        raise RetryLater(0.05)
    print(f"sent to {task.message['to']} at attempt {task.retry_count + 1}")
    finished.release()


with Synap(URL) as synap:
    synap.queue.create(QUEUE, config={"max_retries": 2})
    for to in ("ann", "flaky", "nobody", "bob"):
        synap.queue.publish(QUEUE, {"to": to}, priority=9 if to == "bob" else 5)
    with synap.queue.worker(QUEUE, handle, concurrency=4):
        for _ in range(4):
            finished.acquire()
    letters = synap.queue.dlq(QUEUE).messages
    print("given up:", [letter.message["to"] for letter in letters])
    assert [letter.message["to"] for letter in letters] == ["nobody"]
