"""A bare pipelining client, and writers that remember what they were promised."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from tests.support import ServerProcess

Contents = dict[str, Any]

SMALL_PIECES = {"SYNAP_JOURNAL_SEGMENT_BYTES": "4096", "SYNAP_JOURNAL_SNAPSHOT_EVERY_BYTES": "16384"}
"""Settings with which a little load makes many segments and several snapshots."""

PATIENCE_SECS = 30
KEYS_PER_WRITER = 6
PAD_CHARS_MAX = 200
DEPTHS = (1, 1, 2, 16)


class Connection:
    """One connection that may have several requests on their way. Raises OSError, EOFError when it breaks."""

    def __init__(self, port: int, timeout_secs: float = PATIENCE_SECS) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_secs)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def send(self, requests: Iterable[Any]) -> None:
        """Send requests, as data or JSON, in one piece."""
        head = b"POST /api/v1/command HTTP/1.1\r\nHost: synap\r\nContent-Length: %d\r\n\r\n%b"
        bodies = [request if isinstance(request, bytes) else json.dumps(request).encode() for request in requests]
        self._socket.sendall(b"".join(head % (len(body), body) for body in bodies))

    def receive(self) -> tuple[int, Any]:
        """Status and body of the next reply."""
        status = int(self._line().split()[1])
        length = 0
        while line := self._line():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        body = self._file.read(length)
        if len(body) < length:
            raise EOFError
        return status, json.loads(body)

    def call(self, request: Any) -> tuple[int, Any]:
        """Send one request and wait for its reply."""
        self.send([request])
        return self.receive()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def _line(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return line.rstrip()


class Book(Protocol):
    """What one writer knows: what it has asked for, and what was acknowledged."""

    name: str
    acknowledged: int

    def next(self, rng: random.Random) -> Any:
        """Another request, on its way from now on."""

    def acknowledge(self, results: list[Any]) -> bool:
        """Note the results of the oldest request on its way; says whether they are what they should be."""

    def refused(self) -> None:
        """Note that nothing on its way will be executed."""


class Ledger:
    """What was acknowledged, and the changes on their way in the order they were sent.

    A change maps keys to their new values, None for a deleted one.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.settled: Contents = {}
        self.pending: list[Contents] = []
        self.acknowledged = 0

    def next(self, rng: random.Random) -> Any:
        """See Book."""
        request, change = self._drawn(rng)
        self.pending.append(change)
        return request

    def acknowledge(self, results: list[Any]) -> bool:
        """See Book."""
        self.settled = _changed(self.settled, [self.pending.pop(0)])
        self.acknowledged += 1
        return all(result["status"] == "success" for result in results)

    def refused(self) -> None:
        """See Book."""
        self.pending.clear()

    def check(self, found: Contents) -> None:
        """Nothing acknowledged is missing, and what was on its way is there up to some change, each one whole."""
        possible = [_changed(self.settled, self.pending[:count]) for count in range(len(self.pending) + 1)]
        assert found in possible, f"{self.name}: found {found}, expected one of {possible}"
        self.settled, self.pending = found, []

    def _drawn(self, rng: random.Random) -> tuple[Any, Contents]:
        """A request, and what it changes."""
        expected = _changed(self.settled, self.pending)
        key = f"{self.name}:{rng.randrange(KEYS_PER_WRITER)}"
        counter, left, right = f"{self.name}:counter", f"{self.name}:left", f"{self.name}:right"
        count = expected.get(counter, 0) + 1
        value = {"n": count, "pad": "x" * rng.randrange(PAD_CHARS_MAX)}
        match rng.randrange(8):
            case 0 | 1 | 2:
                return _command("kv.set", key=key, value=value), {key: value}
            case 3:
                return _command("kv.del", key=key), {key: None}
            case 4 | 5:
                return _command("kv.incr", key=counter), {counter: count}
            case _:
                both = [_command("kv.set", key=half, value=value) for half in (left, right)]
                return {"type": "batch", "atomic": True, "commands": both}, {left: value, right: value}


class Writer(threading.Thread):
    """Changes its own keys as fast as it can, until the connection breaks or the server drains."""

    def __init__(self, port: int, book: Book, rng: random.Random) -> None:
        super().__init__(name=book.name, daemon=True)
        self.surprise: object = None
        self._connection = Connection(port)
        self._book = book
        self._rng = rng

    def run(self) -> None:
        try:
            while self._write():
                pass
        except (OSError, EOFError):
            pass
        except Exception as error:
            self.surprise = error
        finally:
            self._connection.close()

    def _write(self) -> bool:
        requests = [self._book.next(self._rng) for _ in range(self._rng.choice(DEPTHS))]
        self._connection.send(requests)
        for request in requests:
            status, reply = self._connection.receive()
            if status == 503:
                self._book.refused()
                return False
            if not self._book.acknowledge(reply.get("results", [reply])):
                self.surprise = (request, reply)
                return False
        return True


def acknowledged(books: Sequence[Book]) -> int:
    """How many requests have been acknowledged so far."""
    return sum(book.acknowledged for book in books)


@contextmanager
def writing(server: ServerProcess, books: Sequence[Book], rng: random.Random) -> Iterator[None]:
    """Have a writer work for every book; whoever enters this ends the server before leaving."""
    writers = [Writer(server.port, book, random.Random(rng.random())) for book in books]
    for writer in writers:
        writer.start()
    yield
    for writer in writers:
        writer.join(PATIENCE_SECS)
        assert not writer.is_alive(), f"{writer.name} waits for a reply for ever"
        assert writer.surprise is None, f"{writer.name} was answered {writer.surprise!r}"


def until(condition: Callable[[], object]) -> None:
    """Wait for something that a server does by itself."""
    deadline = time.monotonic() + PATIENCE_SECS
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.01)


def check_all(server: ServerProcess, ledgers: list[Ledger]) -> None:
    """The server holds what the writers were promised, and nothing else."""
    found = contents_of(server)
    for ledger in ledgers:
        own = [key for key in found if key.startswith(f"{ledger.name}:")]
        ledger.check({key: found.pop(key) for key in own})
    assert found == {}


def contents_of(server: ServerProcess) -> Contents:
    """Every key with its value."""
    keys = server.call("kv.keys")["keys"]
    return dict(zip(keys, server.call("kv.mget", keys=keys)["values"], strict=True))


def _command(command: str, /, **payload: Any) -> Any:
    return {"command": command, "payload": payload}


def _changed(contents: Contents, changes: Iterable[Contents]) -> Contents:
    contents = dict(contents)
    for change in changes:
        contents |= change
    return {key: value for key, value in contents.items() if value is not None}
