"""One picture of a server."""

from __future__ import annotations

import json
import re
import threading

from typer.testing import CliRunner, Result

from synap import __version__
from synap.cli import FAILED, program
from tests.support import ServerProcess
from tests.tools.conftest import ROOT_PASSWORD
from tests.tools.terminal import CONTROL_C, Terminal


def once(server: ServerProcess, *arguments: str) -> Result:
    command = ["top", "--once", "--interval", "0.2", "--url", server.url, *arguments]
    return CliRunner().invoke(program, command)


def test_a_picture_shows_role_rates_queues_rooms_and_lags(server: ServerProcess) -> None:
    server.call("queue.publish", queue="top-tasks", message=1)
    server.call("queue.publish", queue="top-tasks", message=2)
    server.call("queue.consume", queue="top-tasks")
    server.call("stream.publish", room="top-room", event_type="e", data=1)
    server.call("stream.commit", room="top-room", group="readers", offset=0)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            server.call("kv.incr", key="top")

    worker = threading.Thread(target=work)
    worker.start()
    try:
        shown = once(server).stdout
    finally:
        stop.set()
        worker.join()
    assert shown.startswith(f"Synap {__version__} at {server.url}  master  epoch 1, LSN ")
    assert re.search(r"^kv +[1-9][\d,.]* +0 +\d+ (µs|ms)", shown, re.MULTILINE), shown
    assert re.search(r"^top-tasks +1 +1 +\d+ s", shown, re.MULTILINE), shown
    assert re.search(r"^top-room +1 +\d+ B +0", shown, re.MULTILINE), shown
    assert re.search(r"^readers +top-room +1", shown, re.MULTILINE), shown
    assert "fsync everysec" in shown
    assert "\x1b" not in shown


def test_the_live_view_is_redrawn_until_ctrl_c(server: ServerProcess) -> None:
    with Terminal("top", "--interval", "0.1", "--url", server.url) as terminal:
        for _ in range(3):
            terminal.wait_for(f"at {server.url}  master")
        terminal.type(CONTROL_C)
        assert terminal.wait_until_left() == 0


def test_a_guarded_server_wants_a_credential_that_may_look(guarded: ServerProcess) -> None:
    refused = once(guarded)
    assert (refused.exit_code, "UNAUTHORIZED" in refused.stderr) == (FAILED, True)
    token = guarded.call("auth.login", username="root", password=ROOT_PASSWORD)["token"]
    assert "master" in once(guarded, "--api-key", token).stdout
    headers = {"Authorization": f"Bearer {token}"}
    body = b'{"name": "watcher", "permissions": ["admin.metrics"]}'
    key = json.loads(guarded.http("POST", "/auth/keys", body, headers)[2])["key"]
    assert once(guarded, "--api-key", key).stdout.startswith(f"Synap at {guarded.url}  master")
