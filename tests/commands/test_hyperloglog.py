"""`hyperloglog.*`: distinct elements counted under keys."""

from __future__ import annotations

from typing import Any

import pytest

from synap.errors import InvalidPayload, WrongType
from tests.commands.common import recorded, refused
from tests.support import Harness


def add(harness: Harness, key: str, *elements: str) -> Any:
    return harness.call("hyperloglog.pfadd", key=key, elements=list(elements))["changed"]


def count(harness: Harness, *keys: str) -> Any:
    return harness.call("hyperloglog.pfcount", keys=list(keys))["count"]


def test_distinct_elements_are_counted(harness: Harness) -> None:
    assert harness.call("hyperloglog.pfadd", key="seen", elements=["a", "b", "a"]) == {"changed": True}
    assert harness.call("hyperloglog.pfadd", key="seen", element="c") == {"changed": True}
    assert harness.call("hyperloglog.pfcount", key="seen") == {"count": 3}
    assert harness.call("key.type", key="seen") == {"type": "hyperloglog"}


def test_what_was_counted_before_changes_nothing_and_leaves_no_record(harness: Harness) -> None:
    add(harness, "seen", "a", "b")
    assert not add(harness, "seen", "b", "a")
    assert not add(harness, "seen")
    assert recorded(harness) == ["hyperloglog.pfadd"]


def test_adding_nothing_makes_the_key(harness: Harness) -> None:
    assert add(harness, "seen")
    assert harness.call("key.exists", key="seen") == {"exists": True}
    assert count(harness, "seen") == 0
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()


def test_the_empty_string_is_an_element(harness: Harness) -> None:
    assert harness.call("hyperloglog.pfadd", key="seen", element="") == {"changed": True}
    assert count(harness, "seen") == 1


def test_several_keys_are_counted_as_one(harness: Harness) -> None:
    add(harness, "monday", "ann", "bob", "eve")
    add(harness, "tuesday", "eve", "joe")
    assert count(harness, "monday", "tuesday") == 4
    assert count(harness, "monday", "missing", "monday") == 3
    assert count(harness, "missing", "none") == 0
    assert harness.call("hyperloglog.pfcount", key="missing") == {"count": 0}
    assert len(recorded(harness)) == 2


def test_a_merge_takes_the_destination_in_and_keeps_its_expiry(harness: Harness) -> None:
    add(harness, "week", "ann")
    add(harness, "monday", "bob", "eve")
    add(harness, "tuesday", "eve")
    harness.call("kv.expire", key="week", ttl=100)
    merged = harness.call("hyperloglog.pfmerge", destination="week", sources=["monday", "tuesday", "missing"])
    assert merged == {"success": True}
    assert count(harness, "week") == 3
    assert harness.call("kv.ttl", key="week") == {"found": True, "ttl": 100}
    assert count(harness, "monday") == 2


def test_a_merge_does_not_take_the_expiry_of_a_source_along(harness: Harness) -> None:
    add(harness, "monday", "bob")
    harness.call("kv.expire", key="monday", ttl=100)
    harness.call("hyperloglog.pfmerge", destination="week", sources=["monday"])
    assert harness.call("kv.ttl", key="week") == {"found": True, "ttl": None}


@pytest.mark.parametrize("sources", [[], ["missing"]])
def test_a_merge_of_nothing_makes_an_empty_destination(harness: Harness, sources: list[str]) -> None:
    assert harness.call("hyperloglog.pfmerge", destination="week", sources=sources) == {"success": True}
    assert harness.call("key.type", key="week") == {"type": "hyperloglog"}
    assert count(harness, "week") == 0


def test_a_merge_that_adds_nothing_leaves_no_record(harness: Harness) -> None:
    add(harness, "week", "ann", "bob")
    add(harness, "monday", "bob")
    for sources in ([], ["monday"], ["week"], ["missing"]):
        assert harness.call("hyperloglog.pfmerge", destination="week", sources=sources) == {"success": True}
    assert recorded(harness) == ["hyperloglog.pfadd"] * 2


def test_a_destination_that_has_expired_is_not_taken_in(harness: Harness) -> None:
    add(harness, "week", "ann")
    add(harness, "monday", "bob")
    harness.call("kv.expire", key="week", ttl=1)
    harness.clock.advance(1)
    harness.call("hyperloglog.pfmerge", destination="week", sources=["monday"])
    assert count(harness, "week") == 1
    assert harness.call("kv.ttl", key="week") == {"found": True, "ttl": None}


@pytest.mark.parametrize(
    ("command", "payload"),
    [
        ("hyperloglog.pfadd", {"key": "text", "element": "x"}),
        ("hyperloglog.pfadd", {"key": "text", "elements": []}),
        ("hyperloglog.pfcount", {"key": "text"}),
        ("hyperloglog.pfcount", {"keys": ["missing", "seen", "text"]}),
        ("hyperloglog.pfmerge", {"destination": "text", "sources": ["seen"]}),
        ("hyperloglog.pfmerge", {"destination": "seen", "sources": ["other", "text"]}),
    ],
)
def test_a_key_of_another_type_is_refused_and_nothing_is_changed(
    harness: Harness, command: str, payload: dict[str, Any]
) -> None:
    harness.call("kv.set", key="text", value="x")
    add(harness, "seen", "a")
    add(harness, "other", "b")
    before = harness.digest()
    error = refused(harness, command, **payload)
    assert isinstance(error, WrongType)
    assert error.details == {"key": "text", "expected": "hyperloglog", "actual": "string"}
    assert harness.digest() == before
    assert len(recorded(harness)) == 3


@pytest.mark.parametrize(
    ("command", "payload"),
    [
        ("hyperloglog.pfadd", {"key": "a"}),
        ("hyperloglog.pfadd", {"key": "a", "element": "x", "elements": ["y"]}),
        ("hyperloglog.pfadd", {"key": "a", "elements": [1]}),
        ("hyperloglog.pfcount", {}),
        ("hyperloglog.pfcount", {"keys": []}),
        ("hyperloglog.pfmerge", {"destination": "a"}),
        ("hyperloglog.pfmerge", {"destination": "a", "sources": [""]}),
    ],
)
def test_payloads_that_say_too_little_or_too_much_are_refused(
    harness: Harness, command: str, payload: dict[str, Any]
) -> None:
    assert isinstance(refused(harness, command, **payload), InvalidPayload)


def test_a_copy_counts_on_alone(harness: Harness) -> None:
    add(harness, "a", "x")
    harness.call("key.copy", source="a", destination="b")
    add(harness, "b", "y")
    assert (count(harness, "a"), count(harness, "b")) == (1, 2)


def test_thousands_of_elements_come_back_after_a_restart(harness: Harness) -> None:
    add(harness, "a", *map(str, range(15_000)))
    add(harness, "b", *map(str, range(13_000, 19_000)))
    add(harness, "a", *map(str, range(20_000, 23_000)))
    harness.call("hyperloglog.pfmerge", destination="c", sources=["a", "b"])
    assert abs(count(harness, "c") - 22_000) <= 220
    assert count(harness, "c") == count(harness, "a", "b")
    for executor in (harness.replayed(), harness.restored()):
        assert executor.digest(harness.clock.now()) == harness.digest()


def test_stats_describe_all_of_them(harness: Harness) -> None:
    add(harness, "a", "x", "y")
    add(harness, "b")
    stats = harness.call("hyperloglog.stats")
    assert (stats["total_keys"], stats["total_elements"]) == (2, 2)
    assert 500 < stats["memory_bytes"] < 700
    add(harness, "b", *map(str, range(13_000)))
    assert 98_000 < harness.call("hyperloglog.stats")["memory_bytes"] < 101_000
