"""Reads of large collections are made in slices: the same result as ever, and of the moment it was asked for."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from synap.commands.slices import Sliced
from synap.engines import geo
from synap.engines.geo import Point
from synap.engines.sortedsets import SortedSet
from tests.support import Harness

COUNT = 21_000
NAMES = [f"name {number} é" for number in range(COUNT)]
HALF = NAMES[COUNT // 2 :]
OTHERS = [f"other {number}" for number in range(COUNT * 2)]
SCORES = {name: float(number // 3) for number, name in enumerate(NAMES)}


def scored(names: list[str]) -> list[dict[str, Any]]:
    return [{"member": name, "score": SCORES[name]} for name in names]


@pytest.fixture(scope="module")
def full() -> Harness:
    """A server with one large collection of each kind."""
    harness = Harness()
    harness.call("hash.mset", key="hash", fields={name: number for number, name in enumerate(NAMES)})
    harness.call("list.rpush", key="list", values=list(range(COUNT)))
    harness.call("set.add", key="set", members=NAMES)
    harness.call("set.add", key="half", members=HALF + OTHERS)
    harness.call("sortedset.zadd", key="sortedset", members=scored(NAMES))
    harness.call("sortedset.zadd", key="sortedset", members=[{"member": "top", "score": "+inf"}])
    chance = random.Random(1)
    members = [
        {"member": name, "longitude": chance.uniform(-10, 10), "latitude": chance.uniform(-10, 10)} for name in NAMES
    ]
    harness.call("geospatial.geoadd", key="places", members=members)
    harness.call("bitmap.setbit", key="bitmap", offset=80_000_000, value=1)
    harness.call("bitmap.setbit", key="bitmap", offset=3, value=1)
    return harness


BY_RANK = sorted(NAMES, key=lambda name: (SCORES[name], name.encode()))
TOP = [{"member": "top", "score": "+inf"}]
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("hash.getall", {"key": "hash"}, {"fields": {name: number for number, name in enumerate(NAMES)}}),
    ("hash.keys", {"key": "hash"}, {"fields": NAMES}),
    ("hash.vals", {"key": "hash"}, {"values": list(range(COUNT))}),
    ("list.range", {"key": "list"}, {"values": list(range(COUNT))}),
    ("set.members", {"key": "set"}, {"members": NAMES}),
    ("set.union", {"keys": ["set", "half", "none"]}, {"members": NAMES + OTHERS}),
    ("set.inter", {"keys": ["half", "set", "half", "set", "set"]}, {"members": HALF}),
    ("set.diff", {"keys": ["half", "set", "none"]}, {"members": OTHERS}),
    ("sortedset.zrange", {"key": "sortedset"}, {"members": scored(BY_RANK) + TOP}),
    ("sortedset.zrevrange", {"key": "sortedset"}, {"members": TOP + scored(BY_RANK)[::-1]}),
    ("sortedset.zrangebyscore", {"key": "sortedset", "min": 3, "max": "inf"}, {"members": scored(BY_RANK[9:]) + TOP}),
    ("bitmap.bitcount", {"key": "bitmap", "start": 0, "end": -2}, {"count": 1}),
]


def begun(harness: Harness, command: str, **payload: Any) -> Sliced:
    """What the handler returns."""
    bound = harness.executor.bound[command]
    result = bound.handler(harness.state, bound.decode(msgspec.json.encode(payload)), harness.clock.now())
    assert isinstance(result, Sliced)
    return result


@pytest.mark.parametrize(("command", "payload", "expected"), CASES, ids=[case[0] for case in CASES])
def test_a_large_result_is_made_in_slices(
    full: Harness, command: str, payload: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert full.call(command, **payload) == expected
    work = begun(full, command, **payload)
    assert not work.step()
    assert msgspec.json.decode(work.finish()) == expected


def test_positions_of_many_members_are_made_in_slices(full: Harness) -> None:
    members = [*NAMES[:3_000], "nobody"]
    for command, found_in in (("geospatial.geopos", "positions"), ("geospatial.geohash", "hashes")):
        sliced = msgspec.json.decode(begun(full, command, key="places", members=members).finish())[found_in]
        one_by_one = [full.call(command, key="places", member=member)[found_in][0] for member in members]
        assert sliced == one_by_one
        assert sliced[-1] is None


SEARCH = {"key": "places", "longitude": 0, "latitude": 0, "radius": 900, "unit": "km"}


@pytest.mark.parametrize(
    ("asked", "order", "count"),
    [
        ({}, None, None),
        ({"sort": "asc"}, 1, None),
        ({"sort": "desc"}, -1, None),
        ({"count": 10}, 1, 10),
        ({"count": 10, "sort": "desc"}, -1, 10),
        ({"count": 700}, 1, 700),
        ({"count": 700, "sort": "desc"}, -1, 700),
        ({"count": 700, "any": True}, None, 700),
    ],
)
def test_a_large_search_finds_what_looking_at_each_place_finds(
    full: Harness, asked: dict[str, Any], order: int | None, count: int | None
) -> None:
    held = full.state.keyspace.look("places", SortedSet, full.clock.now())
    assert held is not None
    points = [(member, geo.decode(score)) for score, member in held.ranked(0, len(held))]
    distances = [(name, geo.distance_m(Point(0, 0), point)) for name, point in points if point is not None]
    expected = [(name, distance) for name, distance in distances if distance <= 900_000]
    if order is not None:
        expected.sort(key=lambda place: order * place[1])
    found = msgspec.json.decode(begun(full, "geospatial.geosearch", **SEARCH, **asked).finish())["members"]
    assert [place["member"] for place in found] == [name for name, _ in expected[:count]]
    assert [place["distance"] for place in found] == [round(distance / 1_000, 4) for _, distance in expected[:count]]


def test_any_places_in_the_order_of_their_distances_are_the_first_ones_sorted(full: Harness) -> None:
    first = full.call("geospatial.geosearch", **SEARCH, count=700, any=True)["members"]
    found = full.call("geospatial.geosearch", **SEARCH, count=700, any=True, sort="asc")["members"]
    assert found == sorted(first, key=lambda place: place["distance"])


@pytest.mark.parametrize(("command", "payload", "expected"), CASES, ids=[case[0] for case in CASES])
def test_what_changes_later_is_not_in_a_result(
    full: Harness, command: str, payload: dict[str, Any], expected: dict[str, Any]
) -> None:
    harness = Harness()
    for chunk in full.executor.dump():
        harness.executor.load(chunk)
    work = begun(harness, command, **payload)
    work.step()
    harness.call("hash.del", key="hash", fields=NAMES[1:])
    harness.call("list.trim", key="list", start=0, stop=0)
    harness.call("set.rem", key="set", members=NAMES[1:])
    harness.call("set.pop", key="half", count=COUNT)
    harness.call("sortedset.zpopmin", key="sortedset", count=COUNT)
    harness.call("bitmap.setbit", key="bitmap", offset=5, value=1)
    assert msgspec.json.decode(work.finish()) == expected
