"""What tests share: a fake clock, a dispatcher without a server, and a real server in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import argon2

from synap.clock import Clock, Millis
from synap.commands import TABLE
from synap.commands.credentials import Credentials
from synap.commands.dispatcher import Dispatcher
from synap.commands.executor import Executor
from synap.commands.gates import Limits
from synap.commands.reply import Reply
from synap.commands.state import State
from synap.commands.waiting import WouldBlock
from synap.engines import eviction
from synap.errors import BY_CODE
from synap.journal.record import Record

START: Millis = 1_700_000_000_000
CHEAP_HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Tests that make many users would spend their time with hashing."""
READY_WITHIN_SECS = 60


class FakeClock(Clock):
    """A clock that stands still until it is told otherwise. It can be set back, as a wall clock can."""

    def __init__(self, at: Millis = START) -> None:
        self._wall = at
        super().__init__(lambda: self._wall * 1_000_000)

    @property
    def wall(self) -> Millis:
        return self._wall

    @wall.setter
    def wall(self, at: Millis) -> None:
        self._wall = at
        self.release()

    def advance(self, seconds: float) -> None:
        self.wall += round(seconds * 1000)

    def twin(self) -> FakeClock:
        """A clock of its own that goes on as this one would."""
        clock = FakeClock(self.wall)
        clock._floor, clock._shown, clock._passed = self.now(), self._shown, self._passed
        return clock


class MemoryLog:
    """A journal that keeps its records in a list. `failure` makes it refuse, as a full disk would."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.failure: OSError | None = None

    def append(self, lsn: int, time: Millis, name: bytes, payload: bytes) -> None:
        self.records.append(Record(lsn, time, name.decode(), bytes(payload)))


class Harness:
    """The live path without transport or disk: real table, dispatcher and state, fake clock."""

    def __init__(self, limits: Limits | None = None, table: Any = TABLE) -> None:
        limits = limits or Limits()
        self.clock = FakeClock()
        self.log = MemoryLog()
        self.state = State()
        self.executor = Executor(table, self.state)
        eviction.prepare(self.state.keyspace, limits.memory_policy)
        self.credentials = Credentials(self.state.accounts, hasher=CHEAP_HASHER)
        self.dispatcher = Dispatcher(self.executor, self.log, self.clock, limits, credentials=self.credentials)
        self.dispatcher.ready()

    def call(self, command: str, /, **payload: Any) -> Any:
        """The payload of a successful reply. Raises the SynapError of a failed one."""
        return payload_of(self.send({"command": command, "payload": payload}))

    def send(self, request: Any, **headers: Any) -> Any:
        """The decoded reply to a request given as data, JSON text or bytes."""
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        return json.loads(self.answer(body, **headers).body)

    def answer(self, body: bytes, *arguments: str, **headers: Any) -> Reply:
        """The reply to a body. Nobody waits here: a blocking command finds something at once or is told of nothing."""
        try:
            return self.dispatcher.answer(body, *arguments, **headers)  # type: ignore[arg-type]
        except WouldBlock as blocked:
            reply: Reply = blocked.wait.give_up()
            return reply

    def digest(self) -> str:
        return self.state.digest(self.clock.now())

    def replayed(self) -> Executor:
        """A fresh state to which every record has been applied."""
        executor = Executor(TABLE, State())
        for record in self.log.records:
            executor.apply(record)
        return executor

    def restored(self) -> Executor:
        """A fresh state loaded from a snapshot of this one."""
        executor = Executor(TABLE, State())
        for chunk in self.executor.dump():
            executor.load(chunk)
        executor.loaded(self.state.lsn, self.state.time)
        return executor


def payload_of(reply: Any) -> Any:
    """The payload of a reply or batch entry; raises its error."""
    if reply["status"] == "success":
        return reply["payload"]
    error = reply["error"]
    raise BY_CODE[error["code"]](error["message"], **error["details"])


class ServerProcess:
    """`synap serve` on a free port. Use as a context manager, or `kill` it and make another on the same data."""

    def __init__(self, data: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.data = data
        self.log = data.with_name(data.name + ".log")
        with self.log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "synap", "serve", "--port", "0", "--data", str(data), *arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **(env or {})},
            )
        line = self._first_line()
        match = re.search(r"https?://[\d.]+:(\d+)", line)
        assert match, f"no ready line but {line!r}; the log says {self.log.read_text()[-2000:]!r}"
        self.ready_line = line
        self.port = int(match[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def _first_line(self) -> str:
        assert self.process.stdout is not None
        deadline = time.monotonic() + READY_WITHIN_SECS
        line = self.process.stdout.readline().decode()
        assert time.monotonic() < deadline
        return line

    def call(self, command: str, /, **payload: Any) -> Any:
        """The payload of a successful reply. Raises the SynapError of a failed one."""
        return payload_of(self.send({"command": command, "payload": payload}))

    def send(self, request: Any) -> Any:
        """The decoded reply to a request given as data or bytes."""
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        return json.loads(self.http("POST", "/api/v1/command", body)[2])

    def http(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body of one request on a connection of its own."""
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    @contextmanager
    def socket(self) -> Iterator[socket.socket]:
        """A bare connection, for requests that no client library would send."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            yield connection

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()
        self._close()

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=60)
        self._close()
        return status

    def _close(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()
