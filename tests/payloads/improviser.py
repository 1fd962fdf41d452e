"""Long sequences of commands for where hypothesis does not run the test: in threads, and by the thousand.

The payloads are drawn beforehand; which comes when is then a matter of `random`, which is quick and fair to all.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from synap.commands.table import Command
from tests.payloads import pools
from tests.payloads.strategies import NAMESPACES, choices, drawn, payloads

PAYLOADS_PER_COMMAND = 30
TURNS = 0.1
"""How often another type becomes the subject."""
Repertoire = dict[str, list[Any]]
"""Payloads by command."""


def repertoire(
    commands: Iterable[Command], seed: int, prefix: str = "", ttls: tuple[float, ...] = pools.TTLS
) -> Repertoire:
    """Payloads for each of the commands; the same for the same seed."""
    return {c.name: drawn(payloads(c, prefix, ttls), PAYLOADS_PER_COMMAND, seed) for c in commands}


class Improviser:
    """Strings commands together, a while about one type, then about another."""

    def __init__(self, known: Repertoire) -> None:
        self._known = known
        self._namespaces = [name for name in NAMESPACES if any(command.startswith(f"{name}.") for command in known)]
        self._choices: list[list[str]] = []

    def next(self, rng: random.Random) -> dict[str, Any]:
        """Another command with its payload."""
        if not self._choices or rng.random() < TURNS:
            self._choices = choices(rng.choice(self._namespaces), self._known)
        name = rng.choice(rng.choice(self._choices))
        return {"command": name, "payload": rng.choice(self._known[name])}
