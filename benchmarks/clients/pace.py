"""Commands at a fixed rate over many HTTP connections, and how long each took to be answered.

The pace is an open loop: every millisecond the commands of that millisecond are due, whether or not those before have
been answered, and count from then on. So a server that stands still cannot hide it, and neither can this program.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import msgspec
import uvloop

from benchmarks import load
from benchmarks.clients.wire import HOST
from benchmarks.load import Latency, LoadFailed
from synap.tools.wire import post, response_end

TICK_SECS = 0.001
DIFFERENT = 5_000
DRAIN_SECS_MAX = 60.0


class Job(msgspec.Struct):
    """`rate` commands a second, for some seconds, over all connections in turn."""

    port: int
    rate: int
    seconds: float
    connections: int
    keys: int


class Connection(asyncio.Protocol):
    """Commands are sent when they are due, and answered in that order."""

    def __init__(self, taken_secs: list[float]) -> None:
        self._taken_secs = taken_secs
        self._due_at: deque[float] = deque()
        self._received = b""

    def send(self, request: bytes, due_at: float) -> None:
        """Send what is due."""
        self._due_at.append(due_at)
        self._transport.write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._due_at:
            raise LoadFailed(f"the server has closed a connection after {self._received[:500]!r}")

    def data_received(self, data: bytes) -> None:
        now, received, start = time.perf_counter(), self._received + data, 0
        while end := response_end(received, start):
            self._taken_secs.append(now - self._due_at.popleft())
            start = end
        self._received = received[start:]


@asynccontextmanager
async def ticking(interval_secs: float) -> AsyncIterator[asyncio.Event]:
    """An event that is set at each interval, by the system's timer: the event loop's own counts whole milliseconds."""
    ticked = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGALRM, ticked.set)
    signal.setitimer(signal.ITIMER_REAL, interval_secs, interval_secs)
    try:
        yield ticked
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        loop.remove_signal_handler(signal.SIGALRM)


async def drive(job: Job) -> Latency:
    """Do the job. Raises LoadFailed when answers are missing."""
    loop = asyncio.get_running_loop()
    taken_secs: list[float] = []
    connections = []
    for _ in range(job.connections):
        _, connection = await loop.create_connection(lambda: Connection(taken_secs), HOST, job.port)
        connections.append(connection)
    requests = [_request(job.keys) for _ in range(DIFFERENT)]
    sent, tick = 0, 0
    async with ticking(TICK_SECS) as ticked:
        started_at = time.perf_counter()
        while tick * TICK_SECS < job.seconds:
            due_at = started_at + tick * TICK_SECS
            while time.perf_counter() < due_at:
                ticked.clear()
                await ticked.wait()
            for _ in range(round(job.rate * (tick + 1) * TICK_SECS) - sent):
                connections[sent % job.connections].send(requests[sent % DIFFERENT], due_at)
                sent += 1
            tick += 1
    deadline = time.perf_counter() + DRAIN_SECS_MAX
    while len(taken_secs) < sent and time.perf_counter() < deadline:
        await asyncio.sleep(TICK_SECS)
    if len(taken_secs) < sent:
        raise LoadFailed(f"{sent - len(taken_secs)} of {sent} commands were not answered")
    ordered_ms = [1000 * secs for secs in sorted(taken_secs)]
    return Latency(ordered_ms[len(ordered_ms) // 2], ordered_ms[len(ordered_ms) * 99 // 100], ordered_ms[-1])


def _request(keys: int) -> bytes:
    payload = {"key": load.key(random.randrange(keys))}
    if random.random() < load.WRITE_SHARE:
        return post(msgspec.json.encode({"command": "kv.set", "payload": payload | {"value": load.VALUE}}))
    return post(msgspec.json.encode({"command": "kv.get", "payload": payload}))


if __name__ == "__main__":
    random.seed(1)
    print(msgspec.json.encode(uvloop.run(drive(msgspec.json.decode(sys.argv[1], type=Job)))).decode())
