"""Answers on their way out: what is told, and how durable it must be before it may leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import orjson

from synap.commands import envelope, packed
from synap.engines.token_bucket import TokenBucket
from synap.errors import InvalidRequest, SynapError

WRITTEN, SYNCED = 0, 1
ACKS = ("written", "synced")


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
    try:
        return ACKS.index(ack)
    except ValueError:
        raise InvalidRequest(f"ack: expected one of {', '.join(ACKS)}, got {ack[:40]!r}") from None
