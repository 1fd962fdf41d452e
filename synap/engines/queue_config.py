"""How a queue treats its messages: the settings a client may give it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from synap.clock import Millis

_SECS_MAX = 9_000_000_000
_MULTIPLIER_MAX = 1_000_000
_RETRIES_MAX = 1_000_000_000

Delay = Annotated[float, msgspec.Meta(ge=0, le=_SECS_MAX, description="seconds, decimals allowed")]
Period = Annotated[float, msgspec.Meta(gt=0, le=_SECS_MAX, description="seconds, decimals allowed")]
Strategy = Literal["exponential", "fixed", "linear"]
Multiplier = Annotated[float, msgspec.Meta(ge=1, le=_MULTIPLIER_MAX)]
MaxDepth = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
MaxRetries = Annotated[int, msgspec.Meta(ge=0, le=_RETRIES_MAX, description="0 = no limit")]


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a message rests after a failed delivery."""

    strategy: Strategy = "exponential"
    initial_secs: Delay = 0.0
    max_secs: Delay = 60.0
    multiplier: Multiplier = 2.0

    def delay_ms(self, retry: int) -> Millis:
        """The rest before a retry, counted from 1, in milliseconds."""
        factor = 1.0
        if self.strategy == "linear":
            factor = float(retry)
        elif self.strategy == "exponential":
            factor = _power(float(self.multiplier), retry - 1)
        # Nothing times infinity would not be a number.
        secs = min(self.initial_secs * factor, self.max_secs) if self.initial_secs else 0
        return round(secs * 1000)


class QueueConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one queue."""

    max_depth: MaxDepth | None = None
    """How many messages may be ready or delayed."""
    ack_deadline_secs: Period = 30.0
    max_retries: MaxRetries = 3
    retry: RetryPolicy = RetryPolicy()
    message_ttl_secs: Period | None = None
    dead_letter: bool = True
    """Whether messages that die are kept."""

    @property
    def message_ttl_ms(self) -> Millis | None:
        """The time to live in milliseconds, at least one."""
        return None if self.message_ttl_secs is None else max(round(self.message_ttl_secs * 1000), 1)


def _power(base: float, exponent: int) -> float:
    """`base ** exponent`; infinity when too large.

    By multiplication alone, which is the same everywhere: the last digit of pow() depends on the C library.
    """
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result
