"""`bitmap.*`: bits, ranges of bits and small integers under one key."""

from __future__ import annotations

from typing import Any

import pytest

from synap.engines.bitmaps import BITS_MAX
from synap.errors import InvalidPayload, WrongType
from tests.commands.common import recorded, refused
from tests.support import Harness


def put(harness: Harness, key: str, content: bytes) -> None:
    """Give `key` the bytes of `content`."""
    bytes_ = [{"op": "set", "type": "u8", "offset": f"#{at}", "value": byte} for at, byte in enumerate(content)]
    harness.call("bitmap.bitfield", key=key, operations=bytes_)


def content(harness: Harness, key: str) -> bytes:
    """The bytes at `key`; b"" when it is absent."""
    value = harness.state.keyspace.peek(key, harness.clock.now())
    dumped = b"" if value is None else value.dump()
    assert isinstance(dumped, bytes)
    return dumped


def fields(harness: Harness, *operations: dict[str, Any], key: str = "b") -> list[int | None]:
    values: list[int | None] = harness.call("bitmap.bitfield", key=key, operations=operations)["values"]
    return values


def get(kind: str, offset: int | str) -> dict[str, Any]:
    return {"op": "get", "type": kind, "offset": offset}


def set_(kind: str, offset: int | str, value: int, **options: Any) -> dict[str, Any]:
    return {"op": "set", "type": kind, "offset": offset, "value": value, **options}


def incrby(kind: str, offset: int | str, increment: int, **options: Any) -> dict[str, Any]:
    return {"op": "incrby", "type": kind, "offset": offset, "increment": increment, **options}


# setbit and getbit


def test_setbit_tells_what_the_bit_was(harness: Harness) -> None:
    assert harness.call("bitmap.setbit", key="b", offset=7, value=1) == {"previous": 0}
    assert harness.call("bitmap.setbit", key="b", offset=7, value=0) == {"previous": 1}
    assert harness.call("bitmap.setbit", key="b", offset=8, value=1) == {"previous": 0}
    assert content(harness, "b") == b"\x00\x80"
    assert harness.call("key.type", key="b") == {"type": "bitmap"}


def test_getbit_reads_0_where_there_is_nothing(harness: Harness) -> None:
    put(harness, "b", b"\x01")
    bits = [harness.call("bitmap.getbit", key="b", offset=offset)["value"] for offset in (6, 7, 8, BITS_MAX - 1)]
    assert bits == [0, 1, 0, 0]
    assert harness.call("bitmap.getbit", key="missing", offset=0) == {"value": 0}
    assert harness.call("key.exists", key="missing") == {"exists": False}


@pytest.mark.parametrize("offset", [-1, BITS_MAX, "1", 1.5, None])
def test_an_offset_has_32_bits(harness: Harness, offset: Any) -> None:
    for name, rest in (("bitmap.setbit", {"value": 1}), ("bitmap.getbit", {})):
        error = refused(harness, name, key="b", offset=offset, **rest)
        assert isinstance(error, InvalidPayload)
        assert error.details["path"] == "payload.offset"
    assert content(harness, "b") == b""


@pytest.mark.parametrize("value", [-1, 2, "1", True, None])
def test_a_bit_is_0_or_1(harness: Harness, value: Any) -> None:
    for name, rest in (("bitmap.setbit", {"offset": 0}), ("bitmap.bitpos", {})):
        error = refused(harness, name, key="b", value=value, **rest)
        assert isinstance(error, InvalidPayload)
        assert error.details["path"] == "payload.value"


def test_a_clear_bit_makes_a_value_and_lets_it_grow(harness: Harness) -> None:
    harness.call("bitmap.setbit", key="b", offset=0, value=0)
    harness.call("bitmap.setbit", key="b", offset=9, value=0)
    assert content(harness, "b") == b"\0\0"
    assert recorded(harness) == ["bitmap.setbit"] * 2


def test_setting_a_bit_to_what_it_is_leaves_no_record(harness: Harness) -> None:
    harness.call("bitmap.setbit", key="b", offset=9, value=1)
    assert harness.call("bitmap.setbit", key="b", offset=9, value=1) == {"previous": 1}
    assert harness.call("bitmap.setbit", key="b", offset=15, value=0) == {"previous": 0}
    assert recorded(harness) == ["bitmap.setbit"]


def test_the_ttl_stays_when_bits_are_set(harness: Harness) -> None:
    harness.call("bitmap.setbit", key="b", offset=0, value=1)
    harness.call("kv.expire", key="b", ttl=10)
    harness.call("bitmap.setbit", key="b", offset=100, value=1)
    fields(harness, set_("u8", 200, 7))
    assert harness.call("kv.ttl", key="b") == {"found": True, "ttl": 10}
    harness.clock.advance(10)
    assert harness.call("bitmap.setbit", key="b", offset=0, value=0) == {"previous": 0}
    assert harness.call("kv.ttl", key="b") == {"found": True, "ttl": None}
    assert content(harness, "b") == b"\0"


# bitcount and bitpos


def test_bitcount_counts_all_or_a_range(harness: Harness) -> None:
    put(harness, "b", b"foobar")
    assert harness.call("bitmap.bitcount", key="b") == {"count": 26}
    assert harness.call("bitmap.bitcount", key="b", start=0, end=0) == {"count": 4}
    assert harness.call("bitmap.bitcount", key="b", start=1, end=1, unit="byte") == {"count": 6}
    assert harness.call("bitmap.bitcount", key="b", start=5, end=30, unit="bit") == {"count": 17}
    assert harness.call("bitmap.bitcount", key="b", start=-2, end=-1) == {"count": 7}
    assert harness.call("bitmap.bitcount", key="missing") == {"count": 0}
    assert harness.call("bitmap.bitcount", key="missing", start=0, end=-1) == {"count": 0}


def test_bitpos_finds_the_first_set_or_clear_bit(harness: Harness) -> None:
    put(harness, "b", b"\xff\xf0\x00")
    assert harness.call("bitmap.bitpos", key="b", value=0) == {"position": 12}
    assert harness.call("bitmap.bitpos", key="b", value=1, start=2) == {"position": None}
    assert harness.call("bitmap.bitpos", key="b", value=0, start=0, end=0) == {"position": None}
    assert harness.call("bitmap.bitpos", key="b", value=1, start=9, end=-1, unit="bit") == {"position": 9}


def test_zeros_follow_a_value_that_has_no_end_of_its_own(harness: Harness) -> None:
    put(harness, "b", b"\xff\xff")
    assert harness.call("bitmap.bitpos", key="b", value=0) == {"position": 16}
    assert harness.call("bitmap.bitpos", key="b", value=0, start=1) == {"position": 16}
    assert harness.call("bitmap.bitpos", key="b", value=0, start=0, end=-1) == {"position": None}
    assert harness.call("bitmap.bitpos", key="b", value=0, start=2) == {"position": None}


def test_an_absent_bitmap_is_all_zeros(harness: Harness) -> None:
    assert harness.call("bitmap.bitpos", key="missing", value=0) == {"position": 0}
    assert harness.call("bitmap.bitpos", key="missing", value=0, start=5, end=9) == {"position": 0}
    assert harness.call("bitmap.bitpos", key="missing", value=1) == {"position": None}


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("bitmap.bitcount", {"start": 0}),
        ("bitmap.bitcount", {"end": 0}),
        ("bitmap.bitcount", {"start": 0, "end": 2**63}),
        ("bitmap.bitcount", {"unit": "bytes"}),
        ("bitmap.bitpos", {"value": 1, "end": 0}),
        ("bitmap.bitpos", {"value": 1, "start": -(2**63) - 1}),
        ("bitmap.bitpos", {"value": 1, "unit": "BIT"}),
        ("bitmap.bitpos", {}),
    ],
)
def test_half_a_range_is_refused(harness: Harness, name: str, payload: dict[str, Any]) -> None:
    assert isinstance(refused(harness, name, key="b", **payload), InvalidPayload)


def test_large_sparse_bitmaps_are_counted_searched_and_combined(harness: Harness) -> None:
    harness.call("bitmap.setbit", key="a", offset=3_000_000, value=1)
    harness.call("bitmap.setbit", key="b", offset=1_999_999, value=1)
    assert harness.call("bitmap.bitpos", key="a", value=1) == {"position": 3_000_000}
    assert harness.call("bitmap.bitpos", key="a", value=1, start=0, end=2_999_999, unit="bit") == {"position": None}
    assert harness.call("bitmap.bitop", destination="c", operation="or", keys=["a", "b"]) == {"length": 375_001}
    assert harness.call("bitmap.bitcount", key="c") == {"count": 2}
    assert harness.call("bitmap.bitpos", key="c", value=1) == {"position": 1_999_999}
    harness.call("bitmap.bitop", destination="d", operation="not", keys=["c"])
    assert harness.call("bitmap.bitcount", key="d") == {"count": 375_001 * 8 - 2}
    assert harness.call("bitmap.bitpos", key="d", value=0, start=250_000) == {"position": 3_000_000}
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()


# bitop


@pytest.mark.parametrize(
    ("operation", "keys", "result"),
    [
        ("and", ["x", "y"], b"\x0c\x00"),
        ("or", ["x", "y"], b"\xff\x55"),
        ("xor", ["x", "y"], b"\xf3\x55"),
        ("not", ["y"], b"\xf3"),
        ("and", ["x"], b"\x3c\x55"),
        ("and", ["x", "missing"], b"\0\0"),
        ("or", ["missing", "y", "missing"], b"\xcf"),
        ("xor", ["x", "x"], b"\0\0"),
        ("or", ["x", "destination"], b"\x3c\x55\x07"),
    ],
)
def test_bitop_stores_a_combination(harness: Harness, operation: str, keys: list[str], result: bytes) -> None:
    values = {"x": b"\x3c\x55", "y": b"\xcf" if operation != "not" else b"\x0c", "destination": b"\0\0\x07"}
    for key, value in values.items():
        put(harness, key, value)
    answer = harness.call("bitmap.bitop", destination="destination", operation=operation, keys=keys)
    assert answer == {"length": len(result)}
    assert content(harness, "destination") == result
    assert content(harness, "x") == values["x"]


def test_a_bitmap_may_be_combined_into_itself(harness: Harness) -> None:
    put(harness, "b", b"\x0f")
    assert harness.call("bitmap.bitop", destination="b", operation="not", keys=["b"]) == {"length": 1}
    assert content(harness, "b") == b"\xf0"


def test_a_combination_replaces_what_was_there_with_its_type_and_ttl(harness: Harness) -> None:
    put(harness, "b", b"\x0f")
    harness.call("kv.set", key="text", value="x", ttl=10)
    harness.call("bitmap.bitop", destination="text", operation="or", keys=["b"])
    assert harness.call("key.type", key="text") == {"type": "bitmap"}
    assert harness.call("kv.ttl", key="text") == {"found": True, "ttl": None}
    harness.call("bitmap.setbit", key="text", offset=0, value=1)
    assert content(harness, "b") == b"\x0f"


def test_a_combination_of_nothing_removes_the_destination(harness: Harness) -> None:
    harness.call("kv.set", key="text", value="x")
    assert harness.call("bitmap.bitop", destination="text", operation="not", keys=["missing"]) == {"length": 0}
    assert harness.call("key.exists", key="text") == {"exists": False}
    assert harness.call("bitmap.bitop", destination="text", operation="or", keys=["missing", "text"]) == {"length": 0}
    assert recorded(harness) == ["kv.set", "bitmap.bitop"]


@pytest.mark.parametrize(
    ("operation", "keys"), [("not", ["a", "b"]), ("and", []), ("AND", ["a"]), ("nand", ["a"]), ("or", "a")]
)
def test_a_combination_that_is_none_is_refused(harness: Harness, operation: str, keys: Any) -> None:
    error = refused(harness, "bitmap.bitop", destination="d", operation=operation, keys=keys)
    assert isinstance(error, InvalidPayload)


# bitfield


def test_fields_are_worked_through_in_order(harness: Harness) -> None:
    assert fields(harness, incrby("i5", 100, 1), get("u4", 0)) == [1, 0]
    assert fields(harness, set_("i8", "#0", 100), set_("i8", "#1", 200), get("i8", 8)) == [0, 0, -56]
    assert fields(harness, get("u8", 0), incrby("u8", 0, -1), set_("u8", 0, 5), get("u8", "#0")) == [100, 99, 99, 5]
    assert len(content(harness, "b")) == 14


def test_overflow_is_treated_as_each_operation_says(harness: Harness) -> None:
    both = incrby("u2", 100, 1), incrby("u2", 102, 1, overflow="sat")
    assert [fields(harness, *both) for _ in range(4)] == [[1, 1], [2, 2], [3, 3], [0, 3]]
    assert fields(harness, incrby("u2", 102, 1, overflow="fail"), get("u2", 102)) == [None, 3]
    assert fields(harness, set_("u2", 102, 4, overflow="fail"), get("u2", 102)) == [None, 3]
    assert fields(harness, set_("u2", 102, 5, overflow="wrap"), get("u2", 102)) == [3, 1]
    assert fields(harness, incrby("u2", 102, -2, overflow="sat"), get("u2", 102)) == [0, 0]
    assert fields(harness, set_("i8", 0, -1_000, overflow="sat"), get("i8", 0)) == [0, -128]


def test_the_widest_fields_hold_what_64_bits_hold(harness: Harness) -> None:
    assert fields(harness, set_("i64", 3, -(2**63)), get("i64", 3)) == [0, -(2**63)]
    assert fields(harness, incrby("i64", 3, -1), incrby("i64", 3, 1, overflow="fail")) == [2**63 - 1, None]
    assert fields(harness, set_("u63", 3, 2**63 - 1), get("u63", 3)) == [2**62 - 1, 2**63 - 1]


def test_a_field_without_a_sign_takes_a_negative_value_for_a_large_one(harness: Harness) -> None:
    assert fields(harness, set_("u8", 0, -1, overflow="sat"), get("u8", 0)) == [0, 255]
    assert fields(harness, set_("u8", 0, -2), get("u8", 0)) == [255, 254]
    assert fields(harness, set_("u8", 0, -1, overflow="fail"), get("u8", 0)) == [None, 254]


def test_reading_fields_makes_no_key_and_leaves_no_record(harness: Harness) -> None:
    assert fields(harness, get("u8", 0), get("i64", BITS_MAX - 64)) == [0, 0]
    assert fields(harness) == []
    assert harness.call("key.exists", key="b") == {"exists": False}
    put(harness, "b", b"\x01")
    assert fields(harness, get("u16", 0)) == [256]
    assert content(harness, "b") == b"\x01"
    assert recorded(harness) == ["bitmap.bitfield"]


def test_writing_what_is_there_leaves_no_record(harness: Harness) -> None:
    put(harness, "b", b"\x07\xff")
    assert fields(harness, set_("u8", 0, 7), incrby("u8", 8, 0), incrby("u8", 8, 1, overflow="fail")) == [7, 255, None]
    assert recorded(harness) == ["bitmap.bitfield"]


def test_the_value_grows_up_to_the_last_field_written_even_where_that_fails(harness: Harness) -> None:
    assert fields(harness, incrby("u1", 100, 5, overflow="fail"), get("u8", 300)) == [None, 0]
    assert content(harness, "b") == b"\0" * 13
    assert recorded(harness) == ["bitmap.bitfield"]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "get", "type": "u64", "offset": 0},
        {"op": "get", "type": "i65", "offset": 0},
        {"op": "get", "type": "u0", "offset": 0},
        {"op": "get", "type": 8, "offset": 0},
        {"op": "get", "type": "u8", "offset": -1},
        {"op": "get", "type": "u8", "offset": "8"},
        {"op": "get", "type": "u8", "offset": "#-1"},
        {"op": "get", "type": "u8", "offset": BITS_MAX - 7},
        {"op": "get", "type": "u8", "offset": "#536870912"},
        {"op": "get", "type": "u8"},
        {"op": "get", "type": "u8", "offset": 0, "value": 1},
        {"op": "get", "type": "u8", "offset": 0, "increment": 1},
        {"op": "set", "type": "u8", "offset": 0},
        {"op": "set", "type": "u8", "offset": 0, "increment": 1},
        {"op": "set", "type": "u8", "offset": 0, "value": 2**63},
        {"op": "incrby", "type": "u8", "offset": 0},
        {"op": "incrby", "type": "u8", "offset": 0, "value": 1, "increment": 1},
        {"op": "incrby", "type": "u8", "offset": 0, "increment": 1, "overflow": "SAT"},
        {"op": "add", "type": "u8", "offset": 0},
        {"op": "get", "type": "u8", "offset": 0, "size": 1},
    ],
)
def test_an_operation_that_is_none_is_refused_before_any_other_runs(
    harness: Harness, operation: dict[str, Any]
) -> None:
    error = refused(harness, "bitmap.bitfield", key="b", operations=[set_("u8", 0, 1), operation])
    assert isinstance(error, InvalidPayload)
    assert error.details["path"].startswith("payload.operations[1]")
    assert content(harness, "b") == b""


# As a type of the keyspace

ON_ONE_KEY: list[tuple[str, dict[str, Any]]] = [
    ("bitmap.setbit", {"offset": 0, "value": 1}),
    ("bitmap.getbit", {"offset": 0}),
    ("bitmap.bitcount", {}),
    ("bitmap.bitpos", {"value": 0}),
    ("bitmap.bitfield", {"operations": [get("u8", 0)]}),
    ("bitmap.bitfield", {"operations": [set_("u8", 0, 1)]}),
]


@pytest.mark.parametrize(("name", "payload"), ON_ONE_KEY)
def test_a_key_of_another_type_is_refused(harness: Harness, name: str, payload: dict[str, Any]) -> None:
    harness.call("kv.set", key="text", value="x")
    error = refused(harness, name, key="text", **payload)
    assert isinstance(error, WrongType)
    assert error.details == {"key": "text", "expected": "bitmap", "actual": "string"}
    assert recorded(harness) == ["kv.set"]


def test_a_bitmap_cannot_be_combined_with_another_type(harness: Harness) -> None:
    put(harness, "b", b"\x01")
    harness.call("kv.set", key="text", value="x")
    error = refused(harness, "bitmap.bitop", destination="d", operation="or", keys=["b", "text"])
    assert isinstance(error, WrongType)
    assert error.details["key"] == "text"
    assert harness.call("key.exists", key="d") == {"exists": False}
    assert isinstance(refused(harness, "kv.get", key="b"), WrongType)


def test_stats_count_bitmaps_and_their_bytes(harness: Harness) -> None:
    put(harness, "a", b"\x01\x02")
    put(harness, "b", b"\x03")
    harness.call("bitmap.setbit", key="b", offset=800, value=1)
    harness.call("bitmap.bitop", destination="c", operation="or", keys=["a"])
    stats = harness.call("bitmap.stats")
    assert (stats["total_keys"], stats["total_elements"]) == (3, 2 + 101 + 2)
    assert 105 < stats["memory_bytes"] < 1_000
    assert stats["operations"]["bitfield"] == 2
    assert stats["operations"]["setbit"] == 1
    harness.call("kv.del", keys=["a", "b", "c"])
    assert harness.call("bitmap.stats")["memory_bytes"] == 0


def test_copies_and_restarts_keep_the_bits(harness: Harness) -> None:
    put(harness, "b", b"\x01\x80")
    harness.call("key.copy", source="b", destination="c")
    harness.call("bitmap.setbit", key="c", offset=0, value=1)
    assert content(harness, "b") == b"\x01\x80"
    for executor in (harness.replayed(), harness.restored()):
        assert executor.digest(harness.clock.now()) == harness.digest()
