"""MessagePack in and out. The inside speaks JSON only: a request is turned into JSON, a reply back.

What the two do not share is refused on the way in (binary, NaN and infinities, keys that are not text) and
softened on the way out: an integer beyond 64 bits, which MessagePack cannot hold, becomes its digits as text.
"""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

from synap.commands.envelope import NESTING_LEVELS_MAX, too_deep
from synap.errors import InvalidRequest

# The limit on payloads is checked on the JSON; this one keeps the recursion here bounded, envelopes included.
_DEPTH_MAX = NESTING_LEVELS_MAX + 4
_INT_DIGITS_MAX = 20
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1


def to_json(body: bytes) -> bytes:
    """The JSON of a MessagePack document. Raises InvalidRequest."""
    try:
        value = msgspec.msgpack.decode(body)
        _check(value, 0)
        return msgspec.json.encode(value)
    except RecursionError:
        raise too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not a MessagePack envelope: {str(error)[:200]}") from None


def from_json(body: bytes) -> bytes:
    """The MessagePack of a reply."""
    return msgspec.msgpack.encode(json.loads(body, parse_int=_integer))


def _check(value: Any, depth: int) -> None:
    if depth > _DEPTH_MAX:
        raise too_deep()
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidRequest(f"expected text as a map key, got {type(key).__name__}")
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequest(f"expected a finite number, got {value}")
    elif value is not None and not isinstance(value, str | int | float):
        raise InvalidRequest(f"expected what JSON can hold, got MessagePack {type(value).__name__}")


def _integer(digits: str) -> int | str:
    if len(digits) > _INT_DIGITS_MAX or not _INT_MIN <= int(digits) <= _INT_MAX:
        return digits
    return int(digits)
