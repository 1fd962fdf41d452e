"""How the server is doing: what /health, admin.* and /metrics tell that is no data.

It looks at all parts of a running server and changes none; `admin.shutdown` and `admin.snapshot` it passes on.
"""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import Protocol

from synap import __version__, config
from synap.clock import Millis
from synap.commands.caller import Peer
from synap.commands.dispatcher import Dispatcher
from synap.commands.executor import Bound
from synap.commands.host import (
    Changed,
    Client,
    Facts,
    Followed,
    Follower,
    Health,
    JournalStats,
    MemoryStats,
    ReplicationStatus,
    Resync,
    ServerStats,
    Setting,
    SnapshotBegun,
)
from synap.commands.slowlog import SlowLog
from synap.commands.state import State
from synap.journal.log import FileJournal
from synap.replication.replicas import Replica
from synap.replication.service import Replication
from synap.replication.wire import public
from synap.transport.lane import Lane

OPERATIONAL = "operational"
BEHIND_MS = 1_000
_ENGINES = ("kv_store", "queue_system", "event_stream", "pubsub")

# Commands on keys stand in these; every other namespace has data of its own, or none.
_KEY_NAMESPACES = frozenset(
    {"bitmap", "geospatial", "hash", "hyperloglog", "key", "kv", "list", "memory", "set", "sortedset"}
)
_PROCESS_MEMORY = Path("/proc/self/statm")


class Snapshots:
    """What has become of the snapshots."""

    def __init__(self) -> None:
        self.running_lsn: int | None = None
        """The last change when the one being made began; None while none is."""
        self.last_at: Millis | None = None
        """When the newest one was done, be it by an earlier server."""
        self.last_secs: float | None = None
        """How long that took."""
        self.failures = 0


class Rate:
    """How often something happens between two looks at how often it has; times are in seconds."""

    def __init__(self, now: float) -> None:
        self.per_sec = 0.0
        self._count = 0
        self._at = now

    def sample(self, count: int, now: float) -> None:
        """It has happened `count` times by now."""
        if now > self._at:
            self.per_sec = (count - self._count) / (now - self._at)
            self._count, self._at = count, now


class Running(Protocol):
    """A server: how far it is, and what it can be asked to do."""

    phase: str

    def request_stop(self) -> None:
        """Drain and stop, soon."""

    def request_snapshot(self) -> SnapshotBegun:
        """Have a snapshot begin, unless one is being made."""


class Overview:
    """The host of the state of a running server."""

    def __init__(
        self,
        server: Running,
        settings: config.Loaded,
        dispatcher: Dispatcher,
        state: State,
        journal: FileJournal,
        lane: Lane,
        replication: Replication,
    ) -> None:
        self.slowlog: SlowLog = dispatcher.slowlog
        self._server = server
        self._settings = settings
        self._state = state
        self._journal = journal
        self._lane = lane
        self._replication = replication
        self._on_keys = [b for b in dispatcher.bound.values() if b.command.namespace in _KEY_NAMESPACES]
        self._loop = asyncio.get_running_loop()
        self._started_at = self._loop.time()
        self._rate = Rate(self._started_at)

    @property
    def uptime_secs(self) -> float:
        """How long it has been running."""
        return self._loop.time() - self._started_at

    def tick(self) -> None:
        """To be called about once a second: rates are over the time between two calls."""
        self._rate.sample(sum(map(_ran, self._on_keys)), self._loop.time())

    def facts(self) -> Facts:
        """How it is doing."""
        settings = self._settings.settings
        return Facts(
            server=ServerStats(__version__, int(self.uptime_secs), self._replication.node.role),
            memory=MemoryStats(self._state.used_bytes, settings.memory.limit_bytes, rss_bytes()),
            journal=JournalStats(self._state.lsn, self._journal.size_bytes(), settings.journal.fsync),
            connections=self._lane.open_count,
            key_operations_per_sec=round(self._rate.per_sec),
        )

    def health(self) -> Health:
        """What GET /health answers."""
        journal = OPERATIONAL if self._journal.failure is None else "refusing writes"
        link, is_master = self._replication.link, self._replication.node.is_master
        replication = OPERATIONAL if is_master or link.state == "streaming" else link.state
        components = {**dict.fromkeys(_ENGINES, OPERATIONAL), "journal": journal, "replication": replication}
        return Health(
            status="healthy" if set(components.values()) == {OPERATIONAL} else "degraded",
            version=__version__,
            role=self._replication.node.role,
            uptime_secs=int(self.uptime_secs),
            phase=self._server.phase,
            components=components,
        )

    def unready(self) -> str | None:
        """Why this server should not be sent requests; None when it should."""
        if self._server.phase != "serving":
            return f"the server is {self._server.phase}"
        most_ms, lag_ms = self._settings.settings.replication.ready_max_lag_ms, self._replication.link.lag_ms
        if most_ms and not self._replication.node.is_master and (lag_ms is None or lag_ms > most_ms):
            behind = "has nothing yet" if lag_ms is None else f"is {lag_ms:.0f} ms behind"
            return f"this replica {behind}, and may be {most_ms} ms"
        return None

    # Replication

    def status(self) -> ReplicationStatus:
        """Who is the master, who follows, and how far."""
        node, link, last = self._replication.node, self._replication.link, self._journal.last_lsn
        followed = None
        if not node.is_master:
            lag_ms = None if link.lag_ms is None else round(link.lag_ms, 1)
            address = None if node.upstream is None else public(node.upstream)
            followed = Followed(address, node.is_following, lag_ms, link.state, link.reason)
        return ReplicationStatus(
            role=node.role,
            lsn=last,
            epoch=node.epoch,
            history_id=node.history_id,
            replicas=[self._follower(replica, last) for replica in node.replicas],
            master=followed,
        )

    @property
    def published_dropped(self) -> int:
        """Pub/sub messages that replicas were not sent."""
        return self._replication.published_dropped

    def promote(self, *, force: bool) -> Changed:
        """Become the master. Raises MasterAlive."""
        node = self._replication.node
        node.promote(self._replication.now_ms, force=force)
        return Changed(node.role, node.epoch)

    def resync(self) -> Resync:
        """Copy everything anew from the one that is followed."""
        node = self._replication.node
        if node.is_master or node.upstream is None:
            return Resync(False)
        self._replication.check_link()
        node.begin_anew()
        return Resync(True)

    def follow(self, url: str) -> Changed:
        """Become a replica of another. Raises InvalidPayload."""
        self._replication.follow(url)
        node = self._replication.node
        return Changed(node.role, node.epoch)

    def _follower(self, replica: Replica, last: int) -> Follower:
        lag_ms = round(self._replication.node.replicas.lag_ms(replica, last, self._replication.now_ms), 1)
        return Follower(
            id=replica.id,
            address=public(replica.address),
            acked_lsn=replica.acked_lsn,
            lag_ops=max(last - replica.acked_lsn, 0),
            lag_ms=lag_ms,
            state="streaming" if lag_ms < BEHIND_MS else "catching_up",
        )

    # Settings and clients

    def settings(self) -> dict[str, Setting]:
        """What is in force, by "section.key"."""
        return {key: Setting(value, origin) for key, value, origin in config.shown(self._settings)}

    def clients(self) -> list[Client]:
        """Who is connected, by id."""
        return [self._client(peer) for peer in sorted(self._lane.peers.values(), key=lambda peer: peer.id)]

    def shutdown(self) -> None:
        """Drain and stop, once the reply to this has left: draining waits for it."""
        self._server.request_stop()

    def snapshot(self) -> SnapshotBegun:
        """Have the next snapshot begin now."""
        return self._server.request_snapshot()

    def _client(self, peer: Peer) -> Client:
        session = peer.session
        subscriptions = 0
        if session is not None:
            subscriptions = len(session.feeds) + len(self._state.pubsub.patterns_of(session.outbox))
        return Client(
            id=peer.id,
            address=str(peer),
            transport=peer.transport,
            user=peer.user,
            connected_at=peer.connected_at,
            subscriptions=subscriptions,
            outbox=0 if session is None else len(session.outbox),
        )


def rss_bytes() -> int | None:
    """What the process takes of the machine's memory; None where the system does not tell."""
    try:
        pages = _PROCESS_MEMORY.read_text().split()[1]
    except OSError:
        return None
    return int(pages) * resource.getpagesize()


def _ran(bound: Bound) -> int:
    return bound.succeeded + bound.failed
