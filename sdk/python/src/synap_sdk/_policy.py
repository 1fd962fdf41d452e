"""When something is tried again: how long to wait, and what must not be repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from synap_sdk._failure import SynapConnectionError, SynapError
from synap_sdk._protocol import Call
from synap_sdk.errors import RateLimitExceeded, ReadOnly, Unavailable

HOPS_MAX = 5
"""Masters a call is sent after, one answer naming the next."""


@dataclass(frozen=True)
class Backoff:
    """Pauses that double up to a limit, in seconds. Chance spreads clients that failed together."""

    first_secs: float = 0.05
    most_secs: float = 2.0

    def pause(self, attempt: int) -> float:
        """Before attempt number `attempt`, the first repetition being 1."""
        longest = min(self.most_secs, self.first_secs * 2.0 ** min(attempt - 1, 30))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311


@dataclass(frozen=True)
class Policy:
    """How often a call is repeated."""

    retries: int = 8
    backoff: Backoff = Backoff()

    def pause_after(self, call: Call, error: SynapError) -> float | None:
        """Seconds until `call` may be sent again after it was refused; None: the error is the caller's to deal with.

        Each of these codes says that nothing was done.
        """
        if not isinstance(error, Unavailable | RateLimitExceeded | ReadOnly) or call.attempts >= self.retries:
            return None
        call.attempts += 1
        if isinstance(error, RateLimitExceeded):
            return float(error.details.get("retry_after_secs", 1))
        return self.backoff.pause(call.attempts)

    def master_after(self, call: Call, error: SynapError) -> str | None:
        """The URL of the server that `call` is to be sent to instead, if the error names one."""
        if not isinstance(error, ReadOnly) or call.hops >= HOPS_MAX:
            return None
        master: Any = error.details.get("master")
        if not isinstance(master, str) or not master:
            return None
        call.hops += 1
        return master

    def failure_of(self, call: Call, reason: str) -> SynapConnectionError | None:
        """The connection broke under `call`: the error to raise, None if it may be sent again."""
        if call.may_repeat and call.attempts < self.retries:
            call.attempts += 1
            return None
        if call.may_repeat:
            return SynapConnectionError(f"{reason}; {call.command.name} was tried {call.attempts + 1} times")
        advice = ". With an idempotency key it is repeated safely" if call.command.takes_key else ""
        return SynapConnectionError(
            f"{reason}; {call.command.name} was sent, and may or may not have happened{advice}", may_have_happened=True
        )
