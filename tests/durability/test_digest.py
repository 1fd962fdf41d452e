"""One state, whichever way it came about: live, replayed from the journal, or from a snapshot and what follows."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synap.clock import Millis
from synap.commands import TABLE
from synap.commands.credentials import Credentials
from synap.commands.dispatcher import Dispatcher
from synap.commands.executor import CLOCK, TRANSACTION, Executor
from synap.commands.gates import Limits
from synap.commands.state import State
from tests.payloads.improviser import Improviser, Repertoire, repertoire
from tests.payloads.strategies import NAMESPACES, READS, commands
from tests.support import CHEAP_HASHER, FakeClock, Harness

IDEMPOTENCY_KEYS = ["first", "second", "third", "fourth"]
EVICT = "kv.evict"
# They tell what begins anew with a server, what depends on how a value came about, and where the journal is.
UNREPEATABLE = [
    f'"{name}"'.encode()
    for name in READS
    if name.endswith((".stats", ".usage", ".groups")) or name.startswith(("admin.", "pubsub."))
]
ADVANCES_SECS = [5.0, 0.4, 1.0, 2.0, 100.0, 86_400.0, -3.0]
MEMORY_POLICIES = ["allkeys-lru", "volatile-lru", "volatile-ttl", "noeviction"]
HISTORY_STEPS = 400
# To compare is to look at every key, and what has expired is then gone: not after every step.
COMPARED = 0.1
HISTORY_LIMITS = [Limits(), *(Limits(memory_bytes=5_000, memory_policy=policy) for policy in MEMORY_POLICIES)]

thorough = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
brief = settings(thorough, max_examples=40)


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

idempotency: st.SearchStrategy[dict[str, str]] = st.one_of(
    st.just({}), st.just({}), st.sampled_from(IDEMPOTENCY_KEYS).map(lambda key: {"idempotency_key": key})
)


def _request(request: dict[str, Any]) -> Request:
    body = orjson.dumps(request)
    return Request(
        body,
        is_atomic=request.get("atomic", False),
        is_remembered="idempotency_key" in request and request.get("command") not in READS,
        is_remembered_in_part=b'"idempotency_key"' in body,
    )


advances = st.sampled_from(ADVANCES_SECS).map(Advance)


@cache
def _run(namespace: str) -> st.SearchStrategy[list[Step]]:
    """Steps that are mostly about one type."""
    entries = st.builds(lambda command, key: command | key, commands(namespace), idempotency)
    batches = st.builds(
        lambda batch, key: batch | key,
        st.fixed_dictionaries(
            {"type": st.just("batch"), "commands": st.lists(entries, max_size=5), "atomic": st.booleans()}
        ),
        idempotency,
    )
    requests = st.one_of(*[commands(namespace)] * 3, entries, batches).map(_request)
    return st.lists(st.one_of(advances, requests, requests, requests), min_size=3, max_size=12)


def _runs(namespaces: list[str]) -> st.SearchStrategy[list[Step]]:
    """Lists of lists: a single list would mostly be too short for its steps to meet."""
    runs = st.lists(st.sampled_from(namespaces).flatmap(_run), min_size=1, max_size=8)
    return runs.map(lambda found: list(chain(*found)))


steps = st.lists(st.sampled_from(NAMESPACES), min_size=1, max_size=3).flatmap(_runs)
limits = st.one_of(
    st.just(Limits()),
    st.builds(Limits, memory_bytes=st.sampled_from([1_300, 5_000]), memory_policy=st.sampled_from(MEMORY_POLICIES)),
)


def _take(harness: Harness, step: Step) -> dict[str, Any]:
    """Run one step; returns the reply, {} for a change of time."""
    if isinstance(step, Advance):
        harness.clock.advance(step.seconds)
        return {}
    body = harness.answer(step.body).body
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


def _check_that_all_ways_lead_to_the_same_state(harness: Harness, lsn: int) -> None:
    """As it is, replayed, restored from a snapshot, and restored from one made after record `lsn`."""
    now = harness.clock.now()
    live = _content(harness.state, now)
    for executor in (harness.replayed(), harness.restored(), _from_snapshot(harness, lsn)):
        assert _content(executor.state, now) == live
        assert executor.digest(now) == harness.digest()
        assert executor.state.lsn == len(harness.log.records)


def _check_steps(steps: list[Step], limits: Limits, data: st.DataObject) -> None:
    harness = Harness(limits)
    for step in steps:
        _take(harness, step)
    lsn = data.draw(st.integers(0, len(harness.log.records)), "LSN of the snapshot")
    _check_that_all_ways_lead_to_the_same_state(harness, lsn)


@thorough
@given(steps=steps, limits=limits, data=st.data())
def test_live_replayed_and_restored_states_are_the_same(steps: list[Step], limits: Limits, data: st.DataObject) -> None:
    _check_steps(steps, limits, data)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@settings(thorough, max_examples=5_000)
@given(steps=steps, limits=limits, data=st.data())
def test_live_replayed_and_restored_states_are_the_same_in_the_long_run(
    steps: list[Step], limits: Limits, data: st.DataObject
) -> None:
    _check_steps(steps, limits, data)


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
    _check_answers(live, lsn, later)


def _check_answers(live: Harness, lsn: int, later: Iterable[Step]) -> None:
    """A server restored from a snapshot after record `lsn` answers as `live` does."""
    restored = _harness_on(_from_snapshot(live, lsn), live.clock)
    for step in later:
        if isinstance(step, Advance) or not any(name in step.body for name in UNREPEATABLE):
            assert _told(_take(restored, step)) == _told(_take(live, step)), step


def _told(reply: dict[str, Any]) -> dict[str, Any]:
    """What a reply says about the command. Each state notes in its own time that something has expired."""
    told = {name: value for name, value in reply.items() if name not in ("request_id", "lsn")}
    if "expires_at" in (payload := reply.get("payload", {})):  # an API key or a token: no two are the same
        told["payload"] = payload | {name: bool(payload[name]) for name in ("key", "token") if name in payload}
    return told


def _harness_on(executor: Executor, clock: FakeClock) -> Harness:
    """The live path on a state that was brought back, as late as `clock` says."""
    harness = Harness()
    harness.clock = clock.twin()
    harness.executor, harness.state = executor, executor.state
    harness.credentials = Credentials(executor.state.accounts, hasher=CHEAP_HASHER)
    harness.dispatcher = Dispatcher(executor, harness.log, harness.clock, Limits(), credentials=harness.credentials)
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
            assert _outcome(again) == _outcome(reply)


def _outcome(reply: dict[str, Any]) -> list[Any]:
    """What came of a request. How short memory was when it was refused is another thing each time."""
    error = reply.get("error")
    if error is not None and error["code"] == "MEMORY_LIMIT":
        error = {"code": error["code"], **{k: v for k, v in error["details"].items() if k != "used_bytes"}}
    return [reply.get("status"), reply.get("payload"), reply.get("results"), error]


# Long histories: some things take a while to come about. What hypothesis can shrink, it finds in shorter ones.

HISTORIES = [60, pytest.param(1_000, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])]


@pytest.fixture(scope="module")
def known(chance_seed: int) -> Repertoire:
    """Payloads of every command."""
    return repertoire(TABLE.public(), chance_seed)


@pytest.fixture
def improviser(known: Repertoire) -> Improviser:
    """Makes up histories."""
    return Improviser(known)


def _improvised(improviser: Improviser, rng: random.Random) -> Step:
    match rng.randrange(12):
        case 0:
            return Advance(rng.choice(ADVANCES_SECS))
        case 1:
            entries = [improviser.next(rng) for _ in range(rng.randint(1, 5))]
            return _request({"type": "batch", "commands": entries, "atomic": rng.random() < 0.7})
        case 2:
            return _request(improviser.next(rng) | {"idempotency_key": rng.choice(IDEMPOTENCY_KEYS)})
        case _:
            return _request(improviser.next(rng))


@pytest.mark.parametrize("histories", HISTORIES)
def test_in_a_long_history_live_replayed_and_restored_states_are_the_same_all_along(
    improviser: Improviser, rng: random.Random, histories: int
) -> None:
    for _ in range(histories):
        harness, follower = Harness(rng.choice(HISTORY_LIMITS)), Executor(TABLE, State())
        for _ in range(HISTORY_STEPS):
            _take(harness, _improvised(improviser, rng))
            if rng.random() < COMPARED:
                _follow(harness, follower)
        _check_that_all_ways_lead_to_the_same_state(harness, rng.randint(0, len(harness.log.records)))


def _follow(harness: Harness, follower: Executor) -> None:
    """Apply to `follower` the records it has not seen yet; then it is as `harness` is."""
    for record in harness.log.records[follower.state.lsn :]:
        follower.apply(record)
    now = harness.clock.now()
    if follower.digest(now) != harness.digest():
        assert _content(follower.state, now) == _content(harness.state, now)
        pytest.fail("the digests differ where the content does not")


@pytest.mark.parametrize("histories", HISTORIES)
def test_in_a_long_history_a_restored_state_answers_as_the_live_one_does(
    improviser: Improviser, rng: random.Random, histories: int
) -> None:
    for _ in range(histories):
        live = Harness()
        for _ in range(HISTORY_STEPS // 2):
            _take(live, _improvised(improviser, rng))
        lsn = rng.randint(0, len(live.log.records))
        _check_answers(live, lsn, (_improvised(improviser, rng) for _ in range(HISTORY_STEPS)))


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
