"""`system.*`: what only the server itself runs, and the journal keeps."""

from __future__ import annotations

from synap.clock import Millis
from synap.commands.state import Defaults, State
from synap.commands.table import command, unchanged
from synap.commands.types import Success


@command("system.defaults", writes=True, grows=False, internal=True, cost="O(1)", since="0.3")
def defaults(state: State, payload: Defaults, now: Millis) -> Success:
    """Set what new queues and streams are like. Journalled, so that a replay makes them as they were made."""
    if payload == state.defaults:
        return unchanged(Success(True))
    state.defaults = payload
    return Success(True)
