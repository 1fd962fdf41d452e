"""A token bucket: how often somebody may ask, on average and in a burst.

It holds up to `burst` tokens and fills at `rate_per_sec`. Whoever asks is let in while there is a token, and pays for
all that was asked, afterwards if need be: a bucket can be in debt, and lets nobody in before that is paid.

All it keeps is the moment at which it is full again, a whole number of ticks of which a token and a millisecond have
whole numbers each. So nothing is ever rounded: over any time at most `burst` + rate x time is admitted.
"""

from __future__ import annotations

from fractions import Fraction

from synap.clock import Millis


class TokenBucket:
    """A bucket that is full at first. `rate_per_sec` is taken as the decimal number it is written as."""

    __slots__ = ("_allowance", "_burst", "_full_at", "_ms_ticks", "_token_ticks")

    def __init__(self, rate_per_sec: float, burst: int) -> None:
        if not 0 < rate_per_sec < float("inf") or burst < 1:
            raise ValueError(f"expected a rate above 0 and a burst of at least 1, got {rate_per_sec} and {burst}")
        # 0.1 as a binary fraction would need ticks of many digits.
        per_ms = Fraction(repr(rate_per_sec)) / 1000
        self._ms_ticks, self._token_ticks = per_ms.as_integer_ratio()
        self._burst = burst
        self._allowance = (burst - 1) * self._token_ticks
        """How far from full it may be with one token still there."""
        self._full_at = 0

    def take(self, now: Millis, tokens: int = 1) -> bool:
        """Take `tokens` if at least one is there, the others as a debt."""
        now_ticks = now * self._ms_ticks
        full_at = self._full_at
        if full_at < now_ticks:
            full_at = now_ticks
        elif full_at - now_ticks > self._allowance:
            return False
        self._full_at = full_at + tokens * self._token_ticks
        return True

    def charge(self, tokens: int) -> None:
        """Take `tokens` more for what `take` has just let in."""
        self._full_at += tokens * self._token_ticks

    def standing(self, now: Millis) -> tuple[int, Millis]:
        """How many tokens are there, none while it is in debt; and when it is full if nothing more is taken."""
        missing = self._full_at - now * self._ms_ticks
        if missing <= 0:
            return self._burst, now
        remaining = self._burst + -missing // self._token_ticks
        return (remaining if remaining > 0 else 0), -(-self._full_at // self._ms_ticks)

    def wait_ms(self, now: Millis) -> int:
        """How long until there is a token; 0 when there is one."""
        return max(-((self._allowance - self._missing(now)) // self._ms_ticks), 0)

    def _missing(self, now: Millis) -> int:
        """Ticks until it is full."""
        return max(self._full_at - now * self._ms_ticks, 0)
