"""Group commit: who is told what when, and what happens when the disk refuses."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from synap.errors import DiskFull
from synap.journal import SYNCED, WRITTEN
from synap.journal import committer as committer_module
from synap.journal.committer import Committer, Fsync
from tests.journal.committing import PATIENCE_SECS, Bench, Client, Gate, local
from tests.journal.echo import Disk, append, assert_goes_on, recovered, write


class Pipeline:
    """Sends the answers of several records in their order, as a connection with pipelined requests does."""

    def __init__(self, committer: Committer) -> None:
        self.answered: list[int] = []
        self._committer = committer
        self._owed: list[int] = []

    def expect(self, lsn: int) -> None:
        self._owed.append(lsn)
        self._committer.join(self)

    def advance(self) -> None:
        while self._owed and self._owed[0] <= self._committer.reached[SYNCED]:
            self.answered.append(self._owed.pop(0))
        if self._owed:
            self._committer.wait_for(self, SYNCED, self._owed[0])


@pytest.fixture
def broken_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fdatasync", failing)


async def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECS
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


# Written


async def test_a_waiter_is_told_at_the_end_of_the_tick_and_not_before_the_write(bench: Bench) -> None:
    committer = bench.start(Fsync.NEVER)
    append(bench.journal, 1)
    client = Client(committer, WRITTEN, 1)
    assert client.told == []
    await asyncio.sleep(0)
    assert client.told == [(1, 0)]
    assert client.answered
    assert bench.journal.written_lsn == 1


async def test_everything_one_tick_appended_is_written_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    real_write = os.write

    def counting(fd: int, data: bytes) -> int:
        writes.append(len(data))
        return real_write(fd, data)

    committer = bench.start(Fsync.NEVER)
    monkeypatch.setattr(os, "write", counting)
    clients = []
    for lsn in range(1, 6):
        append(bench.journal, lsn)
        clients.append(Client(committer, WRITTEN, lsn))
    await asyncio.sleep(0)
    assert len(writes) == 1
    assert all(client.told == [(5, 0)] for client in clients)


async def test_a_waiter_for_what_is_written_already_is_told_without_a_write(bench: Bench) -> None:
    write(bench.journal, 3)
    committer = bench.start(Fsync.NEVER)
    client = Client(committer, WRITTEN, 3)
    await asyncio.sleep(0)
    assert client.answered


async def test_records_that_nobody_waits_for_are_written_at_the_end_of_the_tick(bench: Bench) -> None:
    committer = bench.start(Fsync.NEVER)
    append(bench.journal, 2)
    committer.schedule()
    await asyncio.sleep(0)
    assert bench.journal.written_lsn == 2


async def test_the_end_of_every_tick_that_executed_something_is_announced_once(bench: Bench) -> None:
    committer = bench.start(Fsync.NEVER)
    for lsn in (1, 2):
        append(bench.journal, lsn)
        Client(committer, WRITTEN, lsn)
    committer.schedule()
    await asyncio.sleep(0)
    assert bench.ticks == 1


async def test_reach_returns_once_the_record_is_there(bench: Bench) -> None:
    committer = bench.start(Fsync.NEVER)
    append(bench.journal, 1)
    await committer.reach(WRITTEN, 1)
    assert committer.reached[WRITTEN] == 1


async def test_giving_up_on_reach_disturbs_nobody(bench: Bench) -> None:
    committer = bench.start(Fsync.NEVER)
    append(bench.journal, 1)
    given_up = asyncio.create_task(committer.reach(WRITTEN, 1))
    await asyncio.sleep(0)
    given_up.cancel()
    await committer.reach(WRITTEN, 1)
    assert given_up.cancelled() or given_up.done()


# Synced


async def test_a_waiter_for_a_sync_is_answered_only_after_it(bench: Bench, gate: Gate) -> None:
    committer = bench.start(Fsync.ALWAYS)
    append(bench.journal, 1)
    client = Client(committer, SYNCED, 1)
    await _until(lambda: gate.syncs)
    assert client.told == [(1, 0)]
    assert not client.answered
    gate.is_open.set()
    await _until(lambda: client.answered)
    assert client.told == [(1, 0), (1, 1)]


async def test_what_is_written_during_a_sync_is_covered_by_the_next(bench: Bench, gate: Gate) -> None:
    committer = bench.start(Fsync.ALWAYS)
    append(bench.journal, 1)
    first = Client(committer, SYNCED, 1)
    await _until(lambda: gate.syncs)
    append(bench.journal, 2)
    second = Client(committer, SYNCED, 2)
    await asyncio.sleep(0)
    assert gate.syncs == 1
    gate.is_open.set()
    await _until(lambda: second.answered)
    assert first.answered
    assert (1, 2) not in first.told
    assert gate.syncs == 2


async def test_a_request_that_comes_while_a_sync_ends_does_not_stop_the_others(bench: Bench, gate: Gate) -> None:
    """The sync is done, the new record not yet written: nobody may be waiting for a sync of it already."""
    committer = bench.start(Fsync.ALWAYS)
    pipeline = Pipeline(committer)
    append(bench.journal, 1)
    pipeline.expect(1)
    other = Client(committer, SYNCED, 1)
    await _until(lambda: gate.syncs)
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
    gate.is_open.set()
    time.sleep(0.02)  # The loop stands still while the thread finishes, and then has not told the committer yet.
    await asyncio.sleep(0)
    assert committer.reached == local(1, 0)
    append(bench.journal, 2)
    pipeline.expect(2)
    await _until(lambda: pipeline.answered == [1, 2])
    await _until(lambda: other.answered)
    assert failures == []


async def test_every_record_of_an_endless_pipeline_is_answered_in_order(bench: Bench) -> None:
    committer = bench.start(Fsync.ALWAYS)
    pipelines = [Pipeline(committer) for _ in range(4)]
    expected: list[list[int]] = [[] for _ in pipelines]
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failures.append(context))
    for lsn in range(1, 401):
        append(bench.journal, lsn)
        pipelines[lsn % 4].expect(lsn)
        expected[lsn % 4].append(lsn)
        await asyncio.sleep(0)
    await _until(lambda: [pipeline.answered for pipeline in pipelines] == expected)
    assert failures == []


async def test_always_syncs_what_nobody_waits_for(bench: Bench) -> None:
    committer = bench.start(Fsync.ALWAYS)
    append(bench.journal, 1)
    committer.schedule()
    await _until(lambda: bench.journal.synced_lsn == 1)


async def test_everysec_syncs_by_itself_from_time_to_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "EVERYSEC_INTERVAL_SECS", 0.01)
    committer = bench.start(Fsync.EVERYSEC)
    for lsn in (1, 2, 3):
        append(bench.journal, lsn)
        committer.schedule()
        await _until(lambda: bench.journal.synced_lsn == bench.journal.last_lsn)
    assert committer.reached == local(3, 3)


async def test_everysec_does_not_sync_at_every_write(bench: Bench, gate: Gate) -> None:
    committer = bench.start(Fsync.EVERYSEC)
    for lsn in range(1, 6):
        append(bench.journal, lsn)
        await committer.reach(WRITTEN, lsn)
    assert gate.syncs == 0


async def test_never_syncs_only_for_those_who_ask(bench: Bench) -> None:
    committer = bench.start(Fsync.NEVER)
    append(bench.journal, 1)
    await committer.reach(WRITTEN, 1)
    await asyncio.sleep(0.02)
    assert committer.reached == local(1, 0)
    append(bench.journal, 2)
    await committer.reach(SYNCED, 2)
    assert committer.reached == local(2, 2)


async def test_what_recovery_found_counts_as_written_and_is_synced_at_once(bench: Bench, gate: Gate) -> None:
    write(bench.journal, 3)
    committer = bench.start(Fsync.NEVER)
    assert committer.reached == local(3, 0)
    gate.is_open.set()
    await committer.reach(SYNCED, 3)
    assert committer.reached == local(3, 3)


async def test_whoever_has_what_is_written_and_synced_is_told(bench: Bench) -> None:
    committer = bench.start(Fsync.NEVER)
    ends: list[tuple[int, int]] = []
    committer.on_progress = lambda: ends.append((committer.reached[WRITTEN], committer.reached[SYNCED]))
    append(bench.journal, 1)
    await committer.reach(SYNCED, 1)
    assert ends == [(1, 0), (1, 1)]


# A disk that refuses


async def test_waiters_of_refused_records_are_told_and_those_of_written_ones_are_answered(
    bench: Bench, disk: Disk
) -> None:
    committer = bench.start(Fsync.NEVER)
    append(bench.journal, 1)
    await committer.reach(WRITTEN, 1)
    disk.free_bytes = 0
    append(bench.journal, 2)
    with pytest.raises(DiskFull, match="No space left on device"):
        await committer.reach(WRITTEN, 2)
    assert committer.refusal(WRITTEN, 2) is not None
    assert committer.refusal(WRITTEN, 1) is None
    await committer.reach(WRITTEN, 1)
    await committer.reach(SYNCED, 1)
    assert committer.reached == local(1, 1)
    disk.free_bytes = None


async def test_writing_is_tried_again_until_the_disk_takes_everything(
    bench: Bench, disk: Disk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "synap.journal")
    committer = bench.start(Fsync.NEVER)
    disk.free_bytes = 10
    append(bench.journal, 2)
    with pytest.raises(DiskFull):
        await committer.reach(WRITTEN, 2)
    disk.free_bytes = None
    await _until(lambda: bench.journal.failure is None)
    assert committer.reached[WRITTEN] == 2
    assert committer.refusal(WRITTEN, 2) is None
    append(bench.journal, 3)
    await committer.reach(WRITTEN, 3)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2, "told once when it begins and once when it ends"
    assert "writes are refused: [Errno 28] No space left on device" in messages[0]
    assert messages[1] == "the journal takes writes again"
    await bench.close()
    assert_goes_on(tmp_path, 3)


async def test_closing_while_the_disk_refuses_says_so(bench: Bench, disk: Disk) -> None:
    bench.start(Fsync.NEVER)
    disk.free_bytes = 0
    append(bench.journal, 1)
    with pytest.raises(OSError, match="No space left"):
        await bench.close()


@pytest.mark.usefixtures("broken_fsync")
async def test_after_a_failed_sync_the_journal_is_broken_and_every_later_write_is_refused(
    bench: Bench, tmp_path: Path
) -> None:
    committer = bench.start(Fsync.ALWAYS)
    append(bench.journal, 1)
    with pytest.raises(DiskFull, match="Input/output error"):
        await committer.reach(SYNCED, 1)
    assert bench.journal.broken
    append(bench.journal, 2)
    with pytest.raises(DiskFull, match="Input/output error"):
        await committer.reach(WRITTEN, 2)
    assert committer.reached == local(1, 0)
    assert recovered(tmp_path)[1].lsn == 1


@pytest.mark.usefixtures("broken_fsync")
async def test_a_failed_sync_does_not_take_back_what_was_acknowledged_as_written(bench: Bench) -> None:
    committer = bench.start(Fsync.EVERYSEC)
    append(bench.journal, 1)
    await committer.reach(WRITTEN, 1)
    with pytest.raises(DiskFull):
        await committer.reach(SYNCED, 1)
    await committer.reach(WRITTEN, 1)


# Closing


async def test_closing_writes_and_syncs_everything(bench: Bench, tmp_path: Path) -> None:
    bench.start(Fsync.NEVER)
    append(bench.journal, 5)
    await bench.close()
    assert bench.journal.synced_lsn == 5
    assert_goes_on(tmp_path, 5)


async def test_closing_waits_for_a_running_sync(bench: Bench, gate: Gate) -> None:
    committer = bench.start(Fsync.ALWAYS)
    append(bench.journal, 1)
    client = Client(committer, SYNCED, 1)
    await _until(lambda: gate.syncs)
    closing = asyncio.create_task(bench.close())
    await asyncio.sleep(0.01)
    assert not closing.done()
    gate.is_open.set()
    await closing
    assert client.answered
    assert bench.journal.synced_lsn == 1
