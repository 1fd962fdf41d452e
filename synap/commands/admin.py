"""`admin.*`: the server about itself."""

from __future__ import annotations

from typing import Any

from synap.clock import Millis
from synap.commands import reference
from synap.commands.state import State
from synap.commands.table import TABLE, NoPayload, command
from synap.commands.types import Result


class Digest(Result):
    """A hash of everything a client could observe, and the sequence number of the last change in it."""

    digest: str
    lsn: int


@command("admin.digest", admin=True, cost="O(n)", since="0.1")
def digest(state: State, payload: NoPayload, now: Millis) -> Digest:
    """Hash the whole state: servers with equal data answer the same."""
    return Digest(digest=state.digest(now), lsn=state.lsn)


class Commands(Result):
    """One entry a command: name, summary, cost, whether it writes, its key fields, routes and JSON Schemas."""

    commands: list[dict[str, Any]]


@command("admin.commands", routes=("GET /api/v1/commands",), cost="O(1)", since="0.1")
def commands(state: State, payload: NoPayload, now: Millis) -> Commands:
    """List every command with the JSON Schemas of its payload and result."""
    return Commands(commands=reference.describe(TABLE))
