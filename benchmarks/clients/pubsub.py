"""Subscribers: many patterns that hardly ever match, or a thousand connections that get every message.

For the fan-out the same process publishes: so many messages are on their way at a time that nobody drops any, and no
more. Messages are counted by a byte that stands in each of them once, so nothing of them has to be parsed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

import msgspec
import uvloop

from benchmarks.clients.wire import Stretch, WebSocket, frame
from benchmarks.load import Sample

CONNECTING_AT_ONCE = 50
MESSAGE_BYTES = 64
MARK = b"|"
"""Stands in every message once, and in nothing around it."""
WAY_MAX = 20
"""Messages on their way at a time; each is one for every subscriber."""


class Hold(msgspec.Struct, tag="hold"):
    """Subscribe `connections` connections to `patterns` each, half with wildcards, then stay."""

    port: int
    connections: int
    patterns: int


class FanOut(msgspec.Struct, tag="fan_out"):
    """Publish to one topic for some seconds, all connections being subscribed to it."""

    pid: int
    port: int
    connections: int
    seconds: float


def exact(number: int) -> str:
    """The topic, or pattern, without wildcards of a number."""
    return f"exact.{number:012d}.x"


def wildcard(number: int) -> str:
    """The pattern with a wildcard of a number."""
    return f"wild.{number:012d}.*"


async def hold(job: Hold) -> None:
    """Subscribe, print a line, stay until stopped."""
    for connection in range(job.connections):
        socket = await WebSocket.open(job.port, lambda _: None)
        numbers = range(connection * job.patterns, (connection + 1) * job.patterns)
        topics = [wildcard(number // 2) if number % 2 else exact(number // 2) for number in numbers]
        payload = {"command": "pubsub.subscribe", "payload": {"topics": topics}}
        await socket.ask(msgspec.json.encode(payload))
    print("ready", flush=True)
    await asyncio.Event().wait()


class Counter:
    """Counts deliveries as they come in, and publishes as many messages as may be on their way."""

    def __init__(self, subscribers: int, publish: Callable[[], None]) -> None:
        self.delivered = 0
        self._subscribers = subscribers
        self._publish = publish
        self._published = 0

    def take(self, data: bytes) -> None:
        """Something has arrived at a subscriber."""
        self.delivered += data.count(MARK)
        self.fill()

    def fill(self) -> None:
        """Publish until there are enough."""
        while self._published - self.delivered // self._subscribers < WAY_MAX:
            self._published += 1
            self._publish()


async def fan_out(job: FanOut) -> Sample:
    """Publish until the time is over."""
    body = b'"%b%b"' % (b"x" * (MESSAGE_BYTES - 3), MARK)
    publisher = await WebSocket.open(job.port, lambda _: None)
    data = frame(b'{"command":"pubsub.publish","payload":{"topic":"fan.out","message":%b}}' % body)
    counter = Counter(job.connections, lambda: publisher.send(data))
    await _subscribe_all(job, counter.take)
    stretch, before = Stretch(job.pid), counter.delivered
    counter.fill()
    ends_at = time.monotonic() + job.seconds
    while time.monotonic() < ends_at:
        await asyncio.sleep(min(0.1, job.seconds))
    return stretch.sample(counter.delivered - before)


async def _subscribe_all(job: FanOut, take: Callable[[bytes], None]) -> None:
    async def subscribe() -> None:
        socket = await WebSocket.open(job.port, take)
        await socket.ask(b'{"command":"pubsub.subscribe","payload":{"topics":["fan.out"]}}')

    for first in range(0, job.connections, CONNECTING_AT_ONCE):
        await asyncio.gather(*(subscribe() for _ in range(min(CONNECTING_AT_ONCE, job.connections - first))))


async def main(job: Hold | FanOut) -> None:
    """Do the job."""
    if isinstance(job, Hold):
        await hold(job)
    else:
        print(msgspec.json.encode(await fan_out(job)).decode())


if __name__ == "__main__":
    uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Hold | FanOut)))
