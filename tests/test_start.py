"""What the program loads before it says something. A start takes about as long as its imports do, so what is dear and
seldom needed waits; Python itself tells what is imported, so no clock is asked.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from synap import cli
from synap.journal.recovery import Progress
from tests.support import ServerProcess

TELL_IMPORTS = {"PYTHONPROFILEIMPORTTIME": "1"}
FOR_A_TERMINAL = {"rich", "pygments", "prompt_toolkit", "synap.tools"}
FOR_TOKENS = {"jwt", "cryptography"}
AT_FIRST_USE = {"datasketches", "numpy", "swagger_ui", "jinja2", "yaml"}
FOR_A_SERVER = {"aiohttp", "argon2", "asyncio", "msgspec", "orjson", "prometheus_client", "uvloop"}


def imported(stderr: str) -> set[str]:
    """The modules that Python says it has imported, each with the packages around it."""
    lines = (line for line in stderr.splitlines() if line.startswith("import time:"))
    names = [line.rpartition("|")[2].strip().split(".") for line in lines]
    return {".".join(name[:length]) for name in names for length in range(1, len(name) + 1)}


def ready(data: Path, **settings: str) -> set[str]:
    """What a server has imported when it is ready."""
    with ServerProcess(data, env=TELL_IMPORTS | settings) as server:
        return imported(server.log.read_text())


@pytest.mark.parametrize("argument", ["--help", "version"])
def test_what_the_program_says_about_itself_needs_nothing_of_a_server(argument: str) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "synap", argument],
        env=os.environ | TELL_IMPORTS,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    names = imported(told.stderr)
    assert {name for name in names if name.startswith("synap.")} == {"synap.cli"}
    assert not names & FOR_A_SERVER


def test_a_server_is_ready_without_what_it_may_never_need(tmp_path: Path) -> None:
    names = ready(tmp_path / "data")
    assert {"aiohttp", "synap.server"} <= names
    assert not names & (FOR_A_TERMINAL | FOR_TOKENS | AT_FIRST_USE)


def test_a_server_where_one_must_log_in_is_ready_to_check_tokens(tmp_path: Path) -> None:
    names = ready(tmp_path / "data", SYNAP_AUTH_ENABLED="true", SYNAP_AUTH_ROOT_PASSWORD="a long password")
    assert names >= FOR_TOKENS
    assert not names & (FOR_A_TERMINAL | AT_FIRST_USE)


@pytest.mark.parametrize(("after_secs", "is_shown"), [(-1.0, True), (1e9, False)])
def test_a_recovery_is_shown_on_a_terminal_once_it_takes_long(
    after_secs: float, is_shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(cli, "PROGRESS_AFTER_SECS", after_secs)
    with cli._recovery_bar() as show:
        show(Progress(records=1_234, bytes_done=50, bytes_total=100))
    assert ("1,234 records" in capsys.readouterr().err) == is_shown
