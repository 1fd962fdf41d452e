"""Fixtures of the replication tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.conftest import chance_seed, rng
from tests.replication.cluster import Cluster

__all__ = ["chance_seed", "cluster", "rng"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Nodes that are still to be made."""
    with Cluster(tmp_path) as made:
        yield made
