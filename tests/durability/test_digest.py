"""One state, whichever way it came about: live, replayed from the journal, or from a snapshot and what follows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synap.clock import Millis
from synap.commands import TABLE
from synap.commands.dispatcher import Dispatcher, Limits
from synap.commands.executor import CLOCK, TRANSACTION, Executor
from synap.commands.state import State
from tests.durability.payloads import RARE, READS, WRITES
from tests.support import FakeClock, Harness

IDEMPOTENCY_KEYS = ["first", "second", "third", "fourth"]
EVICT = "kv.evict"
# Chance, and counters that begin anew with a server.
UNREPEATABLE = [b'"key.randomkey"', b'"kv.stats"']
MEMORY_POLICIES = ["allkeys-lru", "volatile-lru", "volatile-ttl", "noeviction"]

thorough = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
brief = settings(thorough, max_examples=30)


@dataclass(frozen=True)
class Request:
    """One body for the dispatcher."""

    body: bytes
    is_atomic: bool
    is_remembered: bool
    """A write or a batch with an idempotency key of its own."""
    is_remembered_in_part: bool
    """Some idempotency key is in it."""

    def __repr__(self) -> str:
        return self.body.decode()


@dataclass(frozen=True)
class Advance:
    """Time goes on, or the wall clock is set back."""

    seconds: float


Step = Request | Advance


def _commands() -> st.SearchStrategy[dict[str, Any]]:
    names = [command.name for command in TABLE.public() if command.writes and command.name in WRITES]
    often = [name for name in names if name not in RARE]
    return st.sampled_from(often * 3 + names + list(READS)).flatmap(
        lambda name: st.fixed_dictionaries({"command": st.just(name), "payload": (WRITES | READS)[name]})
    )


commands = _commands()
idempotency: st.SearchStrategy[dict[str, str]] = st.one_of(
    st.just({}), st.just({}), st.sampled_from(IDEMPOTENCY_KEYS).map(lambda key: {"idempotency_key": key})
)
entries = st.builds(lambda command, key: command | key, commands, idempotency)
batches = st.builds(
    lambda batch, key: batch | key,
    st.fixed_dictionaries(
        {"type": st.just("batch"), "commands": st.lists(entries, max_size=5), "atomic": st.booleans()}
    ),
    idempotency,
)


def _request(request: dict[str, Any]) -> Request:
    body = orjson.dumps(request)
    return Request(
        body,
        is_atomic=request.get("atomic", False),
        is_remembered="idempotency_key" in request and request.get("command") not in READS,
        is_remembered_in_part=b'"idempotency_key"' in body,
    )


requests = st.one_of(commands, commands, commands, entries, batches).map(_request)
advances = st.sampled_from([5.0, 0.4, 1.0, 2.0, 100.0, 86_400.0, -3.0]).map(Advance)
step = st.one_of(advances, requests, requests, requests)
# Lists of lists: a single list would mostly be too short for its steps to meet.
steps = st.lists(st.lists(step, min_size=3, max_size=12), min_size=1, max_size=8).map(lambda runs: list(chain(*runs)))
limits = st.one_of(
    st.just(Limits()),
    st.builds(Limits, memory_bytes=st.sampled_from([900, 1_300]), memory_policy=st.sampled_from(MEMORY_POLICIES)),
)


def _take(harness: Harness, step: Step) -> dict[str, Any]:
    """Run one step; returns the reply, {} for a change of time."""
    if isinstance(step, Advance):
        harness.clock.advance(step.seconds)
        return {}
    body = harness.dispatcher.answer(step.body).body
    assert b'"INTERNAL_ERROR"' not in body
    reply: dict[str, Any] = json.loads(body)
    return reply


def _content(state: State, now: Millis) -> dict[str, list[Any]]:
    """Everything the digest is made of, to see where two states differ."""
    state.digest(now)
    return {name: list(section.canonical(now)) for name, section in state.sections.items()}


def _from_snapshot(harness: Harness, lsn: int) -> Executor:
    """A state from a snapshot after record `lsn`, made by replaying as the snapshot process does, and the rest."""
    before, after = Executor(TABLE, State()), Executor(TABLE, State())
    for record in harness.log.records[:lsn]:
        before.apply(record)
    for chunk in before.dump():
        after.load(chunk)
    after.loaded(before.state.lsn, before.state.time)
    for record in harness.log.records[lsn:]:
        after.apply(record)
    return after


def test_every_write_command_is_drawn_from() -> None:
    """A new command needs a strategy in payloads.py, or nothing here would hold for it."""
    assert {command.name for command in TABLE.public() if command.writes} == set(WRITES)
    assert set(READS) <= {command.name for command in TABLE.public() if not command.writes}


def _check_that_all_ways_lead_to_the_same_state(steps: list[Step], limits: Limits, data: st.DataObject) -> None:
    harness = Harness(limits)
    for step in steps:
        _take(harness, step)
    now = harness.clock.now()
    live = _content(harness.state, now)
    replayed, restored = harness.replayed(), harness.restored()
    lsn = data.draw(st.integers(0, len(harness.log.records)), "LSN of the snapshot")
    ways = [replayed, restored, _from_snapshot(harness, lsn)]
    for executor in ways:
        assert _content(executor.state, now) == live
        assert executor.digest(now) == harness.digest()
        assert executor.state.lsn == len(harness.log.records)


@thorough
@given(steps=steps, limits=limits, data=st.data())
def test_live_replayed_and_restored_states_are_the_same(steps: list[Step], limits: Limits, data: st.DataObject) -> None:
    _check_that_all_ways_lead_to_the_same_state(steps, limits, data)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@settings(thorough, max_examples=5_000)
@given(steps=steps, limits=limits, data=st.data())
def test_live_replayed_and_restored_states_are_the_same_in_the_long_run(
    steps: list[Step], limits: Limits, data: st.DataObject
) -> None:
    _check_that_all_ways_lead_to_the_same_state(steps, limits, data)


@brief
@given(steps=steps, later=steps, data=st.data())
def test_a_restored_state_answers_from_there_on_as_the_live_one_does(
    steps: list[Step], later: list[Step], data: st.DataObject
) -> None:
    """What the digest does not cover would show here."""
    live = Harness()
    for step in steps:
        _take(live, step)
    lsn = data.draw(st.integers(0, len(live.log.records)), "LSN of the snapshot")
    restored = _harness_on(_from_snapshot(live, lsn), live.clock)
    for step in later:
        if isinstance(step, Advance) or not any(name in step.body for name in UNREPEATABLE):
            assert _told(_take(restored, step)) == _told(_take(live, step))


def _told(reply: dict[str, Any]) -> dict[str, Any]:
    """What a reply says about the command. Each state notes in its own time that something has expired."""
    return {name: value for name, value in reply.items() if name not in ("request_id", "lsn")}


def _harness_on(executor: Executor, clock: FakeClock) -> Harness:
    """The live path on a state that was brought back, as late as `clock` says."""
    harness = Harness()
    harness.clock.wall = clock.wall
    harness.clock.advance_to(clock.now())
    harness.executor, harness.state = executor, executor.state
    harness.dispatcher = Dispatcher(executor, harness.log, harness.clock, Limits())
    harness.dispatcher.ready()
    return harness


@brief
@given(steps=steps, limits=limits)
def test_records_have_no_gaps_and_time_never_runs_backwards(steps: list[Step], limits: Limits) -> None:
    harness = Harness(limits)
    for step in steps:
        _take(harness, step)
    records = harness.log.records
    assert [record.lsn for record in records] == list(range(1, len(records) + 1))
    times = [record.time for record in records]
    assert times == sorted(times)


@brief
@given(steps=steps, limits=limits)
def test_what_left_no_record_changed_nothing_and_what_failed_left_none(steps: list[Step], limits: Limits) -> None:
    harness = Harness(limits)
    for step in steps:
        if isinstance(step, Advance):
            _take(harness, step)
            continue
        before, count = harness.digest(), len(harness.log.records)
        reply = _take(harness, step)
        left = harness.log.records[count:]
        changes = [record for record in left if record.command != CLOCK]
        if not changes:
            assert harness.digest() == before
        if reply.get("status") == "error" and not step.is_remembered_in_part:
            assert {record.command for record in changes} <= {EVICT}


@brief
@given(steps=steps, limits=limits)
def test_an_atomic_batch_is_one_record(steps: list[Step], limits: Limits) -> None:
    harness = Harness(limits)
    for step in steps:
        count = len(harness.log.records)
        _take(harness, step)
        if isinstance(step, Request) and step.is_atomic:
            changes = [record.command for record in harness.log.records[count:] if record.command != CLOCK]
            assert changes in ([], [TRANSACTION])


@brief
@given(steps=steps)
def test_what_has_been_seen_to_be_expired_is_so_for_ever(steps: list[Step]) -> None:
    """Whatever a reply told of time is in the journal, so that a restart on a slower clock cannot undo it."""
    harness = Harness()
    for step in steps:
        _take(harness, step)
        restarted = harness.replayed().state
        restarted.keyspace.sweep(restarted.time)
        assert restarted.keyspace.expired >= harness.state.keyspace.expired


@brief
@given(steps=steps, limits=limits)
def test_a_repeated_request_with_an_idempotency_key_changes_nothing(steps: list[Step], limits: Limits) -> None:
    harness = Harness(limits)
    for step in steps:
        reply = _take(harness, step)
        if isinstance(step, Request) and step.is_remembered:
            before, count = harness.digest(), len(harness.log.records)
            again = _take(harness, step)
            if len(harness.log.records) == count:
                assert harness.digest() == before
            names = ("status", "payload", "results", "error")
            assert [again.get(name) for name in names] == [reply.get(name) for name in names]


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "volatile-ttl"])
def test_evictions_inside_an_atomic_batch_are_part_of_its_record(policy: str) -> None:
    harness = Harness(Limits(memory_bytes=2_000, memory_policy=policy))
    sets = [{"command": "kv.set", "payload": {"key": f"key{n}", "value": "x" * 300, "ttl": 100 + n}} for n in range(20)]
    reply = harness.send({"type": "batch", "atomic": True, "commands": sets})
    assert {result["status"] for result in reply["results"]} == {"success"}
    [record] = harness.log.records
    assert b'"kv.evict"' in record.payload
    assert harness.call("kv.stats")["evicted"] > 10
    for executor in (harness.replayed(), harness.restored()):
        assert executor.digest(harness.clock.now()) == harness.digest()
        assert executor.state.keyspace.evicted == harness.state.keyspace.evicted
