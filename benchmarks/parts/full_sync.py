"""How long a new, empty replica needs until it has all of a large master and serves it, and what the master's clients
notice of it.

Values are of 1,000 random characters, which nothing can compress. Counted is from the start of the replica's process
until it is where its master is and answers a read; nobody else uses the master but a client that asks it something
every millisecond. Synap's master has a snapshot, as one has that runs for a while; Redis makes its copy when asked for.
"""

from __future__ import annotations

import base64
import os
import random
import signal
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import followers, load, probe, report, servers
from benchmarks.followers import SYNAP, Kind
from benchmarks.load import LoadFailed
from benchmarks.report import Table
from benchmarks.rounds import Plan, disturbance
from benchmarks.servers import Server

VALUE_CHARS = 1_000
TEXT_BYTES = 3_000_000
SNAPSHOT_SECS_MAX = 300.0
SNAPSHOT_POLL_SECS = 0.1
PAUSE_SECS = 0.001
REST_SECS = 3.0
COLUMNS = ("server", "seconds", "min to max", "master's CPU", "replica's CPU", "longest answer", "p99", "at rest")


class Sync(NamedTuple):
    """One replica's way to its master's data."""

    taken_secs: float
    master_cpu_secs: float
    replica_cpu_secs: float
    answers_secs: list[float]
    """Of the client that asks the master, ascending."""
    others_cpus: float


def run(plan: Plan) -> Table:
    """Measure."""
    found: dict[str, list[Sync]] = {}
    resting_secs = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        masters = {}
        for kind in followers.kinds():
            plan.say(f"full_sync: filling {kind.name}")
            masters[kind] = followers.start_group(stack, kind, directory, 0).master
            _fill(kind, masters[kind], plan.keys)
            if kind is SYNAP:
                plan.say("full_sync: making a snapshot")
                _make_snapshot(masters[kind])
            with probe.probing(_asking(kind, masters[kind]), PAUSE_SECS) as answers_secs:
                time.sleep(REST_SECS)
            resting_secs[kind.name] = max(answers_secs)
        for number in range(1, plan.starts + 1):
            for kind, master in masters.items():
                plan.say(f"full_sync: {kind.name}, replica {number} of {plan.starts}")
                path = directory / f"{kind.name}-new-{number}"
                found.setdefault(kind.name, []).append(_sync(kind, master, path, plan.keys))
    rows = [_row(name, syncs, resting_secs[name]) for name, syncs in found.items()]
    notes = (
        "longest answer, p99: of what a client got from the master meanwhile, in ms, in the worst copying; at rest: the"
        " longest with nothing else going on",
        *followers.notes(),
        disturbance([sync.others_cpus for syncs in found.values() for sync in syncs], "copying"),
    )
    gigabytes = plan.keys * VALUE_CHARS / 1e9
    return Table(f"A new replica of {plan.keys:,} keys, {gigabytes:.1f} GB", COLUMNS, rows, notes)


def _fill(kind: Kind, master: Server, keys: int) -> None:
    text = base64.b64encode(random.Random(1).randbytes(TEXT_BYTES)).decode()
    places = len(text) - VALUE_CHARS

    def value(number: int) -> str:
        start = number * VALUE_CHARS % places
        return text[start : start + VALUE_CHARS]

    if kind is SYNAP:
        commands = (("kv.set", {"key": load.key(number), "value": value(number)}) for number in range(keys))
        load.run_synap(master, commands)
    else:
        load.run_redis(master, (f"SET {load.key(number)} {value(number)}" for number in range(keys)))


def _make_snapshot(master: Server) -> None:
    """Have a snapshot made, and wait until it is."""
    begun_lsn = servers.ask_synap(master.port, "admin.snapshot")["lsn"]
    deadline = time.monotonic() + SNAPSHOT_SECS_MAX
    while b"\nsynap_snapshot_duration_seconds " not in servers.http(master.port, "GET", "/metrics"):
        if time.monotonic() > deadline:
            raise LoadFailed(f"there is no snapshot of record {begun_lsn} after {SNAPSHOT_SECS_MAX} seconds")
        time.sleep(SNAPSHOT_POLL_SECS)


def _sync(kind: Kind, master: Server, directory: Path, keys: int) -> Sync:
    directory.mkdir()
    target = kind.position(master)
    master_secs, machine_secs, begun_at = _cpu_secs(master), servers.machine_cpu_secs(), time.monotonic()
    with (
        probe.probing(_asking(kind, master), PAUSE_SECS) as answers_secs,
        kind.start(directory, master) as replica,
    ):
        followers.await_position(kind, replica, target)
        with closing(_asking(kind, replica)) as line:
            line.ask()
        taken_secs = time.monotonic() - begun_at
        replica_secs, master_secs = _cpu_secs(replica), _cpu_secs(master) - master_secs
        others_secs = servers.machine_cpu_secs() - machine_secs - replica_secs - master_secs
        found = Sync(taken_secs, master_secs, replica_secs, sorted(answers_secs), max(others_secs, 0.0) / taken_secs)
        if kind.keys(replica) != keys:
            raise LoadFailed(f"a replica of {kind.name} has {kind.keys(replica)} of {keys} keys")
        os.killpg(replica.pid, signal.SIGKILL)  # Redis would not stop before it has written its new append-only file
    return found


def _asking(kind: Kind, server: Server) -> probe.Line:
    """Asks for a key that is not there."""
    if kind is SYNAP:
        return probe.to_synap(server.port, b'{"command":"kv.get","payload":{"key":"none"}}')
    return probe.to_redis(server.port, ["GET none"], b"$-1\r\n")


def _cpu_secs(server: Server) -> float:
    """CPU time, that of processes it has started and waited for included: Redis has one that sends its data."""
    stat = Path(f"/proc/{server.pid}/stat").read_text()
    return sum(map(int, stat.rpartition(")")[2].split()[11:15])) / servers.CLOCK_TICKS_PER_SEC


def _row(name: str, syncs: list[Sync], resting_secs: float) -> tuple[str, ...]:
    taken_secs = [sync.taken_secs for sync in syncs]
    cpu_secs = (median(sync.master_cpu_secs for sync in syncs), median(sync.replica_cpu_secs for sync in syncs))
    longest_secs = max(sync.answers_secs[-1] for sync in syncs)
    p99_secs = max(sync.answers_secs[int(len(sync.answers_secs) * 0.99)] for sync in syncs)
    return (
        name,
        report.seconds(median(taken_secs)),
        f"{report.seconds(min(taken_secs))} to {report.seconds(max(taken_secs))}",
        *(f"{secs:.2f} s" for secs in cpu_secs),
        *(f"{secs * 1000:.1f} ms" for secs in (longest_secs, p99_secs, resting_secs)),
    )
