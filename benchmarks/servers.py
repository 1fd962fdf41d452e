"""The servers that are measured: each a process on a free port of 127.0.0.1, in a directory of its own.

All are context managers that stop what they started, by its pid, however the block is left. They run in
sessions of their own, so that Ctrl-C reaches only this program, which then stops them.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

READY_SECS_MAX = 120.0
STOP_SECS_MAX = 30.0
POLL_SECS = 0.02
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
CLOCK_TICKS_PER_SEC = os.sysconf("SC_CLK_TCK")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "synap-bench"
PERF_TEST = CACHE / "perf-test"
"""Where the jars of RabbitMQ's PerfTest are; README.md tells how they get there."""
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Not the one in PATH, which wants to be root or the package's own user."""
CONSTANT_SERVER = Path(__file__).with_name("constant_server.py")


class NotReady(Exception):
    """A server did not come up; the message holds the end of its log."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    pid: int
    port: int
    start_secs: float
    """From the start of the process until it was ready."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What requests to it say beside their content: who asks."""

    def cpu_secs(self) -> float:
        """CPU time of all its threads so far, user and system."""
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / CLOCK_TICKS_PER_SEC

    def rss_bytes(self) -> int:
        """Resident memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_BYTES


@contextmanager
def synap(data: Path, *, fsync: str = "everysec", **environment: str) -> Iterator[Server]:
    """`synap serve`. It makes no snapshots of its own: no peer compacts its journal while it is measured."""
    command = [sys.executable, "-m", "synap", "serve", "--port", "0", "--data", str(data), "--fsync", fsync]
    log = data.with_name(f"{data.name}.log")
    environment["SYNAP_JOURNAL_SNAPSHOT_EVERY_BYTES"] = "0"
    with _process(command, log, announces=True, **environment) as process:
        yield _announced(process)


@contextmanager
def constant(directory: Path) -> Iterator[Server]:
    """The server that answers a constant."""
    with _process([sys.executable, str(CONSTANT_SERVER)], directory / "constant.log", announces=True) as process:
        yield _announced(process)


@contextmanager
def redis(directory: Path, *, master_port: int | None = None) -> Iterator[Server]:
    """Redis as durable as Synap by default: an append-only file synced every second, no other saving. A replica of the
    one at `master_port`, if there is one.
    """
    port = _free_port()
    settings = {
        "port": port,
        "bind": "127.0.0.1",
        "dir": directory,
        "appendonly": "yes",
        "appendfsync": "everysec",
        "auto-aof-rewrite-percentage": 0,
        "save": "",
        "daemonize": "no",
        "repl-diskless-sync-delay": 0,  # by default it waits 5 s, in case that another replica comes
    }
    arguments = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    if master_port is not None:
        arguments += ["--replicaof", "127.0.0.1", str(master_port)]
    with _process(["redis-server", *arguments], directory / "redis.log", announces=False) as process:
        yield _answering(process, port, lambda: ask_redis(port, "PING") == b"+PONG")


@contextmanager
def webdis(directory: Path, redis_port: int) -> Iterator[Server]:
    """Webdis in front of a Redis, with the two threads of its package and without logging or access lists."""
    port = _free_port()
    settings = {
        "redis_host": "127.0.0.1",
        "redis_port": redis_port,
        "http_host": "127.0.0.1",
        "http_port": port,
        "threads": 2,
        "database": 0,
        "daemonize": False,
        "verbosity": 0,
        "logfile": str(directory / "webdis.log"),
    }
    file = directory / "webdis.json"
    file.write_text(json.dumps(settings))
    with _process(["webdis", str(file)], directory / "webdis.out", announces=False) as process:
        yield _answering(process, port, lambda: http(port, "GET", "/PING") == b'{"PING":[true,"PONG"]}')


@contextmanager
def beanstalkd(directory: Path) -> Iterator[Server]:
    """beanstalkd with a log that is synced every second."""
    port, log = _free_port(), directory / "beanstalkd"
    log.mkdir()
    command = ["beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-b", str(log), "-f", "1000"]
    with _process(command, directory / "beanstalkd.log", announces=False) as process:
        yield _answering(process, port, lambda: _accepts(port))


@contextmanager
def nats(directory: Path) -> Iterator[Server]:
    """NATS with JetStream, which keeps its streams in files and leaves it to the system when they reach the disk."""
    port, store = _free_port(), directory / "nats"
    command = ["nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(store)]
    with _process(command, directory / "nats.log", announces=False) as process:
        yield _answering(process, port, lambda: _accepts(port))


@contextmanager
def rabbitmq(directory: Path) -> Iterator[Server]:
    """RabbitMQ as it is configured by default, with an epmd of its own, which Erlang needs and would leave behind."""
    port, epmd_port, home = _free_port(), _free_port(), directory / "rabbitmq"
    home.mkdir()
    environment = {
        "HOME": str(home),  # where Erlang keeps a secret
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(epmd_port),
        "RABBITMQ_NODENAME": "synap-bench@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(_free_port()),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_CONFIG_FILE": str(home / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RUNNING_UNDER_SYSTEMD": "1",  # otherwise a shell stays between this program and the server
    }
    with (
        _process(["epmd"], home / "epmd.log", announces=False, **environment) as epmd,
        _process([str(RABBITMQ)], home / "log", announces=False, **environment) as process,
    ):
        _answering(epmd, epmd_port, lambda: _accepts(epmd_port))
        yield _answering(process, port, lambda: _accepts(port))


def has_rabbitmq() -> bool:
    """Whether RabbitMQ and what drives it are there."""
    return RABBITMQ.exists() and is_installed("java", "epmd") and any(PERF_TEST.glob("perf-test-*.jar"))


def nats_cli() -> str | None:
    """The `nats` program, also where `go install` puts it without being asked for another place."""
    go_path = os.environ.get("GOPATH") or str(Path.home() / "go")
    return shutil.which("nats") or shutil.which("nats", path=str(Path(go_path) / "bin"))


def machine_cpu_secs() -> float:
    """CPU time that the whole machine has spent so far, or has been denied by other machines."""
    user, nice, system, _idle, _iowait, *others = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + sum(others)) / CLOCK_TICKS_PER_SEC


def is_installed(*programs: str) -> bool:
    """Whether all programs can be started."""
    return all(shutil.which(program) for program in programs)


def http(port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """The body of one answer. Raises OSError, also for an answer that is an error."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise OSError(f"{method} {path} was answered {response.status}: {answer[:500]!r}")
    return answer


def ask_synap(
    port: int, command: str, payload: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> Any:
    """The result of a command."""
    body = json.dumps({"command": command, "payload": payload or {}}).encode()
    return json.loads(http(port, "POST", "/api/v1/command", body, headers))["payload"]


def ask_redis(port: int, command: str) -> bytes:
    """The answer to a command as one types it, as Redis sends it but for the last line end."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(f"{command}\r\nQUIT\r\n".encode())
        with connection.makefile("rb") as file:
            return file.read().removesuffix(b"+OK\r\n").removesuffix(b"\r\n")


@dataclass(frozen=True)
class _Process:
    popen: subprocess.Popen[bytes]
    log: Path
    started_at: float

    def server(self, port: int) -> Server:
        return Server(self.popen.pid, port, time.monotonic() - self.started_at)

    def remaining_secs(self) -> float:
        """Time left to become ready. Raises NotReady when there is none, or when the process has ended."""
        remaining = self.started_at + READY_SECS_MAX - time.monotonic()
        if self.popen.poll() is not None or remaining <= 0:
            raise NotReady(f"{self.popen.args!r} is not ready; its log ends with: {self.log.read_text()[-2000:]}")
        return remaining


@contextmanager
def _process(command: Sequence[str], log: Path, *, announces: bool, **environment: str) -> Iterator[_Process]:
    started_at = time.monotonic()
    with log.open("wb") as file:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if announces else file,
            stderr=file,
            env={**os.environ, **environment},
            cwd=log.parent,
            start_new_session=True,
        )
    try:
        yield _Process(popen, log, started_at)
    finally:
        _stop(popen)


def _stop(popen: subprocess.Popen[bytes]) -> None:
    popen.terminate()
    try:
        popen.wait(STOP_SECS_MAX)
    except subprocess.TimeoutExpired:
        pass
    finally:
        popen.kill()
        popen.wait()
        if popen.stdout is not None:
            popen.stdout.close()


def _announced(process: _Process) -> Server:
    """A server that prints a line with its URL when it is ready."""
    assert process.popen.stdout is not None
    output, line = process.popen.stdout.fileno(), b""
    while b"\n" not in line:
        if select.select([output], [], [], process.remaining_secs())[0]:
            read = os.read(output, 4096)
            if not read:
                process.popen.wait(STOP_SECS_MAX)
            line += read
    match = re.search(rb"http://127\.0\.0\.1:(\d+)", line)
    if match is None:
        raise NotReady(f"{process.popen.args!r} printed {line!r} instead of its URL")
    return process.server(int(match[1]))


def _answering(process: _Process, port: int, is_ready: Callable[[], bool]) -> Server:
    """A server that is ready when it answers."""
    while True:
        process.remaining_secs()
        try:
            if is_ready():
                return process.server(port)
        except OSError:
            pass
        time.sleep(POLL_SECS)


def _accepts(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
