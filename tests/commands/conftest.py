"""Fixtures of the command tests."""

from __future__ import annotations

import pytest

from synap.engines.keyspace import STRING
from tests.commands.common import PILE
from tests.support import Harness


@pytest.fixture
def piles(monkeypatch: pytest.MonkeyPatch) -> Harness:
    """A harness whose keyspace also holds piles, so that a key can be of another type."""
    monkeypatch.setattr("synap.commands.state.VALUE_TYPES", (STRING, PILE))
    return Harness()
