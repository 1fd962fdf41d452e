"""How late a replica is: at rest, and while 50 connections write as fast as the master takes it.

Measured from outside, on connections of their own that write one key every few milliseconds: how long until the master
answers, and how long until it answers that its replica has the write in its journal (`ack: replicated:1`; for Redis
SET and WAIT 1 in one go). The difference is what replication adds. Beside it, `lag_ms` as replication.status tells it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from time import sleep
from typing import TypeVar

from benchmarks import followers, load, probe
from benchmarks.followers import SYNAP, Group
from benchmarks.load import Workload
from benchmarks.report import Table, count
from benchmarks.rounds import Plan, disturbance

T = TypeVar("T")

PAUSE_SECS = 0.005
WAIT_MS_MAX = 10_000
REST, LOAD = "at rest", "under load"
COLUMNS = ("milliseconds, 1 replica", "when", "p50", "p99", "worst p99", "samples")
_WRITE = '{"command":"kv.set","payload":{"key":"probe","value":"x"}%s}'
_STATUS = b'{"command":"replication.status"}'
_LAG_MS = re.compile(rb'"lag_ms":([0-9.e-]+)')


class Stretch:
    """Probes on a group, for as long as something else goes on."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._found: dict[str, list[float]] = {}

    def run(self, work: Callable[[], T]) -> tuple[T, dict[str, list[float]]]:
        """Do the work; returns what comes of it, and milliseconds by what they are of."""
        with ExitStack() as stack:
            taken = {
                name: stack.enter_context(probe.probing(line, PAUSE_SECS)) for name, line in self._writers().items()
            }
            for name, line in self._askers().items():
                stack.enter_context(probe.probing(line, PAUSE_SECS, self._noting(name)))
            result = work()
        return result, {name: [secs * 1000 for secs in found] for name, found in taken.items()} | self._found

    def _writers(self) -> dict[str, probe.Line]:
        port = self._group.master.port
        if self._group.kind is SYNAP:
            ack = ',"ack":"replicated:1"'
            return {
                "Synap, until the master answers": probe.to_synap(port, (_WRITE % "").encode()),
                "Synap, until its replica has it": probe.to_synap(port, (_WRITE % ack).encode()),
            }
        both = ["SET probe x", f"WAIT 1 {WAIT_MS_MAX}"]
        return {
            "Redis, until the master answers": probe.to_redis(port, both[:1], b"+OK\r\n"),
            "Redis, until its replica has it": probe.to_redis(port, both, b"+OK\r\n:1\r\n"),
        }

    def _askers(self) -> dict[str, probe.Line]:
        if self._group.kind is not SYNAP:
            return {}
        servers = {"master": self._group.master, "replica": self._group.replicas[0]}
        return {
            f"Synap, lag_ms as the {name} tells it": probe.to_synap(server.port, _STATUS)
            for name, server in servers.items()
        }

    def _noting(self, name: str) -> Callable[[bytes], None]:
        found = self._found.setdefault(name, [])
        return lambda answer: found.extend(map(float, _LAG_MS.findall(answer)))


def run(plan: Plan) -> Table:
    """Measure."""
    found: dict[tuple[str, str], list[list[float]]] = {}
    rates: dict[str, list[float]] = {}
    others_cpus: list[float] = []
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        groups = [followers.start_group(stack, kind, directory, 1) for kind in followers.kinds()]
        loads = {group.kind.name: _load(group) for group in groups}
        for group in groups:
            group.kind.fill(group.master, load.KEYS, load.VALUE)
            loads[group.kind.name](1)
        for number in range(1, plan.rounds + 1):
            for group in groups:
                name = group.kind.name
                plan.say(f"replica_lag: round {number} of {plan.rounds}, {name}")
                group.catch_up()
                _, lags = Stretch(group).run(partial(sleep, plan.short_round_secs))
                _note(found, REST, lags)
                sample, lags = Stretch(group).run(partial(loads[name], plan.round_secs))
                _note(found, LOAD, lags)
                rates.setdefault(name, []).append(sample.commands_per_sec)
                others_cpus.append(sample.others_cpus)
        for group in groups:
            group.catch_up()
            group.check()
    rows = [_row(*what, rounds) for what, rounds in sorted(found.items(), key=lambda item: item[0][0], reverse=True)]
    loaded = ", ".join(f"{count(median(found))} for {name}" for name, found in rates.items())
    notes = (
        f"load: 50 connections that write, in the median {loaded} a second",
        "the median over the rounds, and the p99 of the worst round",
        *followers.notes(),
        disturbance(others_cpus, "round"),
    )
    return Table("How late a replica is", COLUMNS, rows, notes)


def _load(group: Group) -> Callable[[int], load.Sample]:
    if group.kind is SYNAP:
        workload = Workload(write_share=1.0)
        return lambda seconds: load.wrk(workload, seconds, group.master, *group.replicas)
    benchmark = load.RedisCommand(["-t", "set"])
    return lambda seconds: benchmark.drive(seconds, group.master, *group.replicas)


def _note(found: dict[tuple[str, str], list[list[float]]], when: str, stretch: dict[str, list[float]]) -> None:
    for name, taken_ms in stretch.items():
        found.setdefault((name, when), []).append(sorted(taken_ms))


def _row(name: str, when: str, rounds: list[list[float]]) -> tuple[str, ...]:
    p50s, p99s = ([_quantile(taken, part) for taken in rounds] for part in (0.5, 0.99))
    return (name, when, *(f"{ms:.2f}" for ms in (median(p50s), median(p99s), max(p99s))), count(sum(map(len, rounds))))


def _quantile(ordered: list[float], part: float) -> float:
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]
