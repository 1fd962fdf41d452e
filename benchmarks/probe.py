"""Asking a server again and again while something else goes on, and how long each answer took.

A probe has a thread of its own and a connection for one request at a time, and parses next to nothing.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

from benchmarks.clients.wire import is_response
from benchmarks.load import LoadFailed
from synap.tools.wire import post

READ_BYTES = 65_536
TIMEOUT_SECS = 60


class Line:
    """A connection on which the same thing is asked each time. `is_whole` tells whether an answer is complete."""

    def __init__(self, port: int, message: bytes, is_whole: Callable[[bytes], bool], expected: bytes) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._message = message
        self._is_whole = is_whole
        self._expected = expected

    def ask(self) -> bytes:
        """The answer. Raises LoadFailed when what is expected is not in it."""
        self._socket.sendall(self._message)
        answer = b""
        while not self._is_whole(answer):
            data = self._socket.recv(READ_BYTES)
            if not data:
                raise LoadFailed(f"the connection was closed after {answer[:500]!r}")
            answer += data
        if self._expected not in answer:
            raise LoadFailed(f"{self._message!r} was answered {answer[:500]!r}")
        return answer

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


def to_synap(port: int, body: bytes) -> Line:
    """Asks Synap a command, which has to succeed."""
    return Line(port, post(body), is_response, b'"status":"success"')


def to_redis(port: int, commands: Sequence[str], expected: bytes) -> Line:
    """Asks Redis these commands at once; together they have to be answered exactly so."""
    message = "".join(f"{command}\r\n" for command in commands).encode()
    return Line(port, message, lambda answer: len(answer) >= len(expected), expected)


@contextmanager
def probing(line: Line, pause_secs: float, look: Callable[[bytes], None] | None = None) -> Iterator[list[float]]:
    """Ask until the block is left, then close the line.

    The list fills with how many seconds each answer took; `look` sees every answer. Raises LoadFailed, when the block
    is left, if an answer was wrong.
    """
    taken: list[float] = []
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(pause_secs):
            begun_at = time.perf_counter()
            answer = line.ask()
            taken.append(time.perf_counter() - begun_at)
            if look is not None:
                look(answer)

    with closing(line), ThreadPoolExecutor(1) as pool:
        asking = pool.submit(run)
        try:
            yield taken
        finally:
            is_over.set()
        asking.result()
