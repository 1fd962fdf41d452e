"""Random operations on a small key space, through Synap and through Redis.

    SYNAP_DIFFERENTIAL_SEED=7 SYNAP_DIFFERENTIAL_OPS=50000 .venv/bin/pytest tests/differential

runs one sequence of one's own choice; without them, `make test` runs a few fixed ones and `make soak` longer ones
that are new each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from random import SystemRandom

import pytest

from synap.commands import TABLE
from tests.differential import (  # noqa: F401 - importing a module of translations registers them
    bitmaps,
    geo,
    hashes,
    hyperloglogs,
    keys,
    lists,
    sets,
    sortedsets,
    strings,
)
from tests.differential.contest import Contest
from tests.differential.redis_server import BINARY, RedisServer
from tests.differential.translation import TRANSLATIONS

NAMESPACES = {"kv", "key", "hash", "list", "set", "sortedset", "bitmap", "hyperloglog", "geospatial"}
NOT_COMPARED = {
    f"{kind}.stats": "counts what Redis does not"
    for kind in ("kv", "hash", "list", "set", "sortedset", "bitmap", "hyperloglog")
}

_CHOSEN_SEED = os.environ.get("SYNAP_DIFFERENTIAL_SEED")
_CHOSEN_OPERATIONS = os.environ.get("SYNAP_DIFFERENTIAL_OPS")
SEEDS = [int(_CHOSEN_SEED)] if _CHOSEN_SEED else list(range(1, 9))
OPERATIONS = int(_CHOSEN_OPERATIONS or 2_500)
SOAK_RUNS = 1 if _CHOSEN_SEED else 8
SOAK_OPERATIONS = int(_CHOSEN_OPERATIONS or 25_000)


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """One Redis a test process."""
    if BINARY is None:
        pytest.skip("redis-server is not installed: there is nothing to compare with")
    with RedisServer() as server:
        yield server


@pytest.mark.parametrize("seed", SEEDS)
def test_synap_answers_as_redis_does(redis: RedisServer, seed: int) -> None:
    Contest(redis, TRANSLATIONS.values(), seed).run(OPERATIONS)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("run", range(SOAK_RUNS))
def test_synap_answers_as_redis_does_for_long(redis: RedisServer, run: int) -> None:
    seed = int(_CHOSEN_SEED) if _CHOSEN_SEED else SystemRandom().getrandbits(32)
    print(f"SYNAP_DIFFERENTIAL_SEED={seed}")
    Contest(redis, TRANSLATIONS.values(), seed).run(SOAK_OPERATIONS)


def test_a_difference_is_found_and_told_in_few_operations(redis: RedisServer) -> None:
    swapped = replace(TRANSLATIONS["list.rpush"], draw=TRANSLATIONS["list.lpush"].draw)
    with pytest.raises(AssertionError) as failure:
        Contest(redis, {**TRANSLATIONS, "list.rpush": swapped}.values(), 1).run(OPERATIONS)
    told = str(failure.value).splitlines()
    assert "SYNAP_DIFFERENTIAL_SEED=1" in told[-1]
    assert len(told) <= 6


def test_every_command_is_compared_or_excluded_for_a_reason() -> None:
    public = {command.name for command in TABLE.public() if command.namespace in NAMESPACES}
    assert public - TRANSLATIONS.keys() - NOT_COMPARED.keys() == set()
    assert TRANSLATIONS.keys() | NOT_COMPARED.keys() <= public
    assert TRANSLATIONS.keys().isdisjoint(NOT_COMPARED)
