"""Masters that are lost, replaced, cut off and found again: what was promised holds, and one of them is right."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synap.errors import MasterAlive
from tests.replication.cluster import Cluster, Node, eventually, load, promote
from tests.replication.namespaces import Islands
from tests.replication.tally import Tally, check_all, tallies

pytestmark = pytest.mark.cluster

WRITERS = 6
ONE_REPLICA = {"SYNAP_REPLICATION_MIN_REPLICAS_TO_ACK": "1"}
IMPATIENT = {"SYNAP_REPLICATION_ACK_TIMEOUT_MS": "300"}
soak = [pytest.mark.soak, pytest.mark.timeout(1200)]


# A master is lost


@pytest.mark.parametrize("rounds", [1, pytest.param(15, marks=soak)])
@pytest.mark.parametrize(("ack", "env"), [("replicated:1", {}), (None, ONE_REPLICA)], ids=["asked for", "set"])
def test_what_one_replica_has_confirmed_survives_the_loss_of_the_master(
    tmp_path: Path, rng: random.Random, rounds: int, ack: str | None, env: dict[str, str]
) -> None:
    with Cluster(tmp_path, env=env) as cluster:
        master, *replicas = cluster.star("a", "b", "c")
        books = tallies(WRITERS, ack)
        for _ in range(rounds):
            promoted = _fail_over(master, replicas, books, rng)
            cluster.agreed()
            for node in (master, *replicas):
                check_all(node, books)
            others = [node for node in (master, *replicas) if node is not promoted]
            master, replicas = promoted, others


def _fail_over(master: Node, replicas: list[Node], books: list[Tally], rng: random.Random) -> Node:
    """Kill the master under load and promote one of its replicas; everybody finds to it by himself. Returns it."""
    with load(master, books, rng, 500):
        time.sleep(rng.uniform(0, 0.2))
        master.kill()
    for book in books:
        book.broken_off()
    promoted = max(replicas, key=lambda replica: replica.lsn)
    promote(promoted)
    check_all(promoted, books)
    for replica in replicas:
        if replica is not promoted:
            eventually(lambda replica=replica: replica.follows == promoted.url)  # type: ignore[misc]
    promoted.kill()
    promoted.start_again()
    assert promoted.role == "master"
    master.start_again()
    eventually(lambda: master.follows == promoted.url)
    return promoted


def test_a_replica_is_not_promoted_while_its_master_answers(cluster: Cluster) -> None:
    master, replica = cluster.star("a", "b")
    master.send("kv.set", "replicated:1", key="n", value=1)
    with pytest.raises(MasterAlive):
        replica.call("replication.promote")
    assert (master.role, replica.role) == ("master", "replica")
    assert replica.call("replication.promote", force=True) == {"role": "master", "epoch": 2}
    eventually(lambda: master.follows == replica.url)
    cluster.agreed()


def test_a_master_that_has_written_nothing_yet_gives_way_as_well(cluster: Cluster) -> None:
    master, replica = cluster.star("a", "b")
    replica.call("replication.promote", force=True)
    eventually(lambda: master.follows == replica.url)


def test_replicas_that_were_started_while_the_master_was_away_find_each_other(cluster: Cluster) -> None:
    master, replica, other = cluster.star("a", "b", "c")
    master.send("kv.set", "replicated:2", key="n", value=1)
    for node in (master, replica, other):
        node.kill()
    for node in (replica, other):
        node.start_again()
    promote(replica)
    eventually(lambda: other.follows == replica.url)


# Two at once


@pytest.mark.parametrize("is_silent", [False, pytest.param(True, marks=soak)])
def test_a_master_that_was_cut_off_gives_way_and_keeps_what_only_it_had_aside(tmp_path: Path, is_silent: bool) -> None:
    with Cluster(tmp_path, env=IMPATIENT) as cluster:
        old, new, other = cluster.star("a", "b", "c")
        old.send("kv.set", "replicated:2", key="shared", value=1)
        if is_silent:
            old.door.block()
        else:
            old.door.lead_to(None)
            old.door.cut()
        new.call("replication.promote", force=True)
        lost = _write_alone(old.server.send)
        assert new.send("kv.set", "written", key="new", value=1)["status"] == "success"
        eventually(lambda: other.follows == new.url)
        assert new.send("kv.set", "replicated:1", key="newer", value=1)["ack"] == "replicated:1"
        if is_silent:
            old.door.unblock()
        else:
            old.door.lead_to(old.server.port)
        eventually(lambda: old.follows == new.url)
        cluster.agreed()
        _check_put_aside(old.data, old.log, lost)
        assert set(old.call("kv.keys")["keys"]) == {"shared", "new", "newer"}
        assert not new.put_aside and not other.put_aside


@pytest.mark.soak
def test_a_master_whose_cable_was_pulled_gives_way_when_it_is_back(tmp_path: Path) -> None:
    with Islands(tmp_path, ["a", "b", "c"]) as islands:
        islands.serve("a", **IMPATIENT)
        for name in ("b", "c"):
            islands.serve(name, "--replica-of", islands.url("a"), **IMPATIENT)
        eventually(lambda: len(islands.call("a", "replication.status")["replicas"]) == 2)
        for name in ("b", "c"):
            eventually(lambda name=name: islands.call(name, "replication.status")["master"]["lag_ms"] is not None)  # type: ignore[misc]
        shared = {"command": "kv.set", "payload": {"key": "shared", "value": 1}, "ack": "replicated:2"}
        assert islands.send("a", shared)["status"] == "success"
        islands.cut_off("a")
        islands.call("b", "replication.promote", force=True)
        lost = _write_alone(lambda request: islands.send("a", request))
        islands.call("b", "kv.set", key="new", value=1)
        eventually(lambda: islands.call("c", "kv.get", key="new")["found"])
        islands.join("a")
        eventually(lambda: islands.call("a", "replication.status")["role"] == "replica")
        eventually(lambda: islands.call("a", "kv.get", key="new")["found"])
        digests = [islands.call(name, "admin.digest") for name in islands.names]
        assert digests == [digests[0]] * 3
        _check_put_aside(tmp_path / "a", (tmp_path / "a.log").read_text(), lost)


def _write_alone(send: Callable[[Any], Any]) -> list[str]:
    """Have a master that nobody follows any more take writes; returns their keys."""
    keys = [f"alone{number}" for number in range(20)]
    for key in keys:
        request = {"command": "kv.set", "payload": {"key": key, "value": key}, "ack": "written"}
        assert send(request)["status"] == "success"
    late = {"command": "kv.set", "payload": {"key": "late", "value": 1}, "ack": "replicated:1"}
    assert send(late)["error"]["code"] == "ACK_TIMEOUT"
    assert send({"command": "kv.get", "payload": {"key": "late"}})["payload"]["found"], "it is on the master"
    return [*keys, "late"]


def _check_put_aside(data: Path, log: str, keys: list[str]) -> None:
    """Exactly these writes are kept in a directory of their own, and the log tells."""
    [kept] = [path for path in data.glob("diverged-*") if path.is_dir()]
    records = _dumped(kept)
    assert [record["payload"]["key"] for record in records] == keys
    lsns = [record["lsn"] for record in records]
    assert lsns == list(range(lsns[0], lsns[0] + len(lsns)))
    [line] = [line for line in log.splitlines() if str(kept) in line]
    assert "ERROR" in line and f"records {lsns[0]} to {lsns[-1]}" in line


def _dumped(data: Path) -> list[Any]:
    command = [sys.executable, "-m", "synap", "journal", "dump", "--data", str(data)]
    printed = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    return [json.loads(line) for line in printed.splitlines()]


# Chains


def test_a_replica_of_a_replica_goes_on_when_that_comes_back_and_can_be_moved(cluster: Cluster) -> None:
    first, middle = cluster.star("a", "b")
    last = cluster.add("c")
    last.start(middle)
    first.call("kv.set", key="n", value=1)
    cluster.agreed()
    middle.kill()
    first.call("kv.set", key="n", value=2)
    assert last.call("kv.get", key="n")["value"] == 1
    middle.start_again()
    eventually(lambda: last.call("kv.get", key="n")["value"] == 2)
    middle.kill()
    last.call("replication.follow", master=first.url)
    first.send("kv.set", "replicated:1", key="n", value=3)
    assert last.call("kv.get", key="n")["value"] == 3
    last.kill()
    last.start_again()
    eventually(lambda: last.follows == first.url)
    middle.start_again()
    cluster.agreed()


def test_when_the_end_of_a_chain_is_promoted_all_follow_it(cluster: Cluster) -> None:
    first, middle = cluster.star("a", "b")
    last = cluster.add("c")
    last.start(middle)
    first.call("kv.set", key="n", value=1)
    cluster.agreed()
    last.call("replication.promote", force=True)
    eventually(lambda: first.role == "replica")
    last.call("kv.set", key="n", value=2)
    cluster.agreed()
    assert [node.status["epoch"] for node in (first, middle, last)] == [2, 2, 2]
