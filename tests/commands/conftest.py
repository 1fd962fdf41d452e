"""Fixtures of the command tests."""

from __future__ import annotations

import pytest

from tests.engines.pile import Pile
from tests.support import Harness


@pytest.fixture
def piles(monkeypatch: pytest.MonkeyPatch) -> Harness:
    """A harness whose keyspace also holds piles, so that a key can be of another type."""
    monkeypatch.setattr("synap.commands.state.VALUE_TYPES", (Pile,))
    monkeypatch.setattr("synap.commands.keyspace.TYPE_NAMES", ("string", "hash", "pile"))
    return Harness()
