"""The journal on local files: appending, rolling, reading back, and a disk that refuses."""

from __future__ import annotations

import errno
import itertools
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from synap.journal import aside, segment
from synap.journal.log import FileJournal, Written, segments_from
from synap.journal.tail import Tail
from tests.journal.echo import (
    START,
    Disk,
    Syncs,
    append,
    assert_goes_on,
    contents,
    crash,
    decoded,
    encoded,
    entries,
    make,
    opened,
    recovered,
    resumed,
    write,
)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    return Syncs(monkeypatch)


def _read(journal: FileJournal, from_lsn: int) -> list[tuple[str, bytes]]:
    tail = Tail(journal, from_lsn)
    data = b"".join(iter(tail.read, b""))
    tail.close()
    return [(record.command, record.payload) for record in decoded(data)]


def _refusal(journal: FileJournal) -> int | None:
    return None if journal.failure is None else journal.failure.errno


def _run_sync(journal: FileJournal) -> None:
    job = journal.sync_job()
    assert job is not None
    journal.synced(job.run())


# Appending and reading


def test_what_was_written_is_read_back_with_its_time(tmp_path: Path) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 3)
    records = decoded(Tail(journal, 1).read())
    assert [(record.lsn, record.time) for record in records] == [(n, START + n) for n in (1, 2, 3)]
    assert _read(journal, 1) == entries(1, 3)


def test_nothing_reaches_the_file_before_the_flush(tmp_path: Path) -> None:
    journal = opened(tmp_path, 0)
    before = contents(tmp_path)
    append(journal, 3)
    assert journal.has_unwritten
    assert (journal.last_lsn, journal.written_lsn) == (3, 0)
    assert contents(tmp_path) == before
    assert _read(journal, 1) == []


def test_a_flush_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(tmp_path, 0)
    append(journal, 100)
    sizes: list[int] = []
    real_write = os.write

    def counting(fd: int, data: bytes) -> int:
        sizes.append(len(data))
        return real_write(fd, data)

    monkeypatch.setattr(os, "write", counting)
    assert journal.flush()
    assert sizes == [journal.bytes_written]
    assert journal.written_lsn == 100
    assert not journal.has_unwritten


def test_a_write_that_the_system_splits_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(tmp_path, 0)
    append(journal, 20)
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, data[:7]))
    assert journal.flush()
    assert _read(journal, 1) == entries(1, 20)


def test_a_flush_without_records_does_nothing(tmp_path: Path) -> None:
    journal = opened(tmp_path, 0)
    before = contents(tmp_path)
    assert journal.flush()
    assert contents(tmp_path) == before


def test_a_reopened_journal_goes_on_in_its_last_segment(tmp_path: Path) -> None:
    make(tmp_path, 3)
    journal = opened(tmp_path, 3)
    write(journal, 5)
    assert len(segment.list_segments(tmp_path)) == 1
    assert _read(journal, 1) == entries(1, 5)


def test_a_journal_that_begins_behind_a_snapshot_names_its_first_segment_after_its_first_record(tmp_path: Path) -> None:
    write(opened(tmp_path, 41), 42)
    assert segment.list_segments(tmp_path) == [segment.path_of(tmp_path, 42)]


def test_reading_begins_where_it_is_told_to_in_whichever_segment_that_is(tmp_path: Path) -> None:
    make(tmp_path, 3, 4, 9)
    journal = opened(tmp_path, 9)
    for lsn in range(1, 11):
        assert _read(journal, lsn) == entries(lsn, 9)


def test_reading_ends_with_what_is_written_also_in_the_middle_of_a_record(tmp_path: Path, disk: Disk) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 3)
    disk.free_bytes = 10
    append(journal, 5)
    assert not journal.flush()
    assert _read(journal, 1) == entries(1, 3)
    assert _read(journal, 3) == entries(3, 3)
    assert _read(journal, 4) == []


def test_reading_does_not_tell_of_records_whose_write_has_failed_half_way(tmp_path: Path, disk: Disk) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 3)
    disk.free_bytes = 70
    append(journal, 5)
    assert not journal.flush()
    assert _read(journal, 1) == entries(1, 3)


def test_records_taken_as_they_are_stand_between_those_that_were_appended(tmp_path: Path) -> None:
    journal = opened(tmp_path, 0)
    append(journal, 2)
    journal.append_encoded(encoded(3, 4), 4)
    journal.append_encoded(encoded(5, 5), 5)
    append(journal, 6)
    assert (journal.last_lsn, journal.written_lsn) == (6, 0)
    assert journal.flush()
    assert journal.written_lsn == 6
    assert segment.path_of(tmp_path, 1).read_bytes() == segment.head(1) + encoded(1, 6)


def test_how_far_it_is_written_is_told_by_segment_size_and_record(tmp_path: Path, disk: Disk) -> None:
    journal = opened(tmp_path, 0)
    assert journal.written == Written(1, segment.HEAD.size, 0)
    write(journal, 2)
    whole = Written(1, segment.HEAD.size + len(encoded(1, 2)), 2)
    assert journal.written == whole
    disk.free_bytes = 10
    append(journal, 4)
    assert not journal.flush()
    assert journal.written == whole
    disk.free_bytes = None
    assert journal.flush()
    journal.roll()
    assert journal.written == Written(5, segment.HEAD.size, 4)


def test_without_a_record_the_oldest_is_the_one_to_come(tmp_path: Path) -> None:
    assert FileJournal(tmp_path).oldest_lsn() == 1
    assert opened(tmp_path, 41).oldest_lsn() == 42


# Segments


def test_a_full_segment_is_sealed_and_another_begun(tmp_path: Path) -> None:
    journal = opened(tmp_path, 0, segment_bytes=200)
    write(journal, 20)
    paths = segment.list_segments(tmp_path)
    assert len(paths) > 3
    assert all(path.stat().st_size >= 200 for path in paths[:-1])
    assert _read(journal, 1) == entries(1, 20)
    assert journal.size_bytes() == journal.bytes_written + len(paths) * segment.HEAD.size
    journal.close()
    assert_goes_on(tmp_path, 20)


def test_records_of_one_flush_stay_in_one_segment(tmp_path: Path) -> None:
    journal = opened(tmp_path, 0, segment_bytes=200)
    append(journal, 20)
    assert journal.flush()
    assert [segment.first_lsn_of(path) for path in segment.list_segments(tmp_path)] == [1, 21]


def test_a_segment_that_was_full_before_the_restart_is_sealed_at_the_next_write(tmp_path: Path) -> None:
    make(tmp_path, 9)
    write(opened(tmp_path, 9, segment_bytes=100), 10)
    assert [segment.first_lsn_of(path) for path in segment.list_segments(tmp_path)] == [1, 11]


def test_an_empty_segment_is_not_sealed(tmp_path: Path) -> None:
    journal = opened(tmp_path, 0)
    journal.roll()
    write(journal, 1)
    journal.roll()
    journal.roll()
    assert [segment.first_lsn_of(path) for path in segment.list_segments(tmp_path)] == [1, 2]


def test_a_new_segment_gets_its_name_once_its_head_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 1)
    names: list[set[str]] = []
    real_write = os.write

    def looking(fd: int, data: bytes) -> int:
        names.append({path.suffix for path in tmp_path.glob("*2.*")})
        return real_write(fd, data)

    monkeypatch.setattr(os, "write", looking)
    journal.roll()
    assert names == [{".new"}]
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize("lsn", range(12))
def test_truncating_removes_only_segments_that_are_wholly_below(tmp_path: Path, lsn: int) -> None:
    paths = make(tmp_path, 3, 4, 9)
    journal = opened(tmp_path, 9)
    removed = journal.truncate_before(lsn)
    assert removed == sum(last < lsn for last in (3, 4))
    assert segment.list_segments(tmp_path) == paths[removed:]
    oldest = segment.first_lsn_of(paths[removed])
    assert journal.oldest_lsn() == oldest
    assert _read(journal, max(lsn, oldest)) == entries(max(lsn, oldest), 9)


def test_the_newest_segment_is_never_removed(tmp_path: Path) -> None:
    make(tmp_path, 3)
    journal = opened(tmp_path, 3)
    assert journal.truncate_before(1_000) == 0
    write(journal, 4)
    assert _read(journal, 1) == entries(1, 4)


def test_the_segments_from_a_record_on_begin_with_the_one_that_holds_it(tmp_path: Path) -> None:
    paths = make(tmp_path, 3, 4, 9)
    starts = [segment.first_lsn_of(segments_from(tmp_path, lsn)[0]) for lsn in range(11)]
    assert starts == [1, 1, 1, 1, 4, 5, 5, 5, 5, 5, 5]
    assert segments_from(tmp_path, 0) == paths


# A disk that refuses


def test_refused_bytes_stay_in_order_and_are_written_once_there_is_room(tmp_path: Path, disk: Disk) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 2)
    disk.free_bytes = 0
    append(journal, 4)
    assert not journal.flush()
    assert _refusal(journal) == errno.ENOSPC
    assert journal.has_unwritten
    assert (journal.last_lsn, journal.written_lsn) == (4, 2)
    append(journal, 5)
    assert not journal.flush()
    disk.free_bytes = None
    append(journal, 6)
    assert journal.flush()
    assert _refusal(journal) is None
    assert journal.written_lsn == 6
    journal.close()
    assert_goes_on(tmp_path, 6)


def test_a_disk_that_fills_up_at_any_byte_loses_nothing_once_there_is_room(tmp_path: Path, disk: Disk) -> None:
    """Segments are rolled on the way, so the disk also fills up inside a head."""
    for room in range(300):
        directory = tmp_path / str(room)
        journal = _filled_up(directory, disk, room)
        assert journal.flush()
        journal.close()
        assert recovered(directory)[0].seen == entries(1, 6), f"room for {room} bytes"


def test_a_crash_on_a_disk_that_filled_up_at_any_byte_loses_nothing_written(tmp_path: Path, disk: Disk) -> None:
    for room in range(300):
        directory = tmp_path / str(room)
        journal = _filled_up(directory, disk, room)
        written = journal.written_lsn
        crash(directory, journal)
        seen = recovered(directory)[0].seen
        assert seen == entries(1, len(seen)), f"room for {room} bytes"
        assert len(seen) >= written, f"room for {room} bytes"
        assert_goes_on(directory, len(seen))


def _filled_up(directory: Path, disk: Disk, room: int) -> FileJournal:
    """A journal of six records and small segments whose disk had `room` bytes, and has more again."""
    directory.mkdir()
    journal = opened(directory, 0, segment_bytes=100)
    disk.free_bytes = room
    for lsn in range(1, 7):
        append(journal, lsn)
        assert journal.flush() == (journal.failure is None)
    disk.free_bytes = None
    return journal


def test_a_new_segment_whose_head_does_not_fit_is_not_begun(tmp_path: Path, disk: Disk) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 2)
    disk.free_bytes = segment.HEAD.size - 1
    with pytest.raises(OSError, match="No space left"):
        journal.roll()
    assert len(segment.list_segments(tmp_path)) == 1
    disk.free_bytes = None
    write(journal, 3)
    journal.close()
    assert_goes_on(tmp_path, 3)


def test_a_segment_is_not_sealed_in_the_middle_of_a_record(tmp_path: Path, disk: Disk) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 2)
    disk.free_bytes = 10
    append(journal, 4)
    assert not journal.flush()
    disk.free_bytes = None
    journal.roll()
    assert journal.flush()
    journal.close()
    assert_goes_on(tmp_path, 4)


def test_closing_says_that_the_disk_refuses(tmp_path: Path, disk: Disk) -> None:
    journal = opened(tmp_path, 0)
    append(journal, 1)
    disk.free_bytes = 0
    with pytest.raises(OSError, match="No space left"):
        journal.close()


# Opening again


@pytest.mark.parametrize("last", [0, 2, 4])
def test_a_closed_journal_is_opened_again_where_it_ends_by_now(tmp_path: Path, last: int) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 2)
    journal.roll()
    write(journal, 4)
    written = journal.bytes_written
    journal.close()
    aside.cut_behind(tmp_path, last)
    journal.open(last)
    assert (journal.last_lsn, journal.written_lsn, journal.synced_lsn) == (last, last, 0)
    assert journal.bytes_written == written
    write(journal, last + 1)
    _run_sync(journal)
    assert journal.synced_lsn == last + 1
    journal.close()
    assert_goes_on(tmp_path, last + 1)


def test_what_the_disk_refused_before_it_was_closed_is_forgotten(tmp_path: Path, disk: Disk) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 2)
    append(journal, 3)
    disk.free_bytes = 0
    assert not journal.flush()
    append(journal, 4)
    with pytest.raises(OSError, match="No space left"):
        journal.close()
    disk.free_bytes = None
    journal.open(2)
    assert journal.failure is None
    assert not journal.has_unwritten
    write(journal, 5)
    assert _read(journal, 1) == entries(1, 5)


def test_a_journal_whose_sync_has_failed_is_whole_again_when_it_is_opened_again(tmp_path: Path) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 2)
    journal.break_off(OSError(errno.EIO, os.strerror(errno.EIO)))
    with pytest.raises(OSError, match="Input/output error"):
        journal.close()
    journal.open(2)
    write(journal, 3)
    _run_sync(journal)
    assert journal.synced_lsn == 3


def test_the_directory_is_synced_anew_when_it_is_opened_again(tmp_path: Path, syncs: Syncs) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 1)
    journal.close()
    journal.open(1)
    _run_sync(journal)
    assert syncs.directories == 2


def test_a_closed_journal_begins_no_segment(tmp_path: Path) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 2)
    journal.close()
    before = contents(tmp_path)
    journal.roll()
    assert journal.sync_job() is None
    assert contents(tmp_path) == before


# Syncing


def test_a_sync_covers_what_was_written_when_it_was_handed_out(tmp_path: Path) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 2)
    job = journal.sync_job()
    assert job is not None
    write(journal, 3)
    assert job.run() == 2
    journal.synced(2)
    assert (journal.synced_lsn, journal.written_lsn) == (2, 3)
    _run_sync(journal)
    assert journal.synced_lsn == 3
    assert journal.sync_job() is None


def test_what_is_not_written_is_not_synced(tmp_path: Path) -> None:
    journal = opened(tmp_path, 0)
    append(journal, 2)
    assert journal.sync_job() is None
    assert journal.synced_lsn == 0


def test_a_sync_covers_the_segments_sealed_since_the_last_one(tmp_path: Path, syncs: Syncs) -> None:
    journal = opened(tmp_path, 0, segment_bytes=100)
    write(journal, 3)
    _run_sync(journal)
    write(journal, 12)
    _run_sync(journal)
    assert len(segment.list_segments(tmp_path)) > 3
    syncs.assert_all_synced(tmp_path)


def test_a_sync_covers_the_directory_when_a_segment_is_new(tmp_path: Path, syncs: Syncs) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 1)
    _run_sync(journal)
    assert syncs.directories == 1
    write(journal, 2)
    _run_sync(journal)
    assert syncs.directories == 1
    journal.roll()
    write(journal, 3)
    _run_sync(journal)
    assert syncs.directories == 2


def test_a_segment_may_be_sealed_while_it_is_being_synced(tmp_path: Path) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 2)
    job = journal.sync_job()
    assert job is not None
    journal.roll()
    write(journal, 3)
    journal.synced(job.run())
    _run_sync(journal)
    assert journal.synced_lsn == 3


def test_after_a_crash_the_older_segments_are_synced_as_well(tmp_path: Path, syncs: Syncs) -> None:
    """They may have been sealed a moment before the crash, and no sync has ever seen them."""
    journal = opened(tmp_path, 0, segment_bytes=100)
    write(journal, 12)
    crash(tmp_path, journal)
    syncs.forget()
    _run_sync(resumed(tmp_path, recovered(tmp_path)[1]))
    assert len(segment.list_segments(tmp_path)) > 3
    syncs.assert_all_synced(tmp_path)


@pytest.fixture
def few_files() -> Iterator[Callable[[], None]]:
    """Lets only a few more files be open at a time, from when it is called on."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def limit() -> None:
        taken = {int(path.name) for path in Path("/dev/fd").iterdir()}
        free = (number for number in itertools.count() if number not in taken)
        resource.setrlimit(resource.RLIMIT_NOFILE, (next(itertools.islice(free, 20, None)), before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_journal_of_more_segments_than_files_may_be_open_goes_on(
    tmp_path: Path, syncs: Syncs, few_files: Callable[[], None]
) -> None:
    make(tmp_path, *range(1, 101))
    syncs.forget()
    few_files()
    assert_goes_on(tmp_path, 100)
    syncs.assert_all_synced(tmp_path)


def test_segments_that_wait_for_a_sync_do_not_stay_open(
    tmp_path: Path, syncs: Syncs, few_files: Callable[[], None]
) -> None:
    """Under fsync=never it may be a long time until then."""
    few_files()
    journal = opened(tmp_path, 0, segment_bytes=100)
    write(journal, 100)
    journal.close()
    assert len(segment.list_segments(tmp_path)) > 30
    syncs.assert_all_synced(tmp_path)


def test_a_segment_that_was_removed_before_its_sync_is_no_concern_of_it(tmp_path: Path, syncs: Syncs) -> None:
    journal = opened(tmp_path, 0, segment_bytes=100)
    write(journal, 12)
    job = journal.sync_job()
    assert job is not None
    assert journal.truncate_before(9) > 0
    journal.synced(job.run())
    assert journal.synced_lsn == 12
    syncs.assert_all_synced(tmp_path)


def test_closing_writes_and_syncs_what_is_left(tmp_path: Path, syncs: Syncs) -> None:
    journal = opened(tmp_path, 0)
    append(journal, 3)
    journal.close()
    assert journal.synced_lsn == 3
    syncs.assert_all_synced(tmp_path)
    assert_goes_on(tmp_path, 3)


def test_a_journal_that_was_never_opened_can_be_closed(tmp_path: Path) -> None:
    FileJournal(tmp_path).close()
    assert not list(tmp_path.iterdir())


def test_after_a_failed_sync_nothing_more_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = opened(tmp_path, 0)
    write(journal, 2)
    job = journal.sync_job()
    assert job is not None

    def failing(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing)
        with pytest.raises(OSError, match="Input/output error") as failure:
            job.run()
    journal.break_off(failure.value)
    assert journal.broken
    append(journal, 3)
    before = contents(tmp_path)
    assert not journal.flush()
    assert journal.sync_job() is None
    assert contents(tmp_path) == before
    with pytest.raises(OSError, match="Input/output error"):
        journal.close()
    assert_goes_on(tmp_path, 2)
