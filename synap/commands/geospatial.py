"""`geospatial.*`: places on Earth as members of a sorted set, whose scores say where they are.

`sortedset.*` works on them, too: zrem removes a place, zcard counts them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import attrgetter
from typing import Annotated, Literal, NamedTuple

import msgspec

from synap.clock import Millis
from synap.commands.collections import MemberOrMembers, existing_or_new, settled
from synap.commands.large import made
from synap.commands.slices import Steps, array, elements, portions, sliced
from synap.commands.state import State
from synap.commands.table import command
from synap.commands.types import Key, Payload, Result, check_either
from synap.engines import geo
from synap.engines.geo import LATITUDE_MAX, LONGITUDE_MAX, METRES_PER_UNIT, Area, Box, Circle, Point
from synap.engines.sortedsets import Bound, Ranked, SortedSet
from synap.errors import InvalidPayload

Longitude = Annotated[float, msgspec.Meta(ge=-LONGITUDE_MAX, le=LONGITUDE_MAX, description="degrees")]
Latitude = Annotated[float, msgspec.Meta(ge=-LATITUDE_MAX, le=LATITUDE_MAX, description="degrees")]
Extent = Annotated[float, msgspec.Meta(ge=0)]
Unit = Literal["m", "km", "ft", "mi"]

_DISTANCE_DECIMALS = 4
# Up to so many places are looked at in a search without others having their turn.
_WHOLE_MAX = 500
# Places looked at in a slice: some take 5 us.
_PORTION = 200
# Where so few of the nearest are wanted, what cannot be among them is dropped after so many slices.
_FEW = 100
_RUNS_OF_FEW = 20


class Place(Payload):
    """A member and where it is."""

    member: str
    longitude: Longitude
    latitude: Latitude


class Add(Payload):
    """Payload of geospatial.geoadd. `nx` only adds, `xx` only moves; `ch` counts moved members too."""

    key: Key
    member: str | None = None
    longitude: Longitude | None = None
    latitude: Latitude | None = None
    members: Annotated[list[Place], msgspec.Meta(min_length=1)] | None = None
    nx: bool = False
    xx: bool = False
    ch: bool = False

    def __post_init__(self) -> None:
        if not (self.member is None) == (self.longitude is None) == (self.latitude is None):
            raise ValueError("expected member, longitude and latitude together")
        check_either(self.member, self.members, "member with longitude and latitude or members")
        if self.nx and self.xx:
            raise ValueError("nx and xx exclude each other")

    def places(self) -> list[tuple[str, Point]]:
        """All members given and where they are."""
        if self.member is not None and self.longitude is not None and self.latitude is not None:
            return [(self.member, Point(self.longitude, self.latitude))]
        return [(place.member, Point(place.longitude, place.latitude)) for place in self.members or ()]


class AddResult(Result):
    """`added` counts new members, with `ch` moved ones too."""

    added: int


@command(
    "geospatial.geoadd",
    writes=True,
    keys=("key",),
    routes=("POST /geospatial/{key}/geoadd",),
    cost="O(members x log n)",
    since="0.2",
)
def geoadd(state: State, payload: Add, now: Millis) -> AddResult:
    """Add places, or move them. They are kept to within 30 cm each way."""
    held = existing_or_new(state, payload.key, SortedSet, now)
    added = moved = 0
    scores: dict[str, float] = {}
    for member, point in payload.places():
        score, old = geo.encode(point), scores.get(member, held.scores.get(member))
        if score == old or (payload.xx if old is None else payload.nx):
            continue
        scores[member] = score
        added += old is None
        moved += old is not None
    held.put_all(scores)
    result: AddResult = AddResult(added + moved if payload.ch else added)
    return settled(state, payload.key, held, now, result, added + moved)


class TwoMembers(Payload):
    """Payload of geospatial.geodist."""

    key: Key
    member1: str
    member2: str
    unit: Unit = "m"


class Distance(Result):
    """A distance in the unit asked for, null when one of the members is not there."""

    distance: float | None


@command(
    "geospatial.geodist",
    keys=("key",),
    routes=("GET /geospatial/{key}/geodist/{member1}/{member2}",),
    cost="O(1)",
    since="0.2",
)
def geodist(state: State, payload: TwoMembers, now: Millis) -> Distance:
    """Measure the distance between two places along the surface of the Earth, taken as a sphere."""
    one, other = _points(_scores(state, payload.key, [payload.member1, payload.member2], now))
    if one is None or other is None:
        return Distance(None)
    return Distance(_shown(geo.distance_m(one, other), payload.unit))


class Position(Result):
    """Where a place is, in degrees."""

    longitude: float
    latitude: float


class Positions(Result):
    """A position for each member asked for, null where there is none."""

    positions: list[Position | None]


@command("geospatial.geopos", keys=("key",), routes=("POST /geospatial/{key}/geopos",), cost="O(members)", since="0.2")
def geopos(state: State, payload: MemberOrMembers, now: Millis) -> Positions:
    """Tell where places are."""
    scores = _scores(state, payload.key, payload.names(), now)
    return made(Positions, scores, lambda some: [None if p is None else Position(*p) for p in _points(some)], _PORTION)


class Hashes(Result):
    """A geohash for each member asked for, null where there is none."""

    hashes: list[str | None]


@command(
    "geospatial.geohash", keys=("key",), routes=("POST /geospatial/{key}/geohash",), cost="O(members)", since="0.2"
)
def geohash(state: State, payload: MemberOrMembers, now: Millis) -> Hashes:
    """Tell where places are as geohashes of 11 characters, as https://geohash.org takes them."""
    scores = _scores(state, payload.key, payload.names(), now)
    return made(Hashes, scores, lambda some: [None if p is None else geo.geohash(p) for p in _points(some)], _PORTION)


class Search(Payload):
    """Payload of geospatial.geosearch.

    The centre is a `member` or a `longitude` and `latitude`; the area is the circle with `radius` or the box with
    `width` and `height` around it. With `count` the nearest come, with `any` whichever are found first. They come in
    the order of their scores, unless `sort` or a `count` without `any` asks for that of their distances.
    """

    key: Key
    member: str | None = None
    longitude: Longitude | None = None
    latitude: Latitude | None = None
    radius: Extent | None = None
    width: Extent | None = None
    height: Extent | None = None
    unit: Unit = "m"
    count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    any: bool = False
    sort: Literal["asc", "desc"] | None = None

    def __post_init__(self) -> None:
        if (self.longitude is None) != (self.latitude is None):
            raise ValueError("expected longitude and latitude together")
        check_either(self.member, self.longitude, "member or longitude and latitude")
        if (self.width is None) != (self.height is None):
            raise ValueError("expected width and height together")
        check_either(self.radius, self.width, "radius or width and height")
        if self.any and self.count is None:
            raise ValueError("any: expected a count with it")

    def area(self, held: SortedSet) -> Area:
        """What is searched. Raises InvalidPayload when the member at its centre is not there."""
        centre, metres = self._centre(held), METRES_PER_UNIT[self.unit]
        if self.radius is not None:
            return Circle(centre, self.radius * metres)
        return Box(centre, (self.width or 0) * metres, (self.height or 0) * metres)

    @property
    def is_by_distance(self) -> bool:
        """Whether places come in the order of their distances."""
        return self.sort is not None or (self.count is not None and not self.any)

    def _centre(self, held: SortedSet) -> Point:
        if self.longitude is not None and self.latitude is not None:
            return Point(self.longitude, self.latitude)
        point = _point(held, self.member or "")
        if point is None:
            raise InvalidPayload(
                f"payload.member: expected a place of {self.key[:100]!r}, got {(self.member or '')[:100]!r}",
                path="payload.member",
            )
        return point


class FoundPlace(Result):
    """A member, how far it is from the centre, in the unit asked for, and where it is."""

    member: str
    distance: float
    longitude: float
    latitude: float


class FoundPlaces(Result):
    """The places inside the area."""

    members: list[FoundPlace]


@command(
    "geospatial.geosearch",
    keys=("key",),
    routes=("POST /geospatial/{key}/geosearch",),
    cost="O(log n + places in and closely around the area)",
    since="0.2",
)
def geosearch(state: State, payload: Search, now: Millis) -> FoundPlaces:
    """Find the places in a circle or a box."""
    held = state.keyspace.look(payload.key, SortedSet, now)
    if held is None:
        return FoundPlaces([])
    area = payload.area(held)
    around = _around(held, area)
    if sum(map(len, around)) > _WHOLE_MAX:
        return sliced(FoundPlaces, _search(payload, area, around))
    runs = list(_runs(payload, area, around))
    return FoundPlaces([_told(hit, payload.unit) for hit in _merged(payload, runs)])


class _Hit(NamedTuple):
    member: str
    distance_m: float
    point: Point


_distance_of = attrgetter("distance_m")


def _around(held: SortedSet, area: Area) -> list[list[Ranked]]:
    """What is in and closely around an area, in the order of the scores."""
    intervals = geo.covering(area.bounds())
    return [held.ranked(*held.ranks_between(Bound(low), Bound(high, is_exclusive=True))) for low, high in intervals]


def _runs(payload: Search, area: Area, around: Iterable[Sequence[Ranked]]) -> Iterator[list[_Hit]]:
    """The places inside an area, run by run. Each run is in the order asked for, and no longer than what is."""
    wanted = payload.count if payload.any else None
    for some in around:
        run = list(islice(_inside(area, some), wanted))
        if wanted is not None:
            wanted -= len(run)
        if payload.is_by_distance:
            run.sort(key=_distance_of, reverse=payload.sort == "desc")
        yield run[: payload.count]
        if wanted == 0:
            return


def _inside(area: Area, around: Iterable[Ranked]) -> Iterator[_Hit]:
    for score, member in around:
        point = geo.decode(score)
        distance_m = None if point is None else area.distance_m(point)
        if point is not None and distance_m is not None:
            yield _Hit(member, distance_m, point)


def _merged(payload: Search, runs: list[list[_Hit]]) -> Iterator[_Hit]:
    """The places of all runs, in the order asked for and as many as are."""
    if payload.is_by_distance:
        return islice(heapq.merge(*runs, key=_distance_of, reverse=payload.sort == "desc"), payload.count)
    return chain.from_iterable(runs)


def _search(payload: Search, area: Area, around: list[list[Ranked]]) -> Steps:
    """A search in slices."""
    found = _runs(payload, area, portions(chain.from_iterable(around), _PORTION))
    if payload.is_by_distance:
        runs = []
        for run in found:
            runs.append(run)
            if payload.count is not None and payload.count <= _FEW and len(runs) >= _RUNS_OF_FEW:
                runs = [list(_merged(payload, runs))]
            yield
        found = portions(_merged(payload, runs), _PORTION)
    return (yield from array(FoundPlaces, (elements([_told(hit, payload.unit) for hit in some]) for some in found)))


def _told(hit: _Hit, unit: Unit) -> FoundPlace:
    return FoundPlace(hit.member, _shown(hit.distance_m, unit), *hit.point)


def _scores(state: State, key: str, members: list[str], now: Millis) -> list[float | None]:
    held = state.keyspace.look(key, SortedSet, now)
    return [None] * len(members) if held is None else list(map(held.scores.get, members))


def _points(scores: Iterable[float | None]) -> list[Point | None]:
    return [None if score is None else geo.decode(score) for score in scores]


def _point(held: SortedSet, member: str) -> Point | None:
    score = held.scores.get(member)
    return None if score is None else geo.decode(score)


def _shown(distance_m: float, unit: Unit) -> float:
    return round(distance_m / METRES_PER_UNIT[unit], _DISTANCE_DECIMALS)
