"""The calendar of expiries, against a plain dict from name to time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap.engines import calendar
from synap.engines.calendar import STALE_TIME_FACTOR, STALE_TIME_SLACK, Calendar

names = st.sampled_from("abcdefgh")
steps = st.lists(st.tuples(st.sampled_from("ssscpt"), names, st.integers(0, 20)), max_size=80)


class Book:
    """A calendar beside its twin. Time goes forward only."""

    def __init__(self) -> None:
        self.calendar = Calendar()
        self.times: dict[str, int] = {}
        self.now = 0

    def drop(self, name: str) -> None:
        if name in self.times:
            self.calendar.remove(name, self.times.pop(name))

    def put(self, name: str, at: int) -> None:
        self.drop(name)
        self.times[name] = at
        self.calendar.add(name, at)

    def due(self) -> dict[str, int]:
        return {name: at for name, at in self.times.items() if at <= self.now}

    def pop(self) -> None:
        due, name = self.due(), self.calendar.pop(self.now)
        if name is None:
            assert due == {}
        else:
            del self.times[name]
            assert name in due

    def check(self) -> None:
        assert self.calendar.next_due <= min(self.times.values(), default=math.inf)
        assert self.calendar.count(self.now) == len(self.due())


@given(steps=steps, slack=st.sampled_from([0, 1_000]))
def test_it_counts_and_gives_out_exactly_what_is_due(steps: list[tuple[str, str, int]], slack: int) -> None:
    book = Book()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calendar, "STALE_TIME_SLACK", slack)
        for what, name, number in steps:
            if what == "s":
                book.put(name, number)
            elif what == "c":
                book.drop(name)
            elif what == "p":
                book.pop()
            else:
                book.now = max(book.now, number)
            book.check()
        while book.calendar.pop(book.now) is not None:
            pass
        assert book.calendar.count(book.now) == 0
        assert book.calendar.next_due > book.now


@given(times=st.dictionaries(st.text(max_size=3), st.integers(0, 50)), now=st.integers(-1, 60))
def test_the_soonest_come_first(times: dict[str, int], now: int) -> None:
    book = Calendar()
    for name, at in times.items():
        book.add(name, at)
    book.count(now)
    assert [times[name] for name in book.soonest()] == sorted(times.values())
    assert set(book.soonest()) == set(times)


def test_of_those_due_the_first_go_first() -> None:
    book = Calendar()
    for name, at in {"b": 5, "a": 3, "c": 9}.items():
        book.add(name, at)
    assert [book.pop(20), book.pop(20), book.pop(20), book.pop(20)] == ["a", "b", "c", None]


def test_times_whose_names_are_gone_do_not_pile_up() -> None:
    book = Calendar()
    book.add("stays", 5)
    for at in range(10, 20 * STALE_TIME_SLACK):
        book.add("moves", at)
        book.remove("moves", at)
    assert len(book._ahead) <= STALE_TIME_FACTOR + STALE_TIME_SLACK + 1
    assert list(book.soonest()) == ["stays"]
