"""Bytes per key: how much a process grows by a million keys of 16 characters with values of 10.

Both servers get the same keys in the same order. Growth of resident memory is what the machine sees; what
the server says itself (kv.stats memory_bytes, Redis's used_memory) is what its memory limit goes by, so
the two should not be far apart.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks import load, report, servers
from benchmarks.report import Table
from benchmarks.rounds import Plan
from benchmarks.servers import Server

COLUMNS = ("server", "bytes/key", "by its own count", "resident memory")
MIB = 1024 * 1024


def run(plan: Plan) -> Table:
    """Measure."""
    rows, notes = [], []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        plan.say("memory: filling Synap")
        with servers.synap(directory / "synap") as synap:
            rows.append(_row("Synap", synap, plan.keys, load.fill_synap, _synap_says))
        if servers.is_installed("redis-server"):
            plan.say("memory: filling Redis")
            with servers.redis(directory) as redis:
                rows.append(_row("Redis", redis, plan.keys, load.fill_redis, _redis_says))
        else:
            notes.append("skipped Redis: redis-server is not installed")
    return Table(f"Memory at {plan.keys:,} keys", COLUMNS, rows, tuple(notes))


def _row(
    name: str, server: Server, keys: int, fill: Callable[[Server, int], None], says: Callable[[Server], int]
) -> tuple[str, ...]:
    rss_before_bytes, said_before_bytes = server.rss_bytes(), says(server)
    fill(server, keys)
    rss_bytes, said_bytes = server.rss_bytes(), says(server)
    growth = (rss_bytes - rss_before_bytes) / keys, (said_bytes - said_before_bytes) / keys
    return (name, *map(report.count, growth), f"{rss_bytes / MIB:,.0f} MiB")


def _synap_says(server: Server) -> int:
    return int(servers.ask_synap(server.port, "kv.stats")["memory_bytes"])


def _redis_says(server: Server) -> int:
    found = re.search(rb"^used_memory:(\d+)", servers.ask_redis(server.port, "INFO memory"), re.MULTILINE)
    if found is None:
        raise load.LoadFailed("Redis does not tell its used_memory")
    return int(found[1])
