"""What both clients are made with."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from synap_sdk._address import Address, Credentials
from synap_sdk._command import Command
from synap_sdk._policy import Policy

DEFAULT_URL = "http://127.0.0.1:15500"
TIMEOUT_SECS = 30.0
ReadFrom = Literal["master", "replicas"]


@dataclass(frozen=True)
class Options:
    """Checked when the client is made; nothing is connected then."""

    address: Address
    replicas: list[Address]
    read_from: ReadFrom
    credentials: Credentials
    policy: Policy
    tls: ssl.SSLContext | None
    timeout_secs: float
    retry_writes: bool

    @classmethod
    def of(
        cls,
        url: str,
        api_key: str | None,
        token: str | None,
        username: str | None,
        password: str | None,
        *,
        timeout: float,
        retries: int,
        retry_writes: bool,
        replicas: Sequence[str],
        read_from: ReadFrom,
        tls: ssl.SSLContext | None,
    ) -> Options:
        """Raises ValueError for what cannot be."""
        if read_from not in ("master", "replicas"):
            raise ValueError(f"read_from: expected 'master' or 'replicas', got {read_from!r}")
        if timeout <= 0:
            raise ValueError(f"timeout: expected more than 0 seconds, got {timeout}")
        if read_from == "replicas" and not replicas:
            raise ValueError("read_from='replicas' needs replicas=[...], their URLs")
        return cls(
            Address.of(url),
            [Address.of(replica) for replica in replicas],
            read_from,
            Credentials(api_key, token, username, password),
            Policy(retries),
            tls,
            timeout,
            retry_writes,
        )

    def limit(self, command: Command[Any], payload: Any, timeout: float | None) -> float | None:
        """Seconds until a call is given up; None: never. What waits at the server has this long beyond it."""
        if not command.waits:
            return self.timeout_secs if timeout is None else timeout
        waits_secs = getattr(payload, "timeout", None) or (payload.get("timeout") if isinstance(payload, dict) else 0)
        return waits_secs + self.timeout_secs if waits_secs else None


def actual(command: Command[Any], payload: Any) -> Command[Any]:
    """The command as this payload has it: one that could wait may be asked not to."""
    if command.polling is not None:
        waits_secs = payload.get("timeout") if isinstance(payload, dict) else payload.timeout
        return command if waits_secs else command.polling
    return command
