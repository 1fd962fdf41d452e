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
from benchmarks.goals import Goal
from benchmarks.load import Sample, check_errors
from benchmarks.report import Table
from benchmarks.rounds import Contender, Plan, caveats, take_turns
from benchmarks.servers import Server

COLUMNS = ("sets", "sets/s", "min to max", "beside", "times it", "server CPU", "client busy")


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
        take_turns("python_kit", list(contenders.values()), plan, plan.brief_round_secs)
        check_errors(synap)
    goals = {row.name: goal for row in rows if (goal := _goal(row, contenders)) is not None}
    cells = [_cells(row, contenders[row.name], goals.get(row.name)) for row in rows]
    notes = ("goals: 1x of redis-py one by one, 3x of its pipelines", *caveats(list(contenders.values())))
    return Table("The Python kit", COLUMNS, cells, notes, tuple(goals.values()))


def _drive(row: _Row, server: Server, secs: int) -> Sample:
    job = Job("synap" if row.client == "synap" else "redis", row.kind, row.is_async, server.port, server.pid, secs)
    return clients.run("python_kit", job, Sample)


def _goal(row: _Row, contenders: dict[str, Contender]) -> Goal | None:
    theirs = contenders.get(row.beside)
    if theirs is None:
        return None
    return Goal(f"{row.name}, beside {row.beside}", contenders[row.name].times(theirs), row.goal)


def _cells(row: _Row, ours: Contender, goal: Goal | None) -> tuple[str, ...]:
    cpu, busy = f"{ours.server_cpu_us:.2f} us", f"{ours.client_busy:.0%}"
    return (row.name, *report.spread(ours.rates), row.beside, "" if goal is None else goal.cell, cpu, busy)
