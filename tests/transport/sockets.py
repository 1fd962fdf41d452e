"""WebSockets and server-sent events as tests use them: clients that read only when told to, and a server to look into.

The WebSocket protocol is that of the `websockets` library, which checks every frame; the connection is a bare one, so
that a test may send what the library would not, stop reading, or break off.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import uvloop
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from synap.config import Settings
from synap.server import Server
from synap.transport.guard import SOCKET_PATH
from tests.support import payload_of
from tests.transport.wire import Wire, command

TIMEOUT_SECS = 10.0
QUIET_SECS = 0.15
_RECEIVE_BYTES = 256 * 1024
_DATA = (Opcode.TEXT, Opcode.BINARY)
_RESPONSES = ("response", "batch_response")

T = TypeVar("T")


class Address(Protocol):
    """A server, in a process of its own or in this one."""

    port: int


class Socket:
    """One WebSocket. What is pushed while a reply is awaited is kept for `push`, and the other way round."""

    def __init__(self, connection: socket.socket, port: int, *, is_packed: bool, path: str, early: bytes) -> None:
        self.connection = connection
        self.is_packed = is_packed
        self._protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{port}{path}"), max_size=None)
        self._frames: deque[Frame] = deque()
        self._pushed: deque[dict[str, Any]] = deque()
        self._replies: dict[str, dict[str, Any]] = {}
        self._numbers = count()
        self._protocol.send_request(self._protocol.connect())
        self.send_raw(b"".join(self._protocol.data_to_send()) + early)
        while self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is None:
            self._receive()
        if self._protocol.handshake_exc is not None:
            raise self._protocol.handshake_exc

    # Sending

    def send(self, request: dict[str, Any] | bytes) -> None:
        """Send one frame: a request, or any bytes."""
        self.send_raw(self.framed(request))

    def framed(self, request: dict[str, Any] | bytes) -> bytes:
        """A request as the frame that carries it."""
        opcode = Opcode.BINARY if self.is_packed else Opcode.TEXT
        if isinstance(request, dict):
            request = msgspec.msgpack.encode(request) if self.is_packed else json.dumps(request).encode()
        return frame(opcode, request)

    def send_raw(self, data: bytes) -> None:
        self.connection.sendall(data)

    def send_at_length(self, data: bytes) -> None:
        """Send what the server may end the connection over before it has read all of it."""

        def send() -> None:
            with suppress(OSError):
                self.send_raw(data)

        threading.Thread(target=send, daemon=True).start()

    def begin(self, command: str, /, **payload: Any) -> str:
        """Send a command and do not wait for its reply; returns the request id."""
        request_id = f"r{next(self._numbers)}"
        self.send({"command": command, "payload": payload, "request_id": request_id})
        return request_id

    # Receiving

    def call(self, command: str, /, **payload: Any) -> Any:
        """The payload of a successful reply. Raises the SynapError of a failed one."""
        return payload_of(self.reply(self.begin(command, **payload)))

    def result(self, request_id: str) -> Any:
        """The payload of the reply to a request that was begun."""
        return payload_of(self.reply(request_id))

    def reply(self, request_id: str) -> dict[str, Any]:
        """The reply to a request."""
        while request_id not in self._replies:
            self._sort(self.message())
        return self._replies.pop(request_id)

    def push(self) -> dict[str, Any]:
        """What is pushed next."""
        while not self._pushed:
            self._sort(self.message())
        return self._pushed.popleft()

    def pushes(self, number: int) -> list[dict[str, Any]]:
        return [self.push() for _ in range(number)]

    def quiet(self, for_secs: float = QUIET_SECS) -> None:
        """Make sure that nothing is pushed for a while."""
        deadline = time.monotonic() + for_secs
        try:
            while not self._pushed:
                self.connection.settimeout(max(deadline - time.monotonic(), 0.001))
                if not self._frames:
                    self._receive()
                elif self._frames[0].opcode in _DATA:
                    self._sort(self.message())
                else:
                    self._frames.popleft()
        except TimeoutError:
            return
        finally:
            self.connection.settimeout(TIMEOUT_SECS)
        raise AssertionError(f"something came: {self._pushed[0]}")

    def message(self) -> dict[str, Any]:
        """What comes next, decoded. Raises EOFError at the end."""
        received = self.frame()
        while received.opcode not in _DATA:
            received = self.frame()
        assert received.fin
        body = bytes(received.data)
        message: dict[str, Any] = json.loads(body) if received.opcode is Opcode.TEXT else msgspec.msgpack.decode(body)
        return message

    def frame(self) -> Frame:
        """The next frame as it came. Raises EOFError at the end."""
        while not self._frames:
            self._receive()
        return self._frames.popleft()

    # The end

    def close(self) -> Close | None:
        """Close politely; what still comes before the end is dropped."""
        self._protocol.send_close(1000)
        self._flush()
        return self.closed()

    def closed(self) -> Close | None:
        """Wait for the end; the code and reason the server gave."""
        with suppress(EOFError, ConnectionError):
            while True:
                self._receive()
        self.connection.close()
        return self._protocol.close_rcvd

    def reset(self) -> None:
        """End the connection the rude way."""
        Wire(self.connection).reset()

    def _sort(self, message: dict[str, Any]) -> None:
        if message["type"] in _RESPONSES:
            self._replies[message["request_id"]] = message
        else:
            self._pushed.append(message)

    def _receive(self) -> None:
        data = self.connection.recv(_RECEIVE_BYTES)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        self._frames.extend(event for event in self._protocol.events_received() if isinstance(event, Frame))
        with suppress(ConnectionError):
            self._flush()
        if self._protocol.parser_exc is not None and not isinstance(self._protocol.parser_exc, EOFError):
            raise self._protocol.parser_exc
        if not data:
            raise EOFError(f"closed with {self._protocol.close_rcvd}")

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self.connection.sendall(data)


@contextmanager
def connected(
    server: Address,
    *,
    is_packed: bool = False,
    path: str = SOCKET_PATH,
    receive_buffer: int | None = None,
    early: bytes = b"",
) -> Iterator[Socket]:
    """A fresh WebSocket. A small `receive_buffer` has the server notice soon that nobody reads; `early` is sent in one
    packet with the handshake.
    """
    with _open(server, receive_buffer) as connection:
        yield Socket(connection, server.port, is_packed=is_packed, path=path, early=early)


@contextmanager
def wired(server: Address) -> Iterator[Wire]:
    """A fresh connection for HTTP by hand."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_SECS) as connection:
        yield Wire(connection)


@contextmanager
def _open(server: Address, receive_buffer: int | None) -> Iterator[socket.socket]:
    with socket.socket() as connection:
        connection.settimeout(TIMEOUT_SECS)
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.connect(("127.0.0.1", server.port))
        yield connection


def frame(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    """A frame as clients send it: masked."""
    return Frame(opcode, data, fin).serialize(mask=True)


# Server-sent events


@dataclass
class Event:
    """One server-sent event; `id` is what Last-Event-ID would be."""

    id: str
    kind: str
    data: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class EventSource:
    """A client of server-sent events, as browsers read them."""

    def __init__(self, connection: socket.socket, path: str, last_event_id: str | None = None) -> None:
        self.connection = connection
        self._received = b""
        self.last_id = last_event_id or ""
        header = f"Last-Event-ID: {last_event_id}\r\n" if last_event_id is not None else ""
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: synap\r\n{header}\r\n".encode("latin-1"))
        head = self._until(b"\r\n\r\n").decode().split("\r\n")
        self.status = int(head[0].split(" ")[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        self._is_chunked = "transfer-encoding" in self.headers
        self._text = b""
        self.comments = 0

    def body(self) -> Any:
        """The body of an answer that is no stream of events."""
        while len(self._received) < int(self.headers["content-length"]):
            self._received += self.connection.recv(_RECEIVE_BYTES)
        return json.loads(self._received)

    def event(self) -> Event:
        """The next event. Raises EOFError at the end."""
        kind = "message"
        data: list[str] = []
        while True:
            line = self._line()
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if line == "" and data:
                return Event(self.last_id, kind, "\n".join(data))
            if line == "":
                kind = "message"
            elif name == "id":
                self.last_id = value
            elif name == "event":
                kind = value
            elif name == "data":
                data.append(value)
            elif name == "":
                self.comments += 1

    def events(self, number: int) -> list[Event]:
        return [self.event() for _ in range(number)]

    def first_id(self) -> str:
        """Wait until the first id has been told."""
        while not self.last_id:
            line = self._line()
            if line.startswith("id: "):
                self.last_id = line.removeprefix("id: ")
        return self.last_id

    def comment(self) -> None:
        """Wait for something that is no event."""
        while not self._line().startswith(":"):
            pass

    def _line(self) -> str:
        while b"\n" not in self._text:
            self._text += self._chunk()
        line, _, self._text = self._text.partition(b"\n")
        assert b"\r" not in line
        return line.decode()

    def _chunk(self) -> bytes:
        if not self._is_chunked:
            data, self._received = self._received, b""
            return data or self._more()
        size = int(self._until(b"\r\n"), 16)
        if size == 0:
            raise EOFError("the end of the events")
        while len(self._received) < size + 2:
            self._received += self._more()
        chunk, self._received = self._received[:size], self._received[size + 2 :]
        return chunk

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._received:
            self._received += self._more()
        found, _, self._received = self._received.partition(mark)
        return found

    def _more(self) -> bytes:
        data = self.connection.recv(_RECEIVE_BYTES)
        if not data:
            raise EOFError("the connection ended")
        return data


@contextmanager
def listening(
    server: Address, path: str, last_event_id: str | None = None, *, receive_buffer: int | None = None
) -> Iterator[EventSource]:
    """A fresh event source."""
    with _open(server, receive_buffer) as connection:
        yield EventSource(connection, path, last_event_id)


# A server in this process


class Inside:
    """A server in a thread of its own, whose objects can be looked at. Use as a context manager."""

    def __init__(self, data: Path, **settings: Any) -> None:
        given = {"server": {"port": 0, "data": str(data)}, **settings}
        self._settings = msgspec.convert(given, Settings)
        self.has_stopped_well = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._run()), daemon=True)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.server = Server(self._settings)
        await self.server.start()
        await self.server.recover()
        self.port = self.server.port
        self._ready.set()
        await self.server.wait_stopped()
        await self.server.close()
        self.has_stopped_well = True

    def stop(self) -> None:
        """Ask the server to stop."""
        with suppress(RuntimeError):  # it has stopped already
            self._loop.call_soon_threadsafe(self.server.request_stop)

    def run(self, look: Callable[[], T]) -> T:
        """The result of a function that is run in the server's thread."""

        async def call() -> T:
            return look()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(TIMEOUT_SECS)

    @contextmanager
    def halted(self) -> Iterator[None]:
        """The server stands still, and then sees all that was sent meanwhile."""
        go_on = threading.Event()
        self._loop.call_soon_threadsafe(go_on.wait, TIMEOUT_SECS)
        try:
            yield
        finally:
            go_on.set()

    def send(self, request: dict[str, Any] | bytes) -> Any:
        """The decoded reply to a request over HTTP."""
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        with wired(self) as wire:
            return wire.ask(command(body)).json

    def call(self, command: str, /, **payload: Any) -> Any:
        """The payload of a successful reply over HTTP. Raises the SynapError of a failed one."""
        return payload_of(self.send({"command": command, "payload": payload}))

    def leftovers(self) -> dict[str, int]:
        """What connections have left behind, by kind."""

        def look() -> dict[str, int]:
            line, pubsub, live = self.server._state.line, self.server._state.pubsub, self.server._live
            found = {
                "connections": self.server._lane.open_count,
                "clients": len(live.clients),
                "waits": len(line),
                "topics in line": len(line._waits),
                "watchers": len(line._watchers),
                "subscribers": pubsub.total_subscribers,
                "woken": len(live.hub._woken),
                "sync waiters": len(self.server._committer._sync_waiters),
            }
            return {kind: number for kind, number in found.items() if number}

        return self.run(look)

    def __enter__(self) -> Inside:
        self._thread.start()
        assert self._ready.wait(TIMEOUT_SECS)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join(TIMEOUT_SECS)
        assert not self._thread.is_alive()


def within(seconds: float, look: Callable[[], T], wanted: T) -> None:
    """Wait until `look` finds what is wanted."""
    deadline = time.monotonic() + seconds
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, f"expected {wanted!r}, still {found!r}"
        time.sleep(0.01)
