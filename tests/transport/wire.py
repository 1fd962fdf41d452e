"""HTTP/1.1 by hand: requests that no client library would send, and answers with every byte as it came."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.support import ServerProcess

COMMAND = "/api/v1/command"
HEALTH = b"GET /health HTTP/1.1\r\nHost: synap\r\n\r\n"
TIMEOUT_SECS = 30.0
POLL_SECS = 0.01
_RECEIVE_BYTES = 256 * 1024

Headers = Iterable[tuple[str, str]]


class Opener(Protocol):
    """A way to open a connection."""

    def __call__(self, server: ServerProcess, timeout_secs: float = ..., /) -> AbstractContextManager[Wire]: ...


@dataclass(frozen=True)
class Answer:
    """One HTTP response as it came over the wire."""

    status_line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.status_line.split(" ")[1])

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def payload(self) -> Any:
        """The payload of an envelope that tells success."""
        answer = self.json
        assert answer["status"] == "success", answer
        return answer["payload"]

    @property
    def error(self) -> Any:
        """The error object, of an envelope or of a REST route."""
        answer = self.json
        assert answer["status"] == "error", answer
        return answer["error"]

    def header(self, name: str) -> str | None:
        """The value of a header that may stand there once."""
        values = [value for known, value in self.headers if known.lower() == name.lower()]
        assert len(values) <= 1, f"{name} stands there {len(values)} times"
        return values[0] if values else None


class Wire:
    """One connection. Answers are read in order, whatever was sent in between."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._received = bytearray()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def send_by(self, step: int, data: bytes) -> None:
        """Send in pieces of `step` bytes, each in a packet of its own."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(data), step):
            self.send(data[at : at + step])

    def ask(self, data: bytes) -> Answer:
        """Send one request, read one answer."""
        self.send(data)
        return self.answer()

    def ask_at_length(self, data: bytes) -> Answer:
        """`ask` with a request that the server may refuse before it has read all of it."""

        def send() -> None:
            with suppress(ConnectionError):
                self.send(data)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            return self.answer()
        finally:
            sender.join()

    def answer(self, *, to_head: bool = False) -> Answer:
        """The next answer; one `to_head` has no body. Raises EOFError when the connection ends before it."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            self._receive()
        status_line, *lines = self._take(end).decode("ascii").split("\r\n")
        self._take(4)
        headers = tuple((name, value) for name, _, value in (line.partition(": ") for line in lines))
        lengths = [int(value) for name, value in headers if name.lower() == "content-length"]
        assert len(lengths) == 1, f"expected one Content-Length in {status_line}, {headers}"
        body_bytes = 0 if to_head else lengths[0]
        while len(self._received) < body_bytes:
            self._receive()
        return Answer(status_line, headers, self._take(body_bytes))

    def expect(self, data: bytes) -> None:
        """Wait for exactly these bytes."""
        while len(self._received) < len(data):
            self._receive()
        assert self._take(len(data)) == data

    def expect_closed(self) -> None:
        """Wait for the server to end the connection; nothing more may come before that."""
        assert not self._received, f"more than was asked for: {bytes(self._received[:200])!r}"
        with suppress(ConnectionError):
            data = self.socket.recv(_RECEIVE_BYTES)
            assert data == b"", f"expected the end of the connection, got {data[:200]!r}"

    def reset(self) -> None:
        """End the connection the rude way, without reading what is still to come."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _take(self, size: int) -> bytes:
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    def _receive(self) -> None:
        data = self.socket.recv(_RECEIVE_BYTES)
        if not data:
            raise EOFError(f"the connection ended after {bytes(self._received[:200])!r}")
        self._received += data


@contextmanager
def connect(server: ServerProcess, timeout_secs: float = TIMEOUT_SECS) -> Iterator[Wire]:
    """A fresh connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout_secs) as connection:
        yield Wire(connection)


@contextmanager
def connect_handed_over(server: ServerProcess, timeout_secs: float = TIMEOUT_SECS) -> Iterator[Wire]:
    """A connection that has asked for something other than a command before."""
    with connect(server, timeout_secs) as wire:
        assert wire.ask(HEALTH).status == 200
        yield wire


def request(method: str, path: str, body: bytes | None = None, headers: Headers = ()) -> bytes:
    """A request, with a Content-Length when it has a body."""
    length = () if body is None else (("Content-Length", str(len(body))),)
    return _head(method, path, (*headers, *length)) + (body or b"")


def chunked(method: str, path: str, body: bytes, headers: Headers = (), chunk_bytes: int = 65_536) -> bytes:
    """A request that sends its body in chunks."""
    pieces = (body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return _head(method, path, (*headers, ("Transfer-Encoding", "chunked"))) + chunks + b"0\r\n\r\n"


def command(body: bytes, headers: Headers = ()) -> bytes:
    """A plain request to the command endpoint."""
    return request("POST", COMMAND, body, headers)


def envelope(command: str, /, **payload: Any) -> bytes:
    """The body of a command, its request id being the command's name."""
    return json.dumps({"command": command, "payload": payload, "request_id": command}).encode()


def memory_bytes(server: ServerProcess) -> int:
    """What the server's process holds in memory."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def eventually(condition: Callable[[], bool], within_secs: float = 10.0) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + within_secs
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(POLL_SECS)


def _head(method: str, path: str, headers: Headers) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: synap", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
