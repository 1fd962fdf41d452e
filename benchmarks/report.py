"""Tables: on a terminal drawn by rich, elsewhere as aligned Markdown, which is plain text at the same time."""

from __future__ import annotations

import datetime
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

import synap
from benchmarks import servers
from benchmarks.goals import Goal

CPU_INFO, MEMORY_INFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")
GIB_IN_KIB = 1024 * 1024
NATS_VERSION = r" v(\S+)"


@dataclass(frozen=True)
class Table:
    """What a part found. The first column names the row, the others hold numbers."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = ()


def show(table: Table, console: Console) -> None:
    """Print a table."""
    if not console.is_terminal:
        print(markdown(table), flush=True)
        return
    drawn = RichTable(title=table.title, title_justify="left", box=box.SIMPLE)
    for number, column in enumerate(table.columns):
        drawn.add_column(column, justify="right" if number else "left")
    for row in table.rows:
        drawn.add_row(*row)
    console.print(drawn)
    for note in table.notes:
        console.print(f"  [dim]{note}[/dim]", highlight=False)
    console.print()


def markdown(table: Table) -> str:
    """A table under its title."""
    widths = [max(map(len, cells)) for cells in zip(table.columns, *table.rows, strict=True)]
    rule = [("-" * width) if not number else "-" * (width - 1) + ":" for number, width in enumerate(widths)]
    lines = [_line(table.columns, widths), _line(rule, widths), *(_line(row, widths) for row in table.rows)]
    notes = ["", *(f"- {note}" for note in table.notes)] if table.notes else []
    return "\n".join([f"## {table.title}", "", *lines, *notes, ""])


def whole(tables: Sequence[Table]) -> str:
    """All that was found: the machine, the goals of all tables, the tables."""
    return "\n".join([head(), *map(markdown, [summary(tables), *tables])])


def summary(tables: Sequence[Table]) -> Table:
    """The goals of all tables in one."""
    goals = [goal for table in tables for goal in table.goals]
    rows = [(goal.name, goal.wanted, goal.found, goal.verdict) for goal in goals]
    missed = sum(not goal.is_met for goal in goals)
    note = f"{len(goals) - missed} of {len(goals)} goals are met"
    return Table("Goals", ("goal", "wanted", "got", "is"), rows, (note,))


def head() -> str:
    """What to know about the machine before reading the numbers."""
    facts = {
        "Date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "Machine": f"{_cpu_model()}, {os.cpu_count()} CPUs, {_memory_gib():.1f} GiB of memory",
        "System": f"{platform.system()} {platform.release()} on {platform.machine()}",
        "Synap": f"{synap.__version__} on {platform.python_implementation()} {platform.python_version()}"
        f" and uvloop {metadata.version('uvloop')}",
        "Redis": _version(r"v=(\S+)", "redis-server", "--version"),
        "webdis": _debian_version("webdis"),
        "beanstalkd": _version(r"beanstalkd (\S+)", "beanstalkd", "-v"),
        "redis-py": metadata.version("redis"),
        "NATS": f"{_version(NATS_VERSION, 'nats-server', '--version')}, nats bench {_natscli()}",
        "RabbitMQ": f"{_debian_version('rabbitmq-server')}, PerfTest {_perf_test()}",
        "wrk": _version(r"wrk (\S+)", "wrk", "--version"),
    }
    return "\n".join(["# Synap's benchmarks", "", *(f"- {name}: {fact}" for name, fact in facts.items()), ""])


def count(number: float) -> str:
    """A large number, to the last digit."""
    return f"{number:,.0f}"


def seconds(number: float) -> str:
    """Seconds, to a hundredth."""
    return f"{number:.2f}"


def spread(numbers: Sequence[float]) -> tuple[str, str]:
    """The median, and how far the numbers lie apart."""
    return count(median(numbers)), f"{count(min(numbers))} to {count(max(numbers))}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]) + " |"


def _cpu_model() -> str:
    found = re.search(r"^model name\s*: (.+)$", CPU_INFO.read_text(), re.MULTILINE)
    return found[1] if found else "a CPU of unknown model"


def _memory_gib() -> float:
    found = re.search(r"^MemTotal:\s*(\d+) kB$", MEMORY_INFO.read_text(), re.MULTILINE)
    return int(found[1]) / GIB_IN_KIB if found else 0.0


def _natscli() -> str:
    program = servers.nats_cli()
    return "absent" if program is None else _version(r"^v?(\S+)", program, "--version")


def _perf_test() -> str:
    jars = sorted(servers.PERF_TEST.glob("perf-test-*.jar"))
    return "absent" if not jars else jars[-1].stem.removeprefix("perf-test-")


def _debian_version(package: str) -> str:
    """Of programs that do not tell theirs."""
    if shutil.which(package) is None:
        return "absent"
    return _version(r"(\S+)", "dpkg-query", "-W", "-f", "${Version}", package)


def _version(pattern: str, program: str, *arguments: str) -> str:
    """The version a program tells, whatever its exit status."""
    if shutil.which(program) is None:
        return "absent"
    done = subprocess.run([program, *arguments], check=False, capture_output=True, text=True)
    found = re.search(pattern, done.stdout)
    return found[1] if found else "of unknown version"
