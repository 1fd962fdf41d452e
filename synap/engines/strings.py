"""Text operations on stored JSON strings: positions count characters, and the result is stored as JSON again.

A value that is valid JSON but not a string is WRONG_TYPE for all of them. Each costs O(length).
"""

from __future__ import annotations

import msgspec

from synap.errors import PayloadTooLarge, WrongType

# A fixed bound, not a setting: replaying a journal must give the same result under every configuration.
MAX_VALUE_BYTES = 32 * 1024 * 1024
_PAD_JSON_BYTES = len(rb"\u0000")

_decoder = msgspec.json.Decoder(str)
encode = msgspec.json.Encoder().encode


def text(stored: bytes | None, key: str) -> str:
    """The string that `stored` holds, "" when absent. Raises WrongType."""
    if stored is None:
        return ""
    if not stored.startswith(b'"'):
        actual = _json_type(stored)
        raise WrongType(
            f"{key[:100]!r} holds a JSON {actual}, expected a JSON string",
            key=key,
            expected="JSON string",
            actual=f"JSON {actual}",
        )
    return _decoder.decode(stored)


def appended(stored: bytes | None, suffix: str, key: str) -> tuple[bytes, int]:
    """`stored` with `suffix` after it, and its length in characters. Raises WrongType, PayloadTooLarge."""
    whole = text(stored, key) + suffix
    return _bounded(whole), len(whole)


def substring(stored: bytes | None, start: int, end: int, key: str) -> str:
    """Characters `start` to `end`, both inclusive, negative ones counted from the end. Raises WrongType."""
    whole = text(stored, key)
    length = len(whole)
    if start < 0 and end < 0 and start > end:
        return ""
    start = max(start + length, 0) if start < 0 else start
    end = max(end + length, 0) if end < 0 else end
    return whole[start : end + 1]


def overwritten(stored: bytes | None, offset: int, part: str, key: str) -> tuple[bytes, int]:
    """`stored` with `part` written over it from `offset` on, padded with NUL characters where it is shorter."""
    whole = text(stored, key)
    padding = max(offset - len(whole), 0)
    if padding * _PAD_JSON_BYTES > MAX_VALUE_BYTES:
        raise _too_large()
    whole = whole[:offset] + "\0" * padding + part + whole[offset + len(part) :]
    return _bounded(whole), len(whole)


def _bounded(whole: str) -> bytes:
    stored = encode(whole)
    if len(stored) > MAX_VALUE_BYTES:
        raise _too_large()
    return stored


def _too_large() -> PayloadTooLarge:
    return PayloadTooLarge(f"the value would be longer than {MAX_VALUE_BYTES} bytes", limit=MAX_VALUE_BYTES)


def _json_type(stored: bytes) -> str:
    return {b"{": "object", b"[": "array", b"t": "boolean", b"f": "boolean", b"n": "null"}.get(stored[:1], "number")
