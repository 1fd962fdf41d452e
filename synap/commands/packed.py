"""MessagePack in and out. The inside speaks JSON only: a request is turned into JSON, a reply back.

What the two do not share is refused on the way in (binary, NaN and infinities, keys that are not text) and
softened on the way out: an integer beyond 64 bits, which MessagePack cannot hold, becomes its digits as text.
"""

from __future__ import annotations

import json
import math
from itertools import chain
from typing import Any

import msgspec
import orjson

from synap.commands.envelope import NESTING_LEVELS_MAX, too_deep
from synap.errors import InvalidRequest, PayloadTooLarge

CHECKED_VALUES_MAX = 4_000_000
"""Values of a document that is looked through. More numbers that look like infinities fit into no body of 32 MiB."""

# The limit on payloads is checked on the JSON; this one keeps the recursion here bounded, envelopes included.
_DEPTH_MAX = NESTING_LEVELS_MAX + 4
_INT_DIGITS_MAX = 20
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1

# How a float of 32 or 64 bits that is infinite, or no number, begins. Rarely, other numbers hold these bytes.
_NOT_FINITE = (b"\xca\x7f", b"\xca\xff", b"\xcb\x7f", b"\xcb\xff")
_CONTAINERS = {list, dict}
_KINDS = {type(None), bool, int, float, str, *_CONTAINERS}


def to_json(body: bytes) -> bytes:
    """The JSON of a MessagePack document. Raises InvalidRequest, PayloadTooLarge."""
    try:
        value = msgspec.msgpack.decode(body)
        if any(beginning[:1] in body and beginning in body for beginning in _NOT_FINITE):  # bytes are found faster
            _check(value)
        return _encode(value)
    except RecursionError:
        raise too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"the body is not a MessagePack envelope: {str(error)[:200]}") from None


def from_json(body: bytes) -> bytes:
    """The MessagePack of a reply."""
    try:
        return msgspec.msgpack.encode(msgspec.json.decode(body))
    except (msgspec.DecodeError, OverflowError, RecursionError):
        return msgspec.msgpack.encode(json.loads(body, parse_int=_integer))


def _encode(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATETIME)
    except orjson.JSONEncodeError:  # not what JSON can hold, or nested deeper than orjson goes
        _check(value)
        return msgspec.json.encode(value)


def _check(value: Any) -> None:
    """Raise InvalidRequest for what JSON cannot hold. Goes level by level, so that most of it is done by builtins."""
    level, checked = [value], 1
    for _ in range(_DEPTH_MAX + 1):
        kinds = set(map(type, level))
        if alien := kinds - _KINDS:
            raise InvalidRequest(f"expected what JSON can hold, got MessagePack {alien.pop().__name__}")
        if float in kinds:
            for number in level:
                if type(number) is float and not math.isfinite(number):
                    raise InvalidRequest(f"expected a finite number, got {number}")
        if kinds.isdisjoint(_CONTAINERS):
            return
        lists = [item for item in level if type(item) is list]
        maps = [item for item in level if type(item) is dict]
        checked += sum(map(len, lists)) + sum(map(len, maps))
        if checked > CHECKED_VALUES_MAX:
            raise PayloadTooLarge(
                f"expected at most {CHECKED_VALUES_MAX} values in a MessagePack document", limit=CHECKED_VALUES_MAX
            )
        if not_text := set(map(type, chain.from_iterable(maps))) - {str}:
            raise InvalidRequest(f"expected text as a map key, got {not_text.pop().__name__}")
        level = [*chain.from_iterable(lists), *chain.from_iterable(item.values() for item in maps)]
    raise too_deep()


def _integer(digits: str) -> int | str:
    if len(digits) > _INT_DIGITS_MAX or not _INT_MIN <= int(digits) <= _INT_MAX:
        return digits
    return int(digits)
