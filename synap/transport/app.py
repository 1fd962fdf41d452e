"""The aiohttp side: every route but the command lane's own, and that one too for unusual requests.

Here stands the one place that turns exceptions into HTTP answers of the contract: the full envelope at the
command endpoint, the bare `{"status": "error", "error": {...}}` everywhere else.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, cast

import orjson
from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler

from synap.commands.caller import Caller, Peer
from synap.commands.dispatcher import Dispatcher
from synap.commands.gates import unauthorized
from synap.commands.reply import Reply
from synap.commands.waiting import Wait, WouldBlock
from synap.errors import (
    AckTimeout,
    DiskFull,
    ExpectationFailed,
    Internal,
    InvalidRequest,
    MethodNotAllowed,
    NoSuchRoute,
    PayloadTooLarge,
    SynapError,
)
from synap.journal.committer import Committer
from synap.transport.guard import CALLER, LIMIT_HEADERS, STRANGER_BODY_BYTES_MAX, Guard, is_stranger
from synap.transport.head import COMMAND_PATH, JSON_TYPE, PACKED_TYPE
from synap.transport.lane import Lane

log = logging.getLogger("synap.http")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# A 64 KiB key, percent-encoded, fits into a request line.
REQUEST_LINE_BYTES_MAX = 256 * 1024
HEADER_BYTES_MAX = 32 * 1024

# How often a connection whose client has sent its last is looked at, whether everything is answered.
ENDING_CHECK_SECS = 0.02
# How long the rest of a refused body is read, for its sender to see the refusal.
LINGERING_SECS_MAX = 10.0

SERVER_NAME = "synap"
# Whoever watches over the server need not be known to it.
OPEN_PATHS = frozenset(("/health", "/ready"))
_CLOSE = "close"


class Door:
    """What the handlers of all routes share."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        committer: Committer,
        guard: Guard,
        max_body_bytes: int,
        read_timeout_secs: float,
    ) -> None:
        self.dispatcher = dispatcher
        self.committer = committer
        self.guard = guard
        self._max_body_bytes = max_body_bytes
        self._read_timeout_secs = read_timeout_secs

    async def body(self, request: web.Request) -> bytes:
        """The whole body. Raises PayloadTooLarge, InvalidRequest; the connection is then closed."""
        try:
            return await self._read(request)
        except SynapError:
            request[_CLOSE] = True
            raise

    async def command(self, request: web.Request) -> web.Response:
        """POST /api/v1/command."""
        caller = caller_of(request)
        try:
            body = await self.body(request)
        except SynapError as error:
            return _command_response(self.dispatcher.refuse(error, caller))
        packed = request.content_type.lower() == PACKED_TYPE
        answer = self.dispatcher.answer_packed if packed else self.dispatcher.answer
        try:
            reply = answer(body, request.headers.get("Idempotency-Key"), request.headers.get("X-Synap-Ack"), caller)
        except WouldBlock as blocked:
            reply = await self.waited(request, blocked.wait)
        try:
            await self.committer.reach(reply.ack, reply.lsn)
        except (AckTimeout, DiskFull) as refusal:
            if reply.wrote:
                reply = reply.refused(refusal)
        return _command_response(reply)

    async def waited(self, request: web.Request, wait: Wait) -> Any:
        """The answer to a blocking command that waits. Abandons it when the client goes away.

        That nothing has come is the answer at once where it could not be seen that the client goes away.
        """
        connection = cast(HandedOver, request.protocol)
        if not connection.sees_its_end():
            return wait.give_up()
        loop = asyncio.get_running_loop()
        answer = loop.create_future()

        def client_gone() -> None:
            wait.abandon()
            answer.cancel()

        def served(reply: Any) -> None:
            connection.client_gone = None  # what was popped for it is its own, even if it says now that it is done
            answer.set_result(reply)

        timer = loop.call_later(wait.seconds, wait.time_out)
        connection.client_gone = client_gone
        wait.begin(served, connection.is_closing)
        self.committer.schedule()  # the tick is over, though nothing is answered
        try:
            return await answer
        finally:
            connection.client_gone = None
            timer.cancel()
            wait.abandon()

    async def _read(self, request: web.Request) -> bytes:
        if (request.content_length or 0) > self._max_body_bytes:
            raise self._too_large()
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise InvalidRequest("expected a body without Content-Encoding")
        try:
            async with asyncio.timeout(self._read_timeout_secs):
                return await self._whole(request)
        except TimeoutError:
            raise InvalidRequest("the request did not arrive in time") from None
        except web.HTTPRequestEntityTooLarge:
            raise self._too_large() from None
        except (web.RequestPayloadError, ValueError) as error:
            raise InvalidRequest(f"the body cannot be read: {error}") from None

    async def _whole(self, request: web.Request) -> bytes:
        """The body; a stranger's is not read to its end when it is long."""
        if not is_stranger(caller_of(request).identity):
            return await request.read()
        body = bytearray()
        async for part in request.content.iter_any():
            body += part
            if len(body) > STRANGER_BODY_BYTES_MAX:
                raise unauthorized()
        return bytes(body)

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"expected a body of at most {self._max_body_bytes} bytes", limit=self._max_body_bytes)


def build(door: Door, add_routes: Callable[[web.Application], None]) -> web.Application:
    """The application; `add_routes` adds what is not the command endpoint."""

    @web.middleware
    async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN_PATHS:
            request[CALLER] = await door.guard.of_request(request, peer_of(request))
        return await handler(request)

    app = web.Application(middlewares=[_answers, identify], client_max_size=door._max_body_bytes)
    app.router.add_post(COMMAND_PATH.decode(), door.command, expect_handler=expect)
    add_routes(app)
    app.on_response_prepare.append(_name_server)

    async def tell_limits(request: web.Request, response: web.StreamResponse) -> None:
        caller = request.get(CALLER)
        if caller is not None and caller.bucket is not None:
            values = map(str, door.guard.limits(caller.bucket))
            response.headers.update(zip(LIMIT_HEADERS, values, strict=True))

    app.on_response_prepare.append(tell_limits)
    return app


def add_get(app: web.Application, path: str, handler: Handler) -> None:
    """Add a route that is no command's."""
    app.router.add_get(path, handler, expect_handler=expect)


def json_response(payload: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer of encoded JSON."""
    return web.Response(
        body=payload, status=status, headers={"Content-Type": JSON_TYPE, "Server": SERVER_NAME, **(headers or {})}
    )


class HandedOver(RequestHandler):
    """aiohttp's end of a connection, with the contract's answer to what is not HTTP, and the lane's patience."""

    def __init__(
        self, server: web.Server, lane: Lane, peer: Peer, idle_timeout_secs: float, read_timeout_secs: float
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=idle_timeout_secs,
            lingering_time=min(LINGERING_SECS_MAX, read_timeout_secs),
            access_log=None,  # type: ignore[arg-type]
            max_line_size=REQUEST_LINE_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            auto_decompress=False,
        )
        self.peer = peer
        self._lane = lane
        self._read_timeout_secs = read_timeout_secs
        self._deadline: asyncio.TimerHandle | None = None
        self.client_gone: Callable[[], None] | None = None
        """Called when the client goes away while a blocking command waits."""
        self._has_ended = False
        self._body: StreamReader = EMPTY_PAYLOAD
        """Of the last request whose head is complete."""
        self._flow: Callable[[bool], None] | None = None
        """Told when a WebSocket's client reads too slowly, and when it has caught up."""

    def become_socket(self, flow: Callable[[bool], None]) -> None:
        """What comes from now on is no HTTP. `flow` is told whether writing is paused, when that changes."""
        self._flow = flow

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        super().pause_writing()
        if self._flow is not None:
            self._flow(True)

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
        if self._flow is not None:
            self._flow(False)

    def data_received(self, data: bytes) -> None:
        """Take bytes; a head that has begun must be complete in time."""
        if self._flow is not None:
            super().data_received(data)
            return
        heads, is_body = self._request_count, not self._body.is_eof()
        super().data_received(data)
        if self._request_count > heads:
            self._body = self._messages[-1][1]
            self._forget_deadline()
        elif data and not is_body and self._deadline is None:
            if self._keepalive_handle is not None:  # no longer idle
                self._keepalive_handle.cancel()
                self._keepalive_handle = None
            self._deadline = self._loop.call_later(self._read_timeout_secs, self._give_up)
        if self.client_gone is not None and not self.sees_its_end():
            self.client_gone()
            self.force_close()

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.transport is None or self.transport.is_closing()

    def sees_its_end(self) -> bool:
        """Whether it is read: it is not after its end, and while too many requests are waiting."""
        return not (self._has_ended or self._reading_paused or self._buffer_paused)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more; stay open while it is owed a reply. Who waits is taken to be gone."""
        self._has_ended = True
        if self._flow is not None:
            return False
        if self.client_gone is not None:
            self.client_gone()
            return False
        if self._awaits_head() or not self._body.is_eof() or self.transport is None:
            return False
        if not self.transport.can_write_eof():  # TLS: nothing can be sent any more
            return False
        self._end_when_idle()
        return True

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp asks for it
        """Finish the request in hand; the rest of a body that was refused is not waited for."""
        if self._task_handler is not None and not self._request_in_progress and not self._messages:
            self._task_handler.cancel()
        await super().shutdown(timeout)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count the connection out. aiohttp is told a step later: it must have begun before it can end."""
        if self.client_gone is not None:
            self.client_gone()
        self._loop.call_soon(super().connection_lost, exc)
        self._forget_deadline()
        self._lane.connection_left(self.peer)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Malformed HTTP and anything unexpected, as the contract words it. Closes the connection."""
        if isinstance(exc, UnicodeEncodeError):  # of an answer of aiohttp's own that quotes a header
            error: SynapError = InvalidRequest("a header is not UTF-8")
        elif isinstance(exc, HttpProcessingError):
            reason = " ".join((exc.message or "").split())[:200]
            error = InvalidRequest(f"not a usable HTTP request: {reason}")
        else:
            error = _incident(exc)
        response = error_response(error)
        response.force_close()
        return response

    def _awaits_head(self) -> bool:
        """Whether every request that has arrived is answered."""
        waiter = self._waiter
        return self._request_count == 0 or (waiter is not None and not waiter.done())

    def _end_when_idle(self) -> None:
        if self.transport is None:
            return
        if self._awaits_head():
            self.transport.close()
        else:
            self._loop.call_later(ENDING_CHECK_SECS, self._end_when_idle)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if not self._awaits_head():  # answers come first
            self._deadline = self._loop.call_later(self._read_timeout_secs, self._give_up)
        elif self.transport is not None:
            reply = self._lane.dispatcher.refuse(InvalidRequest("the request did not arrive in time"))
            self.transport.write(self._lane.response(reply, close=True))
            self.force_close()


async def expect(request: web.Request) -> web.StreamResponse | None:
    """Go on with a request that waits for leave; refuse any other expectation."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
        return None
    response = error_response(ExpectationFailed("expected no Expect header but 100-continue"))
    response.force_close()
    return response


def caller_of(request: web.Request) -> Caller:
    """Who sends a request."""
    return request[CALLER]


def peer_of(request: web.Request) -> Peer:
    """Who is at the other end."""
    return cast(HandedOver, request.protocol).peer


def error_response(error: SynapError) -> web.Response:
    """The bare error, as REST routes answer it."""
    return json_response(orjson.dumps({"status": "error", "error": error.as_dict()}), error.status, dict(error.headers))


def _command_response(reply: Reply) -> web.Response:
    content_type = PACKED_TYPE if reply.is_packed else JSON_TYPE
    return web.Response(
        body=reply.body, status=reply.status, headers={"Content-Type": content_type, **(reply.headers or {})}
    )


@web.middleware
async def _answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await _answer(request, handler)
    if request.get(_CLOSE):
        response.force_close()
    return response


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        if request.version not in (HttpVersion10, HttpVersion11):
            request[_CLOSE] = True
            raise InvalidRequest("expected HTTP/1.0 or HTTP/1.1")
        _check_headers(request)
        return await handler(request)
    except SynapError as error:
        return error_response(error)
    except web.HTTPNotFound:
        return error_response(
            NoSuchRoute(f"there is no {request.method} {request.path[:200]}; GET /docs shows what there is")
        )
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        response = error_response(MethodNotAllowed(f"{request.path[:200]} takes {allowed}, got {request.method[:20]}"))
        response.headers["Allow"] = allowed
        return response
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return error_response(InvalidRequest(error.reason))
    except asyncio.CancelledError:
        raise
    except Exception as error:
        return error_response(_incident(error))


def _check_headers(request: web.Request) -> None:
    for name, value in request.raw_headers:
        try:
            value.decode()
        except UnicodeDecodeError:
            raise InvalidRequest(f"header {name.decode('ascii', 'replace')[:100]}: not UTF-8") from None


def _incident(error: BaseException | None) -> Internal:
    incident = secrets.token_hex(8)
    log.error("incident %s", incident, exc_info=error)
    return Internal(f"an unexpected error, logged as incident {incident}", incident=incident)


async def _name_server(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = SERVER_NAME
