"""Records taken out of a closed journal: what is kept, what is left, and a crash anywhere on the way."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from synap.journal import JournalDamaged, aside, segment, snapshot, tools
from synap.journal.directory import DirectoryInUse
from tests.journal.echo import (
    START,
    Echo,
    Seen,
    Syncs,
    assert_goes_on,
    boundaries,
    contents,
    encoded,
    entries,
    flip,
    make,
    recovered,
)

Operation = Callable[[Path], object]


class Crashed(BaseException):
    """The process is gone."""


class Crash:
    """Lets so many changes to directories and files happen, and none after them."""

    CHANGES = ("unlink", "rename", "truncate", "fsync", "mkdir", "rmdir")

    def __init__(self, patch: pytest.MonkeyPatch, after: int) -> None:
        self.left = after
        for name in self.CHANGES:
            patch.setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            if not self.left:
                raise Crashed
            self.left -= 1
            return change(*arguments, **named)

        return counted


def _crashes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, build: Operation, operation: Operation) -> Iterator[Path]:
    """Directories built alike in which `operation` was interrupted after ever more changes; the last one is whole."""
    for after in range(100):
        directory = tmp_path / str(after)
        directory.mkdir()
        build(directory)
        with monkeypatch.context() as patch:
            Crash(patch, after)
            try:
                operation(directory)
            except Crashed:
                is_whole = False
            else:
                is_whole = True
        yield directory
        if is_whole:
            assert after > 0
            return
    raise AssertionError("the operation never ends")


def _snapshot(directory: Path, last: int) -> Path:
    machine = Echo()
    machine.seen = entries(1, last)
    return snapshot.write(directory, machine, last, START + last)


def _segments_only(directory: Path) -> None:
    make(directory, 3, 5, 9, 9)


def _behind_snapshots(directory: Path) -> None:
    make(directory, 3, 5, 9, 11)
    _snapshot(directory, 3)
    _snapshot(directory, 5)
    segment.path_of(directory, 1).unlink()


def _dumped(*directories: Path) -> Seen:
    records = {record.lsn: record for directory in directories for record in tools.dump(directory)}
    return [(records[lsn].command, records[lsn].payload) for lsn in sorted(records)]


def _copied(directory: Path, lsn: int, name: str = "kept") -> Path:
    path = aside.copy_behind(directory, lsn, name)
    assert path is not None
    return path


def _kept_in(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.is_dir())


# Copying


@pytest.mark.parametrize("lsn", range(9))
def test_every_record_behind_is_copied_and_can_be_looked_at(tmp_path: Path, lsn: int) -> None:
    _segments_only(tmp_path)
    before = contents(tmp_path)
    path = _copied(tmp_path, lsn)
    assert path == tmp_path / "kept"
    assert contents(tmp_path) == before
    assert _dumped(path) == entries(lsn + 1, 9)
    findings = list(tools.verify(path))
    assert (findings[0].first_lsn, findings[-1].last_lsn) == (lsn + 1, 9)
    assert not any(finding.error for finding in findings)


def test_the_copies_are_segments_named_by_their_first_record(tmp_path: Path) -> None:
    _segments_only(tmp_path)
    path = _copied(tmp_path, 4)
    assert segment.list_segments(path) == [segment.path_of(path, 5), segment.path_of(path, 6)]
    assert segment.path_of(path, 5).read_bytes() == segment.head(5) + encoded(5, 5)


@pytest.mark.parametrize("lsn", [9, 12])
def test_without_a_record_behind_there_is_nothing_to_copy(tmp_path: Path, lsn: int) -> None:
    _segments_only(tmp_path)
    assert aside.copy_behind(tmp_path, lsn, "kept") is None
    assert _kept_in(tmp_path) == []


def test_an_empty_directory_has_nothing_to_copy(tmp_path: Path) -> None:
    assert aside.copy_behind(tmp_path, 0, "kept") is None


def test_a_torn_end_is_not_copied_wherever_it_is_torn(tmp_path: Path) -> None:
    last = make(tmp_path, 3, 6)[-1]
    data, ends = last.read_bytes(), boundaries(last)
    for size in range(ends[2], len(data)):
        last.write_bytes(data[:size])
        assert _dumped(_copied(tmp_path, 2, f"at-{size}")) == entries(3, 5)


def test_a_new_segment_that_a_power_cut_left_empty_is_not_copied(tmp_path: Path) -> None:
    [path] = make(tmp_path, 6)
    path.write_bytes(path.read_bytes()[:-1])
    segment.path_of(tmp_path, 7).touch()
    assert _dumped(_copied(tmp_path, 2)) == entries(3, 5)


def test_what_only_a_snapshot_holds_is_not_copied(tmp_path: Path) -> None:
    _behind_snapshots(tmp_path)
    assert _dumped(_copied(tmp_path, 1)) == entries(4, 11)


def test_a_damaged_record_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    _, path, *_ = make(tmp_path, 3, 5, 9)
    flip(path, boundaries(path)[1] + 9)
    with pytest.raises(JournalDamaged, match=str(path)):
        aside.copy_behind(tmp_path, 1, "kept")
    assert _kept_in(tmp_path) == []


def test_a_missing_segment_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    _, path, _ = make(tmp_path, 3, 5, 9)
    path.unlink()
    with pytest.raises(JournalDamaged, match="records 4 to 5 are missing"):
        aside.copy_behind(tmp_path, 1, "kept")
    assert _kept_in(tmp_path) == []


def test_a_copy_that_the_disk_refuses_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    _segments_only(tmp_path)
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="No space left"):
        aside.copy_behind(tmp_path, 1, "kept")
    assert _kept_in(tmp_path) == []


def test_a_copy_does_not_replace_an_earlier_one(tmp_path: Path) -> None:
    _segments_only(tmp_path)
    paths = [_copied(tmp_path, lsn) for lsn in (2, 4, 6)]
    assert [path.name for path in paths] == ["kept", "kept.1", "kept.2"]
    assert [_dumped(path) for path in paths] == [entries(lsn + 1, 9) for lsn in (2, 4, 6)]


def test_what_is_copied_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _segments_only(tmp_path)
    syncs = Syncs(monkeypatch)
    syncs.assert_all_synced(_copied(tmp_path, 2))
    assert syncs.directories == 2


# Cutting


@pytest.mark.parametrize("lsn", range(12))
def test_a_journal_that_was_cut_ends_there_and_goes_on(tmp_path: Path, lsn: int) -> None:
    _segments_only(tmp_path)
    aside.cut_behind(tmp_path, lsn)
    assert _dumped(tmp_path) == entries(1, min(lsn, 9))
    assert_goes_on(tmp_path, min(lsn, 9))


@pytest.mark.parametrize("lsn", range(5, 12))
def test_a_journal_behind_a_snapshot_can_be_cut(tmp_path: Path, lsn: int) -> None:
    _behind_snapshots(tmp_path)
    aside.cut_behind(tmp_path, lsn)
    assert_goes_on(tmp_path, lsn)


def test_no_empty_segment_is_left(tmp_path: Path) -> None:
    first, second, *_ = make(tmp_path, 3, 5, 9, 9)
    aside.cut_behind(tmp_path, 5)
    assert segment.list_segments(tmp_path) == [first, second]
    aside.cut_behind(tmp_path, 0)
    assert segment.list_segments(tmp_path) == []


def test_records_that_a_snapshot_holds_are_not_cut(tmp_path: Path) -> None:
    _behind_snapshots(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="holds records behind 4"):
        aside.cut_behind(tmp_path, 4)
    assert contents(tmp_path) == before


def test_damage_before_the_cut_is_refused_and_nothing_is_cut(tmp_path: Path) -> None:
    _, path, _ = make(tmp_path, 3, 7, 9)
    flip(path, boundaries(path)[1] + 9)
    before = contents(tmp_path)
    with pytest.raises(JournalDamaged, match=str(path)):
        aside.cut_behind(tmp_path, 6)
    assert contents(tmp_path) == before


def test_an_older_segment_that_ends_before_the_cut_is_refused_and_nothing_is_cut(tmp_path: Path) -> None:
    _, path, _ = make(tmp_path, 3, 7, 9)
    path.write_bytes(path.read_bytes()[:-1])
    before = contents(tmp_path)
    with pytest.raises(JournalDamaged, match=str(path)):
        aside.cut_behind(tmp_path, 7)
    assert contents(tmp_path) == before


def test_damage_behind_the_cut_goes_with_it(tmp_path: Path) -> None:
    _, path, last = make(tmp_path, 3, 7, 9)
    flip(path, boundaries(path)[1] + 9)
    flip(last, 0)
    aside.cut_behind(tmp_path, 4)
    assert_goes_on(tmp_path, 4)


@pytest.mark.parametrize("lsn", [4, 5, 6, 7])
def test_a_torn_end_is_cut_as_well(tmp_path: Path, lsn: int) -> None:
    *_, last = make(tmp_path, 3, 6)
    last.write_bytes(last.read_bytes()[:-1])
    aside.cut_behind(tmp_path, lsn)
    assert _dumped(tmp_path) == entries(1, min(lsn, 5))


def test_a_cut_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    *_, cut, _ = make(tmp_path, 3, 9, 11)
    syncs = Syncs(monkeypatch)
    aside.cut_behind(tmp_path, 5)
    for path in segment.list_segments(tmp_path):
        if path != cut:
            path.unlink()
    syncs.assert_all_synced(tmp_path)
    assert syncs.directories == 1


# Moving and removing


@pytest.mark.parametrize("build", [_segments_only, _behind_snapshots])
def test_a_journal_that_was_set_aside_is_whole_where_it_lies_now(tmp_path: Path, build: Operation) -> None:
    build(tmp_path)
    journal, seen = contents(tmp_path), recovered(tmp_path)[0].seen
    (tmp_path / "replication.json").write_text("{}")
    path = aside.set_aside(tmp_path, "kept")
    assert path == tmp_path / "kept"
    assert contents(tmp_path) == {"replication.json": b"{}"}
    assert contents(path).items() >= journal.items()
    assert not any(finding.error for finding in tools.verify(path))
    assert_goes_on(tmp_path, 0)
    assert recovered(path)[0].seen == seen


def test_what_is_set_aside_does_not_replace_what_was_before(tmp_path: Path) -> None:
    for last in (2, 4, 6):
        make(tmp_path, last)
        aside.set_aside(tmp_path, "kept")
    assert [_dumped(path) for path in _kept_in(tmp_path)] == [entries(1, 2), entries(1, 4), entries(1, 6)]


@pytest.mark.parametrize("build", [_segments_only, _behind_snapshots])
def test_a_wiped_directory_keeps_what_is_not_of_the_journal(tmp_path: Path, build: Operation) -> None:
    build(tmp_path)
    others = {"LOCK": b"1", "replication.json": b"{}", f"{7:020d}.snapshot.incoming": b"half"}
    for name, data in others.items():
        (tmp_path / name).write_bytes(data)
    kept = _copied(tmp_path, 6)
    records = _dumped(kept)
    aside.wipe(tmp_path)
    assert contents(tmp_path) == others
    assert _dumped(kept) == records
    assert_goes_on(tmp_path, 0)


# Installing


def _downloaded(directory: Path, last: int) -> Path:
    return _snapshot(directory, last).rename(directory / "from-elsewhere.snapshot.incoming")


def test_an_installed_snapshot_is_what_the_journal_begins_with(tmp_path: Path) -> None:
    downloaded = _downloaded(tmp_path, 5)
    assert aside.install(tmp_path, downloaded) == 5
    assert not downloaded.exists()
    assert_goes_on(tmp_path, 5)


def test_a_damaged_download_is_not_installed(tmp_path: Path) -> None:
    downloaded = _downloaded(tmp_path, 5)
    for offset in range(downloaded.stat().st_size):
        flip(downloaded, offset)
        with pytest.raises(JournalDamaged, match=str(downloaded)):
            aside.install(tmp_path, downloaded)
        flip(downloaded, offset)
    assert snapshot.list_snapshots(tmp_path) == []
    assert aside.install(tmp_path, downloaded) == 5


@pytest.mark.parametrize("build", [_segments_only, _behind_snapshots, lambda directory: _snapshot(directory, 3)])
def test_nothing_is_installed_beside_a_journal(tmp_path: Path, build: Operation) -> None:
    downloaded = _downloaded(tmp_path, 5)
    build(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="expected none"):
        aside.install(tmp_path, downloaded)
    assert contents(tmp_path) == before


# Crashes


@pytest.mark.parametrize("lsn", [0, 2, 3, 4, 7])
def test_a_crash_while_copying_leaves_the_journal_and_no_half_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lsn: int
) -> None:
    def copy(directory: Path) -> None:
        aside.copy_behind(directory, lsn, "kept")

    for directory in _crashes(monkeypatch, tmp_path, _segments_only, copy):
        assert recovered(directory)[0].seen == entries(1, 9)
        kept = _kept_in(directory)
        assert [_dumped(path) for path in kept] == [entries(lsn + 1, 9)] * len(kept)
        assert _dumped(_copied(directory, lsn)) == entries(lsn + 1, 9)


def test_what_a_crash_left_of_a_copy_is_not_mixed_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for directory in _crashes(monkeypatch, tmp_path, _segments_only, lambda path: aside.copy_behind(path, 1, "kept")):
        assert _dumped(_copied(directory, 6)) == entries(7, 9)


@pytest.mark.parametrize("build", [_segments_only, _behind_snapshots])
@pytest.mark.parametrize("lsn", [5, 6, 8])
def test_a_crash_while_cutting_leaves_a_prefix_that_can_be_cut_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: Operation, lsn: int
) -> None:
    for directory in _crashes(monkeypatch, tmp_path, build, lambda path: aside.cut_behind(path, lsn)):
        seen = recovered(directory)[0].seen
        assert seen == entries(1, len(seen))
        assert len(seen) >= lsn
        aside.cut_behind(directory, lsn)
        assert_goes_on(directory, lsn)


@pytest.mark.parametrize("build", [_segments_only, _behind_snapshots])
def test_a_crash_while_setting_aside_leaves_a_prefix_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: Operation
) -> None:
    (tmp_path / "whole").mkdir()
    build(tmp_path / "whole")
    everything = _dumped(tmp_path / "whole")
    for directory in _crashes(monkeypatch, tmp_path, build, lambda path: aside.set_aside(path, "kept")):
        seen = recovered(directory)[0].seen
        assert seen == entries(1, len(seen))
        aside.set_aside(directory, "kept")
        assert_goes_on(directory, 0)
        assert _dumped(*_kept_in(directory)) == everything
        assert not any(finding.error for path in _kept_in(directory) for finding in tools.verify(path))


@pytest.mark.parametrize("build", [_segments_only, _behind_snapshots])
def test_a_crash_while_wiping_leaves_a_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build: Operation
) -> None:
    for directory in _crashes(monkeypatch, tmp_path, build, aside.wipe):
        seen = recovered(directory)[0].seen
        assert_goes_on(directory, len(seen))


def test_a_crash_while_installing_leaves_the_download_or_the_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(directory: Path) -> None:
        aside.install(directory, directory / "from-elsewhere.snapshot.incoming")

    for directory in _crashes(monkeypatch, tmp_path, lambda path: _downloaded(path, 5), install):
        if not snapshot.list_snapshots(directory):
            assert recovered(directory)[0].seen == []
            install(directory)
        assert recovered(directory)[0].seen == entries(1, 5)


# Others in the directory


@pytest.mark.parametrize(
    "operation",
    [
        lambda directory: aside.copy_behind(directory, 6, "kept"),
        lambda directory: aside.cut_behind(directory, 6),
        lambda directory: aside.set_aside(directory, "kept"),
        aside.wipe,
        lambda directory: aside.install(directory, _downloaded(directory, 12)),
    ],
    ids=["copy", "cut", "set-aside", "wipe", "install"],
)
def test_nothing_is_taken_away_while_a_snapshot_is_being_made(tmp_path: Path, operation: Operation) -> None:
    """A process that a killed server has left behind would make one of records that are gone then."""
    _segments_only(tmp_path)
    before = contents(tmp_path)
    fd = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    with pytest.raises(DirectoryInUse, match="making a snapshot"):
        operation(tmp_path)
    os.close(fd)
    assert contents(tmp_path).items() >= before.items()
    assert _kept_in(tmp_path) == []


def test_what_lies_aside_disturbs_nobody(tmp_path: Path) -> None:
    _segments_only(tmp_path)
    kept = _copied(tmp_path, 2)
    records = _dumped(kept)
    before = contents(tmp_path)
    assert len(list(tools.verify(tmp_path))) == 4
    assert tools.repair(tmp_path) == []
    assert contents(tmp_path) == before
    assert _dumped(tmp_path) == entries(1, 9)
    path = snapshot.advance(tmp_path, Echo())
    assert path is not None
    assert snapshot.lsn_of(path) == 9
    assert_goes_on(tmp_path, 9)
    assert _dumped(kept) == records
