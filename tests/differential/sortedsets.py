"""`sortedset.*`. Scores are multiples of a quarter and small, so that no sum depends on the order of its parts."""

from __future__ import annotations

from typing import Any

from tests.differential.draw import Draw
from tests.differential.expectation import Score
from tests.differential.keys import named
from tests.differential.redis_server import Argument
from tests.differential.translation import Command, Operation, at_once, paged, several, single, translates

_CONDITIONS = ["", "", "", "", "nx", "xx", "gt", "lt", "xx gt", "xx lt"]
_FINITE_WEIGHTS: list[Any] = [1, 2, 0.5, -1]
_ANY_WEIGHTS: list[Any] = [*_FINITE_WEIGHTS, 0, "+inf"]
_COMMUTATIVE = 2
"""The sum of two scores is the same in either order, whatever they are."""


def content_at(key: str) -> Operation:
    """Read the whole sorted set."""
    return named("sortedset.zrange", single({"key": key}, ["ZRANGE", key, 0, -1, "WITHSCORES"], _scored))


def read_key(draw: Draw) -> str:
    """A key for a command that gives no scores of its own, which would be no places on the earth."""
    return draw.key("sortedset", "sortedset", "sortedset", "geo")


def _score(draw: Draw) -> float | str:
    if draw.chance(0.05):
        return draw.pick(["+inf", "-inf"])
    return draw.rng.randint(-40, 40) / 4


@translates("sortedset.zadd", weight=5)
def zadd(draw: Draw) -> Operation:
    key, pairs = draw.key("sortedset"), [(member, _score(draw)) for member in draw.names(6)]
    options: dict[str, Any] = dict.fromkeys(draw.pick(_CONDITIONS).split(), True) | draw.flags("ch")
    if draw.chance(0.2):
        return _zadd_incr(key, pairs[0], options | {"incr": True})
    payload: dict[str, Any] = {"key": key, "members": [{"member": m, "score": s} for m, s in pairs]}
    if len(pairs) == 1:
        payload = {"key": key, "member": pairs[0][0], "score": pairs[0][1]}
    arguments: list[Argument] = [part for member, score in pairs for part in (score, member)]
    command = ["ZADD", key, *map(str.upper, options), *arguments]
    return single(payload | options, command, lambda added: {"added": added})


def _zadd_incr(key: str, pair: tuple[str, float | str], options: dict[str, Any]) -> Operation:
    member, score = pair
    commands: list[Command] = [["ZSCORE", key, member], ["ZADD", key, *map(str.upper, options), score, member]]

    def expected(old: bytes | None, new: bytes | None) -> dict[str, Any]:
        is_changed = "ch" in options and old is not None and new is not None and float(old) != float(new)
        return {"added": int(is_changed or (old is None and new is not None)), "score": _score_or_null(new)}

    return several({"key": key, "member": member, "score": score} | options, commands, expected)


@translates("sortedset.zincrby", weight=2)
def zincrby(draw: Draw) -> Operation:
    key, member, increment = draw.key("sortedset"), draw.name(), _score(draw)
    payload = {"key": key, "member": member, "increment": increment}
    return single(payload, ["ZINCRBY", key, increment, member], lambda score: {"score": Score(score)})


@translates("sortedset.zrem", weight=2)
def zrem(draw: Draw) -> Operation:
    key, members = read_key(draw), draw.names()
    payload = {"key": key, "member": members[0]} if len(members) == 1 else {"key": key, "members": members}
    return single(payload, ["ZREM", key, *members], lambda removed: {"removed": removed})


@translates("sortedset.zscore")
def zscore(draw: Draw) -> Operation:
    key, member = read_key(draw), draw.name()

    def expected(score: bytes | None) -> dict[str, Any]:
        return {"found": score is not None, "score": _score_or_null(score)}

    return single({"key": key, "member": member}, ["ZSCORE", key, member], expected)


@translates("sortedset.zmscore")
def zmscore(draw: Draw) -> Operation:
    key, members = read_key(draw), draw.names()
    payload = {"key": key, "members": members}
    return single(payload, ["ZMSCORE", key, *members], lambda scores: {"scores": [_score_or_null(s) for s in scores]})


@translates("sortedset.zcard")
def zcard(draw: Draw) -> Operation:
    key = read_key(draw)
    return single({"key": key}, ["ZCARD", key], lambda count: {"count": count})


@translates("sortedset.zcount")
def zcount(draw: Draw) -> Operation:
    key, low, high = read_key(draw), _bound(draw), _bound(draw)
    return single({"key": key, "min": low, "max": high}, ["ZCOUNT", key, low, high], lambda count: {"count": count})


def _ranking(draw: Draw, word: str) -> Operation:
    key, member = read_key(draw), draw.name()

    def expected(rank: int | None, score: bytes | None) -> dict[str, Any]:
        return {"rank": rank, "score": _score_or_null(score)}

    return several({"key": key, "member": member}, [[word, key, member], ["ZSCORE", key, member]], expected)


@translates("sortedset.zrank")
def zrank(draw: Draw) -> Operation:
    return _ranking(draw, "ZRANK")


@translates("sortedset.zrevrank")
def zrevrank(draw: Draw) -> Operation:
    return _ranking(draw, "ZREVRANK")


def _range(draw: Draw, word: str) -> Operation:
    key, start, stop = read_key(draw), draw.index(), draw.index()
    return single({"key": key, "start": start, "stop": stop}, [word, key, start, stop, "WITHSCORES"], _scored)


@translates("sortedset.zrange")
def zrange(draw: Draw) -> Operation:
    return _range(draw, "ZRANGE")


@translates("sortedset.zrevrange")
def zrevrange(draw: Draw) -> Operation:
    return _range(draw, "ZREVRANGE")


def _page(draw: Draw) -> tuple[dict[str, int], list[Argument]]:
    if draw.chance(0.5):
        return {}, []
    page = {"offset": draw.between(0, 4)} | ({"count": draw.between(-1, 5)} if draw.chance(0.8) else {})
    return page, ["LIMIT", page["offset"], page.get("count", -1)]


@translates("sortedset.zrangebyscore", weight=2)
def zrangebyscore(draw: Draw) -> Operation:
    key, low, high = read_key(draw), _bound(draw), _bound(draw)
    page, limit = _page(draw)
    command: Command = ["ZRANGEBYSCORE", key, low, high, "WITHSCORES", *limit]
    return single({"key": key, "min": low, "max": high, **page}, command, _scored)


@translates("sortedset.zrevrangebyscore", weight=2)
def zrevrangebyscore(draw: Draw) -> Operation:
    key, low, high = read_key(draw), _bound(draw), _bound(draw)
    page, limit = _page(draw)
    command: Command = ["ZREVRANGEBYSCORE", key, high, low, "WITHSCORES", *limit]
    return single({"key": key, "min": low, "max": high, **page}, command, _scored)


def _pop(draw: Draw, word: str) -> Operation:
    key, count = read_key(draw), draw.count()
    payload = {"key": key} if count == 1 else {"key": key, "count": count}
    return single(payload, [word, key, count], _scored)


@translates("sortedset.zpopmin")
def zpopmin(draw: Draw) -> Operation:
    return _pop(draw, "ZPOPMIN")


@translates("sortedset.zpopmax")
def zpopmax(draw: Draw) -> Operation:
    return _pop(draw, "ZPOPMAX")


def _blocking_pop(draw: Draw, word: str) -> Operation:
    keys = [read_key(draw) for _ in range(draw.rng.randint(1, 3))]

    def expected(popped: list[bytes] | None) -> dict[str, Any]:
        if popped is None:
            return {"key": None, "member": None, "score": None}
        key, member, score = popped
        return {"key": key.decode(), "member": member.decode(), "score": Score(score)}

    return at_once({"keys": keys, "timeout": draw.pick([0, 10])}, [word, *keys, 0], expected)


@translates("sortedset.bzpopmin")
def bzpopmin(draw: Draw) -> Operation:
    return _blocking_pop(draw, "BZPOPMIN")


@translates("sortedset.bzpopmax")
def bzpopmax(draw: Draw) -> Operation:
    return _blocking_pop(draw, "BZPOPMAX")


@translates("sortedset.zremrangebyrank")
def zremrangebyrank(draw: Draw) -> Operation:
    key, start, stop = read_key(draw), draw.index(), draw.index()
    payload = {"key": key, "start": start, "stop": stop}
    return single(payload, ["ZREMRANGEBYRANK", key, start, stop], lambda removed: {"removed": removed})


@translates("sortedset.zremrangebyscore")
def zremrangebyscore(draw: Draw) -> Operation:
    key, low, high = read_key(draw), _bound(draw), _bound(draw)
    payload = {"key": key, "min": low, "max": high}
    return single(payload, ["ZREMRANGEBYSCORE", key, low, high], lambda removed: {"removed": removed})


def _destination(draw: Draw) -> str:
    return draw.any_value_key() if draw.chance(0.2) else draw.key("sortedset")


def _is_exact(draw: Draw, key: str) -> bool:
    """Whether the scores at a key are small and finite, so that a sum does not depend on the order of its parts.

    Redis orders the inputs of a sum by their size.
    """
    members = draw.synap.ask("sortedset.zrange", {"key": key}).data.get("members", [])
    scores = [scored["score"] for scored in members]
    return all(not isinstance(s, str) and abs(s) < 2**30 and float(s * 1024).is_integer() for s in scores)


def _combine(draw: Draw, word: str, weights: list[Any]) -> Operation:
    aggregate = draw.pick([None, "sum", "min", "max"])
    keys = draw.keys("sortedset", "sortedset", "geo", "set")
    if aggregate in (None, "sum") and len(keys) > _COMMUTATIVE:
        weights = _FINITE_WEIGHTS
        if not all(_is_exact(draw, key) for key in keys):
            keys = keys[:_COMMUTATIVE]
    payload: dict[str, Any] = {"destination": _destination(draw), "keys": keys}
    options: list[Argument] = []
    if draw.chance(0.5):
        payload["weights"] = draw.rng.choices(weights, k=len(keys))
        options += ["WEIGHTS", *payload["weights"]]
    if aggregate:
        payload["aggregate"] = aggregate
        options += ["AGGREGATE", aggregate]
    command: Command = [word, payload["destination"], len(keys), *keys, *options]
    return single(payload, command, lambda count: {"count": count})


@translates("sortedset.zunionstore", weight=2)
def zunionstore(draw: Draw) -> Operation:
    return _combine(draw, "ZUNIONSTORE", _ANY_WEIGHTS)


@translates("sortedset.zinterstore", weight=2)
def zinterstore(draw: Draw) -> Operation:
    # A weight of 0 makes NaN of an infinite score. Of that Redis makes 0 in a union, but what an intersection makes of
    # it depends on which input has the fewest members.
    return _combine(draw, "ZINTERSTORE", _FINITE_WEIGHTS)


@translates("sortedset.zdiffstore", weight=2)
def zdiffstore(draw: Draw) -> Operation:
    destination, keys = _destination(draw), draw.keys("sortedset", "sortedset", "geo", "set")
    command: Command = ["ZDIFFSTORE", destination, len(keys), *keys]
    return single({"destination": destination, "keys": keys}, command, lambda count: {"count": count})


@translates("sortedset.zscan")
def zscan(draw: Draw) -> Operation:
    key, page = read_key(draw), draw.page()
    match = ["MATCH", page["match"]] if "match" in page else []

    def expected(flat: list[bytes]) -> dict[str, Any]:
        members: list[dict[str, Any]] = _scored(flat)["members"]
        return {"members": sorted(members, key=lambda scored: str(scored["member"]))}

    return paged({"key": key, **page}, ["ZSCAN", key, 0, *match], expected)


def _bound(draw: Draw) -> float | str:
    bound = draw.rng.randint(-44, 44) / 4
    choices: list[float | str] = [bound, bound, bound, str(bound), f"({bound}", "-inf", "+inf", "(-inf", "(+inf"]
    return draw.pick(choices)


def _score_or_null(score: bytes | None) -> Score | None:
    return None if score is None else Score(score)


def _scored(flat: list[bytes]) -> dict[str, Any]:
    pairs = zip(flat[::2], flat[1::2], strict=True)
    return {"members": [{"member": member.decode(), "score": Score(score)} for member, score in pairs]}
