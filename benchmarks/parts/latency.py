"""How long clients wait: when nothing else goes on, and while the server does something large for somebody else.

50 connections send single commands, 70 % reads, over a million keys, at a fixed rate, which leaves the server time to
spare; each counts from the moment it was due. The large thing is done again and again, by one client; reads of all, and
batches, half a second after the one before. Beside that, how long each waits when the 50 ask as fast as they are
answered. A stall is how long the server's event loop was busy at a stretch, as the server itself tells, rounded up to
one of the bounds of its histogram: nobody else is served meanwhile.
"""

from __future__ import annotations

import json
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

from benchmarks import clients, load, servers
from benchmarks.clients.pace import Job
from benchmarks.goals import Goal
from benchmarks.load import CONNECTIONS, Latency, LoadFailed, Meter, Sample, Workload
from benchmarks.report import Table
from benchmarks.rounds import Plan, disturbance
from benchmarks.servers import Server

RATE = 20_000
P99_MS_MOST, STALL_MS_MOST = 3.0, 10.0
PAGE = 1_000
FIELDS = 100_000
BATCH = 10_000
PAUSE_SECS = 0.5
"""After what is answered at once, so that it cannot use up the server."""
SNAPSHOT_PAUSE_SECS = 0.1
SNAPSHOT_SECS_MAX = 120.0
SATURATED = "nothing else goes on, as fast as they are answered"
COLUMNS = ("while", "p50", "p99", "longest answer", "longest stall")

_CURSOR = re.compile(rb'"cursor":("[^"]*"|null)')
_BUSY = re.compile(r'^synap_event_loop_busy_seconds_bucket{le="([^"]+)"} (\S+)$', re.MULTILINE)


Ask = Callable[[str], bytes]
"""Sends a body, and returns the body of the answer."""


@dataclass(frozen=True)
class Case:
    """Something large that one client does; `step` does it once."""

    name: str
    step: Callable[[Ask], None] | None
    has_p99_goal: bool = False
    settle: Callable[[Server], None] = lambda _: None
    """Waits until nothing of it goes on any more."""


@dataclass(frozen=True)
class Found:
    """What clients saw in one round."""

    latency: Latency
    stall_ms: float


def run(plan: Plan) -> Table:
    """Measure."""
    cases = _cases(plan.keys)
    found: dict[str, list[Found]] = {case.name: [] for case in cases}
    saturated: list[Sample] = []
    others_cpus = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        synap = stack.enter_context(servers.synap(directory / "synap"))
        plan.say(f"latency: filling {plan.keys:,}")
        load.fill_synap(synap, plan.keys)
        _fill_hash(synap)
        for number in range(1, plan.rounds + 1):
            for case in cases:
                plan.say(f"latency: round {number} of {plan.rounds}, {case.name}")
                meter = Meter(synap)
                with _doing(case.step, synap.port):
                    found[case.name].append(_measure(synap, plan))
                elapsed_secs, _, _, others_secs = meter.read()
                others_cpus.append(others_secs / elapsed_secs)
                case.settle(synap)
            plan.say(f"latency: round {number} of {plan.rounds}, {SATURATED}")
            saturated.append(load.wrk(Workload(), plan.short_round_secs, synap))
        load.check_errors(synap)
    rows = [_row(case, found[case.name]) for case in cases]
    notes = (
        "medians over the rounds; the longest answer and the longest stall (rounded up) of the worst round",
        f"{RATE:,} commands a second, in the last row {median(s.commands_per_sec for s in saturated):,.0f}",
        f"goals: p99 <= {P99_MS_MOST:g} ms in quiet and beside snapshots and scans; no stall over {STALL_MS_MOST:g} ms",
        disturbance(others_cpus, "round"),
    )
    goals = tuple(goal for case in cases for goal in _goals(case, found[case.name]))
    return Table("What clients wait", COLUMNS, [*rows, _saturated_row(saturated)], notes, goals)


def _goals(case: Case, rounds: list[Found]) -> list[Goal]:
    stall_ms, p99_ms = max(found.stall_ms for found in rounds), median(found.latency.p99_ms for found in rounds)
    stall = Goal(f"longest stall while {case.name}", stall_ms, most=STALL_MS_MOST, unit=" ms")
    if not case.has_p99_goal:
        return [stall]
    return [Goal(f"p99 while {case.name}", p99_ms, most=P99_MS_MOST, unit=" ms"), stall]


def _row(case: Case, rounds: list[Found]) -> tuple[str, ...]:
    cells = {goal.name: goal.cell for goal in _goals(case, rounds)}
    p50_ms, p99_ms = (median(ms) for ms in zip(*((f.latency.p50_ms, f.latency.p99_ms) for f in rounds), strict=True))
    return (
        case.name,
        f"{p50_ms:.2f} ms",
        cells.get(f"p99 while {case.name}", f"{p99_ms:.3g} ms"),
        f"{max(found.latency.max_ms for found in rounds):.1f} ms",
        cells[f"longest stall while {case.name}"],
    )


def _saturated_row(samples: list[Sample]) -> tuple[str, ...]:
    latencies = [sample.latency for sample in samples if sample.latency is not None]
    p50_ms, p99_ms = (median(ms) for ms in zip(*((found.p50_ms, found.p99_ms) for found in latencies), strict=True))
    return (SATURATED, f"{p50_ms:.2f} ms", f"{p99_ms:.3g} ms", f"{max(found.max_ms for found in latencies):.1f} ms", "")


def _fill_hash(synap: Server) -> None:
    fields = ({f"field:{number:06d}": load.numbered_value(number) for number in part} for part in load.chunks(FIELDS))
    load.run_synap(synap, (("hash.mset", {"key": "large", "fields": part}) for part in fields), commands_at_once=10)


def _cases(keys: int) -> tuple[Case, ...]:
    batch = {"type": "batch", "commands": [{"command": "kv.set", "payload": {"key": "k", "value": 1}}] * BATCH}
    return (
        Case("nothing else goes on", None, has_p99_goal=True),
        Case(f"a snapshot is made of {keys:,} keys", _snapshot, has_p99_goal=True, settle=_await_snapshot),
        Case(f"kv.scan goes over {keys:,} keys, {PAGE:,} a page", _scan, has_p99_goal=True),
        Case(f"kv.keys looks for a pattern among {keys:,} keys", _asking(_body("kv.keys", match="*:none:*"))),
        Case(f"hash.getall reads {FIELDS:,} fields", _asking(_body("hash.getall", key="large"))),
        Case(f"batches of {BATCH:,} are run", _asking(json.dumps(batch, separators=(",", ":")))),
    )


def _body(command: str, **payload: object) -> str:
    return json.dumps({"command": command, "payload": payload}, separators=(",", ":"))


def _asking(body: str) -> Callable[[Ask], None]:
    def step(ask: Ask) -> None:
        ask(body)
        time.sleep(PAUSE_SECS)

    return step


def _scan(ask: Ask) -> None:
    cursor = b"null"
    while True:
        answer = ask(f'{{"command":"kv.scan","payload":{{"count":{PAGE},"cursor":{cursor.decode()}}}}}')
        found = _CURSOR.search(answer)
        if found is None:
            raise LoadFailed(f"a page of kv.scan has no cursor: {answer[:200]!r}")
        cursor = found[1]
        if cursor == b"null":
            return


def _snapshot(ask: Ask) -> None:
    """Have one begin, or wait a little for the one that is being made."""
    if not json.loads(ask(_body("admin.snapshot")))["payload"]["started"]:
        time.sleep(SNAPSHOT_PAUSE_SECS)


def _await_snapshot(synap: Server) -> None:
    """Wait until the program that makes the last one has ended. Raises LoadFailed."""
    deadline = time.monotonic() + SNAPSHOT_SECS_MAX
    while Path(f"/proc/{synap.pid}/task/{synap.pid}/children").read_text():
        if time.monotonic() > deadline:
            raise LoadFailed(f"a snapshot is not made in {SNAPSHOT_SECS_MAX} seconds")
        time.sleep(SNAPSHOT_PAUSE_SECS)


@contextmanager
def _doing(step: Callable[[Ask], None] | None, port: int) -> Iterator[None]:
    """Do it again and again until the block is left. Raises LoadFailed when an answer is not a success."""
    if step is None:
        yield
        return
    is_over = threading.Event()
    connection = HTTPConnection("127.0.0.1", port, timeout=load.TIMEOUT_SECS)

    def ask(body: str) -> bytes:
        if is_over.is_set():
            raise _Over
        connection.request("POST", "/api/v1/command", body, {"Content-Type": "application/json"})
        answer = connection.getresponse().read()
        if b'"status":"success"' not in answer[:1000]:
            raise LoadFailed(f"{body[:100]} was answered {answer[:500]!r}")
        return answer

    def repeat() -> None:
        try:
            while True:
                step(ask)
        except _Over:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        repeating = pool.submit(repeat)
        try:
            yield
        finally:
            is_over.set()
        repeating.result()


class _Over(Exception):
    """Nobody is there any more whom this could disturb."""


def _measure(synap: Server, plan: Plan) -> Found:
    before = _busy(synap)
    job = Job(synap.port, RATE, plan.short_round_secs, CONNECTIONS, plan.keys)
    latency = clients.run("pace", job, Latency)
    new = [bound_secs for bound_secs, count in _busy(synap).items() if count > before[bound_secs]]
    return Found(latency, 1000 * max(new, default=0.0))


def _busy(synap: Server) -> dict[float, float]:
    """How often the event loop was busy for up to each bound, in seconds, and longer than for the one before."""
    page = servers.http(synap.port, "GET", "/metrics").decode()
    counts = {float(bound): float(count) for bound, count in _BUSY.findall(page)}
    below = [0.0, *counts.values()]
    return {bound: count - less for (bound, count), less in zip(counts.items(), below, strict=False)}
