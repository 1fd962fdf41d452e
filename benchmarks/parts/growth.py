"""`make growth`: what an operation, an item and a start cost at ten thousand items, and up to four million.

Each engine is filled to several sizes, each on a server of its own; these are then loaded in turns. Loads are 50
connections of wrk. What a single request takes includes the way there and back. Memory is what the process grows by
while it is filled; the longest batch of that filling is told in CPU time of the event loop. Starts are told without
what a start on no data takes, and in brackets as seconds a million; files were just written, so the system reads them
from memory.

Queues and streams are loaded by counted requests: what is published into a queue is taken out again before the next
stretch, what is published into a stream stays. Tables go to benchmarks/GROWTH.md, plots to docs/growth. It takes about
seven minutes on two CPUs, and four gigabytes of memory.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import synap
from benchmarks import load, plot, probe, report, servers
from benchmarks.growth import FLAT, N_LOG_N, Curve
from benchmarks.load import LoadFailed
from benchmarks.report import Table
from benchmarks.rounds import Plan, disturbance
from benchmarks.servers import NotReady, Server

ROOT = Path(__file__).parents[2]
REPORT, PLOTS = ROOT / "benchmarks/GROWTH.md", ROOT / "docs/growth"
GROWTH_LUA = ROOT / "benchmarks/growth.lua"

Command = tuple[str, dict[str, Any]]

SIZES = (10_000, 100_000, 1_000_000)
QUICK = 10
"""How much smaller everything is for a quick look."""
STARTS_ITEMS = 3_000_000
"""A start is measured as often as planned until so many items have been recovered, but once at least."""
PUBLISHED = 20_000
"""In one stretch."""
COUNTED_SECS = 3
"""How long wrk takes for requests that are counted; it sleeps when it has done them."""
PAGE = 100
PLACES, ASKS = 20, 20
NEW_KEYS = 1_000
WARM_UP: list[Command] = [("kv.set", {"key": "warm", "value": 1}), ("kv.del", {"key": "warm"})] * 500
SNAPSHOT_SECS_MAX = 300.0
POLL_SECS = 0.05

MESSAGE = "x" * 98
EVENT = {"event_type": "click", "data": {"user": "u-0123456789", "action": "click", "at": [640, 480]}}


class Kind(NamedTuple):
    """A sort of figure: the plot it is drawn in, and how a table tells it."""

    title: str
    unit: str
    cell: Callable[[float, int], str]
    file: str | None = None
    per_sec: bool = False
    of_all_items: bool = False
    noise: float = 0.2
    least: float = 0.0
    """What is no more stands in no curve: it cannot be told from nothing."""
    cause: str = ""
    """Why its curves bend, if they do."""


RATE = Kind("Operations a second, 50 connections", "operations/s", lambda n, _: f"{n:,.0f}", "throughput", per_sec=True)
P99 = Kind(
    "99 of 100 answers come within, 50 connections", "milliseconds", lambda ms, _: f"{ms:.1f} ms", "p99", noise=0.5
)
CPU = Kind("Processor time of the server", "microseconds", lambda us, _: f"{us:.1f} us")
ALONE = Kind("A request alone", "microseconds", lambda us, _: f"{us:,.0f} us", "alone")
WRITE = Kind("A write in a batch", "microseconds", lambda us, _: f"{us:.1f} us")
BYTES = Kind("Memory", "bytes an item", lambda each, _: f"{each:,.0f} B", "memory")
STALL = Kind(
    "The longest batch of 1,000 writes while it was filled",
    "milliseconds of CPU time",
    lambda ms, _: f"{ms:,.0f} ms",
    "stall",
    noise=0.5,
    cause="one write makes a hash table larger, which moves all its entries at once",
)
START = Kind(
    "Recovery",
    "seconds",
    lambda secs, size: f"{secs:.2f} s ({secs / size * 1e6:.1f})",
    "recovery",
    of_all_items=True,
    least=0.05,
)
DRAWN = (RATE, P99, ALONE, BYTES, STALL, START)


class Figure(NamedTuple):
    """What one column of a table holds, and one curve shows."""

    kind: Kind
    name: str


@dataclass
class Found:
    """What is known of one engine: its figures at each size, and how many CPUs others took in stretches and starts."""

    figures: dict[Figure, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    others_cpus: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Load:
    """What wrk does: see growth.lua. An operation is `each` requests."""

    name: str
    kind: str
    bodies: tuple[str, ...]
    requests: int = 0
    """In a stretch; 0: as many as there is time for."""
    each: int = 1


class Stretch(NamedTuple):
    """What one stretch of load found."""

    operations_per_sec: float
    p99_ms: float
    server_cpu_us: float
    others_cpus: float


@dataclass(frozen=True)
class Ask:
    """A request at a time, at some places. What is done over and over again is undone in between."""

    kind: Kind
    name: str
    bodies: Callable[[int], list[str]]
    operations: int = 1
    undo: Callable[[int], str] | None = None


@dataclass(frozen=True)
class Engine:
    """What is filled, loaded and asked."""

    name: str
    sizes: tuple[int, ...]
    fill: Callable[[int], Iterator[Command]]
    loads: tuple[Load, ...]
    asks: tuple[Ask, ...] = ()


def main() -> int:
    """Measure, write the report and the plots; the exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # as with Ctrl-C, the servers are stopped
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parts.growth", description="Measure how Synap grows.")
    parser.add_argument("--quick", action="store_true", help="a rough look: a tenth of the items, one round")
    parser.add_argument("--report", type=Path, default=REPORT, metavar="FILE", help="Markdown (%(default)s)")
    parser.add_argument("--plots", type=Path, default=PLOTS, metavar="DIRECTORY", help="SVG files (%(default)s)")
    arguments = parser.parse_args()
    if not servers.is_installed("wrk"):
        parser.error("wrk is not installed")
    plan, engines = Plan(lambda doing: print(doing, file=sys.stderr, flush=True)), list(ENGINES)
    if arguments.quick:
        plan = replace(plan, rounds=1, short_round_secs=1, starts=1)
        engines = [replace(engine, sizes=tuple(size // QUICK for size in engine.sizes)) for engine in ENGINES]
    try:
        tables, curves = _measure(engines, plan)
    except (LoadFailed, NotReady) as error:
        print(f"growth: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    arguments.plots.mkdir(parents=True, exist_ok=True)
    for kind in DRAWN:
        chart = plot.Chart(kind.title, kind.unit, curves[kind], kind.of_all_items)
        plot.draw(chart, arguments.plots / f"{kind.file}.svg")
    page = _page(tables, arguments.plots, arguments.report.parent)
    arguments.report.write_text(page)
    print(page)
    return 0


def _page(tables: Sequence[Table], plots: Path, home: Path) -> str:
    """The report; it lies in `home`."""
    verdicts, *others = map(report.markdown, tables)
    relative = os.path.relpath(plots, home)
    pictures = [f"![{kind.title}]({relative}/{kind.file}.svg)" for kind in DRAWN]
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    runtime = f"Synap {synap.__version__} on {platform.python_implementation()} {platform.python_version()}"
    head = f"# How Synap grows\n\nMeasured by `make growth` on {today}: {runtime}, {os.cpu_count()} CPUs.\n"
    return "\n".join([head, verdicts, *pictures, "", *others])


def _measure(engines: Sequence[Engine], plan: Plan) -> tuple[list[Table], dict[Kind, list[Curve]]]:
    tables = []
    curves: dict[Kind, list[Curve]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="synap-bench-") as directory:
        empty_secs = _start_secs(Path(directory) / "empty", plan.starts, Found())
        for engine in engines:
            found = _grow(engine, plan, Path(directory), empty_secs)
            for (kind, figure), values in found.figures.items():
                name = f"{engine.name}: {figure}"
                points = {size: value for size, value in values.items() if value > kind.least}
                curves[kind].append(Curve(name, points, kind.per_sec, kind.of_all_items, kind.noise))
            tables.append(_table(engine, found))
    return [_verdicts(curves), *tables], curves


def _grow(engine: Engine, plan: Plan, directory: Path, empty_secs: float) -> Found:
    """Everything about one engine."""
    found = Found()
    with ExitStack() as stack:
        targets = {}
        for size in engine.sizes:
            data = directory / f"{engine.name}-{size}"
            plan.say(f"{engine.name}: filling {size:,}")
            _fill(engine, size, data, found)
            starts = max(min(plan.starts, STARTS_ITEMS // size), 1)
            plan.say(f"{engine.name}: starting with {size:,}")
            from_journal_secs = _start_secs(data, starts, found, _make_snapshot) - empty_secs
            found.figures[Figure(START, "from the journal")][size] = max(from_journal_secs, 0.0)
            from_snapshot_secs = _start_secs(data, starts, found) - empty_secs
            found.figures[Figure(START, "from a snapshot")][size] = max(from_snapshot_secs, 0.0)
            targets[size] = stack.enter_context(servers.synap(data))
        _take_turns(engine, targets, plan, found)
        for size, server in targets.items():
            for ask in engine.asks:
                found.figures[Figure(ask.kind, ask.name)][size] = _answer_us(server, ask, size)
            load.check_errors(server)
    return found


def _fill(engine: Engine, size: int, data: Path, found: Found) -> None:
    with servers.synap(data) as server:
        load.run_synap(server, WARM_UP)
        rss_bytes, own_bytes, batches_ns = server.rss_bytes(), _own_bytes(server), [0]
        load.run_synap(server, _watched(engine.fill(size), server, batches_ns))
        found.figures[Figure(BYTES, "by the process")][size] = max(server.rss_bytes() - rss_bytes, 0) / size
        found.figures[Figure(BYTES, "by its own count")][size] = (_own_bytes(server) - own_bytes) / size
        found.figures[Figure(STALL, "longest batch of 1,000")][size] = max(batches_ns) / 1e6


def _watched(commands: Iterator[Command], server: Server, batches_ns: list[int]) -> Iterator[Command]:
    """The same commands; notes the CPU time of the server's event loop for every batch but the last."""
    schedule = Path(f"/proc/{server.pid}/schedstat")
    before_ns = 0
    for number, command in enumerate(commands):
        if number % load.FILL_BATCH == 0:  # the ones before have been answered
            now_ns = int(schedule.read_text().split()[0])
            if number:
                batches_ns.append(now_ns - before_ns)
            before_ns = now_ns
        yield command


def _own_bytes(server: Server) -> int:
    return int(servers.ask_synap(server.port, "admin.stats")["memory"]["used_bytes"])


def _start_secs(data: Path, starts: int, found: Found, then: Callable[[Server, Path], None] | None = None) -> float:
    """The median of some starts on the same data; something is done before the last one ends."""
    taken_secs = []
    for number in range(1, starts + 1):
        machine_secs = servers.machine_cpu_secs()
        with servers.synap(data) as server:
            others_secs = servers.machine_cpu_secs() - machine_secs - server.cpu_secs()
            found.others_cpus.append(max(others_secs, 0.0) / server.start_secs)
            taken_secs.append(server.start_secs)
            if then is not None and number == starts:
                then(server, data)
    return median(taken_secs)


def _make_snapshot(server: Server, data: Path) -> None:
    servers.ask_synap(server.port, "admin.snapshot")
    deadline = time.monotonic() + SNAPSHOT_SECS_MAX
    while not list(data.glob("*.snapshot")):
        if time.monotonic() > deadline:
            raise LoadFailed(f"there was no snapshot after {SNAPSHOT_SECS_MAX:.0f} s")
        time.sleep(POLL_SECS)


def _take_turns(engine: Engine, targets: dict[int, Server], plan: Plan, found: Found) -> None:
    """Load all sizes in every round, after one that does not count."""
    loaded = defaultdict(list)
    for number in range(plan.rounds + 1):
        for size, server in targets.items():
            plan.say(f"{engine.name}: round {number} of {plan.rounds}, {size:,}")
            for work in engine.loads:
                loaded[work, size].append(_drive(work, size, server, plan.short_round_secs))
    for (work, size), (_, *stretches) in loaded.items():
        found.figures[Figure(RATE, f"{work.name}/s")][size] = median(
            stretch.operations_per_sec for stretch in stretches
        )
        found.figures[Figure(P99, f"{work.name}, p99")][size] = median(stretch.p99_ms for stretch in stretches)
        found.figures[Figure(CPU, f"{work.name}, server CPU")][size] = median(
            stretch.server_cpu_us for stretch in stretches
        )
        found.others_cpus += [stretch.others_cpus for stretch in stretches]


def _drive(work: Load, size: int, server: Server, seconds: int) -> Stretch:
    if work.requests:
        seconds = COUNTED_SECS
    meter = load.Meter(server)
    command = ["wrk", "-t1", f"-c{load.CONNECTIONS}", f"-d{seconds}s", f"--timeout={load.TIMEOUT_SECS}s"]
    command += [f"-s{GROWTH_LUA}", f"http://127.0.0.1:{server.port}", "--", work.kind, str(size), str(work.requests)]
    done = subprocess.run([*command, *work.bodies], check=False, capture_output=True, text=True)
    elapsed_secs, server_secs, _, others_secs = meter.read()
    result = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.MULTILINE)
    if result is None:
        raise LoadFailed(f"wrk printed no result: {done.stdout} {done.stderr}")
    requests, duration_us, failed, p99_us = map(int, result.groups())
    if failed or not requests:
        raise LoadFailed(f"{failed} of {requests} requests failed ({work})")
    operations = requests / work.each
    rate, cpu_us = operations / duration_us * 1e6, server_secs / operations * 1e6
    return Stretch(rate, p99_us / 1e3, cpu_us, others_secs / elapsed_secs)


def _answer_us(server: Server, ask: Ask, size: int) -> float:
    """The median of how long an operation takes, over all places."""
    taken_secs = []
    with ExitStack() as stack:
        undo = None
        if ask.undo is not None:
            undo = stack.enter_context(closing(probe.to_synap(server.port, ask.undo(size).encode())))
        for body in ask.bodies(size):
            line = stack.enter_context(closing(probe.to_synap(server.port, body.encode())))
            for _ in range(ASKS):
                begun_at = time.perf_counter()
                line.ask()
                taken_secs.append(time.perf_counter() - begun_at)
                if undo is not None:
                    undo.ask()
    return median(taken_secs) / ask.operations * 1e6


def _table(engine: Engine, found: Found) -> Table:
    """A row a size."""
    rows = []
    for size in engine.sizes:
        cells = (kind.cell(points[size], size) for (kind, _), points in found.figures.items())
        rows.append((f"{size:,}", *cells))
    columns = ("size", *(name for _, name in found.figures))
    return Table(engine.name.capitalize(), columns, rows, (disturbance(found.others_cpus, "stretch or start"),))


def _verdicts(curves: dict[Kind, list[Curve]]) -> Table:
    """A row a curve: how its cost grows from size to size."""
    sizes = sorted({size for drawn in curves.values() for curve in drawn for size in curve.points})
    rows, notes = [], []
    for kind, drawn in curves.items():
        for curve in drawn:
            verdict, exponents = curve.verdict(), curve.exponents()
            rows.append(
                (curve.name, verdict, *(f"{exponents[size]:+.2f}" if size in exponents else "" for size in sizes[1:]))
            )
        if kind.cause and any(curve.verdict() not in (FLAT, N_LOG_N) for curve in drawn):
            notes.append(f"{kind.title} bends: {kind.cause}")
    notes += [
        "exponents of the cost of one operation or item, from the size before: 0 is flat, 1 doubles with the items",
        f"{FLAT}: no cost is more than {RATE.noise:.0%} ({P99.noise:.0%} for p99 and the longest batch) above that at a"
        f" smaller size; {N_LOG_N}: nor above its logarithm's",
    ]
    return Table("How it grows", ("cost", "verdict", *(f"to {size:,}" for size in sizes[1:])), rows, tuple(notes))


def _request(command: str, **payload: Any) -> str:
    return json.dumps({"command": command, "payload": payload}, separators=(",", ":"))


def _batch(commands: Sequence[Command]) -> str:
    entries = [{"command": name, "payload": payload} for name, payload in commands]
    return json.dumps({"type": "batch", "commands": entries}, separators=(",", ":"))


def _keys(count: int) -> Iterator[Command]:
    for number in range(count):
        yield "kv.set", {"key": load.key(number), "value": load.numbered_value(number)}


def _pages(keys: int) -> list[str]:
    """Scans from keys all over the place."""
    return [_request("kv.scan", prefix=load.key(number)[:-3], count=PAGE) for number in _places(0, keys - PAGE)]


def _places(start: int, stop: int) -> range:
    return range(start, stop, (stop - start) // PLACES)


def _new_keys(count: int, keys: int) -> list[str]:
    """Keys that are not there, all over the place."""
    return [f"{load.key((2 * n + 1) * keys // (2 * count))}:new" for n in range(count)]


def _set_new(count: int, keys: int) -> list[str]:
    entries = [("kv.set", {"key": key, "value": load.VALUE}) for key in _new_keys(count, keys)]
    return [_batch(entries)]


def _drop_new(count: int, keys: int) -> str:
    return _request("kv.del", keys=_new_keys(count, keys))


def _messages(count: int) -> Iterator[Command]:
    for _ in range(count):
        yield "queue.publish", {"queue": "bench", "message": MESSAGE}


def _events(count: int) -> Iterator[Command]:
    for _ in range(count):
        yield "stream.publish", {"room": "bench", **EVENT}


def _history(share: float) -> Callable[[int], list[str]]:
    """Pages around a place in the log."""

    def bodies(events: int) -> list[str]:
        first = round(share * (events - PAGE - PLACES))
        return [_request("stream.history", room="bench", from_offset=first + n, limit=PAGE) for n in range(PLACES)]

    return bodies


KEYS = Engine(
    "keys",
    (*SIZES, 4_000_000),
    _keys,
    (
        Load(
            "70/30 mix",
            "mix",
            (_request("kv.get", key="__key__"), _request("kv.set", key="__key__", value=load.VALUE)),
        ),
    ),
    (
        Ask(ALONE, "page of kv.scan", _pages),
        Ask(ALONE, "new key", partial(_set_new, 1), 1, partial(_drop_new, 1)),
        Ask(WRITE, f"new key of {NEW_KEYS:,}", partial(_set_new, NEW_KEYS), NEW_KEYS, partial(_drop_new, NEW_KEYS)),
    ),
)
QUEUES = Engine(
    "queues",
    SIZES,
    _messages,
    (
        Load("publish", "same", (_request("queue.publish", queue="bench", message=MESSAGE),), PUBLISHED),
        Load(
            "consume+ack",
            "take",
            (_request("queue.consume", queue="bench"), _request("queue.ack", queue="bench", message_id="__id__")),
            2 * PUBLISHED,
            each=2,
        ),
    ),
)
STREAMS = Engine(
    "streams",
    SIZES,
    _events,
    (Load("publish", "same", (_request("stream.publish", room="bench", **EVENT),), PUBLISHED),),
    (
        Ask(ALONE, "history at the beginning", _history(0.0)),
        Ask(ALONE, "history in the middle", _history(0.5)),
        Ask(ALONE, "history at the end", _history(1.0)),
    ),
)
ENGINES = (KEYS, QUEUES, STREAMS)

if __name__ == "__main__":
    sys.exit(main())
