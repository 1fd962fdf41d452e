"""What an operation costs in a collection of a thousand and in one of a million, in Synap and in Redis.

Both servers run the same operation with the same random numbers' range: wrk sends it to Synap, redis-benchmark to
Redis. What counts is how much of its speed each keeps as the collection grows a thousandfold: an O(log n) operation
keeps most of it, an O(n) one nothing. The collections keep their size throughout.
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
from benchmarks.load import RedisCommand, Workload
from benchmarks.report import Table
from benchmarks.rounds import CLIENT_IS_LIMIT, Contender, Plan, disturbance, take_turns
from benchmarks.servers import Server

SMALL = 1_000
RANDOM = load.RANDOM
COLUMNS = ("operation", "Synap, 1,000", "Synap, {n}", "kept", "Redis, 1,000", "Redis, {n}", "kept", "Synap/Redis, {n}")


@dataclass(frozen=True)
class Operation:
    """One command in both languages; RANDOM stands for a number below the size of the collection."""

    name: str
    payload: dict[str, Any]
    redis: tuple[str, ...]

    def request(self) -> str:
        """The body for Synap."""
        return json.dumps({"command": self.name, "payload": self.payload}, separators=(",", ":"))


OPERATIONS = (
    Operation(
        "sortedset.zincrby",
        {"key": "z", "member": f"member:{RANDOM}", "increment": 1},
        ("ZINCRBY", "z", "1", f"member:{RANDOM}"),
    ),
    Operation("sortedset.zrank", {"key": "z", "member": f"member:{RANDOM}"}, ("ZRANK", "z", f"member:{RANDOM}")),
    Operation(
        "sortedset.zrangebyscore",
        {"key": "z", "min": f"{RANDOM}", "max": "+inf", "count": 10},
        ("ZRANGEBYSCORE", "z", RANDOM, "+inf", "WITHSCORES", "LIMIT", "0", "10"),
    ),
    Operation("list.rpoplpush", {"source": "l", "destination": "l"}, ("RPOPLPUSH", "l", "l")),
    Operation("list.range", {"key": "l", "start": -10, "stop": -1}, ("LRANGE", "l", "-10", "-1")),
    Operation("set.inter", {"keys": ["s", "ten"]}, ("SINTER", "s", "ten")),
    Operation("set.ismember", {"key": "s", "member": f"member:{RANDOM}"}, ("SISMEMBER", "s", f"member:{RANDOM}")),
)


def run(plan: Plan) -> Table:
    """Measure."""
    sizes = (SMALL, plan.keys)
    contenders: dict[tuple[str, str, int], Contender] = {}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="synap-bench-")))
        for size in sizes:
            home = directory / str(size)
            home.mkdir()
            plan.say(f"collections: filling {size:,}")
            synap = stack.enter_context(servers.synap(home / "synap"))
            _fill_synap(synap, size)
            has_redis = servers.is_installed("redis-server", "redis-benchmark")
            redis = stack.enter_context(servers.redis(home)) if has_redis else None
            if redis is not None:
                _fill_redis(redis, size)
            for operation in OPERATIONS:
                contenders["Synap", operation.name, size] = _synap(synap, operation, size)
                if redis is not None:
                    contenders["Redis", operation.name, size] = _redis(redis, operation, size)
        take_turns("collections", list(contenders.values()), plan, 1)
    rows = [_row(operation.name, contenders, plan.keys) for operation in OPERATIONS]
    columns = tuple(column.format(n=f"{plan.keys:,}") for column in COLUMNS)
    return Table("Commands per second as a collection grows", columns, rows, _notes(list(contenders.values())))


def _notes(contenders: list[Contender]) -> tuple[str, ...]:
    limited = sum(contender.client_busy >= CLIENT_IS_LIMIT for contender in contenders)
    note = f"in {limited} of {len(contenders)} measurements the client was the limit, most often redis-benchmark"
    return (note, disturbance([sample.others_cpus for c in contenders for sample in c.samples], "round"))


def _synap(server: Server, operation: Operation, size: int) -> Contender:
    workload = Workload("template", template=operation.request(), numbers=size)
    return Contender(operation.name, lambda seconds: load.wrk(workload, seconds, server))


def _redis(server: Server, operation: Operation, size: int) -> Contender:
    return Contender(operation.name, partial(_drive_redis, RedisCommand(operation.redis, size), server))


def _drive_redis(command: RedisCommand, server: Server, seconds: int) -> load.Sample:
    return command.drive(seconds, server)


def _row(name: str, contenders: dict[tuple[str, str, int], Contender], size: int) -> tuple[str, ...]:
    cells = [name]
    for server in ("Synap", "Redis"):
        small, large = contenders.get((server, name, SMALL)), contenders.get((server, name, size))
        if small is None or large is None:
            cells += ["-", "-", "-"]
        else:
            cells += [*(report.count(median(c.rates)) for c in (small, large)), f"{large.times(small):.0%}"]
    ours, theirs = contenders["Synap", name, size], contenders.get(("Redis", name, size))
    return (*cells, "-" if theirs is None else f"{ours.times(theirs):.2f}x")


def _fill_synap(server: Server, size: int) -> None:
    commands = []
    for numbers in load.chunks(size):
        members = [_member(number) for number in numbers]
        scored = [{"member": _member(number), "score": number} for number in numbers]
        commands.append(("sortedset.zadd", {"key": "z", "members": scored}))
        commands.append(("list.rpush", {"key": "l", "values": members}))
        commands.append(("set.add", {"key": "s", "members": members}))
    commands.append(("set.add", {"key": "ten", "members": [_member(number) for number in range(10)]}))
    load.run_synap(server, commands)


def _fill_redis(server: Server, size: int) -> None:
    lines = []
    for numbers in load.chunks(size):
        members = " ".join(map(_member, numbers))
        lines.append("ZADD z " + " ".join(f"{number} {_member(number)}" for number in numbers))
        lines += [f"RPUSH l {members}", f"SADD s {members}"]
    lines.append("SADD ten " + " ".join(map(_member, range(10))))
    load.run_redis(server, lines)


def _member(number: int) -> str:
    return f"member:{number:012d}"
