"""Batches that the caller puts together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from synap_sdk._batched import BatchNamespaces
from synap_sdk._command import Command
from synap_sdk._promise import Promise
from synap_sdk._protocol import BatchCall, Part

R = TypeVar("R")


class Collected(BatchNamespaces):
    """Commands that will run together, with the namespaces of the client: `batch.kv.set(...)` promises its result."""

    def __init__(self, *, atomic: bool, idempotency_key: str | None, ack: str | None) -> None:
        self._atomic = atomic
        self._idempotency_key = idempotency_key
        self._ack = ack
        self._parts: list[Part] = []
        self._bind(self)

    def __len__(self) -> int:
        return len(self._parts)

    def _call(self, command: Command[R], payload: Any) -> Promise[R]:
        part = Part(command, payload)
        self._parts.append(part)
        return part.promise

    def _take(self, new_key: Callable[[], str] | None) -> BatchCall:
        """What was collected. With `new_key`, a batch that writes gets an idempotency key unless it has one."""
        key, writes = self._idempotency_key, any(part.command.writes for part in self._parts)
        if key is None and new_key is not None and writes:
            key = new_key()
        call = BatchCall(self._parts, self._atomic, key, self._ack if writes else None)
        self._parts = []
        return call

    @staticmethod
    def _keep(call: BatchCall, outcomes: list[Any]) -> None:
        for part, outcome in zip(call.parts, outcomes, strict=True):
            part.promise._keep(outcome)
