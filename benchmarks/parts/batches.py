"""Commands per second when a client sends a hundred at a time: what is left when HTTP costs next to nothing.

Eight connections rather than fifty: a batch keeps the server busy for long enough. One connection shows
what a client gets that waits for each batch; it leaves the server idle while wrk reads the reply.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import load, report, servers
from benchmarks.load import Sample, Workload
from benchmarks.report import Table
from benchmarks.rounds import Contender, Plan, caveats, take_turns
from benchmarks.servers import Server

BATCH = 100
SHAPES = {"70 % kv.get, 30 % kv.set": 0.3, "kv.set": 1.0}
CONNECTIONS = (1, 8)
COLUMNS = ("batch of 100", "connections", "commands/s", "min to max", "server CPU", "client busy")


def run(plan: Plan) -> Table:
    """Measure."""
    workloads = [
        (shape, Workload("batch", BATCH, write_share, connections))
        for shape, write_share in SHAPES.items()
        for connections in CONNECTIONS
    ]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        synap = stack.enter_context(servers.synap(directory / "synap"))
        load.fill_synap(synap, load.KEYS, load.VALUE)
        contenders = [Contender(shape, partial(_drive, synap, workload)) for shape, workload in workloads]
        take_turns("batches", contenders, plan, plan.short_round_secs)
        load.check_errors(synap)
    rows = [_row(c, workload) for c, (_, workload) in zip(contenders, workloads, strict=True)]
    return Table("Commands per second, in batches", COLUMNS, rows, caveats(contenders))


def _drive(server: Server, workload: Workload, seconds: int) -> Sample:
    return load.wrk(workload, seconds, server)


def _row(contender: Contender, workload: Workload) -> tuple[str, ...]:
    cpu, busy = f"{contender.server_cpu_us:.2f} us", f"{contender.client_busy:.0%}"
    return (contender.name, str(workload.connections), *report.spread(contender.rates), cpu, busy)
