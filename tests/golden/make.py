"""Make the golden journal of a release, once: `python -m tests.golden.make tests/golden/<version>`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from synap.journal import segment, snapshot
from tests.support import ServerProcess

REQUESTS = [
    {"command": "kv.set", "payload": {"key": "plain", "value": {"n": 1.10, "big": 2**80}}},
    {"command": "kv.set", "payload": {"key": "expiring", "value": "x", "ttl": 9_000_000_000}},
    {"command": "kv.set", "payload": {"key": "short", "value": "x", "ttl": 0.001}},
    {
        "command": "kv.mset",
        "payload": {"pairs": [{"key": "m1", "value": 1, "ttl": 5_000_000}, {"key": "m2", "value": []}]},
    },
    {"command": "kv.mset", "payload": {"pairs": {"m3": None, "ключ 🔑": "\u0000"}}},
    {"command": "kv.msetnx", "payload": ["n1", True]},
    {"command": "kv.incr", "payload": {"key": "counter", "amount": 41}},
    {"command": "kv.decr", "payload": {"key": "counter", "amount": -1}},
    {"command": "kv.incrbyfloat", "payload": {"key": "float", "amount": 0.1}},
    {"command": "kv.append", "payload": {"key": "text", "value": "héllo"}},
    {"command": "kv.setrange", "payload": {"key": "text", "offset": 7, "value": "!"}},
    {"command": "kv.getset", "payload": {"key": "m2", "value": {}}},
    {"command": "kv.getdel", "payload": {"key": "m3"}},
    {"command": "kv.expire", "payload": {"key": "plain", "ttl": 4_000_000}},
    {"command": "kv.persist", "payload": {"key": "plain"}},
    {"command": "key.rename", "payload": {"source": "n1", "destination": "n2"}},
    {"command": "key.renamenx", "payload": {"source": "n2", "destination": "n3"}},
    {"command": "key.copy", "payload": {"source": "plain", "destination": "copy"}},
    {"command": "kv.del", "payload": {"keys": ["m1", "absent"]}},
    {"command": "kv.mdel", "payload": {"keys": ["n3"]}},
    {"command": "kv.incr", "payload": {"key": "once"}, "idempotency_key": "golden-1"},
    {
        "type": "batch",
        "atomic": True,
        "idempotency_key": "golden-2",
        "commands": [
            {"command": "kv.incr", "payload": {"key": "counter"}},
            {"command": "kv.get", "payload": {"key": "counter"}},
            {"command": "kv.incr", "payload": {"key": "text"}},
        ],
    },
]


def main(target: Path) -> None:
    """Write `journal`, all segments, and `snapshot`, a snapshot with the tail behind it."""
    with tempfile.TemporaryDirectory() as scratch:
        small = {"SYNAP_JOURNAL_SEGMENT_BYTES": "1024", "SYNAP_JOURNAL_SNAPSHOT_EVERY_BYTES": "0"}
        data = Path(scratch) / "data"
        with ServerProcess(data, env=small) as server:
            for request in REQUESTS:
                server.send(request)
        _copy(data, target / "journal")
        subprocess.run([sys.executable, "-m", "synap", "journal", "snapshot", "--data", str(data)], check=True)
        covered = max(snapshot.lsn_of(path) for path in snapshot.list_snapshots(data))
        for path in segment.list_segments(data)[:-1]:
            if segment.first_lsn_of(path) <= covered:
                path.unlink()
        _copy(data, target / "snapshot")


def _copy(data: Path, target: Path) -> None:
    shutil.copytree(data, target, ignore=shutil.ignore_patterns("LOCK"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
