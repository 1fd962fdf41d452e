"""How messages of a queue die: too many failed deliveries, time to live, rejection. And what becomes of them."""

from __future__ import annotations

import json
import math

import pytest

from synap.engines.queue_config import QueueConfig, RetryPolicy
from tests.engines.queueing import LEASE_MS, NOW, at, bodies, fail, lease, make, publish


@pytest.mark.parametrize("max_retries", [1, 2, 5])
def test_a_message_is_delivered_once_and_then_retried_as_often_as_allowed(max_retries: int) -> None:
    _, queue = make(max_retries=max_retries)
    publish(queue)
    assert fail(queue, max_retries) == "requeued"
    assert fail(queue, 1) == "dead_lettered"
    (dead,) = queue.dead_letters(9)
    assert (dead.deliveries, dead.retry_count) == (max_retries + 1, max_retries)
    assert json.loads(dead.headers) == {"x-death-reason": "delivery_limit", "x-death-at": NOW}
    assert (queue.depth, queue.in_flight, queue.dlq_depth, queue.dead_lettered_total) == (0, 0, 1, 1)


def test_without_a_limit_a_message_comes_for_ever() -> None:
    _, queue = make(max_retries=0)
    publish(queue)
    assert fail(queue, 100) == "requeued"
    assert lease(queue).retry_count == 100


def test_a_message_dies_at_its_last_deadline_not_when_somebody_looks() -> None:
    queues, queue = make(max_retries=1, retry=RetryPolicy(initial_secs=1))
    publish(queue)
    lease(queue)
    again_at = NOW + LEASE_MS + 1000
    lease(at(queues, again_at), again_at)
    (dead,) = at(queues, again_at + 10 * LEASE_MS).dead_letters(9)
    assert json.loads(dead.headers)["x-death-at"] == again_at + LEASE_MS


def test_a_holder_that_goes_is_a_failed_delivery() -> None:
    _, queue = make(max_retries=1)
    publish(queue)
    lease(queue, holder="ann")
    queue.release("ann", NOW)
    lease(queue, holder="ann")
    assert queue.release("ann", NOW) == 1
    assert (queue.depth, queue.dlq_depth) == (0, 1)


def test_what_a_holder_lets_die_at_once_dies_in_the_order_it_was_published() -> None:
    _, queue = make(max_retries=1)
    for body in (b"a", b"b", b"c"):
        publish(queue, body)
    queue.lease(3, NOW + LEASE_MS, "ann")
    queue.release("ann", NOW)
    queue.lease(3, NOW + LEASE_MS, "ann")
    assert queue.release("ann", NOW) == 3
    assert bodies(queue.dead_letters(9)) == [b"a", b"b", b"c"]


def test_where_no_dead_letters_are_kept_a_message_is_dropped() -> None:
    queues, queue = make(max_retries=1, dead_letter=False)
    publish(queue)
    assert fail(queue, 2) == "dropped"
    publish(queue)
    assert queue.reject(lease(queue), NOW) == "dropped"
    publish(queue, ttl_ms=5)
    queues.advance(NOW + 5)
    assert (queue.depth, queue.dlq_depth, queue.dead_lettered_total) == (0, 0, 0)


def test_a_rejected_message_is_not_delivered_again() -> None:
    _, queue = make()
    publish(queue, headers=b'{"a":1}')
    assert queue.reject(lease(queue), NOW + 3) == "dead_lettered"
    assert queue.dead_letters(1)[0].headers == b'{"a":1,"x-death-reason":"rejected","x-death-at":%d}' % (NOW + 3)
    assert queue.nacked_total == 1


def test_a_ready_message_dies_when_its_time_to_live_is_over() -> None:
    queues, queue = make()
    message = publish(queue, ttl_ms=10)
    assert at(queues, NOW + 9).depth == 1
    queue = at(queues, NOW + 100)
    assert (queue.depth, queue.dead_letters(9)) == (0, [message])
    assert json.loads(message.headers) == {"x-death-reason": "expired", "x-death-at": NOW + 10}


def test_the_time_to_live_counts_from_the_end_of_the_delay() -> None:
    queues, queue = make(message_ttl_secs=0.01)
    assert publish(queue, delay_ms=5).expires_at == NOW + 15
    assert publish(queue, ttl_ms=3).expires_at == NOW + 3
    assert at(queues, NOW + 14).depth == 1
    assert at(queues, NOW + 15).depth == 0


def test_a_message_does_not_die_while_it_is_leased() -> None:
    queues, queue = make()
    message = publish(queue, ttl_ms=10)
    lease(queue)
    assert at(queues, NOW + 20).leased("msg_1_1") is message
    assert queue.give_back(message, NOW + 20, 0) == "dead_lettered"
    assert json.loads(message.headers) == {"x-death-reason": "expired", "x-death-at": NOW + 20}


def test_a_message_acknowledged_after_its_time_to_live_is_done() -> None:
    queues, queue = make()
    message = publish(queue, ttl_ms=10)
    lease(queue)
    at(queues, NOW + 20).ack(message)
    assert (queue.acked_total, queue.dlq_depth, queues.next_due) == (1, 0, math.inf)


def test_expiry_goes_before_the_limit_of_deliveries() -> None:
    queues, queue = make(max_retries=1)
    publish(queue, ttl_ms=LEASE_MS)
    fail(queue, 1)
    lease(queue)
    (dead,) = at(queues, NOW + LEASE_MS).dead_letters(1)
    assert json.loads(dead.headers)["x-death-reason"] == "expired"


def test_a_message_that_rests_before_a_retry_can_expire() -> None:
    queues, queue = make(retry=RetryPolicy(initial_secs=1))
    message = publish(queue, ttl_ms=500)
    assert queue.give_back(lease(queue), NOW, None) == "requeued"
    at(queues, NOW + 2000)
    assert json.loads(message.headers) == {"x-death-reason": "expired", "x-death-at": NOW + 500}


def test_dead_letters_stand_in_the_order_of_their_death() -> None:
    queues, queue = make()
    for body, ttl_ms in [(b"a", 30), (b"b", 10), (b"c", 20)]:
        publish(queue, body, ttl_ms=ttl_ms)
    queues.advance(NOW + 100)
    assert bodies(queue.dead_letters(9)) == [b"b", b"c", b"a"]
    assert bodies(queue.dead_letters(2)) == [b"b", b"c"]


def test_a_dead_letter_is_found_by_the_id_the_message_had() -> None:
    _, queue = make()
    message_id = queue.message_id(publish(queue))
    dead = lease(queue)
    assert queue.dead_letter(message_id) is None
    queue.reject(dead, NOW)
    assert queue.dead_letter(message_id) is dead
    assert queue.dead_letter("msg_1_9") is None
    assert queue.leased(message_id) is None


def test_a_replayed_message_is_new_but_tells_how_it_died() -> None:
    queues, queue = make(message_ttl_secs=0.01)
    publish(queue, b"x", priority=8, headers=b'{"a":1}')
    queue.reject(lease(queue), NOW)
    later = NOW + 50
    message = queue.replay(queue.dead_letters(1)[0], later)
    assert (message.seq, message.body, message.priority, message.deliveries) == (2, b"x", 8, 0)
    assert (message.published_at, message.expires_at, message.state) == (later, later + 10, "ready")
    assert message.headers == b'{"a":1,"x-death-reason":"rejected","x-death-at":%d}' % NOW
    assert (queue.dlq_depth, queue.published_total) == (0, 1)
    queue = at(queues, later + 10)
    assert queue.dead_letters(1)[0].headers == b'{"a":1,"x-death-reason":"expired","x-death-at":%d}' % (later + 10)


def test_dead_letters_can_be_purged() -> None:
    _, queue = make()
    for _ in range(3):
        publish(queue)
        queue.reject(lease(queue), NOW)
    assert (queue.purge_dead(), queue.dlq_depth, queue.purge_dead()) == (3, 0, 0)
    assert queue.dead_lettered_total == 3


def test_a_changed_configuration_holds_for_what_happens_from_then_on() -> None:
    queues, queue = make(max_retries=1)
    publish(queue)
    lease(queue)
    at(queues, NOW + LEASE_MS - 1).config = QueueConfig(max_retries=2, retry=RetryPolicy(initial_secs=1))
    queue = at(queues, NOW + LEASE_MS)
    assert (queue.depth, queue.delayed) == (0, 1)
    queue = at(queues, NOW + LEASE_MS + 1000)
    assert fail(queue, 1, NOW + LEASE_MS + 1000) == "requeued"


def test_every_rule_holds_for_a_message_that_lives_through_all_of_them() -> None:
    queues, queue = make(max_retries=2, retry=RetryPolicy(initial_secs=1, multiplier=3))
    message = publish(queue, delay_ms=100, ttl_ms=10**6, dedup_id="once")
    lease(at(queues, NOW + 100), NOW + 100)
    queue.extend(message, NOW + 500)
    assert at(queues, NOW + 1499).delayed == 1
    lease(at(queues, NOW + 1500), NOW + 1500)
    assert queue.give_back(message, NOW + 1600, None) == "requeued"
    assert message.due == NOW + 1600 + 3000
    lease(at(queues, NOW + 4600), NOW + 4600)
    assert (message.retry_count, queue.duplicate_of("once", NOW + 4600)) == (2, ("msg_1_1", 1))
    assert queue.give_back(message, NOW + 4700, 0) == "dead_lettered"
    assert json.loads(message.headers) == {"x-death-reason": "delivery_limit", "x-death-at": NOW + 4700}
    assert queue.duplicate_of("once", NOW + 4700) == ("msg_1_1", 1)
