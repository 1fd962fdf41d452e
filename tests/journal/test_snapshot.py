"""Snapshots: whole or refused, and made from sealed segments beside a serving process."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from synap.journal import JournalDamaged, segment, snapshot
from tests.journal.echo import (
    START,
    Echo,
    append,
    assert_goes_on,
    contents,
    edited,
    entries,
    flip,
    make,
    opened,
    recovered,
    write,
)


def _machine(last: int) -> Echo:
    """A machine that has seen the records up to `last`."""
    machine = Echo()
    machine.seen = entries(1, last)
    machine.loaded(last, START + last)
    return machine


def _written(directory: Path, last: int) -> Path:
    return snapshot.write(directory, _machine(last), last, START + last)


def _loaded(path: Path) -> Echo:
    machine = Echo()
    for _ in snapshot.load(path, machine):
        pass
    return machine


def test_a_snapshot_brings_back_state_lsn_and_time(tmp_path: Path) -> None:
    machine = _loaded(_written(tmp_path, 10))
    assert machine.seen == entries(1, 10)
    assert (machine.lsn, machine.time) == (10, START + 10)


def test_an_empty_state_makes_a_snapshot_too(tmp_path: Path) -> None:
    assert _loaded(_written(tmp_path, 0)).seen == []


def test_loading_tells_the_size_of_every_chunk(tmp_path: Path) -> None:
    path = _written(tmp_path, 10)
    sizes = list(snapshot.load(path, Echo()))
    assert sizes == [len(chunk) for chunk in _machine(10).dump()]


def test_snapshots_are_listed_oldest_first(tmp_path: Path) -> None:
    paths = [_written(tmp_path, last) for last in (100, 9, 10)]
    assert snapshot.list_snapshots(tmp_path) == [paths[1], paths[2], paths[0]]
    assert [snapshot.lsn_of(path) for path in snapshot.list_snapshots(tmp_path)] == [9, 10, 100]
    (tmp_path / "1.snapshot.cut").touch()
    (tmp_path / "1.partial").touch()
    assert len(snapshot.list_snapshots(tmp_path)) == 3


@pytest.mark.parametrize("bits", [0x01, 0x80, 0xFF])
def test_a_snapshot_with_any_byte_changed_is_refused(tmp_path: Path, bits: int) -> None:
    path = _written(tmp_path, 7)
    whole = path.read_bytes()
    for offset in range(len(whole)):
        flip(path, offset, bits)
        with pytest.raises(JournalDamaged) as refusal:
            snapshot.check(path)
        assert str(path) in str(refusal.value)
        with pytest.raises(JournalDamaged):
            recovered(tmp_path)
        path.write_bytes(whole)
    snapshot.check(path)


def test_a_snapshot_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path, 7)
    whole = path.read_bytes()
    for kept in range(len(whole)):
        path.write_bytes(whole[:kept])
        with pytest.raises(JournalDamaged) as refusal:
            snapshot.check(path)
        assert str(path) in str(refusal.value)
        with pytest.raises(JournalDamaged):
            recovered(tmp_path)


def test_a_snapshot_that_lost_a_whole_chunk_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path, 7)
    first = next(_machine(7).dump())
    start = snapshot.CHUNKS_AT

    def drop(data: bytearray) -> None:
        del data[start : start + snapshot.CHUNK.size + len(first)]

    edited(path, drop)
    with pytest.raises(JournalDamaged, match=r"its end mark at offset \d+ does not match"):
        snapshot.check(path)


def test_a_snapshot_under_the_name_of_another_is_refused(tmp_path: Path) -> None:
    """Recovery would go on from the record in the head, dropping segments goes by the name."""
    moved = _written(tmp_path, 7).rename(tmp_path / f"{9:020d}.snapshot")
    with pytest.raises(JournalDamaged):
        snapshot.check(moved)


def test_a_snapshot_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    class Failing(Echo):
        def dump(self) -> Iterator[bytes]:
            yield b"one"
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    _written(tmp_path, 5)
    before = contents(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        snapshot.write(tmp_path, Failing(), 7, START)
    assert contents(tmp_path) == before


def test_a_snapshot_that_cannot_be_synced_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output error"):
        _written(tmp_path, 5)
    assert contents(tmp_path) == {}


def test_the_first_snapshot_covers_all_sealed_segments(tmp_path: Path) -> None:
    make(tmp_path, 3, 5, 9)
    path = snapshot.advance(tmp_path, Echo())
    assert path is not None
    assert snapshot.lsn_of(path) == 5
    machine = _loaded(path)
    assert machine.seen == entries(1, 5)
    assert machine.time == START + 5


def test_the_next_snapshot_goes_on_from_the_one_before_and_replaces_it(tmp_path: Path) -> None:
    make(tmp_path, 3, 5, 9)
    first = snapshot.advance(tmp_path, Echo())
    journal = opened(tmp_path, 9)
    journal.truncate_before(6)
    journal.roll()
    write(journal, 12)
    journal.roll()
    write(journal, 13)
    second = snapshot.advance(tmp_path, Echo())
    assert first is not None
    assert second is not None
    assert snapshot.list_snapshots(tmp_path) == [second]
    assert _loaded(second).seen == entries(1, 12)


def test_without_a_sealed_segment_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert snapshot.advance(tmp_path, Echo()) is None
    make(tmp_path, 3)
    before = contents(tmp_path)
    assert snapshot.advance(tmp_path, Echo()) is None
    assert contents(tmp_path) == before


def test_without_anything_new_the_snapshot_stays(tmp_path: Path) -> None:
    make(tmp_path, 3, 4)
    assert snapshot.advance(tmp_path, Echo()) is not None
    before = contents(tmp_path)
    assert snapshot.advance(tmp_path, Echo()) is None
    assert contents(tmp_path) == before


def test_the_segment_being_written_is_not_looked_at(tmp_path: Path) -> None:
    *_, last = make(tmp_path, 3, 5)
    flip(last, last.stat().st_size - 1)
    path = snapshot.advance(tmp_path, Echo())
    assert path is not None
    assert snapshot.lsn_of(path) == 3


def test_a_damaged_segment_makes_no_snapshot(tmp_path: Path) -> None:
    first, *_ = make(tmp_path, 3, 5, 6)
    flip(first, first.stat().st_size - 1)
    before = contents(tmp_path)
    with pytest.raises(JournalDamaged, match=str(first)):
        snapshot.advance(tmp_path, Echo())
    assert contents(tmp_path) == before


@pytest.mark.parametrize("lost", [0, 1])
def test_a_missing_segment_makes_no_snapshot(tmp_path: Path, lost: int) -> None:
    """Whoever drops the segments that a snapshot covers relies on its holding all of their records."""
    paths = make(tmp_path, 3, 5, 7, 9)
    paths[lost].unlink()
    with pytest.raises(JournalDamaged, match="missing"):
        snapshot.advance(tmp_path, Echo())
    assert snapshot.list_snapshots(tmp_path) == []


def test_a_snapshot_and_the_segments_behind_it_are_the_whole_journal(tmp_path: Path) -> None:
    make(tmp_path, 3, 5, 9)
    assert snapshot.advance(tmp_path, Echo()) is not None
    journal = opened(tmp_path, 9)
    assert journal.truncate_before(6) == 2
    append(journal, 10)
    journal.close()
    assert [segment.first_lsn_of(path) for path in segment.list_segments(tmp_path)] == [6]
    assert_goes_on(tmp_path, 10)
