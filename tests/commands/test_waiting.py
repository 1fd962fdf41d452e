"""Blocking commands, as the dispatcher sees them: who waits, who is served when, and what the journal then holds."""

from __future__ import annotations

import gc
import json
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from synap.clock import Millis
from synap.commands import packed
from synap.commands.dispatcher import SYNCED, WRITTEN, Limits, Outcome, Reply
from synap.commands.executor import TRANSACTION
from synap.commands.waiting import Wait, WouldBlock
from synap.errors import SynapError, Unavailable, WrongType
from tests.commands.common import batch, recorded, refused, restarted
from tests.support import START, Harness, payload_of

LIST_POPS = ("list.blpop", "list.brpop")
SET_POPS = ("sortedset.bzpopmin", "sortedset.bzpopmax")
EMPTY = {name: {"key": None, "value": None} for name in LIST_POPS} | {
    name: {"key": None, "member": None, "score": None} for name in SET_POPS
}
MANY = 5_000
# What serving one client may allocate; a copy of a line of `MANY` is several times that.
SERVING_BYTES_MAX = 16 * 1024
VAIN_BYTES_MAX = 100 * 1024

every_pop = pytest.mark.parametrize("command", [*LIST_POPS, *SET_POPS])
Step = tuple[str, dict[str, Any]]


class Waiter:
    """A client that waits: the wait, and what it has been answered so far."""

    def __init__(self, wait: Wait) -> None:
        self.wait = wait
        self.replies: list[Any] = []
        wait.begin(self.replies.append)

    @property
    def reply(self) -> Any:
        """The only reply, decoded."""
        assert len(self.replies) == 1, self.replies
        return json.loads(self.replies[0].body)

    @property
    def payload(self) -> Any:
        return payload_of(self.reply)

    @property
    def is_waiting(self) -> bool:
        return not self.replies


def blocked(answer: Callable[[], Any]) -> Waiter:
    """A client whose request finds nothing."""
    with pytest.raises(WouldBlock) as raised:
        answer()
    return Waiter(raised.value.wait)


def request(command: str, *keys: str, timeout: float = 0, **fields: Any) -> bytes:
    return json.dumps({"command": command, "payload": {"keys": keys, "timeout": timeout}, **fields}).encode()


def waiting(harness: Harness, command: str, *keys: str, timeout: float = 0, **fields: Any) -> Waiter:
    return blocked(lambda: harness.dispatcher.answer(request(command, *keys, timeout=timeout, **fields)))


def blpop(harness: Harness, *keys: str, **fields: Any) -> Waiter:
    return waiting(harness, "list.blpop", *keys, **fields)


def push(harness: Harness, key: str, *values: Any) -> None:
    harness.call("list.rpush", key=key, values=list(values))


def bring(harness: Harness, command: str, key: str) -> None:
    """Let come what `command` waits for."""
    if command in LIST_POPS:
        push(harness, key, 1)
    else:
        harness.call("sortedset.zadd", key=key, member="m", score=1)


def taken(*waiters: Waiter) -> list[Any]:
    """The value each was given."""
    return [waiter.payload["value"] for waiter in waiters]


def left(harness: Harness, key: str) -> Any:
    return harness.call("list.range", key=key)["values"]


def nobody_waits(harness: Harness) -> bool:
    line = harness.dispatcher.line
    return not (len(line) or line.arrived or harness.state.keyspace.arrivals.awaited)


def calls(harness: Harness) -> list[Step]:
    """The journal: commands with their payloads, those in transactions by themselves."""
    found: list[Step] = []
    for record in harness.log.records:
        payload = json.loads(record.payload)
        found += [(name, each) for name, each in payload[0]] if record.command == TRANSACTION else []
        found += [(record.command, payload)] if record.command != TRANSACTION else []
    return found


def check_journal(harness: Harness) -> None:
    """The journal tells how things came to be as they are."""
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()


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


# Idempotency keys


@pytest.mark.parametrize("values", [[1], [1, 2], [1, 2, 3, 4]])
def test_a_request_sent_again_gets_what_the_first_was_given_and_pops_nothing(harness: Harness, values: Any) -> None:
    first = blpop(harness, "k", idempotency_key="i")
    other = blpop(harness, "k")
    again = blpop(harness, "k", idempotency_key="i")
    push(harness, "k", *values)
    assert taken(first, again) == [1, 1]
    assert other.is_waiting == (len(values) == 1)
    assert left(harness, "k") == values[2:]
    other.wait.abandon()
    assert nobody_waits(harness)
    check_journal(harness)


def test_the_value_is_remembered_also_after_a_restart(harness: Harness) -> None:
    waiter = blpop(harness, "a", "k", idempotency_key="i", timeout=5)
    push(harness, "k", 1, 2)
    assert calls(harness)[1] == ("list.blpop", {"keys": ["k"], "timeout": 5})
    body = request("list.blpop", "a", "k", idempotency_key="i", timeout=5)
    for server in (harness, restarted(harness, START)):
        assert payload_of(json.loads(server.dispatcher.answer(body).body)) == waiter.payload == {"key": "k", "value": 1}
        assert left(server, "k") == [2]
    check_journal(harness)


def test_that_nothing_came_is_not_remembered(harness: Harness) -> None:
    blpop(harness, "k", idempotency_key="i").wait.time_out()
    assert recorded(harness) == []
    push(harness, "k", 1)
    assert harness.send(request("list.blpop", "k", idempotency_key="i"))["payload"]["value"] == 1


def test_a_value_taken_at_once_is_remembered_for_who_waits(harness: Harness) -> None:
    waiter = blpop(harness, "k", idempotency_key="i")
    batch(
        harness,
        ("list.rpush", {"key": "k", "value": 1}),
        json.loads(request("list.blpop", "k", idempotency_key="i")),
    )
    assert (waiter.payload["value"], left(harness, "k")) == (1, [])
    assert nobody_waits(harness)
    check_journal(harness)


def test_another_request_under_the_key_of_one_that_waits_ends_the_wait(harness: Harness) -> None:
    waiter, other = blpop(harness, "k", idempotency_key="i"), blpop(harness, "k")
    harness.send({"command": "kv.set", "payload": {"key": "a", "value": 1}, "idempotency_key": "i"})
    assert waiter.reply["error"]["code"] == "IDEMPOTENCY_CONFLICT"
    push(harness, "k", 1)
    assert other.payload["value"] == 1
    check_journal(harness)


def test_an_error_remembered_under_the_key_of_one_that_waits_is_told_to_it_at_once(harness: Harness) -> None:
    waiter = blpop(harness, "k", idempotency_key="i")
    harness.call("kv.set", key="k", value="text")
    again = harness.send(request("list.blpop", "k", idempotency_key="i"))
    assert waiter.reply["error"] == again["error"]
    assert again["error"]["code"] == "WRONG_TYPE"


def test_an_error_remembered_for_a_call_is_told_to_who_waits_at_once(harness: Harness) -> None:
    raw = b'{"keys":["k"],"timeout":0}'
    waiter = blocked(lambda: harness.dispatcher.call("list.blpop", raw, "i"))
    harness.call("kv.set", key="k", value="text")
    with pytest.raises(WrongType):
        harness.dispatcher.call("list.blpop", raw, "i")
    assert isinstance(waiter.replies[0], WrongType)


def test_who_goes_away_leaves_the_value_to_its_next_try(harness: Harness) -> None:
    blpop(harness, "k", idempotency_key="i").wait.abandon()
    push(harness, "k", 1)
    assert left(harness, "k") == [1]
    assert harness.send(request("list.blpop", "k", idempotency_key="i"))["payload"]["value"] == 1


def test_a_call_with_a_key_waits_and_is_remembered_alike(harness: Harness) -> None:
    raw = b'{"keys":["k"],"timeout":0}'
    waiter = blocked(lambda: harness.dispatcher.call("list.blpop", raw, "i"))
    push(harness, "k", 1, 2)
    again = harness.dispatcher.call("list.blpop", raw, "i")
    assert waiter.replies[0].payload == again.payload == b'{"key":"k","value":1}'
    assert left(harness, "k") == [2]


# Gates


@every_pop
def test_while_draining_nobody_begins_to_wait_and_who_waits_is_told_of_nothing(harness: Harness, command: str) -> None:
    waiters = [waiting(harness, command, "a", "b", timeout=100) for _ in range(3)]
    harness.dispatcher.refusal = Unavailable("the server is shutting down")
    harness.dispatcher.line.dismiss()
    assert [waiter.payload for waiter in waiters] == [EMPTY[command]] * 3
    assert [waiter.replies[0].status for waiter in waiters] == [200] * 3
    assert harness.send(request(command, "a"))["error"]["code"] == "UNAVAILABLE"
    assert (recorded(harness), nobody_waits(harness)) == ([], True)


def test_a_full_disk_refuses_who_comes_and_lets_who_waits_wait(harness: Harness) -> None:
    waiter = blpop(harness, "k")
    harness.log.failure = OSError(28, "No space left on device")
    assert refused(harness, "list.blpop", keys=["k"], timeout=0).code == "DISK_FULL"
    assert refused(harness, "list.rpush", key="k", value=1).code == "DISK_FULL"
    assert waiter.is_waiting
    harness.log.failure = None
    push(harness, "k", 2)
    assert waiter.payload["value"] == 2
    check_journal(harness)


def test_popping_is_how_memory_is_freed_and_never_refused_for_it() -> None:
    harness = Harness(Limits(memory_bytes=4_000))
    waiter, keyed = blpop(harness, "other"), blpop(harness, "other", "k", idempotency_key="i")
    push(harness, "k", 1)
    push(harness, "full", "x" * 8_000, "last")
    assert harness.call("list.blpop", keys=["none", "full"], timeout=0)["value"] == "x" * 8_000
    push(harness, "full", "x" * 8_000)
    assert refused(harness, "list.rpush", key="other", value=1).code == "MEMORY_LIMIT"
    harness.call("key.rename", source="full", destination="other")
    assert (keyed.payload["value"], waiter.payload["value"]) == (1, "last")
    check_journal(harness)


def test_what_is_evicted_to_make_room_was_not_there_for_who_waits() -> None:
    harness = Harness(Limits(memory_bytes=4_000, memory_policy="allkeys-lru"))
    push(harness, "old", "x" * 8_000)
    waiter = blpop(harness, "k")
    push(harness, "k", 1)
    assert (waiter.payload["value"], left(harness, "old")) == (1, [])
    check_journal(harness)


def test_a_failed_request_wakes_nobody(harness: Harness) -> None:
    waiter = blpop(harness, "k")
    harness.call("kv.set", key="text", value=1)
    assert refused(harness, "list.rpoplpush", source="text", destination="k").code == "WRONG_TYPE"
    assert waiter.is_waiting
    push(harness, "k", 1)
    assert waiter.payload["value"] == 1


# Anything in any order


class Model:
    """Lists and who waits for them, as plainly as it can be said."""

    def __init__(self) -> None:
        self.lists: dict[str, list[int]] = {}
        self.line: list[tuple[int, tuple[str, ...]]] = []
        self.given: dict[int, tuple[str, int] | None] = {}

    def wait(self, name: int, keys: tuple[str, ...]) -> None:
        for key in keys:
            if self.lists.get(key):
                self.given[name] = (key, self._pop(key))
                return
        self.line.append((name, keys))

    def push(self, key: str, values: list[int]) -> None:
        self.lists.setdefault(key, []).extend(values)
        self._serve(key)

    def rename(self, source: str, destination: str) -> None:
        if source != destination and source in self.lists:
            self.lists[destination] = self.lists.pop(source)
            self._serve(destination)

    def leave(self, name: int) -> None:
        self.line = [waiter for waiter in self.line if waiter[0] != name]

    def _serve(self, key: str) -> None:
        for name, keys in list(self.line):
            if key in keys and self.lists.get(key):
                self.given[name] = (key, self._pop(key))
                self.leave(name)

    def _pop(self, key: str) -> int:
        value = self.lists[key].pop(0)
        if not self.lists[key]:
            del self.lists[key]
        return value


class Twins:
    """A harness and the model, given the same to do."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.harness, self.model = chance, Harness(), Model()
        self.waiting: dict[int, Waiter] = {}
        self.given: dict[int, tuple[str, int] | None] = {}
        self._numbers = iter(range(1_000_000))

    def step(self) -> None:
        self.chance.choice([self.wait, self.wait, self.push, self.push, self.rename, self.leave])()
        for name, waiter in list(self.waiting.items()):
            if waiter.replies:
                del self.waiting[name]
                self.given[name] = (waiter.payload["key"], waiter.payload["value"])

    def wait(self) -> None:
        name, keys = next(self._numbers), tuple(self.chance.sample("abcd", self.chance.randint(1, 3)))
        try:
            reply: Reply = self.harness.dispatcher.answer(request("list.blpop", *keys))
            payload = payload_of(json.loads(reply.body))
            self.given[name] = (payload["key"], payload["value"])
        except WouldBlock as blocked:
            self.waiting[name] = Waiter(blocked.wait)
        self.model.wait(name, keys)

    def push(self) -> None:
        key, values = self.chance.choice("abcd"), [next(self._numbers) for _ in range(self.chance.randint(1, 3))]
        push(self.harness, key, *values)
        self.model.push(key, values)

    def rename(self) -> None:
        source, destination = self.chance.choice("abcd"), self.chance.choice("abcd")
        self.harness.send({"command": "key.rename", "payload": {"source": source, "destination": destination}})
        self.model.rename(source, destination)

    def leave(self) -> None:
        if self.waiting:
            name = self.chance.choice(list(self.waiting))
            waiter = self.waiting.pop(name)
            if self.chance.random() < 0.5:
                waiter.wait.abandon()
            else:
                waiter.wait.time_out()
                assert waiter.payload == EMPTY["list.blpop"]
            self.model.leave(name)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_everybody_gets_what_is_due_and_in_turn(seed: int) -> None:
    print(f"seed {seed}")
    twins = Twins(random.Random(seed))
    for _ in range(300):
        twins.step()
        assert twins.given == twins.model.given
        assert list(twins.waiting) == [name for name, _ in twins.model.line]
    for key in "abcd":
        assert left(twins.harness, key) == twins.model.lists.get(key, [])
    check_journal(twins.harness)
    for waiter in twins.waiting.values():
        waiter.wait.abandon()
    assert nobody_waits(twins.harness)


@pytest.mark.parametrize("at", [START, START - 3_600_000])
def test_what_was_popped_stays_popped_on_a_slower_clock(harness: Harness, at: Millis) -> None:
    push(harness, "source", 1, 2)
    harness.call("kv.expire", key="source", ttl=60)
    waiter = blpop(harness, "k")
    harness.clock.advance(59)
    harness.call("key.rename", source="source", destination="k")
    assert waiter.payload["value"] == 1
    assert left(restarted(harness, at), "k") == [2]


def test_an_unexpected_error_ends_the_wait_and_is_told_to_who_waits(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiter, other = blpop(harness, "broken"), blpop(harness, "k")

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(harness.dispatcher.bound["list.blpop"], "handler", fail)
        push(harness, "broken", 1)
    with pytest.raises(SynapError, match="incident"):
        payload_of(waiter.reply)
    push(harness, "k", 2)
    assert (other.payload["value"], left(harness, "broken")) == (2, [1])
