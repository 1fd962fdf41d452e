"""The aiohttp side: every route but the command lane's own, and that one too for unusual requests.

Here stands the one place that turns exceptions into HTTP answers of the contract: the full envelope at the
command endpoint, the bare `{"status": "error", "error": {...}}` everywhere else.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from synap.commands.dispatcher import Dispatcher, Reply
from synap.errors import (
    DiskFull,
    Internal,
    InvalidRequest,
    MethodNotAllowed,
    NoSuchRoute,
    PayloadTooLarge,
    SynapError,
)
from synap.journal.committer import Committer
from synap.transport.head import COMMAND_PATH, JSON_TYPE, PACKED_TYPE

log = logging.getLogger("synap.http")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# A 64 KiB key, percent-encoded, fits into a request line.
REQUEST_LINE_BYTES_MAX = 256 * 1024
HEADER_BYTES_MAX = 32 * 1024


class Door:
    """What the handlers of all routes share."""

    def __init__(
        self, dispatcher: Dispatcher, committer: Committer, max_body_bytes: int, read_timeout_secs: float
    ) -> None:
        self.dispatcher = dispatcher
        self.committer = committer
        self._max_body_bytes = max_body_bytes
        self._read_timeout_secs = read_timeout_secs

    async def body(self, request: web.Request) -> bytes:
        """The whole body. Raises PayloadTooLarge, InvalidRequest."""
        declared = request.content_length
        if declared is not None and declared > self._max_body_bytes:
            raise self._too_large()
        try:
            async with asyncio.timeout(self._read_timeout_secs):
                return await request.read()
        except TimeoutError:
            raise InvalidRequest("the request did not arrive in time") from None
        except web.HTTPRequestEntityTooLarge:
            raise self._too_large() from None
        except (web.RequestPayloadError, ValueError) as error:
            raise InvalidRequest(f"the body cannot be read: {error}") from None

    async def command(self, request: web.Request) -> web.Response:
        """POST /api/v1/command."""
        try:
            body = await self.body(request)
        except SynapError as error:
            response = _command_response(self.dispatcher.refuse(error))
            response.force_close()
            return response
        packed = request.content_type.lower() == PACKED_TYPE
        answer = self.dispatcher.answer_packed if packed else self.dispatcher.answer
        reply = answer(body, request.headers.get("Idempotency-Key"), request.headers.get("X-Synap-Ack"))
        try:
            await self.committer.reach(reply.ack, reply.lsn)
        except DiskFull as refusal:
            if reply.wrote:
                reply = reply.refused(refusal)
        return _command_response(reply)

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"expected a body of at most {self._max_body_bytes} bytes", limit=self._max_body_bytes)


def build(door: Door, add_routes: Callable[[web.Application], None]) -> web.Application:
    """The application; `add_routes` adds what is not the command endpoint."""
    app = web.Application(middlewares=[_errors], client_max_size=door._max_body_bytes)
    app.router.add_post(COMMAND_PATH.decode(), door.command)
    add_routes(app)
    app.on_response_prepare.append(_name_server)
    return app


def json_response(payload: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer of encoded JSON."""
    return web.Response(body=payload, status=status, headers={"Content-Type": JSON_TYPE, **(headers or {})})


class HandedOver(RequestHandler):
    """aiohttp's end of a connection, with the contract's answer to what is not HTTP."""

    def __init__(self, server: web.Server, on_lost: Callable[[], None], idle_timeout_secs: float) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=idle_timeout_secs,
            access_log=None,  # type: ignore[arg-type]
            max_line_size=REQUEST_LINE_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
        )
        self._on_lost = on_lost

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count the connection out."""
        super().connection_lost(exc)
        self._on_lost()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Malformed HTTP and anything unexpected, as the contract words it. Closes the connection."""
        if isinstance(exc, HttpProcessingError):
            reason = " ".join((exc.message or "").split())[:200]
            error: SynapError = InvalidRequest(f"not a usable HTTP request: {reason}")
        else:
            error = _incident(exc)
        response = error_response(error)
        response.force_close()
        return response


def error_response(error: SynapError) -> web.Response:
    """The bare error, as REST routes answer it."""
    return json_response(orjson.dumps({"status": "error", "error": error.as_dict()}), error.status)


def _command_response(reply: Reply) -> web.Response:
    content_type = PACKED_TYPE if reply.is_packed else JSON_TYPE
    return web.Response(body=reply.body, status=reply.status, headers={"Content-Type": content_type})


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except SynapError as error:
        response = error_response(error)
        if isinstance(error, PayloadTooLarge):
            response.force_close()
        return response
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


def _incident(error: BaseException | None) -> Internal:
    incident = secrets.token_hex(8)
    log.error("incident %s", incident, exc_info=error)
    return Internal(f"an unexpected error, logged as incident {incident}", incident=incident)


async def _name_server(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "synap"
