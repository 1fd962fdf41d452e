"""`/api/v1/replication/*`: what other nodes ask this one for. See synap/replication.

    GET  stream      a WebSocket: the journal from some record on, for as long as the replica stays
    GET  snapshot    which snapshot a replica that is too far behind should begin with, and under
                     snapshot/<name> its bytes, or a range of them
    POST claim       another node says that it is the master

They are for who knows `replication.secret`, or has the permission `replication.stream`.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import msgspec
from aiohttp import WSMsgType, web

from synap.commands.dispatcher import Dispatcher
from synap.errors import InvalidRequest, KeyNotFound, Unauthorized, Unavailable
from synap.journal import JournalDamaged
from synap.journal.tail import RecordsGone, Tail
from synap.replication.service import Replication, Stream
from synap.replication.wire import (
    CLAIM_PATH,
    RECORDS_BYTES_MAX,
    SECRET_HEADER,
    SNAPSHOT_PATH,
    STREAM_PATH,
    Ack,
    Claim,
    Greeting,
    NotUnderstood,
    Records,
    pack,
    unpack,
)
from synap.transport.app import HandedOver, add_get, caller_of, expect, json_response

log = logging.getLogger("synap.replication")

PERMISSION = "replication.stream"
MESSAGE_BYTES_MAX = 1024
SILENCE_SECS_MAX = 30.0


def add_routes(app: web.Application, replication: Replication, dispatcher: Dispatcher, *, is_guarded: bool) -> None:
    """Add the routes. `is_guarded`: credentials are needed on this server."""
    routes = _Routes(replication, dispatcher, is_guarded)
    add_get(app, STREAM_PATH, routes.stream)
    add_get(app, SNAPSHOT_PATH, routes.snapshot)
    add_get(app, SNAPSHOT_PATH + "/{name}", routes.snapshot_bytes)
    app.router.add_post(CLAIM_PATH, routes.claim, expect_handler=expect)


class _Routes:
    def __init__(self, replication: Replication, dispatcher: Dispatcher, is_guarded: bool) -> None:
        self._replication = replication
        self._dispatcher = dispatcher
        self._is_guarded = is_guarded
        self._secret = replication.options.secret.encode()

    async def stream(self, request: web.Request) -> web.WebSocketResponse:
        self._permit(request)
        try:
            greeting = msgspec.convert(dict(request.query), Greeting, strict=False)
        except msgspec.ValidationError as error:
            raise InvalidRequest(str(error)) from None
        socket = web.WebSocketResponse(compress=False, max_msg_size=MESSAGE_BYTES_MAX)
        if not socket.can_prepare(request):
            raise InvalidRequest(f"expected a WebSocket at {STREAM_PATH}: GET with Upgrade: websocket")
        await socket.prepare(request)
        cast(HandedOver, request.protocol).become_socket(_ignore)
        self._check_ready()  # once more: that took a moment
        welcome = self._replication.node.admit(greeting)
        await socket.send_bytes(pack(welcome))
        if welcome.accepted:
            await _Sender(self._replication, socket, greeting, request.remote or "").run()
        await socket.close()
        return socket

    async def snapshot(self, request: web.Request) -> web.Response:
        self._permit(request)
        return json_response(msgspec.json.encode(self._replication.offer(request.query.get("begun", ""))))

    async def snapshot_bytes(self, request: web.Request) -> web.StreamResponse:
        self._permit(request)
        path = self._replication.offered(request.match_info["name"])
        if path is None:
            raise KeyNotFound("there is no such snapshot any more; ask for the newest one")
        return web.FileResponse(path)

    async def claim(self, request: web.Request) -> web.Response:
        self._permit(request)
        try:
            said = msgspec.json.decode(await request.read(), type=Claim)
        except msgspec.DecodeError as error:
            raise InvalidRequest(str(error)) from None
        return json_response(msgspec.json.encode(self._replication.node.told(said, self._replication.now_ms)))

    def _permit(self, request: web.Request) -> None:
        """Raise Unauthorized, Forbidden, Unavailable."""
        given, secret = request.headers.get(SECRET_HEADER, "").encode(), self._secret
        if not (secret and hmac.compare_digest(given, secret)):
            if self._is_guarded:
                self._dispatcher.permit(caller_of(request), PERMISSION)
            elif secret or given:
                raise Unauthorized(f"expected the header {SECRET_HEADER} with the secret that is set here")
        self._check_ready()

    def _check_ready(self) -> None:
        if self._dispatcher.refusal is not None:
            raise self._dispatcher.refusal
        if not (self._replication.node.has_started and self._replication.node.terms):
            raise Unavailable("this server has no data to follow yet")


class _Sender:
    """Sends one replica what it lacks, and takes note of what it has."""

    def __init__(
        self, replication: Replication, socket: web.WebSocketResponse, greeting: Greeting, address: str
    ) -> None:
        node = replication.node
        self._replication = replication
        self._socket = socket
        self._tail_from = greeting.from_lsn
        self._replicas = node.replicas
        self._stream = Stream(node.replicas.join(greeting, address, replication.now_ms), node.generation)

    async def run(self) -> None:
        """Send until either side has enough."""
        stream, replication = self._stream, self._replication
        log.info("%s follows: %s, from record %d on", stream.replica.id, stream.replica.address, self._tail_from)
        replication.joined(stream)
        acks = asyncio.create_task(self._take_acks())
        try:
            await self._send(acks.done)
        except (RecordsGone, ConnectionError, OSError) as error:
            log.info("%s: %s", stream.replica.id, error)
        except JournalDamaged:
            log.exception("the journal cannot be read for a replica")
        finally:
            acks.cancel()
            replication.streams.discard(stream)
            self._replicas.leave(stream.replica, replication.now_ms)
            log.info("%s has gone", stream.replica.id)

    async def _send(self, is_over: Callable[[], bool]) -> None:
        stream, socket = self._stream, self._socket
        tail = Tail(self._replication.journal, self._tail_from)
        try:
            while self._is_wanted() and not is_over():
                stream.wake.clear()
                for message in stream.messages():
                    await socket.send_bytes(message)
                data = tail.read(RECORDS_BYTES_MAX) if tail.is_at_end else await _read_elsewhere(tail)
                if data:
                    await socket.send_bytes(pack(Records(data)))
                elif not stream.has_messages:
                    await stream.wake.wait()
        finally:
            tail.close()

    def _is_wanted(self) -> bool:
        """Whether what was agreed at the beginning holds, and the replica still says something."""
        replication, stream = self._replication, self._stream
        silent_ms = replication.now_ms - stream.replica.heard_at
        return (
            not replication.is_parting
            and replication.node.generation == stream.generation
            and self._replicas.is_joined(stream.replica)
            and silent_ms < SILENCE_SECS_MAX * 1000
        )

    async def _take_acks(self) -> None:
        with suppress(NotUnderstood):
            async for message in self._socket:
                said = unpack(message.data) if message.type is WSMsgType.BINARY else None
                if not isinstance(said, Ack):
                    break
                self._replication.acknowledged(self._stream.replica, said.lsn)
        self._stream.wake.set()


async def _read_elsewhere(tail: Tail) -> bytes:
    """Read in another thread; cancelling waits for that, since the tail is closed next."""
    reading = asyncio.ensure_future(asyncio.to_thread(tail.read, RECORDS_BYTES_MAX))
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        await asyncio.wait([reading])
        raise


def _ignore(_: bool) -> None:
    """Who sends to a replica waits by itself until that has read what it was sent."""
