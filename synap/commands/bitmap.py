"""`bitmap.*`: single bits, ranges of bits and small integers under one key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from synap.clock import Millis
from synap.commands.collections import TypeStats, existing_or_new, settled, stats_of
from synap.commands.slices import Steps, sliced
from synap.commands.state import State
from synap.commands.table import NoPayload, command, unchanged
from synap.commands.types import Int64, Key, Keys, Length, Payload, Result
from synap.engines import bitmaps
from synap.engines.bitmaps import BITS_MAX, Bitmap, Field, Operation, Overflow, Unit

Bit = Annotated[int, msgspec.Meta(ge=0, le=1)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=BITS_MAX - 1)]
FieldType = Annotated[str, msgspec.Meta(description="u1 to u63, or i1 to i64 with a sign")]
CountedOffset = Annotated[str, msgspec.Meta(description="'#3': three times the width of the type")]


# Up to so many bits are looked at at once: 1 MiB.
_COUNTED_WHOLE_MAX = 8 * 1024 * 1024

_encode = msgspec.json.Encoder().encode


class SetBit(Payload):
    """Payload of bitmap.setbit."""

    key: Key
    offset: Offset
    value: Bit


class Previous(Result):
    """The bit before the change."""

    previous: int


@command(
    "bitmap.setbit",
    writes=True,
    keys=("key",),
    routes=("POST /bitmap/{key}/setbit",),
    cost="O(1); O(bytes) when the value grows",
    since="0.2",
)
def setbit(state: State, payload: SetBit, now: Millis) -> Previous:
    """Set or clear a bit; the value grows up to it with zeros. The expiry stays."""
    bitmap = existing_or_new(state, payload.key, Bitmap, now)
    length = len(bitmap)
    previous = bitmap.setbit(payload.offset, payload.value)
    is_changed = previous != payload.value or len(bitmap) > length
    return settled(state, payload.key, bitmap, now, Previous(previous), is_changed)


class GetBit(Payload):
    """Payload of bitmap.getbit."""

    key: Key
    offset: Offset


class BitValue(Result):
    """A bit."""

    value: int


@command("bitmap.getbit", keys=("key",), routes=("GET /bitmap/{key}/getbit/{offset}",), cost="O(1)", since="0.2")
def getbit(state: State, payload: GetBit, now: Millis) -> BitValue:
    """Read a bit; 0 behind the value and for an absent key."""
    bitmap = state.keyspace.look(payload.key, Bitmap, now)
    return BitValue(0 if bitmap is None else bitmap.getbit(payload.offset))


class BitCount(Payload):
    """Payload of bitmap.bitcount: `start` and `end` are both inclusive, negatives from the end; neither means all."""

    key: Key
    start: Int64 | None = None
    end: Int64 | None = None
    unit: Unit = "byte"

    def __post_init__(self) -> None:
        if (self.start is None) != (self.end is None):
            raise ValueError("expected both start and end, or neither")


class BitCountResult(Result):
    """How many bits are set."""

    count: int


@command("bitmap.bitcount", keys=("key",), routes=("GET /bitmap/{key}/bitcount",), cost="O(bytes)", since="0.2")
def bitcount(state: State, payload: BitCount, now: Millis) -> BitCountResult:
    """Count the bits that are set, in the whole value or in a range of bytes or bits."""
    bitmap = state.keyspace.look(payload.key, Bitmap, now)
    if bitmap is None:
        return BitCountResult(0)
    start, end = (0, -1) if payload.start is None or payload.end is None else (payload.start, payload.end)
    window = bitmap.window(start, end, payload.unit)
    if window.last - window.first > _COUNTED_WHOLE_MAX:
        return sliced(BitCountResult, _count(window.copy().counts()))
    return BitCountResult(sum(window.counts()))


class BitPos(Payload):
    """Payload of bitmap.bitpos: `start` and `end` are both inclusive, negatives from the end."""

    key: Key
    value: Bit
    start: Int64 | None = None
    end: Int64 | None = None
    unit: Unit = "byte"

    def __post_init__(self) -> None:
        if self.end is not None and self.start is None:
            raise ValueError("end needs a start")


class BitPosResult(Result):
    """The position in bits from the beginning of the value; null when there is no such bit."""

    position: int | None


@command("bitmap.bitpos", keys=("key",), routes=("GET /bitmap/{key}/bitpos",), cost="O(bytes)", since="0.2")
def bitpos(state: State, payload: BitPos, now: Millis) -> BitPosResult:
    """Find the first bit that is `value`, in the whole value or in a range of bytes or bits.

    Without `end` the value counts as followed by zeros: a clear bit may be found right behind it. An absent key
    is all zeros.
    """
    bitmap = state.keyspace.look(payload.key, Bitmap, now)
    if bitmap is None:
        return BitPosResult(None if payload.value else 0)
    return BitPosResult(bitmap.bitpos(payload.value, payload.start or 0, payload.end, payload.unit))


class BitOp(Payload):
    """Payload of bitmap.bitop."""

    destination: Key
    operation: Operation
    keys: Keys

    def __post_init__(self) -> None:
        if self.operation == "not" and len(self.keys) != 1:
            raise ValueError(f"expected one key for not, got {len(self.keys)}")


@command(
    "bitmap.bitop",
    writes=True,
    keys=("destination", "keys"),
    routes=("POST /bitmap/{destination}/bitop",),
    cost="O(bytes of all)",
    since="0.2",
)
def bitop(state: State, payload: BitOp, now: Millis) -> Length:
    """Combine bitmaps into another one, in place of whatever it held; `length` is in bytes.

    Shorter ones and absent keys are padded with zeros. Where all are absent, the destination is removed. Its
    expiry is dropped.
    """
    keyspace, destination = state.keyspace, payload.destination
    found = {key: existing_or_new(state, key, Bitmap, now) for key in dict.fromkeys(payload.keys)}
    operands = [found[key] for key in payload.keys]
    result = bitmaps.bitop(payload.operation, operands)
    if len(result) > 0:
        keyspace.put(destination, result, now)
    elif not keyspace.discard(destination, now):
        return unchanged(Length(0))
    return Length(len(result))


class FieldOperation(Payload):
    """One step of bitmap.bitfield; `set` takes a `value`, `incrby` an `increment`."""

    op: Literal["get", "set", "incrby"]
    type: FieldType
    offset: Offset | CountedOffset
    value: Int64 | None = None
    increment: Int64 | None = None
    overflow: Overflow = "wrap"

    def __post_init__(self) -> None:
        if (self.op == "set") != (self.value is not None):
            raise ValueError("expected a value with set, and only there")
        if (self.op == "incrby") != (self.increment is not None):
            raise ValueError("expected an increment with incrby, and only there")
        self.field()

    def field(self) -> Field:
        """Where the integer is. Raises ValueError."""
        return Field.parse(self.type, self.offset)

    def applied(self, field: Field, old: int) -> int | None:
        """What the field holds afterwards; None when that would overflow and `overflow` is "fail"."""
        if self.increment is not None:
            return field.fitted(old + self.increment, self.overflow)
        if self.value is None:
            return old
        # As in Redis, a field without a sign takes a negative value for one of 64 bits: "sat" makes it the highest.
        return field.fitted(self.value if field.is_signed else self.value % 2**64, self.overflow)


class BitField(Payload):
    """Payload of bitmap.bitfield."""

    key: Key
    operations: list[FieldOperation]


class FieldValues(Result):
    """What get read, what set replaced, what incrby arrived at; null where overflow made it fail."""

    values: list[int | None]


@command(
    "bitmap.bitfield",
    writes=True,
    keys=("key",),
    routes=("POST /bitmap/{key}/bitfield",),
    cost="O(operations); O(bytes) when the value grows",
    since="0.2",
)
def bitfield(state: State, payload: BitField, now: Millis) -> FieldValues:
    """Read, write and increment integers of any width at any bit, one after the other. The expiry stays.

    The value first grows up to the last field that is to be written, whether or not an overflow then fails.
    """
    bitmap = existing_or_new(state, payload.key, Bitmap, now)
    length = len(bitmap)
    steps = [(operation, operation.field()) for operation in payload.operations]
    written = [field.last for operation, field in steps if operation.op != "get"]
    if written:
        bitmap.grow(max(written))
    values, is_changed = [], len(bitmap) > length
    for operation, field in steps:
        old = bitmap.get(field)
        new = operation.applied(field, old)
        if new is not None and new != old:
            bitmap.set(field, new)
            is_changed = True
        values.append(old if operation.op == "set" and new is not None else new)
    return settled(state, payload.key, bitmap, now, FieldValues(values), is_changed)


@command("bitmap.stats", routes=("GET /bitmap/stats",), cost="O(1)", since="0.2")
def stats(state: State, payload: NoPayload, now: Millis) -> TypeStats:
    """Describe all bitmaps together; their elements are bytes."""
    return stats_of(state, Bitmap, now)


def _count(blocks: Iterator[int]) -> Steps:
    count = 0
    for bits in blocks:
        count += bits
        yield
    return _encode(BitCountResult(count))
