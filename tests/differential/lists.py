"""`list.*`."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from tests.differential.draw import Draw
from tests.differential.keys import named
from tests.differential.redis_server import Argument
from tests.differential.strings import json_or_null
from tests.differential.translation import Command, Operation, at_once, several, single, translates

_LONG_PUSH = 150


def content_at(key: str) -> Operation:
    """Read the whole list."""
    return named("list.range", single({"key": key}, ["LRANGE", key, 0, -1], _values))


def _push(draw: Draw, word: str) -> Operation:
    key = draw.key("list")
    values = [draw.json() for _ in range(_LONG_PUSH if draw.chance(0.02) else draw.rng.randint(1, 4))]
    payload = {"key": key, "value": values[0]} if len(values) == 1 else {"key": key, "values": values}
    return single(payload, [word, key, *map(bytes, values)], lambda length: {"length": length})


@translates("list.lpush", weight=2)
def lpush(draw: Draw) -> Operation:
    return _push(draw, "LPUSH")


@translates("list.rpush", weight=2)
def rpush(draw: Draw) -> Operation:
    return _push(draw, "RPUSH")


@translates("list.lpushx")
def lpushx(draw: Draw) -> Operation:
    return _push(draw, "LPUSHX")


@translates("list.rpushx")
def rpushx(draw: Draw) -> Operation:
    return _push(draw, "RPUSHX")


def _pop(draw: Draw, word: str) -> Operation:
    key = draw.key("list")
    if draw.chance(0.3):
        return single({"key": key}, [word, key], lambda popped: {"values": [] if popped is None else [Raw(popped)]})
    count = draw.count()
    return single({"key": key, "count": count}, [word, key, count], lambda popped: _values(popped or []))


@translates("list.lpop")
def lpop(draw: Draw) -> Operation:
    return _pop(draw, "LPOP")


@translates("list.rpop")
def rpop(draw: Draw) -> Operation:
    return _pop(draw, "RPOP")


def _blocking_pop(draw: Draw, word: str) -> Operation:
    keys = draw.keys("list", most=3)

    def expected(popped: list[bytes] | None) -> dict[str, Any]:
        key, value = popped or (None, None)
        return {"key": None if key is None else key.decode(), "value": json_or_null(value)}

    return at_once({"keys": keys, "timeout": draw.pick([0, 10])}, [word, *keys, 0], expected)


@translates("list.blpop")
def blpop(draw: Draw) -> Operation:
    return _blocking_pop(draw, "BLPOP")


@translates("list.brpop")
def brpop(draw: Draw) -> Operation:
    return _blocking_pop(draw, "BRPOP")


@translates("list.range", weight=2)
def range_(draw: Draw) -> Operation:
    key, start, stop = draw.key("list"), draw.index(), draw.index()
    return single({"key": key, "start": start, "stop": stop}, ["LRANGE", key, start, stop], _values)


@translates("list.len")
def len_(draw: Draw) -> Operation:
    key = draw.key("list")
    return single({"key": key}, ["LLEN", key], lambda length: {"length": length})


@translates("list.index")
def index(draw: Draw) -> Operation:
    key, at = draw.key("list"), draw.index()

    def expected(value: bytes | None) -> dict[str, Any]:
        return {"found": value is not None, "value": json_or_null(value)}

    return single({"key": key, "index": at}, ["LINDEX", key, at], expected)


@translates("list.set", weight=2)
def set_(draw: Draw) -> Operation:
    key, at, value = draw.key("list"), draw.index(), draw.json()
    payload = {"key": key, "index": at, "value": value}
    return single(payload, ["LSET", key, at, bytes(value)], lambda _: {"success": True})


@translates("list.trim")
def trim(draw: Draw) -> Operation:
    key, start, stop = draw.key("list"), draw.index(), draw.index()
    commands: list[Command] = [["LTRIM", key, start, stop], ["LLEN", key]]
    return several({"key": key, "start": start, "stop": stop}, commands, lambda _, length: {"length": length})


@translates("list.rem", weight=2)
def rem(draw: Draw) -> Operation:
    key, value, count = draw.key("list"), draw.json(), draw.between(-2, 2)
    payload = {"key": key, "value": value, "count": count}
    return single(payload, ["LREM", key, count, bytes(value)], lambda removed: {"removed": removed})


@translates("list.insert", weight=2)
def insert(draw: Draw) -> Operation:
    key, position, pivot, value = draw.key("list"), draw.pick(["before", "after"]), draw.json(), draw.json()
    payload = {"key": key, "position": position, "pivot": pivot, "value": value}
    return single(payload, ["LINSERT", key, position, bytes(pivot), bytes(value)], lambda length: {"length": length})


@translates("list.pos", weight=2)
def pos(draw: Draw) -> Operation:
    key, value = draw.key("list"), draw.json()
    payload: dict[str, Any] = {"key": key, "value": value}
    options: list[Argument] = []
    if draw.chance(0.6):
        payload["rank"] = max(draw.between(-3, 3), -(2**63) + 1) or 1  # Redis cannot negate the lowest one
        options += ["RANK", payload["rank"]]
    if draw.chance(0.5):
        payload["count"] = max(draw.between(0, 3), 0)
        options += ["COUNT", payload["count"]]
    result = "indexes" if "count" in payload else "index"
    return single(payload, ["LPOS", key, bytes(value), *options], lambda found: {result: found})


@translates("list.move", weight=2)
def move(draw: Draw) -> Operation:
    source, destination = draw.key("list"), draw.key("list")
    payload = {"source": source, "destination": destination}
    ends = {name: draw.pick(["left", "right"]) for name in ("from", "to") if draw.chance(0.7)}
    taken, given = ends.get("from", "right"), ends.get("to", "left")
    return single(payload | ends, ["LMOVE", source, destination, taken, given], _moved)


@translates("list.rpoplpush")
def rpoplpush(draw: Draw) -> Operation:
    source, destination = draw.key("list"), draw.key("list")
    return single({"source": source, "destination": destination}, ["RPOPLPUSH", source, destination], _moved)


def _moved(value: bytes | None) -> dict[str, Any]:
    return {"value": json_or_null(value)}


def _values(found: list[bytes]) -> dict[str, Any]:
    return {"values": [Raw(value) for value in found]}
