"""How long a message takes to a WebSocket, and how soon a wait ends.

- Latency at 5,000 messages a second, published on one WebSocket and pushed to another. Each counts from the moment it
  was due to be sent, so a server that falls behind cannot hide it. The queue's subscriber acknowledges all it gets.
- Waking up: queue.consume waits over HTTP, another connection publishes.

The client never sleeps, to keep the pace: it takes one CPU and leaves the other to the server.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from benchmarks import clients, servers
from benchmarks.clients.sockets import Kind, Latency, WakeUp
from benchmarks.load import Meter, check_errors
from benchmarks.report import Table
from benchmarks.rounds import Plan, disturbance

RATE = 5_000
WAKE_UPS = 300
KINDS: tuple[Kind, ...] = ("pub/sub", "stream", "queue")
COLUMNS = ("what", "p50", "p99", "p99.9", "worst p99")


def run(plan: Plan) -> Table:
    """Measure."""
    found: dict[str, list[list[float]]] = {}
    others_cpus = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        synap = stack.enter_context(servers.synap(directory / "synap"))
        jobs = {f"{kind}, {RATE:,} a second": Latency(kind, synap.port, RATE, plan.short_round_secs) for kind in KINDS}
        for number in range(1, plan.rounds + 1):
            for name, job in (jobs | {"queue.consume that waits": WakeUp(synap.port, WAKE_UPS)}).items():
                plan.say(f"sockets: round {number} of {plan.rounds}, {name}")
                meter = Meter(synap)
                found.setdefault(name, []).append(clients.run("sockets", job, list[float]))
                elapsed_secs, _, _, others_secs = meter.read()
                others_cpus.append(others_secs / elapsed_secs)
        check_errors(synap)
    rows = [_row(name, rounds) for name, rounds in found.items()]
    notes = ("milliseconds; the median of each over the rounds, and the p99 of the worst round",)
    return Table("Latency on WebSockets, and of waking up", COLUMNS, rows, (*notes, disturbance(others_cpus, "round")))


def _row(name: str, rounds: list[list[float]]) -> tuple[str, ...]:
    found = [[_quantile(sorted(taken), part) for part in (0.5, 0.99, 0.999)] for taken in rounds]
    middles = [median(values) for values in zip(*found, strict=True)]
    return (name, *map(_milliseconds, (*middles, max(p99 for _, p99, _ in found))))


def _quantile(ordered: list[float], part: float) -> float:
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def _milliseconds(secs: float) -> str:
    return f"{secs * 1000:.2f}"
