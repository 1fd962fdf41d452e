"""kill -9 at random moments under load: every acknowledged write is there, and nothing that was not asked for."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from synap.journal import segment, snapshot
from tests.durability.client import SMALL_PIECES, Book, Ledger, acknowledged, check_all, until, writing
from tests.durability.twin import Twin, confined_repertoire, recovered, rows
from tests.support import Harness, ServerProcess

TWINS = 4
ROUNDS = [4, pytest.param(40, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])]


def _crash_under_load(server: ServerProcess, books: Sequence[Book], rng: random.Random, after_secs: float) -> None:
    before = acknowledged(books)
    with writing(server, books, rng):
        until(lambda: acknowledged(books) > before)
        time.sleep(after_secs)
        server.kill()


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_every_acknowledged_write_survives_kill_9(
    tmp_path: Path, rng: random.Random, ledgers: list[Ledger], fsync: str, rounds: int
) -> None:
    for _ in range(rounds):
        with ServerProcess(tmp_path / "data", "--fsync", fsync) as server:
            check_all(server, ledgers)
            _crash_under_load(server, ledgers, rng, rng.uniform(0.05, 0.3))
    with ServerProcess(tmp_path / "data", "--fsync", fsync) as server:
        check_all(server, ledgers)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_every_acknowledged_write_survives_kill_9_while_snapshots_are_made_and_segments_dropped(
    tmp_path: Path, rng: random.Random, ledgers: list[Ledger], rounds: int
) -> None:
    data = tmp_path / "data"
    for _ in range(rounds - 1):
        with ServerProcess(data, env=SMALL_PIECES) as server:
            check_all(server, ledgers)
            _crash_under_load(server, ledgers, rng, rng.uniform(0.5, 1.3))
    with ServerProcess(data, env=SMALL_PIECES) as server:
        check_all(server, ledgers)
        with writing(server, ledgers, rng):
            until(lambda: segment.first_lsn_of(segment.list_segments(data)[0]) > 1)
            server.kill()
    assert snapshot.list_snapshots(data)
    with ServerProcess(data, env=SMALL_PIECES) as server:
        check_all(server, ledgers)


@pytest.mark.parametrize("rounds", ROUNDS)
def test_every_acknowledged_write_of_every_type_survives_kill_9(
    tmp_path: Path, rng: random.Random, rounds: int
) -> None:
    data, known = tmp_path / "data", confined_repertoire(rng.randrange(2**32))
    twins = [Twin(f"twin{number}", known) for number in range(TWINS)]
    digest = Harness().digest()
    for _ in range(rounds - 1):
        with ServerProcess(data, env=SMALL_PIECES) as server:
            assert server.call("admin.digest")["digest"] == digest
            _crash_under_load(server, twins, rng, rng.uniform(0.2, 1.0))
        digest = _checked_digest(data, twins)
    with ServerProcess(data, env=SMALL_PIECES) as server, writing(server, twins, rng):
        until(lambda: snapshot.list_snapshots(data))
        time.sleep(rng.uniform(0, 0.1))
        server.kill()
    _checked_digest(data, twins)


def _checked_digest(data: Path, twins: list[Twin]) -> str:
    """The digest of what a crash has left, which is what the twins expect and nothing else."""
    executor = recovered(data)
    for twin in twins:
        twin.check(executor.state)
    assert len(rows(executor.state)) == sum(len(twin) for twin in twins)
    return executor.digest(executor.state.time)
