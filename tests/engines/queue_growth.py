"""A process that fills a queue and prints what is counted for it and how the process grew.

python -m tests.engines.queue_growth leased 100000     100,000 messages in flight
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

from synap.engines.arrivals import Arrivals
from synap.engines.queue_config import QueueConfig
from synap.engines.queues import Queues
from tests.engines.queueing import LEASE_MS, NOW, publish

STATM = Path("/proc/self/statm")


def fill(kind: str, count: int) -> Queues:
    queues = Queues(Arrivals())
    queue = queues.create("queue", QueueConfig())
    for number in range(count):
        every: dict[str, dict[str, Any]] = {
            "headers": {"headers": b'{"trace":"%016d"}' % number},
            "delayed": {"delay_ms": 1000 + number},
            "dying": {"ttl_ms": 1000 + number},
            "deduplicated": {"dedup_id": f"order {number:012}"},
        }
        options = every.get(kind, {})
        publish(queue, b'{"number": %08d}' % number, NOW + number // 10, number % 10, **options)
        if kind in ("leased", "held"):
            holder = None if kind == "leased" else f"consumer {number % 100}"
            queue.lease(1, NOW + LEASE_MS + number, holder)
    if kind == "dying":
        queues.advance(NOW + 1000 + count)
    return queues


def resident_bytes() -> int:
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(kind: str, count: int) -> None:
    fill(kind, 1_000)
    before = resident_bytes()
    queues = fill(kind, count)
    print(json.dumps({"counted": queues.used_bytes, "grown": resident_bytes() - before}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
