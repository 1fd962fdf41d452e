"""Comparing stored JSON as values: 1 equals 1.0, members come in any order, text is the same however it is escaped.

Values are parsed exactly, with decimals for numbers, but only where cheaper looks at their bytes leave it open.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from functools import cached_property
from itertools import islice
from typing import Any

import orjson

# So many values are looked at together.
_AT_ONCE = 1_000
# Integers with more digits are not looked for in them.
_DIGITS_MAX = 40
# What could be an integer that no float holds exactly, be it in a text.
_PERHAPS_INEXACT = re.compile(rb"(?:[0-9]{16}[0-9.]*|[0-9][eE][+-]?[0-9]+)\s*[,\]}]")


def places(wanted: bytes, stored: Iterable[bytes]) -> Iterator[int]:
    """Where among `stored` values those equal to `wanted` are. Mostly at the speed of comparing bytes."""
    kind = _kind(wanted)
    sought, values, begin = _SOUGHT[kind](wanted, kind), iter(stored), 0
    while some := list(islice(values, _AT_ONCE)):
        if wanted in some or sought.usual in some or sought.has_unusual(some):
            yield from (index for index, other in enumerate(some, begin) if sought.is_equal(other))
        begin += len(some)


def same(first: Any, second: Any) -> bool:
    """Whether two parsed JSON values are equal; true is not 1. Without recursion: values nest up to 512 levels."""
    pending = [(first, second)]
    while pending:
        one, other = pending.pop()
        if isinstance(one, bool) or isinstance(other, bool):
            is_same = one is other
        elif isinstance(one, dict) and isinstance(other, dict):
            is_same = one.keys() == other.keys()
            pending += [(value, other.get(name)) for name, value in one.items()]
        elif isinstance(one, list) and isinstance(other, list):
            is_same = len(one) == len(other)
            pending += zip(one, other, strict=False)
        else:
            is_same = one == other
        if not is_same:
            return False
    return True


def _kind(stored: bytes) -> bytes:
    """What the first byte tells of the type; one and the same for all numbers."""
    first = stored[:1]
    return first if first in b'"[{tfn' else b"0"


class _Constant:
    """A value that others are compared with: true, false or null, which are written in one way only."""

    def __init__(self, wanted: bytes, kind: bytes) -> None:
        self.wanted = self.usual = wanted
        """`usual` is how it is mostly written."""
        self._kind = kind

    @cached_property
    def value(self) -> Any:
        """What is looked for, parsed."""
        return _parsed(self.wanted)

    def is_equal(self, other: bytes) -> bool:
        """Whether other JSON has the same value."""
        if other == self.wanted:
            return True
        return _kind(other) == self._kind and self.may_equal(other) and same(self.value, _parsed(other))

    def may_equal(self, other: bytes) -> bool:
        """Whether other JSON of the kind, with other bytes, may have the value."""
        return False

    def has_unusual(self, values: list[bytes]) -> bool:
        """Whether among many values one of the kind may be equal to this one and written in another way."""
        return False


class _Text(_Constant):
    """Without escapes it is written in one way only."""

    def __init__(self, wanted: bytes, kind: bytes) -> None:
        super().__init__(wanted, kind)
        self._is_plain = b"\\" not in wanted
        if not self._is_plain:
            self.usual = json.dumps(self.value, ensure_ascii=False).encode("utf-8", "surrogatepass")

    def may_equal(self, other: bytes) -> bool:
        return not self._is_plain or b"\\" in other

    def has_unusual(self, values: list[bytes]) -> bool:
        return b"\\" in b"".join(values)


class _Number(_Constant):
    """Integers are mostly written in plain digits."""

    def __init__(self, wanted: bytes, kind: bytes) -> None:
        super().__init__(wanted, kind)
        self._float = float(wanted)
        value = self.value
        self._is_short = isinstance(value, Decimal) and (value == 0 or value.adjusted() < _DIGITS_MAX)
        if self._is_short and value == value.to_integral_value():
            self.usual = b"%d" % int(value)

    def may_equal(self, other: bytes) -> bool:
        return float(other) == self._float

    def has_unusual(self, values: list[bytes]) -> bool:
        together = b"".join(values)
        if self._is_short and together.replace(b"-", b"").isdigit() and b"-0" not in together:
            return False
        try:
            return self._float in map(float, values)
        except ValueError:
            return True


class _Nested(_Constant):
    """Where floats hold all numbers exactly, or round them in one way, a fast parser can tell what differs."""

    def __init__(self, wanted: bytes, kind: bytes) -> None:
        super().__init__(wanted, kind)
        self._is_exact = _PERHAPS_INEXACT.search(wanted) is None
        try:
            self._simple = orjson.loads(wanted)
        except orjson.JSONDecodeError:  # half of a surrogate pair
            self._is_exact = False

    def may_equal(self, other: bytes) -> bool:
        try:
            return not self._is_exact or bool(orjson.loads(other) == self._simple)
        except (orjson.JSONDecodeError, RecursionError):
            return True

    def has_unusual(self, values: list[bytes]) -> bool:
        return True


_SOUGHT = {b"t": _Constant, b"f": _Constant, b"n": _Constant, b'"': _Text, b"0": _Number, b"{": _Nested, b"[": _Nested}


def _parsed(stored: bytes) -> Any:
    return _decode(stored.decode())


def _number(text: str) -> Decimal | bytes:
    """The exact number; its text as bytes, which no other value becomes, where the exponent is beyond decimals."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return text.lower().encode()


_decode = json.JSONDecoder(parse_float=_number, parse_int=_number).decode
