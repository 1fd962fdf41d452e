"""The hot commands, one a request at POST /api/v1/command, beside what could be and what else there is.

Every server gets the same from 50 connections that stay open: no pipelining, one client thread, values of three
characters, 100,000 keys, sets, lists and so on, so that none of them grows long; a hundred queues, rooms and topics.
All journal what they write and sync it every second.

- The limit answers a constant on the same socket loop without reading the request: how much of the possible Synap
  reaches. It is loaded by the same program right after Synap.
- redis-benchmark speaks Redis's own protocol, which is less work than HTTP and JSON for both ends.
- webdis does what Synap does, HTTP and JSON over a keyspace; with two threads and a Redis behind it.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import load, report, servers
from benchmarks.goals import Goal
from benchmarks.load import KEYS, NUMBER, RANDOM, RedisCommand, Sample, Workload
from benchmarks.report import Table
from benchmarks.rounds import CLIENT_IS_LIMIT, Contender, Plan, disturbance, take_turns
from benchmarks.servers import Server

FEW = 100
OF_LIMIT_LEAST, OF_SET_LEAST = 0.75, 0.5
MIX_OF_REDIS_LEAST, MIX_OF_WEBDIS_LEAST = 1.0, 2.0
MIX, SET = "70 % kv.get, 30 % kv.set", "kv.set"
COLUMNS = ("command", "Synap/s", "of kv.set", "limit/s", "of the limit", "peer/s", "of the peer", "server CPU")


@dataclass(frozen=True)
class Command:
    """One command for Synap and, where it has one, for Redis; RANDOM and NUMBER stand for a random number."""

    name: str
    payload: dict[str, Any]
    redis: tuple[str, ...] = ()
    numbers: int = KEYS

    def workload(self) -> Workload:
        """For wrk."""
        body = json.dumps({"command": self.name, "payload": self.payload}, separators=(",", ":"))
        return Workload("template", template=body.replace(f'"{NUMBER}"', NUMBER), numbers=self.numbers)


COMMANDS = (
    Command(SET, {"key": f"key:{RANDOM}", "value": "abc"}, ("SET", f"key:{RANDOM}", "abc")),
    Command("kv.get", {"key": f"key:{RANDOM}"}, ("GET", f"key:{RANDOM}")),
    Command("kv.incr", {"key": f"n:{RANDOM}"}, ("INCR", f"n:{RANDOM}")),
    Command("hash.set", {"key": f"h:{RANDOM}", "field": "f", "value": "abc"}, ("HSET", f"h:{RANDOM}", "f", "abc")),
    Command("list.rpush", {"key": f"l:{RANDOM}", "values": ["abc"]}, ("RPUSH", f"l:{RANDOM}", "abc")),
    Command("set.add", {"key": f"s:{RANDOM}", "members": [f"m:{RANDOM}"]}, ("SADD", f"s:{RANDOM}", f"m:{RANDOM}")),
    Command(
        "sortedset.zadd",
        {"key": f"z:{RANDOM}", "member": f"m:{RANDOM}", "score": NUMBER},
        ("ZADD", f"z:{RANDOM}", RANDOM, f"m:{RANDOM}"),
    ),
    Command("queue.publish", {"queue": f"q:{RANDOM}", "message": "abc"}, numbers=FEW),
    Command(
        "stream.publish",
        {"room": f"r:{RANDOM}", "event_type": "e", "data": "abc"},
        ("XADD", f"r:{RANDOM}", "*", "e", "abc"),
        FEW,
    ),
    Command("pubsub.publish", {"topic": f"t:{RANDOM}", "message": "abc"}, ("PUBLISH", f"t:{RANDOM}", "abc"), FEW),
)


@dataclass(frozen=True)
class Race:
    """Synap and those it is compared with, on one load."""

    name: str
    ours: Contender
    limit: Contender
    peers: tuple[Contender, ...] = ()

    def contenders(self) -> tuple[Contender, ...]:
        """In the order they run."""
        return (self.ours, self.limit, *self.peers)


def run(plan: Plan) -> Table:
    """Measure."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        synap = stack.enter_context(servers.synap(directory / "synap"))
        limit = stack.enter_context(servers.constant(directory))
        load.fill_synap(synap, KEYS, load.VALUE)
        redis, notes = None, ["skipped Redis and webdis: redis-server and redis-benchmark are not installed"]
        if servers.is_installed("redis-server", "redis-benchmark"):
            redis, notes = stack.enter_context(servers.redis(directory)), []
            load.fill_redis(redis, KEYS, load.VALUE)
        races = [_race(command, synap, limit, redis) for command in COMMANDS]
        mix, more_notes = _mix(stack, directory, synap, limit, redis)
        races.append(mix)
        contenders = [contender for race in races for contender in race.contenders()]
        take_turns("hot", contenders, plan, plan.brief_round_secs, plan.brief_rounds)
        load.check_errors(synap)
    base = races[0].ours
    rows = [row for race in races for row in _rows(race, base)]
    goals = [goal for race in races for goal in _goals(race, base)]
    return Table("The hot commands", COLUMNS, rows, (*notes, *more_notes, *_notes(contenders)), tuple(goals))


def _race(command: Command, synap: Server, limit: Server, redis: Server | None) -> Race:
    workload = command.workload()
    ours, constant = (Contender(command.name, partial(_wrk, workload, server)) for server in (synap, limit))
    if redis is None or not command.redis:
        return Race(command.name, ours, constant)
    benchmark = RedisCommand(command.redis, command.numbers)
    return Race(command.name, ours, constant, (Contender("redis-benchmark", partial(benchmark.drive, target=redis)),))


def _mix(
    stack: ExitStack, directory: Path, synap: Server, limit: Server, redis: Server | None
) -> tuple[Race, tuple[str, ...]]:
    ours, constant = (Contender(MIX, partial(_wrk, Workload(), server)) for server in (synap, limit))
    if redis is None:
        return Race(MIX, ours, constant), ()
    peers = [Contender("redis-benchmark", partial(load.RedisBenchmark().mix, target=redis))]
    if not servers.is_installed("webdis"):
        return Race(MIX, ours, constant, tuple(peers)), ("skipped webdis: it is not installed",)
    webdis = stack.enter_context(servers.webdis(directory, redis.port))
    peers.append(Contender("webdis", lambda seconds: load.wrk(Workload("url"), seconds, webdis, redis)))
    return Race(MIX, ours, constant, tuple(peers)), ()


def _wrk(workload: Workload, server: Server, seconds: int) -> Sample:
    return load.wrk(workload, seconds, server)


def _goals(race: Race, base: Contender) -> list[Goal]:
    goals = [Goal(f"{race.name} beside a constant answer", race.ours.times(race.limit), OF_LIMIT_LEAST)]
    if race.name not in (SET, MIX):
        goals.append(Goal(f"{race.name} beside kv.set", race.ours.times(base), OF_SET_LEAST))
    if race.name == MIX:
        least = {"redis-benchmark": MIX_OF_REDIS_LEAST, "webdis": MIX_OF_WEBDIS_LEAST}
        goals += [Goal(f"{MIX} beside {peer.name}", race.ours.times(peer), least[peer.name]) for peer in race.peers]
    return goals


def _rows(race: Race, base: Contender) -> list[tuple[str, ...]]:
    found = {goal.name: goal.cell for goal in _goals(race, base)}

    def cell(other: Contender, name: str) -> str:
        return found.get(f"{race.name} beside {name}", f"{race.ours.times(other):.2f}x")

    own = (
        report.count(median(race.ours.rates)),
        "" if race.ours is base else cell(base, SET),
        report.count(median(race.limit.rates)),
        cell(race.limit, "a constant answer"),
    )
    cpu = f"{race.ours.server_cpu_us:.1f} us"
    if not race.peers:
        return [(race.name, *own, "", "", cpu)]
    beside = [(f"{peer.name} {report.count(median(peer.rates))}", cell(peer, peer.name)) for peer in race.peers]
    first, *others = beside
    return [(race.name, *own, *first, cpu), *(("", "", "", "", "", *other, "") for other in others)]


def _notes(contenders: list[Contender]) -> tuple[str, ...]:
    limited = sum(contender.client_busy >= CLIENT_IS_LIMIT for contender in contenders)
    return (
        "all ratios are the median over the rounds; server CPU: of Synap, per command",
        f"goals: {OF_LIMIT_LEAST}x of the limit, {OF_SET_LEAST}x of kv.set; the mix {MIX_OF_REDIS_LEAST:.0f}x of"
        f" redis-benchmark and {MIX_OF_WEBDIS_LEAST:.0f}x of webdis",
        f"in {limited} of {len(contenders)} measurements the client was the limit: the server may be able to do more",
        disturbance([sample.others_cpus for c in contenders for sample in c.samples], "round"),
    )
