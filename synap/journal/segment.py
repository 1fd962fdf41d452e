"""Segment files: `<first LSN>.journal`, a head and then records up to the end of the file.

A crash can leave the last record of the last segment torn. Telling that from damage matters: cutting off a
torn record loses nothing, cutting at a flipped bit in the middle would lose every record behind it. So a
bad record counts as torn only when no intact record follows it (`is_torn`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from synap.journal import JournalDamaged
from synap.journal.record import FRAME, BadRecord, Lsn, Record, decode

SUFFIX = ".journal"
MAGIC = b"SYNAPJ01"
HEAD = struct.Struct("<8sQ")

# After a bad record the LSNs of this many later ones are looked for.
LOOKAHEAD_RECORDS = 64


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


def damaged(path: Path, error: BadRecord) -> JournalDamaged:
    """The error for a record that may not be skipped."""
    return JournalDamaged(
        f"{path} is damaged at offset {error.offset}: {error.reason}."
        " `synap journal verify` shows the extent, `synap journal repair` keeps what is intact before it"
    )


def _intact_behind(data: bytes, offset: int, next_lsn: Lsn) -> bool:
    rest = data[offset + 1 :]
    for lsn in range(next_lsn, next_lsn + LOOKAHEAD_RECORDS):
        pattern = struct.pack("<Q", lsn)
        at = rest.find(pattern)
        while at >= 0:
            start = offset + 1 + at - FRAME.size
            if start > offset and _is_record(data, start, lsn):
                return True
            at = rest.find(pattern, at + 1)
    return False


def _is_record(data: bytes, start: int, lsn: Lsn) -> bool:
    try:
        return decode(data, start)[0].lsn == lsn
    except (BadRecord, UnicodeDecodeError):
        return False
