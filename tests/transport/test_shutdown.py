"""Starting and stopping: the ready line, settings that are refused, and an end that loses nothing."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import ServerProcess
from tests.transport.wire import (
    COMMAND,
    HEALTH,
    Answer,
    chunked,
    command,
    connect,
    connect_handed_over,
    envelope,
    eventually,
    request,
)

STOPS_WITHIN_SECS = 8.0
REFUSED_WITHIN_SECS = 20.0
DBSIZE = command(envelope("kv.dbsize"))


# The end


PIPELINED = 20


class Client(threading.Thread):
    """Counts up a key of its own for as long as it is answered; `answered` is the last value it was told."""

    def __init__(self, server: ServerProcess, kind: str) -> None:
        super().__init__()
        self.key, self.answered = kind, 0
        self._server, self._kind = server, kind
        body = envelope("kv.incr", key=self.key)
        self._request = {
            "synced": command(body, [("X-Synap-Ack", "synced")]),
            "chunked": chunked("POST", COMMAND, body),
            "rest": request("POST", "/kv/incr", b'{"key":"rest"}'),
        }.get(kind, command(body))
        self.in_flight = PIPELINED if kind == "pipelined" else 1

    def run(self) -> None:
        opened = connect_handed_over if self._kind == "handed over" else connect
        with opened(self._server) as wire, suppress(EOFError, ConnectionError):
            while True:
                wire.send(self._request * self.in_flight)
                for _ in range(self.in_flight):
                    self._take(wire.answer())

    def _take(self, answer: Answer) -> None:
        if answer.status == 200:
            self.answered = answer.json["value"] if self._kind == "rest" else answer.payload["value"]
        else:
            assert (answer.status, answer.error["code"]) == (503, "UNAVAILABLE")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_answered_before_the_end_is_there_after_it(tmp_path: Path, number: signal.Signals) -> None:
    server = ServerProcess(tmp_path / "data")
    kinds = ("plain", "pipelined", "synced", "chunked", "handed over", "rest")
    clients = [Client(server, kind) for kind in kinds]
    for client in clients:
        client.start()
    eventually(lambda: all(client.answered > 50 for client in clients))
    server.process.send_signal(number)
    assert server.process.wait(STOPS_WITHIN_SECS) == 0
    for client in clients:
        client.join()
    with ServerProcess(tmp_path / "data") as restarted:
        for client in clients:
            # What was on its way may have been executed without its answer arriving.
            value = restarted.call("kv.get", key=client.key)["value"]
            assert client.answered <= value <= client.answered + client.in_flight, client.key


def test_connections_without_a_request_are_closed_at_once(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        with connect(server) as unused, connect(server) as used, connect_handed_over(server) as handed_over:
            assert used.ask(DBSIZE).status == 200
            server.process.send_signal(signal.SIGTERM)
            for wire in (unused, used, handed_over):
                wire.socket.settimeout(STOPS_WITHIN_SECS)
                wire.expect_closed()
        assert server.process.wait(STOPS_WITHIN_SECS) == 0


def test_a_stopped_server_takes_no_connections(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        assert server.stop() == 0
        with pytest.raises(ConnectionRefusedError), connect(server):
            pass


@pytest.mark.parametrize("half", [DBSIZE[:30], DBSIZE[:-5], HEALTH + HEALTH[:-5], HEALTH + DBSIZE[:-5]])
def test_half_a_request_holds_nobody_up_for_longer_than_a_request_may_take(tmp_path: Path, half: bytes) -> None:
    env = {"SYNAP_LIMITS_READ_TIMEOUT_SECS": "1"}
    with ServerProcess(tmp_path / "data", env=env) as server, connect(server) as wire:
        wire.send(half)
        if half.startswith(HEALTH):
            assert wire.answer().status == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(STOPS_WITHIN_SECS) == 0


def test_a_body_that_was_given_up_holds_nobody_up_at_all(tmp_path: Path) -> None:
    env = {"SYNAP_LIMITS_READ_TIMEOUT_SECS": "1"}
    with ServerProcess(tmp_path / "data", env=env) as server, connect_handed_over(server) as wire:
        wire.send(DBSIZE[:-5])
        assert wire.answer().status == 400
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(STOPS_WITHIN_SECS) == 0


def test_the_rest_of_a_request_that_was_on_its_way_is_still_taken(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        with connect(server) as wire, connect(server) as idle:
            wire.send(DBSIZE[:-5])
            assert idle.ask(DBSIZE).status == 200  # the server has seen the first half
            server.process.send_signal(signal.SIGTERM)
            idle.expect_closed()
            answer = wire.ask(DBSIZE[-5:])
            assert answer.status in (200, 503)
            assert answer.header("Connection") == "close"
            wire.expect_closed()
        assert server.process.wait(STOPS_WITHIN_SECS) == 0


def test_a_second_signal_does_not_break_the_end(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        for i in range(100):
            server.call("kv.set", key=f"key {i}", value=i)
        for _ in range(3):
            server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(STOPS_WITHIN_SECS) == 0
    with ServerProcess(tmp_path / "data") as restarted:
        assert restarted.call("kv.dbsize")["size"] == 100


# The beginning


def test_one_line_says_where_the_server_is_and_what_it_has(tmp_path: Path) -> None:
    data = tmp_path / "data"
    line = re.compile(r"Synap \d+\.\d+\.\d+ ready at http://127\.0\.0\.1:(\d+) \(data (.+), fsync (\w+), LSN (\d+)\)\n")
    with ServerProcess(data, "--fsync", "always") as server:
        match = line.fullmatch(server.ready_line)
        assert match
        assert match.groups() == (str(server.port), str(data), "always", "0")
        server.call("kv.set", key="a", value=1)
        server.call("kv.set", key="a", value=2)
        server.process.send_signal(signal.SIGTERM)
        rest, _ = server.process.communicate(timeout=STOPS_WITHIN_SECS)
        assert rest == b""
    with ServerProcess(data) as restarted:
        match = line.fullmatch(restarted.ready_line)
        assert match
        assert match.groups()[2:] == ("everysec", "2")
        assert restarted.call("kv.get", key="a")["value"] == 2


def test_a_server_may_be_reached_from_elsewhere_when_that_is_said_aloud(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", "--host", "0.0.0.0", "--insecure") as server:  # noqa: S104
        assert server.call("kv.dbsize")["size"] == 0


def refused(tmp_path: Path, *arguments: str, env: dict[str, str] | None = None, toml: str | None = None) -> str:
    """What `synap serve` says when it does not start because of its settings."""
    environment = {**os.environ, "SYNAP_SERVER_PORT": "0", **(env or {})}
    if toml is not None:
        file = tmp_path / "synap.toml"
        file.write_text(toml)
        arguments = ("--config", str(file), *arguments)
        del environment["SYNAP_SERVER_PORT"]
    finished = subprocess.run(
        [sys.executable, "-m", "synap", "serve", "--data", str(tmp_path / "data"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=REFUSED_WITHIN_SECS,
    )
    assert finished.returncode == 2, finished
    assert finished.stdout == ""
    assert "Traceback" not in finished.stderr
    return finished.stderr


@pytest.mark.parametrize(
    ("toml", "key", "reason"),
    [
        ("[server]\nprot = 1\n", "server.prot", "unknown key"),
        ("[sever]\nport = 1\n", "[sever]", "unknown section"),
        ("[sever]\n", "[sever]", "unknown section"),
        ("port = 1\n", "port", "expected a [section]"),
        ('[server]\nport = "1"\n', "server.port", "int"),
        ("[server]\nport = 70000\n", "server.port", "65535"),
        ("[server]\nport = true\n", "server.port", "bool"),
        ('[journal]\nfsync = "sometimes"\n', "journal.fsync", "sometimes"),
        ("[limits]\nmax_batch = 0\n", "limits.max_batch", ">= 1"),
        ("[limits]\nread_timeout_secs = -1\n", "limits.read_timeout_secs", "> 0"),
        ("[server\n", "", "line 1"),
    ],
)
def test_a_bad_setting_in_the_file_is_named_with_file_key_and_reason(
    tmp_path: Path, toml: str, key: str, reason: str
) -> None:
    message = refused(tmp_path, toml=toml)
    assert str(tmp_path / "synap.toml") in message
    assert key in message
    assert reason in message


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere.toml") in refused(tmp_path, "--config", str(tmp_path / "nowhere.toml"))


@pytest.mark.parametrize(
    ("variable", "value", "key", "reason"),
    [
        ("SYNAP_SERVER_PORT", "many", "server.port", "int"),
        ("SYNAP_SERVER_PORT", "-1", "server.port", ">= 0"),
        ("SYNAP_LIMITS_MAX_BODY_BYTES", "32MiB", "limits.max_body_bytes", "int"),
        ("SYNAP_LIMITS_IDLE_TIMEOUT_SECS", "nan", "limits.idle_timeout_secs", "expected"),
        ("SYNAP_LIMITS_IDLE_TIMEOUT_SECS", "inf", "limits.idle_timeout_secs", "expected"),
        ("SYNAP_MEMORY_POLICY", "", "memory.policy", ""),
        ("SYNAP_LOG_LEVEL", "LOUD", "log.level", "LOUD"),
        ("SYNAP_LIMITS_MAX_CONECTIONS", "5", "limits.max_conections", "unknown key"),
    ],
)
def test_a_bad_setting_in_the_environment_is_named_with_variable_key_and_reason(
    tmp_path: Path, variable: str, value: str, key: str, reason: str
) -> None:
    message = refused(tmp_path, env={variable: value})
    assert variable in message
    assert key in message
    assert reason in message


@pytest.mark.parametrize(
    ("arguments", "key", "reason"),
    [
        (("--port", "70000"), "server.port", "65535"),
        (("--fsync", "sometimes"), "journal.fsync", "sometimes"),
        (("--log-format", "xml"), "log.format", "xml"),
        (("--host", "0.0.0.0"), "server.host", "--insecure"),  # noqa: S104
        (("--host", "::"), "server.host", "--insecure"),
        (("--host", ""), "server.host", ""),
        (("--host", "no.such.host.invalid", "--insecure"), "server.host", "no.such.host.invalid"),
    ],
)
def test_a_bad_flag_is_named_with_key_and_reason(
    tmp_path: Path, arguments: tuple[str, str], key: str, reason: str
) -> None:
    message = refused(tmp_path, *arguments)
    assert arguments[0] in message
    assert key in message
    assert reason in message


@pytest.mark.parametrize("arguments", [("--prot", "1"), ("--port",), ("--port", "many"), ("extra",)])
def test_flags_nobody_knows_are_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert arguments[0] in refused(tmp_path, *arguments)


def test_an_open_host_from_the_environment_is_refused_by_that_name(tmp_path: Path) -> None:
    message = refused(tmp_path, env={"SYNAP_SERVER_HOST": "0.0.0.0"})  # noqa: S104
    assert "SYNAP_SERVER_HOST" in message
    assert "--insecure" in message


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refused(tmp_path, "--port", str(port))
    assert "--port" in message
    assert "server.port" in message
    assert str(port) in message
    assert "in use" in message


def test_a_data_directory_that_is_taken_is_named_with_its_owner(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as owner:
        message = refused(tmp_path)
        assert "server.data" in message
        assert str(tmp_path / "data") in message
        assert str(owner.process.pid) in message
        assert owner.call("kv.dbsize")["size"] == 0


def test_a_data_directory_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        message = refused(tmp_path, "--data", str(path))
        assert "--data" in message
        assert "server.data" in message
        assert str(path) in message


def test_a_refused_start_leaves_nothing_behind(tmp_path: Path) -> None:
    refused(tmp_path, "--port", "70000")
    assert not (tmp_path / "data").exists()


def test_a_killed_server_leaves_its_port_and_its_data_free(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server, connect(server) as wire:
        assert wire.ask(command(envelope("kv.set", key="a", value=1))).status == 200
        server.kill()
    with ServerProcess(tmp_path / "data", "--port", str(server.port)) as again:
        assert again.call("kv.get", key="a")["value"] == 1
