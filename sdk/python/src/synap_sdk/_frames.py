"""A WebSocket without the socket: bytes in, messages out.

The protocol is that of the `websockets` library. Only frames that hold a whole text, as nearly all do, are taken apart
here, which is several times as fast; everything else goes through the library.
"""

from __future__ import annotations

from collections.abc import Mapping

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from synap_sdk._address import Address, refusal
from synap_sdk._failure import SynapConnectionError

_WHOLE_TEXT = 0x81
"""The first byte of a frame that is a text without continuation (RFC 6455, 5.2)."""
_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class Frames:
    """One WebSocket, from handshake to close."""

    def __init__(self, address: Address, headers: Mapping[str, str]) -> None:
        self._protocol = ClientProtocol(parse_uri(address.socket_url), max_size=None)
        request = self._protocol.connect()
        for name, value in headers.items():
            request.headers[name] = value
        self._protocol.send_request(request)
        self._parts: list[bytes] = []
        self._rest: list[bytes] = []
        """The beginning of a frame whose end is still to come."""
        self._missing = 0
        """At least so many bytes of it."""
        self.is_open = False

    def to_send(self) -> bytes:
        """What is to be written."""
        parts = self._protocol.data_to_send()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def send(self, message: bytes) -> None:
        """Queue a text message."""
        self._protocol.send_text(message)

    def ping(self) -> None:
        """Queue a question whether anybody is there."""
        if self.is_open:
            self._protocol.send_ping(b"")

    def close(self) -> None:
        """Queue a goodbye."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)

    def receive(self, data: bytes) -> list[bytes]:
        """The messages that end in `data`; empty data is the end of the connection.

        Raises SynapError when the handshake is refused.
        """
        if not self.is_open or not data:
            return self._receive(data)
        self._rest.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return []
        data = b"".join(self._rest) if len(self._rest) > 1 else data
        messages: list[bytes] = []
        at, end = 0, len(data)
        while at < end:
            start, stop = _extent(data, at, end)
            if stop > end:
                break
            if data[at] == _WHOLE_TEXT and start > at:
                messages.append(data[start:stop])
            else:
                messages += self._receive(data[at:stop])
            at = stop
        self._rest = [data[at:]] if at < end else []
        self._missing = stop - end if at < end else 0
        return messages

    def _receive(self, data: bytes) -> list[bytes]:
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        messages = []
        for event in self._protocol.events_received():
            if isinstance(event, Frame) and event.opcode in _DATA:
                if event.fin and not self._parts:
                    messages.append(bytes(event.data))
                    continue
                self._parts.append(bytes(event.data))
                if event.fin:
                    messages.append(b"".join(self._parts))
                    self._parts.clear()
            elif isinstance(event, Response):
                self.is_open = self._protocol.handshake_exc is None
        if self._protocol.handshake_exc is not None and not self.is_open:
            self._refuse(self._protocol.handshake_exc)
        return messages

    @property
    def is_over(self) -> bool:
        """Whether it is being closed, or was."""
        return self._protocol.state in (State.CLOSING, State.CLOSED)

    def reason(self) -> str:
        """Why it ended."""
        received = self._protocol.close_rcvd
        if received is not None and received.reason:
            return f"the server closed the connection: {received.reason}"
        return "the connection to the server was lost"

    def _refuse(self, error: Exception) -> None:
        if isinstance(error, InvalidStatus):
            raise refusal(error.response.status_code, bytes(error.response.body or b"")) from error
        raise SynapConnectionError(f"the WebSocket handshake failed: {error}") from error


def _extent(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Where the content of the frame at `at` begins and ends; the end is past `end` when not all of it is there."""
    if end - at < 2:
        return at, end + 1
    size = data[at + 1]
    if size < 126:
        return at + 2, at + 2 + size
    if size > 127:
        return at, end  # masked, which no server may do: the library says so
    start = at + (4 if size == 126 else 10)
    if start > end:
        return start, start
    return start, start + int.from_bytes(data[at + 2 : start], "big")
