"""MessagePack in and out: the same requests and replies, and what the two formats do not share."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.commands.common import recorded
from tests.support import Harness

pack = msgspec.msgpack.encode


def packed(harness: Harness, request: Any, **headers: Any) -> Any:
    body = request if isinstance(request, bytes) else pack(request)
    reply = harness.dispatcher.answer_packed(body, **headers)
    assert reply.is_packed
    return msgspec.msgpack.decode(reply.body)


def test_a_packed_request_is_answered_in_kind(harness: Harness) -> None:
    reply = packed(harness, {"command": "kv.set", "payload": {"key": "k", "value": [1]}, "request_id": "r"})
    assert reply == {
        "type": "response",
        "request_id": "r",
        "status": "success",
        "success": True,
        "ack": "written",
        "lsn": 1,
        "payload": {"key": "k", "success": True, "previous": None},
    }


def test_an_error_is_packed_and_has_its_status(harness: Harness) -> None:
    reply = harness.dispatcher.answer_packed(pack({"command": "kv.gett", "request_id": "r"}))
    decoded = msgspec.msgpack.decode(reply.body)
    assert reply.status == 400
    assert (decoded["request_id"], decoded["error"]["code"]) == ("r", "UNKNOWN_COMMAND")


def test_a_packed_batch_is_answered_in_order(harness: Harness) -> None:
    commands = [{"command": "kv.incr", "payload": {"key": "n"}}] * 2 + [{"command": "nope"}]
    reply = packed(harness, {"type": "batch", "commands": commands})
    assert [result["status"] for result in reply["results"]] == ["success", "success", "error"]


def test_headers_count_for_packed_requests_too(harness: Harness) -> None:
    request = {"command": "kv.incr", "payload": {"key": "n"}}
    first = packed(harness, request, idempotency_key="once", ack="synced")
    again = packed(harness, request, idempotency_key="once")
    assert first["payload"] == again["payload"] == {"value": 1}
    assert first["ack"] == "synced"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=15,
)


@settings(deadline=None, max_examples=150)
@given(VALUES)
def test_any_value_comes_back_as_it_was_packed(value: Any) -> None:
    harness = Harness()
    packed(harness, {"command": "kv.set", "payload": {"key": "k", "value": value}})
    reply = packed(harness, {"command": "kv.get", "payload": {"key": "k"}})
    assert reply["payload"]["value"] == value


def test_what_was_written_packed_is_read_as_json_and_the_other_way_round(harness: Harness) -> None:
    packed(harness, {"command": "kv.set", "payload": {"key": "a", "value": {"é": [1.5, True]}}})
    assert harness.call("kv.get", key="a")["value"] == {"é": [1.5, True]}
    harness.send(b'{"command":"kv.set","payload":{"key":"b","value":{"a":1.10,"b":"\\u00e9"}}}')
    assert packed(harness, {"command": "kv.get", "payload": {"key": "b"}})["payload"]["value"] == {"a": 1.1, "b": "é"}


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 0])
def test_an_integer_of_64_bits_comes_out_as_a_number(harness: Harness, number: int) -> None:
    harness.call("kv.set", key="k", value=number)
    assert packed(harness, {"command": "kv.get", "payload": {"key": "k"}})["payload"]["value"] == number


@pytest.mark.parametrize("digits", [str(2**64), str(-(2**63) - 1), str(10**40), "-1" + "0" * 6_000])
def test_an_integer_that_messagepack_cannot_hold_comes_out_as_its_digits(harness: Harness, digits: str) -> None:
    harness.send(b'{"command":"kv.set","payload":{"key":"k","value":[%b]}}' % digits.encode())
    assert packed(harness, {"command": "kv.get", "payload": {"key": "k"}})["payload"]["value"] == [digits]


NOT_IN_JSON: list[Any] = [
    *(b"bytes", math.nan, math.inf, -math.inf, {1: 2}, {None: 1}, {b"a": 1}, [{"a": [b""]}]),
    *(msgspec.msgpack.Ext(5, b"x"), datetime(2024, 1, 1, tzinfo=UTC)),
]


@pytest.mark.parametrize("value", NOT_IN_JSON)
def test_what_json_cannot_hold_is_refused(harness: Harness, value: Any) -> None:
    reply = packed(harness, {"command": "kv.set", "payload": {"key": "k", "value": value}})
    assert reply["error"]["code"] == "INVALID_REQUEST"
    assert recorded(harness) == []


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x81", pack({"command": "kv.dbsize"}) + b"\x00", b"\xd9\x02\xff\xff", b"{}"]
)
def test_what_is_not_messagepack_is_refused_in_messagepack(harness: Harness, body: bytes) -> None:
    reply = packed(harness, body)
    assert (reply["success"], reply["error"]["code"]) == (False, "INVALID_REQUEST")


def nested(levels: int, inner: Any = 1) -> Any:
    for _ in range(levels):
        inner = [inner]
    return inner


@pytest.mark.parametrize("levels", [100, 300, 510, 511])
def test_a_packed_payload_may_nest_as_deep_as_one_in_json(harness: Harness, levels: int) -> None:
    reply = packed(harness, {"command": "kv.set", "payload": {"key": "k", "value": nested(levels)}})
    assert reply["success"] is True, reply["error"]["message"]
    reply = packed(harness, {"command": "kv.get", "payload": {"key": "k"}})
    assert reply["payload"]["value"] == nested(levels)


@pytest.mark.parametrize("levels", [512, 600])
def test_a_packed_payload_that_nests_deeper_is_refused(harness: Harness, levels: int) -> None:
    reply = packed(harness, {"command": "kv.set", "payload": {"key": "k", "value": nested(levels)}})
    assert reply["error"]["message"] == "the body is nested deeper than 512 levels"


def test_a_packed_body_of_a_million_levels_is_refused(harness: Harness) -> None:
    reply = packed(harness, b"\x91" * 1_000_000 + b"\x01")
    assert reply["error"]["code"] == "INVALID_REQUEST"


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60))
def test_any_body_gets_a_packed_reply_that_is_no_internal_error(body: bytes) -> None:
    reply = Harness().dispatcher.answer_packed(body)
    assert msgspec.msgpack.decode(reply.body)["success"] is False
    assert reply.status == 400


LOOKS_INFINITE = 0x7F7F_CA7F_8000_0000
"""Among the bytes of this integer are those of an infinite float."""


def test_numbers_that_look_like_infinity_inside_are_taken(harness: Harness) -> None:
    value = [LOOKS_INFINITE, {"a": [1.5, LOOKS_INFINITE]}, "\x7f"]
    packed(harness, {"command": "kv.set", "payload": {"key": "k", "value": value}})
    assert harness.call("kv.get", key="k")["value"] == value


@pytest.mark.parametrize("number", [b"\xca\x7f\x80\x00\x00", b"\xca\xff\xc0\x00\x00", pack(-math.inf), pack(math.nan)])
def test_a_number_that_is_not_finite_is_found_wherever_it_is(harness: Harness, number: bytes) -> None:
    body = pack({"command": "kv.set", "payload": {"key": "k", "value": nested(300, {"a": [1, "x", 7.5]})}})
    reply = packed(harness, body.replace(pack(7.5), number))
    assert reply["error"]["code"] == "INVALID_REQUEST"
    assert reply["error"]["message"].startswith("expected a finite number, got ")


def test_a_document_that_must_be_looked_through_and_is_too_large_is_refused(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synap.commands.packed.CHECKED_VALUES_MAX", 1_000)
    for count, code in ((900, None), (1_100, "PAYLOAD_TOO_LARGE")):
        request = {"command": "kv.set", "payload": {"key": "k", "value": [*range(count), LOOKS_INFINITE]}}
        assert packed(harness, request).get("error", {}).get("code") == code
    request = {"command": "kv.set", "payload": {"key": "k", "value": [*range(1_100)]}}
    assert packed(harness, request)["success"] is True
