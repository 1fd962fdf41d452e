"""Make the golden journal of a release, once: `python -m tests.golden.make tests/golden/<version>`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from synap.journal import segment, snapshot
from tests.support import ServerProcess

_SCORES = [("a", 1), ("b", 2.5), ("c", -3), ("é", 2.5), ("low", "-inf"), ("d", 4), ("e", 5), ("f", 6), ("g", 7)]


def _call(command: str, /, **payload: Any) -> dict[str, Any]:
    return {"command": command, "payload": payload}


REQUESTS: list[dict[str, Any]] = [
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
    _call("hash.set", key="hash", field="a", value={"n": 1.10}),
    _call("hash.mset", key="hash", fields={"b": [], "ключ": None}),
    _call("hash.mset", key="hash", fields=[{"field": "n", "value": 41}]),
    _call("hash.setnx", key="hash", field="c", value=True),
    _call("hash.incrby", key="hash", field="n", increment=1),
    _call("hash.incrbyfloat", key="hash", field="x", increment=0.1),
    _call("hash.del", key="hash", fields=["a"]),
    _call("list.rpush", key="list", values=[1, "two", {"three": 3}, 4.0, 5, 6, 7]),
    _call("list.lpush", key="list", value="first"),
    _call("list.rpushx", key="list", value="last"),
    _call("list.lpushx", key="list", value="newest"),
    _call("list.lpop", key="list"),
    _call("list.rpop", key="list", count=2),
    _call("list.set", key="list", index=1, value="set"),
    _call("list.insert", key="list", position="after", pivot={"three": 3}, value="inserted"),
    _call("list.rem", key="list", value=4, count=-1),
    _call("list.trim", key="list", start=0, stop=-2),
    _call("list.move", source="list", destination="other list", **{"from": "left", "to": "right"}),
    _call("list.rpoplpush", source="list", destination="other list"),
    _call("list.blpop", keys=["absent", "other list"], timeout=1),
    _call("list.brpop", keys=["list"], timeout=1),
    _call("set.add", key="set", members=["a", "b", "c", "d", "é", ""]),
    _call("set.rem", key="set", member="b"),
    _call("set.pop", key="set", count=2, seed=7),
    _call("set.add", key="set", members=["e", "f", "g"]),
    _call("set.move", source="set", destination="other set", member="e"),
    _call("set.interstore", destination="intersection", keys=["set", "set"]),
    _call("set.unionstore", destination="union", keys=["set", "other set"]),
    _call("set.diffstore", destination="difference", keys=["union", "other set"]),
    _call("sortedset.zadd", key="sorted", members=[{"member": m, "score": s} for m, s in _SCORES]),
    _call("sortedset.zadd", key="sorted", member="a", score=0.5, gt=True, incr=True),
    _call("sortedset.zincrby", key="sorted", member="b", increment="+inf"),
    _call("sortedset.zrem", key="sorted", members=["c"]),
    _call("sortedset.zpopmin", key="sorted"),
    _call("sortedset.zpopmax", key="sorted"),
    _call("sortedset.bzpopmin", keys=["sorted"], timeout=1),
    _call("sortedset.bzpopmax", keys=["sorted"], timeout=1),
    _call("sortedset.zremrangebyrank", key="sorted", start=0, stop=0),
    _call("sortedset.zremrangebyscore", key="sorted", min="(5", max=6),
    _call("sortedset.zunionstore", destination="zunion", keys=["sorted", "set"], weights=[2, -1]),
    _call("sortedset.zinterstore", destination="zinter", keys=["zunion", "set"], aggregate="max"),
    _call("sortedset.zdiffstore", destination="zdiff", keys=["zunion", "set"]),
    _call("bitmap.setbit", key="bits", offset=100, value=1),
    _call("bitmap.bitfield", key="bits", operations=[{"op": "set", "type": "i5", "offset": "#2", "value": -3}]),
    _call("bitmap.bitop", destination="inverted", operation="not", keys=["bits"]),
    _call("hyperloglog.pfadd", key="few", elements=["a", "b", "é"]),
    _call("hyperloglog.pfadd", key="many", elements=[str(number) for number in range(15_000)]),
    _call("hyperloglog.pfmerge", destination="merged", sources=["few", "many"]),
    _call("geospatial.geoadd", key="places", member="Palermo", longitude=13.361389, latitude=38.115556),
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
