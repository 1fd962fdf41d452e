"""Answers on their way out: what is told, and how durable it must be before it may leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import orjson

from synap.commands import envelope, packed
from synap.engines.token_bucket import TokenBucket
from synap.errors import InvalidRequest, SynapError
from synap.journal import REPLICAS_MAX, REPLICATED, SYNCED, WRITTEN

ACKS = ("written", "synced", *(f"replicated:{count}" for count in range(1, REPLICAS_MAX + 1)))
"""The levels by name. `replicated` alone means one replica."""
ACK_PATTERN = rf"^({'|'.join(ACKS)}|replicated)$"

__all__ = ["ACKS", "ACK_PATTERN", "REPLICATED", "SYNCED", "WRITTEN", "Outcome", "Reply", "level_of"]


class Reply(msgspec.Struct, gc=False):
    """A rendered answer, and what must be durable before it leaves."""

    status: int
    body: bytes
    lsn: int
    ack: int
    wrote: bool
    is_packed: bool = False
    headers: Mapping[str, str] | None = None
    """What HTTP says beside it."""
    bucket: TokenBucket | None = None
    """Of whom it is for, where that is told what it may still ask for."""

    def refused(self, error: SynapError) -> Reply:
        """The answer instead, when the journal did not get that far."""
        body = packed.to_json(self.body) if self.is_packed else self.body
        body = envelope.failure(error, orjson.dumps(envelope.request_id_of(body)))
        return Reply(
            error.status,
            packed.from_json(body) if self.is_packed else body,
            0,
            WRITTEN,
            False,
            self.is_packed,
            error.headers,
            self.bucket,
        )


class Outcome(NamedTuple):
    """A command's result as JSON, and what must be durable before it is told."""

    payload: bytes
    lsn: int
    ack: int
    wrote: bool
    missing: bool
    """The result says `found: false`."""


def level_of(ack: str) -> int:
    """The acknowledgement asked for by name. Raises InvalidRequest."""
    level = _LEVELS.get(ack)
    if level is None:
        raise InvalidRequest(
            "ack: expected one of written, synced, replicated or replicated:N with N from 1 to"
            f" {REPLICAS_MAX}, got {ack[:40]!r}"
        )
    return level


_LEVELS = {name: level for level, name in enumerate(ACKS)} | {"replicated": REPLICATED}
