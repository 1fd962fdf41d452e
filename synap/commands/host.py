"""What admin.* needs of the server around the state: facts that are no data, and a few things to have done.

The composition root gives the state a host. A state that only replays a journal has none and needs none: no command
that asks for it is journalled.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

from synap.clock import Millis
from synap.commands.slowlog import SlowLog
from synap.commands.types import Result


class ServerStats(Result):
    """The process: `role` is master or replica."""

    version: str
    uptime_secs: int
    role: str


class MemoryStats(Result):
    """Memory: what the data takes by estimate and may take at most (0: no bound), and what the process takes.

    `rss_bytes` is null where the system does not tell.
    """

    used_bytes: int
    limit_bytes: int
    rss_bytes: int | None


class JournalStats(Result):
    """The journal: the number of the last change, its size on disk, and when it is forced there."""

    lsn: int
    bytes: int
    fsync: str


class Facts(Result):
    """What admin.stats tells that is no data; `key_operations_per_sec` counts commands on keys of all types."""

    server: ServerStats
    memory: MemoryStats
    journal: JournalStats
    connections: int
    key_operations_per_sec: int


class Health(Result):
    """`status` is healthy or degraded; `phase` is starting, serving, rebuilding or draining."""

    status: str
    version: str
    role: str
    uptime_secs: int
    phase: str
    components: dict[str, str]


class Setting(Result):
    """A setting in force, and where it came from: default, a file, a variable or a flag. A secret is a mask."""

    value: Any
    origin: str


class Client(Result):
    """A connection: `subscriptions` are its feeds and patterns, `outbox` the messages it has not taken yet.

    `transport` is http, websocket or sse; `user` the name of the credential of its latest request.
    """

    id: int
    address: str
    transport: str
    user: str | None
    connected_at: Millis
    subscriptions: int
    outbox: int


class SnapshotBegun(Result):
    """Whether a snapshot begins now; false: one is being made. `lsn` was the last change when it began."""

    started: bool
    lsn: int


class Follower(Result):
    """A replica of this server, as this server sees it.

    `lag_ops` counts the records it has not confirmed, `lag_ms` tells for how long the oldest of them has been waiting;
    `state` is streaming, or catching_up while it is more than a moment behind.
    """

    id: str
    address: str
    acked_lsn: int
    lag_ops: int
    lag_ms: float
    state: Literal["streaming", "catching_up"]


class Followed(Result):
    """The server that this one follows. `state` is connecting, streaming, copying, waiting or failed; `reason` why.

    `lag_ms` tells how long ago this server had everything that the other had then; null when it never had.
    """

    address: str | None
    connected: bool
    lag_ms: float | None
    state: str
    reason: str | None


class ReplicationStatus(Result):
    """`history_id` names the newest term of the journal's history, `epoch` counts promotions. `master` is null on one.

    Servers may follow a replica as well: then both `replicas` and `master` are told.
    """

    role: Literal["master", "replica"]
    lsn: int
    epoch: int
    history_id: str
    replicas: list[Follower]
    master: Followed | None


class Changed(Result):
    """What this server is now."""

    role: Literal["master", "replica"]
    epoch: int


class Resync(Result):
    """Whether it has begun."""

    started: bool


class Replicating(Protocol):
    """What a server is to others."""

    def status(self) -> ReplicationStatus:
        """Its role, and how far who is."""

    def promote(self, *, force: bool) -> Changed:
        """Become the master. Raises MasterAlive."""

    def resync(self) -> Resync:
        """Begin anew with a copy."""

    def follow(self, url: str) -> Changed:
        """Become a replica of another. Raises InvalidPayload."""


class Host(Protocol):
    """The server around a state."""

    @property
    def slowlog(self) -> SlowLog:
        """Which commands took long lately."""

    def facts(self) -> Facts:
        """How it is doing."""

    def health(self) -> Health:
        """What GET /health answers."""

    def settings(self) -> dict[str, Setting]:
        """What is in force, by "section.key"."""

    def clients(self) -> list[Client]:
        """Who is connected, by id."""

    def shutdown(self) -> None:
        """Drain and stop, once the reply to this has left."""

    def snapshot(self) -> SnapshotBegun:
        """Have the next snapshot begin now."""
