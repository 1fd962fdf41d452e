"""What docs/replication.md walks through: three nodes, a failover and a return, run as it stands there."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

PAGE = Path(__file__).parents[2] / "docs" / "replication.md"
NODES = ("15501", "15502", "15503")


def script() -> str:
    section = PAGE.read_text().partition("and a return\n")[2].partition("\n## ")[0]
    return "\n".join(re.findall(r"^    (.*)$", section, re.MULTILINE)) + "\n"


def free_ports() -> list[str]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in NODES]
        return [str(each.getsockname()[1]) for each in sockets]


def payloads(printed: str) -> list[dict[str, object]]:
    decoder, at, found = json.JSONDecoder(), 0, []
    while (at := printed.find("{", at)) >= 0:
        payload, at = decoder.raw_decode(printed, at)
        found.append(payload)
    return found


@pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("curl")), reason="it needs openssl and curl")
def test_the_walk_through_three_nodes_a_failover_and_a_return(tmp_path: Path) -> None:
    ports = dict(zip(NODES, free_ports(), strict=True))
    text = re.sub("|".join(NODES), lambda match: ports[match[0]], script())
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    text += "\nkill $(cat node-*.pid); wait\n"
    done = subprocess.run(
        ["bash", "-c", text], check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
    )
    logs = "\n".join(path.read_text() for path in tmp_path.glob("*.log"))
    told = payloads(done.stdout)
    summary = [payload.get("role") or payload.get("value") or payload.get("digest") for payload in told]
    digest = next(payload["digest"] for payload in told if "digest" in payload)
    assert summary == [
        *(None, "Bern", "master"),
        *("replica", "replica", "master", None, "Basel"),
        *("replica", "Basel", digest, digest, digest),
        *(None, "master", "Basel", None),
    ], (done.stdout, done.stderr, logs)
    assert told[0]["ack"] == "replicated:2"
    assert "READ_ONLY" in done.stderr
    assert told[-1]["payload"] == {"key": "city", "value": "Thun"}
    assert "not in the master's history" in done.stdout
