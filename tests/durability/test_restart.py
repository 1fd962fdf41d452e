"""What a server holds before and after a restart, clean or not, and what it says when it cannot start."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from synap.errors import IdempotencyConflict
from synap.journal import segment, snapshot
from synap.journal.log import FileJournal
from tests.durability.client import SMALL_PIECES, Ledger, acknowledged, check_all, contents_of, until, writing
from tests.support import START, ServerProcess, payload_of

KEYS = 60
EXIT_BAD_SETTING, EXIT_BAD_JOURNAL = 2, 3
EXIT_WITHIN_SECS = 30

VALUES = [
    b"1.10",
    b"1e999",
    b"12345678901234567890123",
    b"-0.0",
    b'"\\u00e9\\/"',
    '"é"'.encode(),
    b'{"b":1, "a" : [ ],"b":2}',
]
SLOW_CLOCK = "import time; real = time.time_ns; time.time_ns = lambda: real() - 3600 * 10**9"


def _synap(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(
        [sys.executable, "-m", "synap", *arguments],
        capture_output=True,
        text=True,
        timeout=EXIT_WITHIN_SECS,
        check=False,
    )


def _serve(data: Path) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected not to start."""
    return _synap("serve", "--port", "0", "--data", str(data))


def _fill(server: ServerProcess) -> None:
    """Leave something of everything behind."""
    for number, value in enumerate(VALUES):
        server.send(b'{"command":"kv.set","payload":{"key":"value%d","value":%b}}' % (number, value))
    server.call("kv.set", key="plain", value=1)
    server.call("kv.set", key="brief", value=1, ttl=0.05)
    server.call("kv.set", key="long", value=2, ttl=3600)
    server.call("kv.incr", key="counter", amount=5)
    server.call("kv.mset", pairs={f"many:{n}": n for n in range(200)})
    server.call("kv.mdel", keys=[f"many:{n}" for n in range(0, 200, 3)])
    server.call("kv.append", key="text", value="grows")
    server.call("key.copy", source="long", destination="copy")
    both = [{"command": "kv.incr", "payload": {"key": "a"}}, {"command": "kv.incr", "payload": {"key": "plain"}}]
    server.send({"type": "batch", "atomic": True, "commands": both})
    server.send({"type": "batch", "commands": both, "idempotency_key": "batch"})
    server.send({"command": "kv.incr", "payload": {"key": "once"}, "idempotency_key": "single"})
    until(lambda: not server.call("kv.exists", key="brief")["exists"])


@pytest.mark.parametrize(("fsync", "way"), [("always", "stop"), ("everysec", "kill"), ("never", "kill")])
def test_everything_is_the_same_after_a_restart(tmp_path: Path, fsync: str, way: str) -> None:
    with ServerProcess(tmp_path / "data", "--fsync", fsync) as server:
        _fill(server)
        before, values = server.call("admin.digest"), _raw_values(server)
        if way == "kill":
            server.kill()
        else:
            assert server.stop() == 0
    assert all(value in values for value in VALUES)
    with ServerProcess(tmp_path / "data", "--fsync", fsync) as server:
        after = server.call("admin.digest")
        assert after["digest"] == before["digest"]
        assert after["lsn"] >= before["lsn"]
        assert _raw_values(server) == values


def _raw_values(server: ServerProcess) -> bytes:
    """The values of all keys, byte for byte as they are stored."""
    request = {"command": "kv.mget", "payload": {"keys": server.call("kv.keys")["keys"]}, "request_id": "values"}
    return server.http("POST", "/api/v1/command", json.dumps(request).encode())[2]


def test_idempotent_replies_survive_a_restart(tmp_path: Path) -> None:
    single = {"command": "kv.incr", "payload": {"key": "counter"}, "idempotency_key": "single"}
    failing = {"command": "kv.incr", "payload": {"key": "text"}, "idempotency_key": "failing"}
    twice = [single, {"command": "kv.incr", "payload": {"key": "counter"}}]
    batch = {"type": "batch", "commands": twice, "idempotency_key": "batch"}
    requests: list[dict[str, Any]] = [single, failing, batch]
    with ServerProcess(tmp_path / "data") as server:
        server.call("kv.set", key="text", value="no number")
        first = [_told(server.send(request)) for request in requests]
        server.call("kv.set", key="text", value=1)
        server.kill()
    with ServerProcess(tmp_path / "data") as server:
        digest = server.call("admin.digest")
        assert [_told(server.send(request)) for request in requests] == first
        with pytest.raises(IdempotencyConflict):
            payload_of(server.send(single | {"payload": {"key": "another"}}))
        assert server.call("admin.digest") == digest
        assert server.call("kv.get", key="counter")["value"] == 2


def _told(reply: dict[str, Any]) -> dict[str, Any]:
    """What a reply says about the command, without what says which reply it is."""
    return {name: value for name, value in reply.items() if name not in ("request_id", "lsn", "ack")}


def test_what_has_expired_does_not_come_back_on_a_slower_clock(tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(SLOW_CLOCK)
    with ServerProcess(tmp_path / "data") as server:
        server.call("kv.set", key="brief", value=1, ttl=0.05)
        server.call("kv.set", key="long", value=2, ttl=1000)
        until(lambda: not server.call("kv.get", key="brief")["found"])
        server.kill()
    with ServerProcess(tmp_path / "data", env={"PYTHONPATH": str(slow)}) as server:
        assert not server.call("kv.get", key="brief")["found"]
        assert server.call("kv.dbsize")["size"] == 1
        assert 900 < server.call("kv.ttl", key="long")["ttl"] <= 1000


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_a_clean_stop_under_load_loses_nothing(
    tmp_path: Path, rng: random.Random, ledgers: list[Ledger], fsync: str
) -> None:
    with ServerProcess(tmp_path / "data", "--fsync", fsync) as server, writing(server, ledgers, rng):
        until(lambda: acknowledged(ledgers) > 0)
        time.sleep(rng.uniform(0.05, 0.3))
        assert server.stop() == 0
    with ServerProcess(tmp_path / "data", "--fsync", fsync) as server:
        check_all(server, ledgers)


# Snapshots


def _segments(data: Path) -> list[Path]:
    return segment.list_segments(data)


def test_a_snapshot_and_what_follows_it_are_enough(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with ServerProcess(data, env=SMALL_PIECES) as server:
        for number in range(2_000):
            server.call("kv.set", key=f"key{number % 300}", value=number)
        until(lambda: segment.first_lsn_of(_segments(data)[0]) > 1)
        server.call("kv.incr", key="behind the snapshot")
        before, values = server.call("admin.digest"), contents_of(server)
        server.kill()
    assert len(snapshot.list_snapshots(data)) == 1
    with ServerProcess(data, env=SMALL_PIECES) as server:
        assert server.call("admin.digest") == before
        assert contents_of(server) == values
        assert f"LSN {before['lsn']})" in server.ready_line


def test_segments_that_a_snapshot_made_superfluous_go_at_the_next_start(tmp_path: Path) -> None:
    """A crash may come between a snapshot and the removal of what it covers."""
    data = tmp_path / "data"
    _journal(data)
    assert _synap("journal", "snapshot", "--data", str(data)).returncode == 0
    covered = snapshot.lsn_of(snapshot.list_snapshots(data)[0])
    assert segment.first_lsn_of(_segments(data)[0]) == 1
    with ServerProcess(data) as server:
        assert server.call("kv.dbsize")["size"] == KEYS
        until(lambda: segment.first_lsn_of(_segments(data)[0]) == covered + 1)


# Servers that do not start


def _journal(data: Path) -> list[Path]:
    """Make a journal of several segments; returns them."""
    data.mkdir()
    journal = FileJournal(data, segment_bytes=1024)
    journal.open(0)
    for number in range(KEYS):
        journal.append(number + 1, START + number, b"kv.set", b'{"key":"key%02d","value":%d}' % (number, number))
        assert journal.flush()
    journal.close()
    return _segments(data)


def _damaged(data: Path) -> Path:
    """Make a journal with a flipped bit in its second segment; returns that one."""
    path = _journal(data)[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    return path


def test_a_damaged_journal_is_not_opened_and_the_file_is_named(tmp_path: Path) -> None:
    path = _damaged(tmp_path / "data")
    before = {file: file.read_bytes() for file in _segments(tmp_path / "data")}
    refused = _serve(tmp_path / "data")
    assert refused.returncode == EXIT_BAD_JOURNAL
    assert refused.stdout == ""
    assert re.search(rf"{path} is damaged at offset \d+", refused.stderr)
    assert "synap journal repair" in refused.stderr
    assert {file: file.read_bytes() for file in _segments(tmp_path / "data")} == before


def test_a_repaired_journal_is_opened_with_everything_before_the_damage(tmp_path: Path) -> None:
    path = _damaged(tmp_path / "data")
    verified = _synap("journal", "verify", "--data", str(tmp_path / "data"))
    assert verified.returncode == EXIT_BAD_JOURNAL
    assert f"{path}: " in verified.stdout
    repaired = _synap("journal", "repair", "--data", str(tmp_path / "data"))
    assert repaired.returncode == 0
    assert f"{path.name}.cut-" in repaired.stdout
    assert _synap("journal", "verify", "--data", str(tmp_path / "data")).returncode == 0
    with ServerProcess(tmp_path / "data") as server:
        found = contents_of(server)
        assert found == {f"key{number:02}": number for number in range(len(found))}
        assert segment.first_lsn_of(path) <= len(found) < KEYS
        server.call("kv.set", key="after", value=1)
        server.kill()
    with ServerProcess(tmp_path / "data") as server:
        assert contents_of(server) == found | {"after": 1}


def test_a_damaged_snapshot_is_not_opened_and_the_file_is_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    _journal(data)
    assert _synap("journal", "snapshot", "--data", str(data)).returncode == 0
    [path] = snapshot.list_snapshots(data)
    path.write_bytes(path.read_bytes()[:-1])
    refused = _serve(data)
    assert refused.returncode == EXIT_BAD_JOURNAL
    assert str(path) in refused.stderr
    assert _synap("journal", "repair", "--data", str(data)).returncode == 0
    with ServerProcess(data) as server:
        assert server.call("kv.dbsize")["size"] == KEYS


def test_a_torn_end_does_not_keep_a_server_from_starting(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with _journal(data)[-1].open("ab") as file:
        file.write(b"\x30\0\0\0torn")
    with ServerProcess(data) as server:
        assert server.call("kv.dbsize")["size"] == KEYS
    assert "cut a torn record off" in server.log.read_text()


def test_a_second_server_on_the_same_data_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:
        server.call("kv.set", key="a", value=1)
        refused = _serve(tmp_path / "data")
        assert refused.returncode == EXIT_BAD_SETTING
        assert f"{tmp_path / 'data'} is in use by process {server.process.pid}" in refused.stderr
        assert _synap("journal", "repair", "--data", str(tmp_path / "data")).returncode == EXIT_BAD_SETTING
        server.call("kv.incr", key="a")
        server.kill()
    with ServerProcess(tmp_path / "data") as server:
        assert contents_of(server) == {"a": 2}
