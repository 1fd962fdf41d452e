"""Arithmetic on stored JSON numbers, with the limits and the rounding of Redis."""

from __future__ import annotations

import math
import re
from decimal import Context, Decimal

from synap.errors import NotANumber, OutOfRange

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1

_INTEGER = re.compile(rb"-?(0|[1-9][0-9]*)\Z")
_NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?\Z")
_INT64_DIGITS_MAX = 20
# Redis adds in 80-bit floats, which hold about 19 digits; decimals of that size give the same text but near 2^63.
_CONTEXT = Context(prec=19)
_PLAIN_EXPONENT_MIN, _PLAIN_EXPONENT_MAX = -7, 20


def add_integer(stored: bytes | None, amount: int) -> int:
    """`stored` (absent counts as 0) plus `amount`. Raises NotANumber, OutOfRange."""
    current = 0
    if stored is not None:
        if _INTEGER.match(stored) is None:
            raise NotANumber(f"expected an integer to add to, got {_quoted(stored)}")
        if len(stored) > _INT64_DIGITS_MAX:
            raise OutOfRange(f"the stored number {_quoted(stored)} does not fit in 64 bits")
        current = int(stored)
    total = current + amount
    if not (INT64_MIN <= current <= INT64_MAX and INT64_MIN <= total <= INT64_MAX):
        raise OutOfRange(f"{current} plus {amount} does not fit in 64 bits")
    return total


def add_decimal(stored: bytes | None, amount: float) -> bytes:
    """`stored` (absent counts as 0) plus `amount`, as JSON. Raises NotANumber, OutOfRange."""
    current = Decimal(0)
    if stored is not None:
        if _NUMBER.match(stored) is None:
            raise NotANumber(f"expected a number to add to, got {_quoted(stored)}")
        if _in_range(float(stored)) != 0:
            current = Decimal(stored.decode())
    total = _CONTEXT.add(current, Decimal(repr(amount)))
    _in_range(float(total))
    return _as_json(total)


def _in_range(number: float) -> float:
    if math.isinf(number):
        raise OutOfRange("the number is outside the range of a 64-bit float")
    return number


def _as_json(number: Decimal) -> bytes:
    if number == 0:
        return b"0"
    number = number.normalize(_CONTEXT)
    plain = _PLAIN_EXPONENT_MIN <= number.adjusted() <= _PLAIN_EXPONENT_MAX
    return (format(number, "f") if plain else str(number)).encode()


def _quoted(stored: bytes) -> str:
    text = stored[:40].decode("utf-8", "replace")
    return f"{text}..." if len(stored) > len(text) else text
