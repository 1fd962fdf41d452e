"""Bitmaps, beside a list of bits that does everything one bit at a time."""

from __future__ import annotations

import operator
import subprocess
import sys
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from synap.engines import bitmaps
from synap.engines.bitmaps import BITS_MAX, Bitmap, Field, Operation, Overflow, Unit

OPERATORS = {"and": operator.and_, "or": operator.or_, "xor": operator.xor}
BLOCK_BYTES = 3

contents = st.one_of(
    st.binary(max_size=12),
    st.lists(st.sampled_from([b"\0", b"\xff", b"\x10"]), max_size=12).map(b"".join),
)
some_contents = contents.filter(lambda content: content != b"")
places = st.one_of(st.integers(-14, 14), st.integers(-110, 110), st.sampled_from([2**63 - 1, -(2**63)]))
units = st.sampled_from(["byte", "bit"])
bits = st.integers(0, 1)
quick = settings(deadline=None)


@pytest.fixture(scope="module", autouse=True)
def short_blocks() -> Iterator[None]:
    """Blocks so short that small values have several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bitmaps, "_BLOCK_BYTES", BLOCK_BYTES)
        patch.setattr(bitmaps, "_BLANK", (b"\xff" * BLOCK_BYTES, bytes(BLOCK_BYTES)))
        yield


def bitmap(content: bytes) -> Bitmap:
    return Bitmap(bytearray(content))


def bits_of(content: bytes | bytearray) -> list[int]:
    return [byte >> (7 - at) & 1 for byte in content for at in range(8)]


def positions(length: int, start: int, end: int, unit: Unit) -> list[int]:
    """The bits of a range in a value of `length` bytes."""
    units = length if unit == "byte" else length * 8
    first = max(start + units, 0) if start < 0 else start
    last = max(end + units, 0) if end < 0 else end
    return [at for at in range(length * 8) if first <= (at // 8 if unit == "byte" else at) <= last]


# Bits


@quick
@given(contents, st.lists(st.tuples(st.integers(0, 130), bits)))
def test_a_bitmap_is_a_row_of_bits_that_grows_by_bytes(content: bytes, writes: list[tuple[int, int]]) -> None:
    written, expected = bitmap(content), bits_of(content)
    for offset, bit in writes:
        expected += [0] * ((offset // 8 + 1) * 8 - len(expected))
        assert written.setbit(offset, bit) == expected[offset]
        expected[offset] = bit
        assert bits_of(written.content) == expected
        assert len(written) * 8 == len(expected)
    assert [written.getbit(at) for at in range(len(expected) + 9)] == expected + [0] * 9


def test_bit_0_is_the_most_significant_one() -> None:
    written = Bitmap()
    for offset in (2, 3, 5, 10, 11, 14):
        assert written.setbit(offset, 1) == 0
    assert written.content == b"42"
    assert written.setbit(7, 1) == 0
    assert written.setbit(7, 0) == 1
    assert written.content == b"42"


def test_the_last_bit_there_can_be() -> None:
    assert bitmap(b"\xff").getbit(BITS_MAX - 1) == 0


# Counting and finding


@pytest.mark.parametrize(
    ("range_", "count"),
    [
        ((), 26),
        ((0, 0), 4),
        ((1, 1), 6),
        ((1, 1, "byte"), 6),
        ((5, 30, "bit"), 17),
        ((0, -1), 26),
        ((-2, -1), 7),
        ((-2, -1, "bit"), 1),
        ((0, 1_000), 26),
        ((-1_000, 0), 4),
        ((3, 2), 0),
        ((6, 9), 0),
        ((0, -100), 4),
        ((-100, -101), 0),
        ((-(2**63), 2**63 - 1, "bit"), 26),
    ],
)
def test_bits_are_counted_as_redis_does(range_: tuple[Any, ...], count: int) -> None:
    assert bitmap(b"foobar").bitcount(*range_) == count


@quick
@given(contents, places, places, units)
def test_any_range_is_counted(content: bytes, start: int, end: int, unit: Unit) -> None:
    found = positions(len(content), start, end, unit)
    expected = 0 if start < 0 and end < 0 and start > end else sum(bits_of(content)[at] for at in found)
    assert bitmap(content).bitcount(start, end, unit) == expected


@pytest.mark.parametrize(
    ("content", "arguments", "position"),
    [
        (b"\xff\xf0\x00", (0,), 12),
        (b"\x00\xff\xf0", (1, 0), 8),
        (b"\x00\xff\xf0", (1, 2), 16),
        (b"\x00\xff\xf0", (1, 2, -1, "byte"), 16),
        (b"\x00\xff\xf0", (1, 7, 15, "bit"), 8),
        (b"\x00\x00\x00", (1,), None),
        (b"\x00\x00\x00", (1, 7, -3, "bit"), None),
        (b"\xff\xff\xff", (0,), 24),
        (b"\xff\xff\xff", (0, 1), 24),
        (b"\xff\xff\xff", (0, -1), 24),
        (b"\xff\xff\xff", (0, 23, None, "bit"), 24),
        (b"\xff\xff\xff", (0, 3), None),
        (b"\xff\xff\xff", (0, 0, -1), None),
        (b"\xff\xff\xff", (0, 0, 100), None),
        (b"\xff\xff\xff", (0, 0, 23, "bit"), None),
        (b"\xff\xff\xff", (1, 3, None, "bit"), 3),
        (b"abc", (1, -100, -101), 1),
        (b"abc", (1, 2, 1), None),
    ],
)
def test_bits_are_found_where_redis_finds_them(
    content: bytes, arguments: tuple[Any, ...], position: int | None
) -> None:
    assert bitmap(content).bitpos(*arguments) == position


@quick
@given(some_contents, bits, places, st.none() | places, units)
@example(b"\0" * 9 + b"\1", 1, 0, None, "byte")
@example(b"\xff" * 10, 0, 5, -1, "bit")
def test_any_range_is_searched(content: bytes, bit: int, start: int, end: int | None, unit: Unit) -> None:
    found = positions(len(content), start, -1 if end is None else end, unit)
    expected = next((at for at in found if bits_of(content)[at] == bit), None)
    if expected is None and bit == 0 and end is None and found:
        expected = len(content) * 8
    assert bitmap(content).bitpos(bit, start, end, unit) == expected


# Combining


def test_two_bitmaps_are_combined_as_in_the_documentation_of_redis() -> None:
    assert bitmaps.bitop("and", [bitmap(b"foobar"), bitmap(b"abcdef")]).content == b"`bc`ab"


@quick
@given(st.sampled_from(["and", "or", "xor"]), st.lists(contents, min_size=1, max_size=4))
def test_shorter_bitmaps_count_as_padded_with_zeros(operation: Operation, several: list[bytes]) -> None:
    length = max(len(content) for content in several)
    rows = [bits_of(content.ljust(length, b"\0")) for content in several]
    expected = [reduce(OPERATORS[operation], column) for column in zip(*rows, strict=True)]
    operands = [bitmap(content) for content in several]
    assert bits_of(bitmaps.bitop(operation, operands).content) == expected
    assert [bytes(operand.content) for operand in operands] == several


@pytest.mark.parametrize("operation", ["and", "or", "xor"])
@pytest.mark.parametrize("times", [2, 3])
def test_an_operand_may_be_repeated(operation: Operation, times: int) -> None:
    repeated, other = bitmap(b"repeated"), bitmap(b"other")
    copies = [bitmap(b"repeated") for _ in range(times)]
    for operands, apart in (([repeated] * times, copies), ([other, *[repeated] * times], [other, *copies])):
        assert bitmaps.bitop(operation, operands).content == bitmaps.bitop(operation, apart).content


@quick
@given(contents)
def test_not_turns_every_bit_over(content: bytes) -> None:
    operand = bitmap(content)
    assert bits_of(bitmaps.bitop("not", [operand]).content) == [1 - bit for bit in bits_of(content)]
    assert operand.content == content


# Fields

kinds = st.one_of(st.integers(1, 63).map(lambda width: f"u{width}"), st.integers(1, 64).map(lambda width: f"i{width}"))
offsets = st.one_of(st.integers(0, 90), st.integers(0, 5).map(lambda number: f"#{number}"))


def number_in(row: list[int], field: Field) -> int:
    """The integer that the bits of a field stand for."""
    row = (row + [0] * (field.last + 1))[field.offset : field.last + 1]
    number = int("".join(map(str, row)), 2)
    return number - 2**field.width if field.is_signed and row[0] else number


@pytest.mark.parametrize(
    ("kind", "offset", "field"),
    [
        ("u8", 100, Field(100, 8, False)),
        ("i5", "#3", Field(15, 5, True)),
        ("u63", "#0", Field(0, 63, False)),
        ("i64", "#2", Field(128, 64, True)),
        ("u1", BITS_MAX - 1, Field(BITS_MAX - 1, 1, False)),
        ("i64", BITS_MAX - 64, Field(BITS_MAX - 64, 64, True)),
        ("u8", "#536870911", Field(BITS_MAX - 8, 8, False)),
    ],
)
def test_a_field_has_a_type_and_a_place(kind: str, offset: int | str, field: Field) -> None:
    assert Field.parse(kind, offset) == field


@pytest.mark.parametrize(
    "kind", ["u0", "u64", "i0", "i65", "u", "8", "x8", "U8", "u08", "u-1", "u8\n", "u100", "u٣", ""]
)
def test_a_type_that_is_none_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="expected a type from u1 to u63 or from i1 to i64"):
        Field.parse(kind, 0)


@pytest.mark.parametrize("offset", ["1", "#", "#-1", "# 1", "#1\n", "#٣", "##1", "#" + "1" * 11])
def test_an_offset_that_is_none_is_refused(offset: str) -> None:
    with pytest.raises(ValueError, match="expected an offset such as 100 or '#3'"):
        Field.parse("u8", offset)


@pytest.mark.parametrize(("kind", "offset"), [("u8", BITS_MAX - 7), ("i64", "#67108864"), ("u1", BITS_MAX), ("u1", -1)])
def test_a_field_must_lie_within_the_bits_there_can_be(kind: str, offset: int | str) -> None:
    with pytest.raises(ValueError, match="expected a field within the first 4294967296 bits"):
        Field.parse(kind, offset)


@quick
@given(contents, kinds, offsets, st.data())
def test_fields_are_written_and_read_at_any_bit(
    content: bytes, kind: str, offset: int | str, data: st.DataObject
) -> None:
    field, written = Field.parse(kind, offset), bitmap(content)
    assert written.get(field) == number_in(bits_of(content), field)
    assert written.content == content
    written.grow(field.last)
    value = data.draw(st.integers(0, 2**field.width - 1)) - (2 ** (field.width - 1) if field.is_signed else 0)
    written.set(field, value)
    assert written.get(field) == value
    expected = bits_of(content.ljust(field.last // 8 + 1, b"\0"))
    expected[field.offset : field.last + 1] = bits_of((value % 2**64).to_bytes(8))[64 - field.width :]
    assert bits_of(written.content) == expected


@pytest.mark.parametrize(
    ("kind", "value", "wrapped", "saturated"),
    [
        ("u8", 256, 0, 255),
        ("u8", -1, 255, 0),
        ("u8", 1_000, 232, 255),
        ("i8", 128, -128, 127),
        ("i8", -129, 127, -128),
        ("i8", 200, -56, 127),
        ("u1", 2, 0, 1),
        ("i1", 1, -1, 0),
        ("i64", 2**63, -(2**63), 2**63 - 1),
        ("i64", -(2**64), 0, -(2**63)),
        ("u63", 2**63, 0, 2**63 - 1),
    ],
)
def test_what_does_not_fit_wraps_saturates_or_fails(kind: str, value: int, wrapped: int, saturated: int) -> None:
    field = Field.parse(kind, 0)
    assert field.fitted(value, "wrap") == wrapped
    assert field.fitted(value, "sat") == saturated
    assert field.fitted(value, "fail") is None


@quick
@given(kinds, st.integers(-(2**64), 2**64), st.sampled_from(["wrap", "sat", "fail"]))
def test_what_fits_stays_and_the_rest_is_told_by_its_bits(kind: str, value: int, overflow: Overflow) -> None:
    field = Field.parse(kind, 0)
    low_bits = number_in([value >> at & 1 for at in reversed(range(field.width))], field)
    lowest = -(2 ** (field.width - 1)) if field.is_signed else 0
    highest = lowest + 2**field.width - 1
    assert (value == low_bits) == (lowest <= value <= highest)
    expected = {"wrap": low_bits, "sat": highest if value > highest else lowest, "fail": None}
    assert field.fitted(value, overflow) == (value if value == low_bits else expected[overflow])


# As a value of the keyspace


@quick
@given(contents)
def test_a_dumped_and_loaded_bitmap_is_the_same(content: bytes) -> None:
    loaded = Bitmap.load(bitmap(content).dump())
    assert loaded.dump() == content
    assert len(loaded) == len(content)
    loaded.setbit(0, 1)
    assert loaded.getbit(0) == 1


def test_a_copy_shares_nothing() -> None:
    original = bitmap(b"\0")
    copied = original.copy()
    copied.setbit(0, 1)
    assert original.content == b"\0"
    assert copied.content == b"\x80"


_GROWTH = """
import gc, sys
from synap.engines.bitmaps import Bitmap
from synap.engines.keyspace import Keyspace

def resident():
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096

keyspace, how, length, count = Keyspace([Bitmap]), sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
keyspace.build_index()
before = resident()
for number in range(count):
    bitmap = Bitmap.load(bytes(length)) if how == "loaded" else Bitmap()
    for last in range(8 if how == "gradual" else length * 8, length * 8 + 1, 8):
        bitmap.setbit(last - 1, 1)
    keyspace.settle(f"key:{number:08}", bitmap, 1)
print(keyspace.used_bytes, resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell a process its size")
@pytest.mark.parametrize(
    ("how", "length", "count"),
    [
        ("at once", 1, 100_000),
        ("gradual", 8, 100_000),
        ("at once", 100, 100_000),
        ("loaded", 100, 100_000),
        ("gradual", 1_000, 10_000),
        ("at once", 20_000, 2_000),
    ],
)
def test_counted_memory_is_within_a_fifth_of_the_growth_of_the_process(how: str, length: int, count: int) -> None:
    arguments = [how, str(length), str(count)]
    output = subprocess.run([sys.executable, "-c", _GROWTH, *arguments], check=True, capture_output=True).stdout
    counted, grown = map(int, output.split())
    assert 0.8 <= counted / grown <= 1.2, f"counted {counted}, grown {grown}"
