"""How long the program takes to be there: `synap serve` without data until /ready says so, and `synap --help`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks import report, servers
from benchmarks.goals import Goal
from benchmarks.load import Meter
from benchmarks.report import Table
from benchmarks.rounds import Plan, disturbance

SERVE_SECS_MOST, HELP_SECS_MOST = 0.5, 0.2
POLL_SECS = 0.002
COLUMNS = ("start", "seconds", "min to max", "goal", "is")


def run(plan: Plan) -> Table:
    """Measure."""
    found: dict[str, list[float]] = {}
    others_cpus = []
    with tempfile.TemporaryDirectory(prefix="synap-bench-") as name:
        starts: dict[str, Callable[[int], float]] = {
            "synap serve until /ready is 200": lambda number: _serve(Path(name) / str(number)),
            "synap --help": lambda _: _help(),
        }
        for number in range(plan.fast_starts + 1):
            for what, start in starts.items():
                plan.say(f"start: {number} of {plan.fast_starts}, {what}")
                meter = Meter()
                taken_secs = start(number)
                elapsed_secs, _, _, others_secs = meter.read()
                if number:  # the first one reads the files from the disk
                    found.setdefault(what, []).append(taken_secs)
                    others_cpus.append(others_secs / elapsed_secs)
    bounds = (SERVE_SECS_MOST, HELP_SECS_MOST)
    goals = tuple(
        Goal(what, median(taken_secs), most=most, unit=" s")
        for (what, taken_secs), most in zip(found.items(), bounds, strict=True)
    )
    rows = [_row(goal, found[goal.name]) for goal in goals]
    notes = (f"medians of {plan.fast_starts}, after one that does not count", disturbance(others_cpus, "start"))
    return Table("Start to ready", COLUMNS, rows, notes, goals)


def _serve(data: Path) -> float:
    with servers.synap(data) as synap:
        announced_at = time.monotonic()
        while not _is_ready(synap.port):
            time.sleep(POLL_SECS)
        return synap.start_secs + time.monotonic() - announced_at


def _is_ready(port: int) -> bool:
    try:
        servers.http(port, "GET", "/ready")
    except OSError:
        return False
    return True


def _help() -> float:
    begun_at = time.monotonic()
    subprocess.run([sys.executable, "-m", "synap", "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun_at


def _row(goal: Goal, taken_secs: list[float]) -> tuple[str, ...]:
    middle, least, most = (report.seconds(secs) for secs in (median(taken_secs), min(taken_secs), max(taken_secs)))
    return (goal.name, middle, f"{least} to {most}", goal.wanted, goal.verdict)
