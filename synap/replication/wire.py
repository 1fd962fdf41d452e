"""What nodes say to each other.

A replica asks for the stream with a `Greeting` (the query of its URL). Over the WebSocket come a `Welcome` first, and
then, if it was accepted, records, heartbeats and pub/sub messages; back go `Ack`s. Messages are binary: one byte for
the kind, then MessagePack, or the records' bytes as they stand in the journal.

Between masters, `Claim`s go over plain HTTP: who promotes itself tells those who followed the same master.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from synap.journal.record import BadRecord, Record, decode
from synap.replication.standing import Role
from synap.replication.terms import Epoch, Terms

STREAM_PATH = "/api/v1/replication/stream"
SNAPSHOT_PATH = "/api/v1/replication/snapshot"
CLAIM_PATH = "/api/v1/replication/claim"
SECRET_HEADER = "X-Synap-Replication-Secret"  # noqa: S105 - the name of it

RECORDS_BYTES_MAX = 64 * 1024
"""About as much of the journal is sent in one message, but always a whole record."""


Lsn = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
NoId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-z]{0,64}\Z")]
"""An id, or nothing."""
Url = Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/?#]+\Z", max_length=2_048)]
NoUrl = Annotated[str, msgspec.Meta(pattern=r"^(https?://[^\s/?#]+)?\Z", max_length=2_048)]
"""A URL, or nothing."""


class Greeting(msgspec.Struct, frozen=True, kw_only=True):
    """A replica that wants to follow: the first record it lacks, and in which term (`history`) it has the one before.

    `url` is where it can be reached itself, if it knows.
    """

    node: str
    """Who asks: the same after a restart."""
    from_lsn: Lsn = msgspec.field(name="from")
    history: NoId = ""
    epoch: Epoch = 0
    lineage: NoId = ""
    url: NoUrl = ""


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag="W"):
    """The answer: whether records follow, and what the replica needs to find out what to do if they do not."""

    node: str
    """Who answers: this run of it, so that nobody follows itself."""
    accepted: bool
    epoch: Epoch
    terms: Terms
    oldest_lsn: Lsn
    last_lsn: Lsn
    master: str | None
    """Where the master is, if the one who answers is none."""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, tag="H"):
    """Where the journal ends now. `siblings`: the URLs of all who follow the same node; `master` is as in Welcome."""

    lsn: Lsn
    siblings: tuple[str, ...]
    master: str | None


class Publication(msgspec.Struct, frozen=True, tag="P"):
    """A pub/sub message: no record of it is kept anywhere."""

    topic: str
    body: bytes
    metadata: bytes


class Ack(msgspec.Struct, frozen=True, tag="A"):
    """Everything up to `lsn` is in the replica's journal."""

    lsn: Lsn


class Records(msgspec.Struct, frozen=True):
    """Whole records, as they stand in the journal."""

    data: bytes


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself to one that may think otherwise: a master, in this term; or a replica of `url`."""

    role: Role
    epoch: Epoch
    term: NoId
    lineage: NoId
    url: Url | None


class SnapshotOffer(msgspec.Struct, frozen=True, kw_only=True):
    """The newest snapshot: the state after record `lsn` in a journal with these terms. `name` is what to ask for."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-z-]{0,128}\Z")]
    lsn: Lsn
    bytes: int
    terms: Terms
    epoch: Epoch


Message = Welcome | Heartbeat | Publication | Records | Ack

_RECORDS = b"R"
_encode = msgspec.msgpack.Encoder().encode
_decode: Callable[[Any], Message] = msgspec.msgpack.Decoder(Welcome | Heartbeat | Publication | Ack).decode


def public(url: str) -> str:
    """A URL without the credential it may hold."""
    credential, _, host = url.rpartition("@")
    scheme, separator, _ = credential.partition("://")
    return scheme + separator + host if separator else host


class NotUnderstood(Exception):
    """A message is not what may come here; its connection is of no use any more."""


def pack(message: Message) -> bytes:
    """The bytes of a message."""
    return _RECORDS + message.data if isinstance(message, Records) else b"M" + _encode(message)


def unpack(data: bytes) -> Message:
    """The message in these bytes. Raises NotUnderstood."""
    if data[:1] == _RECORDS:
        return Records(data[1:])
    try:
        return _decode(memoryview(data)[1:])
    except (msgspec.DecodeError, RecursionError) as error:
        raise NotUnderstood(str(error)) from None


def records_behind(data: bytes, lsn: Lsn) -> list[Record]:
    """The records in a `Records` message for a journal that ends with `lsn`: they follow it without a gap.

    Raises NotUnderstood when they do not, or are damaged: nothing of them may be taken then.
    """
    found: list[Record] = []
    offset = 0
    try:
        while offset < len(data):
            record, offset = decode(data, offset)
            lsn += 1
            if record.lsn != lsn:
                raise NotUnderstood(f"expected record {lsn}, got record {record.lsn}")
            found.append(record)
    except (BadRecord, UnicodeDecodeError) as error:
        raise NotUnderstood(f"record {lsn + 1} is damaged: {error}") from None
    return found
