"""What all connections of an asyncio client share: who asks, how connections are encrypted, and what is repeated."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from synap_sdk._address import Address, Credentials
from synap_sdk._failure import SynapConnectionError
from synap_sdk._policy import Policy
from synap_sdk._socket import Socket

CONNECT_SECS = 5.0
"""For TCP, TLS, the handshake and a login together."""


@dataclass
class Session:
    """Opens connections. The credentials may gain a token on the way."""

    credentials: Credentials
    policy: Policy = field(default_factory=Policy)
    tls: ssl.SSLContext | None = None
    _login: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def headers(self, address: Address) -> dict[str, str]:
        """What a request to `address` says about who asks. Logs in where that is needed; raises SynapError."""
        async with self._login:
            if self.credentials.needs_login(time.time()):
                context = address.context(self.tls)
                try:
                    async with httpx.AsyncClient(
                        timeout=CONNECT_SECS, verify=True if context is None else context
                    ) as http:
                        body, kind = self.credentials.login(), {"Content-Type": "application/json"}
                        answer = await http.post(address.command_url, content=body, headers=kind)
                except httpx.TransportError as error:
                    raise SynapConnectionError(f"cannot log in at {address}: {error}") from error
                self.credentials.logged_in(answer.content)
        return self.credentials.headers()

    async def open(self, address: Address, take: Callable[[bytes], object], lost: Callable[[str], object]) -> Socket:
        """A new WebSocket. Raises SynapError."""
        try:
            return await asyncio.wait_for(self._open(address, take, lost), CONNECT_SECS)
        except asyncio.TimeoutError:
            raise SynapConnectionError(f"no connection to {address} within {CONNECT_SECS:g} s") from None

    async def _open(self, address: Address, take: Callable[[bytes], object], lost: Callable[[str], object]) -> Socket:
        return await Socket.open(address, await self.headers(address), self.tls, take, lost)
