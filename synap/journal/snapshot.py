"""Snapshots: the state after some record, written by a process of its own.

    head: magic | u64 LSN | u64 time, Unix ms | u32 CRC-32 of these
    chunks: u32 length | u32 CRC-32 | bytes, as the machine dumped them
    end: a chunk of length 0 whose CRC is that of all chunk CRCs, so that a cut-off file is told from a whole one

A snapshot is written under a temporary name, synced, read back and only then renamed: what is called
`<LSN>.snapshot` is whole.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from synap.clock import Millis
from synap.journal import JournalDamaged, Machine, segment
from synap.journal.directory import rewriting
from synap.journal.log import segments_from, sync
from synap.journal.record import BadRecord, Lsn

SUFFIX = ".snapshot"
MAGIC = b"SYNAPS01"
HEAD = struct.Struct("<8sQQ")
CRC = struct.Struct("<I")
CHUNKS_AT = HEAD.size + CRC.size
CHUNK = struct.Struct("<II")


def list_snapshots(directory: Path) -> list[Path]:
    """All snapshots, oldest first."""
    return sorted(p for p in directory.glob(f"*{SUFFIX}") if p.name.removesuffix(SUFFIX).isdigit())


def lsn_of(path: Path) -> Lsn:
    """The LSN in a snapshot's name."""
    return int(path.name.removesuffix(SUFFIX))


def write(directory: Path, machine: Machine, lsn: Lsn, time: Millis) -> Path:
    """Write `machine`, which stands after record `lsn`. Raises OSError; an unfinished file is removed."""
    path = directory / f"{lsn:020d}{SUFFIX}"
    temporary = path.with_suffix(".partial")
    try:
        with temporary.open("wb") as file:
            start = HEAD.pack(MAGIC, lsn, time)
            file.write(start + CRC.pack(zlib.crc32(start)))
            total = 0
            for chunk in machine.dump():
                crc = zlib.crc32(chunk)
                total = zlib.crc32(crc.to_bytes(4, "little"), total)
                file.write(CHUNK.pack(len(chunk), crc))
                file.write(chunk)
            file.write(CHUNK.pack(0, total))
            file.flush()
            os.fsync(file.fileno())
        check(temporary)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(directory, os.fsync)
    return path


def load(path: Path, machine: Machine) -> Iterator[int]:
    """Load a snapshot into an empty machine; yields the size of each chunk. Raises JournalDamaged."""
    lsn, time = head(path)
    for chunk in _chunks(path):
        machine.load(chunk)
        yield len(chunk)
    machine.loaded(lsn, time)


def head(path: Path) -> tuple[Lsn, Millis]:
    """The last LSN in the snapshot, and its time. Raises JournalDamaged."""
    with path.open("rb") as file:
        data = file.read(CHUNKS_AT)
    if len(data) < CHUNKS_AT or data[:8] != MAGIC or CRC.unpack(data[HEAD.size :])[0] != zlib.crc32(data[: HEAD.size]):
        raise JournalDamaged(f"{path} is damaged: it does not begin like a snapshot")
    _, lsn, time = HEAD.unpack(data[: HEAD.size])
    if path.suffix == SUFFIX and lsn != lsn_of(path):
        raise JournalDamaged(f"{path} is a snapshot of record {lsn}, not the one its name says")
    return lsn, time


def check(path: Path) -> None:
    """Read a snapshot through. Raises JournalDamaged."""
    head(path)
    for _ in _chunks(path):
        pass


def advance(directory: Path, machine: Machine) -> Path | None:
    """Bring the newest snapshot up to the end of the sealed segments; None when there is nothing new.

    Runs beside a serving process: that one only ever appends to the newest segment, which is not read here.
    Removes older snapshots when done. Raises JournalDamaged, OSError, and DirectoryInUse while another process
    does the same (one that a killed server has left behind).
    """
    with rewriting(directory):
        return _advance(directory, machine)


def _advance(directory: Path, machine: Machine) -> Path | None:
    snapshots = list_snapshots(directory)
    lsn: Lsn = 0
    time: Millis = 0
    if snapshots:
        for _ in load(snapshots[-1], machine):
            pass
        lsn, time = head(snapshots[-1])
    start = lsn
    for path in segments_from(directory, lsn + 1)[:-1]:
        segment.check_follows(path, lsn)
        try:
            for record in segment.records(path.read_bytes(), path):
                if record.lsn > lsn:
                    machine.apply(record)
                    lsn, time = record.lsn, record.time
        except BadRecord as error:
            raise segment.damaged(path, error) from None
    if lsn == start:
        return None
    written = write(directory, machine, lsn, time)
    for old in snapshots:
        old.unlink()
    return written


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(CHUNKS_AT)
        total = 0
        while True:
            at = file.tell()
            frame = file.read(CHUNK.size)
            if len(frame) < CHUNK.size:
                raise JournalDamaged(f"{path} ends at offset {at} before its end mark")
            length, crc = CHUNK.unpack(frame)
            if length == 0:
                if crc != total:
                    raise JournalDamaged(f"{path} is damaged: its end mark at offset {at} does not match")
                return
            chunk = file.read(length)
            if zlib.crc32(chunk) != crc:
                raise JournalDamaged(f"{path} is damaged at offset {at}: the checksum does not match")
            total = zlib.crc32(frame[4:], total)
            yield chunk
