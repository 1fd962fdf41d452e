"""What the namespaces of each surface need of the client around them."""

from __future__ import annotations

from asyncio import Future
from typing import Any, Protocol, TypeVar

from synap_sdk._command import Command
from synap_sdk._promise import Promise

R = TypeVar("R")


class AsyncCaller(Protocol):
    """Sends a command; the future is its result."""

    def _call(
        self, command: Command[R], payload: Any, idempotency_key: str | None, ack: str | None, timeout: float | None
    ) -> Future[R]: ...

    def _running(self) -> Any:
        """Where subscriptions connect to."""


class Caller(Protocol):
    """Sends a command and waits for its result."""

    def _call(
        self, command: Command[R], payload: Any, idempotency_key: str | None, ack: str | None, timeout: float | None
    ) -> R: ...

    @property
    def _home(self) -> Any:
        """Where subscriptions connect to."""


class BatchCaller(Protocol):
    """Adds a command to a batch."""

    def _call(self, command: Command[R], payload: Any) -> Promise[R]: ...
