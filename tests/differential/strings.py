"""`kv.*` on JSON values, numbers and text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw

from tests.differential.draw import TEXT_KEYS, TEXTS, TTLS, Draw
from tests.differential.expectation import Sum
from tests.differential.redis_server import Argument
from tests.differential.synap_side import Answer
from tests.differential.translation import EPOCH_MS, After, Command, Operation, following, several, single, translates

FLOAT_AMOUNTS = [0, 1, -1, 0.5, -0.25, 10.75, 1e3, 0.1, -3.3]
_TEXT_CODEC = "utf-32-le"
_CHARACTER_BYTES = 4


def value_for(draw: Draw, key: str) -> Raw:
    """A value to store at `key` as a string."""
    return Raw(msgspec.json.encode(draw.pick(TEXTS))) if key in TEXT_KEYS else draw.json()


def to_redis(key: str, value: Raw) -> bytes:
    """What Redis is to hold at `key` for a JSON value."""
    return msgspec.json.decode(value, type=str).encode(_TEXT_CODEC) if key in TEXT_KEYS else bytes(value)


def from_redis(key: str, stored: bytes | None) -> Raw | str | None:
    """The JSON value that Synap holds at `key`."""
    if stored is None:
        return None
    return stored.decode(_TEXT_CODEC) if key in TEXT_KEYS else Raw(stored)


def json_or_null(stored: bytes | None) -> Raw | None:
    """A value in a collection."""
    return None if stored is None else Raw(stored)


def secs_left(answer: Answer, expires_at: int) -> int | None:
    """The ttl for what PEXPIRETIME says, rounded up; None where there is none."""
    return -((answer.at_ms + EPOCH_MS - expires_at) // 1000) if expires_at >= 0 else None


def string_key(draw: Draw) -> str:
    """A key of either kind of string."""
    return draw.key("string", "string", "text")


def ttl_for(draw: Draw) -> float:
    """An expiry."""
    return draw.pick(TTLS)


def milliseconds(ttl: float) -> After:
    """When a ttl is over."""
    return After(round(ttl * 1000))


@translates("kv.set", weight=4)
def set_(draw: Draw) -> Operation:
    key = draw.any_value_key() if draw.chance(0.3) else string_key(draw)
    payload: dict[str, Any] = {"key": key, "value": value_for(draw, key), **draw.flags("get", probability=0.2)}
    payload |= draw.pick([{}, {}, {}, {"nx": True}, {"xx": True}])
    payload |= draw.pick([{}, {}, {"keep_ttl": True}, {"ttl": ttl_for(draw)}])
    words = {"nx": "NX", "xx": "XX", "get": "GET", "keep_ttl": "KEEPTTL"}
    command: list[Argument | After] = ["SET", key, to_redis(key, payload["value"])]
    command += [word for flag, word in words.items() if flag in payload]
    if "ttl" in payload:
        command += ["PXAT", milliseconds(payload["ttl"])]

    def expected(reply: Any) -> dict[str, Any]:
        if "get" not in payload:
            return {"key": key, "success": reply is not None, "previous": None}
        met = reply is None if "nx" in payload else reply is not None or "xx" not in payload
        return {"key": key, "success": met, "previous": from_redis(key, reply)}

    return single(payload, command, expected)


def get_at(key: str) -> Operation:
    """Read a key."""

    def expected(answer: Answer, replies: list[Any]) -> dict[str, Any]:
        stored, expires_at = replies
        ttl = secs_left(answer, expires_at)
        return {"found": stored is not None, "value": from_redis(key, stored), "ttl": ttl}

    return Operation({"key": key}, lambda _: [["GET", key], ["PEXPIRETIME", key]], expected, name="kv.get")


@translates("kv.get", weight=2)
def get(draw: Draw) -> Operation:
    return get_at(string_key(draw))


def _arithmetic(draw: Draw, word: str) -> Operation:
    key = draw.key("string")
    amount = draw.pick([1, draw.amount(), draw.amount()])
    payload = {"key": key} if amount == 1 else {"key": key, "amount": amount}
    return single(payload, [word, key, amount], lambda value: {"value": value})


@translates("kv.incr", weight=2)
def incr(draw: Draw) -> Operation:
    return _arithmetic(draw, "INCRBY")


@translates("kv.decr")
def decr(draw: Draw) -> Operation:
    return _arithmetic(draw, "DECRBY")


@translates("kv.incrbyfloat")
def incrbyfloat(draw: Draw) -> Operation:
    key, amount = draw.key("string"), draw.pick(FLOAT_AMOUNTS)
    command: Command = ["INCRBYFLOAT", key, amount]
    return adding({"key": key, "amount": amount}, command, lambda text: ["SET", key, text, "KEEPTTL"])


def adding(payload: dict[str, Any], command: Command, store: Callable[[bytes], Command]) -> Operation:
    """An addition to a fraction. Redis is made to store the sum as Synap writes it."""

    def commands(answer: Answer) -> list[Command]:
        if answer.failure:
            return [command]
        return [command, store(bytes(msgspec.json.decode(answer.payload, type=dict[str, Raw])["value"]))]

    return Operation(payload, commands, lambda _, replies: {"value": Sum(replies[0])})


def _pairs(draw: Draw, keys: list[str], *, with_ttl: bool) -> list[dict[str, Any]]:
    pairs = [{"key": key, "value": value_for(draw, key)} for key in keys]
    return [pair | {"ttl": ttl_for(draw)} if with_ttl and draw.chance(0.3) else pair for pair in pairs]


def _as_object(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    return {pair["key"]: pair["value"] for pair in pairs}


def _as_arguments(pairs: list[dict[str, Any]]) -> list[Argument]:
    return [part for pair in pairs for part in (pair["key"], to_redis(pair["key"], pair["value"]))]


def _set_commands(pairs: list[dict[str, Any]]) -> list[Command]:
    return [
        [
            *("SET", pair["key"], to_redis(pair["key"], pair["value"])),
            *(("PXAT", milliseconds(pair["ttl"])) if "ttl" in pair else ()),
        ]
        for pair in pairs
    ]


@translates("kv.mset")
def mset(draw: Draw) -> Operation:
    with_ttl = draw.chance(0.3)
    pairs = _pairs(draw, [string_key(draw) for _ in range(draw.rng.randint(1, 4))], with_ttl=with_ttl)
    count = len(pairs)
    if with_ttl:
        return several({"pairs": pairs}, _set_commands(pairs), lambda *_: {"success": True, "count": count})
    if draw.chance(0.5):
        given = _as_object(pairs)
        counted = {"success": True, "count": len(given)}
        return single({"pairs": given}, ["MSET", *_as_arguments(pairs)], lambda _: counted)
    return single({"pairs": pairs}, ["MSET", *_as_arguments(pairs)], lambda _: {"success": True, "count": count})


@translates("kv.msetnx")
def msetnx(draw: Draw) -> Operation:
    keys = list(dict.fromkeys(draw.any_value_key() for _ in range(draw.pick([1, 1, 2, 3]))))
    pairs = _pairs(draw, keys, with_ttl=draw.chance(0.3))
    form = draw.pick(["list", "object", "single"])
    if any("ttl" in pair for pair in pairs):
        form = "list"
    payload: dict[str, Any] = {"pairs": pairs if form == "list" else _as_object(pairs)}
    if form == "single" and len(pairs) == 1:
        payload = dict(pairs[0])

    def commands(data: Any) -> list[Command]:
        expiries = [["PEXPIREAT", p["key"], milliseconds(p["ttl"])] for p in pairs if "ttl" in p]
        return [["MSETNX", *_as_arguments(pairs)], *(expiries if data["success"] else [])]

    return following(payload, ["PING"], commands, lambda _, replies: {"success": replies[0] == 1})


@translates("kv.mget")
def mget(draw: Draw) -> Operation:
    keys = [string_key(draw) for _ in range(draw.rng.randint(1, 4))]

    def expected(stored: list[bytes | None]) -> dict[str, Any]:
        return {"values": [from_redis(key, value) for key, value in zip(keys, stored, strict=True)]}

    return single({"keys": keys}, ["MGET", *keys], expected)


@translates("kv.append", weight=2)
def append(draw: Draw) -> Operation:
    key, text = draw.key("text"), draw.pick(TEXTS)
    return single({"key": key, "value": text}, ["APPEND", key, text.encode(_TEXT_CODEC)], _characters)


@translates("kv.getrange", weight=2)
def getrange(draw: Draw) -> Operation:
    key, start, end = draw.key("text"), _position(draw), _position(draw)
    last_byte = (end + 1) * _CHARACTER_BYTES - 1
    commands: list[Command] = [
        ["GETRANGE", key, start * _CHARACTER_BYTES, last_byte],
        ["GETRANGE", key, 0, _CHARACTER_BYTES - 1],
    ]

    def expected(part: bytes, first_character: bytes) -> dict[str, Any]:
        # An end before the beginning counts as the first position, which is a byte here and should be a character.
        return {"value": (first_character if len(part) == 1 else part).decode(_TEXT_CODEC)}

    return several({"key": key, "start": start, "end": end}, commands, expected)


@translates("kv.setrange", weight=2)
def setrange(draw: Draw) -> Operation:
    key, offset, text = draw.key("text"), draw.rng.randint(0, 12), draw.pick(TEXTS)
    command: Command = ["SETRANGE", key, offset * _CHARACTER_BYTES, text.encode(_TEXT_CODEC)]
    return single({"key": key, "offset": offset, "value": text}, command, _characters)


@translates("kv.strlen")
def strlen(draw: Draw) -> Operation:
    key = draw.key("text")
    return single({"key": key}, ["STRLEN", key], _characters)


@translates("kv.getset")
def getset(draw: Draw) -> Operation:
    key = string_key(draw)
    value = value_for(draw, key)
    command: Command = ["GETSET", key, to_redis(key, value)]
    return single({"key": key, "value": value}, command, lambda old: {"value": from_redis(key, old)})


@translates("kv.getdel")
def getdel(draw: Draw) -> Operation:
    key = string_key(draw)
    return single({"key": key}, ["GETDEL", key], lambda old: {"value": from_redis(key, old)})


def _characters(stored_bytes: int) -> dict[str, Any]:
    return {"length": stored_bytes // _CHARACTER_BYTES}


def _position(draw: Draw) -> int:
    return draw.pick([10**9, -(10**9)]) if draw.chance(0.05) else draw.rng.randint(-20, 20)
