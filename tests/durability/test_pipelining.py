"""Many writes on their way on one connection: all are answered, in order, each when it is as durable as it says."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.durability.client import Connection
from tests.support import ServerProcess

REQUESTS = 2_500
GAP_SECS_MAX = 0.0005

INCREMENT = {"command": "kv.incr", "payload": {"key": "counter"}}


def _wait(seconds: float) -> None:
    """Shorter than any sleep."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def _replies(connection: Connection, count: int) -> list[tuple[int, str]]:
    bodies = [connection.receive()[1] for _ in range(count)]
    return [(body["payload"]["value"], body["ack"]) for body in bodies]


@pytest.mark.parametrize(("fsync", "asked"), [("always", {}), ("everysec", {"ack": "synced"}), ("everysec", {})])
def test_writes_that_come_at_any_moment_of_an_earlier_ones_fsync_are_answered(
    tmp_path: Path, rng: random.Random, fsync: str, asked: dict[str, str]
) -> None:
    ack = "synced" if fsync == "always" or asked else "written"
    with ServerProcess(tmp_path / "data", "--fsync", fsync) as server, ThreadPoolExecutor(1) as reader:
        connection = Connection(server.port, timeout_secs=10)
        replies = reader.submit(_replies, connection, REQUESTS)
        for _ in range(REQUESTS):
            connection.send([INCREMENT | asked])
            _wait(rng.uniform(0, GAP_SECS_MAX))
        assert replies.result() == [(number, ack) for number in range(1, REQUESTS + 1)]
        connection.close()
    assert server.log.read_text().count("Traceback") == 0


def test_writes_with_different_durability_are_answered_in_the_order_they_came(tmp_path: Path) -> None:
    acks = ["synced", "written", "written", "synced"] * 50
    with ServerProcess(tmp_path / "data") as server:
        connection = Connection(server.port)
        connection.send([INCREMENT | {"ack": ack} for ack in acks])
        assert _replies(connection, len(acks)) == list(enumerate(acks, 1))
        connection.close()


def test_a_read_waits_for_the_write_it_saw(tmp_path: Path) -> None:
    """Under fsync=always nobody is told of a value that a power cut could still take back."""
    with ServerProcess(tmp_path / "data", "--fsync", "always") as server:
        connection = Connection(server.port)
        for number in range(1, 51):
            connection.send([INCREMENT, {"command": "kv.get", "payload": {"key": "counter"}}])
            assert connection.receive()[1]["payload"]["value"] == number
            assert connection.receive()[1]["payload"]["value"] == number
        connection.close()
