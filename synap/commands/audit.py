"""Who was let in, who was turned away, and who changed what accounts may do: for the log, and counted for metrics.

Lines go to the logger "synap.audit" with their facts as fields. What is turned away can come in any number, so there
are at most a few lines a second; the next line says how many were left out.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from synap.clock import Millis
from synap.commands.caller import Caller
from synap.commands.trace import trace_id
from synap.engines.token_bucket import TokenBucket
from synap.errors import SynapError

log = logging.getLogger("synap.audit")

DENIALS_PER_SEC = 10
DENIALS_BURST = 100


class Audit:
    """The audit log of one server."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        """By event and outcome, since the server started."""
        self._lines = TokenBucket(DENIALS_PER_SEC, DENIALS_BURST)
        self._left_out = 0

    def denied(self, error: SynapError, command: str | None, caller: Caller, now: Millis) -> None:
        """A request was turned away."""
        self.counts["denied", error.code] += 1
        if not self._lines.take(now):
            self._left_out += 1
            return
        left_out, self._left_out = self._left_out, 0
        more = {"left_out": left_out} if left_out else {}
        self._line(logging.WARNING, "denied", caller, code=error.code, command=command, reason=error.message, **more)

    def login(self, username: str, outcome: str, caller: Caller, now: Millis) -> None:
        """Somebody has named a user and a password; `outcome` is "success", "failure" or "throttled"."""
        self.counts["login", outcome] += 1
        if outcome == "success":
            self._line(logging.INFO, "login", caller, outcome=outcome, username=username)
        elif self._lines.take(now):
            self._line(logging.WARNING, "login", caller, outcome=outcome, username=username)
        else:
            self._left_out += 1

    def changed(self, command: str, subject: str, caller: Caller) -> None:
        """What somebody may do has been changed by a command of `auth`."""
        self.counts["changed", command] += 1
        self._line(logging.INFO, command, caller, subject=subject)

    def _line(self, level: int, event: str, caller: Caller, **facts: Any) -> None:
        fields = {"event": event, **caller_fields(caller), **{k: v for k, v in facts.items() if v is not None}}
        log.log(level, event, extra={"fields": fields})


def caller_fields(caller: Caller) -> dict[str, Any]:
    """Who asks, for a line in the log."""
    fields: dict[str, Any] = {}
    if caller.name:
        fields["user"] = caller.name
    if caller.peer is not None:
        fields["client"] = str(caller.peer)
    if caller.trace is not None:
        fields["trace_id"] = trace_id(caller.trace)
    return fields
