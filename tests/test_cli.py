"""The `synap` program, run as a person would run it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from synap import __version__
from synap.cli import program
from tests.support import ServerProcess

OK, FAILED, BAD_SETTING, BAD_JOURNAL = 0, 1, 2, 3


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(program, arguments, env=env)


def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A server that is expected to end by itself."""
    command = [sys.executable, "-m", "synap", "serve", "--port", "0", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests of this file that only need some server."""
    with ServerProcess(tmp_path_factory.mktemp("server") / "data") as running:
        yield running


def call(server: ServerProcess, *arguments: str) -> Result:
    return run("call", *arguments, "--url", server.url)


# Help and version


def test_the_version_is_shown() -> None:
    result = run("version")
    assert (result.exit_code, result.stdout) == (OK, f"{__version__}\n")


def test_help_names_every_command() -> None:
    result = run("--help")
    assert result.exit_code == OK
    for name in ("serve", "call", "shell", "bench", "top", "config", "version", "journal"):
        assert name in result.stdout
    listed = {word for line in run("journal", "--help").stdout.splitlines() for word in line.split()[1:2]}
    assert {"verify", "repair", "dump"} <= listed
    assert "snapshot" not in listed


@pytest.mark.parametrize(
    "arguments", [["nope"], ["serve", "--prot", "1"], ["serve", "--port", "x"], ["journal", "verify"]]
)
def test_a_wrong_argument_ends_with_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == BAD_SETTING


# call


def test_call_runs_a_command_and_prints_its_payload(server: ServerProcess) -> None:
    result = call(server, "kv.set", "key=greeting", 'value="hello"')
    assert result.exit_code == OK
    assert json.loads(result.stdout) == {"key": "greeting", "success": True, "previous": None}
    assert json.loads(call(server, "kv.get", "key=greeting").stdout)["value"] == "hello"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-1.5", -1.5),
        ("true", True),
        ("null", None),
        ("[1, 2]", [1, 2]),
        ('{"a": "b"}', {"a": "b"}),
        ('"5"', "5"),
        ("hello world", "hello world"),
        ("", ""),
        ("a=b=c", "a=b=c"),
        ("[1, 2", "[1, 2"),
        ("True", "True"),
        ("é😀", "é😀"),
        ("[bold]", "[bold]"),
        ("-x", "-x"),
    ],
)
def test_a_field_is_json_or_else_text(server: ServerProcess, text: str, value: object) -> None:
    assert call(server, "kv.set", "key=field", f"value={text}").exit_code == OK
    assert server.call("kv.get", key="field")["value"] == value
    assert json.loads(call(server, "kv.get", "key=field").stdout)["value"] == value


@pytest.mark.parametrize("number", ["1.10", "0.1234567890123456789", "12345678901234567890123", "1e999"])
def test_a_number_is_sent_and_printed_as_it_was_written(server: ServerProcess, number: str) -> None:
    assert call(server, "kv.set", "key=number", f"value={number}").exit_code == OK
    stored = server.http("GET", "/kv/get/number")[2]
    assert stored == b'{"found":true,"value":%b,"ttl":null}' % number.encode()
    assert f'"value": {number},' in call(server, "kv.get", "key=number").stdout


def test_a_long_value_is_printed_as_json_that_can_be_read_again(server: ServerProcess) -> None:
    value = [{"text": "x" * 500, "n": list(range(50))}]
    server.call("kv.set", key="long", value=value)
    assert json.loads(call(server, "kv.get", "key=long").stdout)["value"] == value


def test_a_command_without_fields_needs_none(server: ServerProcess) -> None:
    assert call(server, "kv.dbsize").exit_code == OK


def test_an_error_is_told_on_standard_error_with_code_and_message(server: ServerProcess) -> None:
    result = call(server, "key.rename", "source=missing", "destination=x")
    assert (result.exit_code, result.stdout) == (FAILED, "")
    assert result.stderr == "synap: KEY_NOT_FOUND: there is no key 'missing'\n"
    assert "did you mean kv.get?" in call(server, "kv.gett").stderr


def test_a_field_without_a_value_is_a_wrong_argument(server: ServerProcess) -> None:
    result = call(server, "kv.get", "greeting")
    assert (result.exit_code, result.stderr) == (BAD_SETTING, "synap: expected field=value, got 'greeting'\n")


def test_the_server_may_come_from_the_environment(server: ServerProcess) -> None:
    assert run("call", "kv.dbsize", env={"SYNAP_URL": server.url + "/"}).exit_code == OK


def test_a_server_that_is_not_there_is_told() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        result = run("call", "kv.dbsize", "--url", url)
    assert result.exit_code == FAILED
    assert result.stderr.startswith(f"synap: {url}: ")
    assert run("call", "kv.dbsize", "--url", "nonsense").exit_code == FAILED


def test_a_server_that_is_not_synap_is_told(server: ServerProcess) -> None:
    result = run("call", "kv.dbsize", "--url", server.url + "/health/no")
    assert (result.exit_code, "does not answer like a Synap server" in result.stderr) == (FAILED, True)


# config


def test_config_shows_every_setting_with_its_origin(tmp_path: Path) -> None:
    file = tmp_path / "synap.toml"
    file.write_text("[journal]\nfsync = 'always'\n")
    environment = {"SYNAP_SERVER_PORT": "4711", "COLUMNS": "200"}
    result = run("config", "--config", str(file), env=environment)
    assert result.exit_code == OK
    words = [line.split() for line in result.stdout.splitlines()]
    rows = {row[0]: row[1:] for row in words if row and "." in row[0]}
    assert len(rows) >= 15
    assert rows["server.port"] == ["4711", "SYNAP_SERVER_PORT"]
    assert rows["journal.fsync"][0] == "always"
    assert rows["memory.policy"] == ["noeviction", "default"]


def test_config_shows_long_values_whole_when_they_are_piped(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 100) / ("e" * 100)
    result = run("config", env={"SYNAP_SERVER_DATA": str(directory)})
    assert str(directory) in result.stdout


def test_a_bad_setting_ends_with_2_and_names_file_key_and_reason(tmp_path: Path) -> None:
    file = tmp_path / "synap.toml"
    file.write_text("[server]\nprot = 1\n")
    for command in ("config", "serve"):
        result = run(command, "--config", str(file))
        assert result.exit_code == BAD_SETTING
        known = "host, port, data, tls_cert, tls_key, cors_origins"
        assert result.stderr == f"synap: {file}: server.prot: unknown key; [server] has {known}\n"


# serve


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fsync", "sometimes"], "--fsync: journal.fsync: invalid enum value 'sometimes'"),
        (["--port", "70000"], "--port: server.port: expected `int` <= 65535"),
        (["--log-format", "xml"], "--log-format: log.format: invalid enum value 'xml'"),
        (["--config", "missing.toml"], "missing.toml: "),
        (["--host", "0.0.0.0"], "--host: server.host: 0.0.0.0 can be reached from other machines"),  # noqa: S104
    ],
)
def test_serve_ends_with_2_on_a_bad_flag(arguments: list[str], message: str) -> None:
    result = run("serve", *arguments)
    assert result.exit_code == BAD_SETTING
    assert result.stderr.startswith(f"synap: {message}")


def test_the_ready_line_says_where_what_and_how_far(server: ServerProcess) -> None:
    assert server.ready_line == (
        f"Synap {__version__} ready at {server.url} (data {server.data}, fsync everysec, LSN 0)\n"
    )


def test_a_second_server_on_the_same_data_ends_with_2_and_names_the_first(server: ServerProcess) -> None:
    result = serve("--data", str(server.data))
    assert (result.returncode, result.stdout) == (BAD_SETTING, "")
    assert str(server.process.pid) in result.stderr
    assert "--data: server.data: " in result.stderr


def test_a_port_that_is_taken_ends_with_2(server: ServerProcess, tmp_path: Path) -> None:
    result = serve("--data", str(tmp_path / "other"), "--port", str(server.port))
    assert result.returncode == BAD_SETTING
    assert str(server.port) in result.stderr


# journal


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a server that has written three records and stopped."""
    data = tmp_path_factory.mktemp("written") / "data"
    with ServerProcess(data) as server:
        server.send(b'{"command":"kv.set","payload":{"key":"a","value":1.10}}')
        server.call("kv.incr", key="n")
        server.call("kv.del", key="a")
        assert server.stop() == OK
    return data


@pytest.fixture
def data(written: Path, tmp_path: Path) -> Path:
    """A copy of `written` to be damaged."""
    copy = tmp_path / "data"
    copy.mkdir()
    for file in written.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def newest_segment(data: Path) -> Path:
    return max((file for file in data.glob("*.journal") if file.stat().st_size > 50), key=lambda file: file.name)


def test_dump_prints_every_record_as_a_line_of_json(written: Path) -> None:
    result = run("journal", "dump", "--data", str(written))
    assert result.exit_code == OK
    lines = result.stdout.splitlines()
    assert [json.loads(line)["command"] for line in lines] == ["kv.set", "kv.incr", "kv.del"]
    assert [json.loads(line)["lsn"] for line in lines] == [1, 2, 3]
    assert lines[0].endswith('"payload":{"key":"a","value":1.10}}')


def test_dump_may_begin_later(written: Path) -> None:
    result = run("journal", "dump", "--data", str(written), "--from-lsn", "3")
    assert [json.loads(line)["lsn"] for line in result.stdout.splitlines()] == [3]


def test_verify_says_that_a_journal_is_intact(written: Path) -> None:
    result = run("journal", "verify", "--data", str(written))
    assert result.exit_code == OK
    assert result.stdout.endswith("intact\n")
    assert "records 1 to 3" in result.stdout


def test_verify_ends_with_3_on_damage_and_serve_refuses_to_start(data: Path) -> None:
    segment = newest_segment(data)
    damaged = bytearray(segment.read_bytes())
    damaged[damaged.index(b"kv.set")] ^= 1
    segment.write_bytes(damaged)
    result = run("journal", "verify", "--data", str(data))
    assert result.exit_code == BAD_JOURNAL
    assert "DAMAGED at offset" in result.stdout
    assert run("journal", "dump", "--data", str(data)).exit_code == BAD_JOURNAL
    refused = serve("--data", str(data))
    assert refused.returncode == BAD_JOURNAL
    assert segment.name in refused.stderr
    assert "synap journal repair" in refused.stderr


def test_verify_takes_a_torn_end_for_what_it_is(data: Path) -> None:
    segment = newest_segment(data)
    segment.write_bytes(segment.read_bytes()[:-3])
    result = run("journal", "verify", "--data", str(data))
    assert result.exit_code == OK
    assert "torn, cut off at the next start" in result.stdout


def test_repair_cuts_at_the_damage_and_keeps_what_it_cuts(data: Path) -> None:
    segment = newest_segment(data)
    damaged = bytearray(segment.read_bytes())
    damaged[damaged.index(b"kv.incr")] ^= 1
    segment.write_bytes(damaged)
    result = run("journal", "repair", "--data", str(data))
    assert result.exit_code == OK
    kept = Path(result.stdout.splitlines()[0].removeprefix("kept what was cut: "))
    assert kept.read_bytes().endswith(damaged[-40:])
    assert result.stdout.endswith("the journal can be opened\n")
    assert run("journal", "verify", "--data", str(data)).exit_code == OK
    assert len(run("journal", "dump", "--data", str(data)).stdout.splitlines()) == 1


def test_repair_leaves_an_intact_journal_alone(data: Path) -> None:
    before = newest_segment(data).read_bytes()
    result = run("journal", "repair", "--data", str(data))
    assert (result.exit_code, result.stdout) == (OK, "the journal is intact, nothing to do\n")
    assert newest_segment(data).read_bytes() == before


def test_repair_keeps_its_hands_off_a_journal_in_use(server: ServerProcess) -> None:
    result = run("journal", "repair", "--data", str(server.data))
    assert result.exit_code == BAD_SETTING
    assert str(server.process.pid) in result.stderr


@pytest.mark.parametrize("command", ["verify", "dump", "repair"])
def test_a_data_directory_that_is_not_there_is_told(tmp_path: Path, command: str) -> None:
    missing = tmp_path / "missing"
    result = run("journal", command, "--data", str(missing))
    assert (result.exit_code, result.stderr) == (BAD_SETTING, f"synap: {missing} is not a directory\n")
    assert not missing.exists()
