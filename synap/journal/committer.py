"""Group commit: everything one tick of the event loop executed is written in one go, then its replies leave.

A transport that has executed a request calls `join(waiter)`; at the end of the tick the journal is flushed
and every waiter is told to `advance`. It then sends what `reached` allows and, for replies that need an
fsync or replicas, joins the line for that with `wait_for`. Fsyncs run in a thread, one at a time; what is
written while one runs is covered by the next. What replicas have is told by `replicated`; who has waited for them too
long gets a `refusal`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Protocol

from synap.errors import AckTimeout, DiskFull, SynapError
from synap.journal import REPLICAS_MAX, REPLICATED, SYNCED, WRITTEN
from synap.journal.log import FileJournal
from synap.journal.record import Lsn

log = logging.getLogger("synap.journal")

EVERYSEC_INTERVAL_SECS = 1.0
RETRY_INTERVAL_SECS = 0.1
OVERDUE_CHECK_SECS = 0.1


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
    """Drives one journal on one event loop. `reached[level]` is the last LSN that has come to a level."""

    def __init__(
        self, journal: FileJournal, fsync: Fsync, tick_over: Callable[[], None], ack_timeout_secs: float = math.inf
    ) -> None:
        """`tick_over` is called at the end of every tick that executed something."""
        self.reached: list[Lsn] = [0] * (REPLICATED + REPLICAS_MAX)
        self.on_progress: Callable[[], None] = lambda: None
        """Called when more of the journal has been written or synced."""
        self.on_sent: Callable[[], None] = lambda: None
        """Called when the waiters of a tick have sent what they could."""
        self._journal = journal
        self._tick_over = tick_over
        self._fsync = fsync
        self._loop = asyncio.get_running_loop()
        self._waiters: list[Waiter] = []
        self._sync_waiters: list[tuple[Lsn, Waiter]] = []
        self._replica_waiters: list[tuple[int, Lsn, Waiter]] = []
        self._ack_timeout_secs = ack_timeout_secs
        self._overdue_lsn: Lsn = 0
        """Replicas have had time enough for everything up to here."""
        self._ends: deque[tuple[float, Lsn]] = deque()
        """Where the journal ended at some moments, while somebody waits for replicas."""
        self._overdue_timer: asyncio.TimerHandle | None = None
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
        self.reached[:] = [0] * len(self.reached)
        self.reached[WRITTEN] = self._journal.written_lsn
        self._overdue_lsn = 0
        self._start_sync()
        if self._fsync is Fsync.EVERYSEC:
            self._tick_everysec()

    def join(self, waiter: Waiter) -> None:
        """Have `waiter.advance` called at the end of this tick."""
        self._waiters.append(waiter)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.commit)

    def wait_for(self, waiter: Waiter, level: int, lsn: Lsn) -> None:
        """Have `waiter.advance` called when `lsn`, which is written, has come to `level`, or is not going to.

        An fsync is started when none is running.
        """
        if level >= REPLICATED:
            self._replica_waiters.append((level, lsn, waiter))
            if self._overdue_timer is None and self._ack_timeout_secs < math.inf:
                self._ends.clear()
                self._overdue_timer = self._loop.call_later(0, self._check_overdue)
        else:
            self._sync_waiters.append((lsn, waiter))
            self._start_sync()

    def replicated(self, reached: Sequence[Lsn]) -> None:
        """`reached[n - 1]` is the last LSN that the journals of n replicas have."""
        self.reached[REPLICATED:] = reached
        self._advance_replicated()

    def give_up_replicas(self) -> None:
        """No replica will confirm anything of what there is now: tell those who wait."""
        self._overdue_lsn = self._journal.last_lsn
        self._advance_replicated()

    def expect_replicas(self) -> None:
        """Begin anew with what replicas have confirmed."""
        self.reached[REPLICATED:] = [0] * REPLICAS_MAX
        self._overdue_lsn = 0

    def refusal(self, level: int, lsn: Lsn) -> SynapError | None:
        """The error for a write with `lsn` that the disk has refused, or that replicas have not confirmed in time; None
        while there is hope.
        """
        failure = self._journal.failure
        if failure is not None and (self._journal.broken or lsn > self.reached[WRITTEN]):
            return DiskFull.because(failure)
        if level >= REPLICATED and lsn <= self._overdue_lsn:
            wanted = level - REPLICATED + 1
            confirmed = sum(reached >= lsn for reached in self.reached[REPLICATED:])
            return AckTimeout(
                f"the write is in this server's journal, but only {confirmed} of {wanted} replicas have confirmed it in"
                " time; it may be lost if this server fails before they do",
                lsn=lsn,
                wanted=wanted,
                confirmed=confirmed,
            )
        return None

    def schedule(self) -> None:
        """Commit at the end of this tick, for records that nobody waits for."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.commit)

    async def reach(self, ack: int, lsn: Lsn) -> None:
        """Wait until `lsn` has reached level `ack`. Raises DiskFull when the disk refuses, AckTimeout."""
        waiter = _FutureWaiter(self, ack, lsn)
        self.join(waiter)
        await waiter.future

    async def close(self) -> None:
        """Write and sync everything, then close the journal for good. Raises OSError when the disk refuses."""
        try:
            await self.suspend()
        finally:
            self._thread.shutdown()

    async def suspend(self) -> None:
        """Write and sync everything, then close the journal until `start`. Raises OSError when the disk refuses."""
        if self._timer is not None:
            self._timer.cancel()
        if self._overdue_timer is not None:
            self._overdue_timer.cancel()
            self._overdue_timer = None
        self.commit()
        while self._sync_running is not None:
            await asyncio.wait([self._sync_running])
            await asyncio.sleep(0)
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
            self.reached[WRITTEN] = journal.written_lsn
            self.on_progress()
            if journal.failure is not None:
                self._advance_synced()
            elif self._sync_waiters or self._fsync is Fsync.ALWAYS:
                self._start_sync()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.advance()
        self.on_sent()

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
            self.reached[SYNCED] = self._journal.synced_lsn
            self.on_progress()
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
        reached = self.reached[SYNCED] if self._journal.failure is None else math.inf
        waiters, self._sync_waiters = self._sync_waiters, []
        for lsn, waiter in waiters:
            if lsn <= reached:
                waiter.advance()
            else:
                self._sync_waiters.append((lsn, waiter))

    def _advance_replicated(self) -> None:
        """Let those advance whose LSN enough replicas have, or had time enough for."""
        reached, overdue = self.reached, self._overdue_lsn
        waiters, self._replica_waiters = self._replica_waiters, []
        for level, lsn, waiter in waiters:
            if lsn <= reached[level] or lsn <= overdue:
                waiter.advance()
            else:
                self._replica_waiters.append((level, lsn, waiter))

    def _check_overdue(self) -> None:
        """Find out what was written long enough ago, as long as somebody waits."""
        now, ends = self._loop.time(), self._ends
        ends.append((now, self._journal.written_lsn))
        while ends and ends[0][0] <= now - self._ack_timeout_secs:
            self._overdue_lsn = max(self._overdue_lsn, ends.popleft()[1])
        self._advance_replicated()
        self._overdue_timer = None
        if self._replica_waiters:
            self._overdue_timer = self._loop.call_later(OVERDUE_CHECK_SECS, self._check_overdue)


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
        elif (refusal := self._committer.refusal(self._ack, self._lsn)) is not None:
            self.future.set_exception(refusal)
        else:
            self._committer.wait_for(self, self._ack, self._lsn)
