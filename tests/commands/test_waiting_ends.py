"""How a wait ends: served, out of time or abandoned, and what the client is told."""

from __future__ import annotations

import gc
import json
import tracemalloc
from typing import Any

import pytest

from synap.commands import packed
from synap.commands.gates import Limits
from synap.commands.reply import SYNCED, WRITTEN, Outcome
from synap.commands.waiting import WouldBlock
from tests.commands.common import batch
from tests.commands.waiters import (
    EMPTY,
    MANY,
    SERVING_BYTES_MAX,
    VAIN_BYTES_MAX,
    Step,
    Waiter,
    blocked,
    blpop,
    bring,
    every_pop,
    left,
    nobody_waits,
    push,
    request,
    taken,
    waiting,
)
from tests.support import Harness

# Time


@every_pop
def test_who_has_waited_in_vain_is_told_so_once(harness: Harness, command: str) -> None:
    waiter = waiting(harness, command, "a", "b", timeout=1, request_id="mine")
    waiter.wait.time_out()
    waiter.wait.time_out()
    assert (waiter.payload, waiter.reply["request_id"]) == (EMPTY[command], "mine")
    bring(harness, command, "a")
    assert len(waiter.replies) == 1
    assert (len(harness.log.records), nobody_waits(harness)) == (1, True)


@pytest.mark.parametrize(("timeout", "seconds"), [(0, 60), (0.25, 0.25), (60, 60), (61, 60), (1e300, 60)])
def test_a_wait_ends_when_asked_and_at_the_limit(timeout: float, seconds: float) -> None:
    harness = Harness(Limits(max_wait_secs=60))
    assert blpop(harness, "k", timeout=timeout).wait.seconds == seconds


@pytest.mark.parametrize("end", ["served", "timed out", "both", "abandoned"])
def test_a_wait_counts_as_one_operation_once_it_is_answered(harness: Harness, end: str) -> None:
    waiter = blpop(harness, "k")
    assert operations(harness) == 0
    if end in ("served", "both"):
        push(harness, "k", 1)
    if end in ("timed out", "both"):
        waiter.wait.time_out()
        waiter.wait.time_out()
    if end == "abandoned":
        waiter.wait.abandon()
        waiter.wait.time_out()
    assert operations(harness) == len(waiter.replies) == (end != "abandoned")


def operations(harness: Harness) -> Any:
    return harness.call("list.stats")["operations"]["blpop"]


# Going away


def test_who_goes_away_takes_nothing_along(harness: Harness) -> None:
    gone, stays = blpop(harness, "k", "other"), blpop(harness, "k")
    gone.wait.abandon()
    push(harness, "k", 1)
    assert (gone.replies, stays.payload["value"]) == ([], 1)
    push(harness, "other", 2)
    assert left(harness, "other") == [2]
    assert nobody_waits(harness)


def test_going_away_after_the_answer_disturbs_nobody(harness: Harness) -> None:
    served, stays = blpop(harness, "k"), blpop(harness, "k")
    push(harness, "k", 1)
    served.wait.abandon()
    push(harness, "k", 2)
    assert taken(served, stays) == [1, 2]


def test_who_goes_away_while_another_is_served_takes_nothing_along(harness: Harness) -> None:
    second: list[Waiter] = []
    with pytest.raises(WouldBlock) as raised:
        harness.dispatcher.answer(request("list.blpop", "k"))
    raised.value.wait.begin(lambda _: second[0].wait.abandon())
    second.append(blpop(harness, "k"))
    push(harness, "k", 1, 2)
    assert (second[0].replies, left(harness, "k")) == ([], [2])
    assert nobody_waits(harness)


def test_thousands_on_one_key_are_served_one_by_one_and_leave_nothing(harness: Harness) -> None:
    waiters = [blpop(harness, "k") for _ in range(MANY)]
    push(harness, "k", 0)
    tracemalloc.start()
    try:
        for number in range(1, 10):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            push(harness, "k", number)
            assert tracemalloc.get_traced_memory()[1] - before < SERVING_BYTES_MAX
    finally:
        tracemalloc.stop()
    push(harness, "k", *range(10, MANY))
    assert taken(*waiters) == list(range(MANY))
    assert nobody_waits(harness)


def test_who_waits_on_thousands_of_keys_leaves_nothing(harness: Harness) -> None:
    keys = [f"key {number}" for number in range(10_000)]
    served, bored, gone, last = (blpop(harness, *keys) for _ in range(4))
    push(harness, keys[-1], 1)
    bored.wait.time_out()
    gone.wait.abandon()
    push(harness, keys[0], 2)
    assert (taken(served, last), bored.payload["key"], gone.replies) == ([1, 2], None, [])
    assert nobody_waits(harness)


def test_being_woken_in_vain_leaves_nothing_behind(harness: Harness) -> None:
    waiter = blpop(harness, "k")
    churn: list[Step] = [("list.rpush", {"key": "k", "value": 1}), ("list.lpop", {"key": "k"})]
    batch(harness, *churn)
    tracemalloc.start()
    try:
        for _ in range(300):
            batch(harness, *churn)
            harness.log.records.clear()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < VAIN_BYTES_MAX
    finally:
        tracemalloc.stop()
    assert waiter.is_waiting


# Answers


@pytest.mark.parametrize(("ack", "level"), [("written", WRITTEN), ("synced", SYNCED)])
def test_the_answer_carries_the_acknowledgement_asked_for(harness: Harness, ack: str, level: int) -> None:
    served, bored = (blpop(harness, "k", ack=ack, request_id="r") for _ in range(2))
    push(harness, "k", 1)
    bored.wait.time_out()
    reply = served.replies[0]
    assert (reply.status, reply.lsn, reply.ack, reply.wrote) == (200, 2, level, True)
    for waiter in (served, bored):
        assert (waiter.reply["ack"], waiter.reply["lsn"], waiter.reply["request_id"]) == (ack, 2, "r")


def test_a_request_without_an_id_is_answered_with_one(harness: Harness) -> None:
    waiters = [blpop(harness, "k") for _ in range(2)]
    push(harness, "k", 1, 2)
    names = {waiter.reply["request_id"] for waiter in waiters}
    assert len(names) == 2


@pytest.mark.parametrize("end", ["served", "timed out", "given up"])
def test_who_asked_in_messagepack_is_answered_in_it(harness: Harness, end: str) -> None:
    waiter = blocked(lambda: harness.dispatcher.answer_packed(packed.from_json(request("list.blpop", "k"))))
    if end == "served":
        push(harness, "k", 1)
    elif end == "timed out":
        waiter.wait.time_out()
    (reply,) = waiter.replies or [waiter.wait.give_up()]
    assert reply.is_packed
    assert json.loads(packed.to_json(reply.body))["payload"]["value"] == (1 if end == "served" else None)


def test_a_call_waits_and_is_served_alike(harness: Harness) -> None:
    payload = request("list.blpop", "k")
    raw = json.dumps(json.loads(payload)["payload"]).encode()
    served, bored = (blocked(lambda: harness.dispatcher.call("list.blpop", raw, None, "synced")) for _ in range(2))
    harness.dispatcher.call("list.rpush", b'{"key":"k","value":1}')
    bored.wait.time_out()
    assert served.replies == [Outcome(b'{"key":"k","value":1}', 2, SYNCED, True, False)]
    assert bored.replies == [Outcome(b'{"key":null,"value":null}', 2, SYNCED, True, False)]
