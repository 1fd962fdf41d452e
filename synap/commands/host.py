"""What admin.* needs of the server around the state: facts that are no data, and a few things to have done.

The composition root gives the state a host. A state that only replays a journal has none and needs none: no command
that asks for it is journalled.
"""

from __future__ import annotations

from typing import Any, Protocol

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
    """`status` is healthy or degraded, `phase` starting, serving or draining; components say what they are."""

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
