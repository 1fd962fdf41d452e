"""Places on Earth as scores of a sorted set, distances between them, and which scores an area is made of.

A score is the number of a cell in a grid of 2^26 by 2^26 over the map, its column and row interleaved bit by bit, as
Redis has it (https://github.com/redis/redis, src/geohash.c and geohash_helper.c) and Morton before: cells near each
other mostly have scores near each other, and a square of the map is an interval of scores. A place read back is the
centre of its cell, off by up to 30 cm each way.

An area is looked up in three steps: the part of the map that it lies in, the few squares that cover that part, and
the exact test of each place in them. The Earth counts as a sphere, which is wrong by up to 0.5 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from math import asin, cos, degrees, radians, sin, sqrt
from typing import NamedTuple, Protocol

LONGITUDE_MAX = 180.0
LATITUDE_MAX = 85.05112878
"""Where the square map of the world ends (Web Mercator)."""
METRES_PER_UNIT = {"m": 1.0, "km": 1000.0, "ft": 0.3048, "mi": 1609.34}

_EARTH_RADIUS_M = 6372797.560856

# Bits of a column and of a row. The last column and row have a neighbour with an infinitely thin cell, for the end of
# the map itself, so that scores can take two more bits than these.
_STEP_MAX = 26
_SCORE_BITS = 2 * _STEP_MAX
_SCORES = 1 << (_SCORE_BITS + 2)

# How many squares to cover an area with: fewer reach further beyond it, more must each be found.
_SQUARES_MAX = 16

# Added to what an area reaches on the map, so that no rounding loses a place on its border: 6 mm.
_SLACK = 1e-9

_GEOHASH_ALPHABET = "0123456789bcdefghjkmnpqrstuvwxyz"
_GEOHASH_LATITUDE_MAX = 90.0
_GEOHASH_LETTERS = 11
_LETTER_BITS = 5


class Point(NamedTuple):
    """A place, in degrees."""

    longitude: float
    latitude: float


def encode(point: Point) -> float:
    """The score of the cell that a place lies in."""
    return float(_cell(point, LATITUDE_MAX))


def decode(score: float) -> Point | None:
    """The centre of a cell; None for a score that `encode` never gives."""
    if not 0 <= score < _SCORES:
        return None
    cell = int(score)
    longitude = _centre(_gathered(cell >> 1), LONGITUDE_MAX)
    return Point(longitude, _centre(_gathered(cell), LATITUDE_MAX))


def geohash(point: Point) -> str:
    """A place as a standard geohash of 11 characters, of which, as in Redis, the last is always 0."""
    cell = _cell(point, _GEOHASH_LATITUDE_MAX)
    shifts = range(_SCORE_BITS - _LETTER_BITS, -1, -_LETTER_BITS)
    letters = [_GEOHASH_ALPHABET[cell >> shift & 0b11111] for shift in shifts]
    return "".join(letters).ljust(_GEOHASH_LETTERS, _GEOHASH_ALPHABET[0])


def distance_m(one: Point, other: Point) -> float:
    """Metres between two places along the surface, by the haversine formula."""
    v = sin((radians(other.longitude) - radians(one.longitude)) / 2)
    if v == 0:
        return _latitude_distance_m(one, other)
    first, second = radians(one.latitude), radians(other.latitude)
    u = sin((second - first) / 2)
    return 2 * _EARTH_RADIUS_M * asin(min(1.0, sqrt(u * u + cos(first) * cos(second) * v * v)))


class Bounds(NamedTuple):
    """A part of the map, in degrees. West of -180 or east of 180 it goes on at the other side."""

    west: float
    east: float
    south: float
    north: float


class Area(Protocol):
    """Something that a place is inside of or not."""

    def distance_m(self, point: Point) -> float | None:
        """Metres from the centre to a place inside, None for one outside."""

    def bounds(self) -> Bounds:
        """A part of the map that has all of the area in it."""


@dataclass(frozen=True, slots=True)
class Circle:
    """All places up to some distance from a centre."""

    centre: Point
    radius_m: float

    def distance_m(self, point: Point) -> float | None:
        """See Area."""
        distance = distance_m(self.centre, point)
        return distance if distance <= self.radius_m else None

    def bounds(self) -> Bounds:
        """See Area."""
        angle = self.radius_m / _EARTH_RADIUS_M + _SLACK
        latitude = abs(radians(self.centre.latitude))
        reaches_pole = latitude + angle >= math.pi / 2
        return _bounds(self.centre, math.pi if reaches_pole else _arc(sin(angle) / cos(latitude)), angle)


@dataclass(frozen=True, slots=True)
class Box:
    """All places whose latitude is up to half the height away and that lie on their parallel up to half the width."""

    centre: Point
    width_m: float
    height_m: float

    def distance_m(self, point: Point) -> float | None:
        """See Area."""
        if _latitude_distance_m(self.centre, point) > self.height_m / 2:
            return None
        if distance_m(Point(self.centre.longitude, point.latitude), point) > self.width_m / 2:
            return None
        return distance_m(self.centre, point)

    def bounds(self) -> Bounds:
        """See Area. The width takes the most degrees where parallels are shortest: at the side of the nearer pole."""
        angle_up = self.height_m / 2 / _EARTH_RADIUS_M + _SLACK
        nearest_pole = min(abs(radians(self.centre.latitude)) + angle_up, radians(LATITUDE_MAX))
        quarter = min(self.width_m / 4 / _EARTH_RADIUS_M + _SLACK, math.pi / 2)
        return _bounds(self.centre, 2 * _arc(sin(quarter) / cos(nearest_pole)), angle_up)


def covering(bounds: Bounds) -> list[tuple[int, int]]:
    """Intervals [low, high) of scores, ascending and apart, that have every place inside the bounds in them.

    They are made of up to 16 squares, the smallest of which so few are enough.
    """
    columns, rows, step = _squares(bounds)
    shift = 2 * (_STEP_MAX - step)
    squares = sorted(_spread(column) << 1 | _spread(row) for span in columns for column in span for row in rows)
    intervals: list[tuple[int, int]] = []
    for square in squares:
        low, high = square << shift, square + 1 << shift
        if intervals and low <= intervals[-1][1]:
            intervals[-1] = (intervals[-1][0], max(high, intervals[-1][1]))
        else:
            intervals.append((low, high))
    return intervals


def _squares(bounds: Bounds) -> tuple[list[range], range, int]:
    """The columns and rows of the squares that cover the bounds, and into how many bits the map is divided for them."""
    for step in range(_STEP_MAX, 0, -1):
        rows = _span(bounds.south, bounds.north, LATITUDE_MAX, step)
        columns = [_span(west, east, LONGITUDE_MAX, step) for west, east in _longitudes(bounds)]
        if len(rows) * sum(map(len, columns)) <= _SQUARES_MAX:
            return columns, rows, step
    return [range(2)], range(2), 0


def _longitudes(bounds: Bounds) -> Iterator[tuple[float, float]]:
    """The longitudes on the map, where the bounds may go on at the other side."""
    round_the_earth = 2 * LONGITUDE_MAX
    if bounds.east - bounds.west >= round_the_earth:
        yield -LONGITUDE_MAX, LONGITUDE_MAX
        return
    yield max(bounds.west, -LONGITUDE_MAX), min(bounds.east, LONGITUDE_MAX)
    if bounds.west <= -LONGITUDE_MAX:
        yield bounds.west + round_the_earth, LONGITUDE_MAX
    if bounds.east >= LONGITUDE_MAX:
        yield -LONGITUDE_MAX, bounds.east - round_the_earth


def _bounds(centre: Point, angle_aside: float, angle_up: float) -> Bounds:
    aside, up = degrees(angle_aside), degrees(angle_up)
    south, north = max(centre.latitude - up, -LATITUDE_MAX), min(centre.latitude + up, LATITUDE_MAX)
    return Bounds(centre.longitude - aside, centre.longitude + aside, south, north)


def _arc(sine: float) -> float:
    """The arc sine, or half way round the Earth where the value is too near to 1 for a good one."""
    return asin(sine) if sine < 1 - _SLACK else math.pi


def _latitude_distance_m(one: Point, other: Point) -> float:
    return _EARTH_RADIUS_M * abs(radians(other.latitude) - radians(one.latitude))


def _cell(point: Point, latitude_max: float) -> int:
    column = _index(point.longitude, LONGITUDE_MAX, _STEP_MAX)
    return _spread(column) << 1 | _spread(_index(point.latitude, latitude_max, _STEP_MAX))


def _span(low: float, high: float, end: float, step: int) -> range:
    return range(_index(low, end, step), _index(high, end, step) + 1)


def _index(coordinate: float, end: float, step: int) -> int:
    """Which of the 2^step parts from -end to end a coordinate is in. `end` itself is in a part of its own."""
    return int((coordinate + end) / (2 * end) * (1 << step))


def _centre(index: int, end: float) -> float:
    """The middle of a part of the finest division."""
    parts = 1 << _STEP_MAX
    first, last = index / parts * (2 * end) - end, (index + 1) / parts * (2 * end) - end
    return max(-end, min(end, (first + last) / 2))


def _spread(bits: int) -> int:
    """The lower 32 bits with a zero before each of them ("Interleave bits by Binary Magic Numbers", S. E. Anderson)."""
    bits = (bits | bits << 16) & 0x0000FFFF0000FFFF
    bits = (bits | bits << 8) & 0x00FF00FF00FF00FF
    bits = (bits | bits << 4) & 0x0F0F0F0F0F0F0F0F
    bits = (bits | bits << 2) & 0x3333333333333333
    return (bits | bits << 1) & 0x5555555555555555


def _gathered(bits: int) -> int:
    """What `_spread` made `bits` of, whose every other bit does not matter."""
    bits &= 0x5555555555555555
    bits = (bits | bits >> 1) & 0x3333333333333333
    bits = (bits | bits >> 2) & 0x0F0F0F0F0F0F0F0F
    bits = (bits | bits >> 4) & 0x00FF00FF00FF00FF
    bits = (bits | bits >> 8) & 0x0000FFFF0000FFFF
    return (bits | bits >> 16) & 0x00000000FFFFFFFF
