"""A server that is killed and comes back, and workers that take messages from it and treat them badly.

Whatever a worker sees goes into a `Record`, which knows nothing of the server's rules but the contract. Times are Unix
milliseconds of this machine, whose clock the server shares. A command happens while its client waits for the reply, as
of a moment the server may have fixed a little (`TICK_MS`) before the request was sent.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp

from synap.clock import Millis
from synap.errors import MessageNotFound
from synap.journal import snapshot
from tests.durability.client import PATIENCE_SECS
from tests.support import ServerProcess, payload_of

COMMAND_PATH, SOCKET_PATH = "/api/v1/command", "/api/v1/ws"
QUEUE = "work"
LEASE_SECS = 0.8
REST_SECS = 0.05
RETRIES_MAX = 3
TICK_MS = 200
POLL_SECS = 0.4
PUBLISHED_AT_ONCE = 25
POISON = 100
"""One message of so many is never worked on."""
FATES = ["ack"] * 140 + ["ack later"] * 4 + ["nack", "nack at once", "extend", "forget", "crash"]
ABANDONED = 0.02
"""Of long polls, so many are broken off."""
BROKEN = (aiohttp.ClientError, OSError, EOFError, TimeoutError)


def wall() -> Millis:
    """The time."""
    return time.time_ns() // 1_000_000


class Place:
    """Where the server is; it may be killed and started again on the same data."""

    def __init__(self, data: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.killed_at: list[Millis] = []
        self.is_quiet = False
        """Nothing more is to be published."""
        self.is_over = False
        """Nobody needs to go on."""
        self._data = data
        self._arguments = arguments
        self._env = env
        self._up = asyncio.Event()

    async def url(self) -> str:
        """Where the server is, once it is there."""
        await self._up.wait()
        return self.server.url

    async def restart(self) -> None:
        """kill -9, and start again."""
        self._up.clear()
        self.killed_at.append(wall())
        await asyncio.to_thread(self.server.kill)
        await self._start()

    async def suffer(self, kills: int, rng: random.Random) -> None:
        """Kill the server again and again, the last time when there is a snapshot."""
        for _ in range(kills - 1):
            await asyncio.sleep(rng.uniform(0.2, 1))
            await self.restart()
        while kills and not snapshot.list_snapshots(self._data):
            await asyncio.sleep(rng.uniform(0, 0.1))
        if kills:
            await self.restart()

    async def end(self) -> None:
        """Nothing is left to do: kill the server for good."""
        self.is_over = True
        await asyncio.to_thread(self.server.kill)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Have a server run; it does not outlive this."""
        await self._start()
        try:
            yield
        finally:
            self.is_over = True
            if self.server.process.poll() is None:
                self.server.kill()

    async def _start(self) -> None:
        self.server = await asyncio.to_thread(ServerProcess, self._data, *self._arguments, env=self._env)
        self._up.set()


class Caller:
    """Commands over HTTP. One whose reply is lost (BROKEN) may have been executed or not."""

    def __init__(self, place: Place, session: aiohttp.ClientSession) -> None:
        self._place = place
        self._session = session

    async def send(self, request: dict[str, Any], timeout_secs: float = PATIENCE_SECS) -> Any:
        url = await self._place.url()
        timeout = aiohttp.ClientTimeout(timeout_secs)
        async with self._session.post(url + COMMAND_PATH, json=request, timeout=timeout) as response:
            return json.loads(await response.read())

    async def call(self, command: str, /, **payload: Any) -> Any:
        return payload_of(await self.send(called(command, **payload)))

    async def persist(self, request: dict[str, Any]) -> Any:
        """Send a request until there is a reply."""
        while True:
            try:
                return await self.send(request)
            except BROKEN:
                await asyncio.sleep(0.02)


def called(command: str, /, **payload: Any) -> dict[str, Any]:
    """A command as it is sent."""
    return {"command": command, "payload": payload}


def broken_off(connection: aiohttp.ClientWebSocketResponse) -> None:
    """Let a connection end as it does when its program is killed."""
    connection.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


# The record


@dataclass(eq=False)
class Connection:
    """A subscription: how many messages may be with it at a time, when it began and was broken off."""

    prefetch: int
    since: Millis
    ended_at: Millis | None = None
    deliveries: list[Held] = field(default_factory=list)

    def leased_from(self) -> Millis:
        """When the next delivery can have been made: not before so many others had made room for it."""
        full = len(self.deliveries) - self.prefetch
        return self.since if full < 0 else sorted(held.freed_from for held in self.deliveries)[full]


@dataclass(eq=False)
class Held:
    """A delivery, as the one who got it knows it. `..._from`: not before this moment."""

    message_id: str
    delivery: int
    number: int
    leased_from: Millis
    received_at: Millis
    connection: Connection | None
    extended_to: Millis = 0
    may_be_extended: bool = False
    acked_at: Millis | None = None
    """When an acknowledgement was sent, the first one."""
    nacked_at: Millis | None = None
    rest_ms: Millis = 0
    is_acked: bool = False
    refused_at: Millis | None = None
    """When it was told that the lease is over."""

    @property
    def lease_over_from(self) -> Millis:
        """When the lease can have run out."""
        return max(self.leased_from + round(LEASE_SECS * 1000), self.extended_to)

    @property
    def is_over_by(self) -> Millis | None:
        """When the lease has run out for certain."""
        return None if self.may_be_extended else self.received_at + round(LEASE_SECS * 1000)

    @property
    def freed_from(self) -> Millis:
        """When the worker can have had room for another message instead."""
        return min(at for at in (self.acked_at, self.nacked_at, self.lease_over_from) if at is not None)

    def is_back_from(self, killed_at: Sequence[Millis]) -> Millis:
        """When the message can have been ready again."""
        moments = [self.lease_over_from + round(REST_SECS * 1000)]
        if self.nacked_at is not None:
            moments.append(self.nacked_at + self.rest_ms)
        if self.connection is not None:
            moments += [at for at in killed_at if at >= self.leased_from]
            if self.connection.ended_at is not None:
                moments.append(self.connection.ended_at)
        return min(moments)


class Record:
    """Everything that all workers together have seen."""

    def __init__(self) -> None:
        self.ids: dict[int, str] = {}
        """What publishers were told, by the number in the message."""
        self.deliveries: dict[str, dict[int, Held]] = {}

    def published(self, number: int, result: dict[str, Any]) -> None:
        """A publisher was told of a message, perhaps once more."""
        assert self.ids.setdefault(number, result["message_id"]) == result["message_id"]

    def received(self, message: dict[str, Any], leased_from: Millis, connection: Connection | None) -> Held:
        """A message has come."""
        message_id, delivery = message["message_id"], message["delivery"]
        held = Held(message_id, delivery, message["message"]["n"], leased_from, wall(), connection)
        earlier = self.deliveries.setdefault(message_id, {})
        assert delivery not in earlier, f"a delivery was made twice: {earlier[delivery]}, {held}"
        assert message["retry_count"] == delivery - 1, message
        assert 1 <= delivery <= RETRIES_MAX + 1, held
        assert leased_from <= held.received_at + TICK_MS, f"more than the worker has room for: {held}"
        earlier[delivery] = held
        return held

    @property
    def all(self) -> list[Held]:
        """Every delivery."""
        return [held for deliveries in self.deliveries.values() for held in deliveries.values()]

    def check(self, killed_at: Sequence[Millis]) -> None:
        """What workers have seen agrees with what each of them was promised."""
        for deliveries in self.deliveries.values():
            in_order = [deliveries[delivery] for delivery in sorted(deliveries)]
            for held, following in pairwise(in_order):
                assert following.received_at >= held.is_back_from(killed_at) - TICK_MS, (held, following)
            acked = [held for held in in_order if held.is_acked]
            assert len(acked) <= 1, f"acknowledged twice: {acked}"
            assert acked in ([], in_order[-1:]), f"it came after it had been acknowledged: {in_order}"
            for held in in_order:
                self._check_answers(held, killed_at)

    def _check_answers(self, held: Held, killed_at: Sequence[Millis]) -> None:
        """A lease was honoured as long as it ran, and not longer."""
        if held.refused_at is not None:
            over_from = min(held.is_back_from(killed_at), held.lease_over_from, held.nacked_at or held.lease_over_from)
            assert held.refused_at >= over_from - TICK_MS, f"a lease was over early: {held}"
        if held.is_acked and held.acked_at is not None and held.is_over_by is not None:
            assert held.acked_at <= held.is_over_by + TICK_MS, f"a lease ran too long: {held}"

    def check_end(self, stats: dict[str, Any], dead: list[dict[str, Any]]) -> None:
        """Every message has been worked on once, or is dead for a reason; there are no others."""
        acked = {held.message_id for held in self.all if held.is_acked}
        perhaps = {held.message_id for held in self.all if held.acked_at and not held.refused_at} - acked
        dead_ids = {letter["message_id"] for letter in dead}
        ids = set(self.ids.values())
        assert len(ids) == len(self.ids) == stats["published_total"]
        assert not acked & dead_ids
        assert acked | dead_ids <= ids <= acked | dead_ids | perhaps
        assert self.deliveries.keys() <= ids
        assert (stats["depth"], stats["delayed"], stats["in_flight"]) == (0, 0, 0)
        assert stats["acked_total"] + stats["dlq_depth"] == len(ids)
        assert len(acked) <= stats["acked_total"] <= len(acked | perhaps)
        assert stats["dlq_depth"] == stats["dead_lettered_total"] == len(dead) == len(dead_ids)
        assert stats["consumed_total"] >= len(self.all)
        for letter in dead:
            assert letter["delivery"] == RETRIES_MAX + 1, letter
            assert letter["headers"]["x-death-reason"] == "delivery_limit", letter
        assert {letter["message"]["n"] for letter in dead} >= {n for n in self.ids if is_poison(n)}


def is_poison(number: int) -> bool:
    """Whether a message is one that nobody ever acknowledges."""
    return number % POISON == 0


# The work


async def publish(place: Place, record: Record, numbers: Sequence[int], pause_secs: float) -> None:
    """Publish messages, each once even when the server dies in between."""
    async with aiohttp.ClientSession() as session:
        caller = Caller(place, session)
        for at in range(0, len(numbers), PUBLISHED_AT_ONCE):
            part = numbers[at : at + PUBLISHED_AT_ONCE]
            commands = [
                called("queue.publish", queue=QUEUE, message={"n": n}, dedup_id=str(n), priority=n % 10) for n in part
            ]
            reply = await caller.persist({"type": "batch", "commands": commands})
            for number, result in zip(part, reply["results"], strict=True):
                record.published(number, payload_of(result))
            await asyncio.sleep(pause_secs)


class Worker(ABC):
    """Takes messages, and deals with most of them."""

    def __init__(self, place: Place, record: Record, rng: random.Random, session: aiohttp.ClientSession) -> None:
        self.place = place
        self.record = record
        self.rng = rng
        self.session = session

    @abstractmethod
    async def take(self, dealing: asyncio.TaskGroup) -> None:
        """Take messages until the connection ends, and begin to `deal` with each."""

    @abstractmethod
    async def ask(self, command: str, payload: dict[str, Any]) -> Any:
        """The reply to a command."""

    async def run(self) -> None:
        """Work until it is over."""
        while not self.place.is_over:
            with suppress(*BROKEN):
                await self._session()
            await asyncio.sleep(0.01)

    async def deal(self, held: Held, fate: str) -> None:
        """Do with a message what fate says."""
        with suppress(*BROKEN):
            if is_poison(held.number) or fate.startswith("nack"):
                await self._nack(held, {"delay_secs": 0} if fate != "nack" else {})
                return
            if fate == "extend":
                await self._extend(held)
                await asyncio.sleep(LEASE_SECS * 1.2)
            elif fate == "ack later":
                await asyncio.sleep(self.rng.uniform(0, LEASE_SECS / 2))
            elif fate == "forget":
                await asyncio.sleep(LEASE_SECS + 2 * TICK_MS / 1000)
            held.acked_at = wall()
            held.is_acked = await self._tell(held, "queue.ack") is not None

    async def _session(self) -> None:
        try:
            async with asyncio.TaskGroup() as dealing:
                await self.take(dealing)
        except* BROKEN:
            pass

    async def _nack(self, held: Held, payload: dict[str, Any]) -> None:
        held.rest_ms = 0 if payload else round(REST_SECS * 1000)
        held.nacked_at = wall()
        told = await self._tell(held, "queue.nack", **payload)
        if told is not None:
            assert told["action"] == ("requeued" if held.delivery <= RETRIES_MAX else "dead_lettered"), (held, told)

    async def _extend(self, held: Held) -> None:
        held.may_be_extended = True
        told = await self._tell(held, "queue.extend", ack_deadline=LEASE_SECS * 1.5)
        if told is not None:
            held.extended_to = told["deadline"]

    async def _tell(self, held: Held, command: str, **payload: Any) -> Any:
        """The result of a command on a message; None when its lease was over."""
        same = {"queue": QUEUE, "message_id": held.message_id, "delivery": held.delivery}
        try:
            return payload_of(await self.ask(command, same | payload))
        except MessageNotFound:
            held.refused_at = wall()
            return None


class Poller(Worker):
    """Asks for messages by long polls. Some it breaks off."""

    async def ask(self, command: str, payload: dict[str, Any]) -> Any:
        return await Caller(self.place, self.session).send(called(command, **payload))

    async def take(self, dealing: asyncio.TaskGroup) -> None:
        caller = Caller(self.place, self.session)
        while not self.place.is_over:
            asked_at, count = wall(), self.rng.choice([1, 1, 3, 10])
            request = called("queue.consume", queue=QUEUE, timeout=POLL_SECS, max_messages=count)
            patience_secs = self.rng.uniform(0.001, 0.05) if self.rng.random() < ABANDONED else PATIENCE_SECS
            messages = payload_of(await caller.send(request, patience_secs))["messages"]
            assert len(messages) <= count
            for message in messages:
                held = self.record.received(message, asked_at, None)
                fate = self.rng.choice(FATES)
                if fate != "crash":
                    dealing.create_task(self.deal(held, fate))
            await asyncio.sleep(0)


class Subscriber(Worker):
    """Has messages pushed on a WebSocket. Now and then it breaks down with all it has."""

    def __init__(
        self, place: Place, record: Record, rng: random.Random, session: aiohttp.ClientSession, prefetch: int
    ) -> None:
        super().__init__(place, record, rng, session)
        self._prefetch = prefetch
        self._asked: dict[str, asyncio.Future[Any]] = {}

    async def ask(self, command: str, payload: dict[str, Any]) -> Any:
        number = str(self.rng.randrange(2**64))
        self._asked[number] = answer = asyncio.get_running_loop().create_future()
        try:
            await self._socket.send_json(called(command, **payload) | {"request_id": number})
            return await answer
        finally:
            self._asked.pop(number, None)
            answer.cancel()

    async def take(self, dealing: asyncio.TaskGroup) -> None:
        url = await self.place.url()
        async with self.session.ws_connect(url + SOCKET_PATH) as self._socket:
            connection = Connection(self._prefetch, wall())
            await self._socket.send_json(called("queue.subscribe", queue=QUEUE, prefetch=self._prefetch))
            try:
                async for frame in self._socket:
                    if frame.type is not aiohttp.WSMsgType.TEXT:
                        break
                    self._see(json.loads(frame.data), connection, dealing)
            finally:
                for answer in self._asked.values():
                    answer.set_exception(EOFError())

    def _see(self, told: dict[str, Any], connection: Connection, dealing: asyncio.TaskGroup) -> None:
        if told["type"] == "response":
            answer = self._asked.pop(told["request_id"], None)
            if answer is not None:
                answer.set_result(told)
            else:
                assert told["payload"]["subscribed"], told
            return
        assert told["type"] == "message", told
        held = self.record.received(told, connection.leased_from(), connection)
        connection.deliveries.append(held)
        fate = self.rng.choice(FATES)
        if fate == "crash" and connection.ended_at is None:
            connection.ended_at = wall()
            broken_off(self._socket)
        elif connection.ended_at is None:
            dealing.create_task(self.deal(held, fate))


async def until_done(caller: Caller, record: Record, count: int) -> dict[str, Any]:
    """Wait until all that was to be published has been worked on; returns the queue in numbers."""
    while True:
        await asyncio.sleep(0.1)
        with suppress(*BROKEN):
            stats: dict[str, Any] = await caller.call("queue.stats", queue=QUEUE)
            left = stats["depth"] + stats["delayed"] + stats["in_flight"]
            if len(record.ids) == count and not left:
                return stats
