"""kill -9 at random moments under load: every acknowledged write is there, and nothing that was not asked for."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from synap.journal import segment, snapshot
from tests.durability.client import SMALL_PIECES, Ledger, acknowledged, check_all, until, writing
from tests.support import ServerProcess

ROUNDS = [4, pytest.param(40, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])]


def _crash_under_load(server: ServerProcess, ledgers: list[Ledger], rng: random.Random, after_secs: float) -> None:
    before = acknowledged(ledgers)
    with writing(server, ledgers, rng):
        until(lambda: acknowledged(ledgers) > before)
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
