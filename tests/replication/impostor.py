"""A server that others can be told to follow, and that says to them whatever a test has it say."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
from aiohttp import web

from synap.journal.record import Lsn, encode
from synap.replication.terms import Terms
from synap.replication.wire import SNAPSHOT_PATH, STREAM_PATH, Greeting, Records, Welcome, pack
from tests.replication.inside import PATIENCE_SECS
from tests.transport.sockets import Inside

Say = Callable[[web.WebSocketResponse, Greeting], Awaitable[None]]


class Impostor:
    """Use as a context manager. It speaks in the name of `master`: same lineage, same terms, same epoch."""

    def __init__(self, master: Inside) -> None:
        self.node = master.server._replication.node
        self.last_lsn: Lsn = master.server._journal.last_lsn
        self.time = master.server._state.time
        self.say: Say = self.welcome
        """What it does with a WebSocket that asks for the stream."""
        self.offer: bytes = b""
        """The body of the answer to who asks for a snapshot."""
        self.snapshot: Callable[[], AsyncIterator[bytes]] | None = None
        """The bytes of the snapshot."""
        self.greetings: list[Greeting] = []
        self.sent_bytes = 0
        """Of snapshots."""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    # What it may say

    def a_welcome(self, greeting: Greeting, **other: Any) -> Welcome:
        """The welcome that the master would give."""
        said = {
            "node": "impostor",
            "accepted": True,
            "epoch": self.node.epoch,
            "terms": self.node.terms,
            "oldest_lsn": 1,
            "last_lsn": max(self.last_lsn, greeting.from_lsn - 1),
            "master": None,
            **other,
        }
        return Welcome(**said)

    def record(self, lsn: Lsn, key: str = "forged", command: str = "kv.set") -> bytes:
        """A record as it stands in a journal."""
        payload = msgspec.json.encode({"key": key, "value": lsn})
        return bytes(encode([(lsn, self.time, command.encode(), payload)]))

    def an_offer(self, **other: Any) -> bytes:
        """The offer of a snapshot."""
        terms: Terms = self.node.terms
        said = {"name": "snapshot", "lsn": self.last_lsn, "bytes": 1000, "terms": terms, "epoch": self.node.epoch}
        return msgspec.json.encode(msgspec.to_builtins({**said, **other}))

    async def welcome(self, socket: web.WebSocketResponse, greeting: Greeting) -> None:
        """Welcome, and say nothing more."""
        await socket.send_bytes(pack(self.a_welcome(greeting)))
        async for _ in socket:
            pass

    def sends(self, *messages: Callable[[Greeting], bytes]) -> Say:
        """Welcome, and send these messages."""

        async def say(socket: web.WebSocketResponse, greeting: Greeting) -> None:
            await socket.send_bytes(pack(self.a_welcome(greeting)))
            for message in messages:
                await socket.send_bytes(message(greeting))
            async for _ in socket:
                pass

        return say

    def sends_records(self, *offsets: int) -> Say:
        """Welcome, and send one message with records: 0 is the next that the replica wants."""
        return self.sends(lambda g: pack(Records(b"".join(self.record(g.from_lsn + offset) for offset in offsets))))

    # Running

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        greeting = msgspec.convert(dict(request.query), Greeting, strict=False)
        self.greetings.append(greeting)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        with suppress(ConnectionError):
            await self.say(socket, greeting)
        return socket

    async def _offer(self, request: web.Request) -> web.Response:
        return web.Response(body=self.offer)

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        assert self.snapshot is not None
        with suppress(ConnectionError):
            async for part in self.snapshot():
                await response.write(part)
                self.sent_bytes += len(part)
        return response

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        app = web.Application()
        app.router.add_get(STREAM_PATH, self._stream)
        app.router.add_get(SNAPSHOT_PATH, self._offer)
        app.router.add_get(SNAPSHOT_PATH + "/{name:.*}", self._snapshot)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port: int = runner.addresses[0][1]
        self._ready.set()
        await self._stopped.wait()
        await runner.cleanup()

    def __enter__(self) -> Impostor:
        self._thread.start()
        assert self._ready.wait(PATIENCE_SECS)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(PATIENCE_SECS)
        assert not self._thread.is_alive()
