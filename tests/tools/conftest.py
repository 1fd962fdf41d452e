"""Servers for all tests that only need some server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import ServerProcess

ROOT_PASSWORD = "correct horse battery"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("tools") / "data") as running:
        yield running


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One that wants to know who asks."""
    settings = {
        "SYNAP_AUTH_ENABLED": "true",
        "SYNAP_AUTH_ROOT_PASSWORD": ROOT_PASSWORD,
        "SYNAP_AUTH_JWT_SECRET": "x" * 32,
    }
    with ServerProcess(tmp_path_factory.mktemp("guarded") / "data", env=settings) as running:
        yield running
