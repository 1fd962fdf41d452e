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
from typing import NamedTuple

from benchmarks import load, report, servers
from benchmarks.goals import Goal
from benchmarks.report import Table
from benchmarks.rounds import Plan
from benchmarks.servers import Server

COLUMNS = ("server", "bytes/key", "by its own count", "resident memory")
MIB = 1024 * 1024
OF_REDIS_MOST = 2.0


class Growth(NamedTuple):
    """Of a server, in bytes a key."""

    seen: float
    said: float
    rss_bytes: int
    """At the end, of the whole process."""


def run(plan: Plan) -> Table:
    """Measure."""
    found = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        plan.say("memory: filling Synap")
        with servers.synap(directory / "synap") as synap:
            found["Synap"] = _growth(synap, plan.keys, load.fill_synap, _synap_says)
        if servers.is_installed("redis-server"):
            plan.say("memory: filling Redis")
            with servers.redis(directory) as redis:
                found["Redis"] = _growth(redis, plan.keys, load.fill_redis, _redis_says)
    rows = [
        (name, *map(report.count, (growth.seen, growth.said)), f"{growth.rss_bytes / MIB:,.0f} MiB")
        for name, growth in found.items()
    ]
    if "Redis" not in found:
        return Table(_title(plan), COLUMNS, rows, ("skipped Redis: redis-server is not installed",))
    goal = Goal("memory of small keys beside Redis", found["Synap"].seen / found["Redis"].seen, most=OF_REDIS_MOST)
    note = f"bytes/key of Synap are {goal.cell}; goal: {goal.wanted} of Redis's"
    return Table(_title(plan), COLUMNS, rows, (note,), (goal,))


def _title(plan: Plan) -> str:
    return f"Memory at {plan.keys:,} keys"


def _growth(server: Server, keys: int, fill: Callable[[Server, int], None], says: Callable[[Server], int]) -> Growth:
    rss_before_bytes, said_before_bytes = server.rss_bytes(), says(server)
    fill(server, keys)
    rss_bytes, said_bytes = server.rss_bytes(), says(server)
    return Growth((rss_bytes - rss_before_bytes) / keys, (said_bytes - said_before_bytes) / keys, rss_bytes)


def _synap_says(server: Server) -> int:
    return int(servers.ask_synap(server.port, "kv.stats")["memory_bytes"])


def _redis_says(server: Server) -> int:
    found = re.search(rb"^used_memory:(\d+)", servers.ask_redis(server.port, "INFO memory"), re.MULTILINE)
    if found is None:
        raise load.LoadFailed("Redis does not tell its used_memory")
    return int(found[1])
