"""`synap bench`: how fast a running server answers, with any command in any number.

Without a command it is a mix of kv.get and kv.set on keys of its own, which it removes again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import msgspec
from rich.console import Console
from rich.table import Table

from synap.tools.client import Server, Unreachable
from synap.tools.line import Unreadable, parse
from synap.tools.load import LOST, Found, Job, Shape

KEY = "bench:"
REMOVED_AT_ONCE = 1_000
BUSY_MIN = 0.9
"""A load generator that computes for this share of the time may be the limit."""
SPINNER_HZ = 2  # drawing takes CPU time from what is measured
OK, FAILED = 0, 1
_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
# Numbers that nobody types, so that a template is JSON before its own numbers are in it.
_MARKS = {"{n}": "7310582946130572841", "{random}": "7310582946130572842"}


@dataclass(frozen=True)
class Options:
    """What load to make."""

    connections: int = 50
    seconds: float = 5.0
    pipeline: int = 1
    batch: int = 1
    mix: str = "70/30"
    value_bytes: int = 64
    keys: int = 100_000
    processes: int = 1
    command: str | None = None


@dataclass(frozen=True)
class Report:
    """What was found. Latencies are in milliseconds, of requests."""

    commands_per_sec: float
    requests_per_sec: float
    succeeded: int
    latency_ms: dict[str, float]
    errors: dict[str, int]
    examples: dict[str, str]
    client_busy: float

    @property
    def is_client_limited(self) -> bool:
        """Whether the server may be able to do more."""
        return self.client_busy >= BUSY_MIN


def run(server: Server, options: Options, *, as_json: bool) -> int:
    """Make the load and print what was found; the exit status. Raises Unreachable and Unreadable."""
    shapes = shapes_of(options)
    console = Console(stderr=True)
    with console.status(f"{server.url}: {options.seconds:g} s", refresh_per_second=SPINNER_HZ):
        found = _drive([_job(server, options, shapes, rank) for rank in range(options.processes)])
    report = summarize(found, options.batch)
    if as_json:
        told = asdict(report) | {"client_limited": report.is_client_limited, "options": asdict(options)}
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        show(report, Console())
    if options.command is None:
        _remove_keys(server, options.keys)
    return OK if report.succeeded else FAILED


def shapes_of(options: Options) -> list[Shape]:
    """The commands to send. Raises Unreadable."""
    if options.command is not None:
        return [Shape(_template(options.command))]
    reads, slash, writes = options.mix.partition("/")
    if not (slash and reads.isdecimal() and writes.isdecimal() and int(reads) + int(writes)):
        raise Unreadable(f"expected a mix of reads and writes like 70/30, got {options.mix!r}")
    value = "x" * options.value_bytes
    read, write = f"kv.get key={KEY}{{random}}", f"kv.set key={KEY}{{random}} value={json.dumps(value)}"
    shapes = [Shape(_template(read), float(reads)), Shape(_template(write), float(writes))]
    return [shape for shape in shapes if shape.share]


def summarize(found: Sequence[Found], batch: int) -> Report:
    """One report of what all processes found."""
    latencies: Counter[int] = Counter()
    errors: Counter[str] = Counter()
    for each in found:
        latencies.update(each.latencies)
        errors.update(each.errors)
    per_sec = sum(each.requests / each.seconds for each in found)
    commands = sum(each.requests for each in found) * batch
    return Report(
        commands_per_sec=round(per_sec * batch, 1),
        requests_per_sec=round(per_sec, 1),
        succeeded=commands - sum(count for code, count in errors.items() if code != LOST),
        latency_ms={name: round(_percentile(latencies, share) / 1000, 3) for name, share in _PERCENTILES.items()},
        errors=dict(errors),
        examples={code: message for each in found for code, message in each.examples.items()},
        client_busy=round(max(each.busy for each in found), 2),
    )


def show(report: Report, console: Console) -> None:
    """Print it for people."""
    table = Table.grid(padding=(0, 2))
    table.add_row("commands per second", f"{report.commands_per_sec:,.0f}")
    if report.requests_per_sec != report.commands_per_sec:
        table.add_row("requests per second", f"{report.requests_per_sec:,.0f}")
    told = ", ".join(f"{name} {value:.2f} ms" for name, value in report.latency_ms.items())
    table.add_row("latency", told)
    table.add_row("failed", f"{sum(report.errors.values()):,}")
    for code, count in sorted(report.errors.items()):
        table.add_row(f"  {code}", f"{count:,}: {report.examples.get(code, '')}")
    table.add_row("load generator", f"busy {report.client_busy:.0%} of the time")
    console.print(table, highlight=False, markup=False)
    if report.is_client_limited:
        console.print("The load generator was the limit: the server may do more. Try --processes 2, or --pipeline.")


def _template(text: str) -> str:
    for name, mark in _MARKS.items():
        text = text.replace(name, mark)
    line = parse(text)
    template = f'{{"command":{json.dumps(line.command)},"payload":{line.payload}}}'.replace("%", "%%")
    return template.replace(_MARKS["{n}"], "%(n)d").replace(_MARKS["{random}"], "%(random)d")


def _job(server: Server, options: Options, shapes: list[Shape], rank: int) -> Job:
    url = urlsplit(server.url)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise Unreachable(f"expected a URL like http://HOST:PORT, got {server.url}")
    host, is_tls = url.hostname, url.scheme == "https"
    share, left = divmod(options.connections, options.processes)
    return Job(
        host=host,
        port=url.port or (443 if is_tls else 80),
        path=url.path.rstrip("/") + "/api/v1/command",
        headers={"Host": url.netloc.rpartition("@")[2], **server.headers},
        shapes=shapes,
        connections=share + (rank < left),
        seconds=options.seconds,
        pipeline=options.pipeline,
        batch=options.batch,
        numbers=options.keys,
        is_tls=is_tls,
        ca=None if server.ca is None else str(server.ca),
        rank=rank,
        processes=options.processes,
    )


def _drive(jobs: list[Job]) -> list[Found]:
    """Run the processes, all beginning when the last one is connected."""
    with ExitStack() as stack:
        started = [_Process(stack) for _ in jobs]
        for process, job in zip(started, jobs, strict=True):
            process.write(msgspec.json.encode(job))  # not as an argument: all users of the machine see these
        for process in started:
            process.line()
        for process in started:
            process.write(b"go")
        return [msgspec.json.decode(process.line(), type=Found) for process in started]


class _Process:
    """A load generator, that ends with the stack."""

    def __init__(self, stack: ExitStack) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "synap.tools.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        stack.enter_context(self._popen)
        stack.callback(self._popen.kill)

    def write(self, line: bytes) -> None:
        """Tell it something."""
        if self._popen.stdin is not None:
            with suppress(BrokenPipeError):  # `line` tells why
                self._popen.stdin.write(line + b"\n")
                self._popen.stdin.flush()

    def line(self) -> bytes:
        """What it says next. Raises Unreachable when it has ended instead."""
        line = self._popen.stdout.readline() if self._popen.stdout is not None else b""
        if not line:
            told = self._popen.stderr.read() if self._popen.stderr is not None else b""
            raise Unreachable(told.decode(errors="replace").strip().rpartition("\n")[2] or "a load generator ended")
        return line


def _remove_keys(server: Server, count: int) -> None:
    for start in range(0, count, REMOVED_AT_ONCE):
        keys = [f"{KEY}{number}" for number in range(start, min(start + REMOVED_AT_ONCE, count))]
        server.ask("kv.mdel", json.dumps({"keys": keys}))


def _percentile(counts: Counter[int], share: float) -> int:
    """The value that `share` of all do not exceed."""
    needed = share * counts.total()
    seen = 0
    for value, count in sorted(counts.items()):
        seen += count
        if seen >= needed:
            return value
    return 0
