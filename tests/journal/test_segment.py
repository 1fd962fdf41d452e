"""Segment files: their names, their heads, and what tells a torn end from damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from synap.journal import segment
from synap.journal.record import BODY_BYTES_MAX, BadRecord
from tests.journal.echo import boundaries, entry, flip, make


def _bad(path: Path) -> BadRecord:
    """What is wrong with the first record of `path` that is not right."""
    with pytest.raises(BadRecord) as bad:
        list(segment.records(path.read_bytes(), path))
    return bad.value


def _is_torn(path: Path, next_lsn: int) -> bool:
    return segment.is_torn(path.read_bytes(), _bad(path), next_lsn)


def test_names_sort_as_their_records_do(tmp_path: Path) -> None:
    lsns = [1, 9, 10, 99, 12_345_678_901, 2**63]
    for lsn in reversed(lsns):
        segment.path_of(tmp_path, lsn).touch()
    assert [segment.first_lsn_of(path) for path in segment.list_segments(tmp_path)] == lsns


def test_other_files_are_not_segments(tmp_path: Path) -> None:
    for name in ("LOCK", "notes.journal", "1.journal.cut", "1.journal.cut-40", "1.new", "1.snapshot", "-1.journal"):
        (tmp_path / name).touch()
    assert segment.list_segments(tmp_path) == []


def test_every_record_of_a_segment_is_read(tmp_path: Path) -> None:
    [path] = make(tmp_path, 4)
    found = list(segment.records(path.read_bytes(), path))
    assert [(record.lsn, (record.command, record.payload)) for record in found] == [
        (lsn, entry(lsn)) for lsn in range(1, 5)
    ]


def test_an_empty_file_ends_inside_its_head(tmp_path: Path) -> None:
    path = segment.path_of(tmp_path, 1)
    path.touch()
    assert _bad(path).reason == "the file ends inside its head (0 of 16 bytes)"


@pytest.mark.parametrize("offset", range(segment.HEAD.size))
def test_a_head_with_any_byte_changed_is_bad(tmp_path: Path, offset: int) -> None:
    [path] = make(tmp_path, 2)
    flip(path, offset)
    assert _bad(path).offset == 0


def test_a_segment_under_the_name_of_another_is_bad(tmp_path: Path) -> None:
    [path] = make(tmp_path, 2)
    moved = path.rename(segment.path_of(tmp_path, 2))
    assert _bad(moved).reason == "the file does not begin like a journal segment of its name"


def test_a_record_out_of_order_is_bad_and_never_torn(tmp_path: Path) -> None:
    [path] = make(tmp_path, 4)
    _, first, second, third, _ = boundaries(path)
    data = path.read_bytes()
    path.write_bytes(data[:first] + data[second:third])
    bad = _bad(path)
    assert bad.out_of_order
    assert bad.reason == "expected record 2, found record 3"
    assert not _is_torn(path, 2)


def test_a_bad_record_with_nothing_intact_behind_it_is_torn(tmp_path: Path) -> None:
    [path] = make(tmp_path, 4)
    flip(path, path.stat().st_size - 1)
    assert _is_torn(path, 4)


@pytest.mark.parametrize("record", [1, 2, 3])
def test_a_bad_record_with_an_intact_one_behind_it_is_damage(tmp_path: Path, record: int) -> None:
    [path] = make(tmp_path, 4)
    flip(path, boundaries(path)[record] - 1)
    assert not _is_torn(path, record)


@pytest.mark.parametrize("length", [0, 30, 10_000, BODY_BYTES_MAX, BODY_BYTES_MAX + 1, 2**32 - 1])
def test_a_wrong_length_does_not_hide_the_intact_records_behind_it(tmp_path: Path, length: int) -> None:
    [path] = make(tmp_path, 4)
    at = boundaries(path)[1]
    with path.open("r+b") as file:
        file.seek(at)
        file.write(length.to_bytes(4, "little"))
    assert not _is_torn(path, 2)


@pytest.mark.parametrize("page_bytes", [512, 4096, 65_536])
def test_a_lost_page_with_intact_records_behind_it_is_damage(tmp_path: Path, page_bytes: int) -> None:
    [path] = make(tmp_path, 4_000)
    at = boundaries(path)[100]
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(page_bytes))
    assert not _is_torn(path, 101)


def test_zeros_behind_the_last_record_are_torn(tmp_path: Path) -> None:
    [path] = make(tmp_path, 4)
    with path.open("ab") as file:
        file.write(bytes(4096))
    assert _is_torn(path, 5)
