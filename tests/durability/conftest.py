"""Fixtures of the durability tests."""

from __future__ import annotations

import os
import random

import pytest

from tests.durability.client import Ledger

WRITERS = 8


@pytest.fixture(scope="session")
def chance_seed() -> int:
    """What all chance in these tests comes from: SYNAP_SEED=... makes the same choices."""
    return int(os.environ.get("SYNAP_SEED") or random.SystemRandom().randrange(2**32))


@pytest.fixture
def rng(chance_seed: int) -> random.Random:
    """Chance that can be had again."""
    print(f"run again with SYNAP_SEED={chance_seed}")
    return random.Random(chance_seed)


@pytest.fixture
def ledgers() -> list[Ledger]:
    """What each of several concurrent writers knows."""
    return [Ledger(f"writer{number}") for number in range(WRITERS)]
