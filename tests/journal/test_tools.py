"""Verify, repair and dump: they say what is wrong, mend what can be mended and keep every byte they cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from synap.journal import JournalDamaged, aside, segment, snapshot, tools
from tests.journal.echo import (
    START,
    Echo,
    assert_goes_on,
    boundaries,
    contents,
    entries,
    flip,
    make,
    recovered,
    resumed,
    write,
)

Damage = Callable[[Path], None]


def _segments(directory: Path) -> list[Path]:
    return segment.list_segments(directory)


def _snapshot(directory: Path, last: int) -> Path:
    machine = Echo()
    machine.seen = entries(1, last)
    return snapshot.write(directory, machine, last, START + last)


# Verify


def test_an_intact_journal_is_described_file_by_file(tmp_path: Path) -> None:
    paths = make(tmp_path, 3, 5, 5)
    path = _snapshot(tmp_path, 3)
    findings = list(tools.verify(tmp_path))
    assert [finding.path for finding in findings] == [path, *paths]
    assert [(finding.first_lsn, finding.last_lsn, finding.records) for finding in findings] == [
        (3, 3, 0),
        (1, 3, 3),
        (4, 5, 2),
        (6, 5, 0),
    ]
    assert all(finding.size == finding.path.stat().st_size for finding in findings)
    assert not any(finding.error for finding in findings)


def test_an_empty_directory_has_nothing_to_tell(tmp_path: Path) -> None:
    assert list(tools.verify(tmp_path)) == []
    assert tools.repair(tmp_path) == []
    assert list(tools.dump(tmp_path)) == []


def test_damage_is_found_with_its_offset_and_what_is_intact_before_it(tmp_path: Path) -> None:
    path, _ = make(tmp_path, 4, 6)
    start = boundaries(path)[2]
    flip(path, start + 9)
    damaged, intact = tools.verify(tmp_path)
    assert damaged.error is not None
    assert damaged.error.offset == start
    assert not damaged.is_torn
    assert (damaged.first_lsn, damaged.last_lsn, damaged.records) == (1, 2, 2)
    assert intact.path.name == f"{5:020d}.journal"


def test_a_torn_end_is_told_from_damage(tmp_path: Path) -> None:
    _, last = make(tmp_path, 4, 6)
    with last.open("ab") as file:
        file.write(b"torn")
    _, finding = tools.verify(tmp_path)
    assert finding.error is not None
    assert finding.is_torn
    assert finding.records == 2


def test_verify_changes_nothing(tmp_path: Path) -> None:
    first, _, last = make(tmp_path, 3, 5, 8)
    flip(first, 20)
    last.write_bytes(last.read_bytes()[:-1])
    before = contents(tmp_path)
    list(tools.verify(tmp_path))
    assert contents(tmp_path) == before


def _aside(directory: Path, *segment_ends: int) -> list[Path]:
    """Records 4 to the last, put aside in two segments or more; and where they lie."""
    make(directory, *segment_ends)
    path = aside.copy_behind(directory, 3, "kept")
    assert path is not None
    return [path, *_segments(path)]


def test_records_put_aside_need_not_begin_with_the_first(tmp_path: Path) -> None:
    kept, *paths = _aside(tmp_path, 5, 7)
    findings = list(tools.verify(kept))
    assert [(finding.path, finding.first_lsn, finding.last_lsn) for finding in findings] == [
        (paths[0], 4, 5),
        (paths[1], 6, 7),
    ]
    assert not any(finding.error for finding in findings)


def test_records_that_are_missing_among_those_put_aside_are_found(tmp_path: Path) -> None:
    kept, _, missing, _ = _aside(tmp_path, 5, 7, 9)
    missing.unlink()
    _, finding = tools.verify(kept)
    assert finding.error is not None
    assert finding.error.reason == "records 6 to 7 are missing before it"


def test_records_put_aside_behind_their_snapshot_follow_it(tmp_path: Path) -> None:
    first, second, *_ = make(tmp_path, 3, 5, 7)
    _snapshot(tmp_path, 3)
    first.unlink()
    second.unlink()
    _, finding = tools.verify(aside.set_aside(tmp_path, "kept"))
    assert finding.error is not None
    assert finding.error.reason == "records 4 to 5 are missing before it"


# Verify, repair and recovery on the same damage


def _flip_in(number: int, record: int) -> Damage:
    """Change a byte of a record, counted from 0 within its segment."""

    def damage(directory: Path) -> None:
        path = _segments(directory)[number]
        flip(path, boundaries(path)[record] + 20)

    return damage


def _flip_head(number: int) -> Damage:
    return lambda directory: flip(_segments(directory)[number], 3)


def _cut_off(number: int, kept_bytes_of_end: int) -> Damage:
    def damage(directory: Path) -> None:
        path = _segments(directory)[number]
        path.write_bytes(path.read_bytes()[:kept_bytes_of_end])

    return damage


def _lose(number: int) -> Damage:
    return lambda directory: _segments(directory)[number].unlink()


def _nothing(_: Path) -> None:
    pass


# Segments of records 1-3, 4-6, 7-9; the number says how many records can be kept at best.
DAMAGES: list[tuple[str, Damage, int]] = [
    ("nothing", _nothing, 9),
    ("flip in the first record", _flip_in(0, 0), 0),
    ("flip in an old segment", _flip_in(0, 1), 1),
    ("flip at the end of an old segment", _flip_in(1, 2), 5),
    ("flip in the middle of the last segment", _flip_in(2, 1), 7),
    ("flip in the last record", _flip_in(2, 2), 8),
    ("flip in the head of an old segment", _flip_head(1), 3),
    ("flip in the head of the last segment", _flip_head(2), 6),
    ("old segment cut off inside a record", _cut_off(1, -3), 5),
    ("old segment empty", _cut_off(1, 0), 3),
    ("torn end", _cut_off(2, -3), 8),
    ("last segment empty", _cut_off(2, 0), 6),
    ("first segment missing", _lose(0), 0),
    ("middle segment missing", _lose(1), 3),
    ("last segment missing", _lose(2), 6),
]


@pytest.fixture(params=DAMAGES, ids=[name.replace(" ", "-") for name, _, _ in DAMAGES])
def damage(request: pytest.FixtureRequest) -> tuple[Damage, int]:
    _, inflict, keepable = request.param
    return inflict, keepable


@pytest.fixture(params=[None, 3, 6, 9], ids=lambda last: f"snapshot-{last}")
def damaged(request: pytest.FixtureRequest, damage: tuple[Damage, int], tmp_path: Path) -> tuple[Path, int]:
    """A damaged journal, beside a snapshot of its records up to some point; and how many records can be kept."""
    inflict, keepable = damage
    make(tmp_path, 3, 6, 9)
    covered: int | None = request.param
    inflict(tmp_path)
    if covered is not None:
        _snapshot(tmp_path, covered)
        if keepable < covered:
            # The segments behind the snapshot are whole, unless there are none or they are what was damaged.
            keepable = 9
    return tmp_path, keepable


def _opens(directory: Path) -> bool:
    """Whether recovery would accept a copy of the journal."""
    before = contents(directory)
    try:
        recovered(directory)
    except JournalDamaged:
        return False
    finally:
        for name, data in before.items():
            (directory / name).write_bytes(data)
    return True


def test_what_recovery_refuses_is_found(damaged: tuple[Path, int]) -> None:
    directory, _ = damaged
    if not _opens(directory):
        assert any(finding.error is not None and not finding.is_torn for finding in tools.verify(directory))


def test_a_repaired_journal_holds_what_can_be_kept_and_goes_on(damaged: tuple[Path, int]) -> None:
    directory, keepable = damaged
    try:
        tools.repair(directory)
    except JournalDamaged:
        assert not _opens(directory)
        assert keepable == 0
        return
    assert len(recovered(directory)[0].seen) == keepable
    assert_goes_on(directory, keepable)


def test_repair_throws_no_byte_away(damaged: tuple[Path, int]) -> None:
    directory, _ = damaged
    before = contents(directory)
    try:
        side_files = tools.repair(directory)
    except JournalDamaged:
        assert contents(directory) == before
        return
    after = contents(directory)
    kept = {name: data for name, data in after.items() if ".cut" not in name}
    cut = {name: data for name, data in after.items() if ".cut" in name}
    assert set(cut) == {path.name for path in side_files}
    for name, data in before.items():
        pieces = kept.get(name, b"") + b"".join(piece for side, piece in cut.items() if side.startswith(f"{name}.cut"))
        assert pieces == data


def test_repairing_twice_changes_nothing_more(damaged: tuple[Path, int]) -> None:
    directory, _ = damaged
    try:
        tools.repair(directory)
    except JournalDamaged:
        return
    before = contents(directory)
    assert tools.repair(directory) == []
    assert contents(directory) == before


# Repair


def test_an_intact_journal_is_left_as_it_is(tmp_path: Path) -> None:
    make(tmp_path, 3, 5, 5)
    _snapshot(tmp_path, 3)
    before = contents(tmp_path)
    assert tools.repair(tmp_path) == []
    assert contents(tmp_path) == before


def test_what_is_cut_lies_beside_the_segment_under_a_name_that_tells_where_it_was(tmp_path: Path) -> None:
    path, following = make(tmp_path, 4, 6)
    data, start = path.read_bytes(), boundaries(path)[2]
    flip(path, start + 9)
    damaged = path.read_bytes()
    moved = following.read_bytes()
    side_files = tools.repair(tmp_path)
    assert side_files == [
        path.with_name(f"{path.name}.cut-{start}"),
        following.with_name(f"{following.name}.cut"),
    ]
    assert path.read_bytes() == data[:start]
    assert side_files[0].read_bytes() == damaged[start:]
    assert side_files[1].read_bytes() == moved


def test_a_later_repair_does_not_overwrite_what_an_earlier_one_cut(tmp_path: Path) -> None:
    kept: list[bytes] = []
    make(tmp_path, 4, 6)
    for _ in range(3):
        path, following = _segments(tmp_path)
        flip(path, boundaries(path)[2] + 9)
        flip(following, following.stat().st_size - 1, bits=len(kept) + 1)
        cut_at = boundaries_before_damage(path)
        kept += [path.read_bytes()[cut_at:], following.read_bytes()]
        tools.repair(tmp_path)
        journal = resumed(tmp_path, recovered(tmp_path)[1])
        write(journal, 4)
        journal.roll()
        write(journal, 6)
        journal.close()
    cut = [data for name, data in contents(tmp_path).items() if ".cut" in name]
    assert sorted(cut) == sorted(kept)


def boundaries_before_damage(path: Path) -> int:
    """The offset of the first damaged record."""
    [finding] = [finding for finding in tools.verify(path.parent) if finding.path == path]
    assert finding.error is not None
    return finding.error.offset


def test_a_damaged_snapshot_is_set_aside_when_its_records_are_still_there(tmp_path: Path) -> None:
    make(tmp_path, 3, 5)
    path = _snapshot(tmp_path, 3)
    flip(path, path.stat().st_size - 1)
    [finding] = [finding for finding in tools.verify(tmp_path) if finding.path == path]
    assert finding.error is not None
    data = path.read_bytes()
    [side_file] = tools.repair(tmp_path)
    assert side_file.read_bytes() == data
    assert_goes_on(tmp_path, 5)


def test_a_damaged_snapshot_whose_records_are_gone_is_not_repaired(tmp_path: Path) -> None:
    first, _ = make(tmp_path, 3, 5)
    path = _snapshot(tmp_path, 3)
    first.unlink()
    flip(path, path.stat().st_size - 1)
    before = contents(tmp_path)
    with pytest.raises(JournalDamaged, match="the records it was made from are gone"):
        tools.repair(tmp_path)
    assert contents(tmp_path) == before


def test_a_damaged_snapshot_is_set_aside_when_an_older_one_can_take_its_place(tmp_path: Path) -> None:
    first, *_ = make(tmp_path, 3, 6, 8)
    _snapshot(tmp_path, 3)
    newer = _snapshot(tmp_path, 6)
    first.unlink()
    flip(newer, newer.stat().st_size - 1)
    assert [path.name for path in tools.repair(tmp_path)] == [f"{newer.name}.cut"]
    assert_goes_on(tmp_path, 8)


# Dump


def test_every_record_is_dumped(tmp_path: Path) -> None:
    make(tmp_path, 3, 5)
    records = list(tools.dump(tmp_path))
    assert [(record.lsn, record.time) for record in records] == [(lsn, START + lsn) for lsn in range(1, 6)]
    assert [(record.command, record.payload) for record in records] == entries(1, 5)


@pytest.mark.parametrize("from_lsn", range(8))
def test_a_dump_can_begin_at_any_record(tmp_path: Path, from_lsn: int) -> None:
    make(tmp_path, 3, 5)
    assert [record.lsn for record in tools.dump(tmp_path, from_lsn)] == list(range(max(from_lsn, 1), 6))


def test_a_dump_shows_what_is_intact_and_then_says_what_is_not(tmp_path: Path) -> None:
    make(tmp_path, 3)
    [path] = _segments(tmp_path)
    flip(path, boundaries(path)[1] + 9)
    dumped = tools.dump(tmp_path)
    assert next(dumped).lsn == 1
    with pytest.raises(JournalDamaged, match=str(path)):
        next(dumped)
