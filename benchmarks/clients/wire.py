"""What the clients have in common: measuring a stretch, and connections that parse next to nothing."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from typing import cast

from benchmarks.load import LoadFailed, Sample
from benchmarks.servers import Server, machine_cpu_secs
from synap.tools.wire import HEAD_END, post, response_end

HOST = "127.0.0.1"
_UPGRADE = (
    b"GET /api/v1/ws HTTP/1.1\r\nHost: synap\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)
_PING, _PONG = 0x89, b"\x8a\x80\0\0\0\0"


class Stretch:
    """A stretch of load on one server, from when it is made until `sample`."""

    def __init__(self, server_pid: int) -> None:
        self._server = Server(server_pid, 0, 0.0)
        self._started = self._readings()

    def sample(self, count: int) -> Sample:
        """What it was like, `count` being how many commands or messages there were."""
        readings = zip(self._readings(), self._started, strict=True)
        elapsed, server, client, machine = (after - before for after, before in readings)
        others = max(machine - server - client, 0.0)
        return Sample(count / elapsed, server / count * 1e6, client / elapsed, others / elapsed)

    def _readings(self) -> tuple[float, float, float, float]:
        return time.monotonic(), self._server.cpu_secs(), time.process_time(), machine_cpu_secs()


class WebSocket(asyncio.Protocol):
    """A WebSocket whose bytes are passed on as they come, frame heads included."""

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self.take = take
        self._head = b""
        self._is_open: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, port: int, take: Callable[[bytes], object]) -> WebSocket:
        """Connect. Raises LoadFailed."""
        _, socket = await asyncio.get_running_loop().create_connection(lambda: cls(take), HOST, port)
        await socket._is_open
        return socket

    async def ask(self, body: bytes) -> bytes:
        """Send a command and wait for the next frame, which has to be its reply. Raises LoadFailed."""
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        parts: list[bytes] = []

        def gather(data: bytes) -> None:
            parts.append(data)
            if _is_whole(b"".join(parts)) and not reply.done():
                reply.set_result(b"".join(parts))

        take, self.take = self.take, gather
        self.send(frame(body))
        answer = await reply
        self.take = take
        if b'"status":"success"' not in answer:
            raise LoadFailed(f"{body[:100]!r} was answered {answer[:500]!r}")
        return answer

    def send(self, frames: bytes) -> None:
        """Send what `frame` has made."""
        self._transport.write(frames)

    def close(self) -> None:
        """End the connection."""
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(_UPGRADE)

    def data_received(self, data: bytes) -> None:
        if self._is_open.done():
            if data[0] == _PING:
                self._transport.write(_PONG)
            self.take(data)
            return
        self._head += data
        if HEAD_END in self._head:
            if b" 101 " in self._head[:20]:
                self._is_open.set_result(None)
            else:
                self._is_open.set_exception(LoadFailed(f"the handshake was answered {self._head[:500]!r}"))


class Frames:
    """Counts frames of a server by their heads; what is in them is not looked at, nor kept."""

    def __init__(self) -> None:
        self._head = b""
        self._missing_bytes = 0
        """Of the frame that has begun."""

    def count(self, data: bytes) -> int:
        """How many frames are complete with these bytes."""
        data = self._head + data
        position, self._head, complete = self._missing_bytes, b"", 0
        if position and position <= len(data):
            complete += 1
        while position < len(data):
            end = _frame_end(data, position)
            if not end:
                self._head, position = data[position:], len(data)
                break
            complete += end <= len(data)
            position = end
        self._missing_bytes = position - len(data)
        return complete


class Http(asyncio.Protocol):
    """A connection for one command at a time."""

    def __init__(self) -> None:
        self._received = b""
        self._reply: asyncio.Future[bytes] | None = None

    @classmethod
    async def open(cls, port: int) -> Http:
        """Connect."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, HOST, port)
        return connection

    def ask(self, body: bytes) -> asyncio.Future[bytes]:
        """Send a command; the future is its reply with head and body."""
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(post(body))
        return self._reply

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if is_response(self._received):
            received, self._received = self._received, b""
            assert self._reply is not None
            if b'"status":"success"' in received:
                self._reply.set_result(received)
            else:
                self._reply.set_exception(LoadFailed(f"a command was answered {received[:500]!r}"))


def frame(body: bytes) -> bytes:
    """A WebSocket frame of text. Its mask is zero, which leaves the text as it is."""
    size = len(body)
    if size < 126:
        return struct.pack("!BBI", 0x81, 0x80 | size, 0) + body
    if size < 65_536:
        return struct.pack("!BBHI", 0x81, 0xFE, size, 0) + body
    return struct.pack("!BBQI", 0x81, 0xFF, size, 0) + body


def is_response(received: bytes) -> bool:
    """Whether an HTTP response is complete."""
    return response_end(received) == len(received) > 0


def _is_whole(data: bytes) -> bool:
    """Whether the first frame of a server is complete."""
    return 0 < _frame_end(data) <= len(data)


def _frame_end(data: bytes, start: int = 0) -> int:
    """Where the frame of a server that begins at `start` ends, be it there or not; 0 while its head is incomplete."""
    if len(data) < start + 2:
        return 0
    size = data[start + 1]
    if size < 126:
        return start + 2 + size
    form, head_bytes = ("!H", 4) if size == 126 else ("!Q", 10)
    if len(data) < start + head_bytes:
        return 0
    return start + head_bytes + int(struct.unpack_from(form, data, start + 2)[0])
