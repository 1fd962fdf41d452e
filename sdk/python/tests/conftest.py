"""A server for a file of tests, clients for each test, and servers that come back on their port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from sdk.python.tests.servers import Restarting
from synap_sdk import AsyncSynap, Synap
from tests.support import ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data = tmp_path_factory.mktemp("synap") / "data"
    with ServerProcess(data, env={"SYNAP_REPLICATION_ACK_TIMEOUT_MS": "200"}) as process:
        yield process


@pytest.fixture
def synap(server: ServerProcess) -> Iterator[Synap]:
    with Synap(server.url) as client:
        yield client


@pytest.fixture
async def asynap(server: ServerProcess) -> AsyncIterator[AsyncSynap]:
    async with AsyncSynap(server.url) as client:
        yield client


@pytest.fixture
def name() -> str:
    """A key, queue or room of this test alone."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
def restarting(tmp_path: Path) -> Iterator[Restarting]:
    server = Restarting(tmp_path / "data")
    yield server
    server.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers that end with the test."""
    started: list[ServerProcess] = []

    def begin(*arguments: str, env: dict[str, str] | None = None) -> ServerProcess:
        started.append(ServerProcess(tmp_path / f"data{len(started)}", *arguments, env=env))
        return started[-1]

    yield begin
    for process in started:
        if process.process.poll() is None:
            process.stop()
