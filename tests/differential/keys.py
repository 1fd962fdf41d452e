"""`key.*`, and the commands of `kv.*` that take keys of any type."""

from __future__ import annotations

from typing import Any

from tests.differential.draw import ALL_KEYS, BITMAP_KEYS, GLOBS, HYPERLOGLOG_KEYS, TTLS, Draw
from tests.differential.expectation import Satisfies
from tests.differential.redis_server import Argument
from tests.differential.strings import milliseconds, secs_left
from tests.differential.synap_side import Answer, SynapSide
from tests.differential.translation import Command, Operation, following, paged, single, translates

_TYPES = {"zset": "sortedset"}
_SCANNED_TYPES = {"string": "string", "hash": "hash", "list": "list", "set": "set", "sortedset": "zset"}
_EXPIRE_UP_TO = (
    "for _, key in ipairs(KEYS) do local at = redis.call('PEXPIRETIME', key)"
    " if at >= 0 and at <= tonumber(ARGV[1]) then redis.call('DEL', key) end end return 'OK'"
)


def synap_type(key: str, redis_type: str) -> str:
    """What Synap calls the type that a key has in Redis."""
    if redis_type == "string" and key in BITMAP_KEYS:
        return "bitmap"
    if redis_type == "string" and key in HYPERLOGLOG_KEYS:
        return "hyperloglog"
    return _TYPES.get(redis_type, redis_type)


def type_at(key: str) -> Operation:
    """Tell the type of a key."""

    def expected(redis_type: bytes) -> dict[str, Any]:
        return {"type": synap_type(key, redis_type.decode())}

    return named("key.type", single({"key": key}, ["TYPE", key], expected))


def ttl_at(key: str) -> Operation:
    """Tell how long a key will live."""

    def expected(answer: Answer, replies: list[Any]) -> dict[str, Any]:
        found, expires_at = replies
        return {"found": found == 1, "ttl": secs_left(answer, expires_at)}

    return Operation({"key": key}, lambda _: [["EXISTS", key], ["PEXPIRETIME", key]], expected, name="kv.ttl")


def all_keys() -> Operation:
    """List all keys."""
    return named("kv.keys", single({}, ["KEYS", "*"], _listed_with_count))


def time_passes(secs: float) -> Operation:
    """Synap's clock moves on, and Redis deletes what has expired by then."""

    def commands(_: Answer) -> list[Command]:
        return [["EVAL", _EXPIRE_UP_TO, len(ALL_KEYS), *ALL_KEYS, milliseconds(0)]]

    return Operation({"secs": secs}, commands, lambda *_: {}, SynapSide.let_pass, "(time passes)")


@translates("key.type")
def type_(draw: Draw) -> Operation:
    return type_at(draw.any_key())


@translates("key.exists")
def exists(draw: Draw) -> Operation:
    key = draw.any_key()
    return single({"key": key}, ["EXISTS", key], lambda count: {"exists": count == 1})


@translates("key.rename")
def rename(draw: Draw) -> Operation:
    return _renaming(draw, "RENAME")


@translates("key.renamenx")
def renamenx(draw: Draw) -> Operation:
    return _renaming(draw, "RENAMENX")


def _renaming(draw: Draw, word: str) -> Operation:
    source, destination = draw.relatives()
    payload = {"source": source, "destination": destination}
    return single(payload, [word, source, destination], lambda reply: {"success": reply != 0})


@translates("key.copy", weight=2)
def copy(draw: Draw) -> Operation:
    source, destination = draw.different_relatives()
    payload = {"source": source, "destination": destination, **draw.flags("replace", probability=0.5)}
    command = ["COPY", source, destination, *(["REPLACE"] if "replace" in payload else [])]
    return single(payload, command, lambda reply: {"success": reply == 1})


@translates("key.randomkey")
def randomkey(draw: Draw) -> Operation:
    def commands(data: Any) -> list[Command]:
        return [["DBSIZE"], ["EXISTS", data["key"] or ""]]

    def expected(_: Any, replies: list[Any]) -> dict[str, Any]:
        size, found = replies
        return {"key": Satisfies(lambda key: found == 1 if size else key is None, "a key, null when there are none")}

    return following({"seed": draw.rng.getrandbits(53)}, ["PING"], commands, expected)


@translates("kv.del", weight=2)
def del_(draw: Draw) -> Operation:
    payload, keys = _key_or_keys(draw)
    return single(payload, ["DEL", *keys], lambda count: {"deleted": count})


@translates("kv.mdel")
def mdel(draw: Draw) -> Operation:
    keys = draw.some(ALL_KEYS, 3)
    return single({"keys": keys}, ["UNLINK", *keys], lambda count: {"deleted": count})


@translates("kv.exists")
def kv_exists(draw: Draw) -> Operation:
    payload, keys = _key_or_keys(draw)
    return single(payload, ["EXISTS", *keys], lambda count: {"exists": count == len(keys), "count": count})


@translates("kv.expire", weight=3)
def expire(draw: Draw) -> Operation:
    key, ttl = draw.any_key(), draw.pick([*TTLS, *TTLS, 0, -1, -2.5])
    command: Command = ["PEXPIREAT", key, milliseconds(ttl) if ttl > 0 else 1]
    return single({"key": key, "ttl": ttl}, command, lambda reply: {"success": reply == 1})


@translates("kv.persist")
def persist(draw: Draw) -> Operation:
    key = draw.any_key()
    return single({"key": key}, ["PERSIST", key], lambda reply: {"success": reply == 1})


@translates("kv.ttl")
def ttl(draw: Draw) -> Operation:
    return ttl_at(draw.any_key())


@translates("kv.scan")
def scan(draw: Draw) -> Operation:
    payload = draw.page()
    command: list[Argument] = ["SCAN", 0]
    wanted = draw.pick(list(_SCANNED_TYPES)) if draw.chance(0.5) else None
    if wanted:
        payload["type"] = wanted
        command += ["TYPE", _SCANNED_TYPES[wanted]]
    if "match" in payload:
        command += ["MATCH", payload["match"]]
    prefix = payload.setdefault("prefix", draw.pick(["", "", "key:", "key:1", "t", "\U0001f511 "]))

    def expected(found: list[bytes]) -> dict[str, Any]:
        names = [name.decode() for name in found]
        return {
            "keys": sorted(
                name
                for name in names
                if name.startswith(prefix) and (wanted != "string" or synap_type(name, "string") == "string")
            )
        }

    return paged(payload, command, expected)


@translates("kv.keys", weight=0.5)
def keys(draw: Draw) -> Operation:
    match = draw.pick(GLOBS)
    return single({"match": match}, ["KEYS", match], _listed_with_count)


@translates("kv.dbsize", weight=0.5)
def dbsize(draw: Draw) -> Operation:
    return single({}, ["DBSIZE"], lambda size: {"size": size})


@translates("kv.flushdb", weight=0.02)
def flushdb(draw: Draw) -> Operation:
    return following({}, ["PING"], lambda _: [["DBSIZE"], ["FLUSHDB"]], lambda _, replies: {"flushed": replies[0]})


def named(name: str, operation: Operation) -> Operation:
    """An operation that was not drawn."""
    return Operation(operation.payload, operation.commands, operation.expected, operation.way, name)


def _listed_with_count(found: list[bytes]) -> dict[str, Any]:
    names = sorted(name.decode() for name in found)
    return {"keys": names, "count": len(names)}


def _key_or_keys(draw: Draw) -> tuple[dict[str, Any], list[Argument]]:
    keys = draw.some(ALL_KEYS, 3)
    if len(keys) == 1:
        return {"key": keys[0]}, [*keys]
    return {"keys": keys}, [*keys]
