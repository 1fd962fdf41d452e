"""Sets per second through the Python kit, beside redis-py's: one awaited call after the other, and a hundred at a time.

Every one is a program of its own, with one client and one thread. redis-py is measured as it installs, without hiredis.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import clients, report, servers
from benchmarks.clients.python_kit import IN_FLIGHT, TOGETHER, Job, Kind
from benchmarks.load import Sample, check_errors
from benchmarks.report import Table
from benchmarks.rounds import Contender, Plan, caveats, take_turns
from benchmarks.servers import Server

COLUMNS = ("sets", "sets/s", "min to max", "beside", "goal", "got", "server CPU", "client busy")


@dataclass(frozen=True)
class _Row:
    """A way to set; the kit's are compared with one of redis-py's, like with like."""

    name: str
    client: str
    kind: Kind
    is_async: bool
    beside: str = ""
    goal: float = 0.0


_ROWS = (
    _Row("redis-py, one by one", "redis", "single", False),
    _Row("kit, one by one", "synap", "single", False, "redis-py, one by one", 1.0),
    _Row("redis.asyncio, one by one", "redis", "single", True),
    _Row("asyncio kit, one by one", "synap", "single", True, "redis.asyncio, one by one", 1.0),
    _Row(f"redis-py, pipeline of {TOGETHER}", "redis", "batch", False),
    _Row(f"kit, batch of {TOGETHER}", "synap", "batch", False, f"redis-py, pipeline of {TOGETHER}", 3.0),
    _Row(f"redis.asyncio, pipeline of {TOGETHER}", "redis", "batch", True),
    _Row(f"asyncio kit, batch of {TOGETHER}", "synap", "batch", True, f"redis.asyncio, pipeline of {TOGETHER}", 3.0),
    _Row(
        f"asyncio kit, {IN_FLIGHT} batches of {TOGETHER} in flight",
        "synap",
        "batches in flight",
        True,
        f"redis.asyncio, pipeline of {TOGETHER}",
        3.0,
    ),
    _Row(
        f"asyncio kit, {IN_FLIGHT} x gather of {TOGETHER} calls",
        "synap",
        "gathered",
        True,
        f"redis.asyncio, pipeline of {TOGETHER}",
        3.0,
    ),
)


def run(plan: Plan) -> Table:
    """Measure."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        synap = stack.enter_context(servers.synap(directory / "synap"))
        redis = stack.enter_context(servers.redis(directory)) if servers.is_installed("redis-server") else None
        on = {"synap": synap, "redis": redis}
        rows = [row for row in _ROWS if on[row.client] is not None]
        contenders = {
            row.name: Contender(row.name, partial(_drive, row, server))
            for row in rows
            if (server := on[row.client]) is not None
        }
        take_turns("python_kit", list(contenders.values()), plan, plan.short_round_secs)
        check_errors(synap)
    return Table("The Python kit", COLUMNS, [_row(row, contenders) for row in rows], caveats(list(contenders.values())))


def _drive(row: _Row, server: Server, secs: int) -> Sample:
    job = Job("synap" if row.client == "synap" else "redis", row.kind, row.is_async, server.port, server.pid, secs)
    return clients.run("python_kit", job, Sample)


def _row(row: _Row, contenders: dict[str, Contender]) -> tuple[str, ...]:
    ours, theirs = contenders[row.name], contenders.get(row.beside)
    goal = f">= {row.goal:.1f}x" if row.goal else ""
    got = f"{ours.times(theirs):.2f}x" if theirs is not None else ""
    cpu, busy = f"{ours.server_cpu_us:.2f} us", f"{ours.client_busy:.0%}"
    return (row.name, *report.spread(ours.rates), row.beside, goal, got, cpu, busy)
