"""Some thousand short histories of nodes that fail; see `simulation.py` for what is promised in which.

    SYNAP_SIM_SEED=7 .venv/bin/pytest -k split tests/replication/test_simulation.py

runs one of them again and prints what happened in it. Without a seed, `make test` runs the same ones each time and a
few new ones, and `make soak` many new ones.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from random import SystemRandom

import pytest

from synap.replication.node import Node
from tests.replication.simulation import KINDS, Kind, World, simulate
from tests.replication.simulation_witness import Violated

_CHOSEN = os.environ.get("SYNAP_SIM_SEED")
RUNS = 300
NEW_RUNS = 20
SOAK_RUNS = 30_000
SEED_MAX = 10**9

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def _quiet_log() -> Iterator[None]:
    """What nodes log about each other would be most of the time a run takes."""
    log = logging.getLogger("synap.replication")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    yield
    log.setLevel(level)


def run(kind: Kind, seeds: range) -> None:
    if _CHOSEN is not None:
        simulate(kind, int(_CHOSEN), trace=True)
    else:
        print(f"kind {kind}, seeds {seeds.start} to {seeds.stop - 1}")
        for seed in seeds:
            simulate(kind, seed)


def new_seeds(count: int) -> range:
    first = SystemRandom().randrange(SEED_MAX)
    return range(first, first + count)


@every_kind
def test_what_was_promised_is_kept_whatever_fails(kind: Kind) -> None:
    run(kind, range(RUNS))


@every_kind
def test_what_was_promised_is_kept_in_histories_never_seen_before(kind: Kind) -> None:
    run(kind, new_seeds(NEW_RUNS))


@pytest.mark.soak
@pytest.mark.timeout(1200)
@every_kind
def test_what_was_promised_is_kept_for_long(kind: Kind) -> None:
    run(kind, new_seeds(SOAK_RUNS))


def test_the_same_seed_is_the_same_history() -> None:
    one, other = World("chaos", 1), World("chaos", 1)
    one.run()
    other.run()
    assert one.now > 0
    assert [repr(event) for event in one.trace][-50:] == [repr(event) for event in other.trace][-50:]


def test_a_failing_run_says_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Node, "may_take_records", lambda _: False)  # no replica ever gets anything
    with pytest.raises(Violated, match=r"SYNAP_SIM_SEED=5 pytest -k split") as caught:
        simulate("split", 5)
    assert "do not come together" in str(caught.value)
