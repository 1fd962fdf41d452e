"""The field types payloads and results are made of, with the bounds of the contract."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, cast

import msgspec

from synap.clock import Millis
from synap.errors import PayloadTooLarge

Key = Annotated[str, msgspec.Meta(min_length=1, description="1 byte to 64 KiB of UTF-8")]
Keys = Annotated[list[Key], msgspec.Meta(min_length=1)]
Json = msgspec.Raw
"""Any JSON value as the client wrote it. In a payload it is a view: `bytes(value)` copies it out of the request."""
_TTL_SECS_MAX = 9_000_000_000
Ttl = Annotated[float, msgspec.Meta(gt=0, le=_TTL_SECS_MAX, description="seconds, decimals allowed")]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
PopCount = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Unset = msgspec.UnsetType
UNSET = msgspec.UNSET

# One request may name the same large value any number of times.
_VALUES_BYTES_MAX = 256 * 1024 * 1024


class Payload(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """Base of all payload types: an unknown field is an error that names it."""


class Result(msgspec.Struct, gc=False):
    """Base of all result types. The docstring of each explains its fields."""


class KeyOnly(Payload):
    """A command on one key."""

    key: Key


class Success(Result):
    """Whether the command found what it needed."""

    success: bool


class Length(Result):
    """Characters in the string, or elements in the collection, after the command."""

    length: int


class Values(Result):
    """JSON values in the order asked for; null where there is none."""

    values: list[Json | None]

    @classmethod
    def of(cls, stored: Iterable[bytes | None]) -> Values:
        """From values as they are kept."""
        together = b",".join([b"null" if value is None else value for value in stored])
        return cls(cast("list[Json | None]", Json(b"[%b]" % together)))

    @classmethod
    def named(cls, stored: Iterable[bytes | None]) -> Values:
        """From values that a request has named one by one. Raises PayloadTooLarge."""
        values = list(stored)
        if sum(map(len, filter(None, values))) > _VALUES_BYTES_MAX:
            raise PayloadTooLarge(
                f"the values are longer than {_VALUES_BYTES_MAX} bytes together", limit=_VALUES_BYTES_MAX
            )
        return cls.of(values)


def check_either(one: object, several: object, names: str) -> None:
    """Raise ValueError unless exactly one of two fields is given; absent is None or UNSET."""
    if (one is None or one is UNSET) == (several is None or several is UNSET):
        raise ValueError(f"expected either {names}")


def expires_at(ttl: float, now: Millis) -> Millis:
    """When a `ttl` in seconds, counted from `now`, is over; any that is above 0 lasts at least a millisecond."""
    return now + (round(ttl * 1000) or (1 if ttl > 0 else 0))


def seconds_left(at: Millis, now: Millis) -> int:
    """Whole seconds until `at`, rounded up."""
    return -((now - at) // 1000)
