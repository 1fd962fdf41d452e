"""The shell as somebody at a terminal has it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ServerProcess
from tests.tools.conftest import ROOT_PASSWORD
from tests.tools.terminal import CONTROL_C, CONTROL_D, ENTER, TAB, UP, WITHIN_SECS, Terminal

POLL_SECS = 0.01


@pytest.fixture
def shell(server: ServerProcess, tmp_path: Path) -> Iterator[Terminal]:
    """One that is ready to be typed into."""
    with opened(server.url, tmp_path) as terminal:
        yield terminal


def opened(url: str, state: Path, *arguments: str) -> Terminal:
    terminal = Terminal("shell", "--url", url, *arguments, env={"XDG_STATE_HOME": str(state)})
    terminal.wait_for("connected")
    return terminal


def await_consumers(server: ServerProcess, count: int) -> None:
    deadline = time.monotonic() + WITHIN_SECS
    while server.call("queue.stats", queue="tasks")["consumers"] != count:
        assert time.monotonic() < deadline
        time.sleep(POLL_SECS)


def test_commands_are_completed_run_and_remembered(shell: Terminal, server: ServerProcess, tmp_path: Path) -> None:
    shell.enter("help kv")
    shell.wait_for(r"kv\.set +Store a JSON value")
    shell.wait_for("synap>")
    shell.type("kv.setr")
    shell.wait_for(r"kv\.setrange +Write text")
    shell.type(TAB + " key=a offset=0 va")
    shell.wait_for("value= +string")
    shell.type(TAB + "hello" + ENTER)
    shell.wait_for(r'\{"length": 5\}\n\d+\.\d ms')
    assert server.call("kv.get", key="a")["value"] == "hello"
    shell.enter("kv.set key=n value=1.10")
    shell.wait_for("ms")
    shell.enter("auth.login username=root password=secret")
    shell.wait_for("UNAUTHORIZED: wrong username or password")
    shell.enter("kv.get key=n")
    shell.wait_for(r'"value": 1\.10')
    shell.enter("exit")
    assert shell.wait_until_left() == 0
    kept = tmp_path / "synap" / "history"
    assert "secret" not in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0
    with opened(server.url, tmp_path) as again:
        again.type(3 * UP + ENTER)
        again.wait_for(r'"key": "n", "success": true')
        again.wait_for("synap>")
        again.type(CONTROL_D)
        assert again.wait_until_left() == 0


def test_an_error_says_what_to_do(shell: Terminal) -> None:
    shell.enter("kv.set key=a valeu=1")
    shell.wait_for("INVALID_PAYLOAD: payload.valeu: unknown field")
    shell.wait_for("help kv.set shows the fields")
    shell.enter("kv.set 1")
    shell.wait_for("expected field=value, got '1'")


def test_events_come_while_the_prompt_is_open_until_ctrl_c(shell: Terminal, server: ServerProcess) -> None:
    server.call("stream.create", room="lobby")
    shell.enter("stream.subscribe room=lobby")
    shell.wait_for('"subscribed": true')
    server.call("stream.publish", room="lobby", event_type="said", data={"by": "ann"}, headers={"h": 1})
    shell.wait_for(r'lobby 0:0 said \{"by": "ann"\}  \{"headers": \{"h": 1\}\}')
    shell.enter('pubsub.subscribe topics=["a.*"]')
    shell.wait_for('"subscribed": ')
    server.call("pubsub.publish", topic="a.b", message=1.5)
    shell.wait_for(r"a\.b 1\.5")
    shell.type(CONTROL_C)
    shell.wait_for(r"unsubscribed from room lobby; topics a\.\*")
    assert server.call("stream.publish", room="lobby", event_type="x", data=1)["subscribers_notified"] == 0
    shell.enter("unsubscribe")
    shell.wait_for("there are no subscriptions")


def test_a_command_that_waits_is_broken_off_with_ctrl_c_and_takes_nothing(
    shell: Terminal, server: ServerProcess
) -> None:
    server.call("queue.create", queue="tasks")
    shell.enter("queue.consume queue=tasks timeout=600")
    await_consumers(server, 1)
    shell.type(CONTROL_C)
    shell.wait_for("broken off")
    await_consumers(server, 0)
    server.call("queue.publish", queue="tasks", message="kept")
    assert server.call("queue.stats", queue="tasks")["depth"] == 1
    shell.enter("queue.consume queue=tasks timeout=600")
    shell.wait_for('"message": "kept"')


def test_a_server_that_comes_back_is_told_and_nothing_is_missed(tmp_path: Path) -> None:
    first = ServerProcess(tmp_path / "data")
    first.call("stream.create", room="r")
    with opened(first.url, tmp_path) as shell:
        shell.enter("stream.subscribe room=r")
        shell.wait_for('"subscribed": true')
        first.call("stream.publish", room="r", event_type="e", data="before")
        shell.wait_for('r 0:0 e "before"')
        first.kill()
        shell.wait_for("not connected: .*; trying again")
        shell.enter("kv.dbsize")
        shell.wait_for("Connection refused")
        with ServerProcess(tmp_path / "data", "--port", str(first.port)) as second:
            second.call("stream.publish", room="r", event_type="e", data="after")
            shell.wait_for("connected again")
            shell.wait_for('r 0:1 e "after"')
            shell.enter("kv.dbsize")
            shell.wait_for('"size": ')


def test_whoever_logs_in_goes_on_as_that_user(guarded: ServerProcess, tmp_path: Path) -> None:
    with Terminal("shell", "--url", guarded.url, env={"XDG_STATE_HOME": str(tmp_path)}) as shell:
        shell.wait_for("not connected")
        shell.enter("kv.set key=a value=1")
        shell.wait_for("UNAUTHORIZED")
        shell.wait_for("log in: auth.login")
        shell.enter(f"auth.login username=root password='{ROOT_PASSWORD}'")
        shell.wait_for("logged in")
        shell.wait_for("connected")
        shell.enter("kv.set key=a value=1")
        shell.wait_for('"success": true')
