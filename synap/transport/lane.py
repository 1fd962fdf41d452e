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
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

from synap.commands.caller import Caller, Peer
from synap.commands.dispatcher import Dispatcher
from synap.commands.reply import Reply
from synap.commands.waiting import Wait, WouldBlock
from synap.engines.token_bucket import TokenBucket
from synap.errors import InvalidRequest, SynapError, Unavailable
from synap.journal.committer import Committer
from synap.transport import tls
from synap.transport.guard import LIMIT_HEADERS, Guard
from synap.transport.head import HEAD_END, JSON_TYPE, PACKED_TYPE, Head, may_become_head, parse_head

HEAD_BYTES_MAX = 64 * 1024
# There is one for each credential and length of body.
HEADS_CACHED_MAX = 4_096
# Past this many replies, or bytes of them, a connection is not read until they have left.
OWED_REPLIES_MAX = 1_000
OWED_BYTES_MAX = 8 * 1024 * 1024
# A connection that sends more than this behind a blocking command that waits is closed: it must be read for its end to
# be seen, and what is read must be kept.
BEHIND_WAIT_BYTES_MAX = 1024 * 1024
TICK_SECS = 1.0

_OK = 200
_LIMIT_LINES = "".join(f"{name}: %b\r\n" for name in LIMIT_HEADERS).encode()
_HEAD_END_BYTES = len(HEAD_END)


class Lane:
    """All connections that the lane serves, and what they share."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        committer: Committer,
        guard: Guard,
        hand_over: Callable[[asyncio.Transport, bytes, bool, Peer], None],
        *,
        max_body_bytes: int,
        max_connections: int,
        read_timeout_secs: float,
        idle_timeout_secs: float,
    ) -> None:
        self.dispatcher = dispatcher
        self.committer = committer
        self.guard = guard
        self.hand_over = hand_over
        self.heads: dict[bytes, Head] = {}
        """Those that come again, by their bytes."""
        self.connections: set[LaneConnection] = set()
        self.open_count = 0
        """Connections of the whole server, handed over ones included."""
        self.peers: dict[int, Peer] = {}
        """Who is at their other ends, by id."""
        self._last_peer = 0
        self.second = 0
        """Counts up while the lane exists; deadlines are kept in it."""
        self.draining = False
        self._max_body_bytes = max_body_bytes
        self._max_connections = max_connections
        self._read_timeout_secs = max(1, round(read_timeout_secs))
        self._idle_timeout_secs = max(1, round(idle_timeout_secs))
        self.owing: list[LaneConnection] = []
        """Connections with replies to see to at the end of this tick; the first one has the lane join the commit."""
        self._ok_heads: dict[int, bytes] = {}
        """Heads of this second's successful responses, by the length of the body."""
        self._limited: dict[int, bytes] = {}
        """The same with limits: they take what is left, when all is there again, and the body."""
        self._loop = asyncio.get_running_loop()
        self._on_second()

    def connection(self) -> LaneConnection:
        """The protocol for an accepted connection."""
        return LaneConnection(self)

    def is_full(self) -> bool:
        """Whether there are more connections than allowed."""
        return self.open_count > self._max_connections

    def connection_came(self, transport: asyncio.Transport) -> Peer:
        """Count a new connection in."""
        self.open_count += 1
        self._last_peer += 1
        address, port, *_ = transport.get_extra_info("peername") or ("local", 0)
        peer = self.peers[self._last_peer] = Peer(self._last_peer, address, port, self.guard.clock.now())
        return peer

    def connection_left(self, peer: Peer) -> None:
        """A connection has ended, wherever it was served."""
        self.open_count -= 1
        del self.peers[peer.id]

    def advance(self) -> None:
        """Send what this tick has answered, where the journal has taken it."""
        owing, self.owing = self.owing, []
        reached, ok_heads, now = self.committer.reached, self._ok_heads, 0
        for connection in owing:
            connection.owing = False
            replies = connection.replies
            if connection.at_ease and len(replies) == 1:
                reply = replies[0]
                if reply.status == _OK and reply.lsn <= reached[reply.ack] and not reply.is_packed:
                    body, write = reply.body, connection.write
                    if reply.bucket is None:
                        write((ok_heads.get(len(body)) or self._ok_head(len(body))) + body)
                    else:
                        now = now or self.guard.clock.now()
                        template = self._limited.get(len(body)) or self._limited_ok(len(body))
                        remaining, full_at = reply.bucket.standing(now)
                        write(template % (remaining, -(-full_at // 1000), body))
                    replies.clear()
                    continue
            connection.advance()

    def head(self, raw: bytes) -> Head | None:
        """The head with these bytes, remembered in `heads`; None when its request is not for the lane."""
        head = parse_head(raw, self.dispatcher, self.guard, self._max_body_bytes)
        if head is not None and head.comes_again:
            if len(self.heads) >= HEADS_CACHED_MAX:
                del self.heads[next(iter(self.heads))]
            self.heads[raw] = head
        return head

    def response(self, reply: Reply, *, close: bool = False) -> bytes:
        """The HTTP response for a reply."""
        content_type = PACKED_TYPE if reply.is_packed else JSON_TYPE
        head = self._response_head(reply.status, content_type, len(reply.body), close)
        if reply.headers or reply.bucket is not None:
            more = "".join([f"{name}: {value}\r\n" for name, value in (reply.headers or {}).items()]).encode()
            head = head[:-2] + more + (self.limits(reply.bucket) if reply.bucket is not None else b"") + b"\r\n"
        return head + reply.body

    def limits(self, bucket: TokenBucket) -> bytes:
        """The header lines that tell a client what it may still ask for."""
        return _LIMIT_LINES % tuple(b"%d" % value for value in self.guard.limits(bucket))

    def drain(self) -> None:
        """Close connections as soon as nothing is owed on them."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()

    def close(self) -> None:
        """Stop the timer and drop every connection."""
        self._timer.cancel()
        for connection in list(self.connections):
            connection.abort()

    def _response_head(self, status: int, content_type: str, body_bytes: int, close: bool) -> bytes:
        closing = "\r\nConnection: close" if close else ""
        return (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {body_bytes}{self._date}{closing}\r\n\r\n"
        ).encode()

    def _ok_head(self, body_bytes: int) -> bytes:
        head = self._response_head(_OK, JSON_TYPE, body_bytes, False)
        if len(self._ok_heads) < HEADS_CACHED_MAX:
            self._ok_heads[body_bytes] = head
        return head

    def _limited_ok(self, body_bytes: int) -> bytes:
        template = self._ok_head(body_bytes)[:-2] + _LIMIT_LINES % (b"%d" % self.guard.burst, b"%d", b"%d") + b"\r\n%b"
        if len(self._limited) < HEADS_CACHED_MAX:
            self._limited[body_bytes] = template
        return template

    def _on_second(self) -> None:
        self.second += 1
        self._date = f"\r\nDate: {formatdate(usegmt=True)}\r\nServer: synap"
        self._ok_heads.clear()
        self._limited.clear()
        for connection in list(self.connections):
            connection.check_deadline(self.second - self._read_timeout_secs, self.second - self._idle_timeout_secs)
        self._timer = self._loop.call_later(TICK_SECS, self._on_second)


class LaneConnection(asyncio.Protocol):
    """One connection, until it ends or is handed over.

    What was received is either answered at once, kept (`_partial`, the rest is still to come) or held
    (`_held`, replies must leave first). The connection is not read while something is held, unless it is held behind
    a blocking command that waits: then it is read, to see the client go away.
    """

    transport: asyncio.Transport
    peer: Peer
    caller: Caller
    """Who has sent the latest request."""

    def __init__(self, lane: Lane) -> None:
        self.replies: list[Reply] = []
        """Answered and not yet sent, in order."""
        self.owing = False
        """The lane will see to the replies at the end of this tick."""
        self.at_ease = True
        """What arrives is looked at, and replies just sent: nothing partial, held, ending, draining or gone."""
        self.lane = lane
        self._head: Head | None = None
        """The head of the request before: most often the next one has the same."""
        self._partial: list[bytes] = []
        self._partial_bytes = 0
        self._needed_bytes = 0
        self._held: bytes | None = None
        self._held_is_foreign = False
        self._wait: Wait | None = None
        self._wait_timer: asyncio.TimerHandle | None = None
        self._owed_bytes = 0
        self._ending = False
        self._gone = False
        self._is_slow = False
        self.active = True
        """Something has arrived since this was last reset."""
        self._active_second = lane.second
        self._request_second = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to serve, or refuse when there are too many connections."""
        self.transport = cast(asyncio.Transport, transport)
        self.write = self.transport.write
        self.peer = self.lane.connection_came(self.transport)
        self.caller = self.lane.guard.caller(self.lane.guard.nobody(), self.peer)
        self.lane.connections.add(self)
        if self.lane.is_full():
            self._refuse(Unavailable("the server has as many connections as it allows; try again later"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what is still owed."""
        self.lane.connection_left(self.peer)
        self.lane.connections.discard(self)
        self._gone, self.at_ease = True, False
        self._abandon_wait()
        self.replies.clear()

    def data_received(self, data: bytes, begun_second: int = 0) -> None:
        """Answer every request that is complete now; the first began to arrive at `begun_second` (0: now)."""
        if not self.at_ease:
            self._put_by(data)
            return
        lane, replies, size, at = self.lane, self.replies, len(data), 0
        self.active = True
        while at < size:
            head = self._head
            if head is not None and data.startswith(head.raw, at):
                body_at = at + head.raw_bytes
            else:
                body_at = data.find(HEAD_END, at) + _HEAD_END_BYTES
                if body_at < _HEAD_END_BYTES and may_become_head(data, at) and size - at <= HEAD_BYTES_MAX:
                    self._keep(data[at:], size - at + 1, 0 if at else begun_second)
                    break
                raw = data[at:body_at]
                known = lane.heads.get(raw) or lane.head(raw)
                if known is None:
                    self._hold(data[at:], is_foreign=True)
                    break
                head = known
                self._head = known if known.comes_again else None
                if head.identity is not self.caller.identity or head.trace is not self.caller.trace:
                    self.caller = lane.guard.caller(head.identity, self.peer, head.trace)
            stop = body_at + head.body_bytes
            if stop > size:
                self._keep(data[at:], stop - at, 0 if at else begun_second)
                break
            answer, caller = head.answer, self.caller
            try:
                reply = answer(data[body_at:stop], head.idempotency_key, head.ack, caller)
                if caller.bucket is not None:
                    reply.bucket = caller.bucket
                replies.append(reply)
            except WouldBlock as blocked:
                if not self._ending:
                    self._begin_wait(blocked.wait, data[stop:])
                    break
                replies.append(blocked.wait.give_up())
            at = stop
            if (at < size or len(replies) > 1) and self._owes_too_much():
                self._hold(data[at:], is_foreign=False)
                break
        if replies and not self.owing:
            self._owe()

    def eof_received(self) -> bool:
        """The client sends no more; stay open while it is owed replies. Who waits is taken to be gone.

        Over TLS nothing can be sent any more.
        """
        self._forget_partial()
        may_answer = self.transport.can_write_eof()
        if self._wait is not None or not may_answer:
            self._abandon_wait()
            self._held = None
        self._ending, self.at_ease = True, False
        return may_answer and (bool(self.replies) or self._held is not None)

    def pause_writing(self) -> None:
        """The client reads too slowly: take no more requests from it."""
        self._is_slow = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._is_slow = False
        if self._held is None or self._wait is not None:
            self.transport.resume_reading()
        elif not self.replies:
            self._settled()

    def advance(self) -> None:
        """Send the replies whose changes are as durable as they say; see to what waited for that."""
        if self._gone:
            return
        ready: list[bytes] = []
        for reply in self.replies:
            if reply.lsn > self.lane.committer.reached[reply.ack]:
                refusal = self.lane.committer.refusal(reply.ack, reply.lsn)
                if refusal is None:
                    self.lane.committer.wait_for(self, reply.ack, reply.lsn)
                    break
                if reply.wrote:
                    reply = reply.refused(refusal)
            is_last = len(ready) + 1 == len(self.replies) and not self._held
            close = is_last and (self.lane.draining or self._ending)
            ready.append(self.lane.response(reply, close=close))
        del self.replies[: len(ready)]
        if not self.replies:
            self._owed_bytes = 0
        if ready:
            self.transport.write(b"".join(ready))
        if not (self.replies or self.at_ease or self._partial or self._wait):
            self._settled()

    def check_deadline(self, oldest_request_second: int, oldest_active_second: int) -> None:
        """End the connection when its request takes too long to arrive, or none comes."""
        if self.active:
            self.active = False
            self._active_second = self.lane.second
        if self._request_second:
            if self._request_second < oldest_request_second:
                self._refuse(InvalidRequest("the request did not arrive in time"))
        elif not (self.replies or self._wait) and self._active_second < oldest_active_second:
            self.abort()

    def drain(self) -> None:
        """Close now, or when the request being answered or on its way has its reply."""
        self.at_ease = False
        if not self.replies and not self._partial:
            tls.close(self.transport)

    def abort(self) -> None:
        """Drop the connection."""
        self.transport.abort()

    def _put_by(self, data: bytes) -> None:
        """Take what arrives while not at ease: the rest of a request, or more than may be looked at yet."""
        if self._held is not None:
            self._held += data
            if self._wait is not None and len(self._held) > BEHIND_WAIT_BYTES_MAX:
                self._abandon_wait()
                self._held, self._ending = None, True
                self.transport.pause_reading()
                refusal = InvalidRequest("too much was sent behind a blocking command that waits")
                self._waited(self.lane.dispatcher.refuse(refusal))
        elif self._partial:
            self._partial.append(data)
            self._partial_bytes += len(data)
            if self._partial_bytes >= self._needed_bytes:
                whole, begun_second = b"".join(self._partial), self._request_second
                self._forget_partial()
                self._serve(whole, begun_second)

    def _serve(self, data: bytes, begun_second: int) -> None:
        self.at_ease = True
        self.data_received(data, begun_second)
        if self._ending or self.lane.draining:
            self.at_ease = False

    def _owe(self) -> None:
        """Have the lane see to the replies at the end of this tick."""
        self.owing = True
        if not self.lane.owing:
            self.lane.committer.join(self.lane)
        self.lane.owing.append(self)

    def _begin_wait(self, wait: Wait, behind: bytes) -> None:
        self._held, self._held_is_foreign, self.at_ease = behind, False, False
        self._wait = wait
        self._wait_timer = asyncio.get_running_loop().call_later(wait.seconds, wait.time_out)
        wait.begin(self._waited, self.transport.is_closing)
        self.lane.committer.schedule()  # the tick is over, though nothing is answered

    def _waited(self, reply: Reply) -> None:
        self._abandon_wait()
        reply.bucket = self.caller.bucket
        self.replies.append(reply)
        if not self.owing:
            self._owe()

    def _abandon_wait(self) -> None:
        wait, timer = self._wait, self._wait_timer
        if wait is not None and timer is not None:
            self._wait = self._wait_timer = None
            timer.cancel()
            wait.abandon()

    def _owes_too_much(self) -> bool:
        """Count the newest of several replies owed; whether there are as many as may be."""
        self._owed_bytes += len(self.replies[-1].body)
        return len(self.replies) >= OWED_REPLIES_MAX or self._owed_bytes >= OWED_BYTES_MAX

    def _keep(self, data: bytes, needed_bytes: int, begun_second: int) -> None:
        self._request_second = begun_second or self.lane.second
        self.at_ease = False
        self._partial = [data]
        self._partial_bytes = len(data)
        self._needed_bytes = needed_bytes

    def _forget_partial(self) -> None:
        self._partial.clear()
        self._request_second = 0

    def _hold(self, data: bytes, *, is_foreign: bool) -> None:
        self._held, self._held_is_foreign, self.at_ease = data, is_foreign, False
        self.transport.pause_reading()
        if not self.replies:
            self._settled()

    def _settled(self) -> None:
        """Everything owed has left: go on with what was held, or end."""
        data = self._held
        if data is None or (self.lane.draining and not data):
            tls.close(self.transport)
        elif not self._is_slow:
            self._held = None
            self.transport.resume_reading()
            if self._held_is_foreign:
                self._gone = True
                self.lane.connections.discard(self)
                self.lane.hand_over(self.transport, data, self._ending, self.peer)
            else:
                self._serve(data, 0)

    def _refuse(self, error: SynapError) -> None:
        self._forget_partial()
        self._ending, self.at_ease = True, False
        self.transport.write(self.lane.response(self.lane.dispatcher.refuse(error), close=True))
        tls.close(self.transport)
