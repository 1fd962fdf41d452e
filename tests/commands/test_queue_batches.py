"""Queues, streams and pub/sub together: batches that mix them, and states that come back the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap.commands.state import Defaults
from synap.engines.queue_config import QueueConfig
from synap.engines.streams import Retention
from synap.errors import SynapError
from tests.commands.common import batch, recorded, restarted
from tests.commands.queueing import (
    NO_MESSAGE,
    Connection,
    check_recovery,
    counts,
    event,
    history,
    put,
    queue,
    stats,
    take,
    taken,
    waiting,
)
from tests.support import START, Harness, payload_of

OUTBOX_PATTERN: list[tuple[str, dict[str, Any]]] = [
    ("kv.set", {"key": "order:1", "value": {"total": 1.10}}),
    ("queue.publish", {"queue": "mail", "message": {"order": 1}, "dedup_id": "order:1"}),
    ("stream.publish", {"room": "orders", "event_type": "created", "data": {"order": 1}}),
    ("pubsub.publish", {"topic": "orders.1", "message": "created"}),
]

# Batches


def test_an_atomic_batch_over_all_namespaces_is_one_record(harness: Harness) -> None:
    connection = Connection(harness)
    connection.call("pubsub.subscribe", topics=["orders.#"])
    results = [payload_of(result) for result in batch(harness, *OUTBOX_PATTERN, atomic=True)]
    assert (results[1]["position"], results[2]["offset"], results[3]["subscribers_notified"]) == (1, 0, 1)
    assert recorded(harness) == ["system.transaction"]
    assert (harness.call("kv.get", key="order:1")["value"], taken(harness, "mail")) == ({"total": 1.1}, [{"order": 1}])
    assert history(harness, "orders") == [{"order": 1}]
    assert [push["message"] for push in connection.drained()] == ["created"]
    check_recovery(harness)


def test_an_atomic_batch_wakes_consumers_of_all_kinds_once_it_is_over(harness: Harness) -> None:
    queue(harness, "mail")
    harness.call("stream.create", room="orders")
    waiters = [
        waiting(harness, "queue.consume", queue="mail", timeout=9),
        waiting(harness, "stream.consume", room="orders", group="g", timeout=9),
    ]
    batch(harness, *OUTBOX_PATTERN, atomic=True)
    assert waiters[0].payload["message"] == {"order": 1}
    assert [each["data"] for each in waiters[1].payload["events"]] == [{"order": 1}]
    check_recovery(harness)


def test_a_batch_sent_again_with_its_idempotency_key_changes_nothing(harness: Harness) -> None:
    first = batch(harness, *OUTBOX_PATTERN, atomic=True, idempotency_key="k")
    digest = harness.digest()
    assert batch(harness, *OUTBOX_PATTERN, atomic=True, idempotency_key="k") == first
    assert (harness.digest(), len(harness.log.records)) == (digest, 1)
    assert payload_of(first[1])["duplicate"] is False
    check_recovery(harness)


@pytest.mark.parametrize("atomic", [False, True])
def test_a_command_that_fails_undoes_nothing_of_its_batch(harness: Harness, atomic: bool) -> None:
    queue(harness, max_depth=1)
    results = batch(
        harness,
        ("queue.publish", {"queue": "q", "message": 1}),
        ("queue.publish", {"queue": "q", "message": 2}),
        ("queue.ack", {"queue": "q", "message_id": "msg_1_1"}),
        ("queue.consume", {"queue": "q", "timeout": 60}),
        ("queue.ack", {"queue": "q", "message_id": "msg_1_1"}),
        ("queue.ack", {"queue": "q", "message_id": "msg_1_1"}),
        ("queue.consume", {"queue": "q", "timeout": 60}),
        atomic=atomic,
    )
    codes = [result["error"]["code"] if result["status"] == "error" else None for result in results]
    assert codes == [None, "QUEUE_FULL", "MESSAGE_NOT_FOUND", None, None, "MESSAGE_NOT_FOUND", None]
    assert (results[-1]["payload"], counts(harness)) == (NO_MESSAGE, (0, 0, 0, 0))
    check_recovery(harness)


def test_a_batch_lives_in_one_moment(harness: Harness) -> None:
    results = batch(
        harness,
        ("queue.publish", {"queue": "q", "message": 1, "ttl": 1e-9}),
        ("queue.publish", {"queue": "q", "message": 2, "delay_secs": 0.001}),
        ("queue.consume", {"queue": "q", "max_messages": 9, "ack_deadline": 1e-9}),
        ("queue.stats", {"queue": "q"}),
    )
    assert [each["message"] for each in results[2]["payload"]["messages"]] == [1]
    assert (results[3]["payload"]["in_flight"], results[3]["payload"]["delayed"]) == (1, 1)
    harness.clock.advance(0.001)
    assert counts(harness) == (1, 0, 0, 1)
    check_recovery(harness)


# Time across a restart


def test_nothing_that_was_seen_to_happen_is_undone_on_a_slower_clock(harness: Harness) -> None:
    put(harness, "leased")
    first = take(harness, ack_deadline=10)
    put(harness, "delayed", delay_secs=10)
    put(harness, "short", ttl=10)
    harness.clock.advance(10)
    assert counts(harness) == (2, 0, 0, 1)
    again = restarted(harness, START)
    assert counts(again) == (2, 0, 0, 1)
    assert again.digest() == harness.digest()
    assert take(again)["message_id"] == first["message_id"]
    put(again, "later", delay_secs=1)
    assert counts(again)[:2] == (1, 1)


def test_a_lease_goes_on_over_a_restart(harness: Harness) -> None:
    put(harness)
    message = take(harness, ack_deadline=10)
    again = restarted(harness, START + 9_999)
    assert take(again)["message_id"] is None
    again.call("queue.ack", queue="q", message_id=message["message_id"], delivery=1)
    later = restarted(harness, START + 10_000)
    assert take(later)["delivery"] == 2


# Defaults


def test_new_queues_and_rooms_are_as_the_defaults_of_their_time(harness: Harness) -> None:
    put(harness, queue="before")
    event(harness, room="before")
    changed = Defaults(
        queue=QueueConfig(max_retries=7, max_depth=2), creates_queues=False, retention=Retention(max_events=2)
    )
    harness.dispatcher.perform("system.defaults", changed)
    for n in range(3):
        event(harness, n, room="after")
    queue(harness, "after", max_depth=5)
    configs = [stats(harness, name)["config"] for name in ("before", "after")]
    assert [(config["max_retries"], config["max_depth"]) for config in configs] == [(3, None), (7, 5)]
    assert (history(harness, "before"), history(harness, "after")) == ([1], [1, 2])
    with pytest.raises(SynapError, match="no queue 'none'"):
        put(harness, queue="none")
    check_recovery(harness)
    harness.dispatcher.perform("system.defaults", Defaults())
    put(harness, queue="none")
    event(harness, room="none")
    check_recovery(harness)


# Whatever is done

queues = st.sampled_from(["p", "q"])
ids = st.builds("msg_{}_{}".format, st.integers(1, 3), st.integers(1, 6))
short = st.sampled_from([0.001, 0.002, 0.005])
rests = st.sampled_from([0, 0.001, 0.0034, 0.005])
CONFIGS: list[dict[str, Any]] = [
    {},
    {"max_retries": 1, "ack_deadline_secs": 0.002},
    {"max_depth": 2, "dead_letter": False, "message_ttl_secs": 0.004},
    {"max_retries": 0, "retry": {"strategy": "linear", "initial_secs": 0.001}},
]
RETENTIONS: list[dict[str, Any]] = [
    {},
    {"max_events": 3},
    {"max_bytes": 9},
    {"max_age_secs": 0.004},
    {"max_age_secs": None, "max_events": None},
]


def payloads(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: value for name, value in fields.items() if not name.endswith("_")}).flatmap(
        lambda required: st.fixed_dictionaries(
            {name: st.just(value) for name, value in required.items()},
            optional={name.removesuffix("_"): value for name, value in fields.items() if name.endswith("_")},
        )
    )


def step(command: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.tuples(st.just(command), payloads(**fields))


rooms, groups, partitions = st.sampled_from(["r", "s"]), st.sampled_from(["g", "h"]), st.integers(0, 1)
commands = st.one_of(
    step("queue.create", queue=queues, config_=st.sampled_from(CONFIGS)),
    step("queue.configure", queue=queues, config=st.sampled_from(CONFIGS)),
    step(
        "queue.publish",
        queue=queues,
        message=st.integers(0, 3),
        priority_=st.integers(0, 9),
        delay_secs_=rests,
        ttl_=short,
        dedup_id_=st.sampled_from("de"),
    ),
    step("queue.publish", queue=queues, message_base64=st.sampled_from(["", "/w=="])),
    step("queue.consume", queue=queues, timeout_=short, ack_deadline_=short, max_messages_=st.integers(1, 3)),
    step("queue.ack", queue=queues, message_id=ids, delivery_=st.integers(1, 3)),
    step("queue.ack", queue=queues, message_ids=st.lists(ids, min_size=1, max_size=4)),
    step("queue.nack", queue=queues, message_id=ids, requeue_=st.booleans(), delay_secs_=rests),
    step("queue.extend", queue=queues, message_id=ids, ack_deadline=short),
    step("queue.dlq_replay", queue=queues, all=st.just(True)),
    step("queue.dlq_replay", queue=queues, message_id=ids),
    step("queue.purge", queue=queues),
    step("queue.dlq_purge", queue=queues),
    step("queue.delete", queue=queues),
    step("stream.create", room=rooms, partitions_=st.integers(1, 2), retention_=st.sampled_from(RETENTIONS)),
    step("stream.publish", room=rooms, event_type=st.just("e"), data=st.integers(0, 99), key_=st.sampled_from("kl")),
    step("stream.publish", room=rooms, event_type=st.just("e"), data=st.just(1), partition=partitions),
    step("stream.consume", room=rooms, group=groups, auto_commit_=st.booleans(), max_events_=st.integers(1, 3)),
    step("stream.consume", room=rooms, group=groups, start=st.just("latest"), timeout=short),
    step("stream.commit", room=rooms, group=groups, offset=st.integers(0, 5), partition_=partitions),
    step("stream.delete_group", room=rooms, group=groups),
    step("stream.delete", room=rooms),
    st.builds(lambda room, kept: ("stream.retention", {"room": room, **kept}), rooms, st.sampled_from(RETENTIONS)),
)
requests = st.one_of(
    commands,
    st.tuples(st.just("batch"), st.lists(commands, max_size=4)),
    st.tuples(st.just("advance"), st.integers(1, 3)),
    st.tuples(st.just("tick"), st.integers(1, 2)),
)


@settings(max_examples=300)
@given(st.lists(requests, max_size=40))
def test_whatever_is_done_journal_and_snapshot_tell_how_things_are(steps: list[tuple[str, Any]]) -> None:
    harness = Harness()
    for kind, argument in steps:
        if kind == "advance":
            harness.clock.advance(argument / 1_000)
        elif kind == "tick":
            harness.dispatcher.tick(argument)
        elif kind == "batch":
            for result in batch(harness, *argument, atomic=True):
                assert result["status"] == "success" or result["error"]["code"] != "INTERNAL_ERROR", result
        else:
            reply = harness.send({"command": kind, "payload": argument})
            assert reply["status"] == "success" or reply["error"]["code"] != "INTERNAL_ERROR", reply
            if reply["status"] == "error":
                continue
    snapshot = harness.restored()
    for secs in (0, 0.002, 0.01):
        harness.clock.advance(secs)
        now = harness.clock.now()
        assert harness.replayed().digest(now) == harness.digest()
        assert snapshot.digest(now) == harness.digest()
    used = harness.state.queues.used_bytes + harness.state.streams.used_bytes
    for name in harness.state.queues.names():
        harness.call("queue.delete", queue=name)
    for room in harness.state.streams.names():
        harness.call("stream.delete", room=room)
    assert harness.state.queues.used_bytes <= used
    assert (harness.state.queues.used_bytes, harness.state.streams.used_bytes) == (0, 0)
