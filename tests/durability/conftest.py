"""Fixtures of the durability tests."""

from __future__ import annotations

import os
import random

import pytest

from tests.durability.client import Ledger

WRITERS = 8


@pytest.fixture
def rng() -> random.Random:
    """Chance that can be had again: SYNAP_SEED=... makes the same choices."""
    seed = int(os.environ.get("SYNAP_SEED") or random.SystemRandom().randrange(2**32))
    print(f"run again with SYNAP_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def ledgers() -> list[Ledger]:
    """What each of several concurrent writers knows."""
    return [Ledger(f"writer{number}") for number in range(WRITERS)]
