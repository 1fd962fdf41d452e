"""A machine that only remembers what it was told, journals made for it, and a disk that misbehaves on demand."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from synap.clock import Millis
from synap.journal import JournalDamaged, segment
from synap.journal.log import DEFAULT_SEGMENT_BYTES, FileJournal
from synap.journal.record import Lsn, Record, decode, encode
from synap.journal.recovery import Progress, recover

Seen = list[tuple[str, bytes]]

START: Millis = 1_700_000_000_000
ENTRIES_PER_CHUNK = 3


class Echo:
    """The records applied so far, in order."""

    def __init__(self) -> None:
        self.seen: Seen = []
        self.lsn: Lsn = 0
        self.time: Millis = 0

    def apply(self, record: Record) -> None:
        self.seen.append((record.command, record.payload))
        self.lsn, self.time = record.lsn, record.time

    def dump(self) -> Iterator[bytes]:
        for start in range(0, len(self.seen), ENTRIES_PER_CHUNK):
            yield msgspec.msgpack.encode(self.seen[start : start + ENTRIES_PER_CHUNK])

    def load(self, chunk: bytes) -> None:
        self.seen += msgspec.msgpack.decode(chunk, type=Seen)

    def loaded(self, lsn: Lsn, time: Millis) -> None:
        self.lsn, self.time = lsn, time


class Disk:
    """Stands between `os.write` and the files: refuses what no longer fits, for as long as it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free_bytes: int | None = None
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        """Like os.write on a disk that has `free_bytes` left: takes a part, then none."""
        if self.free_bytes is None:
            return self._write(fd, data)
        taken = min(len(data), self.free_bytes)
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.free_bytes -= taken
        return self._write(fd, data[:taken])


class Syncs:
    """Notes how much of each file has been synced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directories = 0
        self._synced_bytes: dict[int, int] = {}
        monkeypatch.setattr(os, "fdatasync", self._sync)
        monkeypatch.setattr(os, "fsync", self._sync)

    def forget(self) -> None:
        """Nothing has been synced so far."""
        self._synced_bytes.clear()

    def assert_all_synced(self, directory: Path) -> None:
        """Every byte of every segment has been synced."""
        for path in segment.list_segments(directory):
            status = path.stat()
            assert self._synced_bytes.get(status.st_ino, 0) == status.st_size, f"{path.name} was not synced"

    def _sync(self, fd: int) -> None:
        status = os.fstat(fd)
        self.directories += stat.S_ISDIR(status.st_mode)
        self._synced_bytes[status.st_ino] = status.st_size


def entry(lsn: Lsn) -> tuple[str, bytes]:
    """What record `lsn` holds in these tests; no two are alike."""
    return f"echo.{'abc'[lsn % 3]}", b'{"n":%d,"text":"%b"}' % (lsn, b"x" * (lsn % 5))


def entries(first: Lsn, last: Lsn) -> Seen:
    """What records `first` to `last` hold."""
    return [entry(lsn) for lsn in range(first, last + 1)]


def encoded(first: Lsn, last: Lsn) -> bytes:
    """Records `first` to `last` as they stand in a segment."""
    records = ((lsn, START + lsn, *entry(lsn)) for lsn in range(first, last + 1))
    return encode((lsn, time, command.encode(), payload) for lsn, time, command, payload in records)


def decoded(data: bytes) -> list[Record]:
    """The records in bytes that stand in a segment one behind the other."""
    records, at = [], 0
    while at < len(data):
        record, at = decode(data, at)
        records.append(record)
    return records


def append(journal: FileJournal, last: Lsn) -> None:
    """Append records up to `last`, without writing them."""
    for lsn in range(journal.last_lsn + 1, last + 1):
        command, payload = entry(lsn)
        journal.append(lsn, START + lsn, command.encode(), payload)


def write(journal: FileJournal, last: Lsn) -> None:
    """Append records up to `last`, each in a write of its own, as ticks of a server do."""
    for lsn in range(journal.last_lsn + 1, last + 1):
        append(journal, lsn)
        assert journal.flush()


def make(directory: Path, *segment_ends: Lsn) -> list[Path]:
    """A closed journal whose segments end with the records named; returns the segments."""
    journal = opened(directory, 0)
    for number, last in enumerate(segment_ends):
        if number:
            journal.roll()
        write(journal, last)
    journal.close()
    return segment.list_segments(directory)


def opened(directory: Path, last_lsn: Lsn, segment_bytes: int = DEFAULT_SEGMENT_BYTES) -> FileJournal:
    """A journal that goes on behind `last_lsn`."""
    journal = FileJournal(directory, segment_bytes)
    journal.open(last_lsn)
    return journal


def crash(directory: Path, journal: FileJournal) -> None:
    """Leave the files as they are now: what was not written is gone."""
    files = contents(directory)
    journal.close()
    restore(directory, files)


def resumed(directory: Path, progress: Progress, segment_bytes: int = DEFAULT_SEGMENT_BYTES) -> FileJournal:
    """A journal that goes on where recovery has ended."""
    journal = FileJournal(directory, segment_bytes)
    journal.open(progress.lsn, continues=progress.tail_lsn == progress.lsn)
    return journal


def recovered(directory: Path) -> tuple[Echo, Progress]:
    """A fresh machine with everything that `directory` holds. Raises JournalDamaged."""
    machine = Echo()
    *_, progress = recover(directory, machine)
    return machine, progress


def assert_goes_on(directory: Path, last: Lsn) -> None:
    """The journal holds exactly the records up to `last`, takes new ones, and brings all of them back."""
    machine, progress = recovered(directory)
    assert machine.seen == entries(1, last)
    assert progress.lsn == last
    journal = resumed(directory, progress)
    write(journal, last + 2)
    journal.close()
    assert recovered(directory)[0].seen == entries(1, last + 2)


def assert_refused(directory: Path, *named: Path) -> None:
    """The journal does not open, the reason names the files, and not a byte has changed."""
    before = contents(directory)
    with pytest.raises(JournalDamaged) as refusal:
        recovered(directory)
    for path in named:
        assert str(path) in str(refusal.value)
    assert contents(directory) == before


def contents(directory: Path) -> dict[str, bytes]:
    """Every file with its bytes; what lies in directories inside does not count."""
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def restore(directory: Path, files: dict[str, bytes]) -> None:
    """Make `directory` hold exactly `files` again."""
    for path in directory.iterdir():
        if path.is_file() and path.name not in files:
            path.unlink()
    for name, data in files.items():
        (directory / name).write_bytes(data)


def flip(path: Path, offset: int, bits: int = 0x01) -> None:
    """Change bits of one byte."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ bits]))


def boundaries(path: Path) -> list[int]:
    """The offset of every record of a segment, and that of its end."""
    data, ends = path.read_bytes(), [segment.HEAD.size]
    while ends[-1] < len(data):
        ends.append(decode(data, ends[-1])[1])
    return ends


def edited(path: Path, change: Callable[[bytearray], None]) -> None:
    """Rewrite a file with `change` made to its bytes."""
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(bytes(data))
