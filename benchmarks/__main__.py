"""`python -m benchmarks [part ...]`: measure, print a table a part, and write them all to a file if asked.

Without a name it runs the parts that prove the goals, in 8 to 9 minutes on two cores; `--all` runs every part, which
takes about 20 minutes. Timings never fail a run; servers that answer wrongly do. README.md tells how to install the
peers; what is absent is skipped, with a note.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from benchmarks import report, servers
from benchmarks.load import LoadFailed
from benchmarks.parts import (
    batches,
    brokers,
    collections,
    connections,
    fsync,
    full_sync,
    guarded,
    hot,
    latency,
    memory,
    pubsub,
    python_kit,
    queues,
    recovery,
    replica_lag,
    replication,
    sockets,
    start,
    streams,
)
from benchmarks.parts.recovery import NoSnapshot
from benchmarks.report import Table
from benchmarks.rounds import Plan
from benchmarks.servers import NotReady

SPINNER_HZ = 1  # drawing takes CPU time from what is measured
RUN_TAKES = "8 to 9 minutes, with --all about 20 minutes"


@dataclass(frozen=True)
class Part:
    """One table of the report."""

    run: Callable[[Plan], Table]
    needs_wrk: bool = True
    is_short: bool = False
    """Whether it belongs to the run that proves the goals."""


PARTS = {
    "hot": Part(hot.run, is_short=True),
    "fsync": Part(fsync.run, is_short=True),
    "batches": Part(batches.run, is_short=True),
    "brokers": Part(brokers.run, is_short=True),
    "python_kit": Part(python_kit.run, needs_wrk=False, is_short=True),
    "latency": Part(latency.run, is_short=True),
    "start": Part(start.run, needs_wrk=False, is_short=True),
    "memory": Part(memory.run, needs_wrk=False, is_short=True),
    "recovery": Part(recovery.run, needs_wrk=False),
    "guarded": Part(guarded.run),
    "collections": Part(collections.run),
    "queues": Part(queues.run, needs_wrk=False),
    "streams": Part(streams.run),
    "pubsub": Part(pubsub.run),
    "sockets": Part(sockets.run, needs_wrk=False),
    "connections": Part(connections.run, needs_wrk=False),
    "replication": Part(replication.run),
    "replica_lag": Part(replica_lag.run),
    "full_sync": Part(full_sync.run, needs_wrk=False),
}


def main() -> int:
    """Run the parts asked for; the exit status."""
    arguments = _arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    console = Console()
    tables = []
    print(report.head(), flush=True)
    try:
        for name in _chosen(arguments):
            if PARTS[name].needs_wrk and not servers.is_installed("wrk"):
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
    if any(table.goals for table in tables):
        report.show(report.summary(tables), console)
    if arguments.markdown is not None:
        arguments.markdown.write_text(report.whole(tables))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=f"Measure Synap beside its peers. It takes {RUN_TAKES}."
    )
    names = {
        is_short: ", ".join(name for name, part in PARTS.items() if part.is_short == is_short)
        for is_short in (True, False)
    }
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"by default {names[True]}; there are also {names[False]}"
    )
    parser.add_argument("--all", action="store_true", help="every part")
    parser.add_argument("--quick", action="store_true", help="a rough look: one short round, a tenth of the keys")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables to a file as well")
    arguments = parser.parse_args()
    for name in arguments.parts:
        if name not in PARTS:
            parser.error(f"there is no part {name!r}; there are {', '.join(PARTS)}")
    return arguments


def _chosen(arguments: argparse.Namespace) -> list[str]:
    return arguments.parts or [name for name, part in PARTS.items() if part.is_short or arguments.all]


def _run(name: str, console: Console, *, quick: bool) -> Table:
    with ExitStack() as stack:
        plan = Plan(lambda _: None)
        if console.is_terminal:
            status = stack.enter_context(console.status(name, refresh_per_second=SPINNER_HZ))
            plan = Plan(status.update)
        if quick:
            plan = replace(plan, rounds=1, brief_rounds=1, round_secs=1, short_round_secs=1, keys=plan.keys // 10)
        return PARTS[name].run(plan)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    """Let these unwind as Ctrl-C does, so that the servers are stopped."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
