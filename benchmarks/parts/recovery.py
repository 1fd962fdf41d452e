"""Seconds from the start of the program until it serves: from the journal, from a snapshot. Without data: `start`.

The journal holds a million kv.set of different keys, in the format a server writes; it is written here
because that is faster than to have a server do it. The snapshot is made of it by the program that a server
runs beside itself, and leaves an empty segment to replay. Files were just written, so the system reads
them from memory: a cold disk adds its own time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import load, report, servers
from benchmarks.goals import Goal
from benchmarks.report import Table
from benchmarks.rounds import Plan, disturbance
from synap.journal.log import FileJournal

COLUMNS = ("start", "seconds", "min to max", "goal", "is", "on disk")
GOAL_KEYS = 1_000_000
JOURNAL_SECS_MAX, SNAPSHOT_SECS_MAX = 6.0, 3.0
FLUSH_RECORDS = 10_000
MIB = 1024 * 1024


class NoSnapshot(Exception):
    """The snapshot program did not do its work."""


class Start(NamedTuple):
    """One start of the server."""

    taken_secs: float
    others_cpus: float


def run(plan: Plan) -> Table:
    """Measure."""
    with tempfile.TemporaryDirectory(prefix="synap-bench-") as name:
        full = Path(name) / "full"
        plan.say("recovery: writing a journal")
        _write_journal(full, plan.keys)
        from_journal = _starts("journal", full, plan, plan.keys)
        journal_bytes = _size_bytes(full)
        plan.say("recovery: making a snapshot")
        _make_snapshot(full, plan.keys)
        from_snapshot = _starts("snapshot", full, plan, plan.keys)
        snapshot_bytes = _size_bytes(full)
    goals = [
        _goal(f"recovery from a journal of {plan.keys:,} kv.set", from_journal, JOURNAL_SECS_MAX),
        _goal(f"recovery from a snapshot of {plan.keys:,} keys", from_snapshot, SNAPSHOT_SECS_MAX),
    ]
    is_judged = plan.keys == GOAL_KEYS
    rows = [
        _row(goal, starts, size_bytes, is_judged=is_judged)
        for goal, starts, size_bytes in zip(
            goals, (from_journal, from_snapshot), (journal_bytes, snapshot_bytes), strict=True
        )
    ]
    note = disturbance([start.others_cpus for start in (*from_journal, *from_snapshot)], "start")
    return Table("Start with data", COLUMNS, rows, (note,), tuple(goals) if is_judged else ())


def _starts(name: str, data: Path, plan: Plan, keys: int) -> list[Start]:
    """Start on the same data, several times."""
    starts = []
    for number in range(1, plan.starts + 1):
        plan.say(f"recovery: {name}, start {number} of {plan.starts}")
        machine_secs = servers.machine_cpu_secs()
        with servers.synap(data) as synap:
            others_secs = servers.machine_cpu_secs() - machine_secs - synap.cpu_secs()
            starts.append(Start(synap.start_secs, max(others_secs, 0.0) / synap.start_secs))
            found = servers.ask_synap(synap.port, "kv.dbsize")["size"]
        if found != keys:
            raise load.LoadFailed(f"{found} of {keys} keys were recovered")
    return starts


def _goal(name: str, starts: list[Start], secs_max: float) -> Goal:
    return Goal(name, median(start.taken_secs for start in starts), most=secs_max, unit=" s")


def _row(goal: Goal, starts: list[Start], size_bytes: int, *, is_judged: bool) -> tuple[str, ...]:
    taken_secs = [start.taken_secs for start in starts]
    extent = f"{report.seconds(min(taken_secs))} to {report.seconds(max(taken_secs))}"
    judged = (goal.wanted, goal.verdict) if is_judged else ("", "")
    return (goal.name, report.seconds(median(taken_secs)), extent, *judged, f"{size_bytes / MIB:,.0f} MiB")


def _write_journal(data: Path, records: int) -> None:
    data.mkdir()
    journal = FileJournal(data)
    journal.open(0)
    now = time.time_ns() // 1_000_000
    for number in range(records):
        payload = f'{{"key":"{load.key(number)}","value":"{load.numbered_value(number)}"}}'
        journal.append(number + 1, now, b"kv.set", payload.encode())
        if number % FLUSH_RECORDS == 0:
            journal.flush()
    journal.close()


def _make_snapshot(data: Path, last_lsn: int) -> None:
    journal = FileJournal(data)
    journal.open(last_lsn)
    journal.roll()
    command = [sys.executable, "-m", "synap", "journal", "snapshot", "--data", str(data)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NoSnapshot(f"exit status {done.returncode}: {done.stderr[-1000:]}")
    journal.truncate_before(last_lsn + 1)
    journal.close()


def _size_bytes(data: Path) -> int:
    return sum(path.stat().st_size for path in data.iterdir())
