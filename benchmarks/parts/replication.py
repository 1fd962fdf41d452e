"""What replicas cost their master: commands per second with none, one and two of them, for Synap and for Redis.

The load is the mix of `hot`, and batches of it. After each round a master waits until its replicas have everything: how
long that takes tells whether they keep up. Redis has nothing like `ack` for single commands; see replica_lag.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from benchmarks import followers, load, report, servers
from benchmarks.followers import REDIS, SYNAP, Group
from benchmarks.load import Sample, Workload
from benchmarks.report import Table
from benchmarks.rounds import Contender, Plan, caveats, take_turns

REPLICAS = (0, 1, 2)
ACK = "replicated:1"
SINGLE, BATCHES = Workload(), Workload("batch", 100, connections=8)
COLUMNS = (
    "load and replicas",
    "commands/s",
    "min to max",
    "of none",
    "master's CPU",
    "replicas' CPU",
    "client busy",
    "then behind",
)


@dataclass
class Race:
    """One load on one group. `base` is the same without replicas; None if this is that."""

    contender: Contender
    base: Contender | None
    behind_secs: list[float] = field(default_factory=list)
    """How long the replicas needed after each stretch of load."""
    master_shares: list[float] = field(default_factory=list)
    """Of the servers' CPU time."""


def run(plan: Plan) -> Table:
    """Measure."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        groups = {}
        for kind in followers.kinds():
            for count in REPLICAS:
                plan.say(f"replication: filling {kind.name} with {count} replicas")
                group = groups[kind.name, count] = followers.start_group(stack, kind, directory, count)
                kind.fill(group.master, load.KEYS, load.VALUE)
                group.catch_up()
        races = _races(groups)
        contenders = [race.contender for race in races]
        take_turns("replication", contenders, plan, plan.short_round_secs)
        for group in groups.values():
            _check(group)
    notes = (
        "of none: of the rate without replicas, the median over the rounds",
        "master's CPU, replicas' CPU: per command; that of two replicas together",
        "then behind: how long the replicas needed for the rest after the load had stopped, in the worst round",
        *followers.notes(),
        *caveats(contenders),
    )
    return Table("Commands per second, with replicas", COLUMNS, [_row(race) for race in races], notes)


def _races(groups: dict[tuple[str, int], Group]) -> list[Race]:
    races: list[Race] = []

    def add(name: str, group: Group, drive: Callable[[int], Sample], base: Race | None) -> Race:
        def drive_and_wait(seconds: int) -> Sample:
            before_secs = _cpu_secs(group)
            sample = drive(seconds)
            race.behind_secs.append(group.catch_up())
            master_secs, *replicas_secs = (now - then for now, then in zip(_cpu_secs(group), before_secs, strict=True))
            race.master_shares.append(master_secs / (master_secs + sum(replicas_secs)))
            return sample

        race = Race(Contender(name, drive_and_wait), None if base is None else base.contender)
        races.append(race)
        return race

    base = None
    for count in REPLICAS:
        group = groups[SYNAP.name, count]
        race = add(f"Synap, {_counted(count)}", group, _synap_load(group, SINGLE), base)
        base = base or race
    group = groups[SYNAP.name, 1]
    asking = replace(group.master, headers={"X-Synap-Ack": ACK})
    add(f"Synap, 1 replica, ack {ACK}", group, _synap_load(replace(group, master=asking), SINGLE), base)
    base = None
    for count in REPLICAS:
        group = groups[SYNAP.name, count]
        race = add(f"Synap, batches of 100, {_counted(count)}", group, _synap_load(group, BATCHES), base)
        base = base or race
    base = None
    for count in REPLICAS if (REDIS.name, 0) in groups else ():
        group = groups[REDIS.name, count]
        race = add(f"Redis, {_counted(count)}", group, _redis_load(group), base)
        base = base or race
    return races


def _synap_load(group: Group, workload: Workload) -> Callable[[int], Sample]:
    return lambda seconds: load.wrk(workload, seconds, group.master, *group.replicas)


def _redis_load(group: Group) -> Callable[[int], Sample]:
    benchmark = load.RedisBenchmark()
    return lambda seconds: benchmark.mix(seconds, group.master, *group.replicas)


def _cpu_secs(group: Group) -> list[float]:
    return [server.cpu_secs() for server in (group.master, *group.replicas)]


def _counted(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"


def _check(group: Group) -> None:
    """Raise LoadFailed when a replica has other data than its master."""
    group.check()
    if group.kind is SYNAP:
        load.check_errors(group.master)
        digests = {
            servers.ask_synap(server.port, "admin.digest")["digest"] for server in (group.master, *group.replicas)
        }
        if len(digests) > 1:
            raise load.LoadFailed("a replica of Synap has other data than its master")


def _row(race: Race) -> tuple[str, ...]:
    contender = race.contender
    of_none = "" if race.base is None else f"{contender.times(race.base):.2f}x"
    master_us = contender.server_cpu_us * median(race.master_shares)
    cpus = (f"{cpu_us:.1f} us" for cpu_us in (master_us, contender.server_cpu_us - master_us))
    busy, behind = f"{contender.client_busy:.0%}", f"{max(race.behind_secs):.2f} s"
    return (contender.name, *report.spread(contender.rates), of_none, *cpus, busy, behind)
