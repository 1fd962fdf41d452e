"""A master and its replicas as real processes that are killed, stopped and left alone: all of them have the same."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from synap.commands.table import Command
from synap.errors import ReadOnly
from synap.journal import tools
from tests.durability.test_crash_told import COMMANDS, Witness, _compared, _retold
from tests.payloads.improviser import repertoire
from tests.replication.cluster import Cluster, Node, eventually, load, promote
from tests.replication.tally import check_all, tallies

pytestmark = pytest.mark.cluster

WRITERS = 6
AT_ONCE = [command for command in COMMANDS if not command.waits]
SOON_SECS = 3.0
"""What is to happen at once, has happened by then on a busy machine."""
soak = [pytest.mark.soak, pytest.mark.timeout(1200)]


# Whatever is killed


@pytest.mark.parametrize("rounds", [1, pytest.param(4, marks=soak)])
def test_every_acknowledged_write_is_on_all_nodes_whichever_was_killed(
    cluster: Cluster, rng: random.Random, rounds: int
) -> None:
    master, *replicas = cluster.star("a", "b", "c")
    books = tallies(WRITERS)
    for _ in range(rounds):
        with load(master, books, rng, 300):
            for replica in rng.sample(replicas, 2):
                time.sleep(rng.uniform(0, 0.3))
                replica.kill()
                time.sleep(rng.uniform(0, 0.3))
                replica.start_again()
            time.sleep(rng.uniform(0, 0.1))
            master.kill()
        for book in books:
            book.broken_off()
        master.start_again()
    cluster.agreed()
    for node in (master, *replicas):
        check_all(node, books)
        assert not node.put_aside


@pytest.mark.parametrize(("rounds", "commands"), [(1, AT_ONCE[::3]), pytest.param(4, COMMANDS, marks=soak)])
def test_what_clients_were_told_is_what_a_replicas_journal_tells(
    cluster: Cluster, rng: random.Random, rounds: int, commands: list[Command]
) -> None:
    known = repertoire(commands, rng.randrange(2**32))
    witnesses = [Witness(f"writer{number}", known) for number in range(WRITERS)]
    master, replica = cluster.star("a", "b")
    for _ in range(rounds):
        with load(master, witnesses, rng, 1_000):
            replica.kill()
            replica.start_again()
            master.kill()
        for witness in witnesses:
            witness.refused()
        master.start_again()
    cluster.agreed()
    replica.kill()
    assert len(_compared(witnesses, _retold(replica.data))) >= 0.3 * len(commands)


# Stopping


@pytest.mark.parametrize("rounds", [2, pytest.param(30, marks=soak)])
def test_a_master_that_is_stopped_has_given_its_replicas_all_it_acknowledged(
    cluster: Cluster, rng: random.Random, rounds: int
) -> None:
    master, *replicas = cluster.star("a", "b", "c")
    books = tallies(WRITERS)
    for _ in range(rounds):
        with load(master, books, rng, 1_000):
            assert master.stop() == 0
        last = _last_record(master.data)
        for replica in replicas:
            assert replica.lsn == last
            check_all(replica, books)
        master.start_again()
        for replica in replicas:
            eventually(lambda replica=replica: replica.follows == master.url)  # type: ignore[misc]


def test_a_master_that_was_stopped_has_nothing_that_the_one_promoted_then_lacks(cluster: Cluster) -> None:
    master, replica = cluster.star("a", "b")
    master.call("kv.set", key="brief", value=1, ttl=3_600)
    master.call("queue.publish", queue="work", message=1, delay_secs=3_600)
    time.sleep(0.1)
    master.stop()
    promote(replica)
    replica.call("kv.set", key="next", value=1)
    master.start(replica)
    eventually(lambda: master.follows == replica.url)
    cluster.agreed()
    assert not master.put_aside


def test_replicas_come_up_and_serve_reads_while_the_master_is_away(cluster: Cluster) -> None:
    master, replica = cluster.star("a", "b")
    master.call("kv.set", key="kept", value="here")
    cluster.agreed()
    master.kill()
    replica.kill()
    replica.start_again()
    assert replica.call("kv.get", key="kept")["value"] == "here"
    with pytest.raises(ReadOnly) as refused:
        replica.call("kv.set", key="kept", value="elsewhere")
    assert refused.value.details == {"master": master.url}
    assert replica.status["master"]["connected"] is False
    assert replica.server.http("GET", "/ready")[0] == 200
    master.start_again()
    master.call("kv.set", key="kept", value="still")
    cluster.agreed()
    assert replica.call("kv.get", key="kept")["value"] == "still"


# Time


@contextmanager
def _clocks_that_are_off(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings that have a process start with its wall clock off by so many seconds as TEST_CLOCK_OFF says."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, time\n"
        "off, real = int(os.environ['TEST_CLOCK_OFF']) * 10**9, time.time_ns\n"
        "time.time_ns = lambda: real() + off\n"
        "time.time = lambda: time.time_ns() / 1e9\n"
    )
    yield {"PYTHONPATH": str(tmp_path)}


def test_what_is_due_comes_about_on_replicas_at_the_masters_time_whatever_their_clocks_show(
    cluster: Cluster, tmp_path: Path
) -> None:
    master, exact = cluster.star("a", "b")
    replicas = [exact]
    with _clocks_that_are_off(tmp_path) as env:
        for name, off_secs in (("ahead", 86_400), ("behind", -86_400)):
            replica = cluster.add(name)
            replica.start(master, **env, TEST_CLOCK_OFF=str(off_secs))
            replicas.append(replica)
    begun = time.monotonic()
    master.call("kv.set", key="brief", value=1, ttl=1.5)
    master.call("queue.create", queue="leased", config={"ack_deadline_secs": 1.5, "retry": {"initial_secs": 0}})
    master.call("queue.publish", queue="leased", message=1)
    master.call("queue.consume", queue="leased")
    lsn = master.send("queue.publish", "replicated:3", queue="later", message=1, delay_secs=1.5)["lsn"]
    seen = [_due(replica) for replica in replicas]
    assert time.monotonic() - begun >= 1.5 or seen == [(True, 0, 1)] * 3
    for replica in replicas:
        eventually(lambda replica=replica: _due(replica) == (False, 1, 0), 1.5 + SOON_SECS)  # type: ignore[misc]
        assert time.monotonic() - begun >= 1.5, "too early"
        assert replica.lsn > lsn
    cluster.agreed()


def test_a_promoted_replica_whose_clock_is_behind_brings_nothing_back(cluster: Cluster, tmp_path: Path) -> None:
    master = cluster.add("a")
    master.start()
    replica = cluster.add("b")
    with _clocks_that_are_off(tmp_path) as env:
        replica.start(master, **env, TEST_CLOCK_OFF="-86400")
    eventually(lambda: replica.follows == master.url)
    master.call("kv.set", key="brief", value=1, ttl=0.3)
    master.send("kv.set", "replicated:1", key="lasting", value=1, ttl=600)
    eventually(lambda: not replica.call("kv.get", key="brief")["found"])
    master.kill()
    replica.call("replication.promote", force=True)
    assert not replica.call("kv.get", key="brief")["found"]
    assert 590 <= replica.call("kv.get", key="lasting")["ttl"] <= 600
    replica.call("kv.set", key="new", value=1, ttl=600)
    assert 590 <= replica.call("kv.get", key="new")["ttl"] <= 600


def _due(node: Node) -> tuple[bool, int, int]:
    """Whether the key is there, how many delayed messages are ready, how many leases run."""
    later, leased = (node.call("queue.stats", queue=queue) for queue in ("later", "leased"))
    return node.call("kv.get", key="brief")["found"], later["depth"], leased["in_flight"]


# What a journal holds


def _last_record(data: Path) -> int:
    return max(finding.last_lsn for finding in tools.verify(data))
