"""A replica that does only what a test has it do: reads when it is told to, and confirms what it likes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

from websockets.frames import Opcode

from synap.replication.wire import STREAM_PATH, Ack, Message, Welcome, pack, unpack
from tests.transport.sockets import Address, Inside, Socket, connected, frame


class Follower:
    """One stream."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        welcome = self.message()
        assert isinstance(welcome, Welcome)
        self.welcome = welcome

    def message(self) -> Message:
        """What comes next. Raises EOFError at the end."""
        while True:
            received = self.socket.frame()
            if received.opcode is Opcode.BINARY:
                return unpack(bytes(received.data))

    def confirm(self, lsn: int) -> None:
        """Say that everything up to `lsn` is in a journal."""
        self.send(pack(Ack(lsn)))

    def send(self, data: bytes, opcode: Opcode = Opcode.BINARY) -> None:
        """Send a frame with any bytes."""
        self.socket.send_raw(frame(opcode, data))


def stream_path(**greeting: Any) -> str:
    """Where to ask for the stream, with this greeting."""
    return f"{STREAM_PATH}?{urlencode(greeting)}"


@contextmanager
def following(
    master: Address, node: str = "follower", from_lsn: int = 1, *, receive_buffer: int | None = None, **greeting: Any
) -> Iterator[Follower]:
    """Somebody who follows a master from some record on."""
    path = stream_path(node=node, **{"from": from_lsn}, **greeting)
    with connected(master, path=path, receive_buffer=receive_buffer) as socket:
        yield Follower(socket)


def acked(master: Inside) -> list[int]:
    """What each of those who follow has confirmed."""
    return master.run(lambda: [replica.acked_lsn for replica in master.server._replication.node.replicas])
