"""REST routes: every one of kv, key and memory, keys of any characters, typed queries, and errors in one shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support import ServerProcess
from tests.transport.wire import Answer, connect, request

LARGE_TARGET_KEYS = ("k" * 65_536, "é" * 32_768, "\0" * 65_536)
AWKWARD_KEYS = (
    "a/b",
    "/",
    "//",
    "a%b",
    "a%2Fb",
    "%",
    "%zz",
    "%25",
    "a?b",
    "a#b",
    "a b",
    " ",
    "a+b",
    "a\0b",
    "\0",
    "\r\n",
    "🎉",
    "é",
    "e\u0301",
    ".",
    "..",
    "a/../b",
    "a;b=c",
    "a,b",
    "a&b=c",
    "a:b@c",
    '"\\"',
    "{key}",
    "{",
    "[0]",
    "*",
    "~",
    "get",
    "set",
    "ttl",
    "del",
    "scan",
    "stats",
    "usage",
    "randomkey",
    *LARGE_TARGET_KEYS,
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("rest") / "data") as server:
        yield server


@pytest.fixture
def server(running: ServerProcess) -> ServerProcess:
    """A server without keys."""
    running.call("kv.flushdb")
    return running


def ask(server: ServerProcess, method: str, path: str, body: Any = None, *headers: tuple[str, str]) -> Answer:
    """One request; `body` is data or bytes."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    with connect(server) as wire:
        return wire.ask_at_length(request(method, path, data, headers))


def refusal(answer: Answer) -> tuple[int, str, str | None]:
    """Status, code, and the place named."""
    assert answer.header("Content-Type") == "application/json; charset=utf-8"
    assert set(answer.json) == {"status", "error"}
    assert set(answer.error) == {"code", "message", "details"}
    return answer.status, answer.error["code"], answer.error["details"].get("path")


# Route by route

EXCHANGES: list[tuple[str, str, str, Any, Any]] = [
    ("POST", "/kv/set", "/kv/set", {"key": "a", "value": {"n": 1}}, {"key": "a", "success": True, "previous": None}),
    ("GET", "/kv/get/{key}", "/kv/get/a", None, {"found": True, "value": {"n": 1}, "ttl": None}),
    ("DELETE", "/kv/del/{key}", "/kv/del/a", None, {"deleted": 1}),
    ("DELETE", "/kv/del/{key}", "/kv/del/a", None, {"deleted": 0}),
    ("POST", "/kv/msetnx", "/kv/msetnx", {"key": "b", "value": {"name": "Alice"}}, {"success": True}),
    ("POST", "/kv/msetnx", "/kv/msetnx", ["b", 2], {"success": False}),
    ("POST", "/kv/msetnx", "/kv/msetnx", ["c", {"name": "Bob"}], {"success": True}),
    ("POST", "/kv/msetnx", "/kv/msetnx", {"pairs": {"d": 1, "b": 1}}, {"success": False}),
    ("POST", "/kv/msetnx", "/kv/msetnx", {"pairs": [{"key": "d", "value": 1}]}, {"success": True}),
    ("POST", "/kv/mset", "/kv/mset", {"pairs": {"one": 1, "two": 2}}, {"success": True, "count": 2}),
    ("POST", "/kv/mset", "/kv/mset", {"pairs": [{"key": "three", "value": 3}]}, {"success": True, "count": 1}),
    ("POST", "/kv/mget", "/kv/mget", {"keys": ["one", "nobody", "three"]}, {"values": [1, None, 3]}),
    ("POST", "/kv/incr", "/kv/incr", {"key": "n"}, {"value": 1}),
    ("POST", "/kv/incr", "/kv/incr", {"key": "n", "amount": 10}, {"value": 11}),
    ("POST", "/kv/decr", "/kv/decr", {"key": "n", "amount": 2}, {"value": 9}),
    ("POST", "/kv/expire", "/kv/expire", {"key": "n", "ttl": 100}, {"success": True}),
    ("GET", "/kv/{key}/ttl", "/kv/n/ttl", None, {"found": True, "ttl": 100}),
    ("GET", "/kv/{key}/ttl", "/kv/one/ttl", None, {"found": True, "ttl": None}),
    ("POST", "/kv/{key}/append", "/kv/text/append", {"value": "hello"}, {"length": 5}),
    ("POST", "/kv/{key}/setrange", "/kv/text/setrange", {"offset": 4, "value": "!"}, {"length": 5}),
    ("GET", "/kv/{key}/getrange", "/kv/text/getrange?start=0&end=3", None, {"value": "hell"}),
    ("GET", "/kv/{key}/getrange", "/kv/text/getrange?start=-1&end=-1", None, {"value": "!"}),
    ("GET", "/kv/{key}/getrange", "/kv/nobody/getrange?start=0&end=3", None, {"value": ""}),
    ("GET", "/kv/{key}/strlen", "/kv/text/strlen", None, {"length": 5}),
    ("GET", "/kv/{key}/strlen", "/kv/nobody/strlen", None, {"length": 0}),
    ("POST", "/kv/{key}/getset", "/kv/text/getset", {"value": [1]}, {"value": "hell!"}),
    ("POST", "/kv/{key}/getset", "/kv/new/getset", {"value": "new"}, {"value": None}),
    ("GET", "/kv/keys", "/kv/keys?match=t*", None, {"keys": ["text", "three", "two"], "count": 3}),
    ("GET", "/kv/scan", "/kv/scan?prefix=th&count=9", None, {"keys": ["three"], "cursor": None, "has_more": False}),
    ("GET", "/key/{key}/type", "/key/text/type", None, {"type": "string"}),
    ("GET", "/key/{key}/type", "/key/nobody/type", None, {"type": "none"}),
    ("GET", "/key/{key}/exists", "/key/text/exists", None, {"exists": True}),
    ("GET", "/key/{key}/exists", "/key/nobody/exists", None, {"exists": False}),
    ("POST", "/key/{key}/rename", "/key/one/rename", {"destination": "eins"}, {"success": True}),
    ("POST", "/key/{key}/renamenx", "/key/eins/renamenx", {"destination": "two"}, {"success": False}),
    ("POST", "/key/{key}/renamenx", "/key/eins/renamenx", {"destination": "uno"}, {"success": True}),
    ("POST", "/key/{key}/copy", "/key/uno/copy", {"destination": "two"}, {"success": False}),
    ("POST", "/key/{key}/copy", "/key/uno/copy", {"destination": "two", "replace": True}, {"success": True}),
    ("GET", "/memory/{key}/usage", "/memory/nobody/usage", None, {"bytes": 0, "human": "0B"}),
]  # fmt: skip


def test_every_route_answers_the_bare_payload(server: ServerProcess) -> None:
    for method, _, path, body, expected in EXCHANGES:
        answer = ask(server, method, path, body)
        assert (answer.status, answer.json) == (200, expected), f"{method} {path}"
        assert answer.header("Content-Type") == "application/json; charset=utf-8"
    keys = server.call("kv.keys")["keys"]
    assert ask(server, "GET", "/key/randomkey").json["key"] in keys
    assert ask(server, "GET", "/kv/stats").json["total_keys"] == len(keys)
    assert ask(server, "GET", "/memory/text/usage").json["bytes"] > 0
    assert ask(server, "GET", "/memory/text/usage").json["human"].endswith("B")


def test_every_route_of_the_contract_is_there(server: ServerProcess) -> None:
    tried = {f"{method} {route}" for method, route, *_ in EXCHANGES}
    tried |= {"GET /key/randomkey", "GET /kv/stats"}
    listed = {
        route.replace("{source}", "{key}")
        for command in ask(server, "GET", "/api/v1/commands").json["commands"]
        if command["name"].partition(".")[0] in ("kv", "key", "memory")
        for route in command["routes"]
    }
    assert listed == tried


def test_a_random_key_of_none_is_null(server: ServerProcess) -> None:
    assert ask(server, "GET", "/key/randomkey").json == {"key": None}


@pytest.mark.parametrize("path", ["/kv/get/nobody", "/kv/nobody/ttl"])
def test_reading_one_thing_that_is_not_there_is_404(server: ServerProcess, path: str) -> None:
    assert refusal(ask(server, "GET", path)) == (404, "KEY_NOT_FOUND", None)


def test_a_null_that_is_there_is_found(server: ServerProcess) -> None:
    ask(server, "POST", "/kv/set", {"key": "null", "value": None})
    assert ask(server, "GET", "/kv/get/null").json == {"found": True, "value": None, "ttl": None}


def test_errors_keep_the_status_of_their_code(server: ServerProcess) -> None:
    ask(server, "POST", "/kv/set", {"key": "n", "value": 1})
    ask(server, "POST", "/kv/set", {"key": "text", "value": "x"})
    assert refusal(ask(server, "POST", "/key/nobody/rename", {"destination": "b"})) == (404, "KEY_NOT_FOUND", None)
    assert refusal(ask(server, "POST", "/kv/n/append", {"value": "x"})) == (409, "WRONG_TYPE", None)
    assert refusal(ask(server, "POST", "/kv/incr", {"key": "text"})) == (422, "NOT_A_NUMBER", None)
    assert refusal(ask(server, "POST", "/kv/incr", {"key": "n", "amount": 2**63 - 1})) == (422, "OUT_OF_RANGE", None)
    assert refusal(ask(server, "POST", "/kv/set", {"key": "k" * 65_537, "value": 1})) == (
        413,
        "PAYLOAD_TOO_LARGE",
        None,
    )


def test_values_come_back_byte_for_byte(server: ServerProcess) -> None:
    value = b'{"b":1.10, "a":[1e999,"\\u00e9"],"a":%d}' % 2**80
    ask(server, "POST", "/kv/set", b'{"key":"kept","value":%b}' % value)
    assert ask(server, "GET", "/kv/get/kept").body == b'{"found":true,"value":%b,"ttl":null}' % value
    assert ask(server, "POST", "/kv/kept/getset", b'{"value":%b}' % value).body == b'{"value":%b}' % value
    assert ask(server, "GET", "/kv/get/kept").body == b'{"found":true,"value":%b,"ttl":null}' % value


# Keys


@pytest.mark.parametrize("key", AWKWARD_KEYS, ids=lambda key: f"{key[:12]!a} x{len(key)}")
def test_a_key_of_any_characters_is_one_key(server: ServerProcess, key: str) -> None:
    path = quote(key, safe="")
    server.call("kv.set", key=key, value="mine")
    assert ask(server, "GET", f"/kv/get/{path}").json["value"] == "mine"
    assert ask(server, "GET", f"/key/{path}/exists").json == {"exists": True}
    assert ask(server, "POST", f"/kv/{path}/append", {"value": "!"}).json == {"length": 5}
    assert ask(server, "GET", f"/memory/{path}/usage").json["bytes"] > 0
    assert ask(server, "POST", f"/key/{path}/copy", {"destination": "copy"}).json == {"success": True}
    assert server.call("kv.mget", keys=[key, "copy"])["values"] == ["mine!", "mine!"]
    assert ask(server, "DELETE", f"/kv/del/{path}").json == {"deleted": 1}
    assert server.call("kv.keys")["keys"] == ["copy"]


@pytest.mark.parametrize("key", [k for k in AWKWARD_KEYS if k != "get"], ids=lambda key: f"{key[:12]!a} x{len(key)}")
def test_reading_about_a_key_of_any_characters(server: ServerProcess, key: str) -> None:
    path = quote(key, safe="")
    server.call("kv.set", key=key, value="mine", ttl=100)
    assert ask(server, "GET", f"/kv/{path}/ttl").json == {"found": True, "ttl": 100}
    assert ask(server, "GET", f"/kv/{path}/strlen").json == {"length": 4}
    assert ask(server, "GET", f"/kv/{path}/getrange?start=1&end=2").json == {"value": "in"}


def test_a_key_named_as_an_operation_is_read_as_a_key(server: ServerProcess) -> None:
    server.call("kv.mset", pairs={"ttl": "the key ttl", "get": "the key get"})
    assert ask(server, "GET", "/kv/get/ttl").json["value"] == "the key ttl"
    assert ask(server, "GET", "/kv/get/get").json["value"] == "the key get"
    assert ask(server, "GET", "/kv/ttl/ttl").json == {"found": True, "ttl": None}


@pytest.mark.parametrize("key", ["a-b_c.d", "user:1001", "a@b", "a,b", "a!$&'()*+;=b", "~"])
def test_what_a_path_may_hold_as_it_stands_needs_no_escape(server: ServerProcess, key: str) -> None:
    server.call("kv.set", key=key, value=1)
    assert ask(server, "GET", f"/kv/get/{key}").json["value"] == 1


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_key_over_the_limit_is_too_large(server: ServerProcess, method: str) -> None:
    path = f"/kv/{'get' if method == 'GET' else 'del'}/{'k' * 65_537}"
    assert refusal(ask(server, method, path)) == (413, "PAYLOAD_TOO_LARGE", None)


@pytest.mark.parametrize("path", ["/kv/get/", "/kv//ttl", "/key//type", "/memory//usage"])
def test_an_empty_key_is_no_key(server: ServerProcess, path: str) -> None:
    assert ask(server, "GET", path).status == 404


@pytest.mark.parametrize("escaped", ["%FF", "a%ED%A0%80b"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/kv/get/{}"), ("DELETE", "/kv/del/{}"), ("POST", "/kv/{}/append"), ("GET", "/kv/keys?match={}")],
)
def test_an_address_that_is_not_utf_8_is_refused(server: ServerProcess, method: str, path: str, escaped: str) -> None:
    body = {"value": "x"} if method == "POST" else None
    assert refusal(ask(server, method, path.format(escaped), body))[:2] == (400, "INVALID_REQUEST")
    assert server.call("kv.dbsize")["size"] == 0


# Fields


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("count=abc", "payload.count"),
        ("count=1.5", "payload.count"),
        ("count=", "payload.count"),
        ("count=0", "payload.count"),
        ("count=99999999999999999999", "payload.count"),
        ("count=1&count=2", "payload.count"),
        ("type=banana", "payload.type"),
        ("cursor=!", "payload.cursor"),
        ("cuont=1", "payload.cuont"),
        ("=1", "payload."),
    ],
)
def test_a_query_that_does_not_fit_is_told_by_its_place(server: ServerProcess, query: str, path: str) -> None:
    assert refusal(ask(server, "GET", f"/kv/scan?{query}")) == (422, "INVALID_PAYLOAD", path)


def test_a_query_misses_what_is_required(server: ServerProcess) -> None:
    assert refusal(ask(server, "GET", "/kv/a/getrange?start=0")) == (422, "INVALID_PAYLOAD", "payload.end")


def test_a_query_is_unescaped_once(server: ServerProcess) -> None:
    server.call("kv.mset", pairs={"a b": 1, "a+b": 1, "a%20b": 1, "a&b": 1, "é": 1})
    for escaped, key in (
        ("a+b", "a b"),
        ("a%20b", "a b"),
        ("a%2Bb", "a+b"),
        ("a%2520b", "a%20b"),
        ("a%26b", "a&b"),
        ("%C3%A9", "é"),
    ):
        assert ask(server, "GET", f"/kv/keys?match={escaped}").json["keys"] == [key]


@pytest.mark.parametrize("text", ["null", "Null", "true", "1", "1.0", "[]", '""', ""])
def test_what_looks_like_data_stays_text_where_text_is_meant(server: ServerProcess, text: str) -> None:
    server.call("kv.mset", pairs={f"{text}!": 1, "other": 1} if text else {"!": 1, "other": 1})
    prefix = quote(text, safe="")
    expected = [f"{text}!"] if text else ["!", "other"]
    assert ask(server, "GET", f"/kv/scan?prefix={prefix}").json["keys"] == expected


def test_scanning_page_by_page(server: ServerProcess) -> None:
    server.call("kv.mset", pairs={f"key {i:02}": i for i in range(10)})
    found: list[str] = []
    query = "count=3"
    while True:
        page = ask(server, "GET", f"/kv/scan?{query}").json
        found += page["keys"]
        if not page["has_more"]:
            break
        query = f"count=3&cursor={quote(page['cursor'], safe='')}"
    assert found == [f"key {i:02}" for i in range(10)]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/kv/a/append", {"key": "b", "value": "x"}),
        ("POST", "/kv/a/append", {"key": "a", "value": "x"}),
        ("DELETE", "/kv/del/a", {"key": "b"}),
        ("POST", "/key/a/rename", {"source": "b", "destination": "c"}),
        ("GET", "/kv/get/a?key=b", None),
    ],
)
def test_a_field_of_the_path_may_not_be_given_again(server: ServerProcess, method: str, path: str, body: Any) -> None:
    field = "payload.source" if "rename" in path else "payload.key"
    assert refusal(ask(server, method, path, body)) == (422, "INVALID_PAYLOAD", field)


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/kv/set", {"key": "a", "vlaue": 1}, "payload.vlaue"),
        ("POST", "/kv/set", {"key": "a"}, "payload.value"),
        ("POST", "/kv/set", {"key": "", "value": 1}, "payload.key"),
        ("POST", "/kv/set", b"", "payload.key"),
        ("POST", "/kv/set", {"key": "a", "value": 1, "ttl": "soon"}, "payload.ttl"),
        ("POST", "/kv/set", [], "payload"),
        ("POST", "/kv/set", b"null", "payload"),
        ("POST", "/kv/a/append", {}, "payload.value"),
        ("POST", "/kv/a/append", None, "payload.value"),
        ("POST", "/kv/a/append", {"value": 5}, "payload.value"),
        ("POST", "/kv/a/append", [], "payload"),
        ("POST", "/kv/a/append", b'"text"', "payload"),
        ("POST", "/kv/mset", {"pairs": [{"key": "a", "value": 1}, {"key": "b"}]}, "payload.pairs[1].value"),
        ("DELETE", "/kv/del/a", {"keys": ["b"]}, "payload"),
        ("DELETE", "/kv/del/a", {"kyes": ["b"]}, "payload.kyes"),
    ],
)
def test_a_body_that_does_not_fit_is_told_by_its_place(
    server: ServerProcess, method: str, path: str, body: Any, field: str
) -> None:
    assert refusal(ask(server, method, path, body)) == (422, "INVALID_PAYLOAD", field)
    assert server.call("kv.dbsize")["size"] == 0


@pytest.mark.parametrize(("method", "path"), [("POST", "/kv/incr?amuont=2"), ("DELETE", "/kv/del/a?keys=b")])
def test_a_query_where_none_is_read_does_not_pass_in_silence(server: ServerProcess, method: str, path: str) -> None:
    body = {"key": "a"} if method == "POST" else None
    assert refusal(ask(server, method, path, body))[:2] == (422, "INVALID_PAYLOAD")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"hello",
        b'{"key":"a","value":NaN}',
        b'{"key":"a","value":"\xff"}',
        b'\xef\xbb\xbf{"key":"a","value":1}',
        b'{"key":"a","value":1}{}',
        b'{"key":"a","value":' + b"[" * 100_000,
        b'{"key":"a","value":' + b"[" * 513 + b"]" * 513 + b"}",
    ],
)
@pytest.mark.parametrize("path", ["/kv/set", "/kv/b/getset"])
def test_what_is_not_json_is_an_invalid_request(server: ServerProcess, path: str, body: bytes) -> None:
    if path == "/kv/b/getset":
        body = body.replace(b'"key":"a",', b"")
    assert refusal(ask(server, "POST", path, body)) == (400, "INVALID_REQUEST", None)
    assert server.call("kv.dbsize")["size"] == 0


def test_a_body_over_the_limit_is_too_large(server: ServerProcess) -> None:
    answer = ask(server, "POST", "/kv/large/append", b'{"value":"%b"}' % (b"x" * 33 * 1024 * 1024))
    assert refusal(answer) == (413, "PAYLOAD_TOO_LARGE", None)
    assert answer.header("Connection") == "close"
    assert ask(server, "GET", "/health").status == 200


# Headers


def test_a_write_tells_how_durable_it_is(server: ServerProcess) -> None:
    first = ask(server, "POST", "/kv/incr", {"key": "a"})
    second = ask(server, "POST", "/kv/incr", {"key": "a"}, ("X-Synap-Ack", "synced"))
    assert (first.header("X-Synap-Ack"), second.header("X-Synap-Ack")) == ("written", "synced")
    assert int(second.header("X-Synap-LSN") or 0) == int(first.header("X-Synap-LSN") or 0) + 1


def test_a_read_tells_nothing_of_the_kind(server: ServerProcess) -> None:
    ask(server, "POST", "/kv/incr", {"key": "a"})
    answer = ask(server, "GET", "/kv/get/a")
    assert answer.header("X-Synap-Ack") is answer.header("X-Synap-LSN") is None


@pytest.mark.parametrize("ack", ["nonsense", "", "\xff"])
def test_an_unknown_acknowledgement_is_refused(server: ServerProcess, ack: str) -> None:
    answer = ask(server, "POST", "/kv/incr", {"key": "a"}, ("X-Synap-Ack", ack))
    assert refusal(answer) == (400, "INVALID_REQUEST", None)
    assert server.call("kv.dbsize")["size"] == 0


def test_an_idempotency_key_gives_the_first_answer_again(server: ServerProcess) -> None:
    header = ("Idempotency-Key", "rest, once")
    assert ask(server, "POST", "/kv/incr", {"key": "a"}, header).json == {"value": 1}
    assert ask(server, "POST", "/kv/incr", {"key": "a"}, header).json == {"value": 1}
    assert ask(server, "POST", "/kv/incr", {"key": "b"}, header).error["code"] == "IDEMPOTENCY_CONFLICT"
    assert server.call("kv.mget", keys=["a", "b"])["values"] == [1, None]


def test_an_idempotent_failure_is_repeated_too(server: ServerProcess) -> None:
    server.call("kv.set", key="a", value="text")
    header = ("Idempotency-Key", "rest, failing")
    first = ask(server, "POST", "/kv/incr", {"key": "a"}, header)
    server.call("kv.set", key="a", value=1)
    again = ask(server, "POST", "/kv/incr", {"key": "a"}, header)
    assert first.status == again.status == 422
    assert first.error == again.error


def test_an_idempotency_key_that_is_not_utf_8_is_refused(server: ServerProcess) -> None:
    answer = ask(server, "POST", "/kv/incr", {"key": "a"}, ("Idempotency-Key", "\xff\xfe"))
    assert refusal(answer) == (400, "INVALID_REQUEST", None)
    assert server.call("kv.dbsize")["size"] == 0
