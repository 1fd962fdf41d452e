"""Blocking commands on real connections: who waits is served in turn, and who goes away takes nothing along."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support import ServerProcess
from tests.transport.blocking import (
    BEHIND_BYTES_MAX,
    BEHIND_HANDED_OVER_MAX,
    DBSIZE,
    DOORS,
    FRESH,
    IDLE_TIMEOUT_SECS,
    NOTHING,
    SHORT_SECS,
    TIMER_ERROR_SECS,
    Door,
    answers_to_the_end,
    blpop,
    both,
    endings,
    every_door,
    halted,
    incr,
    leave,
    left,
    rpush,
    seen,
)
from tests.transport.wire import (
    HEALTH,
    Opener,
    command,
    connect,
    connect_handed_over,
    envelope,
    request,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("blocking") / "data") as running:
        yield running


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """A key that no other test uses."""
    return str(request.node.name)


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
