"""Reading a journal's records as bytes while it is being written, for those who follow it.

A tail stands at a record and hands out whole records just as they stand in the segments. It relies on what
`FileJournal.written` says: where that says a segment ends there ends a record, and a segment that is not the
newest one stays as it is until it is removed. An open file outlives its removal.

In the usual case all that is new fits in one read of the newest segment, and not even a length is looked at.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

from synap.journal import JournalDamaged, segment
from synap.journal.log import FileJournal, Written, segments_from
from synap.journal.record import BODY_BYTES_MAX, BODY_BYTES_MIN, FRAME, BadRecord, Lsn

READ_BYTES = 256 * 1024

_LENGTH = struct.Struct("<I")


class RecordsGone(Exception):
    """The record wanted is in no segment any more; `oldest_lsn` is the first one behind it that is."""

    def __init__(self, oldest_lsn: Lsn) -> None:
        super().__init__(f"records before {oldest_lsn} are only in a snapshot")
        self.oldest_lsn = oldest_lsn


class Tail:
    """Reads on from a record, in any thread but one at a time, for as long as the journal stays open.

    `next_lsn` is the first record that the next read returns; it may be one that is still to come.
    """

    def __init__(self, journal: FileJournal, next_lsn: Lsn) -> None:
        """Made where the journal is written. Raises RecordsGone, JournalDamaged and OSError."""
        self.next_lsn = next_lsn
        self._journal = journal
        self._fd = -1
        self._path = journal.directory
        self._first_lsn: Lsn = 0
        # Here begins record `_lsn`. It lies before `next_lsn` until the first read has passed the records between.
        self._offset = 0
        self._lsn: Lsn = 0
        written = journal.written
        if next_lsn <= written.lsn:
            self._enter_next()
        else:
            self._enter(segment.path_of(journal.directory, written.first_lsn), written.size, written.lsn + 1)

    @property
    def is_at_end(self) -> bool:
        """Whether a read is so cheap that it needs no thread: there is nothing new, or it is one piece and cached."""
        written = self._journal.written
        return written.lsn < self.next_lsn or self._reads_at_once(written, READ_BYTES)

    def read(self, limit: int = READ_BYTES) -> bytes:
        """Whole records from `next_lsn` on, `limit` bytes or fewer unless the first one is longer; empty when there
        is none yet. Raises RecordsGone, JournalDamaged and OSError.
        """
        written = self._journal.written
        if written.lsn < self.next_lsn:
            return b""
        if self._reads_at_once(written, limit):
            data = self._take(written.size - self._offset)
            self._offset, self._lsn = written.size, written.lsn + 1
        else:
            end = self._find(written)
            data, count = self._whole(end, limit)
            self._offset += len(data)
            self._lsn += count
        self.next_lsn = self._lsn
        return data

    def close(self) -> None:
        """Let go of the segment, once no read is running."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _reads_at_once(self, written: Written, limit: int) -> bool:
        return (
            self._first_lsn == written.first_lsn and self._lsn == self.next_lsn and written.size - self._offset <= limit
        )

    def _find(self, written: Written) -> int:
        """Go to where `next_lsn` begins; returns the end of what may be read of that segment."""
        while True:
            end = written.size if self._first_lsn == written.first_lsn else os.fstat(self._fd).st_size
            if self._offset == end:
                self._enter_next()
            elif self._lsn < self.next_lsn:
                self._pass(end)
            else:
                return end

    def _pass(self, end: int) -> None:
        """Go on towards `next_lsn`, by a piece of the segment or by a record that is longer."""
        data = self._take(min(READ_BYTES, end - self._offset))
        size, count = self._walk(data, self.next_lsn - self._lsn)
        self._offset += size if count else self._record_size(end)
        self._lsn += count or 1

    def _whole(self, end: int, limit: int) -> tuple[bytes, int]:
        """The records here that fit in `limit`, or the first one, and how many they are."""
        data = self._take(min(limit, end - self._offset))
        size, count = self._walk(data)
        if not count:
            return self._take(self._record_size(end)), 1
        return data[:size], count

    def _walk(self, data: bytes, count_max: int = sys.maxsize) -> tuple[int, int]:
        """Where the last whole record in `data` ends, and how many there are up to it, `count_max` at most."""
        at, count, last = 0, 0, len(data) - FRAME.size
        while at <= last and count < count_max:
            (length,) = _LENGTH.unpack_from(data, at)
            behind = at + FRAME.size + self._checked(length, at)
            if behind > len(data):
                break
            at, count = behind, count + 1
        return at, count

    def _record_size(self, end: int) -> int:
        """How many bytes the record here has."""
        if end - self._offset < FRAME.size:
            raise self._damaged("the file ends inside a record head")
        (length,) = _LENGTH.unpack(self._take(_LENGTH.size))
        size = FRAME.size + self._checked(length)
        if size > end - self._offset:
            raise self._damaged("the file ends inside a record")
        return size

    def _checked(self, length: int, at: int = 0) -> int:
        if not BODY_BYTES_MIN <= length <= BODY_BYTES_MAX:
            raise self._damaged(f"a record cannot be {length} bytes long", at)
        return length

    def _take(self, size: int) -> bytes:
        data = os.pread(self._fd, size, self._offset)
        if len(data) < size:
            raise self._damaged(f"the file ends after {len(data)} of {size} bytes that were written")
        return data

    def _enter_next(self) -> None:
        """Go to the segment that holds `next_lsn`, which is not the one that has just been read to its end."""
        while True:
            paths = segments_from(self._journal.directory, self.next_lsn)
            if segment.first_lsn_of(paths[0]) == self._first_lsn:
                # A power cut took its last records, and a snapshot that held them has let the journal go on.
                del paths[0]
            if not paths:
                raise self._damaged(f"record {self._lsn} should begin where the file ends")
            first_lsn = segment.first_lsn_of(paths[0])
            if first_lsn > self.next_lsn:
                raise RecordsGone(first_lsn)
            try:
                self._enter(paths[0], segment.HEAD.size, first_lsn)
                return
            except FileNotFoundError:  # a snapshot has just taken its place
                continue

    def _enter(self, path: Path, offset: int, lsn: Lsn) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.close()
        self._fd, self._path, self._first_lsn = fd, path, segment.first_lsn_of(path)
        self._offset, self._lsn = offset, lsn
        try:
            segment.check_head(os.pread(fd, segment.HEAD.size, 0), path)
        except BadRecord as error:
            self.close()
            raise segment.damaged(path, error) from None

    def _damaged(self, reason: str, at: int = 0) -> JournalDamaged:
        return segment.damaged(self._path, BadRecord(self._offset + at, reason))
