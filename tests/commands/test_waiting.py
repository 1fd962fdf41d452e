"""Blocking commands, as the dispatcher sees them: who waits, who is served when, and what the journal then holds."""

from __future__ import annotations

from typing import Any

import pytest

from tests.commands.common import batch, recorded, refused
from tests.commands.waiters import (
    EMPTY,
    SET_POPS,
    Step,
    blpop,
    bring,
    calls,
    check_journal,
    every_pop,
    left,
    nobody_waits,
    push,
    taken,
    waiting,
)
from tests.support import Harness, payload_of

# Waiting and being served


@every_pop
def test_what_is_there_is_taken_at_once(harness: Harness, command: str) -> None:
    bring(harness, command, "b")
    assert harness.call(command, keys=["a", "b"], timeout=0)["key"] == "b"
    assert recorded(harness)[1:] == [command]
    check_journal(harness)


def test_the_first_key_that_has_something_is_taken_from(harness: Harness) -> None:
    push(harness, "b", 1)
    push(harness, "a", 2)
    assert harness.call("list.blpop", keys=["a", "b"], timeout=0) == {"key": "a", "value": 2}


@every_pop
def test_the_journal_holds_nothing_of_the_wait_and_then_the_pop_from_one_key(harness: Harness, command: str) -> None:
    waiter = waiting(harness, command, "a", "b", "c", timeout=7)
    assert (recorded(harness), harness.state.lsn) == ([], 0)
    bring(harness, command, "b")
    name, payload = calls(harness)[1]
    assert (name, payload["keys"], waiter.payload["key"]) == (command, ["b"], "b")
    assert len(harness.log.records) == 2
    assert nobody_waits(harness)
    check_journal(harness)


@pytest.mark.parametrize(
    ("command", "step", "expected"),
    [
        ("list.blpop", ("list.rpush", {"key": "k", "values": [1, 2, 3]}), {"key": "k", "value": 1}),
        ("list.brpop", ("list.rpush", {"key": "k", "values": [1, 2, 3]}), {"key": "k", "value": 3}),
        ("list.blpop", ("list.lpush", {"key": "k", "values": [1, 2, 3]}), {"key": "k", "value": 3}),
        (
            "sortedset.bzpopmin",
            ("sortedset.zunionstore", {"destination": "k", "keys": ["z"]}),
            {"key": "k", "member": "low", "score": 1},
        ),
        (
            "sortedset.bzpopmax",
            ("sortedset.zunionstore", {"destination": "k", "keys": ["z"]}),
            {"key": "k", "member": "high", "score": 2},
        ),
    ],
)
def test_a_push_is_over_before_anybody_is_served(harness: Harness, command: str, step: Step, expected: Any) -> None:
    harness.call("sortedset.zadd", key="z", member="low", score=1)
    harness.call("sortedset.zadd", key="z", member="high", score=2)
    waiter = waiting(harness, command, "k")
    harness.call(step[0], **step[1])
    assert waiter.payload == expected


def test_who_came_first_is_served_first(harness: Harness) -> None:
    waiters = [blpop(harness, "k") for _ in range(3)] + [waiting(harness, "list.brpop", "k")]
    push(harness, "k", 1)
    push(harness, "k", 2, 3, 4, 5)
    assert taken(*waiters) == [1, 2, 3, 5]
    assert left(harness, "k") == [4]
    assert nobody_waits(harness)
    check_journal(harness)


def test_who_waits_on_several_keys_keeps_its_place_on_each(harness: Harness) -> None:
    first, second, third = blpop(harness, "a"), blpop(harness, "a", "b"), blpop(harness, "b")
    push(harness, "b", 1)
    push(harness, "b", 2)
    push(harness, "a", 3, 4)
    assert taken(first, second, third) == [3, 1, 2]
    assert left(harness, "a") == [4]


def test_a_key_named_twice_is_awaited_once(harness: Harness) -> None:
    waiter = blpop(harness, "a", "a")
    push(harness, "a", 1, 2)
    assert (waiter.payload["value"], left(harness, "a")) == (1, [2])
    assert nobody_waits(harness)


@pytest.mark.parametrize("atomic", [False, True])
def test_of_several_keys_in_a_batch_the_one_that_came_first_is_taken_from(harness: Harness, atomic: bool) -> None:
    waiter = blpop(harness, "a", "b")
    batch(
        harness,
        ("list.rpush", {"key": "b", "value": 1}),
        ("list.rpush", {"key": "a", "value": 2}),
        ("list.rpush", {"key": "b", "value": 3}),
        atomic=atomic,
    )
    assert waiter.payload == {"key": "b", "value": 1}
    assert (left(harness, "a"), left(harness, "b")) == ([2], [3])
    check_journal(harness)


def test_the_pusher_is_told_the_length_before_anybody_was_served(harness: Harness) -> None:
    blpop(harness, "k")
    reply = harness.send({"command": "list.rpush", "payload": {"key": "k", "values": [1, 2]}})
    assert (payload_of(reply)["length"], reply["lsn"], harness.state.lsn) == (2, 1, 2)


@pytest.mark.parametrize(
    "step",
    [
        ("list.lpush", {"key": "k", "value": 1}),
        ("list.rpush", {"key": "k", "value": 1}),
        ("list.move", {"source": "full", "destination": "k", "from": "left", "to": "left"}),
        ("list.rpoplpush", {"source": "full", "destination": "k"}),
        ("key.rename", {"source": "full", "destination": "k"}),
        ("key.renamenx", {"source": "full", "destination": "k"}),
        ("key.copy", {"source": "full", "destination": "k"}),
    ],
    ids=lambda step: step[0],
)
def test_whatever_makes_a_list_wakes(harness: Harness, step: Step) -> None:
    push(harness, "full", 1)
    waiter = blpop(harness, "k")
    harness.call(step[0], **step[1])
    assert waiter.payload == {"key": "k", "value": 1}
    check_journal(harness)


@pytest.mark.parametrize(
    "step",
    [
        ("sortedset.zadd", {"key": "k", "member": "m", "score": 1}),
        ("sortedset.zincrby", {"key": "k", "member": "m", "increment": 1}),
        ("sortedset.zunionstore", {"destination": "k", "keys": ["full"]}),
        ("sortedset.zinterstore", {"destination": "k", "keys": ["full"]}),
        ("sortedset.zdiffstore", {"destination": "k", "keys": ["full", "none"]}),
        ("geospatial.geoadd", {"key": "k", "member": "m", "longitude": 1, "latitude": 1}),
        ("key.rename", {"source": "full", "destination": "k"}),
        ("key.copy", {"source": "full", "destination": "k"}),
    ],
    ids=lambda step: step[0],
)
@pytest.mark.parametrize("command", SET_POPS)
def test_whatever_makes_a_sorted_set_wakes(harness: Harness, command: str, step: Step) -> None:
    harness.call("sortedset.zadd", key="full", member="m", score=1)
    waiter = waiting(harness, command, "k")
    harness.call(step[0], **step[1])
    assert (waiter.payload["key"], waiter.payload["member"]) == ("k", "m")
    check_journal(harness)


@pytest.mark.parametrize(
    "step",
    [
        ("key.rename", {"source": "full", "destination": "k"}),
        ("key.copy", {"source": "full", "destination": "k", "replace": True}),
    ],
    ids=lambda step: step[0],
)
def test_a_list_that_takes_the_place_of_something_else_wakes(harness: Harness, step: Step) -> None:
    push(harness, "full", 1)
    waiter = blpop(harness, "k")
    harness.call("kv.set", key="k", value="in the way")
    assert waiter.is_waiting
    harness.call(step[0], **step[1])
    assert waiter.payload == {"key": "k", "value": 1}


@pytest.mark.parametrize(
    "step",
    [
        ("list.rpushx", {"key": "k", "value": 1}),
        ("list.rpush", {"key": "other", "value": 1}),
        ("kv.set", {"key": "k", "value": 1}),
        ("set.add", {"key": "k", "members": ["m"]}),
        ("sortedset.zadd", {"key": "k", "member": "m", "score": 1}),
        ("hash.set", {"key": "k", "field": "f", "value": 1}),
        ("kv.flushdb", {}),
    ],
    ids=lambda step: step[0],
)
def test_nothing_else_wakes_who_waits_for_a_list(harness: Harness, step: Step) -> None:
    waiter = blpop(harness, "k")
    harness.call(step[0], **step[1])
    assert waiter.is_waiting
    assert not harness.dispatcher.line.arrived
    harness.call("kv.flushdb")
    push(harness, "k", 2)
    assert waiter.payload == {"key": "k", "value": 2}


def test_lists_and_sorted_sets_at_one_key_are_awaited_apart(harness: Harness) -> None:
    member, value = waiting(harness, "sortedset.bzpopmin", "k"), blpop(harness, "k")
    push(harness, "k", 1)
    assert (value.payload["value"], member.is_waiting) == (1, True)
    harness.call("sortedset.zadd", key="k", member="m", score=1)
    assert member.payload["member"] == "m"
    assert nobody_waits(harness)


def test_a_list_about_to_expire_is_served_like_any(harness: Harness) -> None:
    push(harness, "soon", 1, 2)
    harness.call("kv.expire", key="soon", ttl=10)
    waiter = blpop(harness, "k")
    harness.call("key.rename", source="soon", destination="k")
    assert waiter.payload["value"] == 1
    assert harness.call("kv.ttl", key="k")["ttl"] == 10
    check_journal(harness)


# What is refused, and when


@every_pop
def test_another_type_at_the_time_of_the_call_is_refused(harness: Harness, command: str) -> None:
    harness.call("kv.set", key="text", value=1)
    assert refused(harness, command, keys=["none", "text"], timeout=0).code == "WRONG_TYPE"
    assert nobody_waits(harness)


def test_another_type_behind_a_list_is_not_looked_at(harness: Harness) -> None:
    harness.call("kv.set", key="text", value=1)
    push(harness, "k", 1)
    assert harness.call("list.blpop", keys=["k", "text"], timeout=0)["value"] == 1
    assert refused(harness, "list.blpop", keys=["text", "k"], timeout=0).code == "WRONG_TYPE"


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize(
    "undone",
    [
        [("kv.set", {"key": "k", "value": "text"})],
        [("kv.del", {"key": "k"}), ("set.add", {"key": "k", "members": ["m"]})],
        [("list.lpop", {"key": "k"})],
        [("kv.del", {"key": "k"})],
        [("key.rename", {"source": "k", "destination": "elsewhere"})],
    ],
    ids=["overwritten", "of another type", "popped", "deleted", "renamed"],
)
def test_what_comes_and_goes_in_one_batch_leaves_everybody_in_line(
    harness: Harness, atomic: bool, undone: list[Step]
) -> None:
    first, second = blpop(harness, "k"), blpop(harness, "k")
    batch(harness, ("list.rpush", {"key": "k", "value": 1}), *undone, atomic=atomic)
    assert first.is_waiting
    assert second.is_waiting
    harness.call("kv.del", key="k")
    push(harness, "k", 2, 3)
    assert taken(first, second) == [2, 3]
    check_journal(harness)


@every_pop
@pytest.mark.parametrize(
    "payload",
    [
        {"keys": [], "timeout": 0},
        {"keys": ["k"] * 10_001, "timeout": 0},
        {"keys": ["k"], "timeout": -1},
        {"keys": ["k"], "timeout": "1"},
        {"keys": ["k"]},
        {"keys": "k", "timeout": 0},
        {"timeout": 0},
    ],
    ids=["no keys", "too many keys", "negative", "text", "no timeout", "not a list", "no keys field"],
)
def test_payloads_that_make_no_sense_are_refused(harness: Harness, command: str, payload: dict[str, Any]) -> None:
    assert refused(harness, command, **payload).code == "INVALID_PAYLOAD"
    assert nobody_waits(harness)


# Batches


@every_pop
@pytest.mark.parametrize("atomic", [False, True])
def test_inside_a_batch_nobody_waits(harness: Harness, command: str, atomic: bool) -> None:
    results = batch(harness, (command, {"keys": ["k"], "timeout": 100}), ("kv.dbsize", {}), atomic=atomic)
    assert [payload_of(entry) for entry in results] == [EMPTY[command], {"size": 0}]
    assert (recorded(harness), nobody_waits(harness)) == ([], True)


@pytest.mark.parametrize("atomic", [False, True])
def test_a_batch_is_over_before_waiters_are_served(harness: Harness, atomic: bool) -> None:
    waiter = blpop(harness, "k")
    results = batch(
        harness,
        ("list.rpush", {"key": "k", "values": [1, 2, 3]}),
        ("list.len", {"key": "k"}),
        ("list.blpop", {"keys": ["k"], "timeout": 0}),
        ("list.range", {"key": "k"}),
        atomic=atomic,
    )
    assert [payload_of(entry) for entry in results[1:]] == [
        {"length": 3},
        {"key": "k", "value": 1},
        {"values": [2, 3]},
    ]
    assert (waiter.payload["value"], left(harness, "k")) == (2, [3])
    assert [name for name, _ in calls(harness)] == ["list.rpush", "list.blpop", "list.blpop"]
    check_journal(harness)
