"""Settings: which source wins, where each value came from, and messages that name place, key and reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from synap.config import MIB, BadSetting, Loaded, Settings, is_loopback, load

SECTIONS = "server, journal, memory, limits, auth, rate_limit, queues, streams, pubsub, replication, log"
KEYS = [
    f"{section.name}.{field.name}"
    for section in msgspec.structs.fields(Settings)
    for field in msgspec.structs.fields(section.type)
]


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "synap.toml"


def loaded(file: Path | None = None, environment: dict[str, str] | None = None, **flags: Any) -> Loaded:
    return load(file, environment or {}, {name.replace("__", "."): value for name, value in flags.items()})


def refused(file: Path | None = None, environment: dict[str, str] | None = None, **flags: Any) -> str:
    with pytest.raises(BadSetting) as raised:
        loaded(file, environment, **flags)
    return str(raised.value)


def test_without_any_source_everything_has_its_default() -> None:
    result = loaded()
    assert result.settings == Settings()
    assert result.origins == dict.fromkeys(KEYS, "default")


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = Settings()
    assert (settings.server.host, settings.server.port, settings.server.data) == ("127.0.0.1", 15_500, "./synap-data")
    assert (settings.memory.limit_bytes, settings.memory.policy) == (0, "noeviction")
    assert settings.limits.max_body_bytes == 32 * MIB
    assert (settings.limits.max_batch, settings.limits.max_key_bytes) == (10_000, 64 * 1024)


def test_flags_win_over_the_environment_the_file_and_the_defaults(toml: Path) -> None:
    toml.write_text("[server]\nport = 1\nhost = '127.0.0.2'\ndata = 'file'\n")
    environment = {"SYNAP_SERVER_PORT": "2", "SYNAP_SERVER_DATA": "env"}
    result = loaded(toml, environment, server__port=3, server__host=None, journal__fsync="always")
    assert (result.settings.server.port, result.origins["server.port"]) == (3, "--port")
    assert (result.settings.server.data, result.origins["server.data"]) == ("env", "SYNAP_SERVER_DATA")
    assert (result.settings.server.host, result.origins["server.host"]) == ("127.0.0.2", str(toml))
    assert (result.settings.journal.fsync, result.origins["journal.fsync"]) == ("always", "--fsync")
    assert result.origins["limits.max_batch"] == "default"


@pytest.mark.parametrize("key", KEYS)
def test_every_setting_can_come_from_the_environment(key: str) -> None:
    section, name = key.split(".")
    default = getattr(getattr(Settings(), section), name)
    variable = f"SYNAP_{section}_{name}".upper()
    text = ",".join(default) if isinstance(default, list) else str(default)
    result = loaded(environment={variable: text})
    assert result.settings == Settings()
    assert result.origins[key] == variable


@pytest.mark.parametrize("key", KEYS)
def test_every_setting_can_come_from_the_file(toml: Path, key: str) -> None:
    section, name = key.split(".")
    default = getattr(getattr(Settings(), section), name)
    toml.write_text(f"[{section}]\n{name} = {json.dumps(default)}\n")
    result = loaded(toml)
    assert result.settings == Settings()
    assert result.origins[key] == str(toml)


def test_numbers_from_the_environment_are_read_as_numbers() -> None:
    result = loaded(environment={"SYNAP_LIMITS_READ_TIMEOUT_SECS": "2.5", "SYNAP_LIMITS_MAX_BATCH": "7"})
    assert (result.settings.limits.read_timeout_secs, result.settings.limits.max_batch) == (2.5, 7)


def test_a_text_that_looks_like_a_number_stays_text() -> None:
    assert loaded(environment={"SYNAP_SERVER_DATA": "42"}).settings.server.data == "42"


def test_variables_of_others_are_none_of_our_business() -> None:
    environment = {
        "SYNAP_URL": "http://x",
        "SYNAPSE_PORT": "1",
        "PORT": "1",
        "SYNAP_": "x",
        "SYNAP_SERVICE_HOST": "10.0.0.1",
    }
    assert loaded(environment=environment).settings == Settings()


# Mistakes


def test_a_file_that_is_not_there_is_named(toml: Path) -> None:
    message = refused(toml)
    assert message.startswith(f"{toml}: ")
    assert "No such file" in message


@pytest.mark.parametrize("content", [b"[server", b"port = ", b"\xff\xfe", b"[server]\nport = 1\nport = 2\n"])
def test_a_file_that_is_no_toml_is_named(toml: Path, content: bytes) -> None:
    toml.write_bytes(content)
    assert refused(toml).startswith(f"{toml}: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[sever]\nport = 1", f"[sever]: unknown section; known are {SECTIONS}"),
        ("[sever]", f"[sever]: unknown section; known are {SECTIONS}"),
        (
            "[server]\nprot = 1",
            "server.prot: unknown key; [server] has host, port, data, tls_cert, tls_key, cors_origins",
        ),
        ("port = 1", "port: expected a [section], got a value"),
        (
            "[server.tls]\ncert = 'x'",
            "server.tls: unknown key; [server] has host, port, data, tls_cert, tls_key, cors_origins",
        ),
        ("[server]\nport = '1'", "server.port: expected `int`, got `str`"),
        ("[server]\nport = 65536", "server.port: expected `int` <= 65535"),
        ("[server]\nport = -1", "server.port: expected `int` >= 0"),
        ("[server]\nport = true", "server.port: expected `int`, got `bool`"),
        ("[server]\nhost = 1", "server.host: expected `str`, got `int`"),
        ("[journal]\nfsync = 'sometimes'", "journal.fsync: invalid enum value 'sometimes'"),
        ("[journal]\nsegment_bytes = 1", "journal.segment_bytes: expected `int` >= 1024"),
        ("[memory]\npolicy = 'lru'", "memory.policy: invalid enum value 'lru'"),
        ("[limits]\nmax_batch = 0", "limits.max_batch: expected `int` >= 1"),
        ("[limits]\nread_timeout_secs = 0", "limits.read_timeout_secs: expected `float` > 0.0"),
        ("[log]\nlevel = 'loud'", "log.level: invalid enum value 'loud'"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_file_key_and_reason(toml: Path, content: str, message: str) -> None:
    toml.write_text(content)
    assert refused(toml) == f"{toml}: {message}"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("SYNAP_SERVER_PORT", "http", "server.port: expected `int`, got `str`"),
        ("SYNAP_SERVER_PORT", "", "server.port: expected `int`, got `str`"),
        ("SYNAP_SERVER_PORT", "99999", "server.port: expected `int` <= 65535"),
        ("SYNAP_JOURNAL_FSYNC", "Always", "journal.fsync: invalid enum value 'Always'"),
        ("SYNAP_MEMORY_LIMIT_BYTES", "1GB", "memory.limit_bytes: expected `int`, got `str`"),
    ],
)
def test_a_mistake_in_the_environment_is_told_with_variable_key_and_reason(
    variable: str, value: str, message: str
) -> None:
    assert refused(environment={variable: value}) == f"{variable}: {message}"


@pytest.mark.parametrize("variable", ["SYNAP_JOURNAL_FSNYC", "SYNAP_SERVER_PROT", "SYNAP_LIMITS_"])
def test_an_unknown_key_in_the_environment_is_told_too(variable: str) -> None:
    message = refused(environment={variable: "1"})
    assert message.startswith(f"{variable}: ")
    assert "unknown key" in message


def test_a_mistake_in_a_flag_is_told_with_flag_key_and_reason() -> None:
    assert refused(server__port=70_000) == "--port: server.port: expected `int` <= 65535"
    assert refused(journal__fsync="no") == "--fsync: journal.fsync: invalid enum value 'no'"
    assert refused(log__format="xml") == "--log-format: log.format: invalid enum value 'xml'"


def test_a_mistake_in_a_source_that_loses_does_not_matter(toml: Path) -> None:
    toml.write_text("[server]\nport = 'x'\n")
    assert loaded(toml, {"SYNAP_SERVER_PORT": "y"}, server__port=5).settings.server.port == 5


@pytest.mark.parametrize("name", ["synap.toml", "synap.conf", "settings"])
def test_a_file_is_read_the_same_whatever_its_name(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text("[server]\nport = '1'\n")
    assert refused(file) == f"{file}: server.port: expected `int`, got `str`"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("192.168.0.1", False),
        ("example.com", False),
        ("", False),
    ],
)
def test_loopback_hosts_are_recognised(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
