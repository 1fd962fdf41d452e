"""What a running server says about itself, and what it can be asked for: health, stats, settings, clients, snapshots
and the end.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest

import synap
from synap.commands import TABLE
from synap.commands.reference import schema
from synap.config import MASK, Loaded, Settings, load, shown
from synap.journal import snapshot
from synap.transport.overview import Rate, rss_bytes
from tests.support import ServerProcess
from tests.transport.sockets import Inside, connected, listening, wired, within
from tests.transport.wire import chunked, command, request

SECRETS = {"SYNAP_AUTH_JWT_SECRET": "hush-" * 10, "SYNAP_AUTH_ROOT_PASSWORD": "open sesame"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    with Inside(tmp_path_factory.mktemp("overview") / "data") as running:
        yield running


def get(server: Inside, path: str) -> Any:
    with wired(server) as wire:
        answer = wire.ask(request("GET", path))
    assert answer.status == 200
    return answer.json


@pytest.mark.parametrize("name", ["stats", "health", "config", "slowlog", "clients", "snapshot"])
def test_what_is_told_is_as_its_schema_says(server: Inside, name: str) -> None:
    row = TABLE.get(f"admin.{name}")
    assert row is not None
    server.run(lambda: server.server._overview.slowlog.note(0, "kv.keys", None, 1.0, "127.0.0.1:1"))
    jsonschema_rs.validator_for(schema(row.result)).validate(server.call(row.name))


# Health and stats


def test_health_is_the_same_by_command_and_by_its_page(server: Inside) -> None:
    told, page = server.call("admin.health"), get(server, "/health")
    assert abs(told.pop("uptime_secs") - page.pop("uptime_secs")) <= 1
    assert told == page
    assert told == {
        "status": "healthy",
        "version": synap.__version__,
        "role": "master",
        "phase": "serving",
        "components": {
            "kv_store": "operational",
            "queue_system": "operational",
            "event_stream": "operational",
            "pubsub": "operational",
            "journal": "operational",
            "replication": "operational",
        },
    }


def test_a_journal_that_refuses_writes_is_told_by_health(tmp_path: Path) -> None:
    with Inside(tmp_path / "data") as server:

        def fail() -> None:
            server.server._journal.failure = OSError(28, "No space left on device")

        server.run(fail)
        health = get(server, "/health")
        assert (health["status"], health["components"]["journal"]) == ("degraded", "refusing writes")
        assert health["components"]["kv_store"] == "operational"


def test_the_stats_tell_about_process_journal_and_connections(server: Inside) -> None:
    with wired(server) as wire:
        before = wire.ask(request("GET", "/info")).json
        wire.ask(command(b'{"command":"kv.set","payload":{"key":"heavy","value":"%b"}}' % (b"x" * 100_000)))
        after = wire.ask(request("GET", "/info")).json
    assert after["server"] == {
        "version": synap.__version__,
        "uptime_secs": after["server"]["uptime_secs"],
        "role": "master",
    }
    assert after["memory"]["used_bytes"] - before["memory"]["used_bytes"] >= 100_000
    assert after["memory"]["limit_bytes"] == 0
    assert after["memory"]["rss_bytes"] > 1_000_000
    assert after["journal"]["lsn"] == before["journal"]["lsn"] + 1
    assert after["journal"]["bytes"] - before["journal"]["bytes"] >= 100_000
    assert after["journal"]["fsync"] == "everysec"
    assert after["connections"] >= 1
    assert after["kv"]["total_keys"] == before["kv"]["total_keys"] + 1


def test_the_size_of_the_process_is_left_out_where_the_system_does_not_tell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("synap.transport.overview._PROCESS_MEMORY", tmp_path / "missing")
    assert rss_bytes() is None


def test_a_rate_is_what_happened_between_two_looks() -> None:
    rate = Rate(now=100.0)
    assert rate.per_sec == 0
    rate.sample(50, 101.0)
    assert rate.per_sec == 50
    rate.sample(50, 101.0)
    assert rate.per_sec == 50
    rate.sample(60, 103.0)
    assert rate.per_sec == 5
    rate.sample(60, 104.0)
    assert rate.per_sec == 0


def test_commands_on_keys_of_any_type_count_for_a_second_and_others_do_not(server: Inside) -> None:
    overview = server.server._overview

    def counted() -> int:
        return sum(bound.succeeded + bound.failed for bound in overview._on_keys)

    before = server.run(counted)
    server.call("kv.set", key="a", value=1)
    server.call("hash.set", key="h", field="f", value=1)
    server.call("queue.publish", queue="q", message=1)
    server.call("pubsub.publish", topic="t", message=1)
    assert server.run(counted) - before == 2
    within(10, lambda: server.call("admin.stats")["kv"]["operations_per_sec"] > 0, True)
    within(10, lambda: server.call("admin.stats")["kv"]["operations_per_sec"], 0)


# Settings


def test_every_setting_is_told_with_its_value_and_where_it_came_from(tmp_path: Path) -> None:
    file = tmp_path / "synap.toml"
    file.write_text("[limits]\nmax_batch = 77\n")
    environment = {"SYNAP_QUEUES_MAX_DEPTH": "9", **SECRETS}
    with ServerProcess(tmp_path / "data", "--fsync", "always", "--config", str(file), env=environment) as server:
        told = server.call("admin.config")
        settings = told["settings"]
        assert settings["limits.max_batch"] == {"value": 77, "origin": str(file)}
        assert settings["queues.max_depth"] == {"value": 9, "origin": "SYNAP_QUEUES_MAX_DEPTH"}
        assert settings["journal.fsync"] == {"value": "always", "origin": "--fsync"}
        assert settings["limits.max_body_bytes"]["origin"] == "default"
        assert settings["auth.jwt_secret"] == {"value": MASK, "origin": "SYNAP_AUTH_JWT_SECRET"}
        assert list(settings) == [key for key, _, _ in shown(load(None, {}, {}))]
        assert not any(secret in json.dumps(told) for secret in SECRETS.values())


def test_a_secret_is_a_mask_only_when_it_is_set() -> None:
    unset = {key: value for key, value, _ in shown(load(None, {}, {}))}
    is_set = {key: value for key, value, _ in shown(load(None, SECRETS, {}))}
    for key in ("auth.jwt_secret", "auth.root_password"):
        assert (unset[key], is_set[key]) == ("", MASK)


def test_whatever_is_called_a_secret_or_a_password_is_declared_one() -> None:
    sections = msgspec.structs.fields(Settings)
    texts = [(section, field) for section in sections for field in msgspec.structs.fields(section.type)]
    called_so = {f"{s.name}.{f.name}" for s, f in texts if re.search("secret|password", f.name)}
    values = dict.fromkeys(called_so, "x")
    masked = {key for key, value, _ in shown(load(None, {}, values)) if value == MASK}
    assert masked == called_so
    assert called_so


def test_settings_that_were_given_to_the_server_itself_say_so() -> None:
    assert {origin for _, _, origin in shown(Loaded(Settings(), {}))} == {"given"}


def test_the_program_shows_the_same_settings_with_the_same_masks() -> None:
    program = [sys.executable, "-m", "synap", "config"]
    result = subprocess.run(program, env={**os.environ, **SECRETS}, capture_output=True, text=True, check=True)
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert re.fullmatch(rf"auth.jwt_secret +{re.escape(MASK)} +SYNAP_AUTH_JWT_SECRET", lines["auth.jwt_secret"])
    assert not any(secret in result.stdout for secret in SECRETS.values())


# Clients


def clients(server: Inside) -> list[dict[str, Any]]:
    found = server.call("admin.clients")["clients"]
    assert isinstance(found, list)
    return found


def test_clients_are_listed_by_id_with_what_they_speak_and_are_subscribed_to(server: Inside) -> None:
    server.call("stream.publish", room="room", event_type="e", data=1)
    with wired(server) as wire, connected(server) as socket, listening(server, "/pubsub/events?topics=a.*,b") as source:
        wire.ask(command(b'{"command":"kv.dbsize"}'))
        socket.call("pubsub.subscribe", topics=["x", "y.#"])
        socket.call("stream.subscribe", room="room")
        source.first_id()
        listed = clients(server)
        by_port = {client["address"].rpartition(":")[2]: client for client in listed}
        own = [by_port[str(c.getsockname()[1])] for c in (wire.socket, socket.connection, source.connection)]
        assert [client["transport"] for client in own] == ["http", "websocket", "sse"]
        assert [client["subscriptions"] for client in own] == [0, 3, 2]
        assert [client["outbox"] for client in own] == [0, 0, 0]
        assert all(client["address"].startswith("127.0.0.1:") and client["user"] is None for client in own)
        ids = [client["id"] for client in listed]
        assert ids == sorted(set(ids))
        assert [client["id"] for client in own] == sorted(client["id"] for client in own)


def test_a_connection_that_has_ended_is_listed_no_more(server: Inside) -> None:
    with wired(server) as wire:
        wire.ask(command(b'{"command":"kv.dbsize"}'))
        port = wire.socket.getsockname()[1]
    within(10, lambda: any(c["address"].endswith(f":{port}") for c in clients(server)), False)


def test_messages_that_a_client_has_not_taken_yet_are_counted(server: Inside) -> None:
    with connected(server, receive_buffer=4096) as slow:
        slow.call("pubsub.subscribe", topics=["flood"])
        address = f"127.0.0.1:{slow.connection.getsockname()[1]}"
        for _ in range(20):
            server.call("pubsub.publish", topic="flood", message="x" * 1_000_000)
        [client] = [client for client in clients(server) if client["address"] == address]
        assert client["outbox"] > 0


# Snapshots


def snapshots_in(data: Path) -> list[int]:
    return [snapshot.lsn_of(path) for path in snapshot.list_snapshots(data)]


def test_a_snapshot_can_be_had_at_once_even_where_none_is_made_otherwise(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Inside(data, journal={"snapshot_every_bytes": 0}) as server:
        for number in range(20):
            server.call("kv.set", key=f"k{number}", value=number)
        lsn = server.run(lambda: server.server._state.lsn)
        with wired(server) as wire:
            assert wire.ask(request("POST", "/snapshot")).json == {"started": True, "lsn": lsn}
        within(30, lambda: snapshots_in(data), [lsn])
        digest = server.call("admin.digest")["digest"]
    with Inside(data, journal={"snapshot_every_bytes": 0}) as again:
        assert again.call("admin.digest")["digest"] == digest


def test_while_a_snapshot_is_made_no_other_one_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    program = tmp_path / "slow"
    program.write_text(f'#!/bin/sh\nread _ < {tmp_path}/go\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o700)
    os.mkfifo(tmp_path / "go")
    with Inside(data) as server:
        server.call("kv.set", key="a", value=1)
        monkeypatch.setattr("synap.server.sys.executable", str(program))
        begun = server.call("admin.snapshot")
        server.call("kv.set", key="a", value=2)
        for _ in range(3):
            assert server.call("admin.snapshot") == {"started": False, "lsn": begun["lsn"]}
        (tmp_path / "go").write_text("go\n")
        within(30, lambda: snapshots_in(data), [begun["lsn"]])
        monkeypatch.undo()
        within(10, lambda: server.call("admin.snapshot")["started"], True)
        within(30, lambda: snapshots_in(data), [begun["lsn"] + 1])


def test_a_snapshot_that_fails_is_counted_and_the_next_one_can_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    with Inside(data) as server:
        server.call("kv.set", key="a", value=1)
        record = server.server._snapshots
        for number, program in enumerate(("/bin/false", str(tmp_path / "missing")), start=1):
            monkeypatch.setattr("synap.server.sys.executable", program)
            assert server.call("admin.snapshot")["started"] is True
            within(10, lambda: record.running_lsn is None and record.failures, number)
        assert (record.last_at, record.last_secs) == (None, None)
        monkeypatch.undo()
        assert server.call("admin.snapshot")["started"] is True
        within(30, lambda: len(snapshots_in(data)), 1)
        within(10, lambda: record.running_lsn, None)
        assert record.last_at is not None
        assert record.last_secs is not None


# The end

SHUTDOWN = b'{"command":"admin.shutdown"}'


@pytest.mark.parametrize("ask", [command, lambda body: chunked("POST", "/api/v1/command", body)])
def test_the_reply_leaves_before_the_server_does(tmp_path: Path, ask: Any) -> None:
    with ServerProcess(tmp_path / "data") as server:
        server.call("kv.set", key="kept", value=1)
        with wired(server) as wire:
            assert wire.ask(ask(SHUTDOWN)).json["payload"] == {"accepted": True}
        assert server.process.wait(timeout=30) == 0
    with ServerProcess(tmp_path / "data") as again:
        assert again.call("kv.get", key="kept")["value"] == 1


def test_a_socket_gets_its_reply_before_the_server_goes(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server, connected(server) as socket:
        assert socket.call("admin.shutdown") == {"accepted": True}
        assert server.process.wait(timeout=30) == 0


def test_what_stands_behind_the_end_in_a_batch_is_done(tmp_path: Path) -> None:
    entries = [{"command": "admin.shutdown"}, {"command": "kv.set", "payload": {"key": "last", "value": 1}}]
    with ServerProcess(tmp_path / "data") as server:
        results = server.send({"type": "batch", "commands": entries})["results"]
        assert [result["status"] for result in results] == ["success", "success"]
        assert server.process.wait(timeout=30) == 0
    with ServerProcess(tmp_path / "data") as again:
        assert again.call("kv.get", key="last")["value"] == 1


def test_what_has_been_sent_behind_the_end_is_answered(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        with wired(server) as wire:
            wire.send(command(SHUTDOWN) + command(b'{"command":"kv.set","payload":{"key":"late","value":1}}'))
            assert wire.answer().json["payload"] == {"accepted": True}
            assert wire.answer().json["success"] is True
        assert server.process.wait(timeout=30) == 0


@pytest.mark.parametrize("at_once", [True, False])
def test_the_end_does_not_wait_for_a_snapshot_and_loses_nothing(tmp_path: Path, at_once: bool) -> None:
    entries = [{"command": "admin.snapshot"}, {"command": "admin.shutdown"}]
    with ServerProcess(tmp_path / "data") as server:
        server.call("kv.set", key="kept", value=1)
        if at_once:
            server.send({"type": "batch", "commands": entries})
        else:
            for entry in entries:
                server.call(entry["command"])
        assert server.process.wait(timeout=30) == 0
        assert "Traceback" not in server.log.read_text()
    with ServerProcess(tmp_path / "data") as again:
        assert again.call("kv.get", key="kept")["value"] == 1
