"""What durability costs: the load of `commands` under each setting of journal.fsync.

`always` holds every reply to a write back until the disk has it, so that number is the disk's as much as
Synap's: group commit shares one fsync among all the connections that wait for it.
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

MODES = ("everysec", "always", "never")


def run(plan: Plan) -> Table:
    """Measure."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        synaps = [stack.enter_context(servers.synap(directory / mode, fsync=mode)) for mode in MODES]
        contenders = [Contender(mode, partial(_drive, server)) for mode, server in zip(MODES, synaps, strict=True)]
        for server in synaps:
            load.fill_synap(server, load.KEYS, load.VALUE)
        take_turns("fsync", contenders, plan, plan.short_round_secs)
        for server in synaps:
            load.check_errors(server)
    rows = [
        (c.name, *report.spread(c.rates), f"{c.times(contenders[0]):.2f}x", f"{c.server_cpu_us:.1f} us")
        for c in contenders
    ]
    return Table(
        "Durability", ("fsync", "commands/s", "min to max", "of everysec", "server CPU"), rows, caveats(contenders)
    )


def _drive(server: Server, seconds: int) -> Sample:
    return load.wrk(Workload(), seconds, server)
