"""Bringing the state back: the newest snapshot, then every record behind it.

Work is handed out in steps, so that a server can answer /ready and stop on a signal meanwhile. A torn
last record is cut off and reported; anything else that is not right raises JournalDamaged, because going
on would lose acknowledged writes.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from synap.clock import Millis
from synap.journal import JournalDamaged, Machine, segment, snapshot
from synap.journal.log import segments_from
from synap.journal.record import BadRecord, Lsn, Record

log = logging.getLogger("synap.recovery")

RECORDS_PER_STEP = 2_000


@dataclass
class Progress:
    """How far recovery is. After the last step: what was found."""

    bytes_total: int = 0
    bytes_done: int = 0
    records: int = 0
    lsn: Lsn = 0
    time: Millis = 0
    tail_lsn: Lsn | None = None
    """Where the newest segment ends, None when there is none to append to. It lies before `lsn` when a power cut
    took the end of a segment that a snapshot had already been made from."""
    torn_bytes: int = 0
    journal_bytes: int = 0
    """Size of the segments that were replayed: what a snapshot would save the next start."""


def recover(directory: Path, machine: Machine) -> Iterator[Progress]:
    """Restore `machine`, which is empty, from `directory`; yields the same Progress after every step.

    Raises JournalDamaged; the last Progress holds the LSN to go on from.
    """
    progress = Progress()
    for leftover in (*directory.glob("*.new"), *directory.glob("*.partial")):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
    while snapshots := snapshot.list_snapshots(directory):
        try:
            yield from _load_snapshot(snapshots[-1], machine, progress)
            break
        except FileNotFoundError:
            # The process that a killed server has left behind has replaced it before anything was loaded.
            continue
    paths = segments_from(directory, progress.lsn + 1)
    while len(paths) > 1 and was_never_written(paths[-1]):
        size = paths[-1].stat().st_size
        progress.torn_bytes += size
        _cut(paths.pop(), 0, size)
    progress.journal_bytes = sum(path.stat().st_size for path in paths)
    progress.bytes_total += progress.journal_bytes
    for path in paths:
        yield from _replay(path, machine, progress, is_last=path == paths[-1])
    yield progress


def was_never_written(path: Path) -> bool:
    """Whether a power cut has kept the name of a new segment and lost its bytes: it is not the last one then."""
    data = path.read_bytes()
    try:
        segment.check_head(data, path)
    except BadRecord as error:
        return segment.is_torn(data, error, segment.first_lsn_of(path))
    return False


def _load_snapshot(path: Path, machine: Machine, progress: Progress) -> Iterator[Progress]:
    progress.bytes_total = path.stat().st_size
    lsn, time = snapshot.head(path)
    try:
        for size in snapshot.load(path, machine):
            progress.bytes_done += size
            yield progress
    except (JournalDamaged, OSError):
        raise
    except Exception as error:
        raise JournalDamaged(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    progress.lsn, progress.time = lsn, time


def _replay(path: Path, machine: Machine, progress: Progress, *, is_last: bool) -> Iterator[Progress]:
    segment.check_follows(path, progress.lsn)
    data, lsn, record = path.read_bytes(), progress.lsn, None
    begun, payload_bytes = progress.bytes_done, 0
    progress.tail_lsn = segment.first_lsn_of(path) - 1
    try:
        for record in segment.records(data, path):
            if record.lsn <= lsn:
                continue
            machine.apply(record)
            lsn = record.lsn
            payload_bytes += len(record.payload)
            if lsn % RECORDS_PER_STEP == 0:
                _note(progress, record)
                progress.bytes_done = begun + payload_bytes
                yield progress
    except BadRecord as error:
        expected = segment.first_lsn_of(path) if record is None else record.lsn + 1
        if not is_last or not segment.is_torn(data, error, expected):
            raise segment.damaged(path, error) from None
        torn_bytes = len(data) - error.offset
        progress.torn_bytes += torn_bytes
        _cut(path, error.offset, torn_bytes)
        if not path.exists():
            progress.tail_lsn = None
    except Exception as error:
        what = f"record {record.lsn} ({record.command})" if record is not None else "it"
        raise JournalDamaged(f"{path}: {what} cannot be repeated: {type(error).__name__}: {error}") from error
    if record is not None:
        progress.tail_lsn = record.lsn
        if record.lsn > progress.lsn:
            _note(progress, record)
    progress.bytes_done = begun + len(data)


def _note(progress: Progress, record: Record) -> None:
    progress.records += record.lsn - progress.lsn
    progress.lsn, progress.time = record.lsn, record.time


def _cut(path: Path, offset: int, torn_bytes: int) -> None:
    log.warning("cut a torn record off %s: %d bytes at offset %d, never acknowledged", path, torn_bytes, offset)
    if offset < segment.HEAD.size:
        path.unlink()
        return
    with path.open("r+b") as file:
        file.truncate(offset)
        os.fsync(file.fileno())
