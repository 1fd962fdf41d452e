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
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from aiohttp import web

from synap.clock import Clock
from synap.commands import TABLE
from synap.commands.auth import Seen
from synap.commands.caller import Peer
from synap.commands.credentials import Credentials
from synap.commands.dispatcher import Dispatcher
from synap.commands.executor import Executor
from synap.commands.gates import Limits
from synap.commands.host import SnapshotBegun
from synap.commands.reply import SYNCED, WRITTEN
from synap.commands.state import Defaults, State
from synap.commands.table import NoPayload
from synap.config import Loaded, Settings, UnusableSetting, is_loopback
from synap.engines import eviction
from synap.engines.pubsub import PubSub
from synap.engines.queue_config import QueueConfig
from synap.engines.streams import Retention
from synap.errors import DiskFull, ReadOnly, Unavailable
from synap.journal import REPLICATED, snapshot
from synap.journal.committer import Committer, Fsync
from synap.journal.directory import DirectoryLock
from synap.journal.log import FileJournal
from synap.journal.record import Record
from synap.journal.recovery import Progress, recover
from synap.replication.service import Options, Replication
from synap.replication.standing import Role
from synap.replication.wire import Publication
from synap.stalls import Stalls
from synap.transport import app, event_source, pages, replication, rest, websocket
from synap.transport.browsers import OriginPolicy
from synap.transport.guard import Guard
from synap.transport.lane import Lane
from synap.transport.live import Live
from synap.transport.metrics import Metrics
from synap.transport.overview import Overview, Snapshots
from synap.transport.sockets import allow_files, notice_lost_peers
from synap.transport.tls import HANDSHAKE_SECS_MAX, BadCertificate, Certificate, trusting
from synap.transport.workers import Turns, Workers

log = logging.getLogger("synap.server")

SWEEP_INTERVAL_SECS = 0.1
SWEEP_PAUSE_SECS = 0.004
"""Instead, while it is behind."""
SWEEP_SECS = 0.001
SWEEP_PORTION = 100
SNAPSHOT_CHECK_SECS = 1.0
OVERVIEW_SECS = 1.0
DRAIN_SECS_MAX = 10.0
# Collections of the newer objects, small ones, take up to 2 ms. One of all takes long, and is made as seldom as can be.
GC_THRESHOLDS = (5_000, 5, 200)
LISTEN_BACKLOG = 1_024
FILES_BESIDE_CONNECTIONS = 256
# With replicas that go by it, the journal knows so often what time it is.
CLOCK_MS = 1_000
ROLE_RETRY_SECS = 1.0


class CannotListen(UnusableSetting):
    """The address is taken, not ours or not allowed."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        is_host = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        key = "server.host" if is_host else "server.port"
        super().__init__(key, f"cannot listen on {host}:{port}: {error.strerror or error}")


class Server:
    """One server on one data directory. `origins` tells where settings came from.

    Raises UnusableSetting, DirectoryUnusable.
    """

    def __init__(self, settings: Settings, origins: Mapping[str, str] | None = None) -> None:
        self.settings = settings
        self._loaded = Loaded(settings, dict(origins or {}))
        self.phase = "starting"
        self.port = settings.server.port
        tls = settings.server
        self._certificate = Certificate(Path(tls.tls_cert), Path(tls.tls_key)) if tls.tls_cert else None
        self._directory = Path(settings.server.data)
        self._state = State(PubSub(secrets.token_hex(8), history=settings.pubsub.history))
        self._credentials = Credentials(self._state.accounts, settings.auth, settings.rate_limit)
        self._executor = Executor(TABLE, self._state)
        self._lock = DirectoryLock(self._directory)
        self._reviewed_revision = 0
        fsync = Fsync(settings.journal.fsync)
        self._local_ack = SYNCED if fsync is Fsync.ALWAYS else WRITTEN
        self._journal = FileJournal(self._directory, settings.journal.segment_bytes)
        self._clock = clock = Clock()
        timeout_secs = settings.replication.ack_timeout_ms / 1000
        self._committer = Committer(self._journal, fsync, self._tick_over, timeout_secs)
        self._committer.on_sent = self._tick_sent
        self._stalls = Stalls()
        self._tick_begun = 0.0
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
                slow_secs=settings.log.slow_ms / 1000 or math.inf,
            ),
            self._local_ack,
            self._credentials,
        )
        self._credentials.on_use = self._credential_used
        self._dispatcher.offload = self._offload
        self._dispatcher.take_turns = Turns(self._committer.schedule, self._stalls).begin
        self._dispatcher.refusal = Unavailable("the server is starting; GET /ready says when it takes requests")
        self._loop = asyncio.get_running_loop()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at: float = math.inf
        self._workers = Workers()
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._snapshots = Snapshots()
        self._snapshot_wanted = asyncio.Event()
        self._removing = asyncio.Lock()
        """Held while files of the journal are removed or replaced."""
        self._snapshotted_at_bytes = 0
        self._snapshotting: subprocess.Popen[bytes] | None = None
        self._role: Role | None = None

    async def start(self) -> None:
        """Listen. Commands are refused until `recover` is done. Raises CannotListen."""
        limits = self.settings.limits
        allow_files(limits.max_connections + FILES_BESIDE_CONNECTIONS)
        guard = Guard(self._credentials, self._clock, self._workers)
        door = app.Door(self._dispatcher, self._committer, guard, limits.max_body_bytes, limits.read_timeout_secs)
        self._lane = Lane(
            self._dispatcher,
            self._committer,
            guard,
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
            outbox_messages=limits.outbox_messages,
            outbox_bytes=limits.outbox_bytes,
            policy=self.settings.pubsub.policy,
        )
        server = self.settings.server
        is_private = is_loopback(server.host) and not self.settings.auth.enabled
        policy = OriginPolicy(server.cors_origins, is_private=is_private)

        def add_routes(application: web.Application) -> None:
            rest.add_routes(application, TABLE, door)
            pages.add_routes(application, TABLE, self._dispatcher, metrics, self._overview)
            replication.add_routes(
                application, self._replication, self._dispatcher, is_guarded=self.settings.auth.enabled
            )
            websocket.add_routes(application, self._live, limits.max_body_bytes)
            event_source.add_routes(application, self._live)
            application.on_shutdown.extend((self._live.stop, self._replication.part))
            policy.govern(application)

        self._replicate()
        metrics = self._look_over()
        self._runner = web.AppRunner(app.build(door, add_routes), shutdown_timeout=DRAIN_SECS_MAX)
        await self._runner.setup()
        await self._listen()

    async def _listen(self) -> None:
        server, tls = self.settings.server, self._certificate
        try:
            self._listener = await self._loop.create_server(
                self._lane.connection,
                server.host,
                server.port,
                backlog=LISTEN_BACKLOG,
                ssl=None if tls is None else tls.context,
                ssl_handshake_timeout=None if tls is None else HANDSHAKE_SECS_MAX,
                ssl_shutdown_timeout=None if tls is None else self.settings.limits.idle_timeout_secs,
            )
        except OSError as error:
            raise CannotListen(server.host, server.port, error) from None
        for listening in self._listener.sockets:
            notice_lost_peers(listening.fileno())
        self.port = self._listener.sockets[0].getsockname()[1]
        self._replication.node.url = self.settings.replication.advertise.rstrip("/") or self._address()

    async def recover(self, on_progress: Callable[[Progress], None] | None = None) -> Progress:
        """Bring the data back and begin to serve. Raises JournalDamaged."""
        gc.freeze()  # what has been imported stays
        progress = await self._load(on_progress)
        if self._stop.is_set():
            return progress
        for warning in self._warnings():
            log.warning("%s", warning)
        self._dispatcher.ready()
        jobs = [self._sweep(), self._make_snapshots(progress), self._watch(), *self._replication.jobs()]
        if not self._find_role():
            jobs.append(self._keep_finding_role())
        self._tasks = [asyncio.create_task(job) for job in jobs]
        self.phase = "serving"
        return progress

    async def _load(self, on_progress: Callable[[Progress], None] | None = None) -> Progress:
        """Fill the state, which is empty, from the data directory, and open the journal."""
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
        gc.set_threshold(*GC_THRESHOLDS)
        eviction.prepare(self._state.keyspace, self.settings.memory.policy)
        self._journal.open(progress.lsn, continues=progress.tail_lsn == progress.lsn)
        self._committer.start()
        self._state.bin.is_emptied = True
        await self._drop_superfluous()
        return progress

    @property
    def url(self) -> str:
        """Where it answers."""
        return self._url_with(self.settings.server.host)

    def renew_certificate(self) -> None:
        """Read the TLS certificate again. The one in use stays if there is anything wrong with the new one."""
        if self._certificate is not None:
            try:
                self._certificate.renew()
            except BadCertificate as error:
                log.error("the TLS certificate is not renewed: %s: %s", error.key, error)
            else:
                log.info("the TLS certificate is renewed")

    async def wait_stopped(self) -> None:
        """Wait for `request_stop`."""
        await self._stop.wait()

    def request_stop(self) -> None:
        """Ask the server to drain and stop."""
        self._stop.set()

    def request_snapshot(self) -> SnapshotBegun:
        """Have a snapshot begin when this tick is over, unless one is being made."""
        if self._snapshots.running_lsn is not None:
            return SnapshotBegun(False, self._snapshots.running_lsn)
        self._snapshots.running_lsn = self._state.lsn
        self._snapshot_wanted.set()
        return SnapshotBegun(True, self._state.lsn)

    async def close(self) -> None:
        """Answer what has been asked, write and sync everything. Raises OSError when the disk refuses."""
        was_serving, self.phase = self.phase == "serving", "draining"
        self._dispatcher.refusal = Unavailable("the server is shutting down")
        self._listener.close()
        self._dispatcher.line.dismiss()
        if was_serving and self._state.next_due < math.inf:
            self._dispatcher.record_time()
        await self._replication.hand_over()
        self._lane.drain()
        await self._runner.cleanup()
        deadline = self._loop.time() + DRAIN_SECS_MAX
        while self._lane.connections and self._loop.time() < deadline:
            await asyncio.sleep(0.01)
        self._lane.close()
        self._workers.close()
        await self._replication.close()
        await self._cancel_tasks()
        if self._alarm is not None:
            self._alarm.cancel()
        try:
            await self._committer.close()
        finally:
            self._lock.release()

    def _hand_over(self, transport: asyncio.Transport, data: bytes, ended: bool, peer: Peer) -> None:
        """Let aiohttp serve a connection from `data` on; `ended` when the client has sent its last."""
        server = self._runner.server
        if server is None:
            transport.abort()
            return
        limits = self.settings.limits
        handler = app.HandedOver(server, self._lane, peer, limits.idle_timeout_secs, limits.read_timeout_secs)
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(data)
        if ended and not handler.eof_received():
            transport.close()

    async def _sweep(self) -> None:
        pause_secs = SWEEP_INTERVAL_SECS
        while True:
            due = self._loop.time() + pause_secs
            await asyncio.sleep(pause_secs)
            self._stalls.late(self._loop.time() - due)
            is_behind = self._dispatcher.tick(SWEEP_PORTION, SWEEP_SECS)
            pause_secs = SWEEP_PAUSE_SECS if is_behind else SWEEP_INTERVAL_SECS
            if self._replication.streams and self._state.next_due < self._state.time + CLOCK_MS < self._clock.now():
                self._dispatcher.record_time()
            self._committer.schedule()

    def _tick_over(self) -> None:
        """Let the time go on, and see to it that those who wait for what it brings are served when it does."""
        self._tick_begun = self._clock.held_since if self._clock.held else 0.0
        self._clock.release()
        if self._reviewed_revision != self._state.accounts.revision:
            self._reviewed_revision = self._state.accounts.revision
            self._live.review()  # before anything of this tick is pushed
        next_due = self._state.queues.next_due
        if next_due < self._alarm_at and self._dispatcher.refusal is None and not self._dispatcher.is_replica:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm_at = next_due
            self._alarm = self._loop.call_later(max(next_due - self._clock.now(), 0) / 1000, self._alarmed)

    def _tick_sent(self) -> None:
        """Take note of how long the tick took, from its first command to its last reply."""
        if self._tick_begun:
            self._stalls.note(perf_counter() - self._tick_begun)
        self._clock.release()  # what was sent may have asked for the time

    def _alarmed(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        self._dispatcher.tick(SWEEP_PORTION, SWEEP_SECS)
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

    def _warnings(self) -> list[str]:
        """What an operator should know, and would not notice."""
        found = self._credentials.warnings
        if self.settings.auth.enabled and self._certificate is None and not is_loopback(self.settings.server.host):
            found.append("credentials come in clear text: set server.tls_cert and server.tls_key, or put TLS in front")
        return found

    def _credential_used(self, kind: Literal["user", "key"], name: str) -> None:
        if self._dispatcher.refusal is None and not self._dispatcher.is_replica:
            self._dispatcher.note("auth.seen", Seen(kind=kind, name=name))
            self._committer.schedule()

    def _offload(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Do work in another thread; `done` gets its result, or the exception. Raises Unavailable."""

        def finish(came_of_it: Any) -> None:
            done(came_of_it)
            self._committer.schedule()

        self._workers.begin(work, finish)

    def _look_over(self) -> Metrics:
        """Let the server tell about itself, once all there is to look at is there."""
        dispatcher, state, journal, lane = self._dispatcher, self._state, self._journal, self._lane
        self._overview = Overview(self, self._loaded, dispatcher, state, journal, lane, self._replication)
        state.host = state.replicating = self._overview
        return Metrics(dispatcher, state, journal, lane, self._live, self._overview, self._snapshots, self._stalls)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(OVERVIEW_SECS)
            self._stalls.second_over()
            self._overview.tick()
            self._live.review()

    async def _make_snapshots(self, recovered: Progress) -> None:
        """Make a snapshot whenever enough journal has been written since the last one, or one is asked for."""
        every = self.settings.journal.snapshot_every_bytes or math.inf
        backlog = recovered.journal_bytes
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SNAPSHOT_CHECK_SECS):
                    await self._snapshot_wanted.wait()
            written = backlog + self._journal.bytes_written - self._snapshotted_at_bytes
            if (written < every and not self._snapshot_wanted.is_set()) or self.phase != "serving":
                continue
            backlog, self._snapshotted_at_bytes = 0, self._journal.bytes_written
            self._snapshots.running_lsn = self._state.lsn
            begun_at = self._loop.time()
            try:
                await self._snapshot()
                self._snapshots.last_secs = self._loop.time() - begun_at
            except OSError as error:
                self._snapshots.failures += 1
                log.error("no snapshot: %s", error)
            self._snapshot_wanted.clear()
            self._snapshots.running_lsn = None

    async def _snapshot(self) -> None:
        """Have another process write a snapshot of all sealed segments, then drop the segments it covers.

        Raises OSError.
        """
        self._committer.commit()
        self._journal.roll()
        command = [sys.executable, "-m", "synap", "journal", "snapshot", "--data", str(self._directory)]
        # uvloop would fork, for which the server stands still the longer the more memory it has; this is a vfork.
        self._snapshotting = process = subprocess.Popen(command)  # noqa: ASYNC220
        try:
            status = await asyncio.to_thread(process.wait)
        except asyncio.CancelledError:
            process.terminate()
            await asyncio.to_thread(process.wait)
            raise
        finally:
            self._snapshotting = None
        if status:
            raise ChildProcessError(f"the snapshot process failed with exit status {status}")
        await self._drop_superfluous()

    async def _drop_superfluous(self) -> None:
        """Remove segments that hold nothing but what the newest snapshot holds, and older snapshots."""
        async with self._removing:
            snapshots = snapshot.list_snapshots(self._directory)
            if not snapshots:
                return
            lsn = snapshot.lsn_of(snapshots[-1])
            self._snapshots.last_at = snapshots[-1].stat().st_mtime_ns // 1_000_000
            needed_from = self._replication.needed_from()
            before = lsn + 1 if needed_from is None else min(needed_from, lsn + 1)
            # Giving back a gigabyte takes a file system tenths of a second.
            dropped = await asyncio.to_thread(self._journal.truncate_before, before)
            for path in snapshots[:-1]:
                await asyncio.to_thread(path.unlink, missing_ok=True)
            log.info("snapshot up to record %d, %d segments dropped", lsn, dropped)

    # Replication

    def _replicate(self) -> None:
        options = self.settings.replication
        self._replication = Replication(
            Options(
                master=options.master.rstrip("/"),
                secret=options.secret,
                keep_bytes=options.keep_bytes,
                ack_level=self._local_ack,
                ssl=trusting(options.tls_ca),
            ),
            self,
            self._journal,
            self._committer,
            self._take_up_role,
            lambda: secrets.token_hex(8),
        )
        self._state.pubsub.on_publish = self._replication.publish

    def _find_role(self) -> bool:
        """Whether it is known, and on disk, what this server is to others. Until then it takes no writes."""
        try:
            self._replication.start()
        except DiskFull as error:
            log.error("the server takes no writes: %s", error.message)
            message, details = error.message, error.details
            self._dispatcher.be_replica(lambda: DiskFull(message, **details))
            return False
        self._take_up_role()
        return True

    async def _keep_finding_role(self) -> None:
        while True:
            await asyncio.sleep(ROLE_RETRY_SECS)
            if self._find_role():
                return

    def _take_up_role(self) -> None:
        """Take writes, or records, as the role of this server is now."""
        node = self._replication.node
        if node.role == self._role or self._dispatcher.refusal is not None or not node.has_started:
            return
        self._role = node.role
        if node.is_master:
            self._dispatcher.be_master()
            wanted = self.settings.replication.min_replicas_to_ack
            self._dispatcher.default_ack = REPLICATED + wanted - 1 if wanted else self._local_ack
            self._committer.expect_replicas()
            self._dispatcher.perform("system.defaults", self._defaults())
            self._dispatcher.perform("queue.release_sessions", NoPayload())
        else:
            self._dispatcher.be_replica(self._read_only)
            self._dispatcher.default_ack = self._local_ack
            self._committer.give_up_replicas()
            self._dispatcher.line.dismiss()
            self._live.expel("this server is a replica now")
        self._committer.schedule()

    def _read_only(self) -> ReadOnly:
        master = self._replication.node.master
        where = f"the master is {master}" if master else "no master is known at present"
        return ReadOnly(f"this is a replica, it takes no writes; {where}", master=master)

    @property
    def lsn(self) -> int:
        """Of the last record applied."""
        return self._state.lsn

    def take(self, records: Sequence[Record]) -> None:
        """Repeat what the master has done. Raises when that cannot be done."""
        for record in records:
            self._executor.apply(record)
        self._dispatcher.serve()

    def published(self, message: Publication) -> None:
        """Give a message of the master's to those who are subscribed here."""
        self._state.pubsub.publish(message.topic, message.body, message.metadata, self._clock.now())
        self._committer.schedule()

    async def rebuild(self, change: Callable[[], object]) -> None:
        """Let `change` put other files in the place of the journal's, and load what is there then. Raises OSError,
        JournalDamaged; what can still be loaded is.
        """
        self.phase = "rebuilding"
        self._dispatcher.refusal = Unavailable("this replica is being rebuilt from its master's data; try again later")
        self._dispatcher.line.dismiss()
        self._live.expel("this replica is being rebuilt")
        try:
            await self._committer.suspend()
            while self._snapshotting is not None:
                self._snapshotting.terminate()
                await asyncio.sleep(0.01)
            async with self._removing:
                await asyncio.to_thread(change)
        finally:
            self._state.bin.is_emptied = False  # nobody is served meanwhile
            self._state.clear()
            await self._load()
            self._dispatcher.ready()
            self._take_up_role()
            self._replication.progressed()
            self.phase = "serving"

    def _address(self) -> str:
        """Where others may reach this server, as far as it can tell itself."""
        host = self.settings.server.host
        return self._url_with(socket.gethostname() if host in ("", "0.0.0.0", "::") else host)  # noqa: S104

    def _url_with(self, host: str) -> str:
        scheme = "http" if self._certificate is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
