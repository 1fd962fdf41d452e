"""Leases, delays, rests, times to live and ages over a restart on a machine whose clock is set back.

What a client has been told of time is never undone, nothing happens before its time, and everything has happened by
the time the clock has caught up.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from synap.commands import TABLE
from synap.commands.dispatcher import Dispatcher
from synap.commands.executor import Executor
from synap.commands.gates import Limits
from synap.commands.state import State
from synap.errors import MessageNotFound
from tests.support import START, Harness

HOUR_SECS = 3_600.0
QUEUE, ROOM = "work", "told"
LONG_RETRY = {"strategy": "exponential", "initial_secs": 2, "multiplier": 3}
HISTORIES = [30, pytest.param(1_000, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])]


def _restarted(harness: Harness, back_secs: float, *, from_snapshot: bool = False) -> Harness:
    """A server on what another one has left in its journal, with a clock that is behind."""
    restarted = Harness()
    restarted.clock.wall = harness.clock.wall - round(back_secs * 1000)
    executor = harness.restored() if from_snapshot else Executor(TABLE, State())
    for record in harness.log.records[executor.state.lsn :]:
        executor.apply(record)
    restarted.log.records = list(harness.log.records)
    restarted.executor, restarted.state = executor, executor.state
    restarted.dispatcher = Dispatcher(executor, restarted.log, restarted.clock, Limits())
    restarted.dispatcher.ready()
    return restarted


def _consumed(harness: Harness, **options: Any) -> Any:
    return harness.call("queue.consume", queue=QUEUE, **options)


@pytest.fixture
def queue(harness: Harness) -> Harness:
    """A queue with one message, and an empty room."""
    harness.call("stream.create", room=ROOM)
    harness.call("queue.create", queue=QUEUE, config={"ack_deadline_secs": 10, "retry": LONG_RETRY, "max_retries": 2})
    harness.call("queue.publish", queue=QUEUE, message=1)
    return harness


def test_a_lease_lasts_on_a_slower_clock_and_is_honoured_until_its_end(queue: Harness) -> None:
    leased = _consumed(queue)
    queue.clock.advance(6)
    queue.call("queue.publish", queue="other", message=1)
    queue = _restarted(queue, HOUR_SECS)
    queue.clock.advance(3.9)
    assert queue.call("queue.stats", queue=QUEUE)["in_flight"] == 1
    queue.clock.advance(HOUR_SECS + 0.1)
    assert queue.call("queue.stats", queue=QUEUE)["delayed"] == 1
    with pytest.raises(MessageNotFound):
        queue.call("queue.ack", queue=QUEUE, message_id=leased["message_id"])


def test_a_lease_that_was_seen_to_be_over_is_so_for_ever(queue: Harness) -> None:
    leased = _consumed(queue)
    queue.clock.advance(12)
    again = _consumed(queue)
    queue = _restarted(queue, HOUR_SECS)
    with pytest.raises(MessageNotFound):
        queue.call("queue.ack", queue=QUEUE, message_id=leased["message_id"], delivery=leased["delivery"])
    assert _consumed(queue)["message_id"] is None
    assert queue.call("queue.ack", queue=QUEUE, message_id=again["message_id"], delivery=2)["success"]


def test_a_lease_taken_on_a_slower_clock_is_no_shorter(queue: Harness) -> None:
    queue = _restarted(queue, HOUR_SECS)
    leased = _consumed(queue)
    deadline = queue.call("queue.extend", queue=QUEUE, message_id=leased["message_id"], ack_deadline=10)["deadline"]
    assert deadline == START + 10_000
    queue.clock.advance(9)
    assert queue.call("queue.ack", queue=QUEUE, message_id=leased["message_id"])["success"]


def test_a_delay_and_a_rest_are_no_shorter_on_a_slower_clock(queue: Harness) -> None:
    queue.call("queue.publish", queue=QUEUE, message="later", delay_secs=6)
    leased = _consumed(queue)
    queue.call("queue.nack", queue=QUEUE, message_id=leased["message_id"])
    queue = _restarted(queue, HOUR_SECS, from_snapshot=True)
    for secs, ready in ((1.9, 0), (HOUR_SECS + 4.1, 2)):
        queue.clock.advance(secs)
        assert queue.call("queue.stats", queue=QUEUE)["depth"] == ready


def test_rests_grow_over_restarts_as_they_do_without(queue: Harness) -> None:
    for rest_secs in (2, 6):
        leased = _consumed(queue)
        queue.call("queue.nack", queue=QUEUE, message_id=leased["message_id"])
        queue = _restarted(queue, 0)
        queue.clock.advance(rest_secs - 0.001)
        assert _consumed(queue)["message_id"] is None
        queue.clock.advance(0.001)
    leased = _consumed(queue)
    assert queue.call("queue.nack", queue=QUEUE, message_id=leased["message_id"])["action"] == "dead_lettered"


def test_what_was_seen_to_be_dead_or_ready_is_so_on_a_slower_clock(queue: Harness) -> None:
    queue.call("queue.publish", queue=QUEUE, message="brief", ttl=5)
    queue.call("queue.publish", queue=QUEUE, message="later", delay_secs=5)
    queue.clock.advance(5)
    seen = _seen(queue)
    assert len(seen[2]["messages"]) == 1
    queue = _restarted(queue, HOUR_SECS)
    assert _seen(queue) == seen


def test_duplicates_are_recognised_for_five_minutes_at_least_on_a_slower_clock(queue: Harness) -> None:
    first = queue.call("queue.publish", queue=QUEUE, message=1, dedup_id="once")
    queue = _restarted(queue, HOUR_SECS)
    queue.clock.advance(299)
    assert queue.call("queue.publish", queue=QUEUE, message=1, dedup_id="once")["message_id"] == first["message_id"]
    queue.clock.advance(HOUR_SECS + 1)
    assert not queue.call("queue.publish", queue=QUEUE, message=1, dedup_id="once")["duplicate"]


def test_events_are_kept_for_their_age_and_those_gone_stay_gone_on_a_slower_clock(harness: Harness) -> None:
    harness.call("stream.create", room=ROOM, retention={"max_age_secs": 5})
    harness.call("stream.publish", room=ROOM, event_type="told", data=1)
    harness.clock.advance(4)
    harness.call("stream.publish", room=ROOM, event_type="told", data=2)
    harness.clock.advance(1)
    assert harness.call("stream.stats", room=ROOM)["oldest_offset"] == 1
    harness = _restarted(harness, HOUR_SECS)
    for secs, oldest in ((0, 1), (3.999, 1), (HOUR_SECS + 0.001, None)):
        harness.clock.advance(secs)
        assert harness.call("stream.stats", room=ROOM)["oldest_offset"] == oldest
    assert harness.call("stream.publish", room=ROOM, event_type="told", data=3)["offset"] == 2


# Whatever happens


def _seen(harness: Harness) -> list[Any]:
    """What a client sees that depends on time."""
    stats = harness.call("queue.stats", queue=QUEUE)
    del stats["oldest_message_age_secs"]
    return [
        stats,
        harness.call("queue.peek", queue=QUEUE, count=1_000),
        harness.call("queue.dlq", queue=QUEUE, count=1_000),
        harness.call("stream.stats", room=ROOM),
        harness.call("stream.history", room=ROOM),
        harness.call("kv.mget", keys=["a", "b"]),
    ]


def _step(harness: Harness, rng: random.Random) -> None:
    """Something that time has to do with."""
    ids = [f"msg_1_{number:x}" for number in range(1, 12)]
    commands: list[tuple[str, dict[str, Any]]] = [
        ("queue.publish", {"queue": QUEUE, "message": 1, "ttl": rng.choice([None, 0.5, 3])}),
        ("queue.publish", {"queue": QUEUE, "message": 2, "delay_secs": rng.choice([0.5, 2]), "priority": 9}),
        ("queue.consume", {"queue": QUEUE, "max_messages": rng.randint(1, 3)}),
        ("queue.ack", {"queue": QUEUE, "message_id": rng.choice(ids)}),
        ("queue.nack", {"queue": QUEUE, "message_id": rng.choice(ids)}),
        ("queue.extend", {"queue": QUEUE, "message_id": rng.choice(ids), "ack_deadline": 2}),
        ("stream.publish", {"room": ROOM, "event_type": "told", "data": 1}),
        ("kv.set", {"key": rng.choice("ab"), "value": 1, "ttl": rng.choice([0.3, 2])}),
    ]
    command, payload = rng.choice(commands)
    harness.send({"command": command, "payload": payload})
    harness.clock.advance(rng.choice([0, 0, 0.001, 0.2, 1]))


@pytest.mark.parametrize("histories", HISTORIES)
def test_what_was_seen_is_seen_again_after_a_restart_on_a_slower_clock(rng: random.Random, histories: int) -> None:
    for _ in range(histories):
        harness = Harness()
        config = {"ack_deadline_secs": 1, "max_retries": 1, "retry": {"initial_secs": 0.3}}
        harness.call("queue.create", queue=QUEUE, config=config)
        harness.call("stream.create", room=ROOM, retention={"max_age_secs": 1.5})
        for _ in range(40):
            _step(harness, rng)
            if rng.random() < 0.2:
                seen = _seen(harness)
                harness = _restarted(harness, rng.choice([0, 0.1, 1, 5]), from_snapshot=rng.random() < 0.5)
                assert _seen(harness) == seen
