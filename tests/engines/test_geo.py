"""Places as scores, distances, and the scores an area is covered with. Redis, where it is installed, says the same."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from synap.engines import geo
from synap.engines.geo import Area, Box, Circle, Point
from tests.differential.redis_server import BINARY, RedisServer

PALERMO = Point(13.361389, 38.115556)
CATANIA = Point(15.087269, 37.502669)
HALF_ROUND_THE_EARTH_M = 20_020_741

longitudes = st.one_of(st.floats(-180, 180), st.sampled_from([-180.0, 180.0, 0.0, 179.99999, -179.99999]))
latitudes = st.one_of(
    st.floats(-geo.LATITUDE_MAX, geo.LATITUDE_MAX),
    st.sampled_from([geo.LATITUDE_MAX, -geo.LATITUDE_MAX, 0.0, 85.0, -85.0]),
)
points = st.builds(Point, longitudes, latitudes)
lengths_m = st.one_of(
    st.sampled_from([0.0, 0.1, 1.0, 100.0, 5_000.0, 200_000.0, 3_000_000.0, 20_000_000.0, 1e300]),
    st.floats(0, 25_000_000),
)
circles = st.builds(Circle, points, lengths_m)
boxes = st.builds(Box, points, lengths_m, lengths_m)
areas: st.SearchStrategy[Circle | Box] = st.one_of(circles, boxes)


def stored(point: Point) -> Point:
    """A place as it is read back."""
    back = geo.decode(geo.encode(point))
    assert back is not None
    return back


def is_covered(point: Point, area: Area) -> bool:
    return any(low <= geo.encode(point) < high for low, high in geo.covering(area.bounds()))


def moved(start: Point, bearing: float, distance_m: float) -> Point:
    """Where one arrives going straight on; kept on the map."""
    angle, latitude = distance_m / 6_372_797.560856, math.radians(start.latitude)
    sine = math.sin(latitude) * math.cos(angle) + math.cos(latitude) * math.sin(angle) * math.cos(bearing)
    there = math.asin(max(-1.0, min(1.0, sine)))
    east = math.atan2(
        math.sin(bearing) * math.sin(angle) * math.cos(latitude), math.cos(angle) - math.sin(latitude) * math.sin(there)
    )
    longitude = (start.longitude + math.degrees(east) + 180) % 360 - 180
    return Point(longitude, max(-geo.LATITUDE_MAX, min(geo.LATITUDE_MAX, math.degrees(there))))


@pytest.mark.parametrize(
    ("point", "score"),
    [
        (PALERMO, 3479099956230698),
        (CATANIA, 3479447370796909),
        (Point(0, 0), 3377699720527872),
        (Point(-180, -geo.LATITUDE_MAX), 0),
        (Point(180, 0), 10133099161583616),
        (Point(0, geo.LATITUDE_MAX), 6755399441055744),
        (Point(180, geo.LATITUDE_MAX), 13510798882111488),
    ],
)
def test_scores_are_those_of_redis(point: Point, score: int) -> None:
    assert geo.encode(point) == score


@given(points)
def test_a_place_comes_back_from_its_score_to_within_half_a_metre(point: Point) -> None:
    back = stored(point)
    assert geo.distance_m(point, back) < 0.5
    assert geo.encode(back) == geo.encode(point)


@pytest.mark.parametrize("score", [-1, -0.5, 2**54, 1e300, math.inf, -math.inf])
def test_scores_that_are_no_places_are_told_apart(score: float) -> None:
    assert geo.decode(score) is None


def test_any_other_score_is_a_place_on_the_map() -> None:
    for score in (0, 1, 2**53 - 1, 2**54 - 1, 1.5):
        point = geo.decode(score)
        assert point is not None
        assert abs(point.longitude) <= 180
        assert abs(point.latitude) <= geo.LATITUDE_MAX


def test_geohashes_are_those_of_redis() -> None:
    assert geo.geohash(stored(PALERMO)) == "sqc8b49rny0"
    assert geo.geohash(stored(CATANIA)) == "sqdtr74hyu0"
    assert geo.geohash(stored(Point(180, geo.LATITUDE_MAX))) == "bp05b5048p0"


def test_distances_are_those_of_redis() -> None:
    assert round(geo.distance_m(stored(PALERMO), stored(CATANIA)), 4) == 166274.1516


@given(points, points)
def test_a_distance_is_the_same_both_ways_and_at_most_half_round_the_earth(one: Point, other: Point) -> None:
    assert geo.distance_m(one, one) == 0
    assert geo.distance_m(one, other) == pytest.approx(geo.distance_m(other, one))
    assert 0 <= geo.distance_m(one, other) <= HALF_ROUND_THE_EARTH_M


def test_the_ends_of_the_map_are_the_same_meridian() -> None:
    assert geo.distance_m(Point(180, 40), Point(-180, 40)) < 1e-6


@settings(max_examples=1_000, deadline=None)
@given(areas, points)
@example(Circle(Point(180, 0), 1), Point(-180, 0))
@example(Circle(Point(-180, 0), 1), Point(180, 0))
@example(Circle(Point(0, geo.LATITUDE_MAX), 600_000), Point(180, geo.LATITUDE_MAX))
@example(Box(Point(179, 80), 400_000, 10), Point(-179, 80))
def test_a_place_inside_is_covered(area: Circle | Box, point: Point) -> None:
    point = stored(point)
    assert area.distance_m(point) is None or is_covered(point, area)


borders = st.one_of(st.just(1.0), st.sampled_from([0.0, 0.5, 0.99, 0.999999]), st.floats(0, 1))


@settings(max_examples=1_000, deadline=None)
@given(circles, st.floats(0, 2 * math.pi), borders)
def test_a_place_just_inside_a_circle_is_covered(circle: Circle, bearing: float, part: float) -> None:
    point = stored(moved(circle.centre, bearing, min(circle.radius_m, HALF_ROUND_THE_EARTH_M) * part))
    assert circle.distance_m(point) is None or is_covered(point, circle)


@settings(max_examples=1_000, deadline=None)
@given(boxes, borders, borders, st.sampled_from([1, -1]), st.sampled_from([1, -1]))
def test_a_place_just_inside_a_box_is_covered(box: Box, across: float, along: float, east: int, north: int) -> None:
    angle_up = min(box.height_m, HALF_ROUND_THE_EARTH_M) / 2 * across * north / 6_372_797.560856
    latitude = max(-geo.LATITUDE_MAX, min(geo.LATITUDE_MAX, box.centre.latitude + math.degrees(angle_up)))
    quarter = min(box.width_m, HALF_ROUND_THE_EARTH_M) / 4 * along / 6_372_797.560856
    aside = 2 * math.asin(min(1.0, math.sin(quarter) / math.cos(math.radians(latitude)))) * east
    longitude = (box.centre.longitude + math.degrees(aside) + 180) % 360 - 180
    point = stored(Point(longitude, latitude))
    assert box.distance_m(point) is None or is_covered(point, box)


@settings(deadline=None)
@given(areas)
def test_intervals_are_few_in_order_and_apart(area: Circle | Box) -> None:
    intervals = geo.covering(area.bounds())
    assert 1 <= len(intervals) <= 16
    assert all(low < high for low, high in intervals)
    assert all(high < low for (_, high), (low, _) in pairwise(intervals))


@pytest.mark.parametrize("radius_m", [1, 50, 1_000, 30_000, 500_000])
def test_a_covering_is_not_much_larger_than_what_it_covers(radius_m: float) -> None:
    """Or a search would look at many places in vain."""
    intervals = geo.covering(Circle(PALERMO, radius_m).bounds())
    column_m, row_m = 40_041_000 / 2**26 * math.cos(math.radians(38)), 40_041_000 / 2**26 * 170.1 / 360
    covered = sum(high - low for low, high in intervals) * column_m * row_m
    assert covered < 5 * math.pi * radius_m**2


def test_a_box_is_measured_along_the_parallel_of_the_place() -> None:
    """So it is wider in degrees towards the pole."""
    box = Box(Point(0, 60), 100_000, 1_000_000)
    assert box.distance_m(Point(0.6, 64)) is not None
    assert box.distance_m(Point(1, 64)) is not None
    assert box.distance_m(Point(1, 56)) is None
    assert box.distance_m(Point(0, 65)) is None


def test_an_area_without_extent_holds_its_centre_only() -> None:
    centre = stored(PALERMO)
    for area in (Circle(centre, 0), Box(centre, 0, 0)):
        assert area.distance_m(centre) == 0
        assert area.distance_m(stored(Point(13.361399, 38.115556))) is None
        assert is_covered(centre, area)


# Beside a real Redis

needs_redis = pytest.mark.skipif(BINARY is None, reason="redis-server is not installed")
PLACES = 5_000
SEARCHES = 200


@pytest.fixture(scope="module")
def places() -> dict[str, Point]:
    """Places all over the map, and many around a few of them."""
    random = Random(7)
    found = [Point(random.uniform(-180, 180), random.uniform(-85, 85)) for _ in range(PLACES // 4)]
    found += [Point(180, 10), Point(-180, 10), Point(0, geo.LATITUDE_MAX), Point(0, -geo.LATITUDE_MAX), Point(0, 0)]
    hubs = [PALERMO, Point(179.9, 0), Point(-179.9, 50), Point(10, 84), Point(-100, -84)]
    while len(found) < PLACES:
        hub = random.choice(hubs)
        found.append(moved(hub, random.uniform(0, 2 * math.pi), random.uniform(0, 1_000_000)))
    return {f"place:{number}": point for number, point in enumerate(found)}


@pytest.fixture(scope="module")
def redis(places: dict[str, Point]) -> Iterator[RedisServer]:
    with RedisServer() as server:
        added = server.execute([("GEOADD", "g", repr(p.longitude), repr(p.latitude), m) for m, p in places.items()])
        assert added == [1] * len(places)
        yield server


@needs_redis
def test_redis_gives_the_same_scores_positions_and_geohashes(redis: RedisServer, places: dict[str, Point]) -> None:
    scores = redis.execute([("ZSCORE", "g", member) for member in places])
    assert [float(score) for score in scores] == [geo.encode(point) for point in places.values()]
    [positions] = redis.execute([("GEOPOS", "g", *places)])
    back = [stored(point) for point in places.values()]
    told = [(float(longitude), float(latitude)) for longitude, latitude in positions]
    assert told == [pytest.approx(point, rel=1e-15, abs=1e-16) for point in back]
    [hashes] = redis.execute([("GEOHASH", "g", *places)])
    assert [text.decode() for text in hashes] == [geo.geohash(point) for point in back]


@needs_redis
def test_redis_gives_the_same_distances(redis: RedisServer, places: dict[str, Point]) -> None:
    random = Random(8)
    pairs = [random.sample(list(places), 2) for _ in range(2_000)]
    distances = redis.execute([("GEODIST", "g", one, other, "km") for one, other in pairs])
    expected = [geo.distance_m(stored(places[one]), stored(places[other])) / 1000 for one, other in pairs]
    assert [float(distance) for distance in distances] == [round(distance, 4) for distance in expected]


def found_by(redis: RedisServer, area: Circle | Box) -> set[str]:
    centre = ("FROMLONLAT", repr(area.centre.longitude), repr(area.centre.latitude))
    if isinstance(area, Circle):
        [found] = redis.execute([("GEOSEARCH", "g", *centre, "BYRADIUS", repr(area.radius_m), "m")])
    else:
        sides = (repr(area.width_m), repr(area.height_m))
        [found] = redis.execute([("GEOSEARCH", "g", *centre, "BYBOX", *sides, "m")])
    return {member.decode() for member in found}


@needs_redis
@pytest.mark.parametrize("shape", ["circle", "box"])
def test_redis_finds_the_same_places(redis: RedisServer, places: dict[str, Point], shape: str) -> None:
    random = Random(9)
    back = {member: stored(point) for member, point in places.items()}
    scores = {member: geo.encode(point) for member, point in places.items()}
    # At the east and north ends of the map, and across a pole, Redis does not find what is there.
    ends = {m for m, point in back.items() if point.longitude == 180 or point.latitude == geo.LATITUDE_MAX}
    for _ in range(SEARCHES):
        centre = random.choice(list(places.values()))
        reach = [10 ** random.uniform(3, 6.3) for _ in range(2)]
        area = Circle(centre, reach[0]) if shape == "circle" else Box(centre, *reach)
        covering = geo.covering(area.bounds())
        looked_at = [m for m, score in scores.items() if any(low <= score < high for low, high in covering)]
        found = {m for m in looked_at if area.distance_m(back[m]) is not None}
        assert found == {m for m, point in back.items() if area.distance_m(point) is not None}
        if area.bounds().east - area.bounds().west < 360:
            assert found - ends == found_by(redis, area) - ends, area
