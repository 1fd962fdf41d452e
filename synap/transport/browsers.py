"""Web pages: which ones may ask, and what browsers are told about the answers.

A browser lets any page send requests to any server it can reach, one on the same machine included: simple ones, and
WebSockets, without asking that server first. Every such request names the page it comes from. It is refused unless
that page is the server's own or named in `server.cors_origins`. Programs do not name a page and are not concerned.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Collection

from aiohttp import web

from synap.errors import Forbidden
from synap.transport.guard import LIMIT_HEADERS
from synap.transport.head import COMMAND_PATH

SETTING = "server.cors_origins"
EVERY_ORIGIN = "*"
PREFLIGHT_SECS = 3_600
HSTS_SECS = 31_536_000

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": "Content-Type, Authorization, X-API-Key, Idempotency-Key, X-Synap-Ack,"
    " Last-Event-ID, traceparent",
    "Access-Control-Max-Age": str(PREFLIGHT_SECS),
}
_EXPOSED = ", ".join(("X-Synap-Ack", "X-Synap-LSN", *LIMIT_HEADERS, "Retry-After"))
_COMMAND_PATH = COMMAND_PATH.decode()
# What another page may link to. A link elsewhere could take a message off a queue.
_LINKED_PATHS = frozenset(("/docs",))
_SHOWN_CHARS_MAX = 200


class OriginPolicy:
    """Who may ask from a web page. With `is_private` only this machine can reach the server, and nobody logs in."""

    def __init__(self, cors_origins: Collection[str], *, is_private: bool = False) -> None:
        self._named = frozenset(cors_origins)
        self._admits_all = EVERY_ORIGIN in self._named
        self._is_private = is_private

    def govern(self, app: web.Application) -> None:
        """Have it hold for every route, and for what is no route."""
        app.middlewares.append(self.admit)
        app.on_response_prepare.append(self.describe)

    @web.middleware
    async def admit(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse pages that may not ask, and answer browsers that ask beforehand. Raises Forbidden."""
        origin = _origin(request)
        if origin is None:
            self._check_embedding(request)
        else:
            self._check(origin, request.headers.get("Host", ""))
            if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
                return web.Response(status=204, headers=_PREFLIGHT)
        return await handler(request)

    async def describe(self, request: web.Request, response: web.StreamResponse) -> None:
        """Say who may read an answer, before it is prepared, and how carefully."""
        headers, origin = response.headers, _origin(request)
        if origin is None and request.method == "POST" and request.path == _COMMAND_PATH:
            return  # asked by a program; the lane does not say it either
        headers["X-Content-Type-Options"] = "nosniff"
        if request.secure and _is_name(request.headers.get("Host", "")):
            headers["Strict-Transport-Security"] = f"max-age={HSTS_SECS}"
        if not self._named:
            return
        if not self._admits_all:
            headers.add("Vary", "Origin")
        if origin is not None and self._names(origin):
            headers["Access-Control-Allow-Origin"] = EVERY_ORIGIN if self._admits_all else origin
            headers["Access-Control-Expose-Headers"] = _EXPOSED

    def _names(self, origin: str) -> bool:
        return self._admits_all or origin in self._named

    def _check(self, origin: str, host: str) -> None:
        if self._names(origin):
            return
        shown = origin[:_SHOWN_CHARS_MAX]
        if not host or origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            raise Forbidden(f"pages of {shown} may not use this server; to let them, add it to {SETTING}", origin=shown)
        if self._is_private and _is_name(host):
            raise Forbidden(
                f"anybody could have had a name lead to this machine; to let pages of {shown} use this server,"
                f" add it to {SETTING}",
                origin=shown,
            )

    def _check_embedding(self, request: web.Request) -> None:
        """An image or a script of another page comes without an Origin; recent browsers mark it all the same."""
        if self._admits_all or request.headers.get("Sec-Fetch-Site") not in ("cross-site", "same-site"):
            return
        is_link = request.headers.get("Sec-Fetch-Mode") == "navigate" and request.path in _LINKED_PATHS
        if not is_link:
            raise Forbidden(f"other pages may not embed this or link to it; those named in {SETTING} can fetch it")


def _origin(request: web.Request) -> str | None:
    """The page that asks; several are nobody's page."""
    origins = request.headers.getall("Origin", [])
    return ", ".join(origins) if origins else None


def _is_name(host: str) -> bool:
    """Whether a Host header is a name, of which others say where it leads, and neither an address nor this machine."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.lower() != "localhost" and not name.lower().endswith(".localhost")
    return False
