"""Fixtures shared by all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import Harness, ServerProcess

# The machine may be busy: how long an example takes says nothing here. A failure prints how to repeat it.
settings.register_profile("synap", deadline=None, print_blob=True)
settings.load_profile("synap")

# Shells start what runs in the background with SIGINT ignored, and so would be the programs that are tried here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def harness() -> Harness:
    """A dispatcher on an empty state, with a fake clock and a journal in memory."""
    return Harness()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A real server on an empty data directory."""
    with ServerProcess(tmp_path / "data") as running:
        yield running
