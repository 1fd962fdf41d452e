"""`/api/v1/ws`: every command, and what is pushed to subscribers, on one WebSocket.

aiohttp does the handshake, the parsing and the control frames. A request is answered as soon as it is parsed, without
a task being woken for it, unless too many are in a row or replies have to leave first: then it waits to be read. What
is sent is put together here and written to the transport whole: a push to a thousand subscribers is one frame, made
once.

A connection has two ways out. Replies, and pushes once they have been read from where they wait, are *owed* (owed.py).
Everything pushed waits where it costs nothing more: events in the log, messages of a queue in the queue, pub/sub in an
outbox that is bounded. It is read only as fast as the client takes it.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from contextlib import suppress
from functools import partial
from typing import cast

import msgspec
import orjson
from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp._websocket.models import WSMessageNoDecodeText
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http import WebSocketReader, WebSocketWriter

from synap.commands import packed
from synap.commands.events import StreamFeed
from synap.commands.outbox import Push
from synap.commands.queue_consuming import QueueFeed, Release
from synap.commands.reply import Outcome, Reply
from synap.commands.session import Feed
from synap.commands.waiting import Wait, WouldBlock
from synap.engines.arrivals import Topic
from synap.errors import DiskFull, InvalidRequest, SynapError, Unavailable
from synap.transport.app import HandedOver, add_get, caller_of
from synap.transport.guard import SOCKET_PATH
from synap.transport.live import CLOSE_SECS_MAX, Client, Live
from synap.transport.owed import DISK_RETRY_SECS, Owed

log = logging.getLogger("synap.websocket")

HEARTBEAT_SECS = 60.0
# Commands of one connection that wait at the same time.
WAITS_MAX = 1_000
# Requests of one connection that are answered before others have their turn.
REQUESTS_IN_A_ROW = 32
# What is read ahead of them.
UNREAD_BYTES_MAX = 64 * 1024
# Replies of one connection that wait for the journal; past them it is not read.
OWED_MAX = 1_000
# With so many replies and pushes waiting for the journal, no more pushes are read.
PUSHED_BEHIND_MAX = 16
# What one connection is sent in one go, before others have their turn.
PUSHED_BYTES_MAX = 256 * 1024

# Of what a close frame has room for.
REASON_BYTES_MAX = 120

_TEXT, _BINARY, _CLOSE = 0x81, 0x82, 0x88
# After these nothing can be read from the client.
_FAULTS = (WSCloseCode.PROTOCOL_ERROR, WSCloseCode.INVALID_TEXT, WSCloseCode.MESSAGE_TOO_BIG)
_encode = msgspec.json.Encoder().encode


class _Messages(msgspec.Struct):
    messages: list[msgspec.Raw]


_decode_messages = msgspec.json.Decoder(_Messages).decode


def add_routes(app: web.Application, live: Live, max_body_bytes: int) -> None:
    """Serve WebSockets."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        caller = caller_of(request)
        live.dispatcher.enter(caller)
        size = max_body_bytes + 1  # the first that is too large
        socket = _Socket(compress=False, decode_text=False, heartbeat=HEARTBEAT_SECS, max_msg_size=size)
        if not socket.can_prepare(request):
            raise InvalidRequest(f"expected a WebSocket at {SOCKET_PATH}: GET with Upgrade: websocket")
        await socket.prepare(request)
        client = SocketClient(live, socket, cast(HandedOver, request.protocol))
        async with live.connected(client, caller, "websocket"):
            socket.serve(client)
            await client.serve()
        return socket

    add_get(app, SOCKET_PATH, handle)


class _Inlet(WebSocketDataQueue):
    """Hands requests to the client as they are parsed. What it cannot take now, and control frames, wait to be read."""

    client: SocketClient | None = None

    def feed_data(self, data: WSMessageNoDecodeText, size: int) -> None:
        """Take a message."""
        client, kind = self.client, data.type
        if (
            client is not None
            and (kind is WSMsgType.TEXT or kind is WSMsgType.BINARY)
            and not self._buffer
            and client.may_receive()
        ):
            client.receive(data.data, kind is WSMsgType.BINARY)
        else:
            super().feed_data(data, size)


class _Socket(web.WebSocketResponse):
    """Says goodbye behind what is owed, and does not wait for ever for a client that reads nothing."""

    client: SocketClient
    _is_heard = False
    """Something has come since the heartbeat was last looked at."""

    def serve(self, client: SocketClient) -> None:
        """From now on requests go to the client at once."""
        self.client = cast(_Inlet, self._reader).client = client

    def _post_start(self, request: web.BaseRequest, protocol: str | None, writer: WebSocketWriter) -> None:
        self._ws_protocol, self._writer = protocol, writer
        self._reset_heartbeat()
        self._reader = _Inlet(request.protocol, UNREAD_BYTES_MAX, loop=asyncio.get_running_loop())
        self._parser = WebSocketReader(self._reader, self._max_msg_size, compress=False, decode_text=False)
        request.protocol.set_parser(self._parser, data_received_cb=self._on_data_received)
        request.protocol.keep_alive(False)

    def _on_data_received(self) -> None:
        self._is_heard = True

    def _send_heartbeat(self) -> None:
        if not self._still_heard():
            super()._send_heartbeat()

    def _pong_not_received(self) -> None:
        if not self._still_heard():
            super()._pong_not_received()

    def _still_heard(self) -> bool:
        """Begin the heartbeat anew if something has come."""
        is_heard, self._is_heard = self._is_heard, False
        if is_heard:
            self._heartbeat_cb = None
            self._reset_heartbeat()
        return is_heard

    async def close(self, *, code: int = WSCloseCode.OK, message: bytes = b"", drain: bool = True) -> bool:
        try:
            async with asyncio.timeout(CLOSE_SECS_MAX):
                await self.client.settle()
                if code in _FAULTS:
                    await self.client.tell_fault(code)
                return await super().close(code=code, message=message, drain=drain)
        except TimeoutError:
            self.client.break_off()
            return True
        finally:
            self.client.break_off_later()


class SocketClient(Client):
    """One WebSocket, and what it is subscribed to."""

    def __init__(self, live: Live, socket: web.WebSocketResponse, connection: HandedOver) -> None:
        super().__init__(live.name(), live.line, live.outbox(partial(live.hub.wake, self)))
        self._live = live
        self._socket = socket
        self._connection = connection
        self._owed = Owed(live.committer, self._write, _reply_frame, self.advance)
        self._in_a_row = 0
        """Requests answered since others have had their turn."""
        self._waits: dict[Wait, asyncio.TimerHandle] = {}
        self._in_line: dict[QueueFeed, Wait] = {}
        self._due: dict[Feed, None] = {}
        """Feeds that may have something."""
        self._is_binary = False
        """Pushes come as the latest request did."""
        self._readable = asyncio.Event()
        self._readable.set()
        self._lost = asyncio.Event()
        self._settled: asyncio.Event | None = None
        """While the connection is being closed: set when nothing is owed any more."""
        self._closing: asyncio.Task[bool] | None = None
        connection.become_socket(self._flow)
        connection.client_gone = self._let_go

    # Requests

    def may_receive(self) -> bool:
        """Whether the next request may be answered now, if none is before it."""
        is_ending = self._settled is not None or self._closing is not None
        return self._in_a_row < REQUESTS_IN_A_ROW and self._readable.is_set() and not is_ending

    def receive(self, body: bytes, is_binary: bool) -> None:
        """Answer a request."""
        self._in_a_row += 1
        try:
            self._receive(body, is_binary)
        except Exception:
            log.exception("a connection is closed")
            self.stop(WSCloseCode.INTERNAL_ERROR, b"an unexpected error")

    async def serve(self) -> None:
        """Answer what could not be answered at once, until the connection ends."""
        async for message in self._socket:
            if message.type is WSMsgType.TEXT or message.type is WSMsgType.BINARY:
                self.receive(message.data, message.type is WSMsgType.BINARY)
                if self._in_a_row >= REQUESTS_IN_A_ROW:
                    await asyncio.sleep(0)  # what has arrived already is read without a pause
                    self._in_a_row = 0
                while not self._readable.is_set():
                    if self._connection.is_closing():
                        return
                    with suppress(TimeoutError):  # a connection may be closing for long, with nobody reading
                        await asyncio.wait_for(self._readable.wait(), CLOSE_SECS_MAX)

    def _receive(self, body: bytes, is_binary: bool) -> None:
        self._is_binary = is_binary
        dispatcher = self._live.dispatcher
        answer = dispatcher.answer_packed if is_binary else dispatcher.answer
        try:
            reply = answer(body, None, None, self.caller)
        except WouldBlock as blocked:
            wait = blocked.wait
            if len(self._waits) < WAITS_MAX:
                self._begin(wait)
                return
            too_many = InvalidRequest(f"{WAITS_MAX} commands of this connection wait already")
            reply = cast(Reply, wait.give_up()).refused(too_many)
        self._owe(reply)

    def _begin(self, wait: Wait) -> None:
        self._waits[wait] = asyncio.get_running_loop().call_later(wait.seconds, wait.time_out)

        def deliver(reply: Reply) -> None:
            self._waits.pop(wait).cancel()
            self._owe(reply)

        wait.begin(deliver, self._connection.is_closing)
        self._live.committer.schedule()  # the tick is over, though nothing is answered

    def _owe(self, reply: Reply) -> None:
        if not self._connection.is_closing():
            self._owed.reply(reply)
            if len(self._owed) >= OWED_MAX:
                self._readable.clear()
        self._wake()

    # Sending

    def advance(self) -> None:
        """Send what is owed and may leave; then, as far as the client takes it, what is to be pushed."""
        self._in_a_row = 0
        if self._connection.is_closing() or self._socket.closed:
            return
        owed = len(self._owed)
        if owed:
            self._owed.send()
            owed = len(self._owed)
        if owed < OWED_MAX and not self._connection.writing_paused:
            self._readable.set()
        if self._settled is not None:
            if not owed:
                self._settled.set()
        elif (self._due or self.outbox) and owed < PUSHED_BEHIND_MAX:
            self._push()

    def notice(self, topic: Topic) -> None:
        """There may be something for a feed."""
        self._due[self.feeds[topic]] = None

    def _push(self) -> None:
        if self.outbox.overflowed:
            self.stop(WSCloseCode.POLICY_VIOLATION, b"messages came faster than they were read")
        if self._connection.writing_paused:
            return
        messages = self.outbox.drain(PUSHED_BYTES_MAX // 2)  # leaves something for the feeds
        self._owe_pushed(messages, is_kept=False)
        if self._due:
            self._push_from_feeds(PUSHED_BYTES_MAX - sum(len(push.body) for push in messages))
        if self._due or self.outbox:
            self._wake()

    def _push_from_feeds(self, budget: int) -> None:
        """Push about `budget` bytes of what feeds have."""
        events: list[Push] = []
        for feed in list(self._due):
            if budget <= 0:
                break
            del self._due[feed]
            if isinstance(feed, StreamFeed):
                pulled = feed.pull(self._live.now(), budget)
                budget -= sum(len(push.body) for push in pulled)
                events += pulled
                if feed.is_behind:
                    self._due[feed] = None  # the others come first the next time
            elif isinstance(feed, QueueFeed):
                self._ask(feed)
            if feed.ended:
                self.close(feed.topic)
        self._owe_pushed(events, is_kept=True)

    def _owe_pushed(self, pushes: list[Push], *, is_kept: bool) -> None:
        if pushes:
            live = self._live
            if self._is_binary:
                frames = b"".join([push.binary_frame or _binary_frame(push) for push in pushes])
            else:
                frames = b"".join([push.text_frame or _text_frame(push) for push in pushes])
            if not self._owed.push(frames, live.state.lsn, live.dispatcher.default_ack, is_kept=is_kept):
                self._wake()

    def _write(self, frames: bytes) -> None:
        transport = self._connection.transport
        if transport is not None and not transport.is_closing() and not self._socket.closed:
            transport.write(frames)

    def _wake(self) -> None:
        self._live.hub.wake(self)

    def _flow(self, is_paused: bool) -> None:
        """The client reads too slowly, or has caught up."""
        if is_paused:
            self._readable.clear()
        else:
            self._wake()

    # Queues

    def _ask(self, feed: QueueFeed) -> None:
        """Take messages for a subscription to a queue, or get in line for them."""
        if feed in self._in_line or feed.ended:
            return
        try:
            credit = feed.credit(self._live.state, self._live.now())
            if credit > 0:
                self._deliver(feed, self._live.dispatcher.call("queue.consume", _encode(feed.request(credit))))
        except WouldBlock as blocked:
            self._in_line[feed] = blocked.wait
            blocked.wait.begin(lambda answer: self._served(feed, answer), self._connection.is_closing)
        except SynapError as error:
            self._interrupt(feed, error)

    def _served(self, feed: QueueFeed, answer: Outcome | SynapError) -> None:
        del self._in_line[feed]
        if isinstance(answer, SynapError):
            self._interrupt(feed, answer)
        else:
            self._deliver(feed, answer)

    def _deliver(self, feed: QueueFeed, outcome: Outcome) -> None:
        opening = b'{"type":"message","queue":%b,' % orjson.dumps(feed.queue)
        code = _BINARY if self._is_binary else _TEXT
        bodies = [opening + bytes(message)[1:] for message in _decode_messages(outcome.payload).messages]
        frames = [_frame(code, packed.from_json(body) if self._is_binary else body) for body in bodies]
        self._owed.push(b"".join(frames), outcome.lsn, outcome.ack, is_kept=True)
        self._look_again(feed)

    def _look_again(self, feed: QueueFeed) -> None:
        if self.feeds.get(feed.topic) is feed:
            self._due[feed] = None
            self._wake()

    def _interrupt(self, feed: QueueFeed, error: SynapError) -> None:
        """A subscription cannot go on: for the moment, or because the queue is gone."""
        if isinstance(error, DiskFull):
            asyncio.get_running_loop().call_later(DISK_RETRY_SECS, self._look_again, feed)
        elif not isinstance(error, Unavailable):
            feed.ended = True
            self._look_again(feed)
            end = {"type": "end", "queue": feed.queue, "reason": error.message}
            self._owe_pushed([Push("end", orjson.dumps(end))], is_kept=False)

    # The end

    def stop(self, code: WSCloseCode, reason: bytes) -> None:
        """Close the connection, politely."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._socket.close(code=code, message=reason))

    async def settle(self) -> None:
        """Push no more, and wait until what is owed has been sent."""
        if self._settled is None:
            self._settled = asyncio.Event()
            self._withdraw()
        if not self._connection.is_closing():
            self._wake()
            await self._settled.wait()

    async def tell_fault(self, code: int) -> None:
        """Say what was wrong and let the client end the connection: ending it while the client still sends would have
        the system drop what it has not read.
        """
        transport = self._connection.transport
        if transport is not None and not transport.is_closing():
            transport.write(_frame(_CLOSE, struct.pack("!H", code)))
            if transport.can_write_eof():
                transport.write_eof()
            await self._lost.wait()

    def break_off(self) -> None:
        """Drop the connection with all that has not been sent."""
        if self._connection.transport is not None:
            self._connection.transport.abort()

    def break_off_later(self) -> None:
        """Give the client a while to read what has been sent."""
        transport = self._connection.transport
        if transport is not None and transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(CLOSE_SECS_MAX, transport.abort)

    def _let_go(self) -> None:
        """The connection is lost: nobody needs to wait for it."""
        self._lost.set()
        self._readable.set()
        if self._settled is not None:
            self._settled.set()

    def _withdraw(self) -> None:
        """End subscriptions and waits."""
        super().end()
        for wait, timer in self._waits.items():
            timer.cancel()
            wait.abandon()
        self._waits.clear()

    def end(self) -> None:
        """The connection is gone: give back what it has."""
        self._withdraw()
        self._owed.clear()
        self._give_back()

    def expel(self, reason: str, code: WSCloseCode = WSCloseCode.POLICY_VIOLATION) -> None:
        """End the connection of somebody who may not have it any more; from now on nothing is pushed."""
        self._withdraw()
        self._live.state.pubsub.unsubscribe(self.outbox)
        self.outbox.clear()
        self._owed.drop_pushes()
        self._give_back()
        told = reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")  # no half a character at its end
        self.stop(code, told.encode())

    def _give_back(self) -> None:
        """Return the messages that it has and has not acknowledged."""
        holders, self.holders = self.holders, {}
        for queue, holder in holders:
            self._live.dispatcher.perform("queue.release", Release(queue=queue, consumer_id=holder))
        self._live.committer.schedule()

    def open(self, feed: Feed) -> None:
        """Add a feed, and look at it soon."""
        self.close(feed.topic)
        super().open(feed)
        self._due[feed] = None

    def close(self, topic: Topic) -> bool:
        """Remove a feed, and take it out of the line."""
        feed = self.feeds.get(topic)
        if feed is not None:
            self._due.pop(feed, None)
        if isinstance(feed, QueueFeed) and feed in self._in_line:
            self._in_line.pop(feed).abandon()
        return super().close(topic)


def _text_frame(push: Push) -> bytes:
    """Made once, for all connections."""
    push.text_frame = frame = _frame(_TEXT, push.body)
    return frame


def _binary_frame(push: Push) -> bytes:
    push.binary_frame = frame = _frame(_BINARY, packed.from_json(push.body))
    return frame


def _reply_frame(reply: Reply) -> bytes:
    return _frame(_BINARY if reply.is_packed else _TEXT, reply.body)


def _frame(code: int, body: bytes) -> bytes:
    """A whole, unmasked frame (RFC 6455, 5.2)."""
    size = len(body)
    if size < 126:
        return struct.pack("!BB", code, size) + body
    if size < 65_536:
        return struct.pack("!BBH", code, 126, size) + body
    return struct.pack("!BBQ", code, 127, size) + body
