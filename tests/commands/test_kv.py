"""`kv.*`: JSON values, expiry, counters, text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap.errors import InvalidPayload, NotANumber, OutOfRange, PayloadTooLarge, SynapError, WrongType
from tests.commands.common import put_pile, recorded, refused
from tests.support import Harness

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)


def value_of(harness: Harness, key: str) -> Any:
    return harness.call("kv.get", key=key)["value"]


def ttl_of(harness: Harness, key: str) -> Any:
    return harness.call("kv.ttl", key=key)["ttl"]


# kv.set, kv.get


@pytest.mark.parametrize(
    "value", ["text", "", 0, -1.5, True, False, None, [], [1, [2]], {}, {"a": {"b": None}}, "é😀\0"]
)
def test_any_json_value_is_stored_and_read_back(harness: Harness, value: Any) -> None:
    assert harness.call("kv.set", key="k", value=value) == {"key": "k", "success": True, "previous": None}
    assert harness.call("kv.get", key="k") == {"found": True, "value": value, "ttl": None}


@pytest.mark.parametrize("key", ["k", " ", "a/b", "\0", "\n", "é", "😀", "user:*", '"', "x" * 1_000])
def test_any_text_can_be_a_key(harness: Harness, key: str) -> None:
    assert harness.call("kv.set", key=key, value=1)["key"] == key
    assert harness.call("kv.keys")["keys"] == [key]
    assert value_of(harness, key) == 1


def test_a_missing_key_is_not_found_but_no_error(harness: Harness) -> None:
    assert harness.call("kv.get", key="k") == {"found": False, "value": None, "ttl": None}


def test_set_replaces_the_value_and_drops_the_ttl(harness: Harness) -> None:
    harness.call("kv.set", key="k", value=1, ttl=10)
    harness.call("kv.set", key="k", value=2)
    assert harness.call("kv.get", key="k") == {"found": True, "value": 2, "ttl": None}


def test_keep_ttl_keeps_the_ttl(harness: Harness) -> None:
    harness.call("kv.set", key="k", value=1, ttl=10)
    harness.call("kv.set", key="k", value=2, keep_ttl=True)
    assert harness.call("kv.get", key="k") == {"found": True, "value": 2, "ttl": 10}
    harness.call("kv.set", key="new", value=1, keep_ttl=True)
    assert ttl_of(harness, "new") is None


def test_a_new_ttl_replaces_the_old_one(harness: Harness) -> None:
    harness.call("kv.set", key="k", value=1, ttl=10)
    harness.call("kv.set", key="k", value=1, ttl=5)
    harness.clock.advance(5)
    assert value_of(harness, "k") is None


def test_nx_sets_only_an_absent_key(harness: Harness) -> None:
    assert harness.call("kv.set", key="k", value=1, nx=True)["success"] is True
    assert harness.call("kv.set", key="k", value=2, nx=True, ttl=5) == {"key": "k", "success": False, "previous": None}
    assert harness.call("kv.get", key="k") == {"found": True, "value": 1, "ttl": None}


def test_nx_sets_a_key_that_has_expired(harness: Harness) -> None:
    harness.call("kv.set", key="lock", value="me", ttl=5)
    harness.clock.advance(5)
    assert harness.call("kv.set", key="lock", value="you", nx=True)["success"] is True


def test_xx_sets_only_a_present_key(harness: Harness) -> None:
    assert harness.call("kv.set", key="k", value=1, xx=True)["success"] is False
    assert harness.call("kv.exists", key="k")["exists"] is False
    harness.call("kv.set", key="k", value=1)
    assert harness.call("kv.set", key="k", value=2, xx=True)["success"] is True
    assert value_of(harness, "k") == 2


def test_get_returns_the_old_value_whether_or_not_the_condition_holds(harness: Harness) -> None:
    assert harness.call("kv.set", key="k", value=1, get=True)["previous"] is None
    assert harness.call("kv.set", key="k", value=2, get=True)["previous"] == 1
    assert harness.call("kv.set", key="k", value=3, get=True, xx=True) == {"key": "k", "success": True, "previous": 2}
    assert harness.call("kv.set", key="k", value=4, get=True, nx=True) == {"key": "k", "success": False, "previous": 3}
    assert harness.call("kv.set", key="k", value=4)["previous"] is None
    assert harness.call("kv.set", key="no", value=1, get=True, xx=True) == {
        "key": "no",
        "success": False,
        "previous": None,
    }


@pytest.mark.parametrize("options", [{"nx": True, "xx": True}, {"keep_ttl": True, "ttl": 5}])
def test_options_that_exclude_each_other_are_refused(harness: Harness, options: dict[str, Any]) -> None:
    error = refused(harness, "kv.set", key="k", value=1, **options)
    assert isinstance(error, InvalidPayload)
    assert all(option in error.message for option in options)
    assert recorded(harness) == []


def test_options_are_checked_whatever_the_key_holds(harness: Harness) -> None:
    harness.call("kv.set", key="there", value=1)
    for key, condition in (("there", "nx"), ("missing", "xx")):
        error = refused(harness, "kv.set", key=key, value=1, ttl=5, keep_ttl=True, **{condition: True})
        assert isinstance(error, InvalidPayload)


@pytest.mark.parametrize("ttl", [0, -1, 0.0, -0.5, 1e300, 10**40, "5", True, [5], {}])
def test_a_ttl_that_is_no_positive_number_of_seconds_is_refused(harness: Harness, ttl: Any) -> None:
    error = refused(harness, "kv.set", key="k", value=1, ttl=ttl)
    assert (error.code, error.details["path"]) == ("INVALID_PAYLOAD", "payload.ttl")


def test_set_replaces_a_value_of_any_type_unless_it_is_to_return_it(piles: Harness) -> None:
    put_pile(piles, "k", 1)
    assert isinstance(refused(piles, "kv.set", key="k", value=1, get=True), WrongType)
    assert piles.call("key.type", key="k") == {"type": "pile"}
    assert piles.call("kv.set", key="k", value=1)["success"] is True
    assert piles.call("key.type", key="k") == {"type": "string"}


# Expiry


def test_a_key_is_gone_when_its_ttl_is_over(harness: Harness) -> None:
    harness.call("kv.set", key="k", value=1, ttl=10)
    harness.clock.advance(9.999)
    assert harness.call("kv.get", key="k") == {"found": True, "value": 1, "ttl": 1}
    harness.clock.advance(0.001)
    assert harness.call("kv.get", key="k")["found"] is False
    assert harness.call("kv.exists", key="k")["exists"] is False


@pytest.mark.parametrize(
    ("elapsed", "left"), [(0, 10), (0.001, 10), (0.999, 10), (1, 9), (1.001, 9), (8.999, 2), (9, 1), (9.999, 1)]
)
def test_the_ttl_is_told_in_whole_seconds_rounded_up(harness: Harness, elapsed: float, left: int) -> None:
    harness.call("kv.set", key="k", value=1, ttl=10)
    harness.clock.advance(elapsed)
    assert harness.call("kv.ttl", key="k") == {"found": True, "ttl": left}
    assert harness.call("kv.get", key="k")["ttl"] == left


@pytest.mark.parametrize("ttl", [0.001, 0.0004, 0.5, 1.5, 2.007, 4.35, 16.1])
@pytest.mark.parametrize("command", ["kv.set", "kv.expire", "kv.mset"])
def test_a_ttl_has_fractions_down_to_a_millisecond(harness: Harness, command: str, ttl: float) -> None:
    if command == "kv.mset":
        harness.call("kv.mset", pairs=[{"key": "k", "value": 1, "ttl": ttl}])
    else:
        harness.call("kv.set", key="k", value=1, ttl=ttl)
    if command == "kv.expire":
        harness.call("kv.expire", key="k", ttl=ttl)
    lasts = max(round(ttl, 3), 0.001)
    harness.clock.advance(lasts - 0.001)
    assert harness.call("kv.exists", key="k")["exists"] is True
    harness.clock.advance(0.001)
    assert harness.call("kv.exists", key="k")["exists"] is False


def test_expire_gives_a_ttl_to_a_key_that_is_there(harness: Harness) -> None:
    harness.call("kv.set", key="k", value=1)
    assert harness.call("kv.expire", key="k", ttl=5) == {"success": True}
    assert ttl_of(harness, "k") == 5
    assert harness.call("kv.expire", key="missing", ttl=5) == {"success": False}


@pytest.mark.parametrize("ttl", [0, -1, -0.5, -9_000_000_000])
def test_expire_with_no_time_left_deletes(harness: Harness, ttl: float) -> None:
    harness.call("kv.set", key="k", value=1)
    assert harness.call("kv.expire", key="k", ttl=ttl) == {"success": True}
    assert harness.call("kv.dbsize") == {"size": 0}
    assert harness.call("kv.expire", key="k", ttl=ttl) == {"success": False}


def test_persist_drops_a_ttl(harness: Harness) -> None:
    harness.call("kv.set", key="k", value=1, ttl=5)
    assert harness.call("kv.persist", key="k") == {"success": True}
    assert harness.call("kv.persist", key="k") == {"success": False}
    assert harness.call("kv.persist", key="missing") == {"success": False}
    harness.clock.advance(5)
    assert harness.call("kv.ttl", key="k") == {"found": True, "ttl": None}


def test_the_ttl_of_a_missing_or_expired_key_is_not_found(harness: Harness) -> None:
    harness.call("kv.set", key="k", value=1, ttl=5)
    harness.clock.advance(6)
    assert harness.call("kv.ttl", key="k") == {"found": False, "ttl": None}
    assert harness.call("kv.ttl", key="missing") == {"found": False, "ttl": None}


def test_expiry_commands_work_on_every_type(piles: Harness) -> None:
    put_pile(piles, "k", 1)
    assert piles.call("kv.expire", key="k", ttl=5) == {"success": True}
    assert piles.call("kv.ttl", key="k") == {"found": True, "ttl": 5}
    assert piles.call("kv.persist", key="k") == {"success": True}
    assert piles.call("kv.exists", key="k") == {"exists": True, "count": 1}
    assert piles.call("kv.del", key="k") == {"deleted": 1}


# kv.del, kv.mdel, kv.exists


def test_del_takes_one_key_or_several(harness: Harness) -> None:
    harness.call("kv.mset", pairs={"a": 1, "b": 2, "c": 3})
    assert harness.call("kv.del", key="a") == {"deleted": 1}
    assert harness.call("kv.del", key="a") == {"deleted": 0}
    assert harness.call("kv.del", keys=["b", "missing", "c", "b"]) == {"deleted": 2}
    assert harness.call("kv.dbsize") == {"size": 0}


def test_mdel_deletes_several(harness: Harness) -> None:
    harness.call("kv.mset", pairs={"a": 1, "b": 2})
    assert harness.call("kv.mdel", keys=["a", "missing"]) == {"deleted": 1}
    assert harness.call("kv.mdel", keys=[]) == {"deleted": 0}


def test_an_expired_key_is_not_deleted_again(harness: Harness) -> None:
    harness.call("kv.set", key="k", value=1, ttl=1)
    harness.clock.advance(1)
    assert harness.call("kv.del", key="k") == {"deleted": 0}


def test_exists_takes_one_key_or_several_and_counts_repeats(harness: Harness) -> None:
    harness.call("kv.set", key="a", value=1)
    assert harness.call("kv.exists", key="a") == {"exists": True, "count": 1}
    assert harness.call("kv.exists", keys=["a", "a"]) == {"exists": True, "count": 2}
    assert harness.call("kv.exists", keys=["a", "b"]) == {"exists": False, "count": 1}
    assert harness.call("kv.exists", key="b") == {"exists": False, "count": 0}


@pytest.mark.parametrize("command", ["kv.del", "kv.exists"])
@pytest.mark.parametrize("payload", [{}, {"key": "a", "keys": ["b"]}, {"keys": []}, {"key": None, "keys": None}])
def test_either_key_or_keys_must_be_given(harness: Harness, command: str, payload: dict[str, Any]) -> None:
    assert isinstance(refused(harness, command, **payload), InvalidPayload)


@pytest.mark.parametrize(
    ("command", "payload", "path"),
    [
        ("kv.get", {"key": ""}, "payload.key"),
        ("kv.get", {"key": 5}, "payload.key"),
        ("kv.get", {}, "payload.key"),
        ("kv.del", {"keys": ["a", ""]}, "payload.keys[1]"),
        ("kv.mget", {"keys": "a"}, "payload.keys"),
        ("kv.mset", {"pairs": [{"key": "", "value": 1}]}, "payload.pairs[0].key"),
        ("kv.mset", {"pairs": [{"key": "a", "value": 1}, {"key": "b"}]}, "payload.pairs[1].value"),
        ("kv.mset", {"pairs": [{"key": "a", "value": 1, "ttl": 0}]}, "payload.pairs[0].ttl"),
        ("kv.mset", {"pairs": {"": 1}}, "payload.pairs"),
        ("kv.mset", {}, "payload.pairs"),
        ("kv.set", {"key": "a"}, "payload.value"),
        ("kv.set", {"key": "a", "value": 1, "nx": 1}, "payload.nx"),
        ("kv.append", {"key": "a", "value": 5}, "payload.value"),
        ("kv.incr", {"key": "a", "amount": 1.5}, "payload.amount"),
        ("kv.incr", {"key": "a", "amount": "1"}, "payload.amount"),
        ("kv.incr", {"key": "a", "amount": INT64_MAX + 1}, "payload.amount"),
        ("kv.incrbyfloat", {"key": "a"}, "payload.amount"),
        ("kv.incrbyfloat", {"key": "a", "amount": "1"}, "payload.amount"),
        ("kv.setrange", {"key": "a", "offset": -1, "value": "x"}, "payload.offset"),
        ("kv.getrange", {"key": "a", "start": 0}, "payload.end"),
        ("kv.scan", {"count": 0}, "payload.count"),
        ("kv.scan", {"count": 10_001}, "payload.count"),
        ("kv.scan", {"type": "stream"}, "payload.type"),
        ("kv.dbsize", {"key": "a"}, "payload.key"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(harness: Harness, command: str, payload: dict[str, Any], path: str) -> None:
    error = refused(harness, command, **payload)
    assert (error.code, error.details["path"]) == ("INVALID_PAYLOAD", path)
    assert error.message.startswith(path + ": ")


# Counters


def test_incr_and_decr_count_from_zero(harness: Harness) -> None:
    assert harness.call("kv.incr", key="k") == {"value": 1}
    assert harness.call("kv.incr", key="k", amount=41) == {"value": 42}
    assert harness.call("kv.decr", key="k") == {"value": 41}
    assert harness.call("kv.decr", key="k", amount=50) == {"value": -9}
    assert harness.call("kv.incr", key="k", amount=-1) == {"value": -10}
    assert value_of(harness, "k") == -10


def test_counters_reach_the_edges_of_64_bits_and_no_further(harness: Harness) -> None:
    assert harness.call("kv.incr", key="k", amount=INT64_MAX) == {"value": INT64_MAX}
    assert isinstance(refused(harness, "kv.incr", key="k"), OutOfRange)
    assert value_of(harness, "k") == INT64_MAX
    assert harness.call("kv.incr", key="low", amount=INT64_MIN) == {"value": INT64_MIN}
    assert isinstance(refused(harness, "kv.decr", key="low"), OutOfRange)
    assert isinstance(refused(harness, "kv.decr", key="zero", amount=INT64_MIN), OutOfRange)
    assert harness.call("kv.exists", key="zero")["exists"] is False
    harness.call("kv.set", key="minus", value=-1)
    assert harness.call("kv.decr", key="minus", amount=INT64_MIN) == {"value": INT64_MAX}


@pytest.mark.parametrize("value", ["x", "5", 1.0, 1e3, None, True, [1], {"a": 1}])
def test_counting_what_is_no_integer_changes_nothing(harness: Harness, value: Any) -> None:
    harness.call("kv.set", key="k", value=value)
    assert isinstance(refused(harness, "kv.incr", key="k"), NotANumber)
    assert value_of(harness, "k") == value


def test_counting_past_64_bits_of_a_stored_number_is_out_of_range(harness: Harness) -> None:
    harness.call("kv.set", key="k", value=10**30)
    assert isinstance(refused(harness, "kv.decr", key="k"), OutOfRange)


def test_counters_keep_their_ttl(harness: Harness) -> None:
    harness.call("kv.set", key="k", value=1, ttl=10)
    harness.call("kv.incr", key="k")
    harness.call("kv.decr", key="k")
    harness.call("kv.incrbyfloat", key="k", amount=0.5)
    assert ttl_of(harness, "k") == 10


@pytest.mark.parametrize(
    ("stored", "amount", "text"),
    [
        (10.5, 0.1, "10.6"),
        (0.1, 0.2, "0.3"),
        (3.0, 0, "3"),
        (1.5, 1.5, "3"),
        (5000.0, 200, "5200"),
        (1, -2.5, "-1.5"),
        (0.5, -0.5, "0"),
        (123456789012345678, 1, "123456789012345679"),
    ],
)
def test_incrbyfloat_answers_the_number_redis_would_print(
    harness: Harness, stored: float, amount: float, text: str
) -> None:
    harness.call("kv.set", key="k", value=stored)
    body = json.dumps({"command": "kv.incrbyfloat", "payload": {"key": "k", "amount": amount}}).encode()
    assert harness.dispatcher.answer(body).body.endswith(b'"payload":{"value":%b}}' % text.encode())
    assert value_of(harness, "k") == json.loads(text)


def test_incrbyfloat_counts_from_zero_and_refuses_text(harness: Harness) -> None:
    assert harness.call("kv.incrbyfloat", key="k", amount=2.5) == {"value": 2.5}
    harness.call("kv.set", key="k", value="2.5")
    assert isinstance(refused(harness, "kv.incrbyfloat", key="k", amount=1), NotANumber)
    harness.call("kv.set", key="k", value=1.7e308)
    assert isinstance(refused(harness, "kv.incrbyfloat", key="k", amount=1.7e308), OutOfRange)


# Several keys at once


@pytest.mark.parametrize("pairs", [{"a": 1, "b": [2]}, [{"key": "a", "value": 1}, {"key": "b", "value": [2]}]])
@pytest.mark.parametrize("command", ["kv.mset", "kv.msetnx"])
def test_pairs_are_an_object_or_a_list(harness: Harness, command: str, pairs: Any) -> None:
    assert harness.call(command, pairs=pairs)["success"] is True
    assert harness.call("kv.mget", keys=["a", "b"]) == {"values": [1, [2]]}


def test_mset_counts_its_pairs_and_sets_ttls(harness: Harness) -> None:
    harness.call("kv.set", key="b", value=0, ttl=5)
    pairs = [{"key": "a", "value": 1, "ttl": 10}, {"key": "b", "value": 2}]
    assert harness.call("kv.mset", pairs=pairs) == {"success": True, "count": 2}
    assert (ttl_of(harness, "a"), ttl_of(harness, "b")) == (10, None)
    assert harness.call("kv.mset", pairs=[]) == {"success": True, "count": 0}
    assert harness.call("kv.mset", pairs={}) == {"success": True, "count": 0}


def test_a_key_named_twice_gets_its_last_value(harness: Harness) -> None:
    harness.call("kv.mset", pairs=[{"key": "a", "value": 1, "ttl": 5}, {"key": "a", "value": 2}])
    assert harness.call("kv.get", key="a") == {"found": True, "value": 2, "ttl": None}


def test_mget_answers_null_for_what_is_missing_or_of_another_type(piles: Harness) -> None:
    piles.call("kv.mset", pairs={"a": 1, "null": None})
    put_pile(piles, "pile", 1)
    assert piles.call("kv.mget", keys=["a", "missing", "pile", "null", "a"]) == {"values": [1, None, None, None, 1]}
    assert piles.call("kv.mget", keys=[]) == {"values": []}


def test_mget_answers_only_so_many_bytes(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synap.commands.types._VALUES_BYTES_MAX", 300)
    harness.call("kv.set", key="a", value="x" * 98)
    assert harness.call("kv.mget", keys=["a"] * 3)["values"] == ["x" * 98] * 3
    error = refused(harness, "kv.mget", keys=["a"] * 4)
    assert isinstance(error, PayloadTooLarge)
    assert error.details == {"limit": 300}


def test_msetnx_sets_all_or_nothing(harness: Harness) -> None:
    assert harness.call("kv.msetnx", pairs={"a": 1, "b": 2}) == {"success": True}
    assert harness.call("kv.msetnx", pairs={"b": 3, "c": 4}) == {"success": False}
    assert harness.call("kv.mget", keys=["a", "b", "c"]) == {"values": [1, 2, None]}


def test_msetnx_takes_a_single_key_and_a_bare_pair(harness: Harness) -> None:
    assert harness.call("kv.msetnx", key="a", value=None) == {"success": True}
    assert harness.call("kv.msetnx", key="a", value=2) == {"success": False}
    bare = harness.send({"command": "kv.msetnx", "payload": ["b", {"name": "Alice"}]})
    assert bare["payload"] == {"success": True}
    assert harness.call("kv.mget", keys=["a", "b"]) == {"values": [None, {"name": "Alice"}]}


def test_msetnx_sets_a_key_that_has_expired(harness: Harness) -> None:
    harness.call("kv.set", key="a", value=1, ttl=1)
    harness.clock.advance(1)
    assert harness.call("kv.msetnx", pairs=[{"key": "a", "value": 2, "ttl": 3}]) == {"success": True}
    assert harness.call("kv.get", key="a") == {"found": True, "value": 2, "ttl": 3}


NOT_MSETNX: list[Any] = [
    {},
    {"key": "a"},
    {"value": 1},
    {"pairs": {}, "key": "a", "value": 1},
    {"pairs": {"a": 1}, "value": 1},
    {"pairs": {"a": 1}, "key": "a"},
    [],
    ["a"],
    ["a", 1, 2],
    [1, 1],
    ["", 1],
    "a",
    5,
    None,
]


@pytest.mark.parametrize("payload", NOT_MSETNX)
def test_msetnx_refuses_every_other_form(harness: Harness, payload: Any) -> None:
    reply = harness.send({"command": "kv.msetnx", "payload": payload})
    assert reply["error"]["code"] == "INVALID_PAYLOAD"
    assert harness.call("kv.dbsize") == {"size": 0}


# Text


def test_append_and_strlen_count_characters(harness: Harness) -> None:
    assert harness.call("kv.append", key="k", value="né") == {"length": 2}
    assert harness.call("kv.append", key="k", value="e😀") == {"length": 4}
    assert harness.call("kv.append", key="k", value="") == {"length": 4}
    assert value_of(harness, "k") == "née😀"
    assert harness.call("kv.strlen", key="k") == {"length": 4}
    assert harness.call("kv.strlen", key="missing") == {"length": 0}


@pytest.mark.parametrize(
    ("start", "end", "part"),
    [
        (0, 2, "née"),
        (-2, -1, "😀!"),
        (0, -1, "née😀!"),
        (3, 3, "😀"),
        (3, 1, ""),
        (4, 99, "!"),
        (-99, 0, "n"),
        (0, -99, "n"),
        (-1, -2, ""),
        (INT64_MIN, INT64_MAX, "née😀!"),
    ],
)
def test_getrange_cuts_by_characters_both_ends_included(harness: Harness, start: int, end: int, part: str) -> None:
    harness.call("kv.set", key="k", value="née😀!")
    assert harness.call("kv.getrange", key="k", start=start, end=end) == {"value": part}


def test_getrange_of_a_missing_key_is_empty(harness: Harness) -> None:
    assert harness.call("kv.getrange", key="k", start=0, end=-1) == {"value": ""}


@pytest.mark.parametrize(
    ("offset", "part", "result"),
    [(1, "ü", "nüe😀"), (3, "!?", "née!?"), (4, "!", "née😀!"), (6, "x", "née😀\0\0x"), (0, "abcdef", "abcdef")],
)
def test_setrange_overwrites_characters(harness: Harness, offset: int, part: str, result: str) -> None:
    harness.call("kv.set", key="k", value="née😀", ttl=10)
    assert harness.call("kv.setrange", key="k", offset=offset, value=part) == {"length": len(result)}
    assert harness.call("kv.get", key="k") == {"found": True, "value": result, "ttl": 10}


def test_setrange_makes_a_missing_key_unless_there_is_nothing_to_write(harness: Harness) -> None:
    assert harness.call("kv.setrange", key="k", offset=5, value="") == {"length": 0}
    assert harness.call("kv.exists", key="k")["exists"] is False
    assert harness.call("kv.setrange", key="k", offset=2, value="x") == {"length": 3}
    assert value_of(harness, "k") == "\0\0x"


def test_a_text_cannot_be_padded_beyond_the_limit_of_a_value(harness: Harness) -> None:
    assert isinstance(refused(harness, "kv.setrange", key="k", offset=32 * 1024 * 1024, value="x"), PayloadTooLarge)
    assert isinstance(refused(harness, "kv.setrange", key="k", offset=10**10, value="x"), InvalidPayload)
    assert harness.call("kv.dbsize") == {"size": 0}


def test_append_keeps_the_ttl(harness: Harness) -> None:
    harness.call("kv.set", key="k", value="a", ttl=10)
    harness.call("kv.append", key="k", value="b")
    assert ttl_of(harness, "k") == 10


TEXT_COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("kv.append", {"value": "x"}),
    ("kv.getrange", {"start": 0, "end": 1}),
    ("kv.setrange", {"offset": 0, "value": "x"}),
    ("kv.setrange", {"offset": 0, "value": ""}),
    ("kv.strlen", {}),
]


@pytest.mark.parametrize(("command", "payload"), TEXT_COMMANDS)
@pytest.mark.parametrize(
    ("value", "actual"),
    [(5, "JSON number"), (True, "JSON boolean"), (None, "JSON null"), (["a"], "JSON array"), ({}, "JSON object")],
)
def test_text_commands_refuse_other_json(
    harness: Harness, command: str, payload: dict[str, Any], value: Any, actual: str
) -> None:
    harness.call("kv.set", key="k", value=value)
    error = refused(harness, command, key="k", **payload)
    assert isinstance(error, WrongType)
    assert error.details == {"key": "k", "expected": "JSON string", "actual": actual}
    assert value_of(harness, "k") == value


# kv.getset, kv.getdel


def test_getset_returns_the_old_value_and_drops_the_ttl(harness: Harness) -> None:
    assert harness.call("kv.getset", key="k", value=[1]) == {"value": None}
    harness.call("kv.expire", key="k", ttl=5)
    assert harness.call("kv.getset", key="k", value=2) == {"value": [1]}
    assert harness.call("kv.get", key="k") == {"found": True, "value": 2, "ttl": None}


def test_getdel_returns_the_old_value_and_deletes(harness: Harness) -> None:
    harness.call("kv.set", key="k", value={"a": 1})
    assert harness.call("kv.getdel", key="k") == {"value": {"a": 1}}
    assert harness.call("kv.getdel", key="k") == {"value": None}
    assert harness.call("kv.exists", key="k")["exists"] is False


# Wrong type

STRING_COMMANDS: list[tuple[str, dict[str, Any]]] = [
    *TEXT_COMMANDS,
    ("kv.get", {}),
    ("kv.set", {"value": 1, "get": True}),
    ("kv.incr", {}),
    ("kv.decr", {}),
    ("kv.incrbyfloat", {"amount": 1}),
    ("kv.getset", {"value": 1}),
    ("kv.getdel", {}),
]


@pytest.mark.parametrize(("command", "payload"), STRING_COMMANDS)
def test_string_commands_refuse_a_key_of_another_type(piles: Harness, command: str, payload: dict[str, Any]) -> None:
    put_pile(piles, "k", 1)
    error = refused(piles, command, key="k", **payload)
    assert isinstance(error, WrongType)
    assert error.details == {"key": "k", "expected": "string", "actual": "pile"}
    assert piles.call("key.type", key="k") == {"type": "pile"}
    assert recorded(piles) == []


@settings(deadline=None, max_examples=60)
@given(
    st.text(max_size=20), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)
)
def test_no_key_or_value_is_an_internal_error(key: str, value: Any) -> None:
    harness = Harness()
    for command, payload in [*STRING_COMMANDS, ("kv.set", {"value": value}), *STRING_COMMANDS]:
        try:
            harness.call(command, key=key, **payload)
        except SynapError as error:
            assert error.code in ("INVALID_PAYLOAD", "WRONG_TYPE", "NOT_A_NUMBER", "OUT_OF_RANGE")
