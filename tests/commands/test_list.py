"""`list.*`: ordered JSON values. What holds for every type of collection is in test_collections.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from synap.errors import KeyNotFound, OutOfRange
from tests.commands.common import recorded, refused
from tests.support import Harness

INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)


def pushed(harness: Harness, *values: Any, key: str = "k") -> None:
    harness.call("list.rpush", key=key, values=list(values))


def values_of(harness: Harness, key: str = "k") -> Any:
    return harness.call("list.range", key=key)["values"]


# Both ends


def test_values_are_pushed_one_after_the_other_at_either_end(harness: Harness) -> None:
    assert harness.call("list.rpush", key="k", values=[1, 2]) == {"length": 2}
    assert harness.call("list.lpush", key="k", values=["a", "b"]) == {"length": 4}
    assert harness.call("list.rpush", key="k", value=[3]) == {"length": 5}
    assert harness.call("list.lpush", key="k", value=None) == {"length": 6}
    assert values_of(harness) == [None, "b", "a", 1, 2, [3]]
    assert harness.call("list.len", key="k") == {"length": 6}


def test_pushx_adds_only_to_a_list_that_is_there(harness: Harness) -> None:
    assert harness.call("list.rpushx", key="k", values=[1, 2]) == {"length": 0}
    pushed(harness, 1)
    assert harness.call("list.rpushx", key="k", values=[2, 3]) == {"length": 3}
    assert harness.call("list.lpushx", key="k", value=0) == {"length": 4}
    assert values_of(harness) == [0, 1, 2, 3]
    assert recorded(harness) == ["list.rpush", "list.rpushx", "list.lpushx"]


@pytest.mark.parametrize(
    ("command", "payload", "popped", "left"),
    [
        ("list.lpop", {}, [1], [2, 3]),
        ("list.rpop", {}, [3], [1, 2]),
        ("list.lpop", {"count": 2}, [1, 2], [3]),
        ("list.rpop", {"count": 2}, [3, 2], [1]),
        ("list.lpop", {"count": 0}, [], [1, 2, 3]),
        ("list.rpop", {"count": INT64_MAX}, [3, 2, 1], []),
    ],
)
def test_pops_take_the_outermost_first(
    harness: Harness, command: str, payload: dict[str, Any], popped: list[int], left: list[int]
) -> None:
    pushed(harness, 1, 2, 3)
    assert harness.call(command, key="k", **payload) == {"values": popped}
    assert values_of(harness) == left
    assert (recorded(harness)[-1] == command) == bool(popped)


@pytest.mark.parametrize(
    ("ends", "source", "destination"),
    [
        ({}, [1, 2], [3, 8, 9]),
        ({"from": "right", "to": "right"}, [1, 2], [8, 9, 3]),
        ({"from": "left", "to": "left"}, [2, 3], [1, 8, 9]),
        ({"from": "left", "to": "right"}, [2, 3], [8, 9, 1]),
    ],
)
def test_a_value_moves_from_an_end_to_an_end(
    harness: Harness, ends: dict[str, str], source: list[int], destination: list[int]
) -> None:
    pushed(harness, 1, 2, 3)
    pushed(harness, 8, 9, key="to")
    moved = harness.call("list.move", source="k", destination="to", **ends)["value"]
    assert (values_of(harness), values_of(harness, "to")) == (source, destination)
    assert moved in destination


def test_a_list_is_turned_by_moving_within_it(harness: Harness) -> None:
    pushed(harness, 1, 2, 3)
    assert harness.call("list.rpoplpush", source="k", destination="k") == {"value": 3}
    assert values_of(harness) == [3, 1, 2]
    assert harness.call("list.move", source="k", destination="k", **{"from": "left", "to": "right"}) == {"value": 3}
    assert values_of(harness) == [1, 2, 3]
    assert harness.replayed().state.digest(harness.clock.now()) == harness.digest()


def test_the_last_value_moves_into_a_new_list(harness: Harness) -> None:
    pushed(harness, None)
    assert harness.call("list.rpoplpush", source="k", destination="to") == {"value": None}
    assert harness.call("kv.keys")["keys"] == ["to"]
    assert values_of(harness, "to") == [None]


# By index


@pytest.mark.parametrize(
    ("bounds", "values"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"start": 1, "stop": 3}, [1, 2, 3]),
        ({"start": -2}, [3, 4]),
        ({"stop": -2}, [0, 1, 2, 3]),
        ({"start": 3, "stop": 1}, []),
        ({"start": 5}, []),
        ({"start": -100, "stop": 0}, [0]),
        ({"stop": -100}, []),
        ({"start": INT64_MIN, "stop": INT64_MAX}, [0, 1, 2, 3, 4]),
    ],
)
def test_a_range_includes_both_ends_and_a_trim_keeps_just_that(
    harness: Harness, bounds: dict[str, int], values: list[int]
) -> None:
    pushed(harness, *range(5))
    assert harness.call("list.range", key="k", **bounds) == {"values": values}
    assert harness.call("list.trim", key="k", **{"start": 0, "stop": -1} | bounds) == {"length": len(values)}
    assert values_of(harness) == values
    assert harness.call("key.exists", key="k") == {"exists": bool(values)}
    assert len(recorded(harness)) == (1 if len(values) == 5 else 2)


@pytest.mark.parametrize(("index", "value"), [(0, "a"), (2, None), (-1, None), (-3, "a")])
def test_an_index_counts_from_either_end(harness: Harness, index: int, value: Any) -> None:
    pushed(harness, "a", "b", None)
    assert harness.call("list.index", key="k", index=index) == {"found": True, "value": value}
    assert harness.call("list.set", key="k", index=index, value="new") == {"success": True}
    assert values_of(harness)[index] == "new"


@pytest.mark.parametrize("index", [3, -4, INT64_MAX, INT64_MIN])
def test_an_index_outside_the_list_is_not_found_and_cannot_be_set(harness: Harness, index: int) -> None:
    pushed(harness, 1, 2, 3)
    assert harness.call("list.index", key="k", index=index) == {"found": False, "value": None}
    assert isinstance(refused(harness, "list.set", key="k", index=index, value=1), OutOfRange)
    assert isinstance(refused(harness, "list.set", key="nobody", index=index, value=1), KeyNotFound)
    assert recorded(harness) == ["list.rpush"]


# By value


@pytest.mark.parametrize(
    ("count", "removed", "left"),
    [
        (0, 3, ["x"]),
        (1, 1, ["x", "a", "a"]),
        (2, 2, ["x", "a"]),
        (-1, 1, ["a", "x", "a"]),
        (-2, 2, ["a", "x"]),
        (INT64_MAX, 3, ["x"]),
        (INT64_MIN, 3, ["x"]),
    ],
)
def test_equal_values_are_removed_from_either_end(harness: Harness, count: int, removed: int, left: list[str]) -> None:
    pushed(harness, "a", "x", "a", "a")
    assert harness.call("list.rem", key="k", value="a", count=count) == {"removed": removed}
    assert values_of(harness) == left


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ({}, {"index": 0}),
        ({"rank": 2}, {"index": 2}),
        ({"rank": -1}, {"index": 5}),
        ({"rank": 4}, {"index": None}),
        ({"count": 0}, {"indexes": [0, 2, 5]}),
        ({"count": 2}, {"indexes": [0, 2]}),
        ({"count": 2, "rank": -1}, {"indexes": [5, 2]}),
        ({"count": 0, "rank": 2}, {"indexes": [2, 5]}),
        ({"count": 5, "rank": -9}, {"indexes": []}),
        ({"count": INT64_MAX}, {"indexes": [0, 2, 5]}),
        ({"count": 2, "rank": INT64_MAX}, {"indexes": []}),
        ({"count": 2, "rank": INT64_MIN}, {"indexes": []}),
        ({"rank": INT64_MIN}, {"index": None}),
    ],
)
def test_the_positions_of_equal_values(harness: Harness, search: dict[str, int], found: dict[str, Any]) -> None:
    pushed(harness, "a", "b", "a", "b", "b", "a")
    result = harness.call("list.pos", key="k", value="a", **search)
    assert result == {"index": None, "indexes": None} | found


@pytest.mark.parametrize(
    ("position", "pivot", "length", "values"),
    [
        ("before", "b", 4, ["a", "new", "b", "b"]),
        ("after", "b", 4, ["a", "b", "new", "b"]),
        ("before", "a", 4, ["new", "a", "b", "b"]),
        ("after", "c", -1, ["a", "b", "b"]),
    ],
)
def test_a_value_is_inserted_beside_the_first_one_like_the_pivot(
    harness: Harness, position: str, pivot: str, length: int, values: list[str]
) -> None:
    pushed(harness, "a", "b", "b")
    inserted = harness.call("list.insert", key="k", position=position, pivot=pivot, value="new")
    assert inserted == {"length": length}
    assert values_of(harness) == values
    assert len(recorded(harness)) == (1 if length < 0 else 2)


def sent(harness: Harness, command: str, payload: str) -> Any:
    """The payload of the reply to a payload given as JSON text."""
    return json.loads(harness.answer(f'{{"command":"list.{command}","payload":{payload}}}'.encode()).body)["payload"]


def test_values_are_compared_as_json_and_kept_as_written(harness: Harness) -> None:
    sent(
        harness, "rpush", r'{"key":"k","values":[1.0, true, "\u0061", {"b":1,"a":[2]}, 1e999, 1e99999999999999999999]}'
    )
    for index, value in enumerate(["1", "true", '"a"', '{"a":[2.0], "b":1}', "10e998", "1e99999999999999999999"]):
        assert sent(harness, "pos", f'{{"key":"k","value":{value}}}')["index"] == index
    for value in ("1e998", "false", '"true"', "2"):
        assert sent(harness, "rem", f'{{"key":"k","value":{value}}}')["removed"] == 0
    assert sent(harness, "insert", '{"key":"k","position":"after","pivot":1,"value":1.10}')["length"] == 7
    kept = rb'[1.0,1.10,true,"\u0061",{"b":1,"a":[2]},1e999,1e99999999999999999999]'
    assert kept in harness.answer(b'{"command":"list.range","payload":{"key":"k"}}').body


def test_deeply_nested_values_are_compared_as_well(harness: Harness) -> None:
    deep, spaced = (opening * 500 + "1" + "}" * 500 for opening in ('{"a":', '{"a": '))
    sent(harness, "rpush", f'{{"key":"k","values":[{deep}]}}')
    assert sent(harness, "pos", f'{{"key":"k","value":{spaced}}}')["index"] == 0


# Payloads


@pytest.mark.parametrize(
    ("command", "payload", "path"),
    [
        ("list.rpush", {"key": "k"}, "payload"),
        ("list.rpush", {"key": "k", "value": 1, "values": [2]}, "payload"),
        ("list.lpush", {"key": "k", "values": []}, "payload.values"),
        ("list.lpush", {"key": "k", "values": 1}, "payload.values"),
        ("list.rpushx", {"key": "", "value": 1}, "payload.key"),
        ("list.lpop", {"key": "k", "count": -1}, "payload.count"),
        ("list.rpop", {"key": "k", "count": "1"}, "payload.count"),
        ("list.range", {"key": "k", "start": 1.5}, "payload.start"),
        ("list.range", {"key": "k", "stop": 2**63}, "payload.stop"),
        ("list.range", {"key": "k", "end": 1}, "payload.end"),
        ("list.index", {"key": "k"}, "payload.index"),
        ("list.set", {"key": "k", "index": 0}, "payload.value"),
        ("list.trim", {"key": "k", "start": 0}, "payload.stop"),
        ("list.rem", {"key": "k"}, "payload.value"),
        ("list.insert", {"key": "k", "position": "at", "pivot": 1, "value": 1}, "payload.position"),
        ("list.insert", {"key": "k", "position": "after", "value": 1}, "payload.pivot"),
        ("list.pos", {"key": "k", "value": 1, "rank": 0}, "payload"),
        ("list.pos", {"key": "k", "value": 1, "count": -1}, "payload.count"),
        ("list.move", {"source": "a", "destination": "b", "from": "top"}, "payload.from"),
        ("list.rpoplpush", {"source": "a"}, "payload.destination"),
        ("list.blpop", {"keys": [], "timeout": 1}, "payload.keys"),
    ],
)
def test_a_wrong_field_of_a_payload_is_named_by_its_path(
    harness: Harness, command: str, payload: dict[str, Any], path: str
) -> None:
    error = refused(harness, command, **payload)
    assert (error.code, error.details["path"]) == ("INVALID_PAYLOAD", path)
    assert recorded(harness) == []
