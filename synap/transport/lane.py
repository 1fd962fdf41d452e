"""The command lane: a small HTTP/1.1 protocol that serves `POST /api/v1/command` and nothing else.

Every connection begins here. As long as its requests are plain ones (this path, one Content-Length, no
transfer coding, nothing to negotiate) they are answered here, at several times the speed of a full server.
The first request that is anything else hands the connection, bytes and all, to aiohttp for good. Both ends
build their answers in the same dispatcher, and a client cannot tell them apart.

Clients send the same head over and over, so a head that was parsed once is recognised by its bytes.
Replies leave in the order of their requests, when the journal has reached what they tell (committer.py).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

import httptools

from synap.commands.dispatcher import Dispatcher, Reply
from synap.errors import InvalidRequest, SynapError, Unavailable
from synap.journal.committer import Committer

COMMAND_PATH = b"/api/v1/command"
HEAD_BYTES_MAX = 64 * 1024
HEADS_CACHED_MAX = 1_024
# Past this many unanswered requests a connection is not read until replies have left.
PIPELINED_MAX = 1_000
TICK_SECS = 1.0

JSON_TYPE = "application/json; charset=utf-8"
PACKED_TYPE = "application/msgpack"

_HEAD_END = b"\r\n\r\n"
_REQUEST_LINE = b"POST " + COMMAND_PATH + b" HTTP/1.1\r\n"
_SINGLE_HEADERS = (b"host", b"content-length", b"content-type", b"idempotency-key", b"x-synap-ack")
_LENGTH_DIGITS_MAX = 12
_HANDED_OVER = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"content-encoding", b"trailer"))


class Head:
    """What the lane needs of a request's head."""

    __slots__ = ("ack", "body_bytes", "idempotency_key", "is_packed")

    def __init__(self, body_bytes: int, is_packed: bool, idempotency_key: str | None, ack: str | None) -> None:
        self.body_bytes = body_bytes
        self.is_packed = is_packed
        self.idempotency_key = idempotency_key
        self.ack = ack


class Lane:
    """All connections that the lane serves, and what they share."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        committer: Committer,
        hand_over: Callable[[asyncio.Transport, bytes], None],
        *,
        max_body_bytes: int,
        max_connections: int,
        read_timeout_secs: float,
        idle_timeout_secs: float,
    ) -> None:
        self.dispatcher = dispatcher
        self.committer = committer
        self.hand_over = hand_over
        self.max_body_bytes = max_body_bytes
        self.connections: set[LaneConnection] = set()
        self.open_count = 0
        """Connections of the whole server, handed over ones included."""
        self.tick = 0
        self.draining = False
        self._heads: dict[bytes, Head] = {}
        self._max_connections = max_connections
        self._read_timeout_ticks = max(1, round(read_timeout_secs / TICK_SECS))
        self._idle_timeout_ticks = max(1, round(idle_timeout_secs / TICK_SECS))
        self._loop = asyncio.get_running_loop()
        self._date = b""
        self._openings: dict[tuple[int, bool], bytes] = {}
        self._on_tick()

    def connection(self) -> LaneConnection:
        """The protocol for an accepted connection."""
        return LaneConnection(self)

    def is_full(self) -> bool:
        """Whether there are more connections than allowed."""
        return self.open_count > self._max_connections

    def head(self, raw: bytes) -> Head | None:
        """The parsed head, or None when the request is not for the lane."""
        head = self._heads.get(raw)
        if head is None:
            head = parse_head(raw, self.max_body_bytes)
            if head is not None:
                if len(self._heads) >= HEADS_CACHED_MAX:
                    self._heads.clear()
                self._heads[raw] = head
        return head

    def response(self, reply: Reply, *, close: bool = False) -> bytes:
        """The HTTP response for a reply."""
        opening = self._openings.get((reply.status, reply.is_packed))
        if opening is None:
            opening = self._opening(reply.status, reply.is_packed)
        closing = b"\r\nConnection: close" if close else b""
        return b"%b%d%b%b\r\n\r\n%b" % (opening, len(reply.body), self._date, closing, reply.body)

    def connection_left(self) -> None:
        """A connection that was handed over has ended."""
        self.open_count -= 1

    def drain(self) -> None:
        """Close connections as soon as nothing is owed on them."""
        self.draining = True
        for connection in list(self.connections):
            connection.close_if_idle()

    def _opening(self, status: int, is_packed: bool) -> bytes:
        content_type = PACKED_TYPE if is_packed else JSON_TYPE
        opening = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {content_type}\r\nContent-Length: "
        return self._openings.setdefault((status, is_packed), opening.encode())

    def _on_tick(self) -> None:
        self.tick += 1
        self._date = f"\r\nDate: {formatdate(usegmt=True)}\r\nServer: synap".encode()
        for connection in list(self.connections):
            connection.check_deadline(self.tick - self._read_timeout_ticks, self.tick - self._idle_timeout_ticks)
        self._timer = self._loop.call_later(TICK_SECS, self._on_tick)

    def close(self) -> None:
        """Stop the timer and drop every connection."""
        self._timer.cancel()
        for connection in list(self.connections):
            connection.abort()


class LaneConnection(asyncio.Protocol):
    """One connection, until it ends or is handed over.

    What was received is either answered at once, kept (`_partial`, the rest is still to come) or held
    (`_held`, replies must leave first). The connection is not read while something is held.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._dispatcher = lane.dispatcher
        self._committer = lane.committer
        self._transport: asyncio.Transport | None = None
        self._replies: deque[Reply] = deque()
        self._joined = False
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._needed_bytes = 0
        self._held: bytes | None = None
        self._held_is_foreign = False
        self._ending = False
        self._active_tick = lane.tick
        self._request_tick = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, or refuse when there are too many connections."""
        self._transport = cast(asyncio.Transport, transport)
        self._lane.open_count += 1
        self._lane.connections.add(self)
        if self._lane.is_full():
            self._refuse(Unavailable("the server has as many connections as it allows; try again later"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what is still owed."""
        self._lane.open_count -= 1
        self._lane.connections.discard(self)
        self._transport = None
        self._replies.clear()

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete now."""
        if self._partial:
            self._partial.append(data)
            self._partial_bytes += len(data)
            if self._partial_bytes < self._needed_bytes:
                return
            data = b"".join(self._partial)
            self._partial.clear()
        if self._held is not None:
            self._held += data
        elif not self._ending:
            self._serve(data)

    def eof_received(self) -> bool:
        """The client sends no more; stay open while it is owed replies."""
        self._ending = True
        return bool(self._replies)

    def pause_writing(self) -> None:
        """The client reads too slowly: take no more requests from it."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._transport is not None and self._held is None:
            self._transport.resume_reading()

    def advance(self) -> None:
        """Send the replies whose changes are as durable as they say."""
        self._joined = False
        transport, replies, reached = self._transport, self._replies, self._committer.reached
        if transport is None:
            return
        close = self._lane.draining
        ready = []
        while replies:
            reply = replies[0]
            if reply.lsn > reached[reply.ack]:
                refusal = self._committer.refusal(reply.lsn)
                if refusal is None:
                    self._committer.join_sync(self)
                    break
                if reply.wrote:
                    reply = reply.refused(refusal)
            replies.popleft()
            ready.append(self._lane.response(reply, close=close and not replies))
        if ready:
            transport.write(ready[0] if len(ready) == 1 else b"".join(ready))
        if not replies and (close or self._held is not None or self._ending):
            self._settled()

    def check_deadline(self, oldest_request_tick: int, oldest_active_tick: int) -> None:
        """End the connection when its request takes too long to arrive, or none comes."""
        if self._request_tick and self._request_tick < oldest_request_tick:
            self._refuse(InvalidRequest("the request did not arrive in time"))
        elif not self._request_tick and not self._replies and self._active_tick < oldest_active_tick:
            self.abort()

    def close_if_idle(self) -> None:
        """Close now unless a request is being answered or is on its way."""
        if self._transport is not None and not self._replies and not self._partial:
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _serve(self, data: bytes) -> None:
        lane, replies, size, at = self._lane, self._replies, len(data), 0
        self._active_tick = lane.tick
        while at < size:
            end = data.find(_HEAD_END, at)
            if end < 0:
                if size - at > HEAD_BYTES_MAX:
                    self._hold(data[at:], is_foreign=True)
                else:
                    self._keep(data[at:], size - at + 1)
                break
            head = lane.head(data[at:end])
            if head is None:
                self._hold(data[at:], is_foreign=True)
                break
            body_at = end + len(_HEAD_END)
            stop = body_at + head.body_bytes
            if stop > size:
                self._keep(data[at:], stop - at)
                break
            self._request_tick = 0
            answer = self._dispatcher.answer_packed if head.is_packed else self._dispatcher.answer
            replies.append(answer(data[body_at:stop], head.idempotency_key, head.ack))
            at = stop
            if len(replies) >= PIPELINED_MAX and at < size:
                self._hold(data[at:], is_foreign=False)
                break
        if replies and not self._joined:
            self._joined = True
            self._committer.join(self)

    def _keep(self, data: bytes, needed_bytes: int) -> None:
        self._request_tick = self._request_tick or self._lane.tick
        self._partial = [data]
        self._partial_bytes = len(data)
        self._needed_bytes = needed_bytes

    def _hold(self, data: bytes, *, is_foreign: bool) -> None:
        self._held = data
        self._held_is_foreign = is_foreign
        if self._transport is not None:
            self._transport.pause_reading()
        if not self._replies:
            self._settled()

    def _settled(self) -> None:
        """Everything owed has left: go on with what was held, or end."""
        transport, data = self._transport, self._held
        if transport is None:
            return
        if data is None:
            transport.close()
            return
        self._held = None
        transport.resume_reading()
        if self._held_is_foreign:
            self._lane.connections.discard(self)
            self._transport = None
            self._lane.hand_over(transport, data)
        else:
            self._serve(data)

    def _refuse(self, error: SynapError) -> None:
        if self._transport is not None:
            self._ending = True
            self._request_tick = 0
            self._partial.clear()
            self._transport.write(self._lane.response(self._dispatcher.refuse(error), close=True))
            self._transport.close()


class _HeadParser:
    """Collects one head. The heavy lifting, and the refusal of malformed ones, is httptools'."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))


def parse_head(raw: bytes, max_body_bytes: int) -> Head | None:
    """A request head without its empty line; None unless it is one the lane may serve."""
    if not raw.startswith(_REQUEST_LINE) or not raw.isascii():
        return None
    collected = _HeadParser()
    try:
        httptools.HttpRequestParser(collected).feed_data(raw + _HEAD_END)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    headers = dict(collected.headers)
    names = [name for name, _ in collected.headers]
    length = headers.get(b"content-length", b"")
    unusual = (
        collected.url != COMMAND_PATH
        or b"host" not in headers
        or not _HANDED_OVER.isdisjoint(headers)
        or any(names.count(name) > 1 for name in _SINGLE_HEADERS)
        or headers.get(b"connection", b"keep-alive").lower() != b"keep-alive"
        or not (length.isdigit() and len(length) <= _LENGTH_DIGITS_MAX and int(length) <= max_body_bytes)
    )
    if unusual:
        return None
    content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode()
    key, ack = headers.get(b"idempotency-key"), headers.get(b"x-synap-ack")
    return Head(
        int(length),
        content_type == PACKED_TYPE,
        None if key is None else key.decode(),
        None if ack is None else ack.decode(),
    )
