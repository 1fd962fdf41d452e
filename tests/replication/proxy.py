"""A door in front of a node: an address that stays when the node comes back elsewhere, and a network to tamper with.

All doors of a test run on one event loop in a thread of its own; whoever tampers with one is in another thread.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

CHUNK_BYTES = 16 * 1024

T = TypeVar("T")


class Network:
    """Runs doors. Use as a context manager."""

    def __init__(self) -> None:
        self.doors: list[Door] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)

    def door(self, port: int | None = None) -> Door:
        """A door to a port of this machine; to none it is closed."""
        door = Door(self)
        if port is not None:
            door.lead_to(port)
        return door

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Have something done on the network's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def __enter__(self) -> Network:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for door in self.doors:
            door.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class Door:
    """Forwards connections to a port. Bytes are counted and slowed down in the direction of who has connected."""

    def __init__(self, network: Network) -> None:
        self.bytes_per_sec: float | None = None
        self.cut_after_bytes: int | None = None
        """A connection that has brought so much is cut."""
        self.bytes_out = 0
        """How much has come through."""
        self.cuts = 0
        """How many connections were cut because of `cut_after_bytes`."""
        self._network = network
        self._port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_passable = asyncio.Event()
        self._is_passable.set()
        # Bound all the time, so that nobody else gets the port; connections are refused while it does not listen.
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", _free_port()))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        network.doors.append(self)

    def lead_to(self, port: int | None) -> None:
        """Forward to a port from now on; to none, refuse connections as a machine does where no server is running."""
        self._network.run(self._lead_to(port))

    async def _lead_to(self, port: int | None) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
            self._socket.shutdown(socket.SHUT_RDWR)
        if port is not None:
            self._port = port
            self._server = await asyncio.start_server(self._connected, sock=self._socket.dup(), limit=CHUNK_BYTES)

    def close(self) -> None:
        """Give the address back."""
        if self._server is not None:
            self._server.close()
        self._socket.close()

    def cut(self) -> None:
        """End all connections as they end when a process dies."""
        self._network.run(self._cut())

    def block(self) -> None:
        """Let nothing through, and say nothing: as a network that is split."""
        self._network.run(self._set_passable(False))

    def unblock(self) -> None:
        """Let everything through again, what has been held back included."""
        self._network.run(self._set_passable(True))

    async def _set_passable(self, is_passable: bool) -> None:
        if is_passable:
            self._is_passable.set()
        else:
            self._is_passable.clear()

    async def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._is_passable.wait()
            await self._forward(reader, writer, self._port)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port, limit=CHUNK_BYTES)
        pumps = [
            asyncio.create_task(self._pump_in(reader, inner_writer)),
            asyncio.create_task(self._pump_out(inner_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            inner_writer.transport.abort()

    async def _pump_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._is_passable.wait()
            writer.write(data)
            await writer.drain()

    async def _pump_out(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while data := await reader.read(CHUNK_BYTES):
            await self._is_passable.wait()
            if self.bytes_per_sec is not None:
                await asyncio.sleep(len(data) / self.bytes_per_sec)
            passed += len(data)
            self.bytes_out += len(data)
            writer.write(data)
            await writer.drain()
            if self.cut_after_bytes is not None and passed >= self.cut_after_bytes:
                self.cuts += 1
                return
        writer.write_eof()
        await writer.drain()


def _free_port() -> int:
    """A port to bind to by its number: only such a one is kept by a socket that stops listening."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port
