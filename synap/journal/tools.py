"""`synap journal verify | repair | dump`: looking at a journal that no server has open.

Repair keeps every record up to the first damaged one, moves what it cuts into a side file beside the
segment (`<segment>.cut-<offset>`) and later segments into `<segment>.cut`, and touches nothing else.
Records that were put aside (`aside.py`) can be looked at as well; they need not begin with the first one.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from synap.journal import JournalDamaged, segment, snapshot
from synap.journal.log import segments_from
from synap.journal.record import BadRecord, Lsn, Record

ASIDE_NAME = "ASIDE"
"""A file of this name tells records that were put aside from a data directory."""


@dataclass(frozen=True)
class Finding:
    """One file of a journal and what is in it."""

    path: Path
    size: int
    first_lsn: Lsn
    last_lsn: Lsn
    records: int
    error: BadRecord | None = None
    is_torn: bool = False


def verify(directory: Path) -> Iterator[Finding]:
    """Check every segment and snapshot, oldest first; damage is in the findings."""
    snapshots = [_verify_snapshot(path) for path in snapshot.list_snapshots(directory)]
    yield from snapshots
    paths = segment.list_segments(directory)
    expected = max((finding.last_lsn for finding in snapshots if finding.error is None), default=0) + 1
    if paths and not snapshots and (directory / ASIDE_NAME).exists():
        expected = segment.first_lsn_of(paths[0])
    for number, path in enumerate(paths):
        finding = _verify_segment(path, is_last=path == paths[-1])
        if (number and finding.first_lsn != expected) or finding.first_lsn > expected:
            missing = f"records {expected} to {finding.first_lsn - 1} are missing before it"
            finding = replace(finding, error=finding.error or BadRecord(0, missing, out_of_order=True))
        expected = finding.last_lsn + 1
        yield finding


def repair(directory: Path) -> list[Path]:
    """Cut the journal at the first damaged record that is needed; returns the side files made.

    Records that a snapshot holds are not needed. Raises JournalDamaged, and changes nothing, when records are
    gone that neither a snapshot nor a segment holds.
    """
    snapshots = [_verify_snapshot(path) for path in snapshot.list_snapshots(directory)]
    damaged = [finding for finding in snapshots if finding.error is not None]
    covered = max((finding.last_lsn for finding in snapshots if finding.error is None), default=0)
    needed = segments_from(directory, covered + 1)
    _require_records(damaged, covered, needed)
    side_files = [_set_aside(finding.path) for finding in damaged]
    is_cut, expected = False, segment.first_lsn_of(needed[0]) if needed else 0
    for path in needed:
        finding = _verify_segment(path, is_last=path == needed[-1])
        if is_cut or finding.first_lsn != expected:
            side_files.append(_set_aside(path))
            is_cut = True
        elif finding.error is not None:
            side_files.append(_cut(path, finding.error.offset))
            is_cut = True
        expected = finding.last_lsn + 1
    return side_files


def dump(directory: Path, from_lsn: Lsn = 0) -> Iterator[Record]:
    """Every record from `from_lsn` on. Raises JournalDamaged at the first damaged one."""
    for path in segment.list_segments(directory):
        try:
            for record in segment.records(path.read_bytes(), path):
                if record.lsn >= from_lsn:
                    yield record
        except BadRecord as error:
            raise segment.damaged(path, error) from None


def unused(path: Path) -> Path:
    """`path`, with a number when something of that name is there already."""
    names = (path if not number else path.with_name(f"{path.name}.{number}") for number in itertools.count())
    return next(name for name in names if not name.exists())


def _verify_segment(path: Path, *, is_last: bool) -> Finding:
    data = path.read_bytes()
    first = segment.first_lsn_of(path)
    last, count = first - 1, 0
    try:
        for record in segment.records(data, path):
            last, count = record.lsn, count + 1
    except BadRecord as error:
        torn = is_last and segment.is_torn(data, error, last + 1)
        return Finding(path, len(data), first, last, count, error, torn)
    return Finding(path, len(data), first, last, count)


def _verify_snapshot(path: Path) -> Finding:
    lsn = snapshot.lsn_of(path)
    error = None
    try:
        snapshot.check(path)
    except JournalDamaged as damage:
        error = BadRecord(0, str(damage))
    return Finding(path, path.stat().st_size, lsn, lsn, 0, error)


def _require_records(damaged: list[Finding], covered: Lsn, needed: list[Path]) -> None:
    if needed and segment.first_lsn_of(needed[0]) <= covered + 1:
        return
    beyond_repair = "so it must come from a backup or a replica"
    if damaged:
        raise JournalDamaged(f"{damaged[-1].error}; the records it was made from are gone, {beyond_repair}")
    if needed:
        last = segment.first_lsn_of(needed[0]) - 1
        raise JournalDamaged(f"records {covered + 1} to {last} are gone before {needed[0]}, {beyond_repair}")


def _cut(path: Path, offset: int) -> Path:
    if offset < segment.HEAD.size:
        return _set_aside(path)
    side_file = unused(path.with_name(f"{path.name}.cut-{offset}"))
    with path.open("r+b") as file:
        file.seek(offset)
        with side_file.open("wb") as side:
            side.write(file.read())
            side.flush()
            os.fsync(side.fileno())
        file.truncate(offset)
        os.fsync(file.fileno())
    return side_file


def _set_aside(path: Path) -> Path:
    return path.rename(unused(path.with_name(f"{path.name}.cut")))
