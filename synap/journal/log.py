"""The journal on local files: appending, syncing, rolling segments and reading back.

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
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from synap.clock import Millis
from synap.journal import segment
from synap.journal.record import BadRecord, Lsn, Record, encode

DEFAULT_SEGMENT_BYTES = 64 * 1024 * 1024


class SyncJob:
    """Files to sync so that everything up to `lsn` is on disk. Run it in any thread."""

    def __init__(self, lsn: Lsn, paths: list[Path], directory: Path | None) -> None:
        self.lsn = lsn
        self._paths = paths
        self._directory = directory

    def run(self) -> Lsn:
        """Sync; returns the LSN that is now safe. Raises OSError."""
        for path in self._paths:
            _sync(path, os.fdatasync)
        if self._directory is not None:
            _sync(self._directory, os.fsync)
        return self.lsn


class FileJournal:
    """Appends to the newest segment of `directory`, once recovery has made sure that it is intact."""

    def __init__(self, directory: Path, segment_bytes: int = DEFAULT_SEGMENT_BYTES) -> None:
        self.directory = directory
        self.last_lsn: Lsn = 0
        self.written_lsn: Lsn = 0
        self.synced_lsn: Lsn = 0
        self.failure: OSError | None = None
        self.broken = False
        self.bytes_written = 0
        self._segment_bytes = segment_bytes
        self._pending: list[tuple[Lsn, Millis, bytes, bytes]] = []
        self._unwritten = b""
        self._unsynced: list[Path] = []
        """Sealed segments that no sync has covered yet."""
        self._fd = -1
        self._path = directory
        self._size = 0
        self._new_file = True

    def open(self, last_lsn: Lsn, *, continues: bool = True) -> None:
        """Go on behind `last_lsn`, the last record recovered: in the newest segment if that `continues`, because
        it ends there too, else in a new one. Raises OSError.
        """
        self.last_lsn = self.written_lsn = last_lsn
        paths = segment.list_segments(self.directory)
        if paths and continues:
            self._path = paths.pop()
            self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            self._size = os.fstat(self._fd).st_size
        else:
            self._begin(last_lsn + 1)
        # The process before may have sealed them a moment before it was killed.
        self._unsynced = paths

    # Writing

    def append(self, lsn: Lsn, time: Millis, name: bytes, payload: bytes) -> None:
        """Take a record; `flush` writes it. LSNs follow each other without a gap."""
        self.last_lsn = lsn
        self._pending.append((lsn, time, name, payload))

    @property
    def has_unwritten(self) -> bool:
        """Whether `flush` has something to do."""
        return bool(self._pending or self._unwritten)

    def flush(self) -> bool:
        """Write all that was appended, in one go; False (see `failure`) when the disk did not take it all."""
        if self.broken:
            return False
        if self._pending:
            self._unwritten += encode(self._pending)
            self._pending.clear()
        try:
            while self._unwritten:
                count = os.write(self._fd, self._unwritten)
                self._unwritten = self._unwritten[count:]
                self._size += count
                self.bytes_written += count
            self.written_lsn = self.last_lsn
            if self._size >= self._segment_bytes:
                self.roll()
        except OSError as error:
            self.failure = error
            return False
        self.failure = None
        return True

    def roll(self) -> None:
        """Seal the newest segment and begin another, unless it is empty or ends inside a record. Raises OSError."""
        if self._unwritten or self._size <= segment.HEAD.size:
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
        """Write and sync what is left, and close. Raises OSError when the disk refuses."""
        if self._fd < 0:
            return
        if not self.flush() and self.failure is not None:
            raise self.failure
        job = self.sync_job()
        if job is not None:
            self.synced(job.run())
        os.close(self._fd)

    # Reading

    def read(self, from_lsn: Lsn) -> Iterator[Record]:
        """Records from `from_lsn` up to the last one written when each segment is opened. Raises JournalDamaged."""
        for path in segments_from(self.directory, from_lsn):
            written_lsn = self.written_lsn
            lsn = segment.first_lsn_of(path) - 1
            try:
                for record in segment.records(path.read_bytes(), path):
                    lsn = record.lsn
                    if lsn > written_lsn:
                        return
                    if lsn >= from_lsn:
                        yield record
            except BadRecord as error:
                if lsn < written_lsn:
                    raise segment.damaged(path, error) from None
                return  # a record that is being written

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


def segments_from(directory: Path, lsn: Lsn) -> list[Path]:
    """The segments that hold `lsn` and everything behind it, oldest first."""
    paths = segment.list_segments(directory)
    keep = sum(segment.first_lsn_of(path) <= lsn for path in paths)
    return paths[max(keep - 1, 0) :]


def _sync(path: Path, sync: Callable[[int], None]) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # a snapshot has taken its place
        return
    try:
        sync(fd)
    finally:
        os.close(fd)
