"""The tail of a journal: the very bytes of its records, while they are written, refused, sealed and removed."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from synap.journal import JournalDamaged, segment
from synap.journal.log import FileJournal
from synap.journal.record import FRAME
from synap.journal.tail import READ_BYTES, RecordsGone, Tail
from tests.journal.echo import (
    START,
    Disk,
    append,
    boundaries,
    decoded,
    edited,
    encoded,
    make,
    opened,
    write,
)


class Reads:
    """Notes how many bytes each read of a file asks for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self._pread = os.pread
        monkeypatch.setattr(os, "pread", self.pread)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        self.sizes.append(size)
        return self._pread(fd, size, offset)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@pytest.fixture
def tail_of() -> Iterator[Callable[[FileJournal, int], Tail]]:
    """Makes tails that are closed in the end."""
    tails: list[Tail] = []

    def make_tail(journal: FileJournal, next_lsn: int) -> Tail:
        tails.append(Tail(journal, next_lsn))
        return tails[-1]

    yield make_tail
    for tail in tails:
        tail.close()


TailOf = Callable[[FileJournal, int], Tail]


def _rest(tail: Tail, limit: int = READ_BYTES) -> bytes:
    """Everything that is there, in as many reads as it takes."""
    return b"".join(iter(lambda: tail.read(limit), b""))


def _append_large(journal: FileJournal, size: int) -> None:
    lsn = journal.last_lsn + 1
    journal.append(lsn, START + lsn, b"echo.a", bytes(size))
    assert journal.flush()


# Reading on


def test_what_is_written_is_read_as_it_stands_in_the_segment(tmp_path: Path, tail_of: TailOf) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 5)
    tail = tail_of(journal, 1)
    assert tail.read() == encoded(1, 5)
    assert tail.next_lsn == 6


def test_a_tail_reads_on_as_the_journal_is_written(tmp_path: Path, tail_of: TailOf) -> None:
    journal = opened(tmp_path, 0)
    tail = tail_of(journal, 1)
    for lsn in range(1, 8, 2):
        append(journal, lsn + 1)
        assert tail.read() == b""
        assert journal.flush()
        assert tail.read() == encoded(lsn, lsn + 1)
        assert tail.read() == b""
    assert tail.next_lsn == 9


@pytest.mark.parametrize("next_lsn", range(1, 10))
def test_a_tail_begins_at_any_record_of_any_segment(tmp_path: Path, tail_of: TailOf, next_lsn: int) -> None:
    make(tmp_path, 3, 4, 4, 9)
    tail = tail_of(opened(tmp_path, 9), next_lsn)
    assert tail.next_lsn == next_lsn
    assert _rest(tail) == encoded(next_lsn, 9)
    assert tail.next_lsn == 10


@pytest.mark.parametrize("next_lsn", [6, 8, 11])
def test_a_record_that_is_still_to_come_is_waited_for(tmp_path: Path, tail_of: TailOf, next_lsn: int) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 5)
    tail = tail_of(journal, next_lsn)
    for lsn in range(6, next_lsn):
        write(journal, lsn)
        assert tail.read() == b""
    write(journal, 12)
    assert tail.read() == encoded(next_lsn, 12)


def test_a_record_that_was_to_come_is_found_when_the_segments_before_it_are_gone(
    tmp_path: Path, tail_of: TailOf
) -> None:
    journal = opened(tmp_path, 0)
    tail = tail_of(journal, 7)
    for last in (3, 6, 9):
        write(journal, last)
        journal.roll()
    assert journal.truncate_before(7) == 2
    assert _rest(tail) == encoded(7, 9)


def test_a_segment_that_is_removed_while_it_is_read_is_read_to_its_end(tmp_path: Path, tail_of: TailOf) -> None:
    make(tmp_path, 5, 8, 9)
    journal = opened(tmp_path, 9)
    tail = tail_of(journal, 1)
    assert tail.read(1) == encoded(1, 1)
    assert journal.truncate_before(6) == 1
    assert _rest(tail) == encoded(2, 9)


# How much at a time


@pytest.mark.parametrize("next_lsn", [1, 4])
@pytest.mark.parametrize("limit", [1, 7, 8, 60, 100, 150, 1_000])
def test_reads_hold_whole_records_up_to_the_limit_or_a_longer_one(
    tmp_path: Path, tail_of: TailOf, limit: int, next_lsn: int
) -> None:
    make(tmp_path, 6, 6, 20)
    tail = tail_of(opened(tmp_path, 20), next_lsn)
    pieces = list(iter(lambda: tail.read(limit), b""))
    assert b"".join(pieces) == encoded(next_lsn, 20)
    assert all(len(piece) <= limit or len(decoded(piece)) == 1 for piece in pieces)


def test_a_record_far_longer_than_the_limit_is_read_whole(tmp_path: Path, tail_of: TailOf) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 1)
    _append_large(journal, 3 * READ_BYTES)
    write(journal, 4)
    tail = tail_of(journal, 1)
    assert [[record.lsn for record in decoded(piece)] for piece in iter(tail.read, b"")] == [[1], [2], [3, 4]]
    assert tail_of(journal, 3).read() == encoded(3, 4)


def test_what_is_new_in_the_newest_segment_takes_one_read(tmp_path: Path, tail_of: TailOf, reads: Reads) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 3)
    tail = tail_of(journal, 4)
    for last in (5, 9):
        write(journal, last)
        reads.sizes.clear()
        assert len(tail.read()) == sum(reads.sizes)
        assert len(reads.sizes) == 1


def test_a_record_deep_in_a_segment_is_found_piece_by_piece(tmp_path: Path, tail_of: TailOf, reads: Reads) -> None:
    journal = opened(tmp_path, 0)
    for _ in range(40):
        _append_large(journal, READ_BYTES // 10)
    tail = tail_of(journal, 39)
    reads.sizes.clear()
    assert [record.lsn for record in decoded(tail.read())] == [39, 40]
    assert max(reads.sizes) <= READ_BYTES


def test_a_read_that_has_far_to_go_is_told_from_one_that_has_not(tmp_path: Path, tail_of: TailOf) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 3)
    tail = tail_of(journal, 1)
    assert [tail_of(journal, lsn).is_at_end for lsn in (1, 2, 3, 4, 9)] == [True, False, False, True, True]
    _append_large(journal, READ_BYTES)
    assert _at_end_as_it_reads(tail) == [False, False, True]
    journal.roll()
    write(journal, 5)
    assert _at_end_as_it_reads(tail) == [False, True]


def _at_end_as_it_reads(tail: Tail) -> list[bool]:
    """What a tail says before every read, and when there is nothing left."""
    return [tail.is_at_end, *(tail.is_at_end for _ in iter(tail.read, b""))]


# A disk that refuses


def test_records_whose_write_was_cut_short_are_not_read_before_it_is_completed(
    tmp_path: Path, tail_of: TailOf, disk: Disk
) -> None:
    size = len(encoded(4, 6))
    for room in range(size):
        directory = tmp_path / str(room)
        directory.mkdir()
        journal = opened(directory, 0)
        write(journal, 3)
        tail = tail_of(journal, 3)
        disk.free_bytes = room
        append(journal, 6)
        assert not journal.flush()
        assert _rest(tail) == encoded(3, 3)
        disk.free_bytes = None
        write(journal, 7)
        assert _rest(tail) == encoded(4, 7)


# What is gone


def test_a_record_that_was_removed_is_refused_with_the_first_that_is_left(tmp_path: Path) -> None:
    make(tmp_path, 3, 6, 8)
    journal = opened(tmp_path, 8)
    journal.truncate_before(4)
    with pytest.raises(RecordsGone) as refusal:
        Tail(journal, 3)
    assert refusal.value.oldest_lsn == journal.oldest_lsn() == 4


def test_a_tail_that_falls_behind_what_is_removed_is_told(tmp_path: Path, tail_of: TailOf) -> None:
    make(tmp_path, 3, 6, 8)
    journal = opened(tmp_path, 8)
    tail = tail_of(journal, 1)
    journal.truncate_before(7)
    assert tail.read() == encoded(1, 3)
    for _ in range(2):
        with pytest.raises(RecordsGone) as refusal:
            tail.read()
        assert refusal.value.oldest_lsn == 7
    assert tail.next_lsn == 4


def test_records_that_a_power_cut_took_and_a_snapshot_replaced_are_gone(tmp_path: Path, tail_of: TailOf) -> None:
    make(tmp_path, 3)
    journal = FileJournal(tmp_path)
    journal.open(5, continues=False)
    write(journal, 7)
    tail = tail_of(journal, 2)
    assert tail.read() == encoded(2, 3)
    with pytest.raises(RecordsGone) as refusal:
        tail.read()
    assert refusal.value.oldest_lsn == 6
    assert _rest(tail_of(journal, 6)) == encoded(6, 7)


def test_a_segment_removed_between_looking_and_opening_is_no_surprise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, 3, 6, 8)
    journal = opened(tmp_path, 8)
    list_segments = segment.list_segments

    def outdated(directory: Path) -> list[Path]:
        found = list_segments(directory)
        monkeypatch.setattr(segment, "list_segments", list_segments)
        journal.truncate_before(4)
        return found

    monkeypatch.setattr(segment, "list_segments", outdated)
    with pytest.raises(RecordsGone) as refusal:
        Tail(journal, 2)
    assert refusal.value.oldest_lsn == 4


# What is damaged


@pytest.mark.parametrize("length", [0, 17, 2**30 + 1, 2**32 - 1])
@pytest.mark.parametrize("next_lsn", [1, 3])
def test_a_length_that_no_record_has_is_refused(tmp_path: Path, tail_of: TailOf, length: int, next_lsn: int) -> None:
    path, _ = make(tmp_path, 3, 5)
    at = boundaries(path)[1]
    edited(path, lambda data: data.__setitem__(slice(at, at + 4), length.to_bytes(4, "little")))
    tail = tail_of(opened(tmp_path, 5), next_lsn)
    with pytest.raises(JournalDamaged, match=f"{path} is damaged at offset {at}: a record cannot be {length} bytes"):
        _rest(tail)


@pytest.mark.parametrize("next_lsn", [1, 3])
@pytest.mark.parametrize("kept_of_last", [1, FRAME.size, 20])
def test_a_sealed_segment_that_ends_inside_a_record_is_refused(
    tmp_path: Path, tail_of: TailOf, kept_of_last: int, next_lsn: int
) -> None:
    path, _ = make(tmp_path, 3, 5)
    at = boundaries(path)[2]
    edited(path, lambda data: data.__delitem__(slice(at + kept_of_last, None)))
    tail = tail_of(opened(tmp_path, 5), next_lsn)
    with pytest.raises(JournalDamaged, match=f"{path} is damaged at offset {at}: the file ends inside a record"):
        _rest(tail)


def test_a_segment_that_begins_like_another_is_refused(tmp_path: Path) -> None:
    path, _ = make(tmp_path, 3, 5)
    edited(path, lambda data: data.__setitem__(8, 9))
    with pytest.raises(JournalDamaged, match=f"{path} is damaged at offset 0"):
        Tail(opened(tmp_path, 5), 1)


def test_a_newest_segment_that_has_lost_its_end_is_refused(tmp_path: Path, tail_of: TailOf) -> None:
    [path] = make(tmp_path, 5)
    journal = opened(tmp_path, 5)
    tails = [tail_of(journal, 1), tail_of(journal, 5)]
    os.truncate(path, boundaries(path)[4])
    for tail in tails:
        with pytest.raises(JournalDamaged, match=str(path)):
            tail.read()


# All of it together


class Journal(RuleBasedStateMachine):
    """Tails beside a journal that is written, sealed, truncated and refused by its disk in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()
        self.patch = pytest.MonkeyPatch()
        self.disk = Disk(self.patch)
        self.journal = opened(Path(self.temporary.name), 0, segment_bytes=300)
        self.tails = [Tail(self.journal, 1)]

    @rule(count=st.integers(0, 9))
    def append(self, count: int) -> None:
        append(self.journal, self.journal.last_lsn + count)

    @rule(count=st.integers(1, 9))
    def append_encoded(self, count: int) -> None:
        last = self.journal.last_lsn + count
        self.journal.append_encoded(encoded(last - count + 1, last), last)

    @rule()
    def flush(self) -> None:
        self.journal.flush()

    @rule(room=st.none() | st.integers(0, 200))
    def fill_up(self, room: int | None) -> None:
        self.disk.free_bytes = room

    @rule()
    def roll(self) -> None:
        if self.disk.free_bytes is None:
            self.journal.roll()

    @rule(back=st.integers(0, 30))
    def truncate(self, back: int) -> None:
        self.journal.truncate_before(self.journal.written_lsn - back)

    @rule(back=st.integers(-5, 30))
    def begin(self, back: int) -> None:
        next_lsn = max(1, self.journal.written_lsn - back)
        if next_lsn < self.journal.oldest_lsn():
            with pytest.raises(RecordsGone):
                Tail(self.journal, next_lsn)
        elif len(self.tails) < 5:
            self.tails.append(Tail(self.journal, next_lsn))

    @rule(number=st.integers(0, 4), limit=st.integers(1, 400))
    def read(self, number: int, limit: int) -> None:
        tail = self.tails[number % len(self.tails)]
        next_lsn = tail.next_lsn
        try:
            data = tail.read(limit)
        except RecordsGone as gone:
            assert next_lsn < gone.oldest_lsn == self.journal.oldest_lsn()
            tail.close()
            self.tails[number % len(self.tails)] = Tail(self.journal, gone.oldest_lsn)
            return
        assert data == encoded(next_lsn, tail.next_lsn - 1)
        assert len(data) <= limit or tail.next_lsn == next_lsn + 1
        assert bool(data) == (next_lsn <= self.journal.written_lsn)

    def teardown(self) -> None:
        self.disk.free_bytes = None
        assert self.journal.flush()
        for number in range(len(self.tails)):
            while self.tails[number].next_lsn <= self.journal.written_lsn:
                self.read(number, 100)
            self.tails[number].close()
        self.journal.close()
        self.patch.undo()
        self.temporary.cleanup()


Journal.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestJournal = Journal.TestCase


def test_a_thread_reads_everything_while_the_loop_writes_seals_and_removes(tmp_path: Path) -> None:
    last = 3_000
    journal = opened(tmp_path, 0, segment_bytes=2_000)
    tail = Tail(journal, 1)
    pieces: list[bytes] = []
    written = threading.Event()

    def follow() -> None:
        while tail.next_lsn <= last and not (written.is_set() and journal.written_lsn < last):
            pieces.append(tail.read(700))

    reader = threading.Thread(target=follow)
    reader.start()
    try:
        for lsn in range(7, last + 1, 7):
            append(journal, lsn)
            assert journal.flush()
            while lsn - tail.next_lsn > 500 and reader.is_alive():
                time.sleep(0)
            journal.truncate_before(tail.next_lsn)
        append(journal, last)
        assert journal.flush()
    finally:
        written.set()
        reader.join()
    tail.close()
    assert b"".join(pieces) == encoded(1, last)
    assert journal.oldest_lsn() > 1
