"""REST routes of hashes, lists, sets and sorted sets: each with its method, body, status and answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support import ServerProcess
from tests.transport.test_rest import ask, refusal

NAMESPACES = ("hash", "list", "set", "sortedset")


def scored(**scores: Any) -> dict[str, Any]:
    return {"members": [{"member": member, "score": score} for member, score in scores.items()]}


# Method, path, body, answer; a row finds what the rows above it have left.
HASHES: list[tuple[str, str, Any, Any]] = [
    ("POST", "/hash/user/set", {"field": "name", "value": "Alice"}, {"created": True}),
    ("POST", "/hash/user/set", {"field": "name", "value": {"first": "Alice"}}, {"created": False}),
    ("POST", "/hash/user/mset", {"fields": {"age": 30, "name": "Bob"}}, {"success": True, "created": 1}),
    ("POST", "/hash/user/mset", {"fields": [{"field": "n", "value": 1}]}, {"success": True, "created": 1}),
    ("POST", "/hash/user/mset", [{"field": "m", "value": None}], {"success": True, "created": 1}),
    ("POST", "/hash/user/mset", [{"field": "n", "value": 2}], {"success": True, "created": 0}),
    ("POST", "/hash/user/mset", [], {"success": True, "created": 0}),
    ("POST", "/hash/user/setnx", {"field": "n", "value": 9}, {"created": False}),
    ("GET", "/hash/user/get/n", None, {"found": True, "value": 2}),
    ("GET", "/hash/user/get/m", None, {"found": True, "value": None}),
    ("POST", "/hash/user/mget", {"fields": ["age", "nothing", "name"]}, {"values": [30, None, "Bob"]}),
    ("POST", "/hash/user/incrby", {"field": "n", "increment": -5}, {"value": -3}),
    ("POST", "/hash/user/incrbyfloat", {"field": "n", "increment": 0.5}, {"value": -2.5}),
    ("GET", "/hash/user/getall", None, {"fields": {"name": "Bob", "age": 30, "n": -2.5, "m": None}}),
    ("GET", "/hash/user/keys", None, {"fields": ["name", "age", "n", "m"]}),
    ("GET", "/hash/user/vals", None, {"values": ["Bob", 30, -2.5, None]}),
    ("GET", "/hash/user/len", None, {"length": 4}),
    ("GET", "/hash/nobody/len", None, {"length": 0}),
    ("GET", "/hash/user/exists/m", None, {"exists": True}),
    ("GET", "/hash/user/exists/nothing", None, {"exists": False}),
    ("DELETE", "/hash/user/del", {"fields": ["n", "nothing"]}, {"deleted": 1}),
    ("DELETE", "/hash/user/del", {"field": "n"}, {"deleted": 0}),
    ("POST", "/hash/user/del", {"field": "m"}, {"deleted": 1}),
]  # fmt: skip
LISTS: list[tuple[str, str, Any, Any]] = [
    ("POST", "/list/k/rpushx", {"value": 1}, {"length": 0}),
    ("POST", "/list/k/rpush", {"values": [1, "two", None]}, {"length": 3}),
    ("POST", "/list/k/lpush", {"value": [0]}, {"length": 4}),
    ("POST", "/list/k/lpushx", {"values": ["a", "b"]}, {"length": 6}),
    ("POST", "/list/k/rpushx", {"value": "z"}, {"length": 7}),
    ("GET", "/list/k/range", None, {"values": ["b", "a", [0], 1, "two", None, "z"]}),
    ("GET", "/list/k/range?start=1&stop=2", None, {"values": ["a", [0]]}),
    ("GET", "/list/k/range?start=-3&stop=-2", None, {"values": ["two", None]}),
    ("GET", "/list/k/range?stop=-7", None, {"values": ["b"]}),
    ("GET", "/list/k/len", None, {"length": 7}),
    ("GET", "/list/k/index/0", None, {"found": True, "value": "b"}),
    ("GET", "/list/k/index/-2", None, {"found": True, "value": None}),
    ("POST", "/list/k/lpop", None, {"values": ["b"]}),
    ("POST", "/list/k/lpop", {}, {"values": ["a"]}),
    ("POST", "/list/k/lpop", {"count": 1}, {"values": [[0]]}),
    ("POST", "/list/k/rpop", {"count": 2}, {"values": ["z", None]}),
    ("POST", "/list/k/rpop", None, {"values": ["two"]}),
    ("POST", "/list/k/set", {"index": -1, "value": 3}, {"success": True}),
    ("POST", "/list/k/insert", {"position": "before", "pivot": 3.0, "value": 2}, {"length": 2}),
    ("POST", "/list/k/rem", {"value": 2}, {"removed": 1}),
    ("POST", "/list/k/rpoplpush/other", None, {"value": 3}),
    ("POST", "/list/other/rpoplpush/other", {}, {"value": 3}),
    ("POST", "/list/other/trim", {"start": 0, "stop": 0}, {"length": 1}),
    ("POST", "/list/blpop", {"keys": ["k", "other"], "timeout": 1}, {"key": "other", "value": 3}),
    ("POST", "/list/brpop", {"keys": ["k"], "timeout": 0.001}, {"key": None, "value": None}),
    ("POST", "/list/nobody/lpop", None, {"values": []}),
]  # fmt: skip
SETS: list[tuple[str, str, Any, Any]] = [
    ("POST", "/set/a/add", {"members": ["1", "2", "3"]}, {"added": 3}),
    ("POST", "/set/b/add", {"member": "3"}, {"added": 1}),
    ("POST", "/set/a/ismember", {"member": "1"}, {"is_member": True, "results": None}),
    ("POST", "/set/a/ismember", {"members": ["1", "9"]}, {"is_member": None, "results": [True, False]}),
    ("GET", "/set/a/members", None, {"members": ["1", "2", "3"]}),
    ("GET", "/set/a/card", None, {"count": 3}),
    ("POST", "/set/inter", {"keys": ["a", "b"]}, {"members": ["3"]}),
    ("POST", "/set/union", {"keys": ["b", "a"]}, {"members": ["3", "1", "2"]}),
    ("POST", "/set/diff", {"keys": ["a", "b"]}, {"members": ["1", "2"]}),
    ("POST", "/set/a/move/b", {"member": "1"}, {"moved": True}),
    ("POST", "/set/a/rem", {"members": ["2", "9"]}, {"removed": 1}),
    ("GET", "/set/a/randmember", None, {"members": ["3"]}),
    ("GET", "/set/a/randmember?count=9", None, {"members": ["3"]}),
    ("GET", "/set/a/randmember?count=-3", None, {"members": ["3"] * 3}),
    ("POST", "/set/a/pop", None, {"members": ["3"]}),
    ("POST", "/set/a/pop", {"count": 2}, {"members": []}),
]  # fmt: skip
SORTED_SETS: list[tuple[str, str, Any, Any]] = [
    ("POST", "/sortedset/z/zadd", {"member": "player1", "score": 100.5}, {"added": 1}),
    ("POST", "/sortedset/z/zadd", scored(player1=1, player2=200.0), {"added": 1}),
    ("POST", "/sortedset/z/zadd", {"member": "player1", "score": 2, "incr": True}, {"added": 0, "score": 3.0}),
    ("POST", "/sortedset/z/zincrby", {"member": "top", "increment": "+inf"}, {"score": "+inf"}),
    ("POST", "/sortedset/z/zincrby", {"member": "low", "increment": -5}, {"score": -5.0}),
    ("POST", "/sortedset/z/zmscore", {"members": ["top", "nobody"]}, {"scores": ["+inf", None]}),
    ("GET", "/sortedset/z/zscore/player2", None, {"found": True, "score": 200.0}),
    ("GET", "/sortedset/z/zrank/player1", None, {"rank": 1, "score": 3.0}),
    ("GET", "/sortedset/z/zrevrank/top", None, {"rank": 0, "score": "+inf"}),
    ("GET", "/sortedset/z/zcard", None, {"count": 4}),
    ("GET", "/sortedset/z/zcount?min=(3&max=%2Binf", None, {"count": 2}),
    ("GET", "/sortedset/z/zcount?min=(3&max=+inf", None, {"count": 2}),
    ("GET", "/sortedset/z/zcount?min=-inf&max=inf", None, {"count": 4}),
    ("GET", "/sortedset/z/zcount?min=-5&max=3.0", None, {"count": 2}),
    ("GET", "/sortedset/z/zcount?min=%28-5&max=%283e0", None, {"count": 0}),
    ("GET", "/sortedset/z/zrange?start=0&stop=1", None, scored(low=-5.0, player1=3.0)),
    ("GET", "/sortedset/z/zrange?start=-1", None, scored(top="+inf")),
    ("GET", "/sortedset/z/zrevrange?stop=-3", None, scored(top="+inf", player2=200.0)),
    ("GET", "/sortedset/z/zrangebyscore?min=-inf&max=(200", None, scored(low=-5.0, player1=3.0)),
    ("GET", "/sortedset/z/zrangebyscore?min=-6&max=+inf&offset=1&count=2", None, scored(player1=3.0, player2=200.0)),
    ("GET", "/sortedset/z/zrevrangebyscore?min=3&max=(inf", None, scored(player2=200.0, player1=3.0)),
    ("POST", "/sortedset/new/zunionstore", {"keys": ["z"], "weights": [2], "aggregate": "max"}, {"count": 4}),
    ("POST", "/sortedset/new/zinterstore", {"keys": ["z", "new"]}, {"count": 4}),
    ("POST", "/sortedset/new/zdiffstore", {"keys": ["new", "nobody"]}, {"count": 4}),
    ("GET", "/sortedset/new/zrange?stop=1", None, scored(low=-15.0, player1=9.0)),
    ("POST", "/sortedset/z/zrem", {"members": ["player1", "nobody"]}, {"removed": 1}),
    ("POST", "/sortedset/z/zpopmin", None, scored(low=-5.0)),
    ("POST", "/sortedset/z/zpopmax", {"count": 5}, scored(top="+inf", player2=200.0)),
    ("POST", "/sortedset/new/zremrangebyrank", {"start": 0, "stop": 0}, {"removed": 1}),
    ("POST", "/sortedset/new/zremrangebyscore", {"min": "(9", "max": 1e9}, {"removed": 1}),
    ("POST", "/sortedset/bzpopmin", {"keys": ["new"], "timeout": 1}, {"key": "new", "member": "player1", "score": 9.0}),
    ("POST", "/sortedset/bzpopmax", {"keys": ["new"], "timeout": 1}, {"key": "new", "member": "top", "score": "+inf"}),
]  # fmt: skip
EXCHANGES = {"hash": HASHES, "list": LISTS, "set": SETS, "sortedset": SORTED_SETS}
STATS = {f"GET /{namespace}/stats" for namespace in NAMESPACES}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("rest collections") / "data") as server:
        yield server


@pytest.fixture
def server(running: ServerProcess) -> ServerProcess:
    """A server without keys."""
    running.call("kv.flushdb")
    return running


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_every_route_answers_the_bare_payload(server: ServerProcess, namespace: str) -> None:
    for method, path, body, expected in EXCHANGES[namespace]:
        answer = ask(server, method, path, body)
        assert (answer.status, answer.json) == (200, expected), f"{method} {path} {body}"
    stats = ask(server, "GET", f"/{namespace}/stats").json
    assert set(stats) == {"total_keys", "total_elements", "memory_bytes", "operations"}


def test_every_route_of_these_types_is_tried(server: ServerProcess) -> None:
    commands = ask(server, "GET", "/api/v1/commands").json["commands"]
    listed = {route for c in commands if c["name"].partition(".")[0] in NAMESPACES for route in c["routes"]}
    patterns = {route: re.sub(r"{\w+}", "[^/]+", route) for route in sorted(listed, key=lambda route: route.count("{"))}
    requests = {f"{method} {path.partition('?')[0]}" for rows in EXCHANGES.values() for method, path, *_ in rows}
    tried = {next(r for r, pattern in patterns.items() if re.fullmatch(pattern, request)) for request in requests}
    assert tried | STATS == listed


@pytest.mark.parametrize(
    "path",
    [
        "/hash/user/get/nothing",
        "/hash/nobody/get/name",
        "/list/k/index/1",
        "/list/k/index/-2",
        "/list/nobody/index/0",
        "/sortedset/z/zscore/nobody",
        "/sortedset/nobody/zscore/m",
    ],
)
def test_reading_one_thing_that_is_not_there_is_404(server: ServerProcess, path: str) -> None:
    server.call("hash.set", key="user", field="name", value=None)
    server.call("list.rpush", key="k", value=None)
    server.call("sortedset.zadd", key="z", member="m", score=0)
    assert refusal(ask(server, "GET", path)) == (404, "KEY_NOT_FOUND", None)


@pytest.mark.parametrize("name", ["a/b", "/", "a%2Fb", "é", "a b", "a+b", "?", "#", "..", "null", "5", "stats", "\0"])
def test_keys_fields_and_members_of_any_characters(server: ServerProcess, name: str) -> None:
    path = quote(name, safe="")
    assert ask(server, "POST", f"/hash/{path}/set", {"field": name, "value": 1}).json == {"created": True}
    assert ask(server, "GET", f"/hash/{path}/get/{path}").json == {"found": True, "value": 1}
    assert ask(server, "GET", f"/hash/{path}/exists/{path}").json == {"exists": True}
    assert ask(server, "DELETE", f"/hash/{path}/del", {"field": name}).json == {"deleted": 1}
    assert ask(server, "POST", f"/sortedset/{path}/zadd", {"member": name, "score": 1}).json == {"added": 1}
    assert ask(server, "GET", f"/sortedset/{path}/zrank/{path}").json == {"rank": 0, "score": 1.0}
    server.call("kv.del", key=name)
    server.call("list.rpush", key=name, value=name)
    assert ask(server, "POST", f"/list/{path}/rpoplpush/{path}").json == {"value": name}
    assert ask(server, "GET", f"/list/{path}/index/-1").json == {"found": True, "value": name}
    server.call("kv.del", key=name)
    server.call("set.add", key=name, member=name)
    assert ask(server, "POST", f"/set/{path}/move/{path}", {"member": name}).json == {"moved": True}
    assert server.call("kv.keys")["keys"] == [name]


def test_values_of_a_bare_array_are_kept_byte_for_byte(server: ServerProcess) -> None:
    value = b'{"b":1.10, "a":[1e999,"\\u00e9"],"a":%d}' % 2**80
    ask(server, "POST", "/hash/user/mset", b' [{"value":%b, "field":"f"}]' % value)
    assert ask(server, "GET", "/hash/user/get/f").body == b'{"found":true,"value":%b}' % value


WITHOUT_VALUE = [{"field": "f", "value": 1}, {"field": "g"}]


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/hash/user/mset", WITHOUT_VALUE, "payload.fields[1].value"),
        ("POST", "/hash/user/mset", {"fields": WITHOUT_VALUE}, "payload.fields[1].value"),
        ("POST", "/hash/user/mset", ["name", "Alice"], "payload.fields[0]"),
        ("POST", "/hash/user/mset", [{"field": 1, "value": 1}], "payload.fields[0].field"),
        ("POST", "/hash/user/mset", [{"field": "f", "value": 1, "ttl": 5}], "payload.fields[0].ttl"),
        ("POST", "/hash/user/mset", {}, "payload.fields"),
        ("POST", "/hash/user/mset", {"name": "Alice"}, "payload.name"),
        ("POST", "/hash/user/mset", {"key": "user", "fields": {}}, "payload.key"),
        ("POST", "/hash/user/mset", b'"text"', "payload"),
        ("POST", "/hash/user/set", [{"field": "f", "value": 1}], "payload"),
        ("DELETE", "/hash/user/del", None, "payload"),
        ("DELETE", "/hash/user/del?field=f", None, "payload"),
        ("GET", "/hash/user/get/f?field=g", None, "payload.field"),
        ("POST", "/list/k/rpush", [1, 2], "payload"),
        ("POST", "/list/k/lpop", {"count": -1}, "payload.count"),
        ("GET", "/list/k/index/first", None, "payload.index"),
        ("GET", "/list/k/range?start=1.5", None, "payload.start"),
        ("GET", "/list/k/range?end=1", None, "payload.end"),
        ("POST", "/set/k/pop", {"count": -3}, "payload.count"),
        ("GET", "/set/k/randmember?count=many", None, "payload.count"),
        ("POST", "/set/inter", ["a", "b"], "payload"),
        ("POST", "/sortedset/z/zadd", {"member": "m"}, "payload"),
        ("POST", "/sortedset/z/zadd", {"members": [{"member": "m"}]}, "payload.members[0].score"),
        ("GET", "/sortedset/z/zcount?min=nan&max=1", None, "payload.min"),
        ("GET", "/sortedset/z/zcount?min=1&max=((2", None, "payload.max"),
        ("GET", "/sortedset/z/zcount?min=1", None, "payload.max"),
    ],
)
def test_what_does_not_fit_is_told_by_its_place(
    server: ServerProcess, method: str, path: str, body: Any, field: str
) -> None:
    assert refusal(ask(server, method, path, body)) == (422, "INVALID_PAYLOAD", field)
    assert server.call("kv.dbsize") == {"size": 0}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/hash/text/getall", None, 409, "WRONG_TYPE"),
        ("POST", "/set/k/add", {"member": "m"}, 409, "WRONG_TYPE"),
        ("POST", "/hash/user/incrby", {"field": "f", "increment": 1}, 422, "NOT_A_NUMBER"),
        ("POST", "/list/k/set", {"index": 1, "value": 1}, 422, "OUT_OF_RANGE"),
        ("POST", "/list/nobody/set", {"index": 0, "value": 1}, 404, "KEY_NOT_FOUND"),
    ],
)
def test_errors_keep_the_status_of_their_code(
    server: ServerProcess, method: str, path: str, body: Any, status: int, code: str
) -> None:
    server.call("kv.set", key="text", value=1)
    server.call("list.rpush", key="k", value="x")
    server.call("hash.set", key="user", field="f", value="x")
    assert refusal(ask(server, method, path, body))[:2] == (status, code)


@pytest.mark.parametrize("tail", ["", "]]", "] x", "]{}", "],", '],"key":"other"', '],"fields":[]'])
def test_a_body_that_only_begins_with_an_array_is_no_json(server: ServerProcess, tail: str) -> None:
    body = b'[{"field":"f","value":1}' + tail.encode()
    assert refusal(ask(server, "POST", "/hash/user/mset", body)) == (400, "INVALID_REQUEST", None)
    assert server.call("kv.dbsize") == {"size": 0}
