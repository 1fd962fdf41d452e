"""HyperLogLogs: how many distinct elements were added, within a fraction of a percent, without keeping them.

The counting is done by the HLL sketch of Apache DataSketches. It keeps up to 12,288 elements as 4-byte coupons, which
count them almost exactly, and more as 2^17 registers: 96 KiB for any number, with a standard error of 0.29 %.

Sketches that have seen the same elements are here the same to the last bit, in whatever order, how often and through
which merges the elements came. The library alone does not see to that: it lists coupons in the order of its hash
table, and a sketch that was never merged estimates from the order in which its registers rose (with an error of
0.23 %, but the sum of fractions that it keeps for it may differ between processors). So `dump` sorts the coupons, and
a sketch is merged with itself as soon as it has registers.

The registers have 6 bits. With 4 they would take 64 KiB, but those that do not fit are listed in an order that depends
on the past; with 8 they would take 128 KiB. None is faster: 7.5 million additions a second, a copy in 12 us.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Iterable
from typing import Any, ClassVar

from synap.engines.collection import Collection

_LG_REGISTERS = 17

# What serialized sketches look like: a head, then coupons of 4 bytes or registers.
_MODE_BYTE = 7
_MODE_MASK = 0b11
_LIST_MODE = 0
_COUPON_BYTES = 4
_LIST_HEAD_BYTES = 8
_SET_HEAD_BYTES = 12
_COUPONS_MAX = 12_288
_WITH_COUPONS_BYTES_MAX = _SET_HEAD_BYTES + _COUPONS_MAX * _COUPON_BYTES

# The objects around what the library can tell the size of; measured.
_BASE_BYTES = 240

# The library ignores empty strings. With a prefix there are none.
_PREFIX = ":"


class HyperLogLog(Collection):
    """The distinct elements ever added under one key. An addition is O(1), a merge or a copy O(registers)."""

    __slots__ = ("_sketch",)
    type_name: ClassVar[str] = "hyperloglog"

    def __init__(self) -> None:
        super().__init__()
        self._sketch = _library().hll_sketch(_LG_REGISTERS, _registers())

    @classmethod
    def _of(cls, sketch: Any) -> HyperLogLog:
        made = cls.__new__(cls)
        Collection.__init__(made)
        made._sketch = sketch
        return made

    @classmethod
    def union(cls, parts: Iterable[HyperLogLog]) -> HyperLogLog:
        """A new one that has seen what any of the `parts` has."""
        union, are_settled = _library().hll_union(_LG_REGISTERS), False
        for part in parts:
            union.update(part._sketch)
            are_settled = are_settled or _has_registers(part._sketch)
        united = union.get_result(_registers())
        return cls._of(united if are_settled else _settled(united))

    def add(self, elements: Iterable[str]) -> bool:
        """Add elements; says whether that changed anything."""
        before = _evidence(self._sketch)
        for element in elements:
            self._sketch.update(_PREFIX + element)
        after = _evidence(self._sketch)
        if type(after) is not type(before):
            self._sketch = _settled(self._sketch)
        return after != before

    def count(self) -> int:
        """The estimated number of distinct elements."""
        estimate: float = self._sketch.get_estimate()
        return round(estimate)

    def __len__(self) -> int:
        """Always 1: it exists even before anything was added."""
        return 1

    def used_bytes(self) -> int:
        """See Collection."""
        return _BASE_BYTES + int(self._sketch.get_updatable_serialization_bytes())

    def copy(self) -> HyperLogLog:
        """See Collection."""
        return HyperLogLog.load(self._sketch.serialize_compact())

    def dump(self) -> bytes:
        """See Collection."""
        dumped: bytes = self._sketch.serialize_compact()
        if _has_registers(self._sketch):
            return dumped
        is_list = dumped[_MODE_BYTE] & _MODE_MASK == _LIST_MODE
        head_bytes = _LIST_HEAD_BYTES if is_list else _SET_HEAD_BYTES
        coupons = array("I", dumped[head_bytes:])
        return dumped[:head_bytes] + array("I", sorted(coupons)).tobytes()

    @classmethod
    def load(cls, dumped: Any) -> HyperLogLog:
        """See Collection."""
        return cls._of(_library().hll_sketch.deserialize(dumped))


@functools.cache
def _library() -> Any:
    """The library. It brings numpy along and takes 60 ms to load, which only the servers that use it shall spend."""
    import datasketches

    return datasketches


def _registers() -> Any:
    return _library().tgt_hll_type.HLL_6


def _has_registers(sketch: Any) -> bool:
    """Whether it has gone from coupons to registers, for good."""
    return bool(sketch.get_compact_serialization_bytes() > _WITH_COUPONS_BYTES_MAX)


def _evidence(sketch: Any) -> int | bytes:
    """Something that any change changes. An estimate is not: at times it ignores what registers hold."""
    if _has_registers(sketch):
        registers: bytes = sketch.serialize_compact()
        return registers
    return int(sketch.get_compact_serialization_bytes())


def _settled(sketch: Any) -> Any:
    """The sketch with its estimates made to depend on its registers alone."""
    if not _has_registers(sketch):
        return sketch
    union = _library().hll_union(_LG_REGISTERS)
    union.update(sketch)
    union.update(sketch)
    return union.get_result(_registers())
