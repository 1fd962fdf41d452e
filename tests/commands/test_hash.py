"""`hash.*`: fields with JSON values. What holds for every type of collection is in test_collections.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from synap.errors import InvalidPayload, NotANumber, OutOfRange, PayloadTooLarge
from tests.commands.collecting import scanned
from tests.commands.common import recorded, refused
from tests.support import Harness

INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)


@pytest.fixture
def user(harness: Harness) -> Harness:
    """A hash `user` with three fields."""
    harness.call("hash.mset", key="user", fields={"name": "Alice", "age": 30, "email": None})
    return harness


def value_of(harness: Harness, field: str) -> Any:
    return harness.call("hash.get", key="user", field=field)["value"]


@pytest.mark.parametrize("field", ["f", "", " ", "a.b", "\0", '"', "é", "😀", "x" * 1_000])
@pytest.mark.parametrize("value", ["text", 0, -1.5, True, None, [1, [2]], {"a": {"b": None}}])
def test_any_field_takes_any_json_value(harness: Harness, field: str, value: Any) -> None:
    assert harness.call("hash.set", key="user", field=field, value=value) == {"created": True}
    assert harness.call("hash.get", key="user", field=field) == {"found": True, "value": value}
    assert harness.call("hash.getall", key="user") == {"fields": {field: value}}


def test_values_are_kept_as_they_were_written(harness: Harness) -> None:
    value = b'{"b":1.10, "a":[1e999,"\\u00e9"],"a":%d}' % 2**80
    harness.answer(b'{"command":"hash.set","payload":{"key":"user","field":"f","value":%b}}' % value)
    for command in ("get", "getall", "vals", "scan"):
        body = json.dumps({"command": f"hash.{command}", "payload": {"key": "user"}}).encode()
        body = body.replace(b'"key"', b'"field": "f", "key"') if command == "get" else body
        assert value in harness.answer(body).body


def test_setting_a_field_again_replaces_its_value(user: Harness) -> None:
    assert user.call("hash.set", key="user", field="name", value="Bob") == {"created": False}
    assert value_of(user, "name") == "Bob"


@pytest.mark.parametrize(
    "fields", [{"age": 31, "city": [1]}, [{"field": "age", "value": 31}, {"field": "city", "value": [1]}]]
)
def test_several_fields_are_an_object_or_a_list_and_new_ones_are_counted(user: Harness, fields: Any) -> None:
    assert user.call("hash.mset", key="user", fields=fields) == {"success": True, "created": 1}
    assert user.call("hash.getall", key="user") == {"fields": {"name": "Alice", "age": 31, "email": None, "city": [1]}}


def test_a_field_named_twice_is_created_once_and_gets_its_last_value(harness: Harness) -> None:
    pairs = [{"field": "f", "value": 1}, {"field": "f", "value": 2}]
    assert harness.call("hash.mset", key="user", fields=pairs) == {"success": True, "created": 1}
    assert value_of(harness, "f") == 2


@pytest.mark.parametrize("fields", [{}, []])
def test_no_fields_make_no_hash_and_change_none(user: Harness, fields: Any) -> None:
    for key in ("user", "nobody"):
        assert user.call("hash.mset", key=key, fields=fields) == {"success": True, "created": 0}
    assert user.call("kv.dbsize") == {"size": 1}
    assert recorded(user) == ["hash.mset"]


def test_setnx_sets_only_an_absent_field(user: Harness) -> None:
    assert user.call("hash.setnx", key="user", field="email", value="a@b") == {"created": False}
    assert value_of(user, "email") is None
    assert user.call("hash.setnx", key="user", field="city", value="Rome") == {"created": True}
    assert value_of(user, "city") == "Rome"
    assert recorded(user) == ["hash.mset", "hash.setnx"]


def test_a_null_that_is_there_is_found(user: Harness) -> None:
    assert user.call("hash.get", key="user", field="email") == {"found": True, "value": None}
    assert user.call("hash.get", key="user", field="city") == {"found": False, "value": None}
    assert user.call("hash.exists", key="user", field="email") == {"exists": True}
    assert user.call("hash.exists", key="user", field="city") == {"exists": False}


def test_mget_answers_in_the_order_asked_with_null_for_what_is_absent(user: Harness) -> None:
    fields = ["age", "city", "email", "age"]
    assert user.call("hash.mget", key="user", fields=fields) == {"values": [30, None, None, 30]}
    assert user.call("hash.mget", key="user", fields=[]) == {"values": []}


def test_mget_answers_only_so_many_bytes(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synap.commands.types._VALUES_BYTES_MAX", 300)
    harness.call("hash.set", key="user", field="f", value="x" * 98)
    assert harness.call("hash.mget", key="user", fields=["f"] * 3)["values"] == ["x" * 98] * 3
    assert isinstance(refused(harness, "hash.mget", key="user", fields=["f"] * 4), PayloadTooLarge)


def test_fields_come_in_the_order_they_were_first_set(user: Harness) -> None:
    user.call("hash.set", key="user", field="name", value="Bob")
    user.call("hash.del", key="user", field="age")
    user.call("hash.set", key="user", field="age", value=31)
    assert user.call("hash.keys", key="user") == {"fields": ["name", "email", "age"]}
    assert user.call("hash.vals", key="user") == {"values": ["Bob", None, 31]}
    assert list(user.call("hash.getall", key="user")["fields"]) == ["name", "email", "age"]
    assert user.call("hash.len", key="user") == {"length": 3}
    for again in (user.replayed(), user.restored()):
        assert again.state.digest(user.clock.now()) == user.digest()


def test_del_takes_one_field_or_several(user: Harness) -> None:
    assert user.call("hash.del", key="user", field="name") == {"deleted": 1}
    assert user.call("hash.del", key="user", fields=["age", "nothing", "age"]) == {"deleted": 1}
    assert user.call("hash.keys", key="user") == {"fields": ["email"]}


@pytest.mark.parametrize("payload", [{"field": "city"}, {"fields": ["city", "street"]}, {"fields": []}])
def test_deleting_nothing_leaves_no_record(user: Harness, payload: dict[str, Any]) -> None:
    assert user.call("hash.del", key="user", **payload) == {"deleted": 0}
    assert recorded(user) == ["hash.mset"]


# Counters


def test_a_field_counts_from_zero_to_the_edges_of_64_bits(harness: Harness) -> None:
    assert harness.call("hash.incrby", key="user", field="n", increment=INT64_MAX - 1) == {"value": INT64_MAX - 1}
    assert harness.call("hash.incrby", key="user", field="n", increment=1) == {"value": INT64_MAX}
    assert isinstance(refused(harness, "hash.incrby", key="user", field="n", increment=1), OutOfRange)
    assert harness.call("hash.incrby", key="user", field="low", increment=INT64_MIN) == {"value": INT64_MIN}
    assert isinstance(refused(harness, "hash.incrby", key="user", field="low", increment=-1), OutOfRange)
    assert harness.call("hash.getall", key="user") == {"fields": {"n": INT64_MAX, "low": INT64_MIN}}


@pytest.mark.parametrize(
    ("stored", "increment", "text"),
    [
        (10.5, 0.1, "10.6"),
        (0.1, 0.2, "0.3"),
        (5000.0, 200, "5200"),
        (3.0, 0, "3"),
        (1, -2.5, "-1.5"),
        (0.5, -0.5, "0"),
    ],
)
def test_incrbyfloat_answers_the_number_redis_would_print(
    harness: Harness, stored: float, increment: float, text: str
) -> None:
    harness.call("hash.set", key="user", field="n", value=stored)
    payload = {"key": "user", "field": "n", "increment": increment}
    body = json.dumps({"command": "hash.incrbyfloat", "payload": payload}).encode()
    assert harness.answer(body).body.endswith(b'"payload":{"value":%b}}' % text.encode())
    assert value_of(harness, "n") == json.loads(text)


@pytest.mark.parametrize("command", ["hash.incrby", "hash.incrbyfloat"])
@pytest.mark.parametrize("value", ["x", "5", None, True, [1], {}])
def test_counting_what_is_no_number_changes_nothing(harness: Harness, command: str, value: Any) -> None:
    harness.call("hash.set", key="user", field="n", value=value)
    assert isinstance(refused(harness, command, key="user", field="n", increment=1), NotANumber)
    assert value_of(harness, "n") == value
    assert recorded(harness) == ["hash.set"]


def test_incrby_takes_no_fraction_and_incrbyfloat_no_overflow(harness: Harness) -> None:
    harness.call("hash.mset", key="user", fields={"half": 0.5, "huge": 1.7e308})
    assert isinstance(refused(harness, "hash.incrby", key="user", field="half", increment=1), NotANumber)
    assert isinstance(refused(harness, "hash.incrbyfloat", key="user", field="huge", increment=1.7e308), OutOfRange)
    assert isinstance(refused(harness, "hash.incrby", key="nobody", field="n", increment=2**63), InvalidPayload)
    assert harness.call("kv.dbsize") == {"size": 1}


# Scans, see also test_paging.py


def test_a_scan_gives_fields_with_values_in_byte_order(user: Harness) -> None:
    assert user.call("hash.scan", key="user") == {
        "fields": {"age": 30, "email": None, "name": "Alice"},
        "cursor": None,
        "has_more": False,
    }
    assert scanned(user, "hash.scan", "fields", key="user", count=2) == [["age", "email"], ["name"]]
    assert scanned(user, "hash.scan", "fields", key="user", match="*a*") == [["age", "email", "name"]]


# Payloads


@pytest.mark.parametrize(
    ("command", "payload", "path"),
    [
        ("hash.set", {"key": "", "field": "f", "value": 1}, "payload.key"),
        ("hash.set", {"key": "k", "value": 1}, "payload.field"),
        ("hash.set", {"key": "k", "field": "f"}, "payload.value"),
        ("hash.set", {"key": "k", "field": 5, "value": 1}, "payload.field"),
        ("hash.set", {"key": "k", "fields": {"f": 1}}, "payload.fields"),
        ("hash.mset", {"key": "k"}, "payload.fields"),
        ("hash.mset", {"key": "k", "fields": "f"}, "payload.fields"),
        ("hash.mset", {"key": "k", "fields": [{"field": "f", "value": 1}, {"field": "g"}]}, "payload.fields[1].value"),
        ("hash.mset", {"key": "k", "fields": [{"field": 1, "value": 1}]}, "payload.fields[0].field"),
        ("hash.mset", {"key": "k", "fields": [["f", 1]]}, "payload.fields[0]"),
        ("hash.mset", {"key": "k", "fields": [{"feild": "f", "value": 1}]}, "payload.fields[0].feild"),
        ("hash.get", {"key": "k"}, "payload.field"),
        ("hash.mget", {"key": "k", "fields": ["f", None]}, "payload.fields[1]"),
        ("hash.del", {"key": "k"}, "payload"),
        ("hash.del", {"key": "k", "field": "f", "fields": ["g"]}, "payload"),
        ("hash.incrby", {"key": "k", "field": "f", "increment": 1.5}, "payload.increment"),
        ("hash.incrby", {"key": "k", "field": "f"}, "payload.increment"),
        ("hash.incrbyfloat", {"key": "k", "field": "f", "increment": "1"}, "payload.increment"),
        ("hash.scan", {"key": "k", "count": 0}, "payload.count"),
        ("hash.scan", {"key": "k", "cursor": "!"}, "payload.cursor"),
        ("hash.stats", {"key": "k"}, "payload.key"),
    ],
)
def test_a_wrong_field_of_a_payload_is_named_by_its_path(
    harness: Harness, command: str, payload: dict[str, Any], path: str
) -> None:
    error = refused(harness, command, **payload)
    assert (error.code, error.details["path"]) == ("INVALID_PAYLOAD", path)
    assert recorded(harness) == []
