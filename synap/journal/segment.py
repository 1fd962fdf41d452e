"""Segment files: `<first LSN>.journal`, a head and then records up to the end of the file.

A crash can leave the last record of the last segment torn. Telling that from damage matters: cutting off a
torn record loses nothing, cutting at a flipped bit in the middle would lose every record behind it. So a
bad record counts as torn only when no intact record follows it (`is_torn`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from synap.journal import JournalDamaged
from synap.journal.record import BODY_BYTES_MIN, FRAME, BadRecord, Lsn, Record, decode

SUFFIX = ".journal"
MAGIC = b"SYNAPJ01"
HEAD = struct.Struct("<8sQ")

_RECORD_START = struct.Struct("<IIQ")
_NOT_ZERO = re.compile(rb"[^\0]")


def path_of(directory: Path, first_lsn: Lsn) -> Path:
    """Where the segment that begins with `first_lsn` lives; names sort as the LSNs do."""
    return directory / f"{first_lsn:020d}{SUFFIX}"


def first_lsn_of(path: Path) -> Lsn:
    """The LSN in a segment's name."""
    return int(path.name.removesuffix(SUFFIX))


def list_segments(directory: Path) -> list[Path]:
    """All segments, oldest first."""
    return sorted(p for p in directory.glob(f"*{SUFFIX}") if p.name.removesuffix(SUFFIX).isdigit())


def head(first_lsn: Lsn) -> bytes:
    """What a segment file begins with."""
    return HEAD.pack(MAGIC, first_lsn)


def check_head(data: bytes, path: Path) -> None:
    """Raise BadRecord unless the file begins as a segment of its name does."""
    if len(data) < HEAD.size:
        raise BadRecord(0, f"the file ends inside its head ({len(data)} of {HEAD.size} bytes)")
    if data[: HEAD.size] != head(first_lsn_of(path)):
        raise BadRecord(0, "the file does not begin like a journal segment of its name")


def records(data: bytes, path: Path) -> Iterator[Record]:
    """Every record in the content of a segment. Raises BadRecord at the first that is damaged or out of order."""
    check_head(data, path)
    offset, expected, size = HEAD.size, first_lsn_of(path), len(data)
    while offset < size:
        record, end = decode(data, offset)
        if record.lsn != expected:
            raise BadRecord(offset, f"expected record {expected}, found record {record.lsn}", out_of_order=True)
        yield record
        offset = end
        expected += 1


def is_torn(data: bytes, error: BadRecord, next_lsn: Lsn) -> bool:
    """Whether a bad record in the last segment is a write that a crash cut short, and not damage.

    `next_lsn` is the LSN the bad record should have had.
    """
    return not error.out_of_order and not _intact_behind(data, error.offset, next_lsn)


def check_follows(path: Path, lsn: Lsn) -> None:
    """Raise JournalDamaged when records are missing between `lsn` and the beginning of the segment."""
    first = first_lsn_of(path)
    if first > lsn + 1:
        raise JournalDamaged(f"records {lsn + 1} to {first - 1} are missing before {path}")


def damaged(path: Path, error: BadRecord) -> JournalDamaged:
    """The error for a record that may not be skipped."""
    return JournalDamaged(
        f"{path} is damaged at offset {error.offset}: {error.reason}."
        " `synap journal verify` shows the extent, `synap journal repair` keeps what is intact before it"
    )


def _intact_behind(data: bytes, offset: int, next_lsn: Lsn) -> bool:
    """Whether a record begins anywhere behind `offset`. Tries every byte, which only a damaged file costs."""
    last = len(data) - FRAME.size - BODY_BYTES_MIN
    lsn_max = next_lsn + len(data) // BODY_BYTES_MIN
    at = offset + 1
    while at <= last:
        length, _, lsn = _RECORD_START.unpack_from(data, at)
        if next_lsn <= lsn <= lsn_max and length <= len(data) - at and _is_record(data, at):
            return True
        at += 1
        if length == 0:  # a lost page reads as zeros: go on where they end
            something = _NOT_ZERO.search(data, at)
            at = max(at, something.start() - _RECORD_START.size if something else len(data))
    return False


def _is_record(data: bytes, start: int) -> bool:
    try:
        decode(data, start)
    except (BadRecord, UnicodeDecodeError):
        return False
    return True
