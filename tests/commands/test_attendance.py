"""Who has asked for events of late."""

from __future__ import annotations

import pytest

from synap.commands.attendance import ATTENDS_MS, Attendance

NOW = 1_700_000_000_000


def test_a_consumer_counts_once_until_half_a_minute_after_it_asked_last() -> None:
    attendance = Attendance()
    for at in (NOW, NOW + 10):
        attendance.note("r", "g", "ann", at, 0)
    attendance.note("r", "g", "bob", NOW, 0)
    counted = [attendance.count("r", "g", NOW + ATTENDS_MS + later) for later in (-1, 0, 9, 10)]
    assert counted == [2, 1, 1, 0]


@pytest.mark.parametrize(("wait_secs", "waited_ms"), [(0.5, 500), (1e300, 3_600_000)])
def test_a_consumer_that_may_wait_counts_that_much_longer(wait_secs: float, waited_ms: int) -> None:
    attendance = Attendance()
    attendance.note("r", "g", "ann", NOW, wait_secs)
    over = NOW + waited_ms + ATTENDS_MS
    assert [attendance.count("r", "g", at) for at in (over - 1, over)] == [1, 0]


def test_those_without_a_name_count_as_one() -> None:
    attendance = Attendance()
    for name in (None, None, "None"):
        attendance.note("r", "g", name, NOW, 0)
    assert attendance.count("r", "g", NOW) == 2


def test_rooms_and_groups_are_apart() -> None:
    attendance = Attendance()
    attendance.note("r", "g", "ann", NOW, 0)
    assert [attendance.count(*of, NOW) for of in (("r", "g"), ("r", "h"), ("s", "g"))] == [1, 0, 0]


def test_those_long_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synap.commands.attendance.CONSUMERS_MAX", 10)
    attendance = Attendance()
    for n in range(100):
        attendance.note("r", f"g{n}", str(n), NOW + n * ATTENDS_MS, 0)
        assert len(attendance._groups) <= 12
    assert attendance.count("r", "g99", NOW + 99 * ATTENDS_MS) == 1


def test_those_who_are_here_are_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synap.commands.attendance.CONSUMERS_MAX", 10)
    attendance = Attendance()
    for n in range(50):
        attendance.note("r", "g", str(n), NOW + n, 0)
    assert attendance.count("r", "g", NOW + 50) == 50
