"""What a request costs, in lines of Python executed and calls made: a guard that no machine and no neighbour can upset.

Times say more and mean less: they differ from run to run. Lines and calls are the same each time, and most of what a
request costs is the interpreter's share; what C does for it (parsing, encoding) is in the libraries' hands. A budget
that is passed by a change for good reasons is raised together with it, in sight of who reviews it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest

import synap
from synap.config import Settings
from synap.server import Server
from synap.transport.lane import LaneConnection

SOURCE = str(Path(synap.__file__).parent)
WARM_UP = 20
SMALL, LARGE = 100, 5_000
KEYS = 10_000

# Lines and calls of one request on the lane, from its bytes to those of its reply, with the tick that sends it.
BUDGETS = {
    "kv.set": (203, 36),
    "kv.get": (140, 22),
    "kv.incr": (218, 39),
    "hash.set": (218, 43),
    "list.rpush": (228, 50),
    "set.add": (162, 35),
    "sortedset.zadd": (176, 35),
    "queue.publish": (252, 51),
    "stream.publish": (224, 41),
    "pubsub.publish": (175, 31),
}
PAYLOADS: dict[str, Callable[[int], dict[str, Any]]] = {
    "kv.set": lambda n: {"key": f"s{n}", "value": "abc"},
    "kv.get": lambda n: {"key": f"s{n}"},
    "kv.incr": lambda n: {"key": f"i{n}"},
    "hash.set": lambda n: {"key": "h", "field": f"f{n}", "value": "abc"},
    "list.rpush": lambda n: {"key": "l", "values": ["abc"]},
    "set.add": lambda n: {"key": "m", "members": [f"m{n}"]},
    "sortedset.zadd": lambda n: {"key": "z", "members": [{"member": f"m{n}", "score": n}]},
    "queue.publish": lambda n: {"queue": "q", "message": {"n": n}},
    "stream.publish": lambda n: {"room": "r", "event_type": "t", "data": {"n": n}},
    "pubsub.publish": lambda n: {"topic": "a.b", "message": {"n": n}},
}
BATCH_BUDGET = (83.0, 12.0)
"""Lines and calls for each command of a batch of 100 kv.set."""
BYTES_PER_KEY_MAX = 140
"""Of a key and a value of five characters each."""


class Transport:
    """Takes what is written to it and does no more."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.write = self.written.append

    def get_extra_info(self, _: str) -> tuple[str, int]:
        return "127.0.0.1", 1


class Lane:
    """A connection of a server in this process."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport = Transport()
        self._connection: LaneConnection = server._lane.connection()
        self._connection.connection_made(self._transport)  # type: ignore[arg-type]

    def ask(self, body: bytes) -> bytes:
        """The reply to a request, after a tick of its own."""
        head = b"POST /api/v1/command HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
        self._transport.written.clear()
        self._connection.data_received(head % len(body) + body)
        self._server._committer.commit()
        (reply,) = self._transport.written
        assert reply.startswith(b"HTTP/1.1 200 OK"), reply
        return reply

    def leave(self) -> None:
        """End the connection."""
        self._connection.connection_lost(None)


def request(command: str, n: int) -> bytes:
    return json.dumps({"command": command, "payload": PAYLOADS[command](n)}).encode()


def cost(work: Callable[[], object]) -> tuple[int, int]:
    """Lines of Synap that `work` executes, and calls of its functions."""
    events: Counter[str] = Counter()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(SOURCE):
            return None
        events[event] += 1
        return trace

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(previous)
    return events["line"], events["call"]


@pytest.fixture
async def lane(tmp_path: Path) -> AsyncIterator[Lane]:
    settings = msgspec.convert({"server": {"data": str(tmp_path / "data"), "port": 0}}, Settings)
    server = Server(settings)
    await server.start()
    await server.recover()
    connected = Lane(server)
    yield connected
    connected.leave()
    await server.close()


@pytest.mark.parametrize("command", PAYLOADS)
async def test_a_request_stays_within_its_budget(lane: Lane, command: str) -> None:
    for n in range(WARM_UP):
        lane.ask(request(command, n % 10))
    lines, calls = cost(lambda: lane.ask(request(command, 5)))
    assert lines <= BUDGETS[command][0] and calls <= BUDGETS[command][1], f"{lines} lines, {calls} calls"


async def test_a_command_of_a_batch_stays_within_its_budget(lane: Lane) -> None:
    entries = [{"command": "kv.set", "payload": PAYLOADS["kv.set"](n)} for n in range(100)]
    body = json.dumps({"type": "batch", "commands": entries}).encode()
    lane.ask(body)
    lines, calls = (count / 100 for count in cost(lambda: lane.ask(body)))
    assert lines <= BATCH_BUDGET[0] and calls <= BATCH_BUDGET[1], f"{lines} lines, {calls} calls"


@pytest.mark.parametrize("command", PAYLOADS)
async def test_what_a_request_costs_does_not_grow_with_what_is_there(lane: Lane, command: str) -> None:
    costs: list[tuple[int, int]] = []
    for size in (SMALL, LARGE):
        for n in range(size):
            lane.ask(request("kv.set" if command == "kv.get" else command, n))
        costs.append(cost(lambda: lane.ask(request(command, LARGE + len(costs)))))
    (lines, calls), (lines_large, calls_large) = costs
    assert lines_large <= 1.2 * lines and calls_large <= 1.2 * calls, costs


async def test_a_small_key_takes_little_memory(lane: Lane) -> None:
    lane.ask(request("kv.set", KEYS))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for n in range(KEYS):
            lane.ask(request("kv.set", n))
            await asyncio.sleep(0)  # the loop forgets the tick
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown / KEYS <= BYTES_PER_KEY_MAX, grown / KEYS
