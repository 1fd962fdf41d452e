"""Pub/sub: finding the one subscription that matches.

50 connections publish over HTTP to topics that one subscription matches, by name or by a wildcard. There are 100,000
subscriptions on ten connections, or ten; what counts is how much of the rate the many leave. It is the same five topics
that are published to, and once all that are subscribed to: each has a history to keep. Deliveries: see `brokers`.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks import clients, load, report, servers
from benchmarks.clients.pubsub import Hold
from benchmarks.load import RANDOM, Sample, Workload
from benchmarks.report import Table
from benchmarks.rounds import Contender, Plan, caveats, take_turns
from benchmarks.servers import Server

CONNECTIONS = 10
FEW, MANY = 1, 10_000
"""Patterns on each connection."""
TOPICS = {"name": f"exact.{RANDOM}.x", "wildcard": f"wild.{RANDOM}.y"}
COLUMNS = ("what", "per second", "min to max", "of the first", "server CPU", "client busy")


def run(plan: Plan) -> Table:
    """Measure."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        few, many = (_subscribed(stack, plan, directory, patterns) for patterns in (FEW, MANY))
        by_name = [_publish(few, FEW, "name"), _publish(many, MANY, "name"), _publish(many, MANY, "name", to_all=True)]
        by_wildcard = [_publish(few, FEW, "wildcard"), _publish(many, MANY, "wildcard")]
        take_turns("pubsub", [*by_name, *by_wildcard], plan, plan.short_round_secs)
        for server in (few, many):
            load.check_errors(server)
    groups = (by_name, by_wildcard)
    rows = [_row(contender, group[0]) for group in groups for contender in group]
    return Table("Pub/sub: publications per second", COLUMNS, rows, caveats([*by_name, *by_wildcard]))


def _subscribed(stack: ExitStack, plan: Plan, directory: Path, patterns: int) -> Server:
    plan.say(f"pubsub: {CONNECTIONS * patterns:,} subscriptions")
    synap = stack.enter_context(servers.synap(directory / str(patterns)))
    stack.enter_context(clients.holding("pubsub", Hold(synap.port, CONNECTIONS, patterns)))
    return synap


def _publish(synap: Server, patterns: int, way: str, *, to_all: bool = False) -> Contender:
    """Publish to topics that one subscription matches by its name or wildcard."""
    body = f'{{"command":"pubsub.publish","payload":{{"topic":"{TOPICS[way]}","message":"abc"}}}}'
    topics = CONNECTIONS * (patterns if to_all else FEW) // 2
    workload = Workload("template", template=body, numbers=topics)
    name = f"publish to {topics:,}, {CONNECTIONS * patterns:,} subscribed, by {way}"
    return Contender(name, partial(_drive, synap, workload))


def _drive(server: Server, workload: Workload, seconds: int) -> Sample:
    return load.wrk(workload, seconds, server)


def _row(contender: Contender, first: Contender) -> tuple[str, ...]:
    times = "" if contender is first else f"{contender.times(first):.2f}x"
    busy = f"{median(sample.client_busy for sample in contender.samples):.0%}"
    return (contender.name, *report.spread(contender.rates), times, f"{contender.server_cpu_us:.1f} us", busy)
