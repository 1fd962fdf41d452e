"""Comparing stored JSON as values: 1 equals 1.0, members come in any order, text is the same however it is escaped."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any


def equal_to(wanted: bytes) -> Callable[[bytes], bool]:
    """A test whether other JSON has the value of `wanted`. Almost always decided without parsing."""
    kind, is_plain = _kind(wanted), _is_plain(wanted)
    value = None if is_plain else _parsed(wanted)

    def is_equal(other: bytes) -> bool:
        if other == wanted:
            return True
        if _kind(other) != kind or (is_plain and _is_plain(other)):
            return False
        return same(_parsed(wanted) if is_plain else value, _parsed(other))

    return is_equal


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


def _is_plain(stored: bytes) -> bool:
    """Whether two such values are equal only if their bytes are: text without escapes, true, false, null."""
    first = stored[:1]
    return first in b"tfn" or (first == b'"' and b"\\" not in stored)


def _parsed(stored: bytes) -> Any:
    return json.loads(stored, parse_float=_number, parse_int=_number)


def _number(text: str) -> Decimal | bytes:
    """The exact number; its text as bytes, which no other value becomes, where the exponent is beyond decimals."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return text.lower().encode()
