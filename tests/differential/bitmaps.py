"""`bitmap.*`: a type of its own in Synap and a string in Redis, so at keys where no other strings are."""

from __future__ import annotations

from typing import Any

from tests.differential.draw import Draw
from tests.differential.keys import named
from tests.differential.redis_server import Argument
from tests.differential.translation import Operation, single, translates

_OFFSET_MAX = 200
_FIELDS_MAX = (_OFFSET_MAX + 64) // 64 + 1
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_WIDTHS = [1, 2, 4, 5, 8, 13, 16, 31, 32, 33, 62, 63]
_OVERFLOWS = ["wrap", "sat", "fail"]


def content_at(key: str) -> Operation:
    """Read all bits there can be; behind the end a field reads as zeros."""
    fields = [{"op": "get", "type": "i64", "offset": f"#{number}"} for number in range(_FIELDS_MAX)]

    def expected(stored: bytes | None) -> dict[str, Any]:
        padded = (stored or b"").ljust(_FIELDS_MAX * 8, b"\0")
        assert len(padded) == _FIELDS_MAX * 8
        return {"values": [int.from_bytes(padded[at : at + 8], signed=True) for at in range(0, len(padded), 8)]}

    return named("bitmap.bitfield", single({"key": key, "operations": fields}, ["GET", key], expected))


@translates("bitmap.setbit", weight=4)
def setbit(draw: Draw) -> Operation:
    key, offset, value = draw.key("bitmap"), _offset(draw), draw.pick([0, 1, 1])
    payload = {"key": key, "offset": offset, "value": value}
    return single(payload, ["SETBIT", key, offset, value], lambda previous: {"previous": previous})


@translates("bitmap.getbit")
def getbit(draw: Draw) -> Operation:
    key, offset = draw.key("bitmap"), draw.pick([_offset(draw), 2**32 - 1])
    return single({"key": key, "offset": offset}, ["GETBIT", key, offset], lambda value: {"value": value})


@translates("bitmap.bitcount", weight=2)
def bitcount(draw: Draw) -> Operation:
    key, span = draw.key("bitmap"), _span(draw, [0, 2])
    return single({"key": key, **span}, ["BITCOUNT", key, *span.values()], lambda count: {"count": count})


@translates("bitmap.bitpos", weight=3)
def bitpos(draw: Draw) -> Operation:
    key, value, span = draw.key("bitmap"), draw.pick([0, 1]), _span(draw, [0, 1, 2])
    command = ["BITPOS", key, value, *span.values()]
    return single({"key": key, "value": value, **span}, command, lambda at: {"position": None if at < 0 else at})


@translates("bitmap.bitop", weight=2)
def bitop(draw: Draw) -> Operation:
    operation, destination = draw.pick(["and", "or", "xor", "not"]), draw.key("bitmap")
    keys = draw.keys("bitmap", most=1 if operation == "not" else 3)
    payload = {"destination": destination, "operation": operation, "keys": keys}
    return single(payload, ["BITOP", operation, destination, *keys], lambda length: {"length": length})


@translates("bitmap.bitfield", weight=3)
def bitfield(draw: Draw) -> Operation:
    key, steps = draw.key("bitmap"), [_step(draw) for _ in range(draw.rng.randint(1, 3))]
    arguments = [part for step in steps for part in _arguments(step)]
    payload = {"key": key, "operations": steps}
    return single(payload, ["BITFIELD", key, *arguments], lambda values: {"values": values})


def _step(draw: Draw) -> dict[str, Any]:
    width = draw.pick(_WIDTHS)
    field = f"u{width}" if draw.chance(0.5) else f"i{draw.pick([width, 64])}"
    offset = f"#{draw.rng.randint(0, 3)}" if draw.chance(0.3) else _offset(draw)
    step: dict[str, Any] = {"op": draw.pick(["get", "set", "incrby"]), "type": field, "offset": offset}
    if step["op"] == "get":
        return step
    is_set = step["op"] == "set"
    # So far below the lowest value of a field, Redis's check for an overflow overflows itself, and saturates upwards.
    lowest = -(2**62) if is_set and field != "i64" else _INT64_MIN
    number = draw.pick([1, -1, 100, -(2 ** (width - 1)), 2 ** (width - 1), 2**width - 1, _INT64_MIN, _INT64_MAX])
    step["value" if is_set else "increment"] = max(lowest, min(number + draw.rng.randint(-1, 1), _INT64_MAX))
    return step | ({"overflow": draw.pick(_OVERFLOWS)} if draw.chance(0.7) else {})


def _arguments(step: dict[str, Any]) -> list[Argument]:
    if step["op"] == "get":
        return ["GET", step["type"], step["offset"]]
    number = step["value"] if step["op"] == "set" else step["increment"]
    return ["OVERFLOW", step.get("overflow", "wrap"), step["op"], step["type"], step["offset"], number]


def _offset(draw: Draw) -> int:
    return draw.rng.randint(0, _OFFSET_MAX if draw.chance(0.3) else 40)


def _span(draw: Draw, ends: list[int]) -> dict[str, Any]:
    """Part of a bitmap, with none, one or both of its ends."""
    unit = draw.pick(["byte", "bit"])
    reach = 12 if unit == "byte" else 80
    span: dict[str, Any] = {name: draw.between(-reach, reach) for name in ("start", "end")[: draw.pick(ends)]}
    return span | {"unit": unit} if len(span) == 2 and draw.chance(0.7) else span
