"""Batches over one WebSocket, some on their way at a time. Their frames are made before, and replies counted."""

from __future__ import annotations

import asyncio
import random
import sys
import time

import msgspec
import uvloop

from benchmarks import load
from benchmarks.clients.wire import Frames, Stretch, WebSocket, frame
from benchmarks.load import Sample

DIFFERENT = 500
POLL_SECS = 0.05


class Job(msgspec.Struct):
    """Send batches of `size` commands for some seconds, `in_flight` at a time."""

    port: int
    pid: int
    size: int
    in_flight: int
    write_share: float
    seconds: float


class Sender:
    """Sends a batch for each that has been answered."""

    def __init__(self, job: Job) -> None:
        self.answered = 0
        self._batches = [frame(_batch(job)) for _ in range(DIFFERENT)]
        self._sent = 0
        self._replies = Frames()

    async def start(self, job: Job) -> None:
        """Connect and send the first ones."""
        self._socket = await WebSocket.open(job.port, self._take)
        self._send(job.in_flight)

    def _take(self, data: bytes) -> None:
        answered = self._replies.count(data)
        self.answered += answered
        self._send(answered)

    def _send(self, count: int) -> None:
        for _ in range(count):
            self._socket.send(self._batches[self._sent % DIFFERENT])
            self._sent += 1


def _batch(job: Job) -> bytes:
    entries = []
    for _ in range(job.size):
        payload = {"key": load.key(random.randrange(load.KEYS))}
        if random.random() < job.write_share:
            entries.append({"command": "kv.set", "payload": payload | {"value": load.VALUE}})
        else:
            entries.append({"command": "kv.get", "payload": payload})
    return msgspec.json.encode({"type": "batch", "commands": entries})


async def drive(job: Job) -> Sample:
    """Do the job."""
    random.seed(1)
    sender = Sender(job)
    await sender.start(job)
    stretch, before, ends_at = Stretch(job.pid), sender.answered, time.monotonic() + job.seconds
    while time.monotonic() < ends_at:
        await asyncio.sleep(min(POLL_SECS, job.seconds))
    return stretch.sample((sender.answered - before) * job.size)


if __name__ == "__main__":
    print(msgspec.json.encode(uvloop.run(drive(msgspec.json.decode(sys.argv[1], type=Job)))).decode())
