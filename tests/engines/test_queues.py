"""Queues: publishing, order, leases, time, and what is told to those who wait."""

from __future__ import annotations

import math

import pytest

from synap.engines.arrivals import Arrivals
from synap.engines.queue_config import QueueConfig, RetryPolicy
from synap.engines.queue_duplicates import DEDUP_WINDOW_MS
from synap.engines.queue_holders import Lease
from synap.engines.queues import Queue, Queues
from tests.engines.queueing import LEASE_MS, NOW, Everything, at, bodies, lease, make, publish, reloaded


def test_a_message_is_delivered_as_it_was_published() -> None:
    _, queue = make()
    queue.publish(b"\xff\0", is_json=False, priority=7, headers=b'{"a": 1.10}', now=NOW)
    message = lease(queue, NOW + 5, "ann")
    assert (message.body, message.is_json, message.headers) == (b"\xff\0", False, b'{"a": 1.10}')
    assert (message.seq, message.priority, message.published_at) == (1, 7, NOW)
    assert (message.deliveries, message.retry_count) == (1, 0)
    assert (message.state, message.due, message.holder) == ("leased", NOW + 5 + LEASE_MS, "ann")


def test_ready_messages_come_by_priority_and_then_as_published() -> None:
    _, queue = make()
    for body, priority in [(b"a", 0), (b"b", 9), (b"c", 5), (b"d", 9), (b"e", 5)]:
        publish(queue, body, priority=priority)
    assert bodies(queue.peek(3)) == [b"b", b"d", b"c"]
    assert [queue.position(seq) for seq in range(1, 7)] == [5, 1, 3, 2, 4, None]
    assert bodies(queue.lease(10, NOW + LEASE_MS, None)) == [b"b", b"d", b"c", b"e", b"a"]
    assert queue.lease(1, NOW + LEASE_MS, None) == []


def test_a_message_that_comes_back_finds_its_old_place() -> None:
    _, queue = make()
    for body in (b"a", b"b", b"c"):
        publish(queue, body)
    first = lease(queue)
    lease(queue)
    assert queue.give_back(first, NOW, 0) == "requeued"
    assert bodies(queue.peek(9)) == [b"a", b"c"]


def test_an_acknowledged_message_is_gone() -> None:
    queues, queue = make()
    publish(queue)
    message = lease(queue)
    queue.ack(message)
    assert queue.leased(queue.message_id(message)) is None
    assert (queue.depth, queue.in_flight, queue.acked_total) == (0, 0, 1)
    assert queues.advance(NOW + LEASE_MS) == 0


def test_a_message_whose_lease_ran_out_comes_again() -> None:
    queues, queue = make()
    message_id = queue.message_id(publish(queue))
    deadline = lease(queue).due
    assert deadline == queues.next_due
    assert at(queues, deadline - 1).leased(message_id) is not None
    queue = at(queues, deadline)
    assert queue.leased(message_id) is None
    assert (lease(queue, deadline).retry_count, queue.consumed_total) == (1, 2)


def test_a_retry_waits_as_the_policy_says_from_the_deadline_on() -> None:
    queues, queue = make(retry=RetryPolicy(initial_secs=1))
    publish(queue)
    lease(queue)
    failed_at = NOW + LEASE_MS
    queue = at(queues, failed_at + 999)
    assert (queue.depth, queue.delayed) == (0, 1)
    again = lease(at(queues, failed_at + 1000), failed_at + 1000)
    queue.give_back(again, failed_at + 1000, None)
    assert (again.state, again.due) == ("delayed", failed_at + 1000 + 2000)


def test_a_delay_given_with_a_nack_goes_before_the_policy() -> None:
    _, queue = make(retry=RetryPolicy(initial_secs=1))
    message = publish(queue)
    queue.give_back(lease(queue), NOW, 7)
    assert message.due == NOW + 7


def test_an_extended_lease_runs_until_its_new_deadline() -> None:
    queues, queue = make()
    message = publish(queue)
    lease(queue)
    queue.extend(message, NOW + 2 * LEASE_MS)
    assert at(queues, NOW + 2 * LEASE_MS - 1).in_flight == 1
    assert at(queues, NOW + 2 * LEASE_MS).in_flight == 0


def test_a_lease_can_be_shortened_and_stretched_back() -> None:
    queues, queue = make()
    message = publish(queue)
    lease(queue)
    queue.extend(message, NOW + 5)
    queue.extend(message, NOW + LEASE_MS)
    assert at(queues, NOW + LEASE_MS - 1).in_flight == 1
    assert at(queues, NOW + LEASE_MS).depth == 1
    assert message.deliveries == 1


def test_a_delayed_message_is_ready_when_its_delay_is_over() -> None:
    queues, queue = make()
    message = publish(queue, delay_ms=10)
    assert (queue.depth, queue.delayed, queue.position(message.seq)) == (0, 1, None)
    assert at(queues, NOW + 9).depth == 0
    assert at(queues, NOW + 10).position(message.seq) == 1


def test_what_a_holder_has_in_flight_is_released_at_once() -> None:
    _, queue = make(retry=RetryPolicy(initial_secs=50))
    for body in (b"a", b"b", b"c"):
        publish(queue, body)
    for holder in ("ann", "bob", "ann"):
        lease(queue, holder=holder)
    assert (queue.in_flight_of("ann"), list(queue.holders())) == (2, ["ann", "bob"])
    assert queue.release("ann", NOW) == 2
    assert bodies(queue.peek(9)) == [b"a", b"c"]
    assert (queue.in_flight_of("ann"), list(queue.holders()), queue.nacked_total) == (0, ["bob"], 0)
    assert queue.release("ann", NOW) == 0


def test_a_duplicate_is_known_for_five_minutes_even_if_the_message_is_gone() -> None:
    queues, queue = make()
    publish(queue, b"x", dedup_id="order 1")
    queue.ack(lease(queue))
    assert DEDUP_WINDOW_MS == 300_000
    assert at(queues, NOW + DEDUP_WINDOW_MS - 1).duplicate_of("order 1", NOW + DEDUP_WINDOW_MS - 1) == ("msg_1_1", 1)
    assert at(queues, NOW + DEDUP_WINDOW_MS).duplicate_of("order 1", NOW + DEDUP_WINDOW_MS) is None
    assert queue.duplicate_of("order 2", NOW) is None
    assert queues.next_due == math.inf


def test_a_queue_is_full_of_ready_and_delayed_messages() -> None:
    _, queue = make(max_depth=2)
    publish(queue)
    assert queue.room == 1
    publish(queue, delay_ms=5)
    assert queue.room == 0
    leased = lease(queue)
    assert queue.room
    publish(queue)
    queue.give_back(leased, NOW, 0)
    assert (queue.depth, queue.delayed, queue.room) == (2, 1, 0)


def test_a_purge_leaves_what_is_in_flight() -> None:
    queues, queue = make()
    publish(queue, ttl_ms=5)
    lease(queue)
    publish(queue, delay_ms=5)
    publish(queue, ttl_ms=5, priority=9)
    assert queue.purge() == 2
    assert (queue.depth, queue.delayed, queue.in_flight) == (0, 0, 1)
    assert queues.advance(NOW + 100) == 0
    assert publish(queue, b"next").seq == 4


def test_the_oldest_ready_message_is_found_whatever_its_priority() -> None:
    _, queue = make()
    assert queue.oldest_ready_at() is None
    for now, priority in [(NOW, 5), (NOW + 1, 0), (NOW + 2, 9)]:
        publish(queue, now=now, priority=priority)
    queue.ack(lease(queue))
    queue.ack(lease(queue))
    assert queue.oldest_ready_at() == NOW + 1


@pytest.mark.parametrize(
    "other",
    ["", "msg_1_", "msg_1_2", "msg_2_1", "msg_1_01", "msg_1_+1", "msg_1_ 1", "msg_1_1 ", "msg_1_0x1", "MSG_1_1", "1"],
)
def test_a_message_answers_to_its_own_id_only(other: str) -> None:
    _, queue = make()
    publish(queue)
    lease(queue)
    assert queue.leased("msg_1_1") is not None
    assert queue.leased(other) is None


def test_an_id_is_never_used_again_even_by_a_queue_of_the_same_name() -> None:
    queues, queue = make()
    old = queue.message_id(publish(queue))
    queues.remove("q")
    queue = queues.create("q", QueueConfig())
    assert queue.message_id(publish(queue)) != old
    lease(queue)
    assert queue.leased(old) is None


def test_queues_are_listed_by_name() -> None:
    queues = Queues(Arrivals())
    for name in ("b", "é", "a"):
        queues.create(name, QueueConfig())
    queues.remove("b")
    assert queues.names() == ["a", "é"]
    assert queues.find("b", NOW) is None


def test_a_look_at_one_queue_leaves_the_others_as_they_are() -> None:
    queues, queue = make()
    other = queues.create("other", QueueConfig())
    for one in (queue, other):
        publish(one, delay_ms=5)
    assert at(queues, NOW + 5).depth == 1
    assert (other.depth, queues.next_due) == (0, NOW + 5)
    assert [queues.advance(NOW + 5), queues.advance(NOW + 5)] == [1, 0]
    assert (other.depth, queues.next_due) == (1, math.inf)


@pytest.mark.parametrize("limits", [[None], [1] * 4_000, [700] * 7])
def test_many_changes_at_once_come_out_as_one_after_the_other(limits: list[int | None]) -> None:
    queues, queue = make(max_retries=1, retry=RetryPolicy(initial_secs=0.002))
    for number in range(1_500):
        publish(queue, b"%d" % number, priority=number % 3, ttl_ms=1_000 + 7 * number if number % 5 else None)
        queue.lease(1, NOW + 100 + number % 13, None)
        if number % 4 == 0:
            publish(queue, b"late", delay_ms=50 + number % 11)
    twin = reloaded(queues)
    for limit in limits:
        twin.advance(NOW + 2_000, limit)
    found = at(queues, NOW + 2_000)
    assert (found.depth, found.in_flight, found.dlq_depth) == (at(twin, NOW + 2_000).depth, 0, found.dlq_depth)
    assert list(queues.canonical(NOW + 2_000)) == list(twin.canonical(NOW + 2_000))
    assert bodies(found.peek(5_000)) == bodies(at(twin, NOW + 2_000).peek(5_000))


def test_a_limited_advance_goes_on_where_it_stopped() -> None:
    queues, queue = make()
    for delay_ms in (3, 1, 2):
        publish(queue, delay_ms=delay_ms)
    assert [queues.advance(NOW + 5, 2), queues.next_due, queues.advance(NOW + 5, 2)] == [2, NOW + 3, 1]
    assert (queues.next_due, queue.depth) == (math.inf, 3)


def awaited() -> tuple[Arrivals, Queues, Queue]:
    arrivals = Arrivals()
    arrivals.awaited = Everything()
    queues = Queues(arrivals)
    return arrivals, queues, queues.create("q", QueueConfig(max_retries=1))


def arrived(arrivals: Arrivals) -> set[object]:
    topics = set(arrivals.arrived)
    arrivals.arrived.clear()
    return topics


def test_whoever_waits_for_a_message_is_told_when_one_becomes_ready() -> None:
    arrivals, queues, queue = awaited()
    publish(queue)
    assert arrived(arrivals) == {(Queue, "q")}
    lease(queue)
    publish(queue, delay_ms=10)
    assert arrived(arrivals) == set()
    queues.advance(NOW + 10)
    assert arrived(arrivals) == {(Queue, "q")}
    queues.advance(NOW + LEASE_MS)
    assert arrived(arrivals) == {(Queue, "q")}


@pytest.mark.parametrize("ending", ["ack", "give_back", "reject", "release", "run out", "remove"])
def test_whoever_waits_for_the_end_of_a_lease_is_told(ending: str) -> None:
    arrivals, queues, queue = awaited()
    publish(queue)
    message = lease(queue, holder="ann")
    arrived(arrivals)
    match ending:
        case "ack":
            queue.ack(message)
        case "give_back":
            queue.give_back(message, NOW, None)
        case "reject":
            queue.reject(message, NOW)
        case "release":
            queue.release("ann", NOW)
        case "run out":
            queues.advance(NOW + LEASE_MS)
        case "remove":
            queues.remove("q")
    assert arrived(arrivals) - {(Queue, "q")} == {(Lease, "q", "ann")}


def test_whoever_waits_is_told_that_the_queue_is_gone() -> None:
    arrivals, queues, _ = awaited()
    queues.remove("q")
    assert arrived(arrivals) == {(Queue, "q")}
