"""Writers that send every kind of write, and their twins: the same commands in the same order, executed in process.

Commands that name no key are left out: they would reach into the keys of other writers. Those that pick at random are
sent with a seed (tests/payloads draws what admission would), so that both pick the same. Expiries are days away, so
that nothing depends on when a command ran. Whether a key has one is compared, not when it ends.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import orjson

from synap.commands import TABLE
from synap.commands.executor import Executor
from synap.commands.state import State
from synap.journal.directory import DirectoryLock
from synap.journal.recovery import recover
from tests.payloads.improviser import Improviser, Repertoire, repertoire
from tests.support import Harness

Row = tuple[Any, ...]

# Their names count over all writers, and leases run in real time: test_crash_told.py, test_work.py and
# test_streams_crash.py see to them.
_APART = ("queue", "stream", "auth")
CONFINED = [c for c in TABLE.public() if c.writes and c.keys and c.namespace not in _APART]
WAITING = {command.name for command in TABLE.public() if command.waits}
"""Inside a batch a blocking command is told at once that there is nothing."""

ENTRIES = (1, 1, 1, 3)
"""Commands a request may have; several stand or fall together."""

_OWNER = "owner:"
_FAR_TTLS = (1e6, 2e6, 0, -1)


def confined_repertoire(seed: int) -> Repertoire:
    """Payloads for every command that a twin can follow, on keys of a writer yet to be named."""
    return repertoire(CONFINED, seed, _OWNER, _FAR_TTLS)


class Twin:
    """A Book (see client.py) whose twin executes what the server has acknowledged, and compares the answers."""

    def __init__(self, name: str, known: Repertoire) -> None:
        self.name = name
        self.acknowledged = 0
        self._harness = Harness()
        self._improviser = Improviser(known)
        self._pending: list[bytes] = []

    def next(self, rng: random.Random) -> bytes:
        """See Book."""
        entries = [self._improviser.next(rng) for _ in range(rng.choice(ENTRIES))]
        request = entries[0] if entries[1:] == [] else {"type": "batch", "atomic": True, "commands": entries}
        if request.get("command") in WAITING:
            request = {"type": "batch", "commands": [request]}
        self._pending.append(orjson.dumps(request).replace(f'"{_OWNER}'.encode(), f'"{self.name}:'.encode()))
        return self._pending[-1]

    def acknowledge(self, results: list[Any]) -> bool:
        """See Book."""
        self.acknowledged += 1
        return [_told(result) for result in results] == [_told(result) for result in self._execute()]

    def refused(self) -> None:
        """See Book."""
        self._pending.clear()

    def check(self, recovered: State) -> None:
        """Nothing acknowledged is missing, and what was on its way is there up to some request, each one whole."""
        found = [row for row in rows(recovered) if row[0].startswith(f"{self.name}:")]
        acknowledged = executed = rows(self._harness.state)
        while executed != found:
            assert self._pending, f"{self.name}: found {found}, expected {acknowledged} or what came of it later"
            self._execute()
            executed = rows(self._harness.state)
        self._pending.clear()

    def __len__(self) -> int:
        """How many keys it has."""
        return len(rows(self._harness.state))

    def _execute(self) -> list[Any]:
        """Execute the oldest request on its way; returns the results."""
        reply = self._harness.send(self._pending.pop(0))
        results: list[Any] = reply.get("results", [reply])
        return results


def _told(result: dict[str, Any]) -> tuple[Any, ...]:
    return result["status"], result.get("payload"), result.get("error")


def rows(state: State) -> list[Row]:
    """Every key with its type and value, and whether it will expire."""
    return [(key, kind, value, at is not None) for key, kind, value, at in state.keyspace.canonical(state.time)]


def recovered(data: Path) -> Executor:
    """What a server would find in a data directory that none is running on."""
    executor = Executor(TABLE, State())
    with DirectoryLock(data):
        for _ in recover(data, executor):
            pass
    return executor
