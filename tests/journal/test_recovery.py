"""Recovery: exactly the records that are whole, or a refusal that names the place and changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from synap.journal import JournalDamaged, recovery, segment, snapshot
from synap.journal.record import Record
from synap.journal.recovery import recover
from tests.journal.echo import (
    START,
    Echo,
    append,
    assert_goes_on,
    assert_refused,
    boundaries,
    contents,
    crash,
    entries,
    flip,
    make,
    recovered,
    restore,
    resumed,
    write,
)

FLIPS = (0x01, 0x80, 0xFF)


def test_an_empty_directory_is_an_empty_journal(tmp_path: Path) -> None:
    machine, progress = recovered(tmp_path)
    assert machine.seen == []
    assert progress.lsn == 0
    assert_goes_on(tmp_path, 0)


@pytest.mark.parametrize("segment_ends", [(6,), (1, 2, 6), (2, 2, 6), (6, 6)])
def test_all_records_come_back_in_order(tmp_path: Path, segment_ends: tuple[int, ...]) -> None:
    make(tmp_path, *segment_ends)
    machine, progress = recovered(tmp_path)
    assert machine.seen == entries(1, 6)
    assert (progress.lsn, progress.time, progress.records) == (6, START + 6, 6)
    assert progress.torn_bytes == 0
    assert_goes_on(tmp_path, 6)


def test_recovery_changes_nothing_when_nothing_is_torn(tmp_path: Path) -> None:
    make(tmp_path, 3, 6)
    before = contents(tmp_path)
    recovered(tmp_path)
    assert contents(tmp_path) == before


def test_recovery_goes_in_steps_and_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "RECORDS_PER_STEP", 4)
    make(tmp_path, 5, 10)
    steps = [(step.records, step.bytes_done, step.bytes_total) for step in recover(tmp_path, Echo())]
    sizes = [path.stat().st_size for path in segment.list_segments(tmp_path)]
    assert [records for records, _, _ in steps] == [4, 8, 10]
    assert steps[-1][1:] == (sum(sizes), sum(sizes))
    assert steps[0][1] < steps[1][1] < steps[2][1]


def test_what_a_crash_left_unfinished_is_removed(tmp_path: Path) -> None:
    make(tmp_path, 3)
    leftovers = [tmp_path / f"{4:020d}.new", tmp_path / f"{3:020d}.partial"]
    for path in leftovers:
        path.write_bytes(b"unfinished")
    assert_goes_on(tmp_path, 3)
    assert not any(path.exists() for path in leftovers)


def test_what_a_crash_left_of_records_being_put_aside_is_removed(tmp_path: Path) -> None:
    make(tmp_path, 3)
    leftover = tmp_path / "kept.new"
    leftover.mkdir()
    segment.path_of(leftover, 2).write_bytes(b"unfinished")
    assert_goes_on(tmp_path, 3)
    assert not leftover.exists()


def test_a_snapshot_that_is_still_arriving_is_kept_and_not_looked_at(tmp_path: Path) -> None:
    make(tmp_path, 3)
    arriving = tmp_path / f"{9:020d}.snapshot.incoming"
    arriving.write_bytes(b"half of it")
    assert_goes_on(tmp_path, 3)
    assert arriving.read_bytes() == b"half of it"


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    make(tmp_path, 3)
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    assert_goes_on(tmp_path, 3)
    assert notes.read_text() == "mine"


def test_a_record_that_cannot_be_repeated_stops_recovery(tmp_path: Path) -> None:
    class Stubborn(Echo):
        def apply(self, record: Record) -> None:
            if record.lsn == 2:
                raise KeyError("no such command")
            super().apply(record)

    [path] = make(tmp_path, 3)
    machine = Stubborn()
    with pytest.raises(JournalDamaged) as refusal:
        list(recover(tmp_path, machine))
    assert str(refusal.value) == f"{path}: record 2 (echo.c) cannot be repeated: KeyError: 'no such command'"
    assert machine.seen == entries(1, 1)


# Torn ends


@pytest.mark.parametrize("segment_ends", [(6,), (3, 6), (5, 6), (6, 6)])
def test_a_last_segment_cut_off_at_any_byte_gives_the_records_that_are_whole(
    tmp_path: Path, segment_ends: tuple[int, ...]
) -> None:
    last = make(tmp_path, *segment_ends)[-1]
    before, ends = contents(tmp_path), boundaries(last)
    first_lsn = segment.first_lsn_of(last)
    for kept in range(last.stat().st_size):
        restore(tmp_path, before)
        with last.open("r+b") as file:
            file.truncate(kept)
        whole = first_lsn - 1 + sum(end <= kept for end in ends[1:])
        machine, progress = recovered(tmp_path)
        assert machine.seen == entries(1, whole), f"{kept} bytes kept"
        assert progress.torn_bytes == kept - max((end for end in ends if end <= kept), default=0)
        assert_goes_on(tmp_path, whole)


@pytest.mark.parametrize("bits", FLIPS)
def test_any_byte_of_the_very_last_record_changed_makes_it_a_torn_one(tmp_path: Path, bits: int) -> None:
    last = make(tmp_path, 3, 6)[-1]
    before, (*_, start, end) = contents(tmp_path), boundaries(last)
    for offset in range(start, end):
        restore(tmp_path, before)
        flip(last, offset, bits)
        machine, progress = recovered(tmp_path)
        assert machine.seen == entries(1, 5), f"byte {offset} changed"
        assert progress.torn_bytes == end - start
        assert_goes_on(tmp_path, 5)


@pytest.mark.parametrize("junk", [b"\0", bytes(16), bytes(5_000), b"\xff" * 40, b"x" * 300])
def test_junk_behind_the_last_record_is_torn(tmp_path: Path, junk: bytes) -> None:
    [path] = make(tmp_path, 6)
    with path.open("ab") as file:
        file.write(junk)
    assert recovered(tmp_path)[1].torn_bytes == len(junk)
    assert_goes_on(tmp_path, 6)


def test_several_records_of_one_interrupted_write_are_torn_from_the_first_bad_one_on(tmp_path: Path) -> None:
    [path] = make(tmp_path, 6)
    with path.open("r+b") as file:
        file.seek(boundaries(path)[3])
        file.write(bytes(1_000))
    assert_goes_on(tmp_path, 3)


def test_a_torn_end_is_told_with_file_size_and_offset(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    [path] = make(tmp_path, 6)
    end = path.stat().st_size
    with path.open("ab") as file:
        file.write(bytes(5))
    recovered(tmp_path)
    [warning] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    message = warning.getMessage()
    assert str(path) in message
    assert f"5 bytes at offset {end}" in message


@pytest.mark.parametrize("offset", range(segment.HEAD.size))
def test_a_damaged_head_without_a_record_behind_it_is_torn(tmp_path: Path, offset: int) -> None:
    last = make(tmp_path, 6, 6)[-1]
    flip(last, offset)
    assert_goes_on(tmp_path, 6)


def test_a_new_segment_without_a_byte_in_it_is_torn(tmp_path: Path) -> None:
    make(tmp_path, 6)
    segment.path_of(tmp_path, 7).touch()
    assert_goes_on(tmp_path, 6)


@pytest.mark.parametrize("lost_bytes", [1, 10, None])
@pytest.mark.parametrize(
    "begun",
    [b"", segment.head(7)[:9], bytes(segment.HEAD.size), bytes(4096)],
    ids=["empty", "half-a-head", "zeros", "page-of-zeros"],
)
def test_a_record_that_only_an_unwritten_segment_follows_is_still_the_last_one(
    tmp_path: Path, begun: bytes, lost_bytes: int | None
) -> None:
    """A power cut may keep the name of a new segment and lose its bytes and the end of the one before."""
    [path] = make(tmp_path, 6)
    segment.path_of(tmp_path, 7).write_bytes(begun)
    *_, start, end = boundaries(path)
    with path.open("r+b") as file:
        file.truncate(start if lost_bytes is None else end - lost_bytes)
    assert_goes_on(tmp_path, 5)


# Damage


@pytest.mark.parametrize("bits", FLIPS)
@pytest.mark.parametrize("number", [0, 1])
def test_any_byte_of_an_older_segment_changed_is_refused(tmp_path: Path, number: int, bits: int) -> None:
    path = make(tmp_path, 3, 5, 7)[number]
    for offset in range(path.stat().st_size):
        flip(path, offset, bits)
        assert_refused(tmp_path, path)
        flip(path, offset, bits)
    assert_goes_on(tmp_path, 7)


@pytest.mark.parametrize("bits", FLIPS)
def test_any_byte_before_the_last_record_changed_is_refused(tmp_path: Path, bits: int) -> None:
    last = make(tmp_path, 3, 7)[-1]
    *_, start, _ = boundaries(last)
    for offset in range(start):
        flip(last, offset, bits)
        assert_refused(tmp_path, last)
        flip(last, offset, bits)
    assert_goes_on(tmp_path, 7)


def test_an_older_segment_cut_off_at_any_byte_is_refused(tmp_path: Path) -> None:
    path, following = make(tmp_path, 3, 5)
    whole, ends = path.read_bytes(), boundaries(path)
    for kept in range(len(whole)):
        path.write_bytes(whole[:kept])
        # Cut between two records it is whole in itself: what is missing shows in the one behind it.
        assert_refused(tmp_path, following if kept in ends else path)


def test_a_length_changed_in_the_middle_is_not_taken_for_a_torn_end(tmp_path: Path) -> None:
    [path] = make(tmp_path, 6)
    before, ends = contents(tmp_path), boundaries(path)
    for start in ends[:-2]:
        for length in (0, 1, 30, 100, 65_536, 2**30, 2**30 + 1, 2**32 - 1):
            restore(tmp_path, before)
            with path.open("r+b") as file:
                file.seek(start)
                file.write(length.to_bytes(4, "little"))
            assert_refused(tmp_path, path)


def test_a_lost_page_in_the_middle_is_not_taken_for_a_torn_end(tmp_path: Path) -> None:
    [path] = make(tmp_path, 400)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(4096))
    assert_refused(tmp_path, path)


def test_the_refusal_names_the_offset_and_the_way_on(tmp_path: Path) -> None:
    [path] = make(tmp_path, 6)
    start = boundaries(path)[2]
    flip(path, start + 20)
    with pytest.raises(JournalDamaged, match=f"damaged at offset {start}: .*synap journal repair"):
        recovered(tmp_path)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_missing_segment_is_refused(tmp_path: Path, lost: int) -> None:
    paths = make(tmp_path, 2, 4, 6, 8)
    paths[lost].unlink()
    assert_refused(tmp_path, paths[lost + 1])
    with pytest.raises(JournalDamaged, match=f"records {2 * lost + 1} to {2 * lost + 2} are missing"):
        recovered(tmp_path)


def test_a_repeated_record_is_refused(tmp_path: Path) -> None:
    path, last = make(tmp_path, 3, 6)
    data, ends = path.read_bytes(), boundaries(path)
    path.write_bytes(data + data[ends[1] :])
    assert_refused(tmp_path, path)
    path.write_bytes(data)
    data, ends = last.read_bytes(), boundaries(last)
    last.write_bytes(data + data[ends[1] :])
    assert_refused(tmp_path, last)


# Snapshots


def _snapshot(directory: Path, *, drop_segments: bool) -> Path:
    path = snapshot.advance(directory, Echo())
    assert path is not None
    if drop_segments:
        for old in segment.list_segments(directory)[:-1]:
            old.unlink()
    return path


@pytest.mark.parametrize("drop_segments", [True, False])
def test_the_snapshot_comes_first_and_then_only_what_it_does_not_hold(tmp_path: Path, drop_segments: bool) -> None:
    make(tmp_path, 3, 5, 8)
    _snapshot(tmp_path, drop_segments=drop_segments)
    machine, progress = recovered(tmp_path)
    assert machine.seen == entries(1, 8)
    assert progress.records == 3
    assert progress.journal_bytes == segment.list_segments(tmp_path)[-1].stat().st_size
    assert_goes_on(tmp_path, 8)


def test_with_a_snapshot_and_nothing_behind_it_the_journal_goes_on(tmp_path: Path) -> None:
    make(tmp_path, 5, 5)
    _snapshot(tmp_path, drop_segments=True)
    machine, progress = recovered(tmp_path)
    assert machine.seen == entries(1, 5)
    assert (progress.lsn, progress.time, progress.records) == (5, START + 5, 0)
    assert_goes_on(tmp_path, 5)


def test_with_a_snapshot_and_no_segment_at_all_the_journal_goes_on(tmp_path: Path) -> None:
    make(tmp_path, 5, 5)
    _snapshot(tmp_path, drop_segments=True)
    for path in segment.list_segments(tmp_path):
        path.unlink()
    assert_goes_on(tmp_path, 5)


def test_of_two_snapshots_the_newer_one_counts(tmp_path: Path) -> None:
    make(tmp_path, 3, 5, 8)
    old = Echo()
    old.seen = entries(1, 2)
    snapshot.write(tmp_path, old, 2, START)
    newer = Echo()
    newer.seen = entries(1, 4)
    snapshot.write(tmp_path, newer, 4, START)
    machine, progress = recovered(tmp_path)
    assert machine.seen == entries(1, 8)
    assert progress.records == 4


def test_a_segment_that_the_snapshot_covers_is_not_needed(tmp_path: Path) -> None:
    path, *_ = make(tmp_path, 3, 5, 8)
    _snapshot(tmp_path, drop_segments=False)
    flip(path, path.stat().st_size - 1)
    assert_goes_on(tmp_path, 8)


@pytest.mark.parametrize("lost", [2, 3])
def test_a_missing_segment_behind_the_snapshot_is_refused(tmp_path: Path, lost: int) -> None:
    paths = make(tmp_path, 3, 5, 8, 10, 11)
    machine = Echo()
    machine.seen = entries(1, 5)
    snapshot.write(tmp_path, machine, 5, START)
    paths[lost].unlink()
    assert_refused(tmp_path, paths[lost + 1])


def test_a_damaged_snapshot_is_refused_even_when_all_segments_are_there(tmp_path: Path) -> None:
    make(tmp_path, 3, 5)
    path = _snapshot(tmp_path, drop_segments=False)
    flip(path, path.stat().st_size - 1)
    assert_refused(tmp_path, path)


def _cut_inside(path: Path, record: int) -> None:
    """Cut a segment off in the middle of its `record`, counted from 0."""
    with path.open("r+b") as file:
        file.truncate(boundaries(path)[record] + 5)


def _cut_behind(path: Path, record: int) -> None:
    with path.open("r+b") as file:
        file.truncate(boundaries(path)[record])


@pytest.mark.parametrize("cut", [_cut_inside, _cut_behind])
@pytest.mark.parametrize("record", [1, 4])
def test_a_journal_that_ends_before_its_snapshot_goes_on(
    tmp_path: Path, cut: Callable[[Path, int], None], record: int
) -> None:
    """A snapshot is synced when it is made, the segments it was made from may not have been when power failed."""
    path, following = make(tmp_path, 5, 5)
    _snapshot(tmp_path, drop_segments=False)
    following.unlink()
    cut(path, record)
    assert_goes_on(tmp_path, 5)
    assert_goes_on(tmp_path, 7)


def test_a_journal_that_lost_everything_but_its_snapshot_goes_on(tmp_path: Path) -> None:
    path, following = make(tmp_path, 5, 5)
    _snapshot(tmp_path, drop_segments=False)
    following.write_bytes(b"")
    path.write_bytes(b"")
    assert_goes_on(tmp_path, 5)
    assert_goes_on(tmp_path, 7)


def test_a_snapshot_that_is_replaced_while_it_is_loaded_is_loaded_all_the_same(tmp_path: Path) -> None:
    """The process that writes snapshots may outlive a killed server for a moment, and removes the old one."""
    make(tmp_path, 3, 5, 8)
    machine = Echo()
    machine.seen = entries(1, 3)
    snapshot.write(tmp_path, machine, 3, START + 3)
    brought_back = Echo()
    for step in recover(tmp_path, brought_back):
        if step.lsn == 0:
            snapshot.advance(tmp_path, Echo())
    assert len(snapshot.list_snapshots(tmp_path)) == 1
    assert brought_back.seen == entries(1, 8)


def test_a_snapshot_that_is_replaced_before_it_is_opened_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, 3, 5, 8)
    machine = Echo()
    machine.seen = entries(1, 3)
    snapshot.write(tmp_path, machine, 3, START + 3)
    list_snapshots = snapshot.list_snapshots

    def outdated(directory: Path) -> list[Path]:
        found = list_snapshots(directory)
        monkeypatch.setattr(snapshot, "list_snapshots", list_snapshots)
        snapshot.advance(directory, Echo())
        return found

    monkeypatch.setattr(snapshot, "list_snapshots", outdated)
    assert recovered(tmp_path)[0].seen == entries(1, 8)


def test_a_journal_survives_many_crashes_and_snapshots(tmp_path: Path) -> None:
    last = 0
    for round_ in range(30):
        machine, progress = recovered(tmp_path)
        assert machine.seen == entries(1, last)
        journal = resumed(tmp_path, progress, segment_bytes=150)
        write(journal, last + 1 + round_ % 5)
        last = journal.written_lsn
        if round_ % 3 == 2 and (path := snapshot.advance(tmp_path, Echo())) is not None:
            journal.truncate_before(snapshot.lsn_of(path) + 1)
        append(journal, last + 2)
        crash(tmp_path, journal)
        with segment.list_segments(tmp_path)[-1].open("ab") as file:
            file.write(b"\x20\0\0\0torn"[: round_ % 9])
    assert segment.first_lsn_of(segment.list_segments(tmp_path)[0]) > 1
    assert_goes_on(tmp_path, last)


def test_a_snapshot_that_the_machine_cannot_load_is_refused_by_name(tmp_path: Path) -> None:
    class Newer(Echo):
        def load(self, chunk: bytes) -> None:
            raise LookupError("this version knows no section 'streams'")

    make(tmp_path, 3)
    machine = Echo()
    machine.seen = entries(1, 3)
    path = snapshot.write(tmp_path, machine, 3, START + 3)
    with pytest.raises(JournalDamaged, match="cannot be loaded: LookupError: this version knows no section") as refusal:
        list(recover(tmp_path, Newer()))
    assert str(path) in str(refusal.value)
