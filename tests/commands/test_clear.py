"""Forgetting everything in place: whoever holds the state goes on with it, and nothing of the old shows."""

from __future__ import annotations

import random
import sys
import weakref
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap.clock import Millis
from synap.commands import TABLE
from synap.commands.executor import Executor
from synap.commands.gates import Limits
from synap.commands.state import Defaults, State
from synap.engines import eviction
from synap.errors import Unauthorized
from tests.commands.queueing import Connection, waiting
from tests.payloads.improviser import Improviser
from tests.payloads.strategies import PAYLOADS, drawn
from tests.support import START, Harness

PAYLOADS_PER_COMMAND = 8
STEPS = 400
ADVANCES_SECS = [0.1, 0.4, 1.0, 100.0]
IDEMPOTENCY_KEYS = ["first", "second", "third"]
POLICIES = ["allkeys-lru", "volatile-lru", "volatile-ttl"]
MEMORY_BYTES = [20_000, 0]
EVERYTHING = 10**9
LATER_MS = 365 * 86_400_000

brief = settings(max_examples=20)
seeds = st.integers(0, 2**32 - 1)
policies = st.sampled_from(POLICIES)


class Pasts:
    """Servers that have lived."""

    def __init__(self) -> None:
        self._known = {name: drawn(payloads, PAYLOADS_PER_COMMAND, 0) for name, payloads in PAYLOADS.items()}
        # A field's name counts for the hash that held it first in this process. Here all of them are held before.
        self._held = [sys.intern(text) for text in texts(self._known)]

    def lived(self, seed: int, policy: str) -> Harness:
        """A server with a past of all kinds of commands, perhaps one in which memory was short."""
        rng, improviser = random.Random(seed), Improviser(self._known)
        harness = Harness(Limits(memory_bytes=rng.choice(MEMORY_BYTES), memory_policy=policy))
        for _ in range(STEPS):
            if rng.random() < 0.05:
                harness.clock.advance(rng.choice(ADVANCES_SECS))
            request = improviser.next(rng)
            if rng.random() < 0.2:
                request |= {"idempotency_key": rng.choice(IDEMPOTENCY_KEYS)}
            harness.answer(orjson.dumps(request))
        return harness


def texts(data: Any) -> Iterator[str]:
    """All texts in some data."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict | list):
        for item in chain(data, data.values()) if isinstance(data, dict) else data:
            yield from texts(item)


@pytest.fixture(scope="module")
def pasts() -> Pasts:
    """The payloads take a second to draw."""
    return Pasts()


def fresh(policy: str) -> Executor:
    """A state that nothing has happened to."""
    executor = Executor(TABLE, State())
    eviction.prepare(executor.state.keyspace, policy)
    return executor


def seen(executor: Executor) -> dict[str, Any]:
    """All there is to see of a state, first as it is, then when a year has passed for it."""
    state = executor.state
    keyspace, later = state.keyspace, state.time + LATER_MS
    found = {
        "at": (state.lsn, state.time, state.used_bytes, state.next_due),
        "dump": list(executor.dump()),
        "keys": list(keyspace.keys(state.time)),
        "counts": (keyspace.counts_by_type(state.time), keyspace.expired, keyspace.evicted),
        "victims": [eviction.victims(keyspace, policy, EVERYTHING, state.time) for policy in POLICIES],
        "digest": state.digest(state.time),
    }
    changed = keyspace.sweep(later), state.queues.advance(later), state.streams.sweep(later, EVERYTHING)
    return found | {"later": (changed, state.used_bytes, state.next_due, state.digest(later))}


@brief
@given(seed=seeds, policy=policies)
def test_a_state_that_was_cleared_is_as_a_new_one(pasts: Pasts, seed: int, policy: str) -> None:
    harness = pasts.lived(seed, policy)
    harness.state.clear()
    assert seen(harness.executor) == seen(fresh(policy))


@brief
@given(seed=seeds, another=seeds, policy=policies)
def test_another_history_leads_a_cleared_state_to_where_it_leads_a_new_one(
    pasts: Pasts, seed: int, another: int, policy: str
) -> None:
    cleared, new = pasts.lived(seed, policy), fresh(policy)
    cleared.state.clear()
    for record in pasts.lived(another, policy).log.records:
        cleared.executor.apply(record)
        new.apply(record)
    assert seen(cleared.executor) == seen(new)


@brief
@given(seed=seeds, another=seeds, policy=policies, part=st.floats(0, 1))
def test_a_cleared_state_takes_a_snapshot_and_what_follows_as_a_new_one_does(
    pasts: Pasts, seed: int, another: int, policy: str, part: float
) -> None:
    cleared, source, records = pasts.lived(seed, policy), fresh(policy), pasts.lived(another, policy).log.records
    cleared.state.keyspace.build_index()
    cleared.state.clear()
    lsn = round(part * len(records))
    for record in records[:lsn]:
        source.apply(record)
    new = Executor(TABLE, State())
    for executor in (cleared.executor, new):
        for chunk in source.dump():
            executor.load(chunk)
        executor.loaded(source.state.lsn, source.state.time)
        executor.state.keyspace.build_index()
        eviction.prepare(executor.state.keyspace, policy)
        for record in records[lsn:]:
            executor.apply(record)
    assert seen(cleared.executor) == seen(new)


def something_of_everything(harness: Harness) -> None:
    harness.dispatcher.perform("system.defaults", Defaults(creates_queues=False))
    harness.call("kv.set", key="gone", value=1, ttl=1)
    harness.clock.advance(2)
    harness.call("kv.set", key="text", value=1, ttl=1_000)
    harness.call("list.rpush", key="list", values=[1])
    harness.send({"command": "kv.incr", "payload": {"key": "n"}, "idempotency_key": "once"})
    harness.call("queue.create", queue="q")
    harness.call("queue.publish", queue="q", message=1, dedup_id="once")
    harness.call("queue.consume", queue="q", consumer_id="ann")
    harness.call("stream.create", room="r", retention={"max_age_secs": 1_000})
    harness.call("stream.publish", room="r", event_type="told", data=1)
    harness.call("stream.consume", room="r", group="g")
    harness.call("auth.create_role", role="painters", permissions=["kv.get"])
    harness.call("auth.create_user", username="ann", password="a password", roles=["reader"])


def test_every_section_of_the_state_is_forgotten(harness: Harness) -> None:
    def contents(state: State, now: Millis) -> dict[str, list[Any]]:
        state.keyspace.sweep(now)
        return {name: list(section.canonical(now)) for name, section in state.sections.items()}

    something_of_everything(harness)
    new, now = contents(State(), harness.clock.now()), harness.clock.now()
    assert [name for name, rows in contents(harness.state, now).items() if rows == new[name]] == []
    harness.state.clear()
    assert contents(harness.state, now) == new
    assert (harness.state.used_bytes, harness.state.lsn, harness.state.time) == (0, 0, 0)


# Keys: expiry, order, eviction


def test_keys_loaded_after_a_clear_expire_at_their_time_and_those_before_it_never_do(harness: Harness) -> None:
    source = Harness()
    source.call("kv.set", key="loaded", value=1, ttl=10)
    for key in ("old", "loaded"):
        harness.call("kv.set", key=key, value=1, ttl=5)
    harness.state.clear()
    for chunk in source.executor.dump():
        harness.executor.load(chunk)
    keyspace = harness.state.keyspace
    assert keyspace.next_due == harness.state.next_due == START + 10_000
    assert [keyspace.sweep(START + at) for at in (9_999, 10_000)] == [0, 1]


def test_the_index_of_keys_holds_what_has_come_since(harness: Harness) -> None:
    harness.call("kv.mset", pairs={"b": 1, "d": 1})
    harness.state.keyspace.build_index()
    harness.state.clear()
    harness.call("kv.mset", pairs={"c": 1, "a": 1})
    for _ in range(2):
        assert harness.call("kv.keys")["keys"] == ["a", "c"]
        harness.state.keyspace.build_index()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_holds_for_what_is_loaded_after_a_clear_and_preparing_again_changes_nothing(policy: str) -> None:
    source, harness = Harness(), Harness(Limits(memory_policy=policy))
    for number, key in enumerate("abc"):
        source.call("kv.set", key=key, value=1, ttl=number + 10)
    harness.call("kv.set", key="old", value=1, ttl=10)
    harness.state.clear()
    for chunk in source.executor.dump():
        harness.executor.load(chunk)
    keyspace = harness.state.keyspace
    for _ in range(2):
        assert eviction.victims(keyspace, policy, EVERYTHING, START) == ["a", "b", "c"]
        used_bytes = keyspace.used_bytes
        eviction.prepare(keyspace, policy)
        assert keyspace.used_bytes == used_bytes
    for key in "abc":
        keyspace.remove(key)
    assert keyspace.used_bytes == 0


# What others keep of it


def test_a_credential_is_what_the_accounts_of_the_new_history_say(harness: Harness) -> None:
    old = harness.call("auth.create_key", name="old", permissions=["kv.get"])
    records = list(harness.log.records)
    identity = harness.credentials.by_api_key(old["key"])
    identity.check(harness.clock.now())
    for _ in range(2):
        harness.state.clear()
        with pytest.raises(Unauthorized):
            identity.check(harness.clock.now())
        harness.call("auth.create_key", name="new", permissions=["*"])  # as many changes as there were before
        with pytest.raises(Unauthorized):
            identity.check(harness.clock.now())
    harness.state.clear()
    for record in records:
        harness.executor.apply(record)
    identity.check(harness.clock.now())
    assert identity.grant.name == "old"


def test_events_are_not_those_that_were_rendered_for_a_room_that_is_forgotten(harness: Harness) -> None:
    def first_event() -> Any:
        harness.call("stream.publish", room="r", event_type="told", data=data)
        connection = Connection(harness)
        connection.call("stream.subscribe", room="r", from_offset=0)
        [event] = connection.pulled("r")
        return event["data"]

    for data in ("old", "new"):
        assert first_event() == data
        harness.state.clear()


def test_consumers_of_a_group_that_is_forgotten_are_at_work_no_longer(harness: Harness) -> None:
    for consumer in ("ann", "bob"):
        harness.state.clear()
        harness.call("stream.publish", room="r", event_type="told", data=1)
        harness.call("stream.consume", room="r", group="g", consumer_id=consumer)
        [group] = harness.call("stream.groups", room="r")["groups"]
        assert group["consumers"] == 1


def test_a_subscription_to_a_room_that_is_forgotten_ends(harness: Harness) -> None:
    harness.call("stream.create", room="r")
    connection = Connection(harness)
    connection.call("stream.subscribe", room="r")
    harness.state.clear()
    harness.call("stream.publish", room="r", event_type="told", data=1)
    assert [push["type"] for push in connection.pulled("r")] == ["end"]


def _publish_to_queue(harness: Harness) -> None:
    harness.call("queue.create", queue="x")
    harness.call("queue.publish", queue="x", message=1)


def _publish_to_room(harness: Harness) -> None:
    harness.call("stream.create", room="x")
    harness.call("stream.publish", room="x", event_type="told", data=1)


def _push(harness: Harness) -> None:
    harness.call("list.rpush", key="x", values=[1])


@pytest.mark.parametrize(
    ("before", "command", "payload", "bring"),
    [
        ([("queue.create", {"queue": "x"})], "queue.consume", {"queue": "x"}, _publish_to_queue),
        ([("stream.create", {"room": "x"})], "stream.consume", {"room": "x", "group": "g"}, _publish_to_room),
        ([], "list.blpop", {"keys": ["x"]}, _push),
    ],
)
def test_who_waits_goes_on_waiting_for_what_comes(
    harness: Harness,
    before: list[tuple[str, dict[str, Any]]],
    command: str,
    payload: dict[str, Any],
    bring: Callable[[Harness], None],
) -> None:
    for name, fields in before:
        harness.call(name, **fields)
    waiter = waiting(harness, command, timeout=60, **payload)
    harness.state.clear()
    bring(harness)
    assert waiter.reply["status"] == "success"


def test_what_belongs_to_no_record_stays(harness: Harness) -> None:
    harness.call("kv.get", key="missing")
    harness.call("pubsub.publish", topic="t", message=1)
    kept = (harness.state.pubsub, harness.state.line, harness.state.operations("kv"), harness.state.keyspace.misses)
    harness.state.clear()
    state = harness.state
    assert (state.pubsub, state.line, state.operations("kv"), state.keyspace.misses) == kept
    assert state.pubsub.published_total == 1


def test_a_queue_or_room_that_somebody_still_has_changes_no_books(harness: Harness) -> None:
    harness.call("queue.create", queue="x", config={"message_ttl_secs": 1})
    harness.call("stream.create", room="x", retention={"max_age_secs": 1})
    queue, stream = harness.state.queues.find("x", START), harness.state.streams.find("x")
    assert queue is not None
    assert stream is not None
    harness.state.clear()
    queue.publish(b"1", is_json=True, priority=5, headers=b"{}", now=START)
    stream.append(0, "told", b"1", now=START)
    assert seen(harness.executor) == seen(fresh("noeviction"))


def test_a_queue_that_is_forgotten_takes_no_memory(harness: Harness) -> None:
    harness.call("queue.create", queue="x")
    queue = harness.state.queues.find("x", START)
    assert queue is not None
    kept = weakref.ref(queue)
    del queue
    harness.state.clear()
    assert kept() is None
