"""The journal on local files: appending, syncing and rolling segments. `tail.py` reads it meanwhile.

Writing happens on the event loop, one `write` a tick (`flush`). Syncing happens elsewhere: `sync_job` hands
out what a thread may fsync while the loop goes on writing, and `synced` takes note of what it reached.

When the disk refuses bytes they stay pending and in order; `failure` says why, and `flush` may be tried
again. Nothing behind the refused bytes is written before them, so a crash leaves a prefix, never a hole.
A failed fsync is final (`broken`): the kernel may have dropped the pages, so only a restart, which reads
what is really there, can tell what survived.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from synap.clock import Millis
from synap.journal import segment
from synap.journal.record import Lsn, encode

DEFAULT_SEGMENT_BYTES = 64 * 1024 * 1024


class Written(NamedTuple):
    """How far a journal is written. Replaced as a whole, so that any thread may look at it."""

    first_lsn: Lsn
    """Where the newest segment begins."""
    size: int
    """How many bytes of it are whole records, with its head. More may be there, of a write that was cut short."""
    lsn: Lsn
    """The last record."""


class SyncJob:
    """Files to sync so that everything up to `lsn` is on disk. Run it in any thread."""

    def __init__(self, lsn: Lsn, paths: list[Path], directory: Path | None) -> None:
        self.lsn = lsn
        self._paths = paths
        self._directory = directory

    def run(self) -> Lsn:
        """Sync; returns the LSN that is now safe. Raises OSError."""
        for path in self._paths:
            with suppress(FileNotFoundError):  # a snapshot has taken its place
                sync(path, os.fdatasync)
        if self._directory is not None:
            sync(self._directory, os.fsync)
        return self.lsn


class FileJournal:
    """Appends to the newest segment of `directory`, once recovery has made sure that it is intact."""

    def __init__(self, directory: Path, segment_bytes: int = DEFAULT_SEGMENT_BYTES) -> None:
        self.directory = directory
        self.last_lsn: Lsn = 0
        self.written = Written(0, 0, 0)
        self.synced_lsn: Lsn = 0
        self.failure: OSError | None = None
        self.broken = False
        self.bytes_written = 0
        self._segment_bytes = segment_bytes
        self._pending: list[tuple[Lsn, Millis, bytes, bytes]] = []
        self._unwritten = bytearray()
        self._unsynced: list[Path] = []
        """Sealed segments that no sync has covered yet."""
        self._fd = -1
        self._path = directory
        self._size = 0
        self._new_file = True

    def open(self, last_lsn: Lsn, *, continues: bool = True) -> None:
        """Go on behind `last_lsn`, the last record recovered: in the newest segment if that `continues`, because
        it ends there too, else in a new one. After `close` it may be opened again at another record, also an earlier
        one, when the files have been changed meanwhile. Raises OSError.
        """
        self._pending.clear()
        self._unwritten.clear()
        self.failure, self.broken = None, False
        self.last_lsn, self.synced_lsn = last_lsn, 0
        paths = segment.list_segments(self.directory)
        if paths and continues:
            self._path = paths.pop()
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            self._size, self._new_file = os.fstat(self._fd).st_size, True
            self.written = Written(segment.first_lsn_of(self._path), self._size, last_lsn)
        else:
            self._begin(last_lsn + 1)
        # The process before may have sealed them a moment before it was killed.
        self._unsynced = paths

    # Writing

    def append(self, lsn: Lsn, time: Millis, name: bytes, payload: bytes) -> None:
        """Take a record; `flush` writes it. LSNs follow each other without a gap."""
        self.last_lsn = lsn
        self._pending.append((lsn, time, name, payload))

    def append_encoded(self, data: bytes, last_lsn: Lsn) -> None:
        """Take whole records up to `last_lsn` as they stand in another journal. They follow those appended so far."""
        self._encode_pending()
        self._unwritten += data
        self.last_lsn = last_lsn

    @property
    def written_lsn(self) -> Lsn:
        """The last record written."""
        return self.written.lsn

    @property
    def has_unwritten(self) -> bool:
        """Whether `flush` has something to do."""
        return bool(self._pending or self._unwritten)

    def flush(self) -> bool:
        """Write all that was appended, in one go; False (see `failure`) when the disk did not take it all."""
        if self.broken:
            return False
        self._encode_pending()
        try:
            while self._unwritten:
                count = os.write(self._fd, self._unwritten)
                del self._unwritten[:count]
                self._size += count
                self.bytes_written += count
            self.written = Written(self.written.first_lsn, self._size, self.last_lsn)
            if self._size >= self._segment_bytes:
                self.roll()
        except OSError as error:
            self.failure = error
            return False
        self.failure = None
        return True

    def roll(self) -> None:
        """Seal the newest segment and begin another, unless it is empty or ends inside a record. Raises OSError."""
        if self._fd < 0 or self._unwritten or self._size <= segment.HEAD.size:
            return
        sealed_fd, sealed = self._fd, self._path
        self._begin(self.written_lsn + 1)
        self._unsynced.append(sealed)
        os.close(sealed_fd)

    # Syncing

    def sync_job(self) -> SyncJob | None:
        """What to sync so that all that is written is safe, or None when it is."""
        if self._fd < 0 or self.broken or (self.synced_lsn >= self.written_lsn and not self._unsynced):
            return None
        paths, self._unsynced = [*self._unsynced, self._path], []
        directory = self.directory if self._new_file else None
        self._new_file = False
        return SyncJob(self.written_lsn, paths, directory)

    def synced(self, lsn: Lsn) -> None:
        """A sync job has finished."""
        self.synced_lsn = max(self.synced_lsn, lsn)

    def break_off(self, error: OSError) -> None:
        """A sync job has failed: nothing more is written."""
        self.broken = True
        self.failure = error

    def close(self) -> None:
        """Write and sync what is left, and close. Raises OSError when the disk refuses; it is closed all the same.

        No sync job may be running.
        """
        if self._fd < 0:
            return
        try:
            if not self.flush() and self.failure is not None:
                raise self.failure
            job = self.sync_job()
            if job is not None:
                self.synced(job.run())
        finally:
            os.close(self._fd)
            self._fd = -1

    # What is there

    def oldest_lsn(self) -> Lsn:
        """The first record that can still be read; the one behind the last when there is none."""
        paths = segment.list_segments(self.directory)
        return segment.first_lsn_of(paths[0]) if paths else self.last_lsn + 1

    def truncate_before(self, lsn: Lsn) -> int:
        """Remove segments that hold only records below `lsn`; returns how many."""
        paths = segment.list_segments(self.directory)
        removable = [path for path, after in pairwise(paths) if segment.first_lsn_of(after) <= lsn]
        for path in removable:
            path.unlink()
        return len(removable)

    def size_bytes(self) -> int:
        """Bytes of all segments on disk."""
        return sum(path.stat().st_size for path in segment.list_segments(self.directory))

    def _encode_pending(self) -> None:
        if self._pending:
            self._unwritten += encode(self._pending)
            self._pending.clear()

    def _begin(self, first_lsn: Lsn) -> None:
        path, head = segment.path_of(self.directory, first_lsn), segment.head(first_lsn)
        temporary = path.with_suffix(".new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            if os.write(fd, head) < len(head):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            temporary.rename(path)
        except OSError:
            os.close(fd)
            temporary.unlink()
            raise
        self._fd, self._path, self._size, self._new_file = fd, path, len(head), True
        self.written = Written(first_lsn, len(head), first_lsn - 1)


def segments_from(directory: Path, lsn: Lsn) -> list[Path]:
    """The segments that hold `lsn` and everything behind it, oldest first."""
    paths = segment.list_segments(directory)
    keep = sum(segment.first_lsn_of(path) <= lsn for path in paths)
    return paths[max(keep - 1, 0) :]


def sync(path: Path, how: Callable[[int], None]) -> None:
    """Force a file or directory to disk with os.fsync or os.fdatasync. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        how(fd)
    finally:
        os.close(fd)
