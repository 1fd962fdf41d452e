"""Group commit with replicas: who waits for them, until when, and what they are told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from synap.errors import AckTimeout, DiskFull
from synap.journal import REPLICAS_MAX, REPLICATED, SYNCED, WRITTEN
from synap.journal.committer import Fsync
from tests.journal.committing import Bench, Client, Gate, LoopTime, local
from tests.journal.echo import Disk, append, assert_goes_on, recovered

TWO_REPLICAS = REPLICATED + 1


def confirmed(*lsns: int) -> list[int]:
    """What 1, 2, ... replicas have."""
    return [*lsns, *[0] * (REPLICAS_MAX - len(lsns))]


async def test_a_waiter_for_replicas_is_answered_when_so_many_have_its_record(bench: Bench) -> None:
    committer = bench.start(Fsync.NEVER)
    append(bench.journal, 1)
    one, two = Client(committer, REPLICATED, 1), Client(committer, TWO_REPLICAS, 1)
    await asyncio.sleep(0)
    assert not one.answered
    committer.replicated(confirmed(1))
    assert (one.answered, two.answered) == (True, False)
    committer.replicated(confirmed(1, 1))
    assert (two.answered, two.refusal) == (True, None)


async def test_a_replica_that_has_less_frees_nobody(bench: Bench) -> None:
    committer = bench.start(Fsync.NEVER)
    append(bench.journal, 2)
    client = Client(committer, REPLICATED, 2)
    await asyncio.sleep(0)
    told = len(client.told)
    committer.replicated(confirmed(1))
    assert (client.answered, len(client.told)) == (False, told)


async def test_waiting_for_replicas_forces_nothing_to_disk(bench: Bench, gate: Gate) -> None:
    committer = bench.start(Fsync.NEVER)
    append(bench.journal, 1)
    client = Client(committer, REPLICATED, 1)
    await asyncio.sleep(0.02)
    committer.replicated(confirmed(1))
    assert (client.answered, gate.syncs) == (True, 0)


async def test_who_has_waited_for_replicas_too_long_is_told_how_many_have_it(bench: Bench, loop_time: LoopTime) -> None:
    committer = bench.start(Fsync.NEVER, ack_timeout_secs=5.0)
    append(bench.journal, 1)
    client = Client(committer, TWO_REPLICAS, 1)
    await asyncio.sleep(0.001)
    committer.replicated(confirmed(1))
    await loop_time.advance(4.7)
    assert not client.answered
    await loop_time.advance(0.6)
    assert isinstance(client.refusal, AckTimeout)
    assert client.refusal.details == {"lsn": 1, "wanted": 2, "confirmed": 1}
    assert committer.reached[WRITTEN] == 1


async def test_what_was_written_later_has_its_own_time(bench: Bench, loop_time: LoopTime) -> None:
    committer = bench.start(Fsync.NEVER, ack_timeout_secs=5.0)
    append(bench.journal, 1)
    first = Client(committer, REPLICATED, 1)
    await loop_time.advance(3.0)
    append(bench.journal, 2)
    second = Client(committer, REPLICATED, 2)
    await loop_time.advance(2.5)
    assert (first.answered, second.answered) == (True, False)
    assert committer.refusal(REPLICATED, 2) is None
    committer.replicated(confirmed(2))
    assert (second.answered, second.refusal) == (True, None)


async def test_whoever_comes_after_a_quiet_time_waits_as_long_as_any(bench: Bench, loop_time: LoopTime) -> None:
    committer = bench.start(Fsync.NEVER, ack_timeout_secs=5.0)
    append(bench.journal, 1)
    Client(committer, REPLICATED, 1)
    await asyncio.sleep(0.001)
    committer.replicated(confirmed(1))
    await loop_time.advance(60.0)
    append(bench.journal, 2)
    client = Client(committer, REPLICATED, 2)
    await loop_time.advance(4.5)
    assert not client.answered
    await loop_time.advance(1.0)
    assert isinstance(client.refusal, AckTimeout)


async def test_without_a_timeout_replicas_are_waited_for_without_end(bench: Bench, loop_time: LoopTime) -> None:
    committer = bench.start(Fsync.NEVER)
    append(bench.journal, 1)
    client = Client(committer, REPLICATED, 1)
    await loop_time.advance(20.0)
    assert not client.answered


async def test_giving_up_replicas_answers_all_who_wait_at_once_and_those_who_come_later(bench: Bench) -> None:
    committer = bench.start(Fsync.NEVER, ack_timeout_secs=5.0)
    append(bench.journal, 1)
    waiting = [Client(committer, level, 1) for level in (REPLICATED, TWO_REPLICAS)]
    await asyncio.sleep(0)
    committer.give_up_replicas()
    assert all(isinstance(client.refusal, AckTimeout) for client in waiting)
    late = Client(committer, REPLICATED, 1)
    await asyncio.sleep(0)
    assert isinstance(late.refusal, AckTimeout)
    local_only = Client(committer, WRITTEN, 1)
    await asyncio.sleep(0)
    assert (local_only.answered, local_only.refusal) == (True, None)


async def test_a_new_master_waits_for_its_own_replicas_anew(bench: Bench) -> None:
    committer = bench.start(Fsync.NEVER, ack_timeout_secs=5.0)
    append(bench.journal, 1)
    Client(committer, REPLICATED, 1)
    await asyncio.sleep(0)
    committer.replicated(confirmed(1, 1))
    committer.give_up_replicas()
    committer.expect_replicas()
    assert committer.reached == local(1, 0)
    again = Client(committer, REPLICATED, 1)
    await asyncio.sleep(0)
    assert not again.answered
    committer.replicated(confirmed(1))
    assert (again.answered, again.refusal) == (True, None)


async def test_a_write_that_the_disk_refuses_is_a_full_disk_whatever_replicas_say(bench: Bench, disk: Disk) -> None:
    committer = bench.start(Fsync.NEVER, ack_timeout_secs=5.0)
    disk.free_bytes = 0
    append(bench.journal, 1)
    with pytest.raises(DiskFull):
        await committer.reach(REPLICATED, 1)
    committer.give_up_replicas()
    assert isinstance(committer.refusal(REPLICATED, 1), DiskFull)
    disk.free_bytes = None


async def test_a_journal_that_was_suspended_goes_on(bench: Bench, tmp_path: Path) -> None:
    committer = bench.start(Fsync.ALWAYS, ack_timeout_secs=5.0)
    append(bench.journal, 1)
    Client(committer, REPLICATED, 1)
    await asyncio.sleep(0)
    committer.replicated(confirmed(1))
    await committer.suspend()
    assert_goes_on(tmp_path, 1)
    bench.journal.open(recovered(tmp_path)[1].lsn, continues=True)
    committer.start()
    assert committer.reached[REPLICATED] == 0
    append(bench.journal, bench.journal.last_lsn + 1)
    await committer.reach(SYNCED, bench.journal.last_lsn)
