"""Taking records out of a data directory whose journal is closed, and keeping those that nobody else may have.

What is put aside lies in a directory inside the data directory, as segments and snapshots that `synap journal
dump` and `verify` can read and that recovery does not look at. Whatever is taken away goes from the end
backwards, so that a crash at any point leaves a journal that opens and holds a prefix of what it held.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from synap.journal import segment, snapshot
from synap.journal.directory import rewriting
from synap.journal.log import segments_from, sync
from synap.journal.record import BODY, FRAME, BadRecord, Lsn
from synap.journal.recovery import was_never_written
from synap.journal.tools import ASIDE_NAME, unused

_NOTE = "Records put aside, which no server reads. `synap journal dump --data` with this directory prints them.\n"


def copy_behind(directory: Path, lsn: Lsn, name: str) -> Path | None:
    """Copy every record behind `lsn` that a segment holds into a directory `name`; None when there is none.

    What is called that is whole. A torn last record is not copied. Raises JournalDamaged, DirectoryInUse, OSError.
    """
    unfinished = directory / f"{name}.new"
    # To copy changes nothing of the journal, but whoever copies is about to cut and would be refused only then.
    with rewriting(directory):
        if unfinished.exists():
            shutil.rmtree(unfinished)
        try:
            for part in _parts(directory, lsn):
                if part.data:
                    _prepare(unfinished)
                    _write(segment.path_of(unfinished, part.first_lsn), segment.head(part.first_lsn) + part.data)
            if not unfinished.exists():
                return None
            sync(unfinished, os.fsync)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        target = unfinished.rename(unused(directory / name))
        sync(directory, os.fsync)
    return target


def cut_behind(directory: Path, lsn: Lsn) -> None:
    """Remove every record behind `lsn`, which no snapshot may hold. Raises JournalDamaged, DirectoryInUse, OSError."""
    with rewriting(directory):
        if any(snapshot.lsn_of(path) > lsn for path in snapshot.list_snapshots(directory)):
            raise ValueError(f"a snapshot in {directory} holds records behind {lsn}")
        paths = segment.list_segments(directory)
        kept = [path for path in paths if segment.first_lsn_of(path) <= lsn]
        size = _size_up_to(kept[-1], lsn, is_last=kept[-1] == _written(paths)[-1]) if kept else 0
        for path in reversed(paths[len(kept) :]):
            path.unlink()
        # The segments behind must be gone for good before this one has an end that does not lead to them.
        sync(directory, os.fsync)
        if kept and kept[-1].stat().st_size > size:
            os.truncate(kept[-1], size)
            sync(kept[-1], os.fsync)


def set_aside(directory: Path, name: str) -> Path:
    """Move all segments and snapshots into a directory `name`. Raises DirectoryInUse, OSError."""
    with rewriting(directory):
        target = unused(directory / name)
        _prepare(target)
        for path in _from_the_end(directory):
            path.rename(target / path.name)
        sync(target, os.fsync)
        sync(directory, os.fsync)
    return target


def wipe(directory: Path) -> None:
    """Remove all segments and snapshots. Raises DirectoryInUse, OSError."""
    with rewriting(directory):
        for path in _from_the_end(directory):
            path.unlink()
        sync(directory, os.fsync)


def install(directory: Path, downloaded: Path) -> Lsn:
    """Let a journal that is empty begin with a snapshot that lies in its directory under another name.

    Returns the snapshot's LSN. Raises JournalDamaged, DirectoryInUse, OSError.
    """
    snapshot.check(downloaded)
    lsn, _ = snapshot.head(downloaded)
    with rewriting(directory):
        if _from_the_end(directory):
            raise ValueError(f"{directory} holds a journal, expected none")
        sync(downloaded, os.fsync)
        downloaded.rename(directory / f"{lsn:020d}{snapshot.SUFFIX}")
        sync(directory, os.fsync)
    return lsn


class _Part(NamedTuple):
    """Records that stand in one segment one behind the other."""

    first_lsn: Lsn
    last_lsn: Lsn
    data: bytes


def _parts(directory: Path, lsn: Lsn) -> Iterator[_Part]:
    """The records behind `lsn`, by segment."""
    paths = _written(segments_from(directory, lsn + 1))
    last: Lsn = 0
    for number, path in enumerate(paths):
        data, first = path.read_bytes(), segment.first_lsn_of(path)
        if number:
            segment.check_follows(path, last)
        start = end = segment.HEAD.size
        last = first - 1
        for last, end in _ends(data, path, is_last=path == paths[-1]):
            if last <= lsn:
                start = end
        yield _Part(max(first, lsn + 1), last, data[start:end])


def _size_up_to(path: Path, lsn: Lsn, *, is_last: bool) -> int:
    """The size of a segment that ends with record `lsn`, or where it ends already."""
    size = segment.HEAD.size
    for last, end in _ends(path.read_bytes(), path, is_last=is_last):
        size = end
        if last == lsn:
            break
    return size


def _ends(data: bytes, path: Path, *, is_last: bool) -> Iterator[tuple[Lsn, int]]:
    """Every record of a segment with the offset behind it; none for what is torn in the last segment."""
    lsn, end = segment.first_lsn_of(path) - 1, segment.HEAD.size
    try:
        for record in segment.records(data, path):
            lsn = record.lsn
            end += FRAME.size + BODY.size + len(record.command.encode()) + len(record.payload)
            yield lsn, end
    except BadRecord as error:
        if not is_last or not segment.is_torn(data, error, lsn + 1):
            raise segment.damaged(path, error) from None


def _written(paths: list[Path]) -> list[Path]:
    """The segments without those at the end that a power cut has left empty."""
    count = len(paths)
    while count > 1 and was_never_written(paths[count - 1]):
        count -= 1
    return paths[:count]


def _from_the_end(directory: Path) -> list[Path]:
    """Everything a journal consists of, in the order in which it may be taken away."""
    return [*reversed(segment.list_segments(directory)), *reversed(snapshot.list_snapshots(directory))]


def _prepare(directory: Path) -> None:
    if not directory.exists():
        directory.mkdir(mode=0o750)
        _write(directory / ASIDE_NAME, _NOTE.encode())


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    sync(path, os.fsync)
