"""Server-sent events: rooms and topics for clients without WebSockets.

    GET /stream/{room}/events?from_offset=&replay=&partition=      GET /pubsub/events?topics=a.*,b.#

The id of an event says where its client is: the offset (`partition:offset` pairs where there are several partitions),
or epoch and seq of a message. A client that comes back with it as Last-Event-ID goes on right behind; what is gone by
then is told as an event `gap`. The first thing sent is an id, so that even who has seen nothing yet misses nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec
import orjson
from aiohttp import WSCloseCode, web

from synap.commands.events import StreamFeed
from synap.commands.outbox import Push
from synap.commands.stream_consuming import Subscribe as RoomSubscribe
from synap.engines.arrivals import Topic
from synap.errors import AckTimeout, DiskFull, InvalidRequest
from synap.transport.app import HandedOver, add_get, caller_of
from synap.transport.guard import EVENTS_SUFFIX, TOKEN_FIELD
from synap.transport.live import CLOSE_SECS_MAX, Client, Live
from synap.transport.owed import DISK_RETRY_SECS
from synap.transport.rest import decoded_query, path_pattern

KEEP_ALIVE_SECS = 15.0
PUSHED_BYTES_MAX = 256 * 1024
ROOM_PATH = "/stream/{room}" + EVENTS_SUFFIX
TOPICS_PATH = "/pubsub" + EVENTS_SUFFIX
_encode = msgspec.json.Encoder().encode

# -1 is in front of the first offset.
_OFFSET = r"(\d{1,18}|-1)"
_ROOM_ID = re.compile(rf"{_OFFSET}|\d{{1,9}}:{_OFFSET}(,\d{{1,9}}:{_OFFSET})*", re.ASCII)
_TOPICS_ID = re.compile(r".+-\d{1,18}", re.ASCII)

Position = Callable[[Push], str | None]


def add_routes(app: web.Application, live: Live) -> None:
    """Serve the two routes."""

    def serving(begin: Callable[[web.Request, EventSource], tuple[list[bytes], Position]]) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            caller = caller_of(request)
            live.dispatcher.enter(caller)
            source = EventSource(live)
            async with live.connected(source, caller, "sse"):
                opening, position = begin(request, source)
                return await source.serve(request, opening, position)

        return handle

    add_get(app, TOPICS_PATH, serving(_begin_topics))
    add_get(app, path_pattern(ROOM_PATH), serving(_begin_room))


class EventSource(Client):
    """One connection that takes server-sent events."""

    def __init__(self, live: Live) -> None:
        super().__init__(live.name(), live.line, live.outbox(self._wake))
        self.live = live
        self._changed = asyncio.Event()
        self._is_over = False
        self._connection: HandedOver | None = None
        """While it is served."""

    async def serve(self, request: web.Request, opening: list[bytes], position: Position) -> web.StreamResponse:
        """Send what comes until either end has enough."""
        connection = self._connection = cast(HandedOver, request.protocol)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        response.force_close()
        connection.client_gone = self._end_now
        try:
            await self._reach()
            await response.prepare(request)
            await response.write(b"".join(opening))
            while not self._is_over:
                await self._send_more(response.write, position)
            await self._send_pushes(response.write, position)
        except ConnectionResetError:
            pass
        finally:
            connection.client_gone = None
            self._connection = None
        return response

    async def _send_more(self, write: Callable[[bytes], Awaitable[None]], position: Position) -> None:
        self._changed.clear()
        if await self._send_pushes(write, position):
            return
        if any(isinstance(feed, StreamFeed) and feed.is_behind for feed in self.feeds.values()):
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(KEEP_ALIVE_SECS):
                await self._changed.wait()
        except TimeoutError:
            await write(b": still here\n\n")

    async def _send_pushes(self, write: Callable[[bytes], Awaitable[None]], position: Position) -> bool:
        """Whether there were any."""
        pushes = self._pull()
        if pushes and await self._reach():
            await write(b"".join([_event(push.kind, push.body, position(push)) for push in pushes]))
        return bool(pushes)

    async def _reach(self) -> bool:
        """Wait until what is told is in the journal; says whether it is. Messages do not wait for a full disk."""
        lsn = self.live.state.lsn
        while True:
            try:
                await self.live.committer.reach(self.live.dispatcher.default_ack, lsn)
                return True
            except (AckTimeout, DiskFull):
                if self._is_over or not self.feeds:
                    return not self.feeds
                await asyncio.sleep(DISK_RETRY_SECS)

    def _pull(self) -> list[Push]:
        pushes: list[Push] = []
        for feed in list(self.feeds.values()):
            if isinstance(feed, StreamFeed):
                pushes += feed.pull(self.live.now(), PUSHED_BYTES_MAX)
                self._is_over |= feed.ended
        return pushes + self.outbox.drain(PUSHED_BYTES_MAX)

    def notice(self, topic: Topic) -> None:
        """Something may have come; all feeds are looked at anyway."""

    def advance(self) -> None:
        """Something has come."""
        if self.outbox.overflowed and not self._is_over:
            self.stop(WSCloseCode.POLICY_VIOLATION, b"")
        self._changed.set()

    def stop(self, code: WSCloseCode, reason: bytes) -> None:
        """End the response; a client that does not read gets only a part of it."""
        self._end_now()
        asyncio.get_running_loop().call_later(CLOSE_SECS_MAX, self._break_off)

    def expel(self, reason: str, code: WSCloseCode = WSCloseCode.POLICY_VIOLATION) -> None:
        """End the response of somebody who may not have it any more; from now on nothing is pushed."""
        self.end()
        self.live.state.pubsub.unsubscribe(self.outbox)
        self.outbox.clear()
        self.stop(code, b"")

    def _end_now(self) -> None:
        self._is_over = True
        self._changed.set()

    def _break_off(self) -> None:
        if self._connection is not None and self._connection.transport is not None:
            self._connection.transport.abort()

    def _wake(self) -> None:
        self.live.hub.wake(self)


def _begin_room(request: web.Request, source: EventSource) -> tuple[list[bytes], Position]:
    payload = msgspec.json.decode(decoded_query(request, RoomSubscribe, besides=TOKEN_FIELD), type=dict[str, Any])
    last = request.headers.get("Last-Event-ID")
    if last:
        payload |= _room_position(last)
    outcome = source.live.dispatcher.call("stream.subscribe", _encode(payload), caller=source.caller)
    subscribed = orjson.loads(outcome.payload)
    at = {int(partition): offset - 1 for partition, offset in subscribed["next_offsets"].items()}

    def position(push: Push) -> str | None:
        if push.seq is None:
            return None
        at[push.partition] = push.seq
        return _joined(at)

    opening = [b"id: %b\n\n" % _joined(at).encode()] if at else []
    if gap := subscribed["gap"]:
        missed = {"type": "gap", "room": payload["room"], "missed": gap["to"] - gap["from"] + 1}
        opening.append(_event("gap", orjson.dumps(missed | gap), _joined(at)))
    return opening, position


def _begin_topics(request: web.Request, source: EventSource) -> tuple[list[bytes], Position]:
    topics = [topic for text in request.query.getall("topics", []) for topic in text.split(",") if topic]
    payload: dict[str, Any] = {"topics": topics}
    if policy := request.query.get("policy"):
        payload["policy"] = policy
    last = request.headers.get("Last-Event-ID")
    if last:
        payload |= _topics_position(last)
    outcome = source.live.dispatcher.call("pubsub.subscribe", _encode(payload), caller=source.caller)
    subscribed = orjson.loads(outcome.payload)
    epoch = subscribed["epoch"]
    opening = []
    if gap := subscribed["gap"]:
        opening.append(_event("gap", orjson.dumps({"type": "gap", "topic": None} | gap), None))
    if not source.outbox:
        opening.append(b"id: %b-%d\n\n" % (epoch.encode(), subscribed["seq"]))
    return opening, lambda push: None if push.seq is None else f"{epoch}-{push.seq}"


def _room_position(last: str) -> dict[str, Any]:
    """The fields of stream.subscribe that go on behind an event id."""
    if not _ROOM_ID.fullmatch(last):
        raise _not_an_id()
    if ":" not in last:
        return {"from_offset": int(last) + 1}
    pairs = [pair.split(":") for pair in last.split(",")]
    return {"from_offsets": {str(int(partition)): int(offset) + 1 for partition, offset in pairs}}


def _topics_position(last: str) -> dict[str, Any]:
    """The fields of pubsub.subscribe that go on behind an event id."""
    if not _TOPICS_ID.fullmatch(last):
        raise _not_an_id()
    epoch, _, seq = last.rpartition("-")
    return {"epoch": epoch, "last_seq": int(seq)}


def _not_an_id() -> InvalidRequest:
    return InvalidRequest("Last-Event-ID: expected the id of an event of this stream")


def _joined(at: dict[int, int]) -> str:
    if len(at) == 1:
        return str(next(iter(at.values())))
    return ",".join(f"{partition}:{offset}" for partition, offset in at.items())


def _event(kind: str, body: bytes, position: str | None) -> bytes:
    """One event. A body is JSON of one line, unless its writer has put line breaks between its tokens."""
    data = b"\ndata: ".join(body.splitlines()) if b"\n" in body or b"\r" in body else body
    name = " ".join(kind.splitlines()).encode()
    opening = b"id: %b\n" % position.encode() if position is not None else b""
    return b"%bevent: %b\ndata: %b\n\n" % (opening, name, data)
