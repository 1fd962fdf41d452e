"""`geospatial.*`: places in sorted sets."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from synap.errors import InvalidPayload, WrongType
from tests.commands.common import recorded, refused
from tests.differential.redis_server import BINARY, RedisServer
from tests.support import Harness

PALERMO = {"member": "Palermo", "longitude": 13.361389, "latitude": 38.115556}
CATANIA = {"member": "Catania", "longitude": 15.087269, "latitude": 37.502669}
AGRIGENTO = {"member": "Agrigento", "longitude": 13.583333, "latitude": 37.316667}
CENTRE = {"longitude": 15, "latitude": 37}


@pytest.fixture
def sicily(harness: Harness) -> Harness:
    """A harness with two towns under the key `sicily`."""
    harness.call("geospatial.geoadd", key="sicily", members=[PALERMO, CATANIA])
    return harness


def found(harness: Harness, **payload: Any) -> list[str]:
    members = harness.call("geospatial.geosearch", key="sicily", **payload)["members"]
    return [place["member"] for place in members]


def test_places_are_members_of_a_sorted_set(sicily: Harness) -> None:
    assert sicily.call("key.type", key="sicily") == {"type": "sortedset"}
    assert sicily.call("sortedset.zscore", key="sicily", member="Palermo")["score"] == 3479099956230698
    sicily.call("sortedset.zrem", key="sicily", member="Palermo")
    assert found(sicily, **CENTRE, radius=500, unit="km") == ["Catania"]


def test_adding_counts_new_places_and_with_ch_moved_ones(sicily: Harness) -> None:
    def add(**payload: Any) -> Any:
        return sicily.call("geospatial.geoadd", key="sicily", **payload)["added"]

    assert add(**AGRIGENTO) == 1
    assert add(**AGRIGENTO) == 0
    assert add(**AGRIGENTO | {"latitude": 37.4}) == 0
    assert add(members=[AGRIGENTO, PALERMO, {**CENTRE, "member": "sea"}], ch=True) == 2


def test_nx_only_adds_and_xx_only_moves(sicily: Harness) -> None:
    moved = {"member": "Palermo", "longitude": 0, "latitude": 0}
    assert sicily.call("geospatial.geoadd", key="sicily", members=[moved, AGRIGENTO], nx=True, ch=True) == {"added": 1}
    assert round(sicily.call("geospatial.geopos", key="sicily", member="Palermo")["positions"][0]["latitude"]) == 38
    sea = {**CENTRE, "member": "sea"}
    assert sicily.call("geospatial.geoadd", key="sicily", members=[moved, sea], xx=True, ch=True) == {"added": 1}
    assert sicily.call("sortedset.zcard", key="sicily") == {"count": 3}
    assert sicily.call("geospatial.geoadd", key="none", xx=True, **PALERMO) == {"added": 0}
    assert sicily.call("key.exists", key="none") == {"exists": False}


def test_what_changes_nothing_leaves_no_record(sicily: Harness) -> None:
    sicily.call("geospatial.geoadd", key="sicily", members=[PALERMO, CATANIA], ch=True)
    sicily.call("geospatial.geoadd", key="sicily", xx=True, **AGRIGENTO)
    assert recorded(sicily) == ["geospatial.geoadd"]
    assert sicily.replayed().digest(sicily.clock.now()) == sicily.digest()


def test_adding_keeps_the_expiry(sicily: Harness) -> None:
    sicily.call("kv.expire", key="sicily", ttl=10)
    sicily.call("geospatial.geoadd", key="sicily", **AGRIGENTO)
    assert sicily.call("kv.ttl", key="sicily") == {"found": True, "ttl": 10}


@pytest.mark.parametrize(
    ("unit", "distance"), [("m", 166274.1516), ("km", 166.2742), ("ft", 545518.8700), ("mi", 103.3182)]
)
def test_a_distance_has_the_unit_asked_for_and_four_decimals(sicily: Harness, unit: str, distance: float) -> None:
    asked = {"key": "sicily", "member1": "Palermo", "member2": "Catania"}
    assert sicily.call("geospatial.geodist", **asked, unit=unit) == {"distance": distance}
    if unit == "m":
        assert sicily.call("geospatial.geodist", **asked) == {"distance": distance}


def test_what_is_not_there_is_null(sicily: Harness) -> None:
    assert sicily.call("geospatial.geodist", key="sicily", member1="Palermo", member2="x") == {"distance": None}
    assert sicily.call("geospatial.geodist", key="none", member1="Palermo", member2="x") == {"distance": None}
    assert sicily.call("geospatial.geopos", key="sicily", members=["x"]) == {"positions": [None]}
    assert sicily.call("geospatial.geopos", key="none", member="x") == {"positions": [None]}
    assert sicily.call("geospatial.geohash", key="none", members=["x", "y"]) == {"hashes": [None, None]}


def test_positions_and_geohashes_come_in_the_order_asked_for(sicily: Harness) -> None:
    [none, palermo] = sicily.call("geospatial.geopos", key="sicily", members=["x", "Palermo"])["positions"]
    assert none is None
    assert palermo == {"longitude": pytest.approx(13.361389, abs=1e-5), "latitude": pytest.approx(38.115556, abs=1e-5)}
    hashes = sicily.call("geospatial.geohash", key="sicily", members=["Catania", "x", "Palermo"])["hashes"]
    assert hashes == ["sqdtr74hyu0", None, "sqc8b49rny0"]


def test_scores_that_are_no_places_have_no_position(harness: Harness) -> None:
    scores = [{"member": "below", "score": -1}, {"member": "far", "score": 1e300}, {"member": "inf", "score": "+inf"}]
    harness.call("sortedset.zadd", key="a", members=scores)
    members = ["below", "far", "inf"]
    assert harness.call("geospatial.geopos", key="a", members=members) == {"positions": [None] * 3}
    assert harness.call("geospatial.geohash", key="a", members=members) == {"hashes": [None] * 3}
    assert harness.call("geospatial.geodist", key="a", member1="far", member2="inf") == {"distance": None}
    assert harness.call("geospatial.geosearch", key="a", longitude=0, latitude=0, radius=1e9) == {"members": []}
    assert isinstance(refused(harness, "geospatial.geosearch", key="a", member="inf", radius=1), InvalidPayload)


def test_a_search_tells_distance_and_position(sicily: Harness) -> None:
    places = sicily.call("geospatial.geosearch", key="sicily", **CENTRE, radius=200, unit="km", sort="asc")["members"]
    assert [(place["member"], place["distance"]) for place in places] == [("Catania", 56.4413), ("Palermo", 190.4424)]
    [position] = sicily.call("geospatial.geopos", key="sicily", member="Catania")["positions"]
    assert places[0] == {"member": "Catania", "distance": 56.4413, **position}


def test_a_search_goes_out_from_a_place_or_a_member(sicily: Harness) -> None:
    assert found(sicily, **CENTRE, radius=100, unit="km") == ["Catania"]
    assert found(sicily, member="Palermo", radius=100, unit="mi") == ["Palermo"]
    assert found(sicily, member="Palermo", radius=0) == ["Palermo"]
    assert found(sicily, member="Palermo", width=400, height=200, unit="km") == ["Palermo", "Catania"]
    assert found(sicily, member="Palermo", width=400, height=100, unit="km") == ["Palermo"]


def test_a_search_is_in_the_order_of_scores_or_distances_and_cut_to_the_nearest(sicily: Harness) -> None:
    sicily.call("geospatial.geoadd", key="sicily", **AGRIGENTO)
    by_score = [place["member"] for place in sicily.call("sortedset.zrange", key="sicily")["members"]]
    near = ["Catania", "Agrigento", "Palermo"]
    assert by_score != near
    everything = {**CENTRE, "radius": 1_000, "unit": "km"}
    assert found(sicily, **everything) == by_score
    assert found(sicily, **everything, sort="asc") == near
    assert found(sicily, **everything, sort="desc") == near[::-1]
    assert found(sicily, **everything, count=2) == near[:2]
    assert found(sicily, **everything, count=2, sort="desc") == near[:0:-1]
    assert found(sicily, **everything, count=2, any=True) == by_score[:2]
    assert found(sicily, **everything, count=10) == near
    first = [name for name in near if name in by_score[:2]]
    assert found(sicily, **everything, count=2, any=True, sort="asc") == first


def test_a_search_of_an_absent_key_finds_nothing(harness: Harness) -> None:
    assert harness.call("geospatial.geosearch", key="none", member="x", radius=1) == {"members": []}


def test_a_search_around_an_absent_member_is_an_error_that_names_it(sicily: Harness) -> None:
    error = refused(sicily, "geospatial.geosearch", key="sicily", member="Rome", radius=1)
    assert isinstance(error, InvalidPayload)
    assert error.details["path"] == "payload.member"
    assert "'Rome'" in error.message


def test_more_places_than_are_fetched_at_once_are_all_found(harness: Harness) -> None:
    places = [{"member": str(n), "longitude": n / 1000, "latitude": 0} for n in range(1_700)]
    harness.call("geospatial.geoadd", key="sicily", members=places)
    assert len(found(harness, longitude=0, latitude=0, radius=1_000, unit="km")) == 1_700
    assert found(harness, longitude=0, latitude=0, radius=1_000, unit="km", count=2) == ["0", "1"]


INVALID: list[tuple[str, dict[str, Any]]] = [
    ("geoadd", {}),
    ("geoadd", {"members": []}),
    ("geoadd", {"member": "a", "longitude": 1}),
    ("geoadd", {"longitude": 1, "latitude": 1}),
    ("geoadd", {**PALERMO, "members": [CATANIA]}),
    ("geoadd", {**PALERMO, "nx": True, "xx": True}),
    ("geoadd", {**PALERMO, "longitude": 180.1}),
    ("geoadd", {**PALERMO, "longitude": -180.1}),
    ("geoadd", {**PALERMO, "latitude": 85.06}),
    ("geoadd", {**PALERMO, "latitude": -85.06}),
    ("geoadd", {"members": [PALERMO, {**CATANIA, "latitude": 86}]}),
    ("geodist", {"member1": "a"}),
    ("geodist", {"member1": "a", "member2": "b", "unit": "cm"}),
    ("geopos", {}),
    ("geohash", {"member": "a", "members": ["b"]}),
    ("geosearch", {"radius": 1}),
    ("geosearch", {"member": "Palermo"}),
    ("geosearch", {"member": "Palermo", **CENTRE, "radius": 1}),
    ("geosearch", {"longitude": 1, "radius": 1}),
    ("geosearch", {"member": "Palermo", "radius": -1}),
    ("geosearch", {"member": "Palermo", "width": 1}),
    ("geosearch", {"member": "Palermo", "radius": 1, "width": 1, "height": 1}),
    ("geosearch", {"member": "Palermo", "radius": 1, "count": 0}),
    ("geosearch", {"member": "Palermo", "radius": 1, "any": True}),
    ("geosearch", {"member": "Palermo", "radius": 1, "sort": "near"}),
    ("geosearch", {"longitude": 0, "latitude": 86, "radius": 1}),
]


@pytest.mark.parametrize(("operation", "payload"), INVALID)
def test_payloads_that_make_no_sense_are_refused_and_change_nothing(
    sicily: Harness, operation: str, payload: dict[str, Any]
) -> None:
    before = sicily.digest()
    assert isinstance(refused(sicily, f"geospatial.{operation}", key="sicily", **payload), InvalidPayload)
    assert sicily.digest() == before


@pytest.mark.parametrize(
    ("operation", "payload"),
    [
        ("geoadd", PALERMO),
        ("geodist", {"member1": "a", "member2": "b"}),
        ("geopos", {"member": "a"}),
        ("geohash", {"member": "a"}),
        ("geosearch", {"member": "a", "radius": 1}),
    ],
)
def test_a_key_of_another_type_is_refused(harness: Harness, operation: str, payload: dict[str, Any]) -> None:
    harness.call("kv.set", key="text", value="x")
    error = refused(harness, f"geospatial.{operation}", key="text", **payload)
    assert isinstance(error, WrongType)
    assert error.details == {"key": "text", "expected": "sortedset", "actual": "string"}


@pytest.mark.skipif(BINARY is None, reason="redis-server is not installed")
def test_redis_answers_the_same_searches_with_the_same_places_distances_and_order(harness: Harness) -> None:
    random = Random(3)
    places = [(f"p{n}", random.uniform(10, 18), random.uniform(35, 40)) for n in range(400)]
    names = ("member", "longitude", "latitude")
    harness.call("geospatial.geoadd", key="g", members=[dict(zip(names, place, strict=True)) for place in places])
    with RedisServer() as redis:
        redis.execute([("GEOADD", "g", repr(lon), repr(lat), member) for member, lon, lat in places])
        for _ in range(100):
            unit, sort, count = random.choice(["m", "km", "ft", "mi"]), random.choice(["asc", "desc"]), 20
            metres = {"m": 1, "km": 1000, "ft": 0.3048, "mi": 1609.34}[unit]
            centre, sides = random.choice(places)[0], [random.uniform(0, 700_000) / metres for _ in range(2)]
            payload = {"member": centre, "unit": unit, "sort": sort, "count": count}
            ask = ["GEOSEARCH", "g", "FROMMEMBER", centre]
            if random.random() < 0.5:
                payload |= {"radius": sides[0]}
                ask += ["BYRADIUS", repr(sides[0]), unit]
            else:
                payload |= {"width": sides[0], "height": sides[1]}
                ask += ["BYBOX", *map(repr, sides), unit]
            members = harness.call("geospatial.geosearch", key="g", **payload)["members"]
            [expected] = redis.execute([(*ask, sort.upper(), "COUNT", count, "WITHDIST")])
            told = [(place["member"], place["distance"]) for place in members]
            assert told == [(member.decode(), float(distance)) for member, distance in expected], payload
