"""What has come for those who wait: only what is awaited, in the order it came, each topic once."""

from __future__ import annotations

from synap.engines.arrivals import Arrivals


def arrived(awaited: set[str], *noted: str) -> list[object]:
    arrivals = Arrivals()
    arrivals.awaited = awaited
    for topic in noted:
        arrivals.note(topic)
    return list(arrivals.arrived)


def test_nothing_is_kept_while_nobody_waits() -> None:
    arrivals = Arrivals()
    arrivals.note("a")
    assert not arrivals.arrived


def test_what_nobody_awaits_is_passed_over() -> None:
    assert arrived({"a"}, "b", "a", "c") == ["a"]


def test_topics_stand_in_the_order_they_first_came() -> None:
    assert arrived({"a", "b", "c"}, "b", "c", "b", "a", "b") == ["b", "c", "a"]


def test_a_topic_that_comes_often_stands_there_once() -> None:
    assert arrived({"a"}, *["a"] * 1_000) == ["a"]


def test_topics_that_were_taken_out_may_come_again() -> None:
    arrivals = Arrivals()
    arrivals.awaited = {"a"}
    arrivals.note("a")
    assert arrivals.arrived.popitem(last=False) == ("a", None)
    arrivals.note("a")
    assert list(arrivals.arrived) == ["a"]
