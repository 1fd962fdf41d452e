"""What queues take in memory, and how a snapshot brings them back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from synap.engines import chunks as module
from synap.engines.arrivals import Arrivals
from synap.engines.queue_config import QueueConfig, RetryPolicy
from synap.engines.queue_duplicates import DEDUP_WINDOW_MS
from synap.engines.queues import Queues
from tests.engines.queue_growth import STATM
from tests.engines.queueing import LEASE_MS, NOW, at, lease, make, publish, reloaded

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not STATM.exists(), reason="the system does not tell a process its size")
@pytest.mark.parametrize("kind", ["plain", "headers", "delayed", "leased", "held", "dying", "deduplicated"])
def test_counted_memory_is_within_a_fifth_of_the_growth_of_the_process(kind: str) -> None:
    command = [sys.executable, "-m", "tests.engines.queue_growth", kind, "60000"]
    sizes = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    assert 0.8 <= sizes["counted"] / sizes["grown"] <= 1.2, sizes


def busy() -> Queues:
    """Queues with a message in every state."""
    queues, queue = make(max_retries=1, retry=RetryPolicy(initial_secs=1), message_ttl_secs=3600)
    queues.create("removed", QueueConfig())
    queues.create("p", QueueConfig(max_depth=5))
    queues.remove("removed")
    for body in (b"dead", b"leased", b"held", b"resting"):
        publish(queue, body, dedup_id=f"id of {body.decode()}", headers=b'{"a":1}')
    queue.reject(lease(queue), NOW)
    lease(queue)
    lease(queue, holder="ann")
    queue.give_back(lease(queue), NOW, None)
    publish(queue, b"ready", priority=9)
    publish(queue, b"late", delay_ms=10_000)
    queue.ack(lease(queue, NOW))
    publish(queue, b"ready too", priority=0)
    return queues


def test_memory_is_all_given_back_with_the_queues() -> None:
    queues = busy()
    assert queues.used_bytes > 7 * 250
    for name in queues.names():
        queues.remove(name)
    assert queues.used_bytes == Queues(Arrivals()).used_bytes


def test_memory_is_all_given_back_by_messages_that_are_done() -> None:
    queues, queue = make()
    publish(queue)
    queue.ack(lease(queue))
    queues.advance(NOW + LEASE_MS)
    before = queues.used_bytes
    for number in range(100):
        publish(queue, b"x" * 1000, headers=b'{"a":1}', dedup_id=str(number), ttl_ms=1000)
        message = lease(queue, holder=f"consumer {number}")
        if number % 2:
            queue.ack(message)
        else:
            queue.reject(message, NOW)
    queue.purge_dead()
    queues.advance(NOW + DEDUP_WINDOW_MS)
    assert queues.used_bytes - before < 1_000


def test_leases_that_were_acknowledged_do_not_pile_up() -> None:
    queues, queue = make()
    publish(queue, priority=9)
    lease(queue)
    for _ in range(10_000):
        publish(queue)
        message = lease(queue)
        queue.extend(message, NOW + 5)
        queue.extend(message, NOW + LEASE_MS)
        queue.ack(message)
    assert queues.used_bytes < 300_000


def test_queues_loaded_from_a_snapshot_are_the_same_and_go_on_alike() -> None:
    for later in (NOW, NOW + 1000, NOW + LEASE_MS, NOW + DEDUP_WINDOW_MS, NOW + 10**8):
        queues = busy()
        loaded = reloaded(queues)
        assert list(loaded.canonical(later)) == list(queues.canonical(later))
        assert loaded.next_due >= queues.next_due
        queue, other = at(queues, later), at(loaded, later)
        assert publish(queue, now=later).seq == publish(other, now=later).seq
        assert queues.create("new", QueueConfig()).serial == loaded.create("new", QueueConfig()).serial
        assert other.release("ann", later) == queue.release("ann", later)
        assert list(loaded.canonical(later)) == list(queues.canonical(later))


def test_the_state_does_not_depend_on_how_often_time_was_let_pass() -> None:
    often, once = busy(), busy()
    for now in range(NOW, NOW + 2 * DEDUP_WINDOW_MS, 999):
        often.advance(now, 1)
    assert list(often.canonical(NOW + 10**7)) == list(once.canonical(NOW + 10**7))


def test_a_chunk_has_no_more_rows_than_asked_for_and_ends_early_when_bodies_are_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queues, queue = make()
    for _ in range(10):
        publish(queue, b"x" * 1000)
    assert [len(rows) for rows in queues.dump(5)] == [5, 5, 2]
    monkeypatch.setattr(module, "CHUNK_BYTES", 2_000)
    assert [len(rows) for rows in queues.dump(100)] == [4, 2, 2, 2, 2]


def test_rows_of_a_later_version_are_refused() -> None:
    with pytest.raises(LookupError, match="knows no rows of kind 'shard'"):
        Queues(Arrivals()).load([("shard", 1)])
