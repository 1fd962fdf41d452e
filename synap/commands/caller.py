"""Who asks: the connection a request came on, the credential it came with, and what that may do at this moment.

An `Identity` is shared by all requests with one credential. It is looked up anew whenever accounts have changed since,
so that what is revoked is refused from the next command on, also on connections that have long been open. A `Caller`
is an identity on a connection; the dispatcher checks it once a request, and its rules once a command.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from synap.clock import Millis
from synap.commands.permissions import Permission, Rules
from synap.commands.session import Session
from synap.engines.accounts import Accounts
from synap.engines.token_bucket import TokenBucket
from synap.errors import CredentialExpired, Forbidden, RateLimitExceeded, SynapError

Kind = Literal["key", "user", "token", "root", "anonymous", "nobody"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# How exactly it is known when a credential was used last.
SEEN_MS = 60_000


class Peer:
    """A connection: where it comes from, since when, and how it is spoken to."""

    __slots__ = ("address", "connected_at", "id", "port", "session", "transport", "user")

    def __init__(self, number: int, address: str, port: int, connected_at: Millis, transport: str = "http") -> None:
        self.id = number
        self.address = address
        """IP address of the client; "local" where there is none."""
        self.port = port
        self.connected_at = connected_at
        self.transport = transport
        """http, websocket or sse."""
        self.user: str | None = None
        """The name of the credential of its latest request."""
        self.session: Session | None = None

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a credential stands for at one moment."""

    name: str
    kind: Kind
    id: str
    """Unlike that of any other credential: rate limits count by it."""
    roles: tuple[str, ...] = ()
    permissions: tuple[Permission, ...] = ()
    """Those of its roles included."""
    expires_at: Millis | float = math.inf
    networks: tuple[Network, ...] = ()
    """Where it may be used from; none: from anywhere."""


NOBODY = Grant("", "nobody", "")


class Identity:
    """Whom a credential stands for. `look_up` says what that is now, or raises why it is nothing any more."""

    __slots__ = (
        "_look_up",
        "_on_use",
        "_refusal",
        "_used_at",
        "accounts",
        "due",
        "grant",
        "networks",
        "revision",
        "rules",
    )

    def __init__(
        self,
        accounts: Accounts,
        look_up: Callable[[], Grant],
        on_use: Callable[[Grant], None] | None = None,
    ) -> None:
        self.grant = NOBODY
        self.rules = Rules(())
        self.accounts = accounts
        self._look_up = look_up
        self._on_use = on_use
        self._used_at: Millis = 0
        self.due: Millis | float = 0
        """When there is something to check again, as long as the accounts stay what they are."""
        self._renew()

    def check(self, now: Millis) -> None:
        """Raise Unauthorized when the credential is not good any more. Says, about once a minute, that it is used."""
        if self.revision != self.accounts.revision:
            self._renew()
        if self._refusal is not None:
            raise self._refusal.with_traceback(None)
        if now >= self.grant.expires_at:
            raise CredentialExpired("the credential has expired")
        if now - self._used_at >= SEEN_MS:
            self._used_at = now
            if self._on_use is not None:
                self._on_use(self.grant)
        self.due = min(self._used_at + SEEN_MS, self.grant.expires_at)

    @property
    def is_good(self) -> bool:
        """Whether it was, when it was last looked up."""
        return self._refusal is None

    def _renew(self) -> None:
        self.revision = self.accounts.revision
        self._refusal: SynapError | None = None
        self.due = 0
        self.networks: tuple[Network, ...] = ()
        try:
            self.grant = self._look_up()
            permissions = self.grant.permissions
            self.networks = self.grant.networks
        except SynapError as refusal:
            self._refusal, permissions = refusal, ()
        self.rules = Rules(permissions)


class Caller:
    """An identity on a connection. Without an identity nothing is asked of it: nobody has to log in here."""

    __slots__ = ("bucket", "identity", "is_checked", "is_plain", "peer", "session", "trace")

    def __init__(
        self,
        peer: Peer | None = None,
        identity: Identity | None = None,
        bucket: TokenBucket | None = None,
        *,
        session: Session | None = None,
        trace: str | None = None,
    ) -> None:
        self.peer = peer
        self.identity = identity
        self.bucket = bucket
        """How much it may still ask for; None: as much as it likes."""
        self.session = session
        """Of a connection that can be pushed to."""
        self.trace = trace
        """W3C traceparent of the request, or of the one that opened the connection."""
        self.is_checked = identity is not None or bucket is not None
        self.is_plain = identity is None and trace is None
        """Nothing depends on who it is."""

    def check(self, now: Millis) -> None:
        """What every request must pass. Raises Unauthorized, Forbidden, RateLimitExceeded."""
        if self.bucket is not None and not self.bucket.take(now):
            secs = math.ceil(self.bucket.wait_ms(now) / 1000) or 1
            raise RateLimitExceeded(f"rate limit exceeded; try again in {secs} seconds", retry_after_secs=secs)
        identity = self.identity
        if identity is not None:
            if now >= identity.due or identity.revision != identity.accounts.revision:
                identity.check(now)
            if identity.networks and not self._is_at_home(identity.networks):
                raise Forbidden("the credential may not be used from this address")

    def apart_from_session(self) -> Caller:
        """The same, as if on a connection that cannot be pushed to."""
        return self if self.session is None else Caller(self.peer, self.identity, self.bucket, trace=self.trace)

    @property
    def name(self) -> str:
        """For logs: whose credential it is."""
        return "" if self.identity is None else self.identity.grant.name

    @property
    def address(self) -> str:
        """Where it asks from."""
        return "local" if self.peer is None else self.peer.address

    @property
    def is_nobody(self) -> bool:
        """It has no credential, and may do nothing without one."""
        return self.identity is not None and self.identity.grant.kind == "nobody"

    @property
    def has_credential(self) -> bool:
        """It has one, or needs none."""
        return self.identity is None or self.identity.grant.kind not in ("nobody", "anonymous")

    def _is_at_home(self, networks: tuple[Network, ...]) -> bool:
        try:
            address = ipaddress.ip_address(self.peer.address) if self.peer is not None else None
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return address is not None and any(address in network for network in networks)


SERVER = Caller()
"""The server itself, and whoever asks where nobody has to log in."""
