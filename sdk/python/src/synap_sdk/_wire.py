"""Blocking HTTP: connections that are kept, each used by one thread at a time.

A call costs what the system takes for it and little more: the bytes go straight to a socket, and `httptools`, the
parser that the server uses too, reads the answer.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections import deque

import httptools

from synap_sdk._address import COMMAND_PATH, Address

IDLE_SECS_MAX = 50.0
"""Longer unused, a connection may have been dropped on the way without a word."""
_RECEIVE_BYTES = 256 * 1024


class Broken(Exception):
    """A connection failed. `is_sent`: the server may have got the request."""

    def __init__(self, reason: str, *, is_sent: bool, is_timeout: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_sent = is_sent
        self.is_timeout = is_timeout


def connect(address: Address, tls: ssl.SSLContext | None, timeout_secs: float) -> socket.socket:
    """A connected socket. Raises Broken."""
    try:
        connection = socket.create_connection((address.host, address.port), timeout=timeout_secs)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = address.context(tls)
        return connection if context is None else context.wrap_socket(connection, server_hostname=address.host)
    except OSError as error:
        raise Broken(f"cannot connect to {address}: {error.strerror or error}", is_sent=False) from error


class Connection:
    """One connection to a server."""

    def __init__(self, address: Address, connection: socket.socket) -> None:
        self.address = address
        self.used_at = time.monotonic()
        self._socket = connection
        self._head = f"POST {address.path}{COMMAND_PATH} HTTP/1.1\r\nHost: {address.authority}\r\n".encode()
        self._answer = _Answer()
        self._is_last = False

    def ask(self, body: bytes, headers: bytes, timeout_secs: float | None) -> tuple[int, bytes]:
        """Status and body of the answer to one request. Raises Broken; the connection is of no use then."""
        head = b"%b%bContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (self._head, headers, len(body))
        answer = self._answer
        answer.reset()
        try:
            self._socket.settimeout(timeout_secs)
            self._socket.sendall(head + body)
            while not answer.is_whole:
                received = self._socket.recv(_RECEIVE_BYTES)
                if not received:
                    raise Broken(f"{self.address} closed the connection", is_sent=True)
                answer.parser.feed_data(received)
        except TimeoutError as error:
            raise Broken("no reply in time", is_sent=True, is_timeout=True) from error
        except OSError as error:
            raise Broken(f"the connection to {self.address} failed: {error}", is_sent=True) from error
        except httptools.HttpParserError as error:
            raise Broken(f"{self.address} does not answer as HTTP does: {error}", is_sent=True) from error
        self._is_last = not answer.is_kept
        self.used_at = time.monotonic()
        return answer.parser.get_status_code(), answer.parts[0] if len(answer.parts) == 1 else b"".join(answer.parts)

    def is_usable(self) -> bool:
        """Whether another request may be sent on it: nobody has closed it."""
        if self._is_last or time.monotonic() - self.used_at > IDLE_SECS_MAX:
            return False
        try:
            self._socket.setblocking(False)
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False  # it was closed, or something came that nobody asked for

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


class _Answer:
    """Takes the parser's callbacks."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.reset()

    def reset(self) -> None:
        """Another answer is to come."""
        self.parts: list[bytes] = []
        self.is_whole = False
        self.is_kept = True

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)

    def on_message_complete(self) -> None:
        self.is_whole = True
        self.is_kept = self.parser.should_keep_alive()


class Pool:
    """Connections that are not in use, the one used last first. Threads share it: each takes one and brings it back."""

    def __init__(self, tls: ssl.SSLContext | None, connect_secs: float) -> None:
        self._tls = tls
        self._connect_secs = connect_secs
        self._idle: dict[Address, deque[Connection]] = {}
        self.is_closed = False

    def take(self, address: Address) -> Connection:
        """A connection to `address`. Raises Broken."""
        idle = self._idle.get(address)
        while idle:
            try:
                connection = idle.pop()
            except IndexError:  # another thread was faster
                break
            if connection.is_usable():
                return connection
            connection.close()
        return Connection(address, connect(address, self._tls, self._connect_secs))

    def bring_back(self, connection: Connection) -> None:
        """Keep a connection for the next call."""
        if self.is_closed:
            connection.close()
        else:
            self._idle.setdefault(connection.address, deque()).append(connection)

    def close(self) -> None:
        """End all connections that are not in use; the others end after their calls."""
        self.is_closed = True
        for idle in self._idle.values():
            while idle:
                idle.pop().close()
