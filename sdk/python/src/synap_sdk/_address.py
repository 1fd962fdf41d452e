"""Where a server is, and who asks: URLs, credentials and the headers that carry them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec

from synap_sdk._protocol import read_reply
from synap_sdk.errors import SynapError
from synap_sdk.results import AuthLoginResult

RENEW_BEFORE_SECS = 60.0
"""A token with less time left is not used for a new connection."""
SOCKET_PATH = "/api/v1/ws"
COMMAND_PATH = "/api/v1/command"
_PORTS = {"http": 80, "https": 443}
_SOCKET_SCHEMES = {"ws": "http", "wss": "https"}


@dataclass(frozen=True)
class Address:
    """A server's URL, taken apart."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> Address:
        """Raises ValueError for what is no http or https URL."""
        parts = urlsplit(url)
        scheme = _SOCKET_SCHEMES.get(parts.scheme, parts.scheme)
        if scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"expected a URL like http://127.0.0.1:15500, got {url!r}")
        path = parts.path.rstrip("/").removesuffix(SOCKET_PATH)
        return cls(scheme, parts.hostname, parts.port or _PORTS[scheme], path)

    @property
    def authority(self) -> str:
        """Host and port, as a Host header names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def command_url(self) -> str:
        """Where commands are posted to."""
        return f"{self.scheme}://{self.authority}{self.path}{COMMAND_PATH}"

    @property
    def socket_url(self) -> str:
        """Where WebSockets are opened."""
        return f"ws{self.scheme[4:]}://{self.authority}{self.path}{SOCKET_PATH}"

    def context(self, tls: ssl.SSLContext | None) -> ssl.SSLContext | None:
        """What encrypts connections, if the URL asks for that."""
        if self.scheme == "http":
            return None
        return tls or ssl.create_default_context()

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


@dataclass
class Credentials:
    """An API key, a token, or a user who logs in for one."""

    api_key: str | None = None
    token: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    expires_at: int | None = None
    """Of the token, in Unix milliseconds; None: not known."""

    def __post_init__(self) -> None:
        given = [self.api_key, self.token, self.username]
        if sum(value is not None for value in given) > 1:
            raise ValueError("expected one of api_key, token, and username with password")
        if (self.username is None) != (self.password is None):
            raise ValueError("expected username and password together")

    def headers(self) -> dict[str, str]:
        """What a request says about who asks."""
        if self.api_key is not None:
            return {"X-API-Key": self.api_key}
        if self.token is not None:
            return {"Authorization": f"Bearer {self.token}"}
        return {}

    def needs_login(self, now_secs: float) -> bool:
        """Whether a token has to be got first. `now_secs`: Unix time."""
        if self.username is None:
            return False
        if self.token is None or self.expires_at is None:
            return True
        return now_secs > self.expires_at / 1000 - RENEW_BEFORE_SECS

    def login(self) -> bytes:
        """The request that gets a token."""
        payload = {"username": self.username, "password": self.password}
        return msgspec.json.encode({"command": "auth.login", "payload": payload})

    def logged_in(self, answer: bytes) -> None:
        """Take the token from the answer to `login`. Raises SynapError."""
        try:
            reply = read_reply(answer)
            if isinstance(reply.error, msgspec.UnsetType):
                result = msgspec.json.decode(reply.payload, type=AuthLoginResult)
                self.token, self.expires_at = result.token, result.expires_at
                return
        except msgspec.MsgspecError as error:
            raise SynapError(f"the answer to the login cannot be read: {error}") from error
        raise reply.error.exception()

    def forget(self) -> None:
        """The token is not good any more: the next connection logs in anew."""
        if self.username is not None:
            self.token = None


def refusal(status: int, body: bytes | None) -> SynapError:
    """The error behind an HTTP answer that is not a reply to a command."""
    try:
        reply: Any = read_reply(body or b"")
        if not isinstance(reply.error, msgspec.UnsetType):
            error: SynapError = reply.error.exception()
            return error
    except msgspec.MsgspecError:
        pass
    return SynapError(f"the server answered HTTP status {status}: {(body or b'')[:200]!r}")
