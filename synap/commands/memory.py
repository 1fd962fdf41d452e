"""`memory.*`: what keys cost."""

from __future__ import annotations

from synap.clock import Millis
from synap.commands.state import State
from synap.commands.table import command
from synap.commands.types import KeyOnly, Result

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class Usage(Result):
    """Bytes the key takes with its value, index entries and expiry; 0 when there is no such key."""

    bytes: int
    human: str


@command("memory.usage", keys=("key",), routes=("GET /memory/{key}/usage",), cost="O(1)", since="0.1")
def usage(state: State, payload: KeyOnly, now: Millis) -> Usage:
    """Estimate the memory a key takes."""
    value = state.keyspace.peek(payload.key, now)
    size = 0 if value is None else state.keyspace.entry_bytes(payload.key, value)
    return Usage(bytes=size, human=human(size))


def human(size: int) -> str:
    """A size for people: 0B, 512B, 1.5KiB."""
    power = 0
    while round(size / 1024**power, 1) >= 1024 and power < len(_UNITS) - 1:
        power += 1
    return f"{size / 1024**power:.1f}".removesuffix(".0") + _UNITS[power]
