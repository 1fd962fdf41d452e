"""What happens to a payload between the client and the journal: `admit` of a command (table.py).

It is the one place for chance, for slow work, for secrets that must not be journalled, and for who asks. It returns

- None: the payload is journalled as it came;
- another payload: the handler gets this one, and the journal keeps it;
- `Revealing(payload, reveal)`: the same, and `reveal` puts into the result what the handler must not know;
- `Later(work, then)`: `work` is done in another thread, without looking at the state; `then` makes one of the above of
  what came of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from synap.clock import Millis
from synap.commands.caller import Caller
from synap.commands.state import State
from synap.commands.table import Command

if TYPE_CHECKING:
    from synap.commands.credentials import Credentials


class Admission(NamedTuple):
    """What `admit` may look at."""

    state: State
    caller: Caller
    now: Millis
    credentials: Credentials


class Revealing(NamedTuple):
    """A payload, and what is added to the result on its way to the client alone."""

    payload: Any
    reveal: Callable[[Any], Any]


class Later(NamedTuple):
    """Work that would stop everybody else for too long, and what to make of its result at that time."""

    work: Callable[[], Any]
    then: Callable[[Any, Millis], Any]


def add_trace(payload: Any, command: Command, trace: str | None) -> bool:
    """Put the trace of a request with what it sends on, unless that has one; says whether it did."""
    if trace is None or not command.trace_in:
        return False
    added = False
    for message in getattr(payload, "events", (payload,)):
        carrier = getattr(message, command.trace_in)
        if carrier is None:
            carrier = {}
            setattr(message, command.trace_in, carrier)
        if "traceparent" not in carrier:
            carrier["traceparent"] = msgspec.Raw(b'"%b"' % trace.encode())
            added = True
    return added
