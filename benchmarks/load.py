"""The load: wrk over HTTP, redis-benchmark over Redis's own protocol, and filling either server with keys.

wrk gets its requests from load.lua. Both programs are C and use one thread, which leaves one of two cores to
the server; `client_busy` tells how near the client was to being the limit itself.
"""

from __future__ import annotations

import csv
import io
import json
import re
import resource
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.servers import Server, http, machine_cpu_secs

T = TypeVar("T")

LOAD_LUA = Path(__file__).with_name("load.lua")
KEYS = 100_000
VALUE = "abc"
READ_SHARE, WRITE_SHARE = 0.7, 0.3
CONNECTIONS = 50
POOL_COMMANDS = 50_000
POOL_REQUESTS_MIN = 1_000
FILL_BATCH = 1_000
TIMEOUT_SECS = 60
REDIS_BENCHMARK_FIRST_REQUESTS = 20_000
RANDOM = "__rand_int__"
"""Stands for a random number of twelve digits in a command, as redis-benchmark has it."""
NUMBER = "__number__"
"""Stands for a random number as JSON has it; for wrk only."""


class LoadFailed(Exception):
    """Requests were not answered as they should be: what was measured means nothing."""


@dataclass(frozen=True)
class Sample:
    """What one stretch of load found."""

    commands_per_sec: float
    server_cpu_us: float
    """CPU time of the servers per command."""
    client_busy: float
    """Share of the time that the load generator was computing."""
    others_cpus: float
    """CPUs that other programs, or other machines on the same hardware, took meanwhile."""
    latency: Latency | None = None
    """Where the client measured it: at wrk, each of whose connections waits for its answer before it asks again."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds until requests were answered."""

    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class Workload:
    """What wrk sends: single commands, batches, the URLs of webdis, or a template with RANDOM in it."""

    kind: str = "command"
    batch: int = 1
    write_share: float = WRITE_SHARE
    connections: int = CONNECTIONS
    template: str = ""
    numbers: int = KEYS
    """How many different random numbers there are."""

    def arguments(self) -> list[str]:
        """For load.lua."""
        pool = max(POOL_REQUESTS_MIN, POOL_COMMANDS // self.batch)
        shape = [self.kind, str(pool), str(self.numbers), str(self.batch), str(round(100 * self.write_share))]
        return [*shape, self.template]


class Meter:
    """CPU time that `servers`, clients that have ended, this program and others took, and the time that passed."""

    def __init__(self, *servers: Server) -> None:
        self._servers = servers
        self._started = self._readings()

    def read(self) -> tuple[float, float, float, float]:
        """Seconds since it was made: passed, CPU of the servers, CPU of the clients, CPU of everybody else."""
        now = self._readings()
        elapsed, servers, clients, machine = (after - before for after, before in zip(now, self._started, strict=True))
        return elapsed, servers, clients, max(machine - servers - clients, 0.0)

    def _readings(self) -> tuple[float, float, float, float]:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)]
        clients_secs = sum(usage.ru_utime + usage.ru_stime for usage in usages)
        servers_secs = sum(server.cpu_secs() for server in self._servers)
        return time.monotonic(), servers_secs, clients_secs, machine_cpu_secs()


def wrk(workload: Workload, seconds: int, target: Server, *behind: Server) -> Sample:
    """Load `target` for a while; CPU time of the servers `behind` it counts as its own."""
    command = ["wrk", "-t1", f"-c{workload.connections}", f"-d{seconds}s", f"--timeout={TIMEOUT_SECS}s"]
    headers = [argument for name, value in target.headers.items() for argument in ("-H", f"{name}: {value}")]
    meter = Meter(target, *behind)
    output = run([*command, *headers, f"-s{LOAD_LUA}", f"http://127.0.0.1:{target.port}", "--", *workload.arguments()])
    elapsed_secs, server_secs, _, others_secs = meter.read()
    found = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", output, re.MULTILINE)
    if found is None:
        raise LoadFailed(f"wrk printed no result: {output}")
    requests, duration_us, failed, client_us, *latencies_us = map(int, found.groups())
    if failed or not requests:
        raise LoadFailed(f"{failed} of {requests} requests failed ({workload})")
    commands = requests * workload.batch
    rate = commands / duration_us * 1e6
    latency = Latency(*(us / 1000 for us in latencies_us))
    return Sample(rate, server_secs / commands * 1e6, client_us / duration_us, others_secs / elapsed_secs, latency)


class RedisCommand:
    """redis-benchmark with one thread on one command, RANDOM being any of `numbers` numbers."""

    def __init__(
        self, command: Sequence[str], numbers: int = KEYS, *, connections: int = CONNECTIONS, pipeline: int = 1
    ) -> None:
        self._command = ["-P", str(pipeline), "-c", str(connections), *command]
        self._numbers = numbers
        self._requests = REDIS_BENCHMARK_FIRST_REQUESTS

    def drive(self, seconds: float, target: Server, *behind: Server) -> Sample:
        """Load `target` for about as long as told, judging by the time before; CPU time as with `wrk`."""
        requests = self._requests
        command = ["redis-benchmark", "-p", str(target.port), "-n", str(requests), "-r", str(self._numbers)]
        meter = Meter(target, *behind)
        output = run([*command, "--csv", *self._command])
        rows = list(csv.reader(io.StringIO(output)))
        elapsed_secs, server_secs, client_secs, others_secs = meter.read()
        if len(rows) < 2:
            raise LoadFailed(f"redis-benchmark printed no result for {self._command}: {rows}")
        rate = float(rows[-1][1])
        self._requests = max(round(rate * seconds), 1)
        return Sample(rate, server_secs / requests * 1e6, client_secs / elapsed_secs, others_secs / elapsed_secs)


class RedisBenchmark:
    """GETs, then SETs, weighed together as the mix."""

    def __init__(self, *, connections: int = CONNECTIONS, pipeline: int = 1) -> None:
        self._gets, self._sets = (
            RedisCommand(["-t", test], connections=connections, pipeline=pipeline) for test in ("get", "set")
        )

    def mix(self, seconds: int, target: Server, *behind: Server) -> Sample:
        """Load `target` for about as long as told."""
        gets, sets = self._gets.drive(seconds / 2, target, *behind), self._sets.drive(seconds / 2, target, *behind)
        rate = 1 / (READ_SHARE / gets.commands_per_sec + WRITE_SHARE / sets.commands_per_sec)
        cpu_us = READ_SHARE * gets.server_cpu_us + WRITE_SHARE * sets.server_cpu_us
        client_busy = READ_SHARE * gets.client_busy + WRITE_SHARE * sets.client_busy
        return Sample(rate, cpu_us, client_busy, (gets.others_cpus + sets.others_cpus) / 2)


def fill_synap(target: Server, keys: int, value: str | None = None) -> None:
    """Set the first `keys` keys, in batches; the value is the same for all or else the key's number."""
    run_synap(target, (("kv.set", {"key": key(n), "value": value or numbered_value(n)}) for n in range(keys)))


def fill_redis(target: Server, keys: int, value: str | None = None) -> None:
    """The same for Redis."""
    run_redis(target, (f"SET {key(n)} {value or numbered_value(n)}" for n in range(keys)))


def run_synap(
    target: Server, commands: Iterable[tuple[str, dict[str, Any]]], commands_at_once: int = FILL_BATCH
) -> None:
    """Run commands in batches. Raises LoadFailed when one fails."""
    connection = HTTPConnection("127.0.0.1", target.port, timeout=TIMEOUT_SECS)
    try:
        for part in _parts(commands, commands_at_once):
            entries = [{"command": name, "payload": payload} for name, payload in part]
            body = json.dumps({"type": "batch", "commands": entries}, separators=(",", ":"))
            connection.request("POST", "/api/v1/command", body, {"Content-Type": "application/json", **target.headers})
            answer = connection.getresponse().read()
            if answer.count(b'"status":"success"') < len(entries):
                raise LoadFailed(f"a batch was answered {answer[:500]!r}")
    finally:
        connection.close()


def run_redis(target: Server, lines: Iterable[str]) -> None:
    """Run commands that answer with one line in pipelines. Raises LoadFailed when one fails."""
    with (
        socket.create_connection(("127.0.0.1", target.port), timeout=TIMEOUT_SECS) as connection,
        connection.makefile("rb") as replies,
    ):
        for part in _parts(lines):
            connection.sendall("".join(f"{line}\r\n" for line in part).encode())
            for line in part:
                answer = replies.readline()
                if answer[:1] not in (b"+", b":"):
                    raise LoadFailed(f"{line[:100]} was answered {answer!r}")


def key(number: int) -> str:
    """The key redis-benchmark makes of a number."""
    return f"key:{number:012d}"


def numbered_value(number: int) -> str:
    """Ten characters."""
    return f"{number:010d}"


def check_errors(target: Server) -> None:
    """Raise LoadFailed when Synap has answered any command, also one of a batch, with an error."""
    page = http(target.port, "GET", "/metrics", headers=target.headers).decode()
    errors = re.findall(r'^synap_errors_total\{code="(\w+)"\} (\S+)', page, re.MULTILINE)
    if errors:
        raise LoadFailed(f"Synap answered with errors: {dict(errors)}")


def run(command: Sequence[str]) -> str:
    """What a program prints. Raises LoadFailed when it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise LoadFailed(f"{command[0]} ended with {done.returncode}: {done.stderr[-1000:]}")
    return done.stdout


def chunks(count: int) -> Iterator[range]:
    """The numbers below `count`, some at a time."""
    for start in range(0, count, FILL_BATCH):
        yield range(start, min(start + FILL_BATCH, count))


def _parts(items: Iterable[T], count: int = FILL_BATCH) -> Iterator[list[T]]:
    iterator = iter(items)
    while part := list(islice(iterator, count)):
        yield part
