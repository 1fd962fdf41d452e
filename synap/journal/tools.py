"""`synap journal verify | repair | dump`: looking at a journal that no server has open.

Repair keeps every record up to the first damaged one, moves what it cuts into a side file beside the
segment (`<segment>.cut-<offset>`) and later segments into `<segment>.cut`, and touches nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from synap.journal import JournalDamaged, segment, snapshot
from synap.journal.record import BadRecord, Lsn, Record


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
    for path in snapshot.list_snapshots(directory):
        yield _verify_snapshot(path)
    paths = segment.list_segments(directory)
    expected: Lsn | None = None
    for path in paths:
        finding = _verify_segment(path, is_last=path == paths[-1])
        if expected is not None and finding.first_lsn != expected and finding.error is None:
            missing = BadRecord(
                0, f"records {expected} to {finding.first_lsn - 1} are missing before it", out_of_order=True
            )
            finding = Finding(path, finding.size, finding.first_lsn, finding.last_lsn, finding.records, missing)
        expected = finding.last_lsn + 1
        yield finding


def repair(directory: Path) -> list[Path]:
    """Cut the journal at its first damaged record; returns the side files made, none when it is intact.

    Raises JournalDamaged when a snapshot is damaged and its records are gone: no cut mends that.
    """
    side_files: list[Path] = []
    for finding in verify(directory):
        if finding.path.suffix == snapshot.SUFFIX and finding.error is not None:
            _require_records(directory, finding)
            side_files.append(_set_aside(finding.path))
    segments_cut = False
    for finding in list(verify(directory)):
        if finding.path.suffix == snapshot.SUFFIX:
            continue
        if segments_cut:
            side_files.append(_set_aside(finding.path))
        elif finding.error is not None:
            side_files.append(_cut(finding))
            segments_cut = True
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


def _require_records(directory: Path, finding: Finding) -> None:
    segments = segment.list_segments(directory)
    if not segments or segment.first_lsn_of(segments[0]) > 1:
        raise JournalDamaged(
            f"{finding.error}; the records it was made from are gone, so it must come from a backup or a replica"
        )


def _cut(finding: Finding) -> Path:
    offset = finding.error.offset if finding.error is not None else 0
    if offset < segment.HEAD.size:
        return _set_aside(finding.path)
    side_file = finding.path.with_name(f"{finding.path.name}.cut-{offset}")
    with finding.path.open("r+b") as file:
        file.seek(offset)
        with side_file.open("wb") as side:
            side.write(file.read())
            side.flush()
            os.fsync(side.fileno())
        file.truncate(offset)
        os.fsync(file.fileno())
    return side_file


def _set_aside(path: Path) -> Path:
    return path.rename(path.with_name(f"{path.name}.cut"))
