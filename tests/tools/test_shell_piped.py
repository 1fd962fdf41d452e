"""The shell with lines from a pipe: answers a program can read, and a status that tells."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

from tests.support import ServerProcess


def piped(server: ServerProcess, *lines: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "synap", "shell", "--url", server.url],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_every_answer_is_a_line_as_it_came(server: ServerProcess) -> None:
    done = piped(server, "# a comment", "", "kv.set key=piped value=[1.10, {}]", "kv.get key=piped")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1] == '{"found":true,"value":[1.10, {}],"ttl":null}'


def test_a_failed_line_is_told_and_the_others_run(server: ServerProcess) -> None:
    done = piped(server, "kv.gett key=a", "nonsense here", "kv.set key=after value=1")
    assert done.returncode == 1
    unknown, unreadable = done.stderr.splitlines()
    assert unknown.startswith("synap: UNKNOWN_COMMAND: ")
    assert unreadable == "synap: expected field=value, got 'here'"
    assert json.loads(done.stdout)["success"] is True


def test_a_subscription_goes_on_after_the_last_line(server: ServerProcess) -> None:
    server.call("stream.create", room="tail")
    server.call("stream.publish", room="tail", event_type="e", data=1)
    command = [sys.executable, "-m", "synap", "shell", "--url", server.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdin is not None and shell.stdout is not None
        shell.stdin.write("stream.subscribe room=tail replay=true\n")
        shell.stdin.close()
        told = [json.loads(shell.stdout.readline()) for _ in range(2)]
        server.call("stream.publish", room="tail", event_type="e", data=2)
        told.append(json.loads(shell.stdout.readline()))
        shell.send_signal(signal.SIGINT)
    assert [event["data"] for event in told if event.get("type") == "event"] == [1, 2]
