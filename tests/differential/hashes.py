"""`hash.*`."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from tests.differential.draw import Draw
from tests.differential.expectation import Unordered
from tests.differential.keys import named
from tests.differential.redis_server import Argument
from tests.differential.strings import FLOAT_AMOUNTS, adding, json_or_null
from tests.differential.translation import Operation, paged, single, translates


def content_at(key: str) -> Operation:
    """Read the whole hash."""
    return named("hash.getall", single({"key": key}, ["HGETALL", key], _fields))


@translates("hash.set", weight=4)
def set_(draw: Draw) -> Operation:
    return _set_one(draw, "HSET")


@translates("hash.setnx", weight=2)
def setnx(draw: Draw) -> Operation:
    return _set_one(draw, "HSETNX")


def _set_one(draw: Draw, word: str) -> Operation:
    key, field, value = draw.key("hash"), draw.name(), draw.json()
    payload = {"key": key, "field": field, "value": value}
    return single(payload, [word, key, field, bytes(value)], lambda created: {"created": created == 1})


@translates("hash.mset", weight=2)
def mset(draw: Draw) -> Operation:
    key, pairs = draw.key("hash"), [(field, draw.json()) for field in draw.names(6)]
    listed = [{"field": field, "value": value} for field, value in pairs]
    payload = {"key": key, "fields": listed if draw.chance(0.5) else dict(pairs)}
    arguments: list[Argument] = [part for field, value in pairs for part in (field, bytes(value))]
    return single(payload, ["HSET", key, *arguments], lambda created: {"success": True, "created": created})


@translates("hash.get", weight=2)
def get(draw: Draw) -> Operation:
    key, field = draw.key("hash"), draw.name()

    def expected(stored: bytes | None) -> dict[str, Any]:
        return {"found": stored is not None, "value": json_or_null(stored)}

    return single({"key": key, "field": field}, ["HGET", key, field], expected)


@translates("hash.mget")
def mget(draw: Draw) -> Operation:
    key, fields = draw.key("hash"), draw.names()
    payload = {"key": key, "fields": fields}
    return single(payload, ["HMGET", key, *fields], lambda stored: {"values": [json_or_null(v) for v in stored]})


@translates("hash.getall")
def getall(draw: Draw) -> Operation:
    return content_at(draw.key("hash"))


@translates("hash.keys")
def keys(draw: Draw) -> Operation:
    key = draw.key("hash")
    return single({"key": key}, ["HKEYS", key], lambda found: {"fields": Unordered([f.decode() for f in found])})


@translates("hash.vals")
def vals(draw: Draw) -> Operation:
    key = draw.key("hash")
    return single({"key": key}, ["HVALS", key], lambda found: {"values": Unordered([Raw(v) for v in found])})


@translates("hash.len")
def len_(draw: Draw) -> Operation:
    key = draw.key("hash")
    return single({"key": key}, ["HLEN", key], lambda length: {"length": length})


@translates("hash.exists")
def exists(draw: Draw) -> Operation:
    key, field = draw.key("hash"), draw.name()
    return single({"key": key, "field": field}, ["HEXISTS", key, field], lambda found: {"exists": found == 1})


@translates("hash.del", weight=2)
def del_(draw: Draw) -> Operation:
    key, fields = draw.key("hash"), draw.names(8)
    payload = {"key": key, "field": fields[0]} if len(fields) == 1 else {"key": key, "fields": fields}
    return single(payload, ["HDEL", key, *fields], lambda deleted: {"deleted": deleted})


@translates("hash.incrby", weight=2)
def incrby(draw: Draw) -> Operation:
    key, field, increment = draw.key("hash"), draw.name(), draw.amount()
    payload = {"key": key, "field": field, "increment": increment}
    return single(payload, ["HINCRBY", key, field, increment], lambda value: {"value": value})


@translates("hash.incrbyfloat")
def incrbyfloat(draw: Draw) -> Operation:
    key, field, increment = draw.key("hash"), draw.name(), draw.pick(FLOAT_AMOUNTS)
    payload = {"key": key, "field": field, "increment": increment}
    return adding(payload, ["HINCRBYFLOAT", key, field, increment], lambda text: ["HSET", key, field, text])


@translates("hash.scan")
def scan(draw: Draw) -> Operation:
    key, page = draw.key("hash"), draw.page()
    match = ["MATCH", page["match"]] if "match" in page else []
    return paged({"key": key, **page}, ["HSCAN", key, 0, *match], _fields)


def _fields(flat: list[bytes]) -> dict[str, Any]:
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {"fields": {field.decode(): Raw(value) for field, value in pairs}}
