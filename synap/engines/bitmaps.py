"""Bitmaps: as many bytes as the highest bit written asks for; bit 0 is the most significant bit of byte 0.

Bits behind the value read as 0. What runs over a whole value does so block by block, each block in one call of C;
blocks without a bit of interest are skipped at the speed of memory.
"""

from __future__ import annotations

import operator
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, reduce
from typing import Any, ClassVar, Literal, NamedTuple

from synap.engines.collection import ALLOCATION_OVERHEAD_BYTES, Collection

BITS_MAX = 2**32
Unit = Literal["byte", "bit"]
Operation = Literal["and", "or", "xor", "not"]
Overflow = Literal["wrap", "sat", "fail"]

# The object, and the rounding of its byte array and of that one's content.
_BASE_BYTES = 64 + 2 * ALLOCATION_OVERHEAD_BYTES

# Large enough that the calls cost nothing beside the work, small enough for a processor's cache.
_BLOCK_BYTES = 65_536
# By the bit that is looked for: a block that has none.
_BLANK = (b"\xff" * _BLOCK_BYTES, bytes(_BLOCK_BYTES))
_INVERTED = bytes(range(255, -1, -1))

_OPERATORS: dict[str, Callable[[int, int], int]] = {"and": operator.and_, "or": operator.or_, "xor": operator.xor}

_UNSIGNED_WIDTH_MAX = 63
_SIGNED_WIDTH_MAX = 64
_FIELD_TYPE = re.compile(r"([ui])([1-9][0-9]?)")
_COUNTED_OFFSET = re.compile(r"#([0-9]{1,10})")


class Field(NamedTuple):
    """Where a bitmap holds an integer, and of which kind."""

    offset: int
    width: int
    is_signed: bool

    @classmethod
    def parse(cls, kind: str, offset: int | str) -> Field:
        """From a type such as "u8" or "i64" and an offset in bits, or in widths: "#3". Raises ValueError."""
        width, is_signed = _type_of(kind)
        if isinstance(offset, str):
            counted = _COUNTED_OFFSET.fullmatch(offset)
            if counted is None:
                raise ValueError(f"expected an offset such as 100 or '#3', got {offset[:20]!r}")
            offset = int(counted[1]) * width
        if not 0 <= offset <= BITS_MAX - width:
            raise ValueError(f"expected a field within the first {BITS_MAX} bits, got {kind} at bit {offset}")
        return cls(offset, width, is_signed)

    @property
    def last(self) -> int:
        """Its last bit."""
        return self.offset + self.width - 1

    def fitted(self, value: int, overflow: Overflow) -> int | None:
        """`value` if the field can hold it, else what becomes of it; None when it is to fail."""
        lowest = -(1 << self.width - 1) if self.is_signed else 0
        highest = lowest + (1 << self.width) - 1
        if lowest <= value <= highest:
            return value
        if overflow == "fail":
            return None
        if overflow == "sat":
            return highest if value > highest else lowest
        return (value - lowest) % (1 << self.width) + lowest


class Window(NamedTuple):
    """The bits of a byte array from `first` to `last`, none when that is before it."""

    content: bytearray
    first: int
    last: int

    def counts(self) -> Iterator[int]:
        """How many bits are set, block by block."""
        content, at, stop = self.content, self.first >> 3, (self.last >> 3) + 1
        if self.first > self.last:
            return
        before, behind = content[at] >> (8 - (self.first & 7)), content[stop - 1] & (0x7F >> (self.last & 7))
        yield -before.bit_count() - behind.bit_count()
        for block in range(at, stop, _BLOCK_BYTES):
            if not content.startswith(_BLANK[1], block, stop):
                yield int.from_bytes(content[block : min(block + _BLOCK_BYTES, stop)]).bit_count()

    def copy(self) -> Window:
        """The same bits, copied."""
        at = self.first >> 3
        return Window(self.content[at : (self.last >> 3) + 1], self.first - at * 8, self.last - at * 8)


class Bitmap(Collection):
    """The bits of one key; its elements are bytes."""

    __slots__ = ("content",)
    type_name: ClassVar[str] = "bitmap"

    def __init__(self, content: bytearray | None = None) -> None:
        super().__init__()
        self.content = bytearray() if content is None else content
        """To look at; the methods change it."""

    def grow(self, last: int) -> None:
        """Let the value reach to the byte of bit `last`, with zeros."""
        missing = (last >> 3) + 1 - len(self.content)
        while missing > 0:
            self.content += _BLANK[1][:missing]
            missing -= _BLOCK_BYTES

    def setbit(self, offset: int, bit: int) -> int:
        """Set a bit, growing up to it; returns what it was."""
        self.grow(offset)
        previous = self.getbit(offset)
        if bit != previous:
            self.content[offset >> 3] ^= 0x80 >> (offset & 7)
        return previous

    def getbit(self, offset: int) -> int:
        """A bit."""
        at = offset >> 3
        return self.content[at] >> (7 - (offset & 7)) & 1 if at < len(self.content) else 0

    def bitcount(self, start: int = 0, end: int = -1, unit: Unit = "byte") -> int:
        """How many bits from `start` to `end`, both inclusive, negative ones counted from the end, are set."""
        return sum(self.window(start, end, unit).counts())

    def window(self, start: int, end: int, unit: Unit) -> Window:
        """The bits that `bitcount` counts."""
        first, last = self._span(start, end, unit)
        return Window(self.content, first, first - 1 if start < 0 and end < 0 and start > end else last)

    def bitpos(self, bit: int, start: int = 0, end: int | None = None, unit: Unit = "byte") -> int | None:
        """The first bit from `start` to `end` that is `bit`; None when there is none.

        Without an `end` zeros follow the value; with one, nothing does.
        """
        first, last = self._span(start, -1 if end is None else end, unit)
        position = self._find(bit, first, last)
        if position is None and bit == 0 and end is None and first <= last:
            return len(self.content) * 8
        return position

    def get(self, field: Field) -> int:
        """The integer in a field."""
        at, stop = field.offset >> 3, (field.last >> 3) + 1
        window = int.from_bytes(self.content[at:stop].ljust(stop - at, b"\0"))
        value = window >> (stop * 8 - 1 - field.last) & ((1 << field.width) - 1)
        return value - (1 << field.width) if field.is_signed and value >> (field.width - 1) else value

    def set(self, field: Field, value: int) -> None:
        """Write an integer that fits into a field, up to which the value has grown."""
        at, stop = field.offset >> 3, (field.last >> 3) + 1
        shift, mask = stop * 8 - 1 - field.last, (1 << field.width) - 1
        window = int.from_bytes(self.content[at:stop])
        self.content[at:stop] = (window & ~(mask << shift) | (value & mask) << shift).to_bytes(stop - at)

    def __len__(self) -> int:
        return len(self.content)

    def used_bytes(self) -> int:
        """See Collection."""
        return _BASE_BYTES + sys.getsizeof(self.content)

    def copy(self) -> Bitmap:
        """See Collection."""
        return Bitmap(self.content.copy())

    def dump(self) -> Any:
        """See Collection."""
        return bytes(self.content)

    @classmethod
    def load(cls, dumped: Any) -> Bitmap:
        """See Collection."""
        return cls(bytearray(dumped))

    def _span(self, start: int, end: int, unit: Unit) -> tuple[int, int]:
        """The first and the last bit of a range; the last one is before the first in an empty one."""
        width = 8 if unit == "byte" else 1
        length = len(self.content) * 8 // width
        first = max(start + length, 0) if start < 0 else start
        last = min(max(end + length, 0) if end < 0 else end, length - 1)
        return first * width, (last + 1) * width - 1

    def _find(self, bit: int, first: int, last: int) -> int | None:
        content, stop = self.content, (last >> 3) + 1
        for at in range(first >> 3, stop, _BLOCK_BYTES):
            if content.startswith(_BLANK[bit], at, stop):
                continue
            block = content[at : min(at + _BLOCK_BYTES, stop)]
            bits = len(block) * 8
            sought = int.from_bytes(block if bit else block.translate(_INVERTED))
            if at * 8 < first:
                sought &= (1 << (bits - (first - at * 8))) - 1
            if sought:
                position = at * 8 + bits - sought.bit_length()
                return position if position <= last else None
        return None


def bitop(operation: Operation, operands: Sequence[Bitmap]) -> Bitmap:
    """The bitmaps combined, shorter ones padded with zeros; for "not" it is one."""
    if operation == "not":
        return Bitmap(operands[0].content.translate(_INVERTED))
    combine, result = _OPERATORS[operation], bytearray(max(len(operand) for operand in operands))
    deciding = _deciding(operation, operands)
    if not deciding:
        return Bitmap(result)
    for at in range(0, len(result), _BLOCK_BYTES):
        # Little-endian, so that the missing end of a shorter block counts as zeros.
        blocks = [int.from_bytes(operand.content[at : at + _BLOCK_BYTES], "little") for operand in deciding]
        length = min(_BLOCK_BYTES, len(result) - at)
        result[at : at + length] = reduce(combine, blocks).to_bytes(length, "little")
    return Bitmap(result)


def _deciding(operation: Operation, operands: Sequence[Bitmap]) -> list[Bitmap]:
    """The operands without repetitions, of which a request may name any number: two of the same cancel out in a xor."""
    times = Counter(map(id, operands))
    different = {id(operand): operand for operand in operands}
    return [operand for which, operand in different.items() if operation != "xor" or times[which] % 2]


@cache
def _type_of(kind: str) -> tuple[int, bool]:
    """The width of a type such as "u8" or "i64", and whether it has a sign. Raises ValueError."""
    match = _FIELD_TYPE.fullmatch(kind)
    is_signed = match is not None and match[1] == "i"
    width = int(match[2]) if match is not None else 0
    if not 1 <= width <= (_SIGNED_WIDTH_MAX if is_signed else _UNSIGNED_WIDTH_MAX):
        raise ValueError(f"expected a type from u1 to u63 or from i1 to i64, got {kind[:20]!r}")
    return width, is_signed
