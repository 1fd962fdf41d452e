"""A closed loop of load on a server: every connection keeps so many requests in flight, and sends one for each answer.

It runs as a process of its own, is told its job as a line of JSON, says "ready" when it is connected, begins at the
next line and prints what it found as JSON. A bare protocol on uvloop that parses as little as it can leaves the machine
to the server; `busy` tells how near it was to being the limit itself.
"""

from __future__ import annotations

import asyncio
import random
import re
import ssl
import sys
import time
from collections import Counter, deque
from typing import cast

import msgspec
import uvloop

from synap.tools.wire import opening, post, response_end

CONNECTING_AT_ONCE = 50
DRAWN_AT_ONCE = 1_000
CONNECT_SECS_MAX = 30.0
LOST = "CONNECTION_LOST"
_OK = b"HTTP/1.1 200"
_ERROR = re.compile(rb'"error":\{"code":"(\w+)","message":"((?:[^"\\]|\\.)*)"')


class Shape(msgspec.Struct):
    """A kind of command: its envelope with `%(n)d` for a running and `%(random)d` for a random number."""

    template: str
    share: float = 1.0


class Job(msgspec.Struct):
    """What to do. `rank` of `processes` keeps the running numbers of several apart."""

    host: str
    port: int
    path: str
    headers: dict[str, str]
    shapes: list[Shape]
    connections: int
    seconds: float
    pipeline: int = 1
    batch: int = 1
    numbers: int = 100_000
    """Random numbers are below this."""
    is_tls: bool = False
    ca: str | None = None
    rank: int = 0
    processes: int = 1


class Found(msgspec.Struct):
    """What came of it."""

    requests: int
    seconds: float
    busy: float
    """Share of the time that the generator was computing."""
    errors: dict[str, int]
    """Commands that failed, by code."""
    examples: dict[str, str]
    """A message for every code."""
    latencies: dict[int, int]
    """How many requests took so many microseconds."""


class Generator:
    """Makes requests, one after the other."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._chance = random.Random(job.rank)  # noqa: S311 - nobody has anything from guessing it
        self._n = job.rank
        self._opening = opening(job.path, job.headers)
        self._templates = [shape.template.encode() for shape in job.shapes]
        self._shares = [shape.share for shape in job.shapes]
        self._drawn: list[bytes] = []

    def request(self) -> bytes:
        """The next."""
        if self._job.batch == 1:
            return post(self._entry(), self._opening)
        entries = b",".join([self._entry() for _ in range(self._job.batch)])
        return post(b'{"type":"batch","commands":[%b]}' % entries, self._opening)

    def _entry(self) -> bytes:
        if not self._drawn:
            self._drawn = self._chance.choices(self._templates, self._shares, k=DRAWN_AT_ONCE)
        numbers = {b"n": self._n, b"random": int(self._chance.random() * self._job.numbers)}
        self._n += self._job.processes
        return self._drawn.pop() % numbers


class Load:
    """All connections, and what they have found."""

    def __init__(self, job: Job) -> None:
        self.generator = Generator(job)
        self.is_on = False
        self.is_batch = job.batch > 1
        self.requests = 0
        self.latencies: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.open = 0
        self.over = asyncio.Event()
        self._job = job

    async def run(self) -> Found:
        """Connect, wait for the word, load, tell."""
        connections = await self._connect()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        self.is_on = True
        started, started_cpu = time.perf_counter(), time.process_time()
        for connection in connections:
            connection.begin(self._job.pipeline)
        try:
            async with asyncio.timeout(self._job.seconds):
                await self.over.wait()
        except TimeoutError:
            pass
        self.is_on = False
        seconds, cpu = time.perf_counter() - started, time.process_time() - started_cpu
        for connection in connections:
            connection.close()
        return Found(self.requests, seconds, cpu / seconds, dict(self.errors), self.examples, dict(self.latencies))

    def lost(self, pending: int) -> None:
        """A connection is gone, with so many requests unanswered."""
        self.open -= 1
        if self.is_on:
            self.errors[LOST] += pending * self._job.batch
            self.examples[LOST] = "the server has closed a connection"
            if not self.open:
                self.over.set()

    def failed(self, response: bytes) -> None:
        """A response with an error in it."""
        for code, message in _ERROR.findall(response):
            name = code.decode()
            self.errors[name] += 1
            if name not in self.examples:
                self.examples[name] = str(msgspec.json.decode(b'"' + message + b'"'))

    async def _connect(self) -> list[_Connection]:
        job, loop = self._job, asyncio.get_running_loop()
        tls = None
        if job.is_tls:
            tls = ssl.create_default_context()
            if job.ca is not None:
                tls.load_verify_locations(job.ca)
        made: list[_Connection] = []
        async with asyncio.timeout(CONNECT_SECS_MAX):
            for start in range(0, job.connections, CONNECTING_AT_ONCE):
                count = min(CONNECTING_AT_ONCE, job.connections - start)
                waiting = (
                    loop.create_connection(lambda: _Connection(self), job.host, job.port, ssl=tls) for _ in range(count)
                )
                made += [protocol for _, protocol in await asyncio.gather(*waiting)]
        self.open = len(made)
        return made


class _Connection(asyncio.Protocol):
    def __init__(self, load: Load) -> None:
        self._load = load
        self._sent: deque[float] = deque()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def begin(self, pipeline: int) -> None:
        self._send(pipeline)

    def close(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        load = self._load
        if not load.is_on:
            return
        now = time.perf_counter()
        received = self._rest + data if self._rest else data
        is_batch = load.is_batch
        position = answered = 0
        while end := response_end(received, position):
            response = received[position:end]
            if not response.startswith(_OK) or (is_batch and b'"status":"error"' in response):
                load.failed(response)
            load.latencies[int((now - self._sent.popleft()) * 1e6)] += 1
            position, answered = end, answered + 1
        self._rest = received[position:]
        load.requests += answered
        self._send(answered)

    def _send(self, count: int) -> None:
        requests = [self._load.generator.request() for _ in range(count)]
        self._sent.extend([time.perf_counter()] * count)
        self._transport.write(b"".join(requests))

    def connection_lost(self, exception: Exception | None) -> None:
        self._load.lost(len(self._sent))


async def main() -> None:
    """Do the job that standard input tells."""
    job = msgspec.json.decode(sys.stdin.readline(), type=Job)
    found = await Load(job).run()
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")


if __name__ == "__main__":
    try:
        uvloop.run(main())
    except (OSError, ssl.SSLError) as error:
        sys.exit(str(error) or type(error).__name__)
