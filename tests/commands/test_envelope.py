"""The JSON around commands: what is accepted, what is echoed, and what an error says."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap.commands import envelope
from synap.errors import InvalidRequest
from tests.commands.common import batch, recorded
from tests.support import Harness


def strictly(body: bytes) -> Any:
    """The reply, which must be JSON without any extension."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(body.decode(), parse_constant=refuse)


def reply_to(harness: Harness, body: bytes, **headers: Any) -> Any:
    return strictly(harness.dispatcher.answer(body, **headers).body)


def stored(harness: Harness, value: bytes) -> bytes:
    """The bytes that kv.get answers for a value that kv.set was sent."""
    harness.dispatcher.answer(b'{"command":"kv.set","payload":{"key":"k","value":%b}}' % value)
    body = harness.dispatcher.answer(b'{"command":"kv.get","request_id":"r","payload":{"key":"k"}}').body
    head, tail = b'"payload":{"found":true,"value":', b',"ttl":null}}'
    assert body.endswith(tail), body
    return body[body.index(head) + len(head) : -len(tail)]


# What a reply says


def test_a_read_is_answered_with_its_payload(harness: Harness) -> None:
    assert reply_to(harness, b'{"command":"kv.dbsize","request_id":"r1"}') == {
        "type": "response",
        "request_id": "r1",
        "status": "success",
        "success": True,
        "payload": {"size": 0},
    }


def test_a_write_is_answered_with_its_durability_and_sequence_number(harness: Harness) -> None:
    reply = reply_to(harness, b'{"command":"kv.incr","request_id":"r1","payload":{"key":"k"}}')
    assert reply == {
        "type": "response",
        "request_id": "r1",
        "status": "success",
        "success": True,
        "ack": "written",
        "lsn": 1,
        "payload": {"value": 1},
    }


def test_an_error_is_answered_with_code_message_and_details(harness: Harness) -> None:
    reply = reply_to(harness, b'{"command":"key.rename","request_id":"r1","payload":{"source":"a","destination":"b"}}')
    assert reply == {
        "type": "response",
        "request_id": "r1",
        "status": "error",
        "success": False,
        "error": {"code": "KEY_NOT_FOUND", "message": "there is no key 'a'", "details": {"key": "a"}},
    }


def test_a_batch_is_answered_with_a_result_for_each_command(harness: Harness) -> None:
    reply = reply_to(
        harness, b'{"type":"batch","request_id":"b1","commands":[{"command":"kv.dbsize"},{"command":"?"}]}'
    )
    assert (reply["type"], reply["request_id"]) == ("batch_response", "b1")
    assert reply["results"][0] == {"status": "success", "payload": {"size": 0}}
    assert (reply["results"][1]["status"], reply["results"][1]["error"]["code"]) == ("error", "UNKNOWN_COMMAND")
    assert set(reply) == {"type", "request_id", "results"}


def test_a_batch_that_wrote_says_how_durably(harness: Harness) -> None:
    reply = harness.send({"type": "batch", "commands": [{"command": "kv.incr", "payload": {"key": k}} for k in "ab"]})
    assert (reply["ack"], reply["lsn"]) == ("written", 2)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"command": "kv.dbsize"}, 200),
        ({"type": "batch", "commands": [{"command": "nope"}]}, 200),
        ({"command": "nope"}, 400),
        ({"command": "kv.get"}, 422),
        ({"command": "key.rename", "payload": {"source": "a", "destination": "b"}}, 404),
        ({"type": "batch", "commands": 1}, 400),
    ],
)
def test_the_status_is_that_of_the_error(harness: Harness, request_: Any, status: int) -> None:
    assert harness.dispatcher.answer(json.dumps(request_).encode()).status == status


# request_id


@pytest.mark.parametrize("request_id", ["r", "", "é😀", '"quoted"', "\\", "\n", "100%", "%b", "x" * 10_000])
def test_the_request_id_is_echoed(harness: Harness, request_id: str) -> None:
    for request in (
        {"command": "kv.dbsize"},
        {"command": "kv.incr", "payload": {"key": "k"}},
        {"command": "nope"},
        {"type": "batch", "commands": []},
    ):
        assert harness.send({**request, "request_id": request_id})["request_id"] == request_id


@pytest.mark.parametrize(
    "rest",
    [
        '"comand":"kv.get"',
        '"command":5',
        '"command":"kv.get","payload":7',
        '"command":"kv.get","type":"reply"',
        '"command":"kv.get","version":1',
        '"type":"batch"',
        '"type":"batch","commands":[],"atomic":"yes"',
        '"command":"kv.get","ack":"never"',
    ],
)
def test_the_request_id_is_echoed_even_when_the_rest_is_wrong(harness: Harness, rest: str) -> None:
    for body in ('{"request_id":"r7",%s}', '{%s,"request_id":"r7"}'):
        reply = harness.send((body % rest).encode())
        assert (reply["request_id"], reply["success"]) == ("r7", False)


def test_a_request_without_an_id_gets_a_unique_one(harness: Harness) -> None:
    requests: list[Any] = [
        {"command": "kv.dbsize"},
        {"command": "kv.incr", "payload": {"key": "k"}},
        {"command": "nope", "request_id": None},
        {"type": "batch", "commands": []},
        {"request_id": 7},
        [],
        b"",
    ]
    ids = [harness.send(request)["request_id"] for request in requests for _ in range(3)]
    ids.append(Harness().send({"command": "kv.dbsize"})["request_id"])
    assert all(isinstance(given, str) and given for given in ids)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("request_id", ["7", "true", "[]", "{}", "1.5"])
def test_a_request_id_that_is_no_text_is_refused(harness: Harness, request_id: str) -> None:
    error = harness.send(b'{"command":"kv.dbsize","request_id":%b}' % request_id.encode())["error"]
    assert error["code"] == "INVALID_REQUEST"
    assert error["message"].startswith("request_id: expected str")


# Fields of the envelope


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "request"},
        {"version": "1.0"},
        {"type": None, "version": None, "request_id": None, "idempotency_key": None, "ack": None},
        {"payload": {}},
    ],
)
def test_optional_fields_may_be_given_or_null(harness: Harness, fields: dict[str, Any]) -> None:
    assert harness.send({"command": "kv.dbsize", **fields})["success"] is True


def test_optional_fields_of_a_payload_may_be_null(harness: Harness) -> None:
    harness.call("kv.set", key="k", value=None, ttl=None)
    assert harness.call("kv.scan", prefix=None, match=None, type=None, cursor=None)["keys"] == ["k"]
    assert harness.call("kv.del", keys=None, key="k") == {"deleted": 1}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"comand":"kv.get"}', "comand: unknown field; did you mean 'command'?"),
        ('{"command":"kv.get","paylod":{}}', "paylod: unknown field; did you mean 'payload'?"),
        ('{"command":"kv.get","zzz":1}', "zzz: unknown field"),
        ('{"type":"batch","commands":[],"atomc":true}', "atomc: unknown field; did you mean 'atomic'?"),
        ('{"type":"batch"}', "commands: required, but missing"),
        ('{"type":"batch","commands":{}}', "commands: expected array, got object"),
        ('{"type":"batch","commands":[],"atomic":1}', "atomic: expected bool, got int"),
        ("{}", "command: required, but missing"),
        ('{"payload":{}}', "command: required, but missing"),
        ('{"command":null}', "command: expected str, got null"),
        ('{"command":"kv.get","type":"reply"}', "type: invalid enum value 'reply'"),
        ('{"command":"kv.get","version":1}', "version: expected str | null, got int"),
        ('{"command":"kv.get","idempotency_key":""}', "idempotency_key: expected str of length >= 1"),
        ("[]", "expected object, got array"),
        ('"kv.get"', "expected object, got str"),
        ("null", "expected object, got null"),
        ("5", "expected object, got int"),
    ],
)
def test_a_wrong_envelope_is_refused_with_the_field_that_is_wrong(harness: Harness, body: str, message: str) -> None:
    error = harness.send(body.encode())["error"]
    assert (error["code"], error["message"]) == ("INVALID_REQUEST", message)


@pytest.mark.parametrize(
    ("command", "payload", "message", "details"),
    [
        ("kv.set", {"key": "k", "value": 1, "tll": 5}, "payload.tll: unknown field; did you mean 'ttl'?", "ttl"),
        ("kv.get", {"key": "k", "kye": 1}, "payload.kye: unknown field; did you mean 'key'?", "key"),
        ("kv.dbsize", {"a": 1}, "payload.a: unknown field", None),
        (
            "kv.mset",
            {"pairs": [{"key": "a", "value": 1}, {"key": "b", "valeu": 1}]},
            "payload.pairs[1].valeu: unknown field; did you mean 'value'?",
            "value",
        ),
        ("kv.msetnx", {"kee": "a"}, "payload.kee: unknown field; did you mean 'key'?", "key"),
    ],
)
def test_an_unknown_payload_field_is_named_and_the_nearest_suggested(
    harness: Harness, command: str, payload: dict[str, Any], message: str, details: str | None
) -> None:
    error = harness.send({"command": command, "payload": payload})["error"]
    assert (error["code"], error["message"]) == ("INVALID_PAYLOAD", message)
    assert error["details"] == {"path": message.partition(":")[0], "suggestion": details}
    assert recorded(harness) == []


def test_a_very_long_unknown_field_is_not_thrown_back_whole(harness: Harness) -> None:
    reply = harness.send({"command": "kv.get", "payload": {"x" * 100_000: 1}})
    assert len(json.dumps(reply)) < 2_000


@pytest.mark.parametrize("name", ["x" * 100_000, "`" * 9_000, "a - at `$.b`" * 2_000])
def test_a_very_long_unknown_field_is_named_by_its_beginning(harness: Harness, name: str) -> None:
    pairs = [{"key": "a", "value": 1}, {"key": "b", "value": 1, name: 1}]
    error = harness.send({"command": "kv.mset", "payload": {"pairs": pairs}})["error"]
    assert error["details"]["path"] == f"payload.pairs[1].{name[:200]}"


def test_what_may_have_been_meant_is_told_for_the_first_failures_of_a_batch(harness: Harness) -> None:
    wrong = [("kv.gett", {}), ("kv.get", {"kye": 1})] * envelope.HINTS_MAX
    results = batch(harness, *wrong, {"comand": "kv.get"}, {"command": "kv.nope"})
    suggested = [result["error"]["details"].get("suggestion") for result in results]
    first = ["kv.get", "key"] * (envelope.HINTS_MAX // 2)
    assert suggested == first + [None] * (len(results) - len(first))
    assert harness.send({"command": "kv.gett"})["error"]["details"]["suggestion"] == "kv.get"


def test_a_batch_that_is_refused_as_a_whole_leaves_the_next_request_its_hints(harness: Harness) -> None:
    batch(harness, *[("nope", {})] * envelope.HINTS_MAX)
    harness.send({"type": "batch", "commands": [], "ack": "never"})
    assert harness.send({"command": "kv.gett"})["error"]["details"]["suggestion"] == "kv.get"


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("kv.gett", "kv.get"), ("kv.incrby", "kv.incr"), ("KV.GET", None), ("get", None), ("", None), ("x" * 10**6, None)],
)
def test_an_unknown_command_suggests_the_nearest(harness: Harness, name: str, suggestion: str | None) -> None:
    reply = harness.send({"command": name})
    assert reply["error"]["code"] == "UNKNOWN_COMMAND"
    if suggestion is not None:
        assert reply["error"]["details"] == {"suggestion": suggestion}
        assert f"did you mean {suggestion}?" in reply["error"]["message"]
    assert len(json.dumps(reply)) < 1_000


def test_an_internal_command_is_unknown_and_never_suggested(harness: Harness) -> None:
    for name in ("kv.evict", "kv.evic", "system.clock", "system.transaction"):
        error = harness.send({"command": name, "payload": {"keys": ["a"]}})["error"]
        assert error["code"] == "UNKNOWN_COMMAND"
        assert error["details"]["suggestion"] not in ("kv.evict", "system.clock", "system.transaction")


@pytest.mark.parametrize("payload", ["null", "[]", "5", '"x"', "true"])
def test_a_payload_is_an_object(harness: Harness, payload: str) -> None:
    error = harness.send(b'{"command":"kv.get","payload":%b}' % payload.encode())["error"]
    assert (error["code"], error["details"]["path"]) == ("INVALID_PAYLOAD", "payload")


# ack


@pytest.mark.parametrize("ack", ["written", "synced"])
def test_the_asked_for_durability_is_told_and_waited_for(harness: Harness, ack: str) -> None:
    body = json.dumps({"command": "kv.incr", "payload": {"key": "k"}, "ack": ack}).encode()
    reply = harness.dispatcher.answer(body)
    assert json.loads(reply.body)["ack"] == ack
    assert (reply.lsn, reply.ack) == (1, ("written", "synced").index(ack))
    body = b'{"command":"kv.incr","payload":{"key":"k"}}'
    assert json.loads(harness.dispatcher.answer(body, ack=ack).body)["ack"] == ack


def test_the_envelope_wins_over_the_header(harness: Harness) -> None:
    body = b'{"command":"kv.incr","payload":{"key":"k"},"ack":"synced"}'
    assert reply_to(harness, body, ack="written")["ack"] == "synced"


def test_a_batch_is_as_durable_as_its_most_demanding_command(harness: Harness) -> None:
    commands = [{"command": "kv.incr", "payload": {"key": "k"}, "ack": ack} for ack in ("synced", "written")]
    assert harness.send({"type": "batch", "commands": commands})["ack"] == "synced"


@pytest.mark.parametrize("ack", ["never", "Synced", "", "x" * 10_000])
def test_an_unknown_durability_is_refused_before_anything_is_written(harness: Harness, ack: str) -> None:
    reply = harness.send({"command": "kv.incr", "payload": {"key": "k"}, "ack": ack})
    if ack:
        assert reply["error"]["code"] == "INVALID_REQUEST"
        assert reply["error"]["message"].startswith("ack: expected one of written, synced")
        assert len(json.dumps(reply)) < 500
        assert recorded(harness) == []


# Values byte for byte


@pytest.mark.parametrize(
    "value",
    [
        b"1.10",
        b"1e999",
        b"-0",
        b"-0.0",
        b"1E+2",
        b"0.1e-7",
        b"123456789012345678901234567890",
        b"3.14159265358979323846264338327950288",
        b"1e9999999999999999999",
        rb'"\u00e9\/\ud83d\ude00"',
        '"é/😀\x7f"'.encode(),
        b'"\\"\\\\\\b\\f\\n\\r\\t\\u0000"',
        b'{"a":1,"a":2,"b":3,"a":4}',
        b'{"z":1,"a":{"y":[],"b":{}}}',
        b'{ "spaced" : [ 1 , 2 ],\n\t"out": null }',
        b'{"":0}',
        b'{"__proto__":{"constructor":1}}',
        b"[[[]],{},[{}]]",
        b"null",
        b"true",
        b'""',
    ],
)
def test_a_value_comes_back_byte_for_byte(harness: Harness, value: bytes) -> None:
    assert stored(harness, value) == value
    again = harness.replayed()
    assert again.digest(harness.clock.now()) == harness.digest()
    assert harness.log.records[0].payload == b'{"key":"k","value":%b}' % value


JSON_TEXT = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(deadline=None, max_examples=150)
@given(JSON_TEXT, st.booleans(), st.sampled_from([None, 2]))
def test_any_json_comes_back_byte_for_byte(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert stored(Harness(), text) == text


def test_a_value_is_read_the_same_through_every_command(harness: Harness) -> None:
    value = b'{"a": 1.10, "a": "\\u00e9"}'
    harness.dispatcher.answer(b'{"command":"kv.mset","payload":{"pairs":{"k":%b}}}' % value)
    for command, payload in [
        (b"kv.mget", b'{"keys":["k"]}'),
        (b"key.copy", b'{"source":"k","destination":"c"}'),
        (b"kv.getset", b'{"key":"c","value":0}'),
        (b"kv.set", b'{"key":"k","value":0,"nx":true,"get":true}'),
        (b"kv.getdel", b'{"key":"k"}'),
    ]:
        body = harness.dispatcher.answer(b'{"command":"%b","payload":%b}' % (command, payload)).body
        assert (value in body) is (command != b"key.copy")


# What is not JSON


# One a line in groups: numbers, words, text, structure, escapes that are no characters.
NOT_JSON = [
    *(b"01", b"1.", b".5", b"+1", b"1e", b"-", b"1 2"),
    *(b"NaN", b"Infinity", b"-Infinity", b"tru", b"'x'", b"undefined", b""),
    *(b'"\\x41"', b'"\\u12"', b'"\n"', b'"\x00"', b'"open'),
    *(b"[1,]", b"[1 2]", b'{"a":1,}', b'{"a"}', b"{a:1}", b"[", b"]", b"/* */1"),
    *(b'"\\ud800"', b'"\\udc00x"', b'["\\ud800\\u0041"]'),
]


@pytest.mark.parametrize("value", NOT_JSON)
@pytest.mark.parametrize("form", [b'{"command":"kv.set","payload":{"key":"k","value":%b}}', b"%b"])
def test_what_is_not_json_is_refused(harness: Harness, value: bytes, form: bytes) -> None:
    body = form % value
    reply = reply_to(harness, body)
    assert reply["error"]["code"] == "INVALID_REQUEST"
    assert recorded(harness) == []
    batch = reply_to(harness, b'{"type":"batch","commands":[%b]}' % body)
    errors = [batch["error"]] if "error" in batch else [result["error"] for result in batch["results"]]
    assert all(error["code"] == "INVALID_REQUEST" for error in errors)


@pytest.mark.parametrize("tail", [b"x", b"{}", b",", b"]", b"\x00"])
def test_anything_behind_the_envelope_is_refused(harness: Harness, tail: bytes) -> None:
    assert reply_to(harness, b'{"command":"kv.dbsize"}' + tail)["error"]["code"] == "INVALID_REQUEST"


def test_space_around_the_envelope_is_fine(harness: Harness) -> None:
    assert reply_to(harness, b' \r\n\t{ "command" : "kv.dbsize" } \n')["success"] is True


@pytest.mark.parametrize(
    "wrong", [b"\xff", b"\xc3", b"\xc3(", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xe2\x82"]
)
@pytest.mark.parametrize(
    "form",
    [
        b'{"command":"kv.set","payload":{"key":"k","value":"%b"}}',
        b'{"command":"kv.set","payload":{"key":"%b","value":1}}',
        b'{"command":"kv.set","payload":{"key":"k","value":{"%b":[1]}}}',
        b'{"command":"kv.dbsize","request_id":"%b"}',
        b'{"command":"%b"}',
        b'{"type":"batch","commands":[{"command":"kv.set","payload":{"key":"k","value":"%b"}}]}',
        b"%b",
    ],
)
def test_a_body_that_is_not_utf8_is_refused(harness: Harness, wrong: bytes, form: bytes) -> None:
    reply = reply_to(harness, form % wrong)
    assert reply["error"]["code"] == "INVALID_REQUEST"
    assert "not UTF-8" in reply["error"]["message"]
    assert recorded(harness) == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_byte_order_mark_or_another_encoding_is_refused(harness: Harness, encoding: str) -> None:
    body = '{"command":"kv.dbsize"}'.encode(encoding)
    assert reply_to(harness, body)["error"]["code"] == "INVALID_REQUEST"


# Nesting


def nested(levels: int, inner: bytes = b"") -> bytes:
    return b"[" * levels + inner + b"]" * levels


@pytest.mark.parametrize("value", [nested(511), nested(511, b'"["'), b'{"a":' * 511 + b"1" + b"}" * 511])
def test_a_payload_may_nest_512_levels(harness: Harness, value: bytes) -> None:
    assert stored(harness, value) == value
    reply = harness.dispatcher.answer(
        b'{"type":"batch","commands":[{"command":"kv.set","payload":{"key":"k","value":%b}}]}' % value
    )
    assert b'"status":"success"' in reply.body


@pytest.mark.parametrize("levels", [512, 513, 1_000, 100_000, 1_000_000])
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_a_payload_that_nests_deeper_is_refused(harness: Harness, levels: int, opening: bytes) -> None:
    value = opening * levels + b"1" + (b"]" if opening == b"[" else b"}") * levels
    body = b'{"command":"kv.set","payload":{"key":"k","value":%b}}' % value
    reply = reply_to(harness, body)
    assert (reply["error"]["code"], reply["error"]["message"]) == (
        "INVALID_REQUEST",
        "the body is nested deeper than 512 levels",
    )
    batch = reply_to(harness, b'{"type":"batch","commands":[%b]}' % body)
    error = batch.get("error") or batch["results"][0]["error"]
    assert error["message"] == "the body is nested deeper than 512 levels"
    assert recorded(harness) == []


def test_deep_nesting_is_refused_wherever_it_is(harness: Harness) -> None:
    deep = nested(100_000)
    for body in (
        deep,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"command":%b}' % deep,
        b'{"unknown":%b}' % deep,
        b'{"type":"batch","commands":[%b]}' % deep,
        b'{"type":"batch","commands":%b}' % deep,
    ):
        reply = reply_to(harness, body)
        error = reply.get("error") or reply["results"][0]["error"]
        assert error["code"] == "INVALID_REQUEST"


TEXT = st.text('[]{}"\\\\n,:a\u20ac', max_size=6)
STRUCTURE = st.recursive(
    TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@given(STRUCTURE, st.booleans())
def test_depth_is_that_of_the_value_whatever_its_texts_hold(value: Any, ascii_only: bool) -> None:
    text, depth = json.dumps(value, ensure_ascii=ascii_only).encode(), depth_of(value)
    with pytest.MonkeyPatch.context() as patched:
        for limit in range(depth + 2):
            patched.setattr(envelope, "NESTING_LEVELS_MAX", limit)
            with nullcontext() if limit >= depth else pytest.raises(InvalidRequest):
                envelope.check_nesting(text)


def test_brackets_inside_text_do_not_nest(harness: Harness) -> None:
    for value in (
        b'"%b"' % (b"[" * 5_000),
        b'["%b\\"%b"]' % (b"{" * 5_000, b"[" * 5_000),
        b"[%b]" % b",".join([b"[]"] * 2_000),
    ):
        assert stored(harness, value) == value


# Duplicate members


def test_the_last_of_duplicate_members_of_an_envelope_counts(harness: Harness) -> None:
    assert reply_to(harness, b'{"command":"kv.get","command":"kv.dbsize"}')["payload"] == {"size": 0}
    reply_to(harness, b'{"command":"kv.set","payload":{"key":"a","key":"b","value":1,"value":2}}')
    assert harness.call("kv.mget", keys=["a", "b"]) == {"values": [None, 2]}


# Anything at all

WORDS = [b"command", b"payload", b"type", b"batch", b"commands", b"kv.set", b"key", b"value", b"request_id"]
MARKS = [b"{", b"}", b"[", b"]", b":", b",", b"1", b"null", b'"', b"\\", b"\xff", b"\xc3\xa9", b" ", b"1e400"]
PIECES = st.sampled_from([b'"%b"' % word for word in WORDS] + MARKS)


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES, max_size=25).map(b"".join) | st.binary(max_size=60))
def test_any_body_gets_a_json_reply_that_is_no_internal_error(body: bytes) -> None:
    harness = Harness()
    reply = harness.dispatcher.answer(body)
    decoded = strictly(reply.body)
    assert decoded["type"] in ("response", "batch_response")
    assert reply.status in (200, 400, 422)
    packed = harness.dispatcher.answer_packed(body)
    assert packed.status in (200, 400, 422)


VALID = (
    b'{"command":"kv.set","payload":{"key":"k\\u00e9","value":{"a":[1.5,"\\n",null]},"ttl":5},"request_id":"r"}',
    b'{"type":"batch","commands":[{"command":"kv.incr","payload":{"key":"n"}},{"command":"kv.get","payload":{"key":"n"}}]}',
)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(VALID), st.data())
def test_a_damaged_request_gets_a_json_reply_that_is_no_internal_error(body: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(body) - 1))
    cut = data.draw(st.integers(0, 3))
    damaged = body[:at] + data.draw(st.binary(max_size=3)) + body[at + cut :]
    reply = Harness().dispatcher.answer(damaged)
    strictly(reply.body)
    assert reply.status in (200, 400, 413, 422)
