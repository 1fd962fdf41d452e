"""`python -m benchmarks [part ...]`: measure, print a table a part, and write them all to a file if asked.

Timings never fail a run; servers that answer wrongly do. On two cores a whole run takes about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from benchmarks import report, servers
from benchmarks.load import LoadFailed
from benchmarks.parts import (
    batches,
    collections,
    commands,
    connections,
    fsync,
    full_sync,
    guarded,
    memory,
    pubsub,
    python_kit,
    queues,
    recovery,
    replica_lag,
    replication,
    sockets,
    streams,
)
from benchmarks.parts.recovery import NoSnapshot
from benchmarks.report import Table
from benchmarks.rounds import Plan
from benchmarks.servers import NotReady

PARTS: dict[str, Callable[[Plan], Table]] = {
    "commands": commands.run,
    "fsync": fsync.run,
    "batches": batches.run,
    "guarded": guarded.run,
    "collections": collections.run,
    "queues": queues.run,
    "streams": streams.run,
    "pubsub": pubsub.run,
    "sockets": sockets.run,
    "connections": connections.run,
    "memory": memory.run,
    "recovery": recovery.run,
    "replication": replication.run,
    "replica_lag": replica_lag.run,
    "full_sync": full_sync.run,
    "python_kit": python_kit.run,
}
SPINNER_HZ = 1  # drawing takes CPU time from what is measured
NEED_WRK = {"commands", "fsync", "batches", "guarded", "collections", "streams", "pubsub", "replication", "replica_lag"}


def main() -> int:
    """Run the parts asked for; the exit status."""
    arguments = _arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    console = Console()
    tables = []
    print(report.head(), flush=True)
    try:
        for name in arguments.parts or PARTS:
            if name in NEED_WRK and not servers.is_installed("wrk"):
                print(f"skipped {name}: wrk is not installed\n")
                continue
            table = _run(name, console, quick=arguments.quick)
            report.show(table, console)
            tables.append(table)
    except (LoadFailed, NotReady, NoSnapshot) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if arguments.markdown is not None:
        arguments.markdown.write_text("\n".join([report.head(), *map(report.markdown, tables)]))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Synap beside its peers.")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"only these: {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="a rough look: short rounds, a tenth of the keys")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables to a file as well")
    arguments = parser.parse_args()
    for name in arguments.parts:
        if name not in PARTS:
            parser.error(f"there is no part {name!r}; there are {', '.join(PARTS)}")
    return arguments


def _run(name: str, console: Console, *, quick: bool) -> Table:
    with ExitStack() as stack:
        plan = Plan(lambda _: None)
        if console.is_terminal:
            status = stack.enter_context(console.status(name, refresh_per_second=SPINNER_HZ))
            plan = Plan(status.update)
        if quick:
            plan = replace(plan, round_secs=1, short_round_secs=1, keys=plan.keys // 10)
        return PARTS[name](plan)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    """Let these unwind as Ctrl-C does, so that the servers are stopped."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
