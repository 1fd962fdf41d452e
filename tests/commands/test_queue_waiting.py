"""Consumers that wait for a message: who is served when, what wakes them, and what the journal then holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from synap.commands.gates import Limits
from tests.commands.common import batch, recorded
from tests.commands.queueing import (
    NO_MESSAGE,
    check_recovery,
    counts,
    put,
    queue,
    stats,
    take,
    tick,
    waiting,
)
from tests.commands.waiters import Waiter, blocked, calls, nobody_waits
from tests.support import Harness


def consumer(harness: Harness, queue: str = "q", **fields: Any) -> Waiter:
    return waiting(harness, "queue.consume", queue=queue, **{"timeout": 60} | fields)


def received(*waiters: Waiter) -> list[Any]:
    return [waiter.payload["message"] for waiter in waiters]


def test_who_came_first_is_served_first_and_one_message_serves_one(harness: Harness) -> None:
    queue(harness)
    first, second, third = (consumer(harness) for _ in range(3))
    put(harness, 1)
    assert (first.payload["message"], second.is_waiting) == (1, True)
    batch(harness, *(("queue.publish", {"queue": "q", "message": n, "priority": n}) for n in (2, 3)))
    assert received(second, third) == [3, 2]
    assert (nobody_waits(harness), counts(harness)) == (True, (0, 0, 3, 0))
    check_recovery(harness)


def test_a_consumer_of_several_takes_what_there_is(harness: Harness) -> None:
    queue(harness)
    many = consumer(harness, max_messages=3)
    one = consumer(harness)
    batch(harness, *(("queue.publish", {"queue": "q", "message": n}) for n in range(4)), atomic=True)
    assert [each["message"] for each in many.payload["messages"]] == [0, 1, 2]
    assert one.payload["message"] == 3


def test_the_journal_holds_nothing_of_the_wait_and_then_the_lease(harness: Harness) -> None:
    queue(harness)
    waiter = consumer(harness, ack_deadline=5, consumer_id="ann")
    assert recorded(harness) == ["queue.create"]
    put(harness, 1)
    name, payload = calls(harness)[-1]
    assert (name, payload["ack_deadline"], payload["consumer_id"]) == ("queue.consume", 5, "ann")
    assert waiter.reply["lsn"] == harness.state.lsn
    check_recovery(harness)


def test_a_lease_begins_when_the_message_comes_not_when_the_wait_began(harness: Harness) -> None:
    queue(harness, ack_deadline_secs=10)
    consumer(harness)
    harness.clock.advance(50)
    put(harness, 1)
    harness.clock.advance(9.999)
    assert counts(harness) == (0, 0, 1, 0)


def test_who_waits_in_vain_gets_nulls_or_an_empty_list(harness: Harness) -> None:
    queue(harness)
    one, several = consumer(harness), consumer(harness, max_messages=5)
    one.wait.time_out()
    several.wait.time_out()
    assert (one.payload, several.payload) == (NO_MESSAGE, {"messages": []})
    put(harness, 1)
    assert (len(one.replies), counts(harness), recorded(harness)) == (
        1,
        (1, 0, 0, 0),
        ["queue.create", "queue.publish"],
    )


@pytest.mark.parametrize(("timeout", "seconds"), [(1e-9, 1e-9), (60, 60), (61, 60), (1e300, 60)])
def test_a_wait_ends_when_asked_and_at_the_limit(timeout: float, seconds: float) -> None:
    harness = Harness(Limits(max_wait_secs=60))
    queue(harness)
    assert consumer(harness, timeout=timeout).wait.seconds == seconds


# What wakes


def test_a_delayed_message_wakes_when_it_is_due(harness: Harness) -> None:
    put(harness, 1, delay_secs=5)
    waiter = consumer(harness)
    tick(harness, 4.999)
    assert waiter.is_waiting
    tick(harness, 0.001)
    assert received(waiter) == [1]
    check_recovery(harness)


def test_a_lease_that_runs_out_wakes(harness: Harness) -> None:
    put(harness, 1)
    take(harness, ack_deadline=5)
    waiter = consumer(harness)
    tick(harness, 5)
    assert (waiter.payload["delivery"], waiter.payload["retry_count"]) == (2, 1)
    check_recovery(harness)


def test_a_rest_that_is_over_wakes(harness: Harness) -> None:
    queue(harness, retry={"strategy": "fixed", "initial_secs": 3})
    put(harness, 1)
    message = take(harness)
    waiter = consumer(harness)
    harness.call("queue.nack", queue="q", message_id=message["message_id"])
    tick(harness, 2)
    assert waiter.is_waiting
    tick(harness, 1)
    assert received(waiter) == [1]
    check_recovery(harness)


@pytest.mark.parametrize("how", ["nack", "replay", "replay all"])
def test_a_message_given_back_or_replayed_wakes(harness: Harness, how: str) -> None:
    put(harness, 1)
    message = take(harness)
    waiter = consumer(harness)
    given = {"queue": "q", "message_id": message["message_id"]}
    harness.call("queue.nack", **given, requeue=how == "nack")
    if how == "replay":
        harness.call("queue.dlq_replay", **given)
    elif how == "replay all":
        harness.call("queue.dlq_replay", queue="q", all=True)
    assert received(waiter) == [1]
    check_recovery(harness)


def test_the_deletion_of_the_queue_is_told_to_all_who_wait(harness: Harness) -> None:
    queue(harness)
    waiters = [consumer(harness), consumer(harness, max_messages=2)]
    harness.call("queue.delete", queue="q")
    assert [waiter.reply["error"]["code"] for waiter in waiters] == ["QUEUE_NOT_FOUND"] * 2
    assert nobody_waits(harness)


def test_who_waits_for_a_queue_that_is_deleted_and_made_anew_in_one_batch_waits_on(harness: Harness) -> None:
    queue(harness)
    waiter = consumer(harness)
    batch(harness, ("queue.delete", {"queue": "q"}), ("queue.create", {"queue": "q"}))
    assert waiter.is_waiting
    put(harness, 1)
    assert received(waiter) == [1]
    check_recovery(harness)


@pytest.mark.parametrize(
    "step",
    [
        ("queue.publish", {"queue": "other", "message": 1}),
        ("queue.publish", {"queue": "q", "message": 1, "delay_secs": 1}),
        ("queue.configure", {"queue": "q", "config": {"max_retries": 1}}),
        ("queue.purge", {"queue": "q"}),
        ("list.rpush", {"key": "q", "value": 1}),
        ("stream.publish", {"room": "q", "event_type": "e", "data": 1}),
        ("pubsub.publish", {"topic": "q", "message": 1}),
    ],
    ids=lambda step: step[0],
)
def test_nothing_else_wakes(harness: Harness, step: tuple[str, dict[str, Any]]) -> None:
    queue(harness)
    waiter = consumer(harness)
    harness.call(step[0], **step[1])
    assert waiter.is_waiting


def test_what_comes_and_goes_in_one_batch_wakes_nobody(harness: Harness) -> None:
    queue(harness)
    waiter = consumer(harness)
    batch(harness, ("queue.publish", {"queue": "q", "message": 1}), ("queue.purge", {"queue": "q"}), atomic=True)
    assert waiter.is_waiting
    put(harness, 2)
    assert received(waiter) == [2]
    check_recovery(harness)


def test_a_message_that_dies_in_a_tick_serves_nobody(harness: Harness) -> None:
    put(harness, 1, delay_secs=5, ttl=1)
    waiter = consumer(harness)
    tick(harness, 6)
    assert (waiter.is_waiting, counts(harness)) == (True, (0, 0, 0, 1))


def test_who_is_gone_takes_nothing_along(harness: Harness) -> None:
    queue(harness)
    gone, stays = consumer(harness), consumer(harness)
    gone.wait.abandon()
    put(harness, 1)
    assert (gone.replies, received(stays)) == ([], [1])
    assert nobody_waits(harness)


def test_those_who_wait_count_as_consumers_by_name_or_each(harness: Harness) -> None:
    put(harness, 1)
    take(harness, consumer_id="ann")
    for name in ("ann", "bob", "bob", None, None):
        consumer(harness, consumer_id=name)
    assert stats(harness)["consumers"] == 4


def test_a_full_disk_is_told_to_who_has_waited(harness: Harness) -> None:
    put(harness, 1, delay_secs=1)
    waiter = consumer(harness)
    harness.log.failure = OSError(28, "No space left on device")
    tick(harness, 1)
    assert waiter.reply["error"]["code"] == "DISK_FULL"
    assert counts(harness) == (1, 0, 0, 0)


# Idempotency keys


def test_a_consume_sent_again_with_its_idempotency_key_gets_the_same_message(harness: Harness) -> None:
    put(harness, 1)
    put(harness, 2)
    request = {"command": "queue.consume", "payload": {"queue": "q"}, "idempotency_key": "k"}
    replies = [harness.send(request)["payload"] for _ in range(3)]
    assert replies == [replies[0]] * 3
    assert (replies[0]["message"], counts(harness)) == (1, (1, 0, 1, 0))
    check_recovery(harness)


def test_two_who_wait_under_one_idempotency_key_get_the_same_message(harness: Harness) -> None:
    queue(harness)
    body = json.dumps(
        {"command": "queue.consume", "payload": {"queue": "q", "timeout": 9}, "idempotency_key": "k"}
    ).encode()
    first, second = (blocked(lambda: harness.dispatcher.answer(body)) for _ in range(2))
    put(harness, 1)
    put(harness, 2)
    assert first.payload == second.payload
    assert (first.payload["message"], counts(harness)) == (1, (1, 0, 1, 0))
    check_recovery(harness)


def test_a_publish_sent_again_with_its_idempotency_key_adds_nothing(harness: Harness) -> None:
    request = {"command": "queue.publish", "payload": {"queue": "q", "message": 1}, "idempotency_key": "k"}
    first = harness.send(request)["payload"]
    take(harness)
    assert harness.send(request)["payload"] == first
    assert first["duplicate"] is False
    other = request | {"payload": {"queue": "q", "message": 2}}
    assert harness.send(other)["error"]["code"] == "IDEMPOTENCY_CONFLICT"
    assert counts(harness) == (0, 0, 1, 0)
    check_recovery(harness)
