"""The clock: wall time that never runs backwards, and stands still for the length of a tick and no longer."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from synap.clock import Clock

MS = 1_000_000


class Wall:
    """A wall clock that shows what it is told to, in nanoseconds."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __call__(self) -> int:
        return self.at * MS


def test_it_shows_whole_milliseconds_of_the_wall_clock() -> None:
    assert Clock(lambda: 1_700_000_000_123_999_999).now() == 1_700_000_000_123


def test_the_default_is_the_time_of_the_machine() -> None:
    before = time.time_ns() // MS
    assert before <= Clock().now() <= time.time_ns() // MS


def test_behind_the_newest_time_it_goes_on_at_half_the_pace_until_the_wall_clock_has_caught_up() -> None:
    wall = Wall(100)
    clock = Clock(wall)
    clock.now()
    shown = {}
    for wall.at in (50, 50, 51, 52, 53, 73, 90, 119, 120, 121, 150):
        shown[wall.at] = clock.now()
    assert shown == {50: 100, 51: 100, 52: 101, 53: 101, 73: 111, 90: 120, 119: 134, 120: 135, 121: 135, 150: 150}


def test_set_back_again_and_again_it_stands_still_for_that_moment_only() -> None:
    wall = Wall(100)
    clock = Clock(wall)
    clock.now()
    wall.at = 50
    assert clock.now() == 100
    wall.at = 40
    assert clock.now() == 100
    wall.at = 60
    assert clock.now() == 110


def test_a_clock_that_begins_behind_starts_with_the_newest_time() -> None:
    wall = Wall(100)
    clock = Clock(wall)
    clock.advance_to(500)
    assert clock.now() == 500
    wall.at = 110
    assert clock.now() == 505


def test_it_can_be_lifted_to_a_newer_time_and_never_lowered() -> None:
    wall = Wall(100)
    clock = Clock(wall)
    clock.advance_to(500)
    assert clock.now() == 500
    clock.advance_to(300)
    assert clock.now() == 500
    wall.at = 501
    assert clock.now() == 501


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 50)), max_size=30))
def test_whatever_happens_it_never_runs_backwards(steps: list[tuple[bool, int]]) -> None:
    wall, seen = Wall(0), [0]
    clock = Clock(wall)
    for lift, at in steps:
        if lift:
            clock.advance_to(at)
        else:
            wall.at = at
        seen.append(clock.now())
        assert clock.now() >= at or not lift
    assert seen == sorted(seen)


def test_a_held_clock_stands_still_until_it_is_released() -> None:
    wall = Wall(100)
    clock = Clock(wall)
    assert clock.hold() == 100
    wall.at = 200
    assert clock.hold() == 100
    clock.release()
    assert clock.hold() == 200


def test_a_clock_held_again_never_shows_less_than_before() -> None:
    wall = Wall(100)
    clock = Clock(wall)
    clock.hold()
    clock.release()
    wall.at = 50
    assert clock.hold() == 100


def test_lifting_a_held_clock_takes_effect_at_once() -> None:
    clock = Clock(Wall(100))
    clock.hold()
    clock.advance_to(500)
    assert clock.hold() == 500
