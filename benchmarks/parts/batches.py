"""Commands per second when a client sends a hundred at a time: what is left when the protocol costs next to nothing.

- Over one WebSocket: one batch after the other, which leaves the server idle while the client takes the reply, and
  eight on their way at a time, which does not.
- Over HTTP, on one connection and on eight.
- redis-benchmark with one connection and pipelines of a hundred.

70 % of the commands read, 30 % write. The batches are made before the clock runs.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks import clients, load, report, servers
from benchmarks.clients.batches import Job
from benchmarks.goals import Goal
from benchmarks.load import Sample, Workload
from benchmarks.report import Table
from benchmarks.rounds import Contender, Plan, caveats, take_turns
from benchmarks.servers import Server

BATCH = 100
IN_FLIGHT = 8
RATE_LEAST = 400_000
COLUMNS = ("batches of 100", "commands/s", "min to max", "goal", "is", "server CPU", "client busy")


def run(plan: Plan) -> Table:
    """Measure."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        synap = stack.enter_context(servers.synap(directory / "synap"))
        load.fill_synap(synap, load.KEYS, load.VALUE)
        judged = Contender(f"one WebSocket, {IN_FLIGHT} in flight", partial(_web_socket, synap, IN_FLIGHT))
        contenders = [
            judged,
            Contender("one WebSocket, one in flight", partial(_web_socket, synap, 1)),
            Contender("HTTP, 8 connections", partial(_http, synap, 8)),
            Contender("HTTP, 1 connection", partial(_http, synap, 1)),
        ]
        notes: tuple[str, ...] = ()
        if servers.is_installed("redis-server", "redis-benchmark"):
            redis = stack.enter_context(servers.redis(directory))
            load.fill_redis(redis, load.KEYS, load.VALUE)
            benchmark = load.RedisBenchmark(connections=1, pipeline=BATCH)
            contenders.append(Contender(f"redis-benchmark -c 1 -P {BATCH}", partial(benchmark.mix, target=redis)))
        else:
            notes = ("skipped Redis: redis-server and redis-benchmark are not installed",)
        take_turns("batches", contenders, plan, plan.short_round_secs)
        load.check_errors(synap)
    goal = Goal(f"batches of {BATCH} over one WebSocket", median(judged.rates), RATE_LEAST, unit="/s")
    rows = [_row(contender, goal if contender is judged else None) for contender in contenders]
    return Table("Commands per second, in batches", COLUMNS, rows, (*notes, *caveats(contenders)), (goal,))


def _web_socket(server: Server, in_flight: int, seconds: int) -> Sample:
    job = Job(server.port, server.pid, BATCH, in_flight, load.WRITE_SHARE, seconds)
    return clients.run("batches", job, Sample)


def _http(server: Server, connections: int, seconds: int) -> Sample:
    return load.wrk(Workload("batch", BATCH, connections=connections), seconds, server)


def _row(contender: Contender, goal: Goal | None) -> tuple[str, ...]:
    judged = ("", "") if goal is None else (goal.wanted, goal.verdict)
    cpu, busy = f"{contender.server_cpu_us:.2f} us", f"{contender.client_busy:.0%}"
    return (contender.name, *report.spread(contender.rates), *judged, cpu, busy)
