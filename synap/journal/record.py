"""Journal records and their bytes on disk.

A record is the request that changed the state: sequence number (LSN), time, command name and the payload
bytes as they were validated. On disk:

    u32 length of the body | u32 CRC-32 of the body | body
    body: u64 lsn | u64 time, Unix ms | u8 length of the name | name | payload

all little-endian. LSNs begin at 1 and have no gaps. The CRC covers everything but the length; a wrong
length moves the end of the body and so fails the CRC as well.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple
from zlib import crc32

from synap.clock import Millis

Lsn = int

FRAME = struct.Struct("<II")
BODY = struct.Struct("<QQB")
BODY_BYTES_MIN = BODY.size + 1
# Far above any request the limits admit: a length beyond it is damage, not a record.
BODY_BYTES_MAX = 1 << 30


class Record(NamedTuple):
    """One change."""

    lsn: Lsn
    time: Millis
    command: str
    payload: bytes


class BadRecord(Exception):
    """The bytes at `offset` are not the record that belongs there; `out_of_order` when they are another one."""

    def __init__(self, offset: int, reason: str, *, out_of_order: bool = False) -> None:
        super().__init__(reason)
        self.offset = offset
        self.reason = reason
        self.out_of_order = out_of_order


def encode(records: Iterable[tuple[Lsn, Millis, bytes, bytes]]) -> bytes:
    """The bytes of records given as LSN, time, name and payload."""
    pieces: list[bytes] = []
    for lsn, time, name, payload in records:
        start = BODY.pack(lsn, time, len(name)) + name
        pieces += (FRAME.pack(len(start) + len(payload), crc32(payload, crc32(start))), start, payload)
    return b"".join(pieces)


def decode(data: bytes, offset: int) -> tuple[Record, int]:
    """The record at `offset` and the offset behind it. Raises BadRecord."""
    start = offset + FRAME.size
    if start > len(data):
        raise BadRecord(offset, f"the file ends inside a record head ({len(data) - offset} bytes)")
    length, crc = FRAME.unpack_from(data, offset)
    if not BODY_BYTES_MIN <= length <= BODY_BYTES_MAX:
        raise BadRecord(offset, f"a record cannot be {length} bytes long")
    end = start + length
    body = data[start:end]
    if len(body) < length:
        raise BadRecord(offset, f"the file ends inside a record ({len(body)} of {length} bytes)")
    if crc32(body) != crc:
        raise BadRecord(offset, "the checksum does not match")
    lsn, time, name_length = BODY.unpack_from(body)
    payload_at = BODY.size + name_length
    return Record(lsn, time, body[BODY.size : payload_at].decode(), body[payload_at:]), end
