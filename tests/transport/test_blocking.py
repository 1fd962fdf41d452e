"""Blocking commands on real connections: who waits is served in turn, and who goes away takes nothing along.

The server sees what was sent in the order it was sent. `seen` makes sure that it has; `halted` has it see several
things at once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from synap.commands import packed
from tests.support import ServerProcess
from tests.transport.wire import (
    HEALTH,
    Answer,
    Headers,
    Opener,
    Wire,
    command,
    connect,
    connect_handed_over,
    envelope,
    eventually,
    request,
)

PACKED = ("Content-Type", "application/msgpack")
DBSIZE = command(envelope("kv.dbsize"))
MIB = 1024 * 1024
# What the lane keeps behind a blocking command that waits, and how many requests aiohttp takes behind one.
BEHIND_BYTES_MAX = MIB
BEHIND_HANDED_OVER_MAX = 32
IDLE_TIMEOUT_SECS = 1
STOPS_WITHIN_SECS = 5.0
SHORT_SECS = 0.05
# An event loop counts from when its turn began.
TIMER_ERROR_SECS = 0.02
NOTHING = {"key": None, "value": None}

both = pytest.mark.parametrize("opened", [connect, connect_handed_over], ids=["fresh", "handed over"])
endings = pytest.mark.parametrize("end", ["closed", "half-closed", "reset"])


@dataclass(frozen=True)
class Door:
    """A way to ask for a blocking pop."""

    name: str
    opened: Opener
    is_rest: bool = False
    is_packed: bool = False

    def pop(self, *keys: str, timeout: float = 0, pop: str = "blpop", headers: Headers = ()) -> bytes:
        if self.is_rest:
            return request("POST", f"/list/{pop}", json.dumps({"keys": keys, "timeout": timeout}).encode(), headers)
        body = envelope(f"list.{pop}", keys=keys, timeout=timeout)
        return command(packed.from_json(body), [PACKED, *headers]) if self.is_packed else command(body, headers)

    def result(self, answer: Answer) -> Any:
        """What the pop was answered."""
        assert answer.status == 200, answer
        if self.is_rest:
            return answer.json
        if self.is_packed:
            assert answer.header("Content-Type") == "application/msgpack"
            return json.loads(packed.to_json(answer.body))["payload"]
        return answer.payload

    def meta(self, answer: Answer) -> tuple[str, int]:
        """Acknowledgement and lsn."""
        if self.is_rest:
            return str(answer.header("X-Synap-Ack")), int(answer.header("X-Synap-LSN") or 0)
        whole = json.loads(packed.to_json(answer.body)) if self.is_packed else answer.json
        return whole["ack"], whole["lsn"]


FRESH = Door("fresh", connect)
DOORS = [
    FRESH,
    Door("handed over", connect_handed_over),
    Door("fresh, packed", connect, is_packed=True),
    Door("handed over, packed", connect_handed_over, is_packed=True),
    Door("REST", connect, is_rest=True),
]
every_door = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("blocking") / "data") as running:
        yield running


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A key that no other test uses."""
    return str(request.node.name)


def blpop(*keys: str, timeout: float = 0, headers: Headers = ()) -> bytes:
    return FRESH.pop(*keys, timeout=timeout, headers=headers)


def rpush(key: str, *values: Any) -> bytes:
    return command(envelope("list.rpush", key=key, values=list(values)))


def incr(key: str, headers: Headers = ()) -> bytes:
    return command(envelope("kv.incr", key=key), headers)


def left(server: ServerProcess, key: str) -> Any:
    return server.call("list.range", key=key)["values"]


def seen(server: ServerProcess) -> None:
    """Wait until the server has dealt with what was sent before; aiohttp takes a few steps for a request."""
    with connect_handed_over(server) as wire:
        for _ in range(3):
            assert wire.ask(HEALTH).status == 200


@contextmanager
def halted(server: ServerProcess) -> Iterator[None]:
    """The server stands still, and then sees all that was sent meanwhile, in order."""
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        eventually(lambda: Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T")
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


def leave(wire: Wire, end: str) -> None:
    if end == "half-closed":
        with suppress(OSError):  # the server may have closed first
            wire.socket.shutdown(socket.SHUT_WR)
    elif end == "reset":
        wire.reset()
    else:
        wire.socket.close()


def answers_to_the_end(wire: Wire) -> list[Answer]:
    """What still comes until the server ends the connection."""
    answers = []
    with suppress(EOFError, ConnectionError):
        while True:
            answers.append(wire.answer())
    return answers


# Waiting and being served


@every_door
def test_who_waits_is_answered_when_something_comes(server: ServerProcess, key: str, door: Door) -> None:
    with door.opened(server) as wire, connect(server) as other:
        wire.send(door.pop("elsewhere", key))
        seen(server)
        lsn = other.ask(rpush(key, 1, 2)).json["lsn"]
        answer = wire.answer()
        assert (door.result(answer), door.meta(answer)) == ({"key": key, "value": 1}, ("written", lsn + 1))
        assert door.result(wire.ask(door.pop(key, pop="brpop"))) == {"key": key, "value": 2}


@every_door
def test_who_waits_in_vain_is_told_so_in_time(server: ServerProcess, key: str, door: Door) -> None:
    with door.opened(server) as wire:
        started = time.monotonic()
        assert door.result(wire.ask(door.pop(key, timeout=SHORT_SECS))) == NOTHING
        assert time.monotonic() - started >= SHORT_SECS - TIMER_ERROR_SECS
        assert wire.ask(DBSIZE).status == 200
        assert server.call("list.rpush", key=key, value=1)["length"] == 1
        assert left(server, key) == [1]


@every_door
def test_an_answer_may_wait_for_the_disk_too(server: ServerProcess, key: str, door: Door) -> None:
    with door.opened(server) as wire:
        wire.send(door.pop(key, headers=[("X-Synap-Ack", "synced")]))
        seen(server)
        server.call("list.rpush", key=key, value=1)
        answer = wire.answer()
        assert (door.result(answer)["value"], door.meta(answer)[0]) == (1, "synced")


def test_whichever_way_they_came_the_first_is_served_first(server: ServerProcess, key: str) -> None:
    with ExitStack() as stack, connect(server) as other:
        waiting = [(door, stack.enter_context(door.opened(server))) for door in (*DOORS, *reversed(DOORS))]
        for door, wire in waiting:
            wire.send(door.pop(key))
            seen(server)
        count = len(waiting)
        other.ask(rpush(key, 0))
        other.ask(rpush(key, *range(1, count - 1)))
        other.ask(rpush(key, count - 1, "nobody's"))
        assert [door.result(wire.answer())["value"] for door, wire in waiting] == list(range(count))
    assert left(server, key) == ["nobody's"]


def test_members_of_sorted_sets_are_waited_for_alike(server: ServerProcess, key: str) -> None:
    popmin = command(envelope("sortedset.bzpopmin", keys=[key], timeout=0))
    popmax = request("POST", "/sortedset/bzpopmax", json.dumps({"keys": [key], "timeout": 0}).encode())
    with connect(server) as lowest, connect(server) as highest:
        lowest.send(popmin)
        seen(server)
        highest.send(popmax)
        seen(server)
        entries = [{"key": key, "member": member, "score": score} for member, score in (("1", 1), ("2", 2))]
        server.send({"type": "batch", "commands": [{"command": "sortedset.zadd", "payload": e} for e in entries]})
        assert lowest.answer().payload == {"key": key, "member": "1", "score": 1}
        assert highest.answer().json == {"key": key, "member": "2", "score": 2}


@every_door
def test_another_type_is_refused_at_once(server: ServerProcess, key: str, door: Door) -> None:
    server.call("kv.set", key=key, value=1)
    with door.opened(server) as wire:
        assert wire.ask(door.pop(key)).status == 409
        assert wire.ask(DBSIZE).status == 200


@every_door
def test_a_retry_on_another_connection_is_given_the_same_and_pops_nothing(
    server: ServerProcess, key: str, door: Door
) -> None:
    keyed = door.pop(key, headers=[("Idempotency-Key", key)])
    with door.opened(server) as first, connect(server) as other, door.opened(server) as again:
        for wire, asked in ((first, keyed), (other, blpop(key)), (again, keyed)):
            wire.send(asked)
            seen(server)
        server.call("list.rpush", key=key, value=1)
        assert [door.result(wire.answer())["value"] for wire in (first, again)] == [1, 1]
        server.call("list.rpush", key=key, value=2)
        assert other.answer().payload["value"] == 2
        assert door.result(first.ask(keyed))["value"] == 1
    assert left(server, key) == []


# What is sent behind it


@both
def test_requests_behind_one_that_waits_are_answered_after_it_and_in_order(
    server: ServerProcess, key: str, opened: Opener
) -> None:
    count = incr(f"{key} count")
    with opened(server) as wire:
        wire.send(count * 3 + blpop(key) + count * 3 + HEALTH + blpop(key) + count)
        assert [wire.answer().payload["value"] for _ in range(3)] == [1, 2, 3]
        seen(server)
        wire.send(count + request("GET", "/list/none/len"))
        assert server.call("kv.get", key=f"{key} count")["value"] == 3
        server.call("list.rpush", key=key, values=["a"])
        assert wire.answer().payload["value"] == "a"
        assert [wire.answer().payload["value"] for _ in range(3)] == [4, 5, 6]
        assert wire.answer().json["status"] == "healthy"
        seen(server)
        server.call("list.rpush", key=key, values=["b"])
        assert wire.answer().payload["value"] == "b"
        assert [wire.answer().payload["value"] for _ in range(2)] == [7, 8]
        assert wire.answer().json["length"] == 0


@both
def test_a_request_may_arrive_in_pieces_while_the_one_before_waits(
    server: ServerProcess, key: str, opened: Opener
) -> None:
    with opened(server) as wire:
        wire.send(blpop(key))
        seen(server)
        wire.send(DBSIZE[:20])
        seen(server)
        wire.send(DBSIZE[20:-5])
        server.call("list.rpush", key=key, value=1)
        assert wire.answer().payload["value"] == 1
        wire.send(DBSIZE[-5:])
        assert "size" in wire.answer().payload


def test_a_slow_reader_gets_its_answers_in_order(server: ServerProcess, key: str) -> None:
    large = "x" * 7_500_000
    server.call("kv.set", key="large", value=large)
    with connect(server) as wire:
        wire.send(command(envelope("kv.get", key="large")) + blpop(key) + DBSIZE + blpop(key, timeout=SHORT_SECS))
        seen(server)
        assert wire.answer().payload["value"] == large
        seen(server)
        wire.send(DBSIZE)
        server.call("list.rpush", key=key, value=1)
        assert wire.answer().payload["value"] == 1
        assert "size" in wire.answer().payload
        assert wire.answer().payload == NOTHING
        assert "size" in wire.answer().payload


def test_a_slow_reader_that_is_served_before_it_reads_gets_its_answers_in_order(
    server: ServerProcess, key: str
) -> None:
    large = "x" * 7_500_000
    server.call("kv.set", key="large", value=large)
    with connect(server) as wire:
        wire.send(command(envelope("kv.get", key="large")) + blpop(key) + DBSIZE)
        seen(server)
        server.call("list.rpush", key=key, value=1)
        seen(server)
        assert wire.answer().payload["value"] == large
        assert wire.answer().payload["value"] == 1
        assert "size" in wire.answer().payload


@both
@endings
@pytest.mark.parametrize("step", [1, 1_000], ids=["one by one", "at once"])
def test_who_leaves_with_many_requests_behind_a_wait_loses_nothing(
    server: ServerProcess, key: str, opened: Opener, end: str, step: int
) -> None:
    count = 3_000 if step > 1 else 100
    assert len(DBSIZE) * count < BEHIND_BYTES_MAX
    with opened(server) as wire:
        wire.send(blpop(key))
        seen(server)
        with suppress(ConnectionError):
            wire.send_by(len(DBSIZE) * step, DBSIZE * count)
        leave(wire, end)
        seen(server)
        server.call("list.rpush", key=key, value=1)
        assert left(server, key) == [1]


def test_more_than_a_mib_behind_a_wait_is_refused_and_nothing_lost(server: ServerProcess, key: str) -> None:
    with connect(server) as wire:
        assert wire.ask(incr(f"{key} before")).status == 200
        wire.send(blpop(key))
        seen(server)
        answer = wire.ask_at_length(incr(f"{key} behind") * (2 * BEHIND_BYTES_MAX // len(DBSIZE)))
        assert (answer.status, answer.error["code"], answer.header("Connection")) == (400, "INVALID_REQUEST", "close")
        assert answers_to_the_end(wire) == []
    server.call("list.rpush", key=key, value=1)
    assert left(server, key) == [1]
    assert server.call("kv.get", key=f"{key} behind")["found"] is False


def test_the_refusal_of_too_much_behind_a_wait_comes_after_what_is_owed(server: ServerProcess, key: str) -> None:
    asked = (
        incr(f"{key} n", [("X-Synap-Ack", "synced")]) + blpop(key) + DBSIZE * (BEHIND_BYTES_MAX // len(DBSIZE) + 100)
    )
    with connect(server) as wire:
        with halted(server):
            wire.socket.settimeout(1)
            with suppress(TimeoutError):  # what the system buffers is enough
                wire.socket.sendall(asked)
        answers = answers_to_the_end(wire)
    assert [answer.status for answer in answers] == [200, 400]
    assert [answer.header("Connection") for answer in answers] == [None, "close"]


def test_nearly_a_mib_behind_a_wait_is_answered(server: ServerProcess, key: str) -> None:
    count = BEHIND_BYTES_MAX // len(DBSIZE) - 1
    with connect(server) as wire:
        wire.send(blpop(key))
        wire.send(DBSIZE * count)
        server.call("list.rpush", key=key, value=1)
        assert wire.answer().payload["value"] == 1
        assert [wire.answer().status for _ in range(count)] == [200] * count


def test_a_handed_over_connection_with_too_much_behind_a_wait_does_not_wait(server: ServerProcess, key: str) -> None:
    count = 3 * BEHIND_HANDED_OVER_MAX
    with connect_handed_over(server) as at_once, connect_handed_over(server) as later:
        at_once.send(blpop(key) + DBSIZE * count)
        later.send(blpop(key))
        assert at_once.answer().payload == NOTHING
        assert [at_once.answer().status for _ in range(count)] == [200] * count
        seen(server)
        later.send(DBSIZE * count)
        assert answers_to_the_end(later) == []
    server.call("list.rpush", key=key, value=1)
    assert left(server, key) == [1]


def test_a_handed_over_connection_waits_with_a_few_requests_behind(server: ServerProcess, key: str) -> None:
    count = BEHIND_HANDED_OVER_MAX // 2
    with connect_handed_over(server) as wire:
        wire.send(blpop(key) + DBSIZE * count)
        seen(server)
        server.call("list.rpush", key=key, value=1)
        assert wire.answer().payload["value"] == 1
        assert [wire.answer().status for _ in range(count)] == [200] * count


# Going away


@every_door
@endings
def test_who_goes_away_while_waiting_takes_nothing_along(server: ServerProcess, key: str, door: Door, end: str) -> None:
    with door.opened(server) as gone, connect(server) as stays:
        gone.send(door.pop(key, "other"))
        seen(server)
        stays.send(blpop(key))
        leave(gone, end)
        seen(server)
        server.call("list.rpush", key=key, values=[1, 2])
        assert stays.answer().payload["value"] == 1
        if end == "half-closed":
            gone.expect_closed()
    assert left(server, key) == [2]


@every_door
@endings
def test_who_goes_away_just_before_a_push_takes_nothing_along(
    server: ServerProcess, key: str, door: Door, end: str
) -> None:
    with door.opened(server) as gone, connect(server) as other:
        gone.send(door.pop(key))
        seen(server)
        with halted(server):
            leave(gone, end)
            other.send(rpush(key, 1))
        assert other.answer().status == 200
    assert left(server, key) == [1]


@both
def test_who_says_it_is_done_before_the_wait_begins_is_not_waited_for(
    server: ServerProcess, key: str, opened: Opener
) -> None:
    with opened(server) as wire:
        with halted(server):
            wire.send(HEALTH * 5 + blpop(key) + DBSIZE)
            wire.socket.shutdown(socket.SHUT_WR)
        answers = answers_to_the_end(wire)
    assert [answer.status for answer in answers[:5]] == [200] * 5
    assert all(answer.payload == NOTHING for answer in answers[5:6])
    server.call("list.rpush", key=key, value=1)
    assert left(server, key) == [1]


def test_who_says_it_is_done_on_a_fresh_connection_is_not_waited_for(server: ServerProcess, key: str) -> None:
    for before in (b"", DBSIZE, incr(key, [("X-Synap-Ack", "synced")]), DBSIZE * 2_500):
        list_key = f"{key} {len(before)}"
        with connect(server) as wire:
            with halted(server):
                wire.send(before + blpop(list_key) + DBSIZE)
                wire.socket.shutdown(socket.SHUT_WR)
            answers = answers_to_the_end(wire)
        count = before.count(b"POST")
        assert [answer.status for answer in answers[:count]] == [200] * count
        assert all(answer.payload == NOTHING for answer in answers[count : count + 1])
        server.call("list.rpush", key=list_key, value=1)
        assert left(server, list_key) == [1]


def test_who_was_served_and_says_it_is_done_still_gets_the_value(server: ServerProcess, key: str) -> None:
    with connect(server) as wire, connect(server) as other:
        wire.send(blpop(key, headers=[("X-Synap-Ack", "synced")]) + DBSIZE + blpop(key) + DBSIZE)
        seen(server)
        with halted(server):
            other.send(rpush(key, 1))
            wire.socket.shutdown(socket.SHUT_WR)
        first, *others = answers_to_the_end(wire)
        assert first.payload["value"] == 1
        assert all(answer.payload == NOTHING for answer in others[1:2])
    assert left(server, key) == []


@every_door
@pytest.mark.parametrize("ack", ["written", "synced"])
def test_who_was_served_in_the_moment_it_says_it_is_done_still_gets_the_value(
    server: ServerProcess, key: str, door: Door, ack: str
) -> None:
    with door.opened(server) as wire, connect(server) as other:
        wire.send(door.pop(key, headers=[("X-Synap-Ack", ack)]))
        seen(server)
        with halted(server):
            other.send(rpush(key, 1))
            wire.socket.shutdown(socket.SHUT_WR)
        assert [door.result(answer)["value"] for answer in answers_to_the_end(wire)] == [1]


@every_door
def test_who_is_not_waited_for_is_told_so_as_it_asked(server: ServerProcess, key: str, door: Door) -> None:
    with door.opened(server) as wire:
        with halted(server):
            wire.send(HEALTH * 5 + door.pop(key))
            wire.socket.shutdown(socket.SHUT_WR)
        answers = answers_to_the_end(wire)
    assert [door.result(answer) for answer in answers[5:]] == [NOTHING]


def test_hundreds_that_go_away_leave_nothing(server: ServerProcess, key: str) -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(connect(server)) for _ in range(400)]
        for number, wire in enumerate(wires):
            wire.send((DOORS[-1] if number % 2 else FRESH).pop(key, f"{key} {number}"))
        seen(server)
    seen(server)
    server.call("list.rpush", key=key, value=1)
    assert left(server, key) == [1]


# Time and limits


def test_a_connection_that_waits_is_not_idle_and_the_server_has_the_last_word(tmp_path: Path) -> None:
    wait_secs = 3.4
    env = {
        "SYNAP_LIMITS_IDLE_TIMEOUT_SECS": str(IDLE_TIMEOUT_SECS),
        "SYNAP_LIMITS_READ_TIMEOUT_SECS": "1",
        "SYNAP_LIMITS_MAX_WAIT_SECS": str(wait_secs),
    }
    with ServerProcess(tmp_path / "data", env=env) as server, ExitStack() as stack:
        idle = [stack.enter_context(opened(server)) for opened in (connect, connect_handed_over)]
        waiting = [(door, stack.enter_context(door.opened(server))) for door in DOORS]
        started = time.monotonic()
        for door, wire in waiting:
            wire.send(door.pop("k", timeout=0 if door.is_packed else 100))
        for wire in idle:
            wire.expect_closed()
        assert time.monotonic() - started < wait_secs
        for door, wire in waiting:
            assert door.result(wire.answer()) == NOTHING
            assert wire.ask(DBSIZE).status == 200
        assert time.monotonic() - started >= wait_secs - TIMER_ERROR_SECS


# The end of the server


def test_who_waits_when_the_server_stops_is_told_that_nothing_came(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server, ExitStack() as stack:
        waiting = [(door, stack.enter_context(door.opened(server))) for door in DOORS * 5]
        for door, wire in waiting:
            wire.send(door.pop("k", "other"))
        seen(server)
        server.process.send_signal(signal.SIGTERM)
        for door, wire in waiting:
            assert door.result(wire.answer()) == NOTHING
            wire.expect_closed()
        assert server.process.wait(STOPS_WITHIN_SECS) == 0


@both
def test_nothing_follows_the_answer_that_says_it_is_the_last(tmp_path: Path, opened: Opener) -> None:
    with ServerProcess(tmp_path / "data") as server, opened(server) as wire:
        wire.send(blpop("k") + DBSIZE + blpop("k") + DBSIZE)
        seen(server)
        server.process.send_signal(signal.SIGTERM)
        first, *others = answers_to_the_end(wire)
        assert first.payload == NOTHING
        assert all(answer.status == 503 for answer in others)
        closing = [answer.header("Connection") == "close" for answer in (first, *others)]
        assert not any(closing[:-1])
        assert server.process.wait(STOPS_WITHIN_SECS) == 0


def test_what_was_popped_after_a_wait_stays_popped_after_a_crash(tmp_path: Path) -> None:
    synced = [("X-Synap-Ack", "synced")]
    keyed = blpop("k", "other", headers=[("Idempotency-Key", "i"), *synced])
    server = ServerProcess(tmp_path / "data")
    with connect(server) as plain, connect(server) as with_key, connect(server) as abandoned:
        for wire, asked in ((plain, blpop("k", headers=synced)), (with_key, keyed), (abandoned, blpop("none"))):
            wire.send(asked)
            seen(server)
        server.call("list.rpush", key="k", values=[1, 2, 3])
        assert [wire.answer().payload["value"] for wire in (plain, with_key)] == [1, 2]
        server.kill()
    with ServerProcess(tmp_path / "data") as again, connect(again) as wire:
        assert wire.ask(keyed).payload == {"key": "k", "value": 2}
        assert left(again, "k") == [3]


# Everything at once


class Storm:
    """Clients that push, pop, wait, and leave while waiting, all at once, each value a number of its own."""

    KEYS = ("storm a", "storm b")

    def __init__(self, server: ServerProcess, seed: int) -> None:
        self.server, self.seed = server, seed
        self.pushed: list[int] = []
        self.popped: list[int] = []
        self.pushing = True
        self.failures: list[BaseException] = []

    def run(self, *clients: Callable[[random.Random, int], None], pushers: int, pushes: int) -> None:
        others = [self._thread(client, number) for number, client in enumerate(clients)]
        active = [self._thread(self._pusher(pushes), 1_000 + number) for number in range(pushers)]
        for thread in (*others, *active):
            thread.start()
        for thread in active:
            thread.join()
        self.pushing = False
        for thread in others:
            thread.join()
        assert self.failures == []

    def patient(self, door: Door) -> Callable[[random.Random, int], None]:
        """Waits again and again, for a moment or so."""

        def client(chance: random.Random, number: int) -> None:
            with door.opened(self.server) as wire:
                while self.pushing:
                    asked = door.pop(*self._keys(chance), timeout=chance.choice([0.001, 0.003, 0.01, 0.1]))
                    depth = chance.choice([1, 1, 3])
                    wire.send(asked * depth)
                    for _ in range(depth):
                        self._take(door.result(wire.answer()))

        return client

    def leaver(self, door: Door) -> Callable[[random.Random, int], None]:
        """Says after a moment that it is done, and takes what it may have been given before the server saw that."""

        def client(chance: random.Random, number: int) -> None:
            while self.pushing:
                with door.opened(self.server) as wire:
                    wire.send(door.pop(*self._keys(chance)))
                    time.sleep(chance.choice([0, 0.0005, 0.002, 0.005]))
                    wire.socket.shutdown(socket.SHUT_WR)
                    for answer in answers_to_the_end(wire):
                        self._take(door.result(answer))

        return client

    def check(self) -> None:
        """Every value was popped once, or is still there."""
        kept = [value for key in self.KEYS for value in left(self.server, key)]
        found = Counter(self.popped + kept)
        twice = [value for value, count in found.items() if count > 1]
        lost = sorted(set(self.pushed) - set(found))
        assert (twice, lost, set(found) - set(self.pushed)) == ([], [], set()), f"seed {self.seed}"

    def _pusher(self, pushes: int) -> Callable[[random.Random, int], None]:
        def client(chance: random.Random, number: int) -> None:
            with connect(self.server) as wire:
                for at in range(pushes):
                    first = (number * pushes + at) * 10
                    values = range(first, first + chance.choice([1, 1, 1, 2, 5]))
                    self.pushed.extend(values)
                    assert wire.ask(rpush(chance.choice(self.KEYS), *values)).status == 200
                    if chance.random() < 0.2:
                        time.sleep(0.002)

        return client

    def _keys(self, chance: random.Random) -> list[str]:
        return chance.sample(self.KEYS, chance.choice([1, 2]))

    def _take(self, result: Any) -> None:
        if result["key"] is not None:
            self.popped.append(result["value"])

    def _thread(self, client: Callable[[random.Random, int], None], number: int) -> threading.Thread:
        def run() -> None:
            try:
                client(random.Random(self.seed * 10_000 + number), number)
            except BaseException as error:
                self.failures.append(error)

        return threading.Thread(target=run)


@pytest.mark.parametrize("seed", [1, 2])
def test_in_a_storm_every_value_is_popped_once_or_still_there(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    with ServerProcess(tmp_path / "data") as server:
        storm = Storm(server, seed)
        clients = [storm.patient(door) for door in DOORS] + [storm.leaver(door) for door in DOORS]
        storm.run(*clients, pushers=2, pushes=300)
        storm.check()
        before = sorted(value for key in Storm.KEYS for value in left(server, key))
        assert server.stop() == 0
    with ServerProcess(tmp_path / "data") as again:
        assert sorted(value for key in Storm.KEYS for value in left(again, key)) == before
