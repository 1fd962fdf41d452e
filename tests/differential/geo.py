"""`geospatial.*`: sorted sets whose scores are geohashes, at keys where no command gives other scores."""

from __future__ import annotations

from typing import Any

from tests.differential.draw import Draw
from tests.differential.expectation import Close, Satisfies
from tests.differential.redis_server import Argument
from tests.differential.translation import Operation, several, single, translates

# Not the very ends, 180 and 85.05112878: there Redis makes a score of more than 52 bits, which no search comes across.
_PLACES = [
    (13.361389, 38.115556),
    (15.087269, 37.502669),
    (2.352222, 48.856613),
    (2.352222, 48.856613),
    (-122.419416, 37.774929),
    (139.691711, 35.689487),
    (179.999999, 0.5),
    (-179.999999, 0.5),
    (0.0, 0.0),
    (-0.127758, 51.507351),
    (18.423300, -33.918861),
    (12.5, 85.0),
    (-180, -85.05112878),
]
_UNITS = ["m", "km", "ft", "mi"]
_METRES = {"m": 1.0, "km": 1000.0, "ft": 0.3048, "mi": 1609.34}
# Redis writes distances with four decimals, in whatever unit.
_DISTANCE_TOLERANCE = 0.0001
_DEGREES_TOLERANCE = 1e-9


def _place(draw: Draw) -> tuple[float, float]:
    longitude, latitude = draw.pick(_PLACES)
    if draw.chance(0.3):
        longitude, latitude = draw.rng.uniform(-180, 180), draw.rng.uniform(-85, 85)
    elif draw.chance(0.1):
        latitude = draw.pick([86.0, -90.0, 91.0])
    return longitude, latitude


@translates("geospatial.geoadd", weight=5)
def geoadd(draw: Draw) -> Operation:
    key, places = draw.key("geo"), [(name, _place(draw)) for name in draw.names(6)]
    members = [{"member": name, "longitude": place[0], "latitude": place[1]} for name, place in places]
    options = draw.pick([{}, {}, {}, {"nx": True}, {"xx": True}]) | draw.flags("ch")
    payload = {"key": key, **(members[0] if len(members) == 1 else {"members": members}), **options}
    arguments: list[Argument] = [part for name, place in places for part in (*place, name)]
    return single(payload, ["GEOADD", key, *map(str.upper, options), *arguments], lambda added: {"added": added})


@translates("geospatial.geodist", weight=2)
def geodist(draw: Draw) -> Operation:
    key, first, second, unit = draw.key("geo"), draw.name(), draw.name(), draw.pick(_UNITS)
    payload = {"key": key, "member1": first, "member2": second, "unit": unit}

    def expected(distance: bytes | None) -> dict[str, Any]:
        return {"distance": None if distance is None else _distance(distance)}

    return single(payload, ["GEODIST", key, first, second, unit], expected)


def _member_or_members(draw: Draw) -> tuple[dict[str, Any], list[str]]:
    members = draw.names()
    return {"member": members[0]} if len(members) == 1 else {"members": members}, members


@translates("geospatial.geopos")
def geopos(draw: Draw) -> Operation:
    key, (payload, members) = draw.key("geo"), _member_or_members(draw)

    def expected(places: list[list[bytes] | None]) -> dict[str, Any]:
        return {"positions": [None if place is None else _position(place) for place in places]}

    return single({"key": key, **payload}, ["GEOPOS", key, *members], expected)


@translates("geospatial.geohash")
def geohash(draw: Draw) -> Operation:
    key, (payload, members) = draw.key("geo"), _member_or_members(draw)

    def expected(hashes: list[bytes | None]) -> dict[str, Any]:
        return {"hashes": [None if one is None else one.decode() for one in hashes]}

    return single({"key": key, **payload}, ["GEOHASH", key, *members], expected)


@translates("geospatial.geosearch", weight=4)
def geosearch(draw: Draw) -> Operation:
    key, unit = draw.key("geo"), draw.pick(_UNITS)
    centre, around = _centre(draw)
    shape, within = _shape(draw, unit)
    payload: dict[str, Any] = {"key": key, **centre, **shape, "unit": unit}
    order = draw.pick([None, "asc", "desc"])
    if order:
        payload["sort"] = order
    if draw.chance(0.5):
        payload |= {"count": draw.rng.randint(1, 5), **draw.flags("any")}
    search = ["GEOSEARCH", key, *around, *within, unit]
    limit = ["COUNT", payload["count"], *(["ANY"] if "any" in payload else [])] if "count" in payload else []
    # Among equal distances any order is right, and any of them may be the last to be counted.
    commands = [[*search, "ASC", "WITHCOORD", "WITHDIST"], [*search, order or "ASC", *limit, "WITHDIST"]]
    return several(payload, commands, lambda everything, asked: _found(payload, everything, asked))


def _centre(draw: Draw) -> tuple[dict[str, Any], list[Argument]]:
    if draw.chance(0.4):
        member = draw.name()
        return {"member": member}, ["FROMMEMBER", member]
    place = draw.pick(_PLACES)
    return {"longitude": place[0], "latitude": place[1]}, ["FROMLONLAT", *place]


def _shape(draw: Draw, unit: str) -> tuple[dict[str, Any], list[Argument]]:
    metres = [150.0, 2_000.5, 250_000.0, 1_500_000.0, 9_000_000.0, 30_000_000.0]
    if draw.chance(0.6):
        radius = draw.pick(metres) / _METRES[unit]
        return {"radius": radius}, ["BYRADIUS", radius]
    width, height = draw.pick(metres) / _METRES[unit], draw.pick(metres) / _METRES[unit]
    return {"width": width, "height": height}, ["BYBOX", width, height]


def _found(payload: dict[str, Any], everything: list[Any], asked: list[Any]) -> dict[str, Any]:
    """Members at the distances that Redis gave when asked the same, each of them with its own place."""
    places = {name.decode(): {"distance": _distance(d), **_position(place)} for name, d, place in everything}
    wanted = [float(distance) for _, distance in asked]

    def is_right(members: list[dict[str, Any]]) -> bool:
        names = [found["member"] for found in members]
        if len(set(names)) < len(names) or not set(names) <= places.keys():
            return False
        if not all(_is_placed(places[found["member"]], found) for found in members):
            return False
        given = [found["distance"] for found in members]
        ordered = sorted(given, reverse=payload.get("sort") == "desc")
        if "sort" in payload and given != ordered:
            return False
        is_free = "any" in payload
        return len(given) == len(wanted) and (is_free or all(map(_is_close, ordered, wanted)))

    return {"members": Satisfies(is_right, f"members at {wanted} of these: {everything}")}


def _is_close(first: float, second: float) -> bool:
    return abs(first - second) <= _DISTANCE_TOLERANCE


def _is_placed(expected: dict[str, Close], found: dict[str, Any]) -> bool:
    return all(close.accepts(found[name]) for name, close in expected.items())


def _distance(text: bytes) -> Close:
    return Close(float(text), absolute=_DISTANCE_TOLERANCE)


def _position(place: list[bytes]) -> dict[str, Close]:
    longitude, latitude = place
    return {
        "longitude": Close(float(longitude), absolute=_DEGREES_TOLERANCE),
        "latitude": Close(float(latitude), absolute=_DEGREES_TOLERANCE),
    }
