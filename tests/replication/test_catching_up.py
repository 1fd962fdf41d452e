"""Replicas that are late, slow or short of room: they come to have everything, and the master does not suffer."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

import pytest

from synap.journal import segment, snapshot
from tests.durability.client import Connection
from tests.durability.test_full_disk import FileSizeLimit
from tests.replication.cluster import Cluster, Node, eventually, load
from tests.replication.tally import check_all, tallies

pytestmark = pytest.mark.cluster

MIB = 1024 * 1024
WRITERS = 4
VALUE_BYTES = 50_000
SNAPSHOTS = {"SYNAP_JOURNAL_SEGMENT_BYTES": str(MIB), "SYNAP_JOURNAL_SNAPSHOT_EVERY_BYTES": str(8 * MIB)}
KEPT_FOR_NOBODY = {"SYNAP_REPLICATION_KEEP_BYTES": "0"}
IMPATIENT = {"SYNAP_REPLICATION_ACK_TIMEOUT_MS": "300"}
soak = [pytest.mark.soak, pytest.mark.timeout(1200)]


# Joining


@pytest.mark.parametrize("mib", [12, pytest.param(200, marks=soak)])
def test_a_replica_joins_under_load_though_its_download_is_cut_again_and_again(
    tmp_path: Path, rng: random.Random, mib: int
) -> None:
    with Cluster(tmp_path, env=SNAPSHOTS) as cluster:
        master, replica = cluster.add("a"), cluster.add("b")
        master.start()
        _fill(master, mib, keys=mib * MIB // VALUE_BYTES)
        eventually(lambda: segment.first_lsn_of(segment.list_segments(master.data)[0]) > 1)
        size = snapshot.list_snapshots(master.data)[-1].stat().st_size
        door = cluster.network.door(master.server.port)
        door.cut_after_bytes = size // 4
        books = tallies(WRITERS)
        with load(master, books, rng, 200):
            with _pinging(master) as before:
                time.sleep(0.5)
            with _pinging(master) as meanwhile:
                replica.start(door)
                eventually(lambda: replica.follows is not None, 60)
            door.cut_after_bytes = None
            sent = door.bytes_out
        print(f"snapshot of {size} bytes, {sent} sent, {door.cuts} cuts; p99 {before.p99} before, {meanwhile.p99} ms")
        assert door.cuts >= 3
        assert sent < 2 * size
        cluster.agreed()
        check_all(replica, books)
        assert "copying" in replica.log


# Slow ones


@pytest.mark.parametrize("mib", [30, pytest.param(300, marks=soak)])
def test_a_slow_replica_costs_the_master_no_memory_and_catches_up_when_it_can(cluster: Cluster, mib: int) -> None:
    master, replica = cluster.add("a"), cluster.add("b")
    master.start()
    door = cluster.network.door(master.server.port)
    replica.start(door)
    _fill(master, 5, keys=10)
    cluster.agreed()
    before = _memory_bytes(master)
    door.bytes_per_sec = 20_000
    _fill(master, mib, keys=10)
    grown, sent = _memory_bytes(master) - before, door.bytes_out
    print(f"{mib} MiB of journal, {sent} bytes sent, the master has grown by {grown} bytes")
    assert sent < mib * MIB / 2
    assert grown < 20 * MIB + mib * MIB / 4
    assert master.status["replicas"][0]["lag_ops"] > 0
    door.bytes_per_sec = None
    cluster.agreed()
    assert "copying" not in replica.log


def test_a_replica_that_is_too_slow_for_what_is_kept_is_sent_a_snapshot(tmp_path: Path) -> None:
    with Cluster(tmp_path, env=SNAPSHOTS | KEPT_FOR_NOBODY) as cluster:
        master, replica = cluster.add("a"), cluster.add("b")
        master.start()
        door = cluster.network.door(master.server.port)
        replica.start(door)
        eventually(lambda: replica.follows == door.url)
        door.bytes_per_sec = 20_000
        _fill(master, 20, keys=10)
        eventually(lambda: segment.first_lsn_of(segment.list_segments(master.data)[0]) > replica.lsn + 1)
        door.bytes_per_sec = None
        cluster.agreed()
        assert "copying" in replica.log
        assert not replica.put_aside


# A full disk


def test_a_replica_whose_disk_is_full_confirms_nothing_and_catches_up_when_there_is_room(tmp_path: Path) -> None:
    with Cluster(tmp_path, env=IMPATIENT) as cluster:
        master, replica = cluster.star("a", "b")
        disk = FileSizeLimit(replica.data)
        master.send("kv.set", "replicated:1", key="before", value=1)
        disk.fill(replica.server)
        _fill(master, 2, keys=10)
        confirmed = master.status["replicas"][0]["acked_lsn"]
        before = _memory_bytes(replica)
        assert master.send("kv.set", "replicated:1", key="meanwhile", value=1)["error"]["code"] == "ACK_TIMEOUT"
        _fill(master, 30, keys=10)
        assert master.send("kv.set", "replicated:1", key="meanwhile", value=2)["error"]["code"] == "ACK_TIMEOUT"
        assert all(each["acked_lsn"] <= confirmed for each in master.status["replicas"])
        assert _memory_bytes(replica) - before < 20 * MIB
        assert replica.call("kv.get", key="before")["value"] == 1
        disk.free(replica.server)
        cluster.agreed()
        assert master.send("kv.set", "replicated:1", key="after", value=1)["ack"] == "replicated:1"
        assert replica.call("kv.get", key="meanwhile")["value"] == 2


# What is done to a master, and how it takes it


def _fill(node: Node, mib: int, *, keys: int) -> None:
    """Write so much, over and over into so many keys."""
    connection = Connection(node.server.port)
    for first in range(0, mib * MIB // VALUE_BYTES, 10):
        numbers = range(first, first + 10)
        value = "x" * VALUE_BYTES
        connection.send(
            {"command": "kv.set", "payload": {"key": f"large{number % keys}", "value": value}} for number in numbers
        )
        for _ in numbers:
            assert connection.receive()[0] == 200
    connection.close()


def _memory_bytes(node: Node) -> int:
    """What its process takes of the machine's memory."""
    return cast(int, node.call("admin.stats")["memory"]["rss_bytes"])


class Pinger(threading.Thread):
    """Asks for a key again and again."""

    def __init__(self, port: int, is_over: Callable[[], bool]) -> None:
        super().__init__(daemon=True)
        self._connection = Connection(port)
        self._is_over = is_over
        self._took_ms: list[float] = []

    def run(self) -> None:
        with suppress(OSError, EOFError):
            while not self._is_over():
                begun = time.perf_counter()
                self._connection.call({"command": "kv.get", "payload": {"key": "ping"}})
                self._took_ms.append((time.perf_counter() - begun) * 1000)
                time.sleep(0.002)
        self._connection.close()

    @property
    def p99(self) -> float:
        """Of a hundred answers, so many ms were enough for 99."""
        return round(sorted(self._took_ms)[len(self._took_ms) * 99 // 100], 1)


@contextmanager
def _pinging(node: Node) -> Iterator[Pinger]:
    over = threading.Event()
    pinger = Pinger(node.server.port, over.is_set)
    pinger.start()
    yield pinger
    over.set()
    pinger.join()
