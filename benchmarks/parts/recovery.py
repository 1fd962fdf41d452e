"""Seconds from the start of the program until it serves: with no data, from the journal, from a snapshot.

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
from benchmarks.report import Table
from benchmarks.rounds import Plan, disturbance
from synap.journal.log import FileJournal

COLUMNS = ("start", "seconds", "min to max", "goal", "got", "on disk")
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
        directory = Path(name)
        empty, full = directory / "empty", directory / "full"
        starts = _starts("empty", empty, plan, 0)
        rows = [_row("no data", empty, starts, None)]
        plan.say("recovery: writing a journal")
        _write_journal(full, plan.keys)
        from_journal = _starts("journal", full, plan, plan.keys)
        rows.append(_row(f"journal of {plan.keys:,} kv.set", full, from_journal, _goal(plan, JOURNAL_SECS_MAX)))
        plan.say("recovery: making a snapshot")
        _make_snapshot(full, plan.keys)
        from_snapshot = _starts("snapshot", full, plan, plan.keys)
        rows.append(_row(f"snapshot of {plan.keys:,} keys", full, from_snapshot, _goal(plan, SNAPSHOT_SECS_MAX)))
    others_cpus = [start.others_cpus for start in (*starts, *from_journal, *from_snapshot)]
    return Table("Start to ready", COLUMNS, rows, (disturbance(others_cpus, "start"),))


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


def _goal(plan: Plan, secs_max: float) -> float | None:
    """The goal, when as much is recovered as it is meant for."""
    return secs_max if plan.keys == GOAL_KEYS else None


def _row(name: str, data: Path, starts: list[Start], goal_secs: float | None) -> tuple[str, ...]:
    taken_secs = [start.taken_secs for start in starts]
    middle = report.seconds(median(taken_secs))
    extent = f"{report.seconds(min(taken_secs))} to {report.seconds(max(taken_secs))}"
    goal, got = ("", "") if goal_secs is None else (f"< {goal_secs:.0f} s", f"{middle} s")
    return (name, middle, extent, goal, got, f"{_size_bytes(data) / MIB:,.0f} MiB")


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
