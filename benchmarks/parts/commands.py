"""Commands per second at POST /api/v1/command, beside what could be and what else there is.

All peers get 70 % reads and 30 % writes over 100,000 keys that are there, three-character values, 50
connections that stay open, no pipelining, one client thread. All journal what they write and sync it
every second.

- The limit answers a constant on the same socket loop without reading the request: how much of the
  possible Synap reaches.
- redis-benchmark speaks Redis's own protocol, which is less work than HTTP and JSON for both ends.
- webdis does what Synap does, HTTP and JSON over a keyspace; with two threads and a Redis behind it.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import load, report, servers
from benchmarks.report import Table
from benchmarks.rounds import Contender, Plan, caveats, take_turns

COLUMNS = ("server", "commands/s", "min to max", "goal", "got", "server CPU", "client busy")
LIMIT, REDIS, WEBDIS = "limit: a constant", "Redis, redis-benchmark", "webdis and Redis"
GOALS = {LIMIT: "", REDIS: "1.0x", WEBDIS: "2.0x"}


def run(plan: Plan) -> Table:
    """Measure."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        synap = stack.enter_context(servers.synap(directory / "synap"))
        load.fill_synap(synap, load.KEYS, load.VALUE)
        ours = Contender("Synap", lambda seconds: load.wrk(load.Workload(), seconds, synap))
        peers, notes = _peers(stack, directory)
        take_turns("commands", [ours, *peers], plan, plan.round_secs)
        load.check_errors(synap)
    rows = [_row(ours, "", ""), *(_row(peer, GOALS[peer.name], f"{ours.times(peer):.2f}x") for peer in peers)]
    notes += [
        "goal and got: how many times that server's rate Synap reaches, the median over the rounds",
        "server CPU: per command, webdis together with its Redis; client busy: share of the time it computed",
        *caveats([ours, *peers]),
    ]
    return Table("Commands per second, one command a request", COLUMNS, rows, tuple(notes))


def _peers(stack: ExitStack, directory: Path) -> tuple[list[Contender], list[str]]:
    constant = stack.enter_context(servers.constant(directory))
    peers = [Contender(LIMIT, lambda seconds: load.wrk(load.Workload(), seconds, constant))]
    if not servers.is_installed("redis-server", "redis-benchmark"):
        return peers, ["skipped Redis and webdis: redis-server and redis-benchmark are not installed"]
    redis = stack.enter_context(servers.redis(directory))
    load.fill_redis(redis, load.KEYS, load.VALUE)
    peers.append(Contender(REDIS, partial(load.RedisBenchmark().mix, target=redis)))
    if not servers.is_installed("webdis"):
        return peers, ["skipped webdis: it is not installed"]
    webdis = stack.enter_context(servers.webdis(directory, redis.port))
    peers.append(Contender(WEBDIS, lambda seconds: load.wrk(load.Workload("url"), seconds, webdis, redis)))
    return peers, []


def _row(contender: Contender, goal: str, got: str) -> tuple[str, ...]:
    cpu, busy = f"{contender.server_cpu_us:.1f} us", f"{contender.client_busy:.0%}"
    return (contender.name, *report.spread(contender.rates), goal and f">= {goal}", got, cpu, busy)
