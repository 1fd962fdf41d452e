"""kill -9 under writers of every command there is: what clients were told is what the journal tells again.

The twins of test_crash.py compare states; here replies are compared, so that it also holds for commands whose outcome
depends on the time, or on what other writers have done.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from synap.commands import TABLE
from synap.commands.executor import Bound, Executor
from synap.commands.state import State
from synap.commands.table import Unchanged
from synap.journal.record import Record
from synap.journal.recovery import recover
from tests.durability.client import acknowledged, until, writing
from tests.payloads.improviser import Improviser, Repertoire, repertoire
from tests.support import ServerProcess

WRITERS = 4
COMMANDS = [command for command in TABLE.public() if command.writes]
COMPARED_MIN = 0.6
"""Share of the commands that a short run must have compared."""
WHOLE_JOURNAL = {"SYNAP_JOURNAL_SNAPSHOT_EVERY_BYTES": "0"}
ROUNDS = [3, pytest.param(40, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])]
REQUESTS_A_ROUND = 4_000


class Witness:
    """A Book (see client.py) that remembers what it was told, by LSN."""

    def __init__(self, name: str, known: Repertoire) -> None:
        self.name = name
        self.acknowledged = 0
        self.told: list[tuple[int, str, bytes, Any]] = []
        """LSN, the command and payload sent, the payload answered."""
        self._improviser = Improviser(known)
        self._pending: list[tuple[str, bytes]] = []

    def next(self, rng: random.Random) -> Any:
        """See Book."""
        entry = self._improviser.next(rng)
        self._pending.append((entry["command"], orjson.dumps(entry["payload"])))
        return orjson.dumps(entry)

    def acknowledge(self, results: list[Any]) -> bool:
        """See Book."""
        (reply,), sent = results, self._pending.pop(0)
        self.acknowledged += 1
        if reply["status"] == "success":
            self.told.append((reply["lsn"], *sent, reply["payload"]))
        return bool(reply["status"] == "success" or reply["error"]["code"] != "INTERNAL_ERROR")

    def refused(self) -> None:
        """See Book."""
        self._pending.clear()


class Retelling(Executor):
    """Replays a journal and keeps what its commands answer."""

    def __init__(self) -> None:
        super().__init__(TABLE, State())
        self.answers: dict[int, tuple[str, bytes, Any]] = {}
        """Command, payload and answer by LSN."""

    def apply(self, record: Record) -> None:
        bound = self.bound.get(record.command)
        if bound is None:
            super().apply(record)
            return
        result = bound.handler(self.state, bound.decode_journalled(record.payload), record.time)
        result = result.result if isinstance(result, Unchanged) else result
        answer = json.loads(msgspec.json.encode(result))
        self.answers[record.lsn] = (record.command, bytes(record.payload), answer)
        self.state.lsn, self.state.time = record.lsn, record.time


@pytest.mark.parametrize("rounds", ROUNDS)
def test_what_clients_were_told_is_what_a_recovered_journal_tells(
    tmp_path: Path, rng: random.Random, rounds: int
) -> None:
    data, known = tmp_path / "data", repertoire(COMMANDS, rng.randrange(2**32))
    witnesses = [Witness(f"writer{number}", known) for number in range(WRITERS)]
    for _ in range(rounds):
        with ServerProcess(data, env=WHOLE_JOURNAL) as server:
            enough = acknowledged(witnesses) + REQUESTS_A_ROUND
            with writing(server, witnesses, rng):
                until(partial(_have_been_told, witnesses, enough))
                server.kill()
        for witness in witnesses:
            witness.refused()
    compared = _compared(witnesses, _retold(data))
    missing = {command.name for command in COMMANDS} - compared
    print(f"compared {len(compared)} commands, not {sorted(missing)}")
    assert len(compared) >= COMPARED_MIN * len(COMMANDS)


def _have_been_told(witnesses: Sequence[Witness], enough: int) -> bool:
    return acknowledged(witnesses) >= enough


def _retold(data: Path) -> Retelling:
    retelling = Retelling()
    for _ in recover(data, retelling):
        pass
    return retelling


def _is_the_same(bound: Bound, payload: bytes, sent: bytes) -> bool:
    """Whether a payload sent is the one in the journal; of one with a secret, as far as the journal keeps it."""
    if not bound.command.is_secret:
        return bool(bound.decode(payload) == bound.decode(sent))
    kept, given = json.loads(payload), json.loads(sent)
    return all(kept[name] == given[name] for name in kept.keys() & given.keys())


def _known_to_the_journal(answer: Any, command: str) -> Any:
    """An answer without what only its client is told."""
    return {**answer, "key": ""} if command == "auth.create_key" else answer


def _compared(witnesses: Sequence[Witness], retelling: Retelling) -> set[str]:
    """The commands whose answers were compared. One that changed nothing tells the LSN of the change before it."""
    told: dict[int, list[Any]] = {}
    for witness in witnesses:
        for lsn, command, sent, answer in witness.told:
            assert lsn <= retelling.state.lsn, f"{witness.name} was told of record {lsn}, which is lost"
            name, payload, _ = retelling.answers.get(lsn, ("", b"", None))
            if name == command and _is_the_same(retelling.bound[command], payload, sent):
                told.setdefault(lsn, []).append(_known_to_the_journal(answer, command))
    for lsn, answers in told.items():
        command, payload, answer = retelling.answers[lsn]
        assert answer in answers, f"record {lsn}, {command} {payload!r}: told {answers}, now {answer}"
    return {retelling.answers[lsn][0] for lsn in told}
