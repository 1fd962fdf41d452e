"""Masters with their replicas, of Synap and of Redis, and what one has to know of either to compare them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load, servers
from benchmarks.load import LoadFailed
from benchmarks.servers import Server

CAUGHT_UP_SECS_MAX = 300.0
POLL_SECS = 0.01
SHARED_CPUS = "master, replicas and client share the CPUs: what replicas take, the master cannot use"


@dataclass(frozen=True)
class Kind:
    """A server that can have replicas."""

    name: str
    start: Callable[[Path, Server | None], AbstractContextManager[Server]]
    """In a directory of its own, which exists; as a replica of a master if there is one."""
    position: Callable[[Server], int]
    """How far the server is; a replica that is as far as its master has all its data. Raises OSError while it cannot
    tell.
    """
    keys: Callable[[Server], int]
    fill: Callable[[Server, int, str], None]


@dataclass(frozen=True)
class Group:
    """A master and those who follow it."""

    kind: Kind
    master: Server
    replicas: tuple[Server, ...]

    def catch_up(self) -> float:
        """Wait until the replicas have all that the master has; how many seconds that took. Raises LoadFailed."""
        begun_at = time.monotonic()
        target = self.kind.position(self.master)
        for replica in self.replicas:
            await_position(self.kind, replica, target)
        return time.monotonic() - begun_at

    def check(self) -> None:
        """Raise LoadFailed when a replica has not as many keys as its master."""
        counts = [self.kind.keys(server) for server in (self.master, *self.replicas)]
        if len(set(counts)) > 1:
            raise LoadFailed(f"{self.kind.name}: the master and its replicas have {counts} keys")


def await_position(kind: Kind, server: Server, target: int) -> None:
    """Wait until a replica is as far as that. Raises LoadFailed when it takes too long."""
    deadline = time.monotonic() + CAUGHT_UP_SECS_MAX
    while not _has_reached(kind, server, target):
        if time.monotonic() > deadline:
            raise LoadFailed(f"a replica of {kind.name} is not at {target} after {CAUGHT_UP_SECS_MAX} seconds")
        time.sleep(POLL_SECS)


def start_group(stack: ExitStack, kind: Kind, directory: Path, replicas: int) -> Group:
    """Start a master with so many replicas; `stack` stops them."""

    def start(name: str, master: Server | None) -> Server:
        path = directory / f"{kind.name}-{replicas}-{name}"
        path.mkdir()
        return stack.enter_context(kind.start(path, master))

    master = start("master", None)
    return Group(kind, master, tuple(start(f"replica-{number}", master) for number in range(replicas)))


def kinds() -> tuple[Kind, ...]:
    """Those that are installed."""
    return (SYNAP, REDIS) if servers.is_installed("redis-server", "redis-benchmark") else (SYNAP,)


def notes() -> tuple[str, ...]:
    """What to know of the comparison."""
    absent = () if len(kinds()) > 1 else ("skipped Redis: redis-server and redis-benchmark are not installed",)
    return (SHARED_CPUS, *absent)


def _has_reached(kind: Kind, server: Server, target: int) -> bool:
    try:
        return kind.position(server) >= target
    except OSError:  # it is being rebuilt
        return False


def _start_synap(directory: Path, master: Server | None) -> AbstractContextManager[Server]:
    upstream = {} if master is None else {"SYNAP_REPLICATION_MASTER": f"http://127.0.0.1:{master.port}"}
    return servers.synap(directory / "data", **upstream)


def _start_redis(directory: Path, master: Server | None) -> AbstractContextManager[Server]:
    return servers.redis(directory, master_port=None if master is None else master.port)


def _synap_position(server: Server) -> int:
    return int(servers.ask_synap(server.port, "replication.status")["lsn"])


def _redis_position(server: Server) -> int:
    info = servers.ask_redis(server.port, "INFO replication")
    found = re.search(rb"^master_repl_offset:(\d+)", info, re.MULTILINE)
    if found is None or b"master_link_status:down" in info:
        raise ConnectionError("it has no data yet")
    return int(found[1])


def _synap_keys(server: Server) -> int:
    return int(servers.ask_synap(server.port, "kv.dbsize")["size"])


def _redis_keys(server: Server) -> int:
    return int(servers.ask_redis(server.port, "DBSIZE").removeprefix(b":"))


SYNAP = Kind("Synap", _start_synap, _synap_position, _synap_keys, load.fill_synap)
REDIS = Kind("Redis", _start_redis, _redis_position, _redis_keys, load.fill_redis)
