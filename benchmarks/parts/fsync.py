"""What durability costs: the mix of `hot` under each setting of journal.fsync.

`always` holds every reply to a write back until the disk has it, so that number is the disk's as much as
Synap's: group commit shares one fsync among all the connections that wait for it.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import load, report, servers
from benchmarks.goals import Goal
from benchmarks.load import Sample, Workload
from benchmarks.report import Table
from benchmarks.rounds import Contender, Plan, caveats, take_turns
from benchmarks.servers import Server

MODES = ("everysec", "always", "never")
ALWAYS_LEAST = 0.4
COLUMNS = ("fsync", "commands/s", "min to max", "of everysec", "server CPU")


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
    everysec, always, _ = contenders
    goal = Goal("fsync always beside everysec", always.times(everysec), ALWAYS_LEAST)
    rows = [_row(contender, everysec, goal.cell if contender is always else "") for contender in contenders]
    return Table("Durability", COLUMNS, rows, (f"goal: {goal.wanted}", *caveats(contenders)), (goal,))


def _row(contender: Contender, everysec: Contender, judged: str) -> tuple[str, ...]:
    times = judged or f"{contender.times(everysec):.2f}x"
    return (contender.name, *report.spread(contender.rates), times, f"{contender.server_cpu_us:.1f} us")


def _drive(server: Server, seconds: int) -> Sample:
    return load.wrk(Workload(), seconds, server)
