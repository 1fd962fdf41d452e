"""Many workers on one queue, some of them bad, on a server that is killed now and then: each message is done once."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import aiohttp
import pytest

from tests.durability.client import PATIENCE_SECS
from tests.durability.workers import (
    LEASE_SECS,
    QUEUE,
    REST_SECS,
    RETRIES_MAX,
    Caller,
    Place,
    Poller,
    Record,
    Subscriber,
    Worker,
    publish,
    until_done,
)

PUBLISHERS = 4
POLLERS = 10
PREFETCHES = [1, 1, 2, 3, 5, 8, 13, 20, 35, 50]
CONFIG = {
    "ack_deadline_secs": LEASE_SECS,
    "max_retries": RETRIES_MAX,
    "retry": {"strategy": "fixed", "initial_secs": REST_SECS},
}
PIECES = {"SYNAP_JOURNAL_SEGMENT_BYTES": "65536", "SYNAP_JOURNAL_SNAPSHOT_EVERY_BYTES": "65536"}
PAUSE_SECS = 0.1
"""Between what a publisher publishes while servers are killed, so that there is something to do all the time."""
soak = [pytest.mark.soak, pytest.mark.timeout(1200)]


async def _work(place: Place, rng: random.Random, count: int, kills: int = 0) -> Record:
    """Have `count` messages published and worked on while the server is killed; returns what the workers have seen."""
    record = Record()
    async with asyncio.timeout(PATIENCE_SECS + count / 100), aiohttp.ClientSession() as session:
        caller = Caller(place, session)
        chances = [random.Random(rng.random()) for _ in range(POLLERS + len(PREFETCHES))]
        workers: list[Worker] = [Poller(place, record, chances.pop(), session) for _ in range(POLLERS)]
        workers += [Subscriber(place, record, chances.pop(), session, prefetch) for prefetch in PREFETCHES]
        shares = [range(number, count, PUBLISHERS) for number in range(PUBLISHERS)]
        async with place.serving():
            await caller.call("queue.create", queue=QUEUE, config=CONFIG)
            async with asyncio.TaskGroup() as group:
                for share in shares:
                    group.create_task(publish(place, record, share, PAUSE_SECS if kills else 0))
                for worker in workers:
                    group.create_task(worker.run())
                await place.suffer(kills, rng)
                stats = await until_done(caller, record, count)
                dead = (await caller.call("queue.dlq", queue=QUEUE, count=10_000))["messages"]
                await place.end()
    record.check(place.killed_at)
    record.check_end(stats, dead)
    return record


@pytest.mark.parametrize("count", [5_000, pytest.param(50_000, marks=soak)])
async def test_every_message_is_worked_on_once_whatever_the_workers_do(
    tmp_path: Path, rng: random.Random, count: int
) -> None:
    record = await _work(Place(tmp_path / "data"), rng, count)
    assert len(record.all) > count


@pytest.mark.parametrize("fsync", ["everysec", "always"])
@pytest.mark.parametrize(("count", "kills"), [(2_500, 3), pytest.param(40_000, 40, marks=soak)])
async def test_every_message_is_worked_on_once_across_kill_9(
    tmp_path: Path, rng: random.Random, count: int, kills: int, fsync: str
) -> None:
    place = Place(tmp_path / "data", "--fsync", fsync, env=PIECES)
    await _work(place, rng, count, kills)
    assert len(place.killed_at) == kills
