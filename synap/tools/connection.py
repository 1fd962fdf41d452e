"""The shell's end of a server: commands over HTTP, subscriptions over one WebSocket that comes back.

A command that waits can be broken off by ending its HTTP request, which takes nothing else with it; and what was
consumed over HTTP stays leased when a connection ends. The WebSocket is open all the time, so that a server that goes
away, and one that has come back, is noticed at once; it then goes on with every subscription where it was.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Protocol

import aiohttp

from synap.tools.client import Answer, Server, Unreachable, request
from synap.tools.reference import Reference
from synap.tools.subscriptions import Payload, Subscriptions

CONNECT_SECS_MAX = 10.0
REPLY_SECS_MAX = 30.0
OPEN_SECS_MAX = 2.0
HEARTBEAT_SECS = 20.0
RETRY_SECS_MIN, RETRY_SECS_MAX = 0.1, 1.0


class Listener(Protocol):
    """Who is told what happens without being asked for."""

    def pushed(self, frame: bytes) -> None:
        """Something has come for a subscription."""

    def came(self, is_again: bool) -> None:
        """There is a connection."""

    def went(self, reason: str, is_final: bool) -> None:
        """There is none any more, or none yet; `is_final` when trying again is of no use."""

    def resumed(self, label: str, answer: Answer) -> None:
        """A subscription goes on after a break, or cannot."""


class Connection:
    """A server that may come and go. Make it with `open`."""

    _listener: Listener

    def __init__(self, server: Server, session: aiohttp.ClientSession) -> None:
        self.subscriptions = Subscriptions()
        self._server = server
        self._session = session
        self._tls = server.tls() if server.url.startswith("https:") else True
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._awaited: dict[str, tuple[str, str, asyncio.Future[Answer]]] = {}
        self._ids = map(str, count())
        self._trouble = "connecting takes long"
        self._hurry = asyncio.Event()
        self._opened = asyncio.Event()
        self._staying: asyncio.Task[None] | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, server: Server) -> AsyncIterator[Connection]:
        """A connection that ends with the block. Raises Unreachable for a certificate that cannot be read."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECS_MAX)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            connection = cls(server, session)
            try:
                yield connection
            finally:
                if connection._staying is not None:
                    connection._staying.cancel()
                    with suppress(asyncio.CancelledError):
                        await connection._staying

    def begin(self, listener: Listener) -> None:
        """Connect, soon, and stay connected."""
        self._listener = listener
        self._staying = asyncio.create_task(self._stay())

    def authorize(self, token: str) -> None:
        """Show this from now on."""
        self._server.api_key = token
        self._hurry.set()

    async def reference(self) -> Reference:
        """What the server says about its commands. Raises Unreachable and Refused."""
        status, body = await self._fetch("GET", "/api/v1/commands", None)
        try:
            return Reference.read(self._server.page(status, body))
        except ValueError:
            raise self._server.stranger() from None

    async def ask(self, command: str, payload: str) -> Answer:
        """Run a command that subscribes to nothing. Raises Unreachable."""
        _, body = await self._fetch("POST", "/api/v1/command", request(command, payload))
        return self._server.answer(body)

    async def attach(self, command: str, payload: str) -> Answer:
        """Begin or end a subscription. Raises Unreachable."""
        socket = await self._open_socket()
        request_id = next(self._ids)
        replied: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._awaited[request_id] = command, payload, replied
        try:
            async with asyncio.timeout(REPLY_SECS_MAX):
                await socket.send_str(request(command, payload, request_id).decode())
                return await replied
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is one
            raise Unreachable(f"{self._server.url}: {_reason(error)}") from None
        finally:
            del self._awaited[request_id]

    async def end_subscriptions(self) -> None:
        """End all of them."""
        for command, payload in self.subscriptions.endings():
            with suppress(Unreachable):
                await self.attach(command, json.dumps(payload))
        self.subscriptions.clear()

    async def _fetch(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        url = self._server.url
        try:
            asking = self._session.request(
                method, self._server.at(path), data=body, headers=self._server.headers, ssl=self._tls
            )
            async with asking as response:
                return response.status, await response.read()
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(f"{url}: {_reason(error)}") from None
        except aiohttp.InvalidURL:
            raise Unreachable(f"expected a URL like http://HOST:PORT, got {url}") from None
        except (aiohttp.ClientError, OSError) as error:
            uncertain = "the connection broke before the answer came; the command may have been carried out"
            raise Unreachable(f"{url}: {uncertain} ({_reason(error)})") from None

    # The WebSocket

    async def _open_socket(self) -> aiohttp.ClientWebSocketResponse:
        if self._socket is None:
            self._hurry.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._opened.wait(), OPEN_SECS_MAX)
        if self._socket is None:
            raise Unreachable(f"{self._server.url}: there is no connection for subscriptions: {self._trouble}")
        return self._socket

    async def _stay(self) -> None:
        was_open = False
        pause_secs = RETRY_SECS_MIN
        while True:
            self._hurry.clear()
            reason, is_final = await self._serve(was_open)
            self._trouble = reason
            if self._socket is not None:
                self._lose(reason)
                was_open, pause_secs = True, RETRY_SECS_MIN
            elif is_final or (pause_secs == RETRY_SECS_MIN and not was_open):
                self._listener.went(reason, is_final)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), None if is_final else pause_secs)
            pause_secs = min(2 * pause_secs, RETRY_SECS_MAX)

    async def _serve(self, is_again: bool) -> tuple[str, bool]:
        """Connect and receive until it ends: why, and whether trying again is of no use."""
        url = self._server.at("/api/v1/ws")
        try:
            async with self._session.ws_connect(
                url, headers=self._server.headers, ssl=self._tls, max_msg_size=0, heartbeat=HEARTBEAT_SECS
            ) as socket:
                self._socket = socket
                self._opened.set()
                self._listener.came(is_again)
                resuming = asyncio.create_task(self._resume())
                try:
                    return await self._receive(socket), False
                finally:
                    resuming.cancel()
        except aiohttp.WSServerHandshakeError as error:
            return f"the server offers no WebSocket: {error.status} {error.message}", error.status in (401, 403)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _reason(error), False

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> str:
        """Until the end, and why that is."""
        while True:
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                self._take(message.data.encode())
            else:
                told = message.extra if message.type is aiohttp.WSMsgType.CLOSE else None
                return "the server has closed the connection" + (f": {told}" if told else "")

    def _lose(self, reason: str) -> None:
        self._socket = None
        self._opened.clear()
        for _, _, replied in self._awaited.values():
            if not replied.done():
                replied.set_exception(Unreachable(f"{self._server.url}: {reason}"))
        self._listener.went(reason, False)

    def _take(self, frame: bytes) -> None:
        message: Payload = json.loads(frame)
        if message["type"] != "response":
            self.subscriptions.saw(message)
            self._listener.pushed(frame)
            return
        command, payload, replied = self._awaited.get(message["request_id"], ("", "", None))
        if replied is None or replied.done():
            return
        answer = self._server.answer(frame)
        if answer.success:  # now, because what is pushed may come with the same bytes
            self.subscriptions.answered(command, payload, message["payload"])
        replied.set_result(answer)

    async def _resume(self) -> None:
        with suppress(Unreachable):
            for subscription in list(self.subscriptions):
                answer = await self.attach(subscription.command, json.dumps(subscription.resumed()))
                if not answer.success:
                    self.subscriptions.drop(subscription)
                self._listener.resumed(subscription.label, answer)


def _reason(error: Exception) -> str:
    """What went wrong, in the words of the system where it is the one that says so."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) and (cause.errno or 0) > 0:
        return os.strerror(cause.errno or 0)
    return str(error) or type(error).__name__
