"""What tests of blocking commands on real connections share: the doors to wait at, and ways to come and go.

The server sees what was sent in the order it was sent. `seen` makes sure that it has; `halted` has it see several
things at once.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from synap.commands import packed
from tests.support import ServerProcess
from tests.transport.wire import (
    HEALTH,
    Answer,
    Headers,
    Opener,
    Wire,
    command,
    connect,
    connect_handed_over,
    envelope,
    eventually,
    request,
)

PACKED = ("Content-Type", "application/msgpack")
DBSIZE = command(envelope("kv.dbsize"))
MIB = 1024 * 1024
# What the lane keeps behind a blocking command that waits, and how many requests aiohttp takes behind one.
BEHIND_BYTES_MAX = MIB
BEHIND_HANDED_OVER_MAX = 32
IDLE_TIMEOUT_SECS = 1
STOPS_WITHIN_SECS = 5.0
SHORT_SECS = 0.05
# An event loop counts from when its turn began.
TIMER_ERROR_SECS = 0.02
NOTHING = {"key": None, "value": None}

both = pytest.mark.parametrize("opened", [connect, connect_handed_over], ids=["fresh", "handed over"])
endings = pytest.mark.parametrize("end", ["closed", "half-closed", "reset"])


@dataclass(frozen=True)
class Door:
    """A way to ask for a blocking pop."""

    name: str
    opened: Opener
    is_rest: bool = False
    is_packed: bool = False

    def pop(self, *keys: str, timeout: float = 0, pop: str = "blpop", headers: Headers = ()) -> bytes:
        if self.is_rest:
            return request("POST", f"/list/{pop}", json.dumps({"keys": keys, "timeout": timeout}).encode(), headers)
        body = envelope(f"list.{pop}", keys=keys, timeout=timeout)
        return command(packed.from_json(body), [PACKED, *headers]) if self.is_packed else command(body, headers)

    def result(self, answer: Answer) -> Any:
        """What the pop was answered."""
        assert answer.status == 200, answer
        if self.is_rest:
            return answer.json
        if self.is_packed:
            assert answer.header("Content-Type") == "application/msgpack"
            return json.loads(packed.to_json(answer.body))["payload"]
        return answer.payload

    def meta(self, answer: Answer) -> tuple[str, int]:
        """Acknowledgement and lsn."""
        if self.is_rest:
            return str(answer.header("X-Synap-Ack")), int(answer.header("X-Synap-LSN") or 0)
        whole = json.loads(packed.to_json(answer.body)) if self.is_packed else answer.json
        return whole["ack"], whole["lsn"]


FRESH = Door("fresh", connect)
DOORS = [
    FRESH,
    Door("handed over", connect_handed_over),
    Door("fresh, packed", connect, is_packed=True),
    Door("handed over, packed", connect_handed_over, is_packed=True),
    Door("REST", connect, is_rest=True),
]
every_door = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)


def blpop(*keys: str, timeout: float = 0, headers: Headers = ()) -> bytes:
    return FRESH.pop(*keys, timeout=timeout, headers=headers)


def rpush(key: str, *values: Any) -> bytes:
    return command(envelope("list.rpush", key=key, values=list(values)))


def incr(key: str, headers: Headers = ()) -> bytes:
    return command(envelope("kv.incr", key=key), headers)


def left(server: ServerProcess, key: str) -> Any:
    return server.call("list.range", key=key)["values"]


def seen(server: ServerProcess) -> None:
    """Wait until the server has dealt with what was sent before; aiohttp takes a few steps for a request."""
    with connect_handed_over(server) as wire:
        for _ in range(3):
            assert wire.ask(HEALTH).status == 200


@contextmanager
def halted(server: ServerProcess) -> Iterator[None]:
    """The server stands still, and then sees all that was sent meanwhile, in order."""
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        eventually(lambda: Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T")
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


def leave(wire: Wire, end: str) -> None:
    if end == "half-closed":
        with suppress(OSError):  # the server may have closed first
            wire.socket.shutdown(socket.SHUT_WR)
    elif end == "reset":
        wire.reset()
    else:
        wire.socket.close()


def answers_to_the_end(wire: Wire) -> list[Answer]:
    """What still comes until the server ends the connection."""
    answers = []
    with suppress(EOFError, ConnectionError):
        while True:
            answers.append(wire.answer())
    return answers
