"""What an operator types: settings that guard, settings that cannot be used, and calls with a credential."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from synap.cli import BAD_SETTING, FAILED, program
from tests.support import ServerProcess

ROOT_PASSWORD = "correct horse battery"
SECRET = "a secret that is long enough for HS256"
GUARDED = {
    "SYNAP_AUTH_ENABLED": "true",
    "SYNAP_AUTH_ROOT_PASSWORD": ROOT_PASSWORD,
    "SYNAP_AUTH_JWT_SECRET": SECRET,
    "SYNAP_AUTH_ANONYMOUS_PERMISSIONS": "kv.get:public:*, kv.exists:public:*",
}
# Of RFC 5737: nobody's address, so nothing listens there.
ELSEWHERE = "192.0.2.1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("program") / "data", env=GUARDED) as running:
        yield running


@pytest.fixture(scope="module")
def token(server: ServerProcess) -> str:
    return str(server.call("auth.login", username="root", password=ROOT_PASSWORD)["token"])


def call(server: ServerProcess, *arguments: str) -> Any:
    return CliRunner().invoke(program, ["call", "--url", server.url, *arguments])


def serve(data: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "synap", "serve", "--data", str(data), "--port", "0", *arguments],
        check=False,
        env={"PATH": "/usr/bin:/bin", **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_call_sends_a_key_or_a_token(server: ServerProcess, token: str) -> None:
    assert call(server, "--api-key", token, "kv.set", "key=a", "value=1").exit_code == 0
    created = call(server, "--api-key", token, "auth.create_key", "name=k", 'permissions=["kv.get"]')
    key = json.loads(created.stdout)["key"]
    assert json.loads(call(server, "--api-key", key, "kv.get", "key=a").stdout)["value"] == 1
    refused = call(server, "--api-key", key, "kv.set", "key=a", "value=2")
    assert refused.exit_code == FAILED
    assert "FORBIDDEN: this needs the permission kv.set" in refused.stderr


def test_call_without_a_credential_is_told_what_it_needs(server: ServerProcess) -> None:
    refused = call(server, "kv.set", "key=a", "value=1")
    assert refused.exit_code == FAILED
    assert "UNAUTHORIZED: this needs a credential" in refused.stderr


def test_everybody_may_do_what_the_settings_say(server: ServerProcess) -> None:
    assert json.loads(call(server, "kv.get", "key=public:a").stdout)["found"] is False
    assert "UNAUTHORIZED" in call(server, "kv.get", "key=private:a").stderr


def test_the_settings_shown_hold_no_secret(server: ServerProcess, token: str) -> None:
    shown = CliRunner().invoke(program, ["config"], env=GUARDED).stdout
    told = json.dumps(json.loads(call(server, "--api-key", token, "admin.config").stdout))
    for text in (shown, told):
        assert "********" in text
        assert ROOT_PASSWORD not in text
        assert SECRET not in text
    assert "kv.get:public:*" in shown


def test_a_guarded_server_may_listen_beyond_this_machine(tmp_path: Path) -> None:
    refused = serve(tmp_path / "data", "--host", ELSEWHERE)
    assert refused.returncode == BAD_SETTING
    assert "nobody has to log in; set auth.enabled, or add --insecure" in refused.stderr
    for arguments, settings in (((), GUARDED), (("--insecure",), {})):
        tried = serve(tmp_path / "data", "--host", ELSEWHERE, *arguments, **settings)
        assert f"cannot listen on {ELSEWHERE}:0" in tried.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"SYNAP_AUTH_JWT_PUBLIC_KEY": "missing.pem"},
            "auth.jwt_public_key: expected a public key as PEM, or the path",
        ),
        ({"SYNAP_AUTH_JWT_ALGORITHMS": "RS256"}, "auth.jwt_algorithms: there is no key for RS256"),
        ({"SYNAP_AUTH_JWT_ALGORITHMS": "none"}, "auth.jwt_algorithms: invalid enum value 'none'"),
        ({"SYNAP_AUTH_ANONYMOUS_PERMISSIONS": "kv.get:"}, "auth.anonymous_permissions: expected command-pattern"),
        ({"SYNAP_RATE_LIMIT_BURST": "0"}, "rate_limit.burst: expected `int` >= 1"),
        ({"SYNAP_RATE_LIMIT_REQUESTS_PER_SECOND": "0"}, "rate_limit.requests_per_second: expected `float` > 0"),
        ({"SYNAP_AUTH_ROOT_USERNAME": ""}, "auth.root_username: expected `str` of length >= 1"),
    ],
)
def test_a_setting_that_cannot_be_used_ends_with_2_and_is_named(
    tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    ended = serve(tmp_path / "data", **settings)
    (variable,) = settings
    assert ended.returncode == BAD_SETTING
    assert ended.stderr.startswith(f"synap: {variable}: {message}")


def test_the_log_warns_of_what_an_operator_would_not_notice(tmp_path: Path) -> None:
    settings = {"SYNAP_AUTH_ENABLED": "true"}
    with ServerProcess(tmp_path / "data", env=settings) as running:
        assert "nobody can log in" in running.log.read_text()
    with ServerProcess(tmp_path / "data", env={**settings, "SYNAP_AUTH_JWT_SECRET": "short"}) as running:
        assert "auth.jwt_secret is shorter than 32 bytes" in running.log.read_text()[-500:]
