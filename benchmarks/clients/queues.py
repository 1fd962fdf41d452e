"""Publish messages, consume them, acknowledge them: one stretch each, so that the queue is as long after as before; or
all at once for some seconds, some connections publishing and some taking.

Every connection sends as many operations as told at a time and waits for all their answers. What it has consumed, it
acknowledges itself.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import msgspec
import uvloop

from benchmarks.clients.wire import HOST, Stretch, is_response
from benchmarks.load import LoadFailed, Sample
from synap.tools.wire import post

QUEUE = "bench"
BODY = b'"' + 98 * b"x" + b'"'


class Job(msgspec.Struct, tag="phases"):
    """One stretch after the other."""

    dialect: str
    pid: int
    port: int
    messages: int
    phases: list[str]
    connections: int = 50
    batch: int = 1


class Flow(msgspec.Struct, tag="flow"):
    """Publish to Synap on some connections, consume and acknowledge on others, for some seconds."""

    pid: int
    port: int
    seconds: float
    publishers: int
    takers: int
    batch: int = 1


class Dialect(Protocol):
    """How to say it to a server. A method for each phase makes what is sent for some operations."""

    def greet(self, count: int) -> bytes:
        """What a new connection begins with."""

    def ack(self, ids: Sequence[bytes]) -> bytes:
        """Acknowledge messages."""

    def is_whole(self, phase: str, count: int, received: bytes) -> bool:
        """Whether the answers to `count` operations are there. Raises LoadFailed for an error."""

    def ids(self, received: bytes) -> Sequence[bytes]:
        """What to acknowledge the consumed messages by."""


class Synap:
    """HTTP; several publications are a batch, the others have forms for several messages."""

    _id = re.compile(rb'"message_id":"([^"]+)"')

    def greet(self, count: int) -> bytes:
        return b""

    def publish(self, count: int) -> bytes:
        command = b'{"command":"queue.publish","payload":{"queue":"bench","message":%b}}' % BODY
        if count == 1:
            return post(command)
        return post(b'{"type":"batch","commands":[%b]}' % b",".join(count * [command]))

    def consume(self, count: int) -> bytes:
        several = b"" if count == 1 else b',"max_messages":%d' % count
        return post(b'{"command":"queue.consume","payload":{"queue":"bench"%b}}' % several)

    def ack(self, ids: Sequence[bytes]) -> bytes:
        if len(ids) == 1:
            named = b'"message_id":"%b"' % ids[0]
        else:
            named = b'"message_ids":["%b"]' % b'","'.join(ids)
        return post(b'{"command":"queue.ack","payload":{"queue":"bench",%b}}' % named)

    def stats(self, count: int) -> bytes:
        return post(b'{"command":"queue.stats","payload":{"queue":"bench"}}')

    def is_whole(self, phase: str, count: int, received: bytes) -> bool:
        if not is_response(received):
            return False
        if received.count(b'"status":"success"') < (count if phase == "publish" else 1):
            raise LoadFailed(f"{phase} was answered {received[:500]!r}")
        return True

    def ids(self, received: bytes) -> Sequence[bytes]:
        return self._id.findall(received)


class Beanstalkd:
    """Its own text protocol; several operations are sent one behind the other."""

    _id = re.compile(rb"RESERVED (\d+) ")
    _lines = {"greet": 3, "consume": 2}

    def greet(self, count: int) -> bytes:
        return b"use bench\r\nwatch bench\r\nignore default\r\n"

    def publish(self, count: int) -> bytes:
        return count * (b"put 5 0 600 %d\r\n%b\r\n" % (len(BODY), BODY))

    def consume(self, count: int) -> bytes:
        return count * b"reserve\r\n"

    def ack(self, ids: Sequence[bytes]) -> bytes:
        return b"".join([b"delete %b\r\n" % job for job in ids])

    def stats(self, count: int) -> bytes:
        return b"stats-tube bench\r\n"

    def is_whole(self, phase: str, count: int, received: bytes) -> bool:
        if phase == "stats":
            return received.startswith(b"OK ") and received.endswith(b"\n\r\n")
        if received[:1] not in b"UWIRD" or b"_" in received:  # all errors have an underscore
            raise LoadFailed(f"{phase} was answered {received[:500]!r}")
        return received.count(b"\r\n") == count * self._lines.get(phase, 1)

    def ids(self, received: bytes) -> Sequence[bytes]:
        return self._id.findall(received)


DIALECTS: dict[str, Callable[[], Dialect]] = {"synap": Synap, "beanstalkd": Beanstalkd}


class Connection(asyncio.Protocol):
    """One connection on its way through the phases."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._ids: list[bytes] = []
        self._received = b""
        self._phase = ""
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def held(self) -> int:
        """Messages that are consumed and not acknowledged."""
        return len(self._ids)

    def begin(self, phase: str, groups: int, batch: int) -> asyncio.Future[None]:
        """Send `groups` times `batch` operations; the future is done when all are answered."""
        self._phase, self._groups, self._batch = phase, groups, batch
        self._done = asyncio.get_running_loop().create_future()
        self._next()
        return self._done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data
        try:
            if not received or not self._dialect.is_whole(self._phase, self._batch, received):
                return
        except LoadFailed as error:
            self._done.set_exception(error)
            return
        if self._phase == "consume":
            self._ids += self._dialect.ids(received)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(LoadFailed("the server has closed a connection"))

    def _next(self) -> None:
        self._received = b""
        if not self._groups:
            self._done.set_result(None)
            return
        self._groups -= 1
        if self._phase == "ack":
            ids, self._ids = self._ids[: self._batch], self._ids[self._batch :]
            self._transport.write(self._dialect.ack(ids))
        else:
            self._transport.write(getattr(self._dialect, self._phase)(self._batch))


async def drive(job: Job) -> dict[str, Sample]:
    """Go through the phases on all connections together."""
    loop = asyncio.get_running_loop()
    new = DIALECTS[job.dialect]
    connections: list[Connection] = []
    for _ in range(job.connections):
        _, connection = await loop.create_connection(lambda: Connection(new()), HOST, job.port)
        connections.append(connection)
    if new().greet(1):
        await asyncio.gather(*(connection.begin("greet", 1, 1) for connection in connections))
    samples = {}
    for phase in job.phases:
        batch = 1 if phase == "stats" else job.batch
        groups = job.messages // job.connections // job.batch
        stretch = Stretch(job.pid)
        await asyncio.gather(*(connection.begin(phase, groups, batch) for connection in connections))
        samples[phase] = stretch.sample(groups * batch * job.connections)
    return samples


async def flow(job: Flow) -> dict[str, Sample]:
    """Publish and take at the same time; the sample is of the messages that were taken."""
    loop = asyncio.get_running_loop()
    taken = 0
    ends_at = time.monotonic() + job.seconds

    async def connect() -> Connection:
        _, connection = await loop.create_connection(lambda: Connection(Synap()), HOST, job.port)
        return connection

    async def publish() -> None:
        connection = await connect()
        while time.monotonic() < ends_at:
            await connection.begin("publish", 1, job.batch)

    async def take() -> None:
        nonlocal taken
        connection = await connect()
        while time.monotonic() < ends_at:
            await connection.begin("consume", 1, job.batch)
            held = connection.held
            if held:  # the queue was not empty
                await connection.begin("ack", 1, held)
                taken += held

    stretch = Stretch(job.pid)
    publishers, takers = (publish() for _ in range(job.publishers)), (take() for _ in range(job.takers))
    await asyncio.gather(*publishers, *takers)
    return {"flow": stretch.sample(taken)}


async def main(job: Job | Flow) -> None:
    """Do the job."""
    found = await (flow(job) if isinstance(job, Flow) else drive(job))
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    uvloop.run(main(msgspec.json.decode(sys.argv[1], type=Job | Flow)))
