"""What servers tell about replication, by command, on pages and as figures; and what they keep to themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema_rs
import pytest
from typer.testing import CliRunner

from synap.cli import program
from synap.commands import TABLE
from synap.commands.reference import schema
from synap.config import MASK
from tests.access.helpers import Guarded
from tests.replication.follower import following
from tests.replication.inside import caught_up, get, link_state, replica_of, url
from tests.transport.sockets import Inside, connected, within
from tests.transport.test_metrics import samples
from tests.transport.wire import eventually

PATIENT = 10
NOBODY = "http://127.0.0.1:9"


class Pair(NamedTuple):
    master: Inside
    replica: Inside


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    data = tmp_path_factory.mktemp("status")
    with Inside(data / "master") as master, replica_of(master, data / "replica") as replica:
        for number in range(5):
            master.call("kv.set", key=f"k{number}", value=number)
        caught_up(replica, master)
        yield Pair(master, replica)


def settled(pair: Pair) -> tuple[Any, Any]:
    """What both tell when there is nothing to catch up with."""
    caught_up(pair.replica, pair.master)
    return pair.master.call("replication.status"), pair.replica.call("replication.status")


# Status


def test_a_master_tells_who_follows_and_how_far(pair: Pair) -> None:
    status, _ = settled(pair)
    lsn = pair.master.server._journal.last_lsn
    [replica] = status.pop("replicas")
    assert status.pop("history_id") == pair.master.server._replication.node.terms[-1].id
    assert status == {"role": "master", "lsn": lsn, "epoch": 1, "master": None}
    told = {"id": "replica-1", "address": url(pair.replica), "acked_lsn": lsn, "lag_ops": 0, "lag_ms": 0.0}
    assert replica == {**told, "state": "streaming"}


def test_a_replica_tells_whom_it_follows(pair: Pair) -> None:
    there, status = settled(pair)
    assert (status["role"], status["lsn"], status["replicas"]) == ("replica", there["lsn"], [])
    assert (status["epoch"], status["history_id"]) == (there["epoch"], there["history_id"])
    within(PATIENT, lambda: pair.replica.call("replication.status")["master"]["lag_ms"], 0.0)
    followed = pair.replica.call("replication.status")["master"]
    told = {"address": url(pair.master), "connected": True, "lag_ms": 0.0, "state": "streaming", "reason": None}
    assert followed == told


@pytest.mark.parametrize("which", [0, 1])
def test_status_is_as_its_schema_says_and_the_same_by_command_and_by_its_page(pair: Pair, which: int) -> None:
    settled(pair)
    within(PATIENT, lambda: pair.replica.call("replication.status")["master"]["lag_ms"], 0.0)
    row = TABLE.get("replication.status")
    assert row is not None
    told = pair[which].call("replication.status")
    jsonschema_rs.validator_for(schema(row.result)).validate(told)
    assert get(pair[which], "/health/replication").json == told


def test_a_replica_that_confirms_nothing_is_told_by_how_much_it_is_behind(pair: Pair) -> None:
    with following(pair.master, "behind", url="http://somebody:secret@127.0.0.1:8") as follower:
        for number in range(3):
            pair.master.call("kv.set", key="a", value=number)
        caught_up(pair.replica, pair.master)
        last = pair.master.server._journal.last_lsn
        follower.confirm(last - 3)

        def behind() -> Any:
            return next(r for r in pair.master.call("replication.status")["replicas"] if r["address"].endswith(":8"))

        within(PATIENT, lambda: (behind()["acked_lsn"], behind()["lag_ops"]), (last - 3, 3))
        assert behind()["address"] == "http://127.0.0.1:8"
        assert behind()["lag_ms"] > 0
        replicas = pair.master.server._replication.node.replicas
        pair.master.run(lambda: replicas._marks.__setitem__(slice(None), [(last, -1e9)]))
        assert behind()["state"] == "catching_up"
        found = samples(pair.master)
        assert found["synap_replication_lag_ops", behind()["id"]] == 3
        assert found["synap_replication_lag_ops", "replica-1"] == 0
    within(PATIENT, lambda: len(pair.master.call("replication.status")["replicas"]), 1)


def test_a_replica_of_a_replica_knows_both(pair: Pair, tmp_path: Path) -> None:
    with replica_of(pair.replica, tmp_path / "last") as last:
        caught_up(last, pair.replica)
        between = pair.replica.call("replication.status")
        assert [replica["address"] for replica in between["replicas"]] == [url(last)]
        assert between["master"]["address"] == url(pair.master)
        error = last.send({"command": "kv.set", "payload": {"key": "a", "value": 1}})["error"]
        assert error["details"]["master"] == url(pair.master)


# Health, readiness, figures


def test_health_tells_the_role_and_replication_as_a_component(pair: Pair) -> None:
    settled(pair)
    for server, role in zip(pair, ("master", "replica"), strict=True):
        health = get(server, "/health").json
        assert (health["role"], health["status"]) == (role, "healthy")
        assert health["components"]["replication"] == "operational"
        assert server.call("admin.stats")["server"]["role"] == role


def test_figures_tell_the_role_the_epoch_and_the_lag(pair: Pair) -> None:
    settled(pair)
    within(PATIENT, lambda: pair.replica.call("replication.status")["master"]["lag_ms"], 0.0)
    there, here = samples(pair.master), samples(pair.replica)
    assert (there["synap_replication_is_master",], here["synap_replication_is_master",]) == (1, 0)
    assert there["synap_replication_epoch",] == here["synap_replication_epoch",] == 1
    assert there["synap_replication_lag_ops", "replica-1"] == there["synap_replication_lag_ms", "replica-1"] == 0
    assert there["synap_replication_pubsub_dropped_total",] == 0
    assert (here["synap_replication_connected",], here["synap_replication_behind_ms",]) == (1, 0)
    assert "synap_replication_connected" not in {name for name, *_ in there}
    assert "synap_replication_behind_ms" not in {name for name, *_ in there}


def test_a_replica_that_reaches_nobody_says_so_and_serves_what_it_has(tmp_path: Path) -> None:
    with Inside(tmp_path / "r", replication={"master": NOBODY}) as replica:
        eventually(lambda: link_state(replica) == "waiting")
        followed = replica.call("replication.status")["master"]
        assert (followed["address"], followed["connected"], followed["lag_ms"]) == (NOBODY, False, None)
        assert "cannot connect" in followed["reason"]
        health = get(replica, "/health")
        assert (health.status, health.json["status"]) == (200, "degraded")
        assert health.json["components"]["replication"] == "waiting"
        found = samples(replica)
        assert found["synap_replication_connected",] == 0
        assert ("synap_replication_behind_ms",) not in found
        assert get(replica, "/ready").status == 200
        assert replica.call("kv.dbsize")["size"] == 0


def test_a_replica_is_ready_when_it_is_not_further_behind_than_it_may_be(tmp_path: Path) -> None:
    with Inside(tmp_path / "m") as master:
        most = {"ready_max_lag_ms": 60_000}
        with Inside(tmp_path / "r", replication={"master": NOBODY, **most}) as replica:
            answer = get(replica, "/ready")
            assert (answer.status, answer.json["ready"]) == (503, False)
            assert answer.json["reason"].startswith("this replica has nothing yet")
            replica.call("replication.follow", master=url(master))
            eventually(lambda: get(replica, "/ready").status == 200)
            link = replica.server._replication.link

            def late() -> None:
                link.state, link.behind_since, link._marks = "waiting", link._loop.time() - 61, []

            replica.run(late)
            answer = get(replica, "/ready")
            assert answer.status == 503
            assert "ms behind, and may be 60000 ms" in answer.json["reason"]
            replica.call("replication.promote", force=True)
            assert get(replica, "/ready").status == 200


def test_without_such_a_bound_a_replica_is_ready_however_far_behind(tmp_path: Path) -> None:
    with Inside(tmp_path / "r", replication={"master": NOBODY}) as replica:
        assert get(replica, "/ready").status == 200


def test_status_needs_a_permission_where_credentials_are_needed(tmp_path: Path) -> None:
    with Guarded(tmp_path / "m") as server:
        assert get(server, "/health/replication").status == 401
        other, allowed = server.key("kv.*"), server.key("replication.status")
        assert get(server, "/health/replication", [other.header]).status == 403
        assert get(server, "/health/replication", [allowed.header]).json["role"] == "master"
        for name in ("promote", "resync", "follow"):
            assert server.code(allowed.header, f"replication.{name}", master=NOBODY) == "FORBIDDEN"


# Secrets


def test_secrets_are_masked_wherever_settings_and_urls_are_shown(tmp_path: Path) -> None:
    replication = {"secret": "hush hush", "master": "http://somebody:pass@127.0.0.1:9"}
    with Inside(tmp_path / "r", replication=replication) as replica:
        eventually(lambda: link_state(replica) == "waiting")
        settings = replica.call("admin.config")["settings"]
        assert settings["replication.secret"]["value"] == MASK
        assert settings["replication.master"]["value"] == f"http://{MASK}@127.0.0.1:9"
        refused = replica.send({"command": "kv.set", "payload": {"key": "a", "value": 1}})["error"]
        assert refused["details"]["master"] == NOBODY
        with connected(replica) as socket:
            on_socket = socket.reply(socket.begin("kv.set", key="a", value=1))
        told = [replica.call("admin.config"), replica.call("replication.status"), refused, on_socket]
        told += [get(replica, page).body.decode() for page in ("/health/replication", "/health", "/ready", "/metrics")]
        assert "hush" not in str(told)
        assert "pass@" not in str(told)


BAD = {
    "no scheme": "127.0.0.1:15500",
    "another scheme": "ftp://127.0.0.1:15500",
    "no host": "http://",
    "a path": "http://127.0.0.1:15500/x",
    "a port too large": "http://somebody:pass@127.0.0.1:99999",
    "an open bracket": "http://somebody:pass@[::1:15500",
    "a password with a slash": "http://somebody:pa/ss@127.0.0.1:15500",
    "a password with an at": "http://somebody:p@ss@127.0.0.1:15500",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_url_ends_the_program_with_the_flag_and_the_reason_and_without_the_password(
    kind: str, tmp_path: Path
) -> None:
    bad = BAD[kind]
    done = CliRunner().invoke(program, ["serve", "--port", "0", "--data", str(tmp_path / "d"), "--replica-of", bad])
    assert done.exit_code == 2
    assert "--replica-of: expected http://HOST:PORT, got " in done.output
    if "@" in bad:
        assert "ss@" not in done.output
        assert "somebody" not in done.output
    assert not (tmp_path / "d").exists()


# What cannot be followed


BAD_URLS = [
    "http://user:secret@127.0.0.1:99999",
    "http://a b:1",
    "http://[::1",
    "http://user@",
    "http://user:secret@127.0.0.1:1/x?y=1",
    "http://x\ny:1",
    "http://user:secret@[::1:1",
    "http://u:secret@:1",
    "ftp://127.0.0.1",
    "127.0.0.1:15500",
    "user:secret@127.0.0.1:15500",
    "http://",
    "http://127.0.0.1:0",
    "http://127.0.0.1:1#x",
    "http://127.0.0.1:1\n",
]


@pytest.mark.parametrize("bad", BAD_URLS)
def test_what_is_no_url_of_a_server_is_not_followed(pair: Pair, bad: str) -> None:
    reply = pair.replica.send({"command": "replication.follow", "payload": {"master": bad}})
    if reply["success"]:
        pair.replica.call("replication.follow", master=url(pair.master))
        eventually(lambda: link_state(pair.replica) == "streaming")
    error = reply.get("error") or {}
    assert (error.get("code"), error["details"]["path"]) == ("INVALID_PAYLOAD", "payload.master")
    assert "secret" not in str(error)
    assert pair.replica.call("replication.status")["master"]["address"] == url(pair.master)


def test_a_master_that_answers_is_not_taken_the_place_of_unless_forced(pair: Pair) -> None:
    settled(pair)
    error = pair.replica.send({"command": "replication.promote"})["error"]
    assert (error["code"], error["details"]) == ("MASTER_ALIVE", {"master": url(pair.master)})
    assert pair.master.call("replication.promote") == {"role": "master", "epoch": 1}


def test_one_that_was_copied_is_followed_at_once_and_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Inside(tmp_path / "m", journal={"segment_bytes": 65_536}) as master:
        for number in range(20):
            master.call("kv.set", key=f"k{number}", value="x" * 10_000)
        master.call("admin.snapshot")
        within(20, lambda: master.server._snapshots.last_at is not None, True)
        with replica_of(master, tmp_path / "r") as replica:
            caplog.clear()
            caught_up(replica, master)
            found = [r.getMessage() for r in caplog.records if r.levelname in ("WARNING", "ERROR", "CRITICAL")]
            assert [message for message in found if "is a replica of" not in message] == []
            assert replica.call("kv.get", key="k3")["found"]
