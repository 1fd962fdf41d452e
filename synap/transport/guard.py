"""Who sends a request: from its headers and its connection to a `Caller` (commands/caller.py).

    X-API-Key: <key>        Authorization: Bearer <key or token>        Authorization: Basic <name and password>

On WebSockets and server-sent events, which browsers cannot give headers, `?token=` stands for Bearer. What a
credential is good for is known in commands/credentials.py; here it is only read. Everything is known at once but a
name with a password that has not been verified before: that takes another thread.
"""

from __future__ import annotations

import asyncio
import base64
import binascii

from aiohttp import web

from synap.clock import Clock
from synap.commands.caller import Caller, Identity, Peer
from synap.commands.credentials import Credentials, PasswordCheck
from synap.commands.session import Session
from synap.commands.trace import parse
from synap.engines.token_bucket import TokenBucket
from synap.errors import InvalidRequest, RateLimitExceeded, SynapError, Unauthorized
from synap.transport.workers import Workers

CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
SOCKET_PATH = "/api/v1/ws"
EVENTS_SUFFIX = "/events"
TOKEN_FIELD = "token"  # noqa: S105 - the name of it

LIMIT_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
# Nobody without a good credential has more to say.
STRANGER_BODY_BYTES_MAX = 64 * 1024
_SINGLE_HEADERS = ("X-API-Key", "Authorization", "traceparent")


class Unverified(Exception):
    """A name and a password that have to be verified first."""

    def __init__(self, username: str, password: str) -> None:
        super().__init__()
        self.username = username
        self.password = password


class Guard:
    """Tells callers apart. One per server."""

    def __init__(self, credentials: Credentials, clock: Clock, workers: Workers) -> None:
        self.clock = clock
        self._workers = workers
        self._verifying: dict[tuple[str, str, str | None], asyncio.Future[bool]] = {}
        self._credentials = credentials

    def identify(self, api_key: str | None, authorization: str | None) -> Identity | None:
        """Whom the headers of a request stand for; None: nobody has to log in. Raises Unverified."""
        credentials = self._credentials
        if not credentials.is_required:
            return None
        if api_key is not None:
            return credentials.by_api_key(api_key)
        if authorization is None:
            return credentials.nobody
        scheme, _, text = authorization.partition(" ")
        match scheme.lower():
            case "bearer":
                return credentials.by_bearer(text.strip(), self.clock.now())
            case "basic":
                return self._by_basic(text.strip())
        return credentials.refused(Unauthorized("Authorization: expected Bearer or Basic"))

    def nobody(self) -> Identity | None:
        """Whoever has no credential."""
        return self._credentials.nobody if self._credentials.is_required else None

    def caller(
        self, identity: Identity | None, peer: Peer, trace: str | None = None, session: Session | None = None
    ) -> Caller:
        """Somebody on a connection."""
        peer.user = (identity.grant.name or None) if identity is not None else None
        return Caller(peer, identity, self._credentials.bucket(identity, peer.address), session=session, trace=trace)

    async def of_request(self, request: web.Request, peer: Peer) -> Caller:
        """Who sends a request. What is wrong with its credential is told when it asks for something."""
        headers = request.headers
        try:
            for name in _SINGLE_HEADERS:
                if len(headers.getall(name, ())) > 1:
                    raise InvalidRequest(f"expected one {name} header")
            identity = await self._identity(request, peer)
        except SynapError as refusal:
            identity = self._credentials.refused(refusal)
        return self.caller(identity, peer, parse(headers.get("traceparent")))

    def limits(self, bucket: TokenBucket) -> tuple[int, int, int]:
        """The values of LIMIT_HEADERS: how many may come at once, how many are left, when all are again (Unix secs)."""
        remaining, full_at = bucket.standing(self.clock.now())
        return self._credentials.burst, remaining, -(-full_at // 1000)

    @property
    def burst(self) -> int:
        """How many requests may come at once."""
        return self._credentials.burst

    async def _identity(self, request: web.Request, peer: Peer) -> Identity | None:
        headers = request.headers
        api_key, authorization = headers.get("X-API-Key"), headers.get("Authorization")
        if api_key is None and authorization is None and TOKEN_FIELD in request.query and _takes_token(request.path):
            authorization = f"Bearer {request.query[TOKEN_FIELD]}"
        try:
            return self.identify(api_key, authorization)
        except Unverified as unverified:
            return await self._verified(unverified, peer)

    async def _verified(self, unverified: Unverified, peer: Peer) -> Identity:
        credentials, audit = self._credentials, self._credentials.audit
        caller, username = Caller(peer), unverified.username
        try:
            credentials.begin_login(username, peer.address, self.clock.now())
        except RateLimitExceeded:
            audit.login(username, "throttled", caller, self.clock.now())
            raise
        check = credentials.password_check(username, unverified.password)
        identity = credentials.end_login(check, peer.address) if await self._is_right(check) else None
        if identity is None:
            credentials.fail_login(username, peer.address, self.clock.now())
            audit.login(username, "failure", caller, self.clock.now())
            raise Unauthorized("wrong username or password")
        audit.login(username, "success", caller, self.clock.now())
        credentials.on_use("user", username)
        return identity

    async def _is_right(self, check: PasswordCheck) -> bool:
        """Whether a password is right; connections that come with the same one at once share the work."""
        name = (check.username, check.password, check.password_hash)
        verifying = self._verifying.get(name)
        if verifying is None:
            verifying = self._verifying[name] = asyncio.ensure_future(self._workers.run(check.run))
            verifying.add_done_callback(lambda _: self._verifying.pop(name))
        return await asyncio.shield(verifying)

    def _by_basic(self, text: str) -> Identity:
        try:
            username, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            colon = ""
        if not colon:
            return self._credentials.refused(Unauthorized("Authorization: expected Basic and a name with a password"))
        identity = self._credentials.by_password(username, password)
        if identity is None:
            raise Unverified(username, password)
        return identity


def _takes_token(path: str) -> bool:
    """Whether browsers open this address without headers of their own."""
    return path == SOCKET_PATH or path.endswith(EVENTS_SUFFIX)


def is_stranger(identity: Identity | None) -> bool:
    """Whether it is somebody without a good credential, where one is needed."""
    return identity is not None and (not identity.is_good or identity.grant.kind == "nobody")
