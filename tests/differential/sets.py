"""`set.*`."""

from __future__ import annotations

from typing import Any

from tests.differential.draw import Draw
from tests.differential.expectation import Satisfies, Unordered
from tests.differential.keys import named
from tests.differential.translation import Command, Operation, following, paged, single, translates


def content_at(key: str) -> Operation:
    """Read the whole set."""
    return named("set.members", single({"key": key}, ["SMEMBERS", key], _members))


def _member_or_members(draw: Draw, key: str, most: int = 4) -> tuple[dict[str, Any], list[str]]:
    members = draw.names(most)
    if len(members) == 1 and draw.chance(0.7):
        return {"key": key, "member": members[0]}, members
    return {"key": key, "members": members}, members


@translates("set.add", weight=4)
def add(draw: Draw) -> Operation:
    key = draw.key("set")
    payload, members = _member_or_members(draw, key, 8)
    return single(payload, ["SADD", key, *members], lambda added: {"added": added})


@translates("set.rem", weight=2)
def rem(draw: Draw) -> Operation:
    key = draw.key("set")
    payload, members = _member_or_members(draw, key)
    return single(payload, ["SREM", key, *members], lambda removed: {"removed": removed})


@translates("set.ismember", weight=2)
def ismember(draw: Draw) -> Operation:
    key = draw.key("set")
    payload, members = _member_or_members(draw, key)

    def expected(found: list[int]) -> dict[str, Any]:
        results = [bool(one) for one in found]
        return {"is_member": results[0]} if "member" in payload else {"results": results}

    return single(payload, ["SMISMEMBER", key, *members], expected)


@translates("set.members")
def members(draw: Draw) -> Operation:
    return content_at(draw.key("set"))


@translates("set.card")
def card(draw: Draw) -> Operation:
    key = draw.key("set")
    return single({"key": key}, ["SCARD", key], lambda count: {"count": count})


@translates("set.pop")
def pop(draw: Draw) -> Operation:
    """Redis removes what Synap has picked."""
    key, count = draw.key("set"), draw.count()
    payload = {"key": key, "seed": draw.rng.getrandbits(53)} | ({} if count == 1 else {"count": count})

    def commands(data: Any) -> list[Command]:
        return [["SCARD", key], *([["SREM", key, *data["members"]]] if data["members"] else [])]

    def expected(data: Any, replies: list[Any]) -> dict[str, Any]:
        held, removed = replies[0], sum(replies[1:])
        picked = data["members"]
        right = len(picked) == min(count, held) == removed and len(set(picked)) == len(picked)
        return {"members": Satisfies(lambda _: right, f"{min(count, held)} different members")}

    return following(payload, ["SCARD", key], commands, expected)


@translates("set.randmember")
def randmember(draw: Draw) -> Operation:
    key, count = draw.key("set"), draw.pick([1, 0, 2, 3, 100, 2**63 - 1, -1, -3, -100])
    payload = {"key": key, "count": count, "seed": draw.rng.getrandbits(53)}

    def commands(data: Any) -> list[Command]:
        return [["SCARD", key], *([["SMISMEMBER", key, *data["members"]]] if data["members"] else [])]

    def expected(data: Any, replies: list[Any]) -> dict[str, Any]:
        picked, held = data["members"], replies[0]
        wanted = min(count, held) if count >= 0 else -count if held else 0
        different = len(set(picked)) == len(picked) or count < 0
        right = len(picked) == wanted and different and (not picked or all(replies[1]))
        return {"members": Satisfies(lambda _: right, f"{wanted} members of {held}, different unless count < 0")}

    return following(payload, ["SCARD", key], commands, expected)


@translates("set.move", weight=2)
def move(draw: Draw) -> Operation:
    source, destination, member = draw.key("set"), draw.key("set"), draw.name()
    payload = {"source": source, "destination": destination, "member": member}
    return single(payload, ["SMOVE", source, destination, member], lambda moved: {"moved": moved == 1})


def _combine(draw: Draw, word: str) -> Operation:
    keys = draw.keys("set")
    return single({"keys": keys}, [word, *keys], _members)


@translates("set.inter")
def inter(draw: Draw) -> Operation:
    return _combine(draw, "SINTER")


@translates("set.union")
def union(draw: Draw) -> Operation:
    return _combine(draw, "SUNION")


@translates("set.diff")
def diff(draw: Draw) -> Operation:
    return _combine(draw, "SDIFF")


def _store(draw: Draw, word: str) -> Operation:
    destination, keys = draw.any_key() if draw.chance(0.2) else draw.key("set"), draw.keys("set")
    payload = {"destination": destination, "keys": keys}
    return single(payload, [word, destination, *keys], lambda count: {"count": count})


@translates("set.interstore")
def interstore(draw: Draw) -> Operation:
    return _store(draw, "SINTERSTORE")


@translates("set.unionstore")
def unionstore(draw: Draw) -> Operation:
    return _store(draw, "SUNIONSTORE")


@translates("set.diffstore")
def diffstore(draw: Draw) -> Operation:
    return _store(draw, "SDIFFSTORE")


@translates("set.scan")
def scan(draw: Draw) -> Operation:
    key, page = draw.key("set"), draw.page()
    match = ["MATCH", page["match"]] if "match" in page else []
    return paged({"key": key, **page}, ["SSCAN", key, 0, *match], _members)


def _members(found: list[bytes]) -> dict[str, Any]:
    return {"members": Unordered([member.decode() for member in found])}
