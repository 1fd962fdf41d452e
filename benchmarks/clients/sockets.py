"""WebSockets at a fixed pace, waits that end, and WebSockets that do nothing.

The pace is an open loop: a message is due at its moment whether or not the one before has come, and its latency counts
from then on. Publisher and subscriber are connections of this process, so both read the same clock.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Callable
from typing import Literal

import msgspec
import uvloop

from benchmarks.clients.wire import Http, WebSocket, frame
from benchmarks.load import LoadFailed

DRAIN_SECS_MAX = 10.0
DRAIN_POLL_SECS = 0.01
PARKING_SECS = 0.003
CONNECTING_AT_ONCE = 50
PREFETCH = 10_000
Kind = Literal["pub/sub", "stream", "queue"]


class Latency(msgspec.Struct, tag="latency"):
    """Publish `rate` messages a second and note when each arrives at a subscriber."""

    kind: Kind
    port: int
    rate: int
    seconds: float


class WakeUp(msgspec.Struct, tag="wake_up"):
    """Publish to a queue that somebody waits for, one message at a time."""

    port: int
    times: int


class Idle(msgspec.Struct, tag="idle"):
    """Open WebSockets, subscribe each to some patterns, then stay."""

    port: int
    connections: int
    patterns: int


SUBSCRIBE: dict[Kind, bytes] = {
    "pub/sub": b'{"command":"pubsub.subscribe","payload":{"topics":["pace"]}}',
    "stream": b'{"command":"stream.subscribe","payload":{"room":"pace"}}',
    "queue": b'{"command":"queue.subscribe","payload":{"queue":"pace","prefetch":%d}}' % PREFETCH,
}
PUBLISH: dict[Kind, bytes] = {
    "pub/sub": b'{"command":"pubsub.publish","payload":{"topic":"pace","message":"#%d"}}',
    "stream": b'{"command":"stream.publish","payload":{"room":"pace","event_type":"e","data":"#%d"}}',
    "queue": b'{"command":"queue.publish","payload":{"queue":"pace","message":"#%d"}}',
}
CREATE: dict[Kind, bytes] = {
    "pub/sub": b'{"command":"pubsub.stats"}',
    "stream": b'{"command":"stream.delete","payload":{"room":"pace"}}',
    "queue": b'{"command":"queue.create","payload":{"queue":"pace"}}',
}
_ARRIVED = re.compile(rb'"#(\d+)"')
_MESSAGE_ID = re.compile(rb'"message_id":"([^"]+)"')


class Receiver:
    """The subscriber's end: when each message arrived, by its number."""

    def __init__(self, count: int) -> None:
        self.arrived_at = [0.0] * count
        self.missing = count
        self._tail = b""

    def take(self, data: bytes) -> bytes:
        """Frames have arrived; returns those that are whole, up to the last message."""
        now = time.perf_counter()
        data = self._tail + data
        end = data.rfind(b"}") + 1
        data, self._tail = data[:end], data[end:]
        for number in _ARRIVED.findall(data):
            self.missing -= not self.arrived_at[int(number)]
            self.arrived_at[int(number)] = now
        return data


async def latency(job: Latency) -> list[float]:
    """The latency of each message, in seconds."""
    count = round(job.rate * job.seconds)
    receiver = Receiver(count)
    publisher, subscriber = [await WebSocket.open(job.port, lambda _: None) for _ in range(2)]
    await publisher.ask(CREATE[job.kind])
    if job.kind == "stream":
        await publisher.ask(b'{"command":"stream.create","payload":{"room":"pace"}}')
    await subscriber.ask(SUBSCRIBE[job.kind])
    subscriber.take = _take_and_acknowledge(receiver, subscriber) if job.kind == "queue" else receiver.take
    started_at = time.perf_counter()
    sent = 0
    while sent < count:
        due = min(int((time.perf_counter() - started_at) * job.rate) + 1, count)
        if due > sent:
            publisher.send(b"".join([frame(PUBLISH[job.kind] % number) for number in range(sent, due)]))
            sent = due
        await asyncio.sleep(0)  # timers are too coarse for this pace
    deadline = time.perf_counter() + DRAIN_SECS_MAX
    while receiver.missing and time.perf_counter() < deadline:
        await asyncio.sleep(DRAIN_POLL_SECS)
    if receiver.missing:
        raise LoadFailed(f"{receiver.missing} of {count} messages did not arrive")
    return [at - started_at - number / job.rate for number, at in enumerate(receiver.arrived_at)]


async def wake_up(job: WakeUp) -> list[float]:
    """Seconds from sending the publication until who waited has the message, each time."""
    consumer, publisher = await Http.open(job.port), await Http.open(job.port)
    await publisher.ask(b'{"command":"queue.create","payload":{"queue":"wake"}}')
    taken = []
    for _ in range(job.times):
        reply = consumer.ask(b'{"command":"queue.consume","payload":{"queue":"wake","timeout":30}}')
        await asyncio.sleep(PARKING_SECS)
        started_at = time.perf_counter()
        published = publisher.ask(b'{"command":"queue.publish","payload":{"queue":"wake","message":"x"}}')
        found = _MESSAGE_ID.search(await reply)
        taken.append(time.perf_counter() - started_at)
        await published
        if found is None:
            raise LoadFailed("a consumer was woken and got no message")
        await publisher.ask(b'{"command":"queue.ack","payload":{"queue":"wake","message_id":"%b"}}' % found[1])
    return taken


async def idle(job: Idle) -> None:
    """Connect and subscribe, print a line, stay until stopped."""

    async def connect(number: int) -> None:
        socket = await WebSocket.open(job.port, lambda _: None)
        if job.patterns:
            topics = [f"user.{number}.{pattern}" for pattern in range(job.patterns)]
            await socket.ask(msgspec.json.encode({"command": "pubsub.subscribe", "payload": {"topics": topics}}))

    for first in range(0, job.connections, CONNECTING_AT_ONCE):
        await asyncio.gather(*map(connect, range(first, min(first + CONNECTING_AT_ONCE, job.connections))))
    print("ready", flush=True)
    await asyncio.Event().wait()


async def main(job: Latency | WakeUp | Idle) -> None:
    """Do the job."""
    if isinstance(job, Idle):
        await idle(job)
    else:
        found = await (latency(job) if isinstance(job, Latency) else wake_up(job))
        print(msgspec.json.encode(found).decode())


def _take_and_acknowledge(receiver: Receiver, subscriber: WebSocket) -> Callable[[bytes], None]:
    def take(data: bytes) -> None:
        ids = _MESSAGE_ID.findall(receiver.take(data))
        if ids:
            body = b'{"command":"queue.ack","payload":{"queue":"pace","message_ids":["%b"]}}' % b'","'.join(ids)
            subscriber.send(frame(body))

    return take


if __name__ == "__main__":
    uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Latency | WakeUp | Idle)))
