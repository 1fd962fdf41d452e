"""The composition root: builds every part of a server, wires them together, starts and stops them.

    starting ── recovered ──▶ serving ── stop ──▶ draining ──▶ stopped

It listens from the first moment, so that /ready can say 503 while records are replayed; commands are
answered UNAVAILABLE until then, and again while draining.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import math
import resource
import secrets
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from synap.clock import Clock
from synap.commands import TABLE
from synap.commands.dispatcher import SYNCED, WRITTEN, Dispatcher
from synap.commands.executor import Executor
from synap.commands.gates import Limits
from synap.commands.state import Defaults, State
from synap.commands.table import NoPayload
from synap.config import Settings
from synap.engines import eviction
from synap.engines.pubsub import PubSub
from synap.engines.queue_config import QueueConfig
from synap.engines.streams import Retention
from synap.errors import Unavailable
from synap.journal import snapshot
from synap.journal.committer import Committer, Fsync
from synap.journal.directory import DirectoryLock
from synap.journal.log import FileJournal
from synap.journal.recovery import Progress, recover
from synap.transport import app, event_source, pages, rest, websocket
from synap.transport.lane import Lane
from synap.transport.live import Live
from synap.transport.metrics import Metrics

log = logging.getLogger("synap.server")

SWEEP_INTERVAL_SECS = 0.1
SWEEP_KEYS_MAX = 2_000
SNAPSHOT_CHECK_SECS = 1.0
DRAIN_SECS_MAX = 10.0
GC_ALLOCATIONS = 50_000
LISTEN_BACKLOG = 1_024
FILES_BESIDE_CONNECTIONS = 256


class CannotListen(Exception):
    """The address is taken, not ours or not allowed; the message says which and why, `key` which setting it is."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        super().__init__(f"cannot listen on {host}:{port}: {error.strerror or error}")
        is_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        self.key = "server.host" if is_host else "server.port"


class Server:
    """One server on one data directory. Raises DirectoryUnusable."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.phase = "starting"
        self.port = settings.server.port
        self._directory = Path(settings.server.data)
        self._lock = DirectoryLock(self._directory)
        self._state = State(PubSub(secrets.token_hex(8), history=settings.pubsub.history))
        self._executor = Executor(TABLE, self._state)
        fsync = Fsync(settings.journal.fsync)
        self._default_ack = SYNCED if fsync is Fsync.ALWAYS else WRITTEN
        self._journal = FileJournal(self._directory, settings.journal.segment_bytes)
        self._clock = clock = Clock()
        self._committer = Committer(self._journal, fsync, self._tick_over)
        self._dispatcher = Dispatcher(
            self._executor,
            self._journal,
            clock,
            Limits(
                max_batch=settings.limits.max_batch,
                max_key_bytes=settings.limits.max_key_bytes,
                memory_bytes=settings.memory.limit_bytes,
                memory_policy=settings.memory.policy,
                max_wait_secs=settings.limits.max_wait_secs,
            ),
            self._default_ack,
        )
        self._dispatcher.refusal = Unavailable("the server is starting; GET /ready says when it takes requests")
        self._loop = asyncio.get_running_loop()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at: float = math.inf
        self._started_at = self._loop.time()
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._snapshotted_at_bytes = 0
        self._snapshot_process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Listen. Commands are refused until `recover` is done. Raises CannotListen."""
        limits = self.settings.limits
        _allow_files(limits.max_connections + FILES_BESIDE_CONNECTIONS)
        door = app.Door(self._dispatcher, self._committer, limits.max_body_bytes, limits.read_timeout_secs)
        self._lane = Lane(
            self._dispatcher,
            self._committer,
            self._hand_over,
            max_body_bytes=limits.max_body_bytes,
            max_connections=limits.max_connections,
            read_timeout_secs=limits.read_timeout_secs,
            idle_timeout_secs=limits.idle_timeout_secs,
        )
        self._live = Live(
            self._dispatcher,
            self._committer,
            self._state,
            self._clock,
            self._default_ack,
            outbox_messages=limits.outbox_messages,
            outbox_bytes=limits.outbox_bytes,
            policy=self.settings.pubsub.policy,
        )
        metrics = Metrics(self._dispatcher, self._state, self._journal, self._lane, self._live)

        def add_routes(application: web.Application) -> None:
            rest.add_routes(application, TABLE, door)
            pages.add_routes(application, TABLE, metrics, self.health)
            websocket.add_routes(application, self._live, limits.max_body_bytes)
            event_source.add_routes(application, self._live)
            application.on_shutdown.append(self._live.stop)

        self._runner = web.AppRunner(app.build(door, add_routes), shutdown_timeout=DRAIN_SECS_MAX)
        await self._runner.setup()
        host, port = self.settings.server.host, self.settings.server.port
        try:
            self._listener = await self._loop.create_server(self._lane.connection, host, port, backlog=LISTEN_BACKLOG)
        except OSError as error:
            raise CannotListen(host, port, error) from None
        self.port = self._listener.sockets[0].getsockname()[1]

    async def recover(self, on_progress: Callable[[Progress], None] | None = None) -> Progress:
        """Bring the data back and begin to serve. Raises JournalDamaged."""
        progress = Progress()
        gc.disable()
        try:
            for progress in recover(self._directory, self._executor):
                if on_progress is not None:
                    on_progress(progress)
                await asyncio.sleep(0)
                if self._stop.is_set():
                    return progress
            self._state.keyspace.build_index()
        finally:
            gc.enable()
        # What is there now mostly stays: collections need not look at it again. Requests make no cycles, so
        # that collecting rarely costs little memory and spares every request its share of the searching.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_ALLOCATIONS)
        eviction.prepare(self._state.keyspace, self.settings.memory.policy)
        self._journal.open(progress.lsn, continues=progress.tail_lsn == progress.lsn)
        self._committer.start()
        self._drop_superfluous()
        self._dispatcher.ready()
        self._dispatcher.perform("system.defaults", self._defaults())
        self._dispatcher.perform("queue.release_sessions", NoPayload())
        self._committer.schedule()
        self._tasks = [asyncio.create_task(self._sweep()), asyncio.create_task(self._snapshots(progress))]
        self.phase = "serving"
        return progress

    @property
    def url(self) -> str:
        """Where it answers."""
        host = self.settings.server.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def wait_stopped(self) -> None:
        """Wait for `request_stop`."""
        await self._stop.wait()

    def request_stop(self) -> None:
        """Ask the server to drain and stop."""
        self._stop.set()

    async def close(self) -> None:
        """Answer what has been asked, write and sync everything. Raises OSError when the disk refuses."""
        was_serving, self.phase = self.phase == "serving", "draining"
        self._dispatcher.refusal = Unavailable("the server is shutting down")
        self._listener.close()
        self._dispatcher.line.dismiss()
        self._lane.drain()
        await self._runner.cleanup()
        deadline = self._loop.time() + DRAIN_SECS_MAX
        while self._lane.connections and self._loop.time() < deadline:
            await asyncio.sleep(0.01)
        self._lane.close()
        await self._cancel_tasks()
        if self._alarm is not None:
            self._alarm.cancel()
        if was_serving and self._state.next_due < math.inf:
            self._dispatcher.record_time()
        try:
            await self._committer.close()
        finally:
            self._lock.release()

    def health(self) -> dict[str, object]:
        """What /health answers."""
        journal = "operational" if self._journal.failure is None else "refusing writes"
        uptime_secs = int(self._loop.time() - self._started_at)
        components = dict.fromkeys(("kv_store", "queue_system", "event_stream", "pubsub"), "operational")
        components["journal"] = journal
        return pages.health_report(self.phase, "master", uptime_secs, components)

    def _hand_over(self, transport: asyncio.Transport, data: bytes, ended: bool) -> None:
        """Let aiohttp serve a connection from `data` on; `ended` when the client has sent its last."""
        server = self._runner.server
        if server is None:
            transport.abort()
            return
        limits = self.settings.limits
        handler = app.HandedOver(server, self._lane, limits.idle_timeout_secs, limits.read_timeout_secs)
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(data)
        if ended and not handler.eof_received():
            transport.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_SECS)
            self._dispatcher.tick(SWEEP_KEYS_MAX)
            self._committer.schedule()

    def _tick_over(self) -> None:
        """Let the time go on, and see to it that those who wait for what it brings are served when it does."""
        self._clock.release()
        next_due = self._state.queues.next_due
        if next_due < self._alarm_at and self._dispatcher.refusal is None:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm_at = next_due
            self._alarm = self._loop.call_later(max(next_due - self._clock.now(), 0) / 1000, self._alarmed)

    def _alarmed(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        self._dispatcher.tick(SWEEP_KEYS_MAX)
        self._committer.schedule()

    def _defaults(self) -> Defaults:
        queues, streams = self.settings.queues, self.settings.streams
        return Defaults(
            queue=QueueConfig(
                max_depth=queues.max_depth or None,
                ack_deadline_secs=queues.ack_deadline_secs,
                max_retries=queues.max_retries,
                message_ttl_secs=queues.message_ttl_secs or None,
                dead_letter=queues.dead_letter,
            ),
            creates_queues=queues.auto_create,
            retention=Retention(
                max_events=streams.max_events or None,
                max_bytes=streams.max_bytes or None,
                max_age_secs=streams.max_age_secs or None,
            ),
        )

    async def _snapshots(self, recovered: Progress) -> None:
        """Start a snapshot whenever enough journal has been written since the last one."""
        every = self.settings.journal.snapshot_every_bytes
        backlog = recovered.journal_bytes
        while every:
            await asyncio.sleep(SNAPSHOT_CHECK_SECS)
            if backlog + self._journal.bytes_written - self._snapshotted_at_bytes >= every:
                backlog, self._snapshotted_at_bytes = 0, self._journal.bytes_written
                try:
                    await self._snapshot()
                except OSError as error:
                    log.error("no snapshot: %s", error)

    async def _snapshot(self) -> None:
        """Have another process write a snapshot of all sealed segments, then drop the segments it covers."""
        self._committer.commit()
        self._journal.roll()
        arguments = ("-m", "synap", "journal", "snapshot", "--data", str(self._directory))
        self._snapshot_process = await asyncio.create_subprocess_exec(sys.executable, *arguments)
        status = await self._snapshot_process.wait()
        self._snapshot_process = None
        if status:
            log.error("the snapshot process failed with exit status %d", status)
        else:
            self._drop_superfluous()

    def _drop_superfluous(self) -> None:
        """Remove segments that hold nothing but what the newest snapshot holds, and older snapshots."""
        snapshots = snapshot.list_snapshots(self._directory)
        if not snapshots:
            return
        lsn = snapshot.lsn_of(snapshots[-1])
        dropped = self._journal.truncate_before(lsn + 1)
        for path in snapshots[:-1]:
            path.unlink(missing_ok=True)
        log.info("snapshot up to record %d, %d segments dropped", lsn, dropped)

    async def _cancel_tasks(self) -> None:
        if self._snapshot_process is not None:
            self._snapshot_process.terminate()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _allow_files(count: int) -> None:
    """Raise this process's limit on open files as far as the system lets it, up to `count`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
