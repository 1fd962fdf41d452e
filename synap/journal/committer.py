"""Group commit: everything one tick of the event loop executed is written in one go, then its replies leave.

A transport that has executed a request calls `join(waiter)`; at the end of the tick the journal is flushed
and every waiter is told to `advance`. It then sends what `reached` allows and, for replies that need an
fsync, joins the line for that with `join_sync`. Fsyncs run in a thread, one at a time; what is written
while one runs is covered by the next.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Protocol

from synap.errors import DiskFull
from synap.journal.log import FileJournal
from synap.journal.record import Lsn

log = logging.getLogger("synap.journal")

EVERYSEC_INTERVAL_SECS = 1.0
RETRY_INTERVAL_SECS = 0.1


class Fsync(Enum):
    """When the journal is forced to disk."""

    ALWAYS = "always"
    EVERYSEC = "everysec"
    NEVER = "never"


class Waiter(Protocol):
    """Somebody with replies to send."""

    def advance(self) -> None:
        """The journal has moved on, or has failed: send what may leave and wait again for the rest."""


class Committer:
    """Drives one journal on one event loop. `reached[ack]` is the last LSN that is written, synced."""

    def __init__(self, journal: FileJournal, fsync: Fsync, tick_over: Callable[[], None]) -> None:
        """`tick_over` is called at the end of every tick that executed something."""
        self.reached: list[Lsn] = [0, 0]
        self._journal = journal
        self._tick_over = tick_over
        self._fsync = fsync
        self._loop = asyncio.get_running_loop()
        self._waiters: list[Waiter] = []
        self._sync_waiters: list[tuple[Lsn, Waiter]] = []
        self.syncs = 0
        """How often the journal has been forced to disk."""
        self.sync_secs = 0.0
        """How long that took in all."""
        self.last_sync_secs = 0.0
        self._sync_begun_at = 0.0
        self._scheduled = False
        self._sync_running: asyncio.Future[Lsn] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fsync")
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """The journal is open: begin to sync it. What recovery read counts as written, not yet as synced."""
        self.reached[0] = self._journal.written_lsn
        self._start_sync()
        if self._fsync is Fsync.EVERYSEC:
            self._tick_everysec()

    def join(self, waiter: Waiter) -> None:
        """Have `waiter.advance` called at the end of this tick."""
        self._waiters.append(waiter)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.commit)

    def join_sync(self, waiter: Waiter, lsn: Lsn) -> None:
        """Have `waiter.advance` called when `lsn` is synced. An fsync is started when none is running."""
        self._sync_waiters.append((lsn, waiter))
        self._start_sync()

    def refusal(self, lsn: Lsn) -> DiskFull | None:
        """The error for a write with `lsn` that the disk has refused; None while there is hope."""
        failure = self._journal.failure
        if failure is not None and (self._journal.broken or lsn > self.reached[0]):
            return DiskFull.because(failure)
        return None

    def schedule(self) -> None:
        """Commit at the end of this tick, for records that nobody waits for."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.commit)

    async def reach(self, ack: int, lsn: Lsn) -> None:
        """Wait until `lsn` has reached level `ack`. Raises DiskFull when the disk refuses."""
        waiter = _FutureWaiter(self, ack, lsn)
        self.join(waiter)
        await waiter.future

    async def close(self) -> None:
        """Write and sync everything, then close the journal. Raises OSError when the disk refuses."""
        if self._timer is not None:
            self._timer.cancel()
        self.commit()
        while self._sync_running is not None:
            await asyncio.wait([self._sync_running])
            await asyncio.sleep(0)
        self._thread.shutdown()
        self._journal.close()

    def commit(self) -> None:
        """Write what this tick has appended and let the waiters know."""
        self._scheduled = False
        self._tick_over()
        journal = self._journal
        if journal.has_unwritten or (journal.failure is not None and not journal.broken):
            was_failing = journal.failure is not None
            if not journal.flush():
                self._writing_failed(was_failing)
            elif was_failing:
                log.warning("the journal takes writes again")
            self.reached[0] = journal.written_lsn
            if journal.failure is not None:
                self._advance_synced()
            elif self._sync_waiters or self._fsync is Fsync.ALWAYS:
                self._start_sync()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.advance()

    def _writing_failed(self, was_failing: bool) -> None:
        if not was_failing:
            log.error("the journal cannot be written, writes are refused: %s", self._journal.failure)
        if not self._journal.broken:
            self._loop.call_later(RETRY_INTERVAL_SECS, self.schedule)

    def _tick_everysec(self) -> None:
        self._start_sync()
        self._timer = self._loop.call_later(EVERYSEC_INTERVAL_SECS, self._tick_everysec)

    def _start_sync(self) -> None:
        if self._sync_running is not None:
            return
        job = self._journal.sync_job()
        if job is None:  # all that is written is synced; who still waits does so for what this tick will write
            return
        self._sync_begun_at = self._loop.time()
        self._sync_running = self._loop.run_in_executor(self._thread, job.run)
        self._sync_running.add_done_callback(self._sync_done)

    def _sync_done(self, future: asyncio.Future[Lsn]) -> None:
        self._sync_running = None
        self.syncs += 1
        self.last_sync_secs = self._loop.time() - self._sync_begun_at
        self.sync_secs += self.last_sync_secs
        error = future.exception()
        if error is None:
            self._journal.synced(future.result())
            self.reached[1] = self._journal.synced_lsn
        elif isinstance(error, OSError):
            log.critical("fsync failed, writes are refused until a restart: %s", error)
            self._journal.break_off(error)
        else:
            raise error
        self._advance_synced()
        if self._sync_waiters or self._fsync is Fsync.ALWAYS:
            self._start_sync()

    def _advance_synced(self) -> None:
        """Let those advance whose LSN is synced; all of them when the journal takes no writes."""
        reached = self.reached[1] if self._journal.failure is None else math.inf
        waiters, self._sync_waiters = self._sync_waiters, []
        for lsn, waiter in waiters:
            if lsn <= reached:
                waiter.advance()
            else:
                self._sync_waiters.append((lsn, waiter))


class _FutureWaiter:
    def __init__(self, committer: Committer, ack: int, lsn: Lsn) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._committer = committer
        self._ack = ack
        self._lsn = lsn

    def advance(self) -> None:
        if self.future.done():
            return
        if self._lsn <= self._committer.reached[self._ack]:
            self.future.set_result(None)
        elif (refusal := self._committer.refusal(self._lsn)) is not None:
            self.future.set_exception(refusal)
        else:
            self._committer.join_sync(self, self._lsn)
