"""What holds for every command on a hash, list, set or sorted set: absent keys, other types, expiry, statistics."""

from __future__ import annotations

from typing import Any

import pytest

from synap.commands import TABLE
from synap.errors import WrongType
from tests.commands.collecting import MAKING, Row, make
from tests.commands.common import recorded, refused
from tests.support import Harness

# What each command answers about an absent key, and then there is none either.
FINDING_NOTHING: list[Row] = [
    ("hash.get", {"key": "k", "field": "f"}, {"found": False, "value": None}),
    ("hash.mget", {"key": "k", "fields": ["f", "g"]}, {"values": [None, None]}),
    ("hash.getall", {"key": "k"}, {"fields": {}}),
    ("hash.keys", {"key": "k"}, {"fields": []}),
    ("hash.vals", {"key": "k"}, {"values": []}),
    ("hash.len", {"key": "k"}, {"length": 0}),
    ("hash.exists", {"key": "k", "field": "f"}, {"exists": False}),
    ("hash.del", {"key": "k", "field": "f"}, {"deleted": 0}),
    ("hash.mset", {"key": "k", "fields": {}}, {"success": True, "created": 0}),
    ("hash.scan", {"key": "k"}, {"fields": {}, "cursor": None, "has_more": False}),
    ("list.lpushx", {"key": "k", "value": 1}, {"length": 0}),
    ("list.rpushx", {"key": "k", "value": 1}, {"length": 0}),
    ("list.lpop", {"key": "k"}, {"values": []}),
    ("list.rpop", {"key": "k", "count": 2}, {"values": []}),
    ("list.blpop", {"keys": ["k"], "timeout": 0.01}, {"key": None, "value": None}),
    ("list.brpop", {"keys": ["k"], "timeout": 0.01}, {"key": None, "value": None}),
    ("list.range", {"key": "k"}, {"values": []}),
    ("list.len", {"key": "k"}, {"length": 0}),
    ("list.index", {"key": "k", "index": 0}, {"found": False, "value": None}),
    ("list.trim", {"key": "k", "start": 1, "stop": 0}, {"length": 0}),
    ("list.rem", {"key": "k", "value": 1}, {"removed": 0}),
    ("list.insert", {"key": "k", "position": "after", "pivot": 1, "value": 2}, {"length": 0}),
    ("list.pos", {"key": "k", "value": 1}, {"index": None, "indexes": None}),
    ("list.move", {"source": "k", "destination": "other"}, {"value": None}),
    ("list.rpoplpush", {"source": "k", "destination": "other"}, {"value": None}),
    ("set.rem", {"key": "k", "member": "m"}, {"removed": 0}),
    ("set.ismember", {"key": "k", "member": "m"}, {"is_member": False, "results": None}),
    ("set.ismember", {"key": "k", "members": ["m", "n"]}, {"is_member": None, "results": [False, False]}),
    ("set.members", {"key": "k"}, {"members": []}),
    ("set.card", {"key": "k"}, {"count": 0}),
    ("set.pop", {"key": "k"}, {"members": []}),
    ("set.randmember", {"key": "k", "count": -3}, {"members": []}),
    ("set.move", {"source": "k", "destination": "other", "member": "m"}, {"moved": False}),
    ("set.inter", {"keys": ["k", "other"]}, {"members": []}),
    ("set.union", {"keys": ["k", "other"]}, {"members": []}),
    ("set.diff", {"keys": ["k", "other"]}, {"members": []}),
    ("set.interstore", {"destination": "other", "keys": ["k"]}, {"count": 0}),
    ("set.unionstore", {"destination": "other", "keys": ["k"]}, {"count": 0}),
    ("set.diffstore", {"destination": "other", "keys": ["k"]}, {"count": 0}),
    ("set.scan", {"key": "k"}, {"members": [], "cursor": None, "has_more": False}),
    ("sortedset.zadd", {"key": "k", "member": "m", "score": 1, "xx": True}, {"added": 0}),
    ("sortedset.zrem", {"key": "k", "member": "m"}, {"removed": 0}),
    ("sortedset.zscore", {"key": "k", "member": "m"}, {"found": False, "score": None}),
    ("sortedset.zmscore", {"key": "k", "members": ["m", "n"]}, {"scores": [None, None]}),
    ("sortedset.zcard", {"key": "k"}, {"count": 0}),
    ("sortedset.zcount", {"key": "k", "min": "-inf", "max": "+inf"}, {"count": 0}),
    ("sortedset.zrank", {"key": "k", "member": "m"}, {"rank": None, "score": None}),
    ("sortedset.zrevrank", {"key": "k", "member": "m"}, {"rank": None, "score": None}),
    ("sortedset.zrange", {"key": "k"}, {"members": []}),
    ("sortedset.zrevrange", {"key": "k"}, {"members": []}),
    ("sortedset.zrangebyscore", {"key": "k", "min": 0, "max": 9}, {"members": []}),
    ("sortedset.zrevrangebyscore", {"key": "k", "min": 0, "max": 9}, {"members": []}),
    ("sortedset.zpopmin", {"key": "k"}, {"members": []}),
    ("sortedset.zpopmax", {"key": "k", "count": 2}, {"members": []}),
    ("sortedset.bzpopmin", {"keys": ["k"], "timeout": 0.01}, {"key": None, "member": None, "score": None}),
    ("sortedset.bzpopmax", {"keys": ["k"], "timeout": 0.01}, {"key": None, "member": None, "score": None}),
    ("sortedset.zremrangebyrank", {"key": "k", "start": 0, "stop": -1}, {"removed": 0}),
    ("sortedset.zremrangebyscore", {"key": "k", "min": 0, "max": 9}, {"removed": 0}),
    ("sortedset.zunionstore", {"destination": "other", "keys": ["k"]}, {"count": 0}),
    ("sortedset.zinterstore", {"destination": "other", "keys": ["k"]}, {"count": 0}),
    ("sortedset.zdiffstore", {"destination": "other", "keys": ["k"]}, {"count": 0}),
    ("sortedset.zscan", {"key": "k"}, {"members": [], "cursor": None, "has_more": False}),
]
FROM_NOTHING: list[Row] = [
    ("hash.set", {"key": "k", "field": "f", "value": 1}, {"created": True}),
    ("hash.mset", {"key": "k", "fields": {"f": 1}}, {"success": True, "created": 1}),
    ("hash.setnx", {"key": "k", "field": "f", "value": 1}, {"created": True}),
    ("hash.incrby", {"key": "k", "field": "f", "increment": 0}, {"value": 0}),
    ("hash.incrbyfloat", {"key": "k", "field": "f", "increment": 1.5}, {"value": 1.5}),
    ("list.lpush", {"key": "k", "value": 1}, {"length": 1}),
    ("list.rpush", {"key": "k", "values": [1, 2]}, {"length": 2}),
    ("set.add", {"key": "k", "members": ["m", "m"]}, {"added": 1}),
    ("sortedset.zadd", {"key": "k", "member": "m", "score": 1}, {"added": 1}),
    ("sortedset.zincrby", {"key": "k", "member": "m", "increment": 2}, {"score": 2.0}),
]
OTHER_TYPE: list[Row] = [
    *FINDING_NOTHING,
    *FROM_NOTHING,
    ("list.set", {"key": "k", "index": 0, "value": 1}, None),
    ("hash.mget", {"key": "k", "fields": []}, None),
    ("set.move", {"source": "there", "destination": "k", "member": "m"}, None),
    ("list.move", {"source": "there", "destination": "k"}, None),
    ("list.rpoplpush", {"source": "there", "destination": "k"}, None),
    ("set.union", {"keys": ["there", "nobody", "k"]}, None),
    ("set.inter", {"keys": ["nobody", "k"]}, None),
    ("set.diffstore", {"destination": "other", "keys": ["nobody", "k"]}, None),
    ("sortedset.zinterstore", {"destination": "other", "keys": ["nobody", "k"]}, None),
]  # fmt: skip
# Changes of a collection of one element that leave it one, and those that take it.
CHANGING: list[tuple[str, dict[str, Any]]] = [
    ("hash.set", {"key": "k", "field": "f", "value": 2}),
    ("hash.mset", {"key": "k", "fields": {"f": 2, "g": 3}}),
    ("hash.setnx", {"key": "k", "field": "g", "value": 2}),
    ("hash.incrby", {"key": "k", "field": "f", "increment": 2}),
    ("hash.incrbyfloat", {"key": "k", "field": "f", "increment": 2}),
    ("list.lpush", {"key": "k", "value": 2}),
    ("list.rpushx", {"key": "k", "value": 2}),
    ("list.set", {"key": "k", "index": 0, "value": 2}),
    ("list.insert", {"key": "k", "position": "before", "pivot": 1, "value": 2}),
    ("list.move", {"source": "k", "destination": "k"}),
    ("set.add", {"key": "k", "member": "n"}),
    ("sortedset.zadd", {"key": "k", "member": "m", "score": 2}),
    ("sortedset.zincrby", {"key": "k", "member": "m", "increment": 2}),
]
EMPTYING: list[tuple[str, dict[str, Any]]] = [
    ("hash.del", {"key": "k", "field": "f"}),
    ("list.lpop", {"key": "k"}),
    ("list.rpop", {"key": "k", "count": 9}),
    ("list.blpop", {"keys": ["k"], "timeout": 1}),
    ("list.brpop", {"keys": ["k"], "timeout": 1}),
    ("list.trim", {"key": "k", "start": 1, "stop": 1}),
    ("list.rem", {"key": "k", "value": 1}),
    ("list.move", {"source": "k", "destination": "other"}),
    ("list.rpoplpush", {"source": "k", "destination": "other"}),
    ("set.rem", {"key": "k", "member": "m"}),
    ("set.pop", {"key": "k"}),
    ("set.move", {"source": "k", "destination": "other", "member": "m"}),
    ("set.diffstore", {"destination": "k", "keys": ["nobody"]}),
    ("sortedset.zrem", {"key": "k", "member": "m"}),
    ("sortedset.zpopmin", {"key": "k"}),
    ("sortedset.zpopmax", {"key": "k"}),
    ("sortedset.bzpopmin", {"keys": ["k"], "timeout": 1}),
    ("sortedset.bzpopmax", {"keys": ["k"], "timeout": 1}),
    ("sortedset.zremrangebyrank", {"key": "k", "start": 0, "stop": 0}),
    ("sortedset.zremrangebyscore", {"key": "k", "min": 1, "max": 1}),
    ("sortedset.zinterstore", {"destination": "k", "keys": ["nobody"]}),
]
STORING = ["set.interstore", "set.unionstore", "set.diffstore"] + [
    f"sortedset.z{name}store" for name in ("inter", "union", "diff")
]


def kind_of(command: str) -> str:
    return command.partition(".")[0]


def test_every_command_on_collections_stands_in_these_tables() -> None:
    commands = {c.name for c in TABLE.public() if c.namespace in MAKING and c.operation != "stats"}
    assert {command for command, *_ in OTHER_TYPE} == commands


@pytest.mark.parametrize(("command", "payload", "result"), FINDING_NOTHING)
def test_an_absent_key_is_an_empty_collection(
    harness: Harness, command: str, payload: dict[str, Any], result: Any
) -> None:
    assert harness.call(command, **payload) == result
    assert harness.call("kv.dbsize") == {"size": 0}
    assert recorded(harness) == []


@pytest.mark.parametrize(("command", "payload", "result"), FROM_NOTHING)
def test_a_collection_begins_with_its_first_element(
    harness: Harness, command: str, payload: dict[str, Any], result: Any
) -> None:
    assert harness.call(command, **payload) == result
    assert harness.call("key.type", key="k") == {"type": kind_of(command)}
    assert harness.call("kv.ttl", key="k") == {"found": True, "ttl": None}
    assert recorded(harness) == [command]


@pytest.mark.parametrize(("command", "payload", "_"), OTHER_TYPE)
@pytest.mark.parametrize("actual", ["string", *MAKING])
def test_a_key_of_another_type_is_refused_and_left_alone(
    harness: Harness, command: str, payload: dict[str, Any], actual: str, _: Any
) -> None:
    expected = kind_of(command)
    if actual == expected or (actual == "set" and "store" in command):  # storing takes plain sets, too
        return
    make(harness, actual)
    make(harness, expected, "there")
    digest, records = harness.digest(), recorded(harness)
    error = refused(harness, command, **payload)
    assert isinstance(error, WrongType)
    assert error.details == {"key": "k", "expected": expected, "actual": actual}
    assert (harness.digest(), recorded(harness)) == (digest, records)


@pytest.mark.parametrize("kind", MAKING)
@pytest.mark.parametrize(
    ("command", "payload"),
    [
        ("kv.get", {}),
        ("kv.set", {"value": 1, "get": True}),
        ("kv.incr", {}),
        ("kv.append", {"value": "x"}),
        ("kv.strlen", {}),
        ("kv.getdel", {}),
    ],
)
def test_commands_on_strings_refuse_a_collection(
    harness: Harness, kind: str, command: str, payload: dict[str, Any]
) -> None:
    make(harness, kind)
    error = refused(harness, command, key="k", **payload)
    assert isinstance(error, WrongType)
    assert error.details == {"key": "k", "expected": "string", "actual": kind}
    assert harness.call("key.type", key="k") == {"type": kind}


@pytest.mark.parametrize(("command", "payload"), CHANGING)
def test_a_change_keeps_the_expiry(harness: Harness, command: str, payload: dict[str, Any]) -> None:
    make(harness, kind_of(command))
    harness.call("kv.expire", key="k", ttl=10)
    harness.call(command, **payload)
    assert recorded(harness)[-1] == command
    assert harness.call("kv.ttl", key="k") == {"found": True, "ttl": 10}
    harness.clock.advance(10)
    assert harness.call("kv.exists", key="k")["exists"] is False


@pytest.mark.parametrize(("command", "payload"), EMPTYING)
def test_an_emptied_collection_is_gone_and_so_is_its_expiry(
    harness: Harness, command: str, payload: dict[str, Any]
) -> None:
    make(harness, kind_of(command))
    harness.call("kv.expire", key="k", ttl=10)
    harness.call(command, **payload)
    assert harness.call("key.exists", key="k") == {"exists": False}
    assert harness.call("kv.stats")["expiring"] == 0
    harness.call("kv.del", key="other")
    assert harness.state.keyspace.used_bytes == 0
    make(harness, kind_of(command))
    assert harness.call("kv.ttl", key="k") == {"found": True, "ttl": None}
    assert harness.replayed().state.digest(harness.clock.now()) == harness.digest()


@pytest.mark.parametrize("held", ["string", *MAKING])
@pytest.mark.parametrize("command", STORING)
def test_a_stored_result_takes_the_place_of_whatever_was_there_with_its_expiry(
    harness: Harness, command: str, held: str
) -> None:
    make(harness, held)
    make(harness, kind_of(command), "source")
    harness.call("kv.expire", key="k", ttl=10)
    harness.call("kv.expire", key="source", ttl=10)
    assert harness.call(command, destination="k", keys=["source"]) == {"count": 1}
    assert harness.call("key.type", key="k") == {"type": kind_of(command)}
    assert harness.call("kv.ttl", key="k") == {"found": True, "ttl": None}
    assert harness.call(command, destination="k", keys=["nobody"]) == {"count": 0}
    assert harness.call("key.exists", key="k") == {"exists": False}
    assert recorded(harness)[-2:] == [command] * 2


@pytest.mark.parametrize("kind", MAKING)
def test_an_expired_collection_is_absent_to_a_write(harness: Harness, kind: str) -> None:
    make(harness, kind)
    first = harness.digest()
    harness.call("kv.expire", key="k", ttl=5)
    harness.clock.advance(5)
    make(harness, kind)
    assert harness.call("kv.ttl", key="k") == {"found": True, "ttl": None}
    assert harness.call(f"{kind}.stats")["total_elements"] == 1
    assert harness.call("kv.stats")["expired"] == 1
    assert first != harness.digest() == harness.replayed().state.digest(harness.clock.now())


@pytest.mark.parametrize("kind", MAKING)
def test_a_copied_or_renamed_collection_goes_its_own_way(harness: Harness, kind: str) -> None:
    make(harness, kind)
    harness.call("kv.expire", key="k", ttl=5)
    harness.call("key.copy", source="k", destination="copy")
    harness.call("key.rename", source="k", destination="moved")
    command, payload = next(row for row in EMPTYING if kind_of(row[0]) == kind)
    harness.call(command, **payload | {"key": "copy"})
    found = {key: harness.call("key.type", key=key)["type"] for key in ("k", "copy", "moved")}
    assert found == {"k": "none", "copy": "none", "moved": kind}
    assert harness.call("kv.ttl", key="moved") == {"found": True, "ttl": 5}


@pytest.mark.parametrize("kind", MAKING)
def test_statistics_count_keys_elements_memory_and_calls(harness: Harness, kind: str) -> None:
    operation = MAKING[kind][0].partition(".")[2]
    empty = harness.call(f"{kind}.stats")
    assert set(empty["operations"]) == {c.operation for c in TABLE.public() if c.namespace == kind}
    assert (empty["total_keys"], empty["total_elements"], empty["memory_bytes"]) == (0, 0, 0)
    for key in ("a", "b", "c"):
        make(harness, kind, key)
    harness.call("kv.expire", key="c", ttl=1)
    usage = harness.call("memory.usage", key="a")["bytes"]
    stats = harness.call(f"{kind}.stats")
    assert (stats["total_keys"], stats["total_elements"]) == (3, 3)
    assert 0 < stats["memory_bytes"] < 3 * usage
    assert stats["operations"][operation] == 3
    harness.clock.advance(1)
    assert harness.call(f"{kind}.stats")["total_keys"] == 2
    harness.call("kv.flushdb")
    gone = harness.call(f"{kind}.stats")
    assert (gone["total_keys"], gone["total_elements"], gone["memory_bytes"]) == (0, 0, 0)


def test_a_snapshot_brings_every_type_back(harness: Harness) -> None:
    for kind in MAKING:
        make(harness, kind, kind)
    harness.call("kv.expire", key="set", ttl=5)
    restored = harness.restored().state
    assert restored.digest(harness.clock.now()) == harness.digest()
    assert restored.keyspace.counts_by_type(harness.clock.now()) == harness.call("kv.stats")["by_type"]
    assert restored.keyspace.used_bytes == harness.state.keyspace.used_bytes
