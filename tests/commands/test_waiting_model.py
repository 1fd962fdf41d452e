"""Waiting under idempotency keys, behind gates, and in any order beside a model."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from synap.clock import Millis
from synap.commands.gates import Limits
from synap.commands.reply import Reply
from synap.commands.waiting import WouldBlock
from synap.errors import SynapError, Unavailable, WrongType
from tests.commands.common import batch, recorded, refused, restarted
from tests.commands.waiters import (
    EMPTY,
    Waiter,
    blocked,
    blpop,
    calls,
    check_journal,
    every_pop,
    left,
    nobody_waits,
    push,
    request,
    taken,
    waiting,
)
from tests.support import START, Harness, payload_of

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
