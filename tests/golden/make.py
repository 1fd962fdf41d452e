"""Make the golden journal of a release, once: `python -m tests.golden.make tests/golden/<version>`."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

from synap.journal import segment, snapshot
from tests.support import ServerProcess

_RETRY = {"strategy": "linear", "initial_secs": 1, "max_secs": 2.5, "multiplier": 1}
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
    _call("queue.create", queue="work", config={"max_depth": 100, "ack_deadline_secs": 9_000_000, "retry": _RETRY}),
    _call("queue.publish", queue="work", message={"n": 1.10}, headers={"trace": [1.0]}, priority=9, dedup_id="é"),
    _call("queue.publish", queue="work", message_base64="AP9iaW4=", ttl=9_000_000_000),
    _call("queue.publish", queue="work", message="later", delay_secs=9_000_000, ttl=5),
    *[_call("queue.publish", queue="work", message=number, priority=3) for number in range(8)],
    _call("queue.consume", queue="work", max_messages=6, consumer_id="worker"),
    _call("queue.ack", queue="work", message_id="msg_1_1", delivery=1),
    _call("queue.ack", queue="work", message_ids=["msg_1_2", "absent"]),
    _call("queue.nack", queue="work", message_id="msg_1_4"),
    _call("queue.nack", queue="work", message_id="msg_1_5", delay_secs=0),
    _call("queue.nack", queue="work", message_id="msg_1_6", requeue=False),
    _call("queue.extend", queue="work", message_id="msg_1_7", ack_deadline=1_000_000_000),
    _call("queue.consume", queue="work", timeout=1),
    _call("queue.configure", queue="work", config={"max_retries": 7, "message_ttl_secs": 8_000_000}),
    _call("queue.dlq_replay", queue="work", message_id="msg_1_6"),
    _call("queue.create", queue="brief", config={"ack_deadline_secs": 0.01, "max_retries": 1}),
    _call("queue.publish", queue="brief", message="dies of old leases"),
    _call("queue.consume", queue="brief", timeout=5),
    _call("queue.consume", queue="brief", timeout=5, consumer_id="second"),
    _call("queue.publish", queue="purged", message=1),
    _call("queue.consume", queue="purged"),
    _call("queue.nack", queue="purged", message_id="msg_3_1", requeue=False),
    _call("queue.dlq_purge", queue="purged"),
    _call("queue.publish", queue="purged", message=2),
    _call("queue.purge", queue="purged"),
    _call("queue.publish", queue="gone", message=3),
    _call("queue.delete", queue="gone"),
    _call("stream.create", room="room", partitions=3, retention={"max_events": 4, "max_bytes": 10_000}),
    _call("stream.publish", room="room", event_type="told", data={"n": 1.10}, headers={"trace": [1.0]}),
    _call("stream.publish", room="room", event_type="é", data_base64="AP9iaW4=", key_base64="/w==", partition=1),
    _call("stream.publish", room="room", event_type="told", data=None, key="ключ"),
    _call("stream.publish_batch", room="room", events=[{"event_type": "counted", "data": n} for n in range(12)]),
    _call("stream.publish", room="made by an event", event_type="told", data="first"),
    _call("stream.consume", room="room", group="readers", max_events=5),
    _call("stream.consume", room="room", group="new ones", start="latest", auto_commit=False),
    _call("stream.commit", room="room", group="careful", offset=2, partition=1),
    _call("stream.retention", room="room", max_bytes=None, max_age_secs=9_000_000_000),
    _call("stream.commit", room="room", group="short", offset=1),
    _call("stream.delete_group", room="room", group="short"),
    _call("stream.create", room="gone"),
    _call("stream.delete", room="gone"),
    _call("stream.publish", room="gone", event_type="told", data="of another room"),
    {
        "type": "batch",
        "atomic": True,
        "commands": [
            _call("kv.set", key="outbox", value=1),
            _call("queue.publish", queue="outbox", message=1),
            _call("stream.publish", room="outbox", event_type="told", data=1),
        ],
    },
    _call("queue.publish", queue="work", message="once") | {"idempotency_key": "golden-3"},
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
    _call("auth.create_role", role="painters", permissions=["kv.*:colour:*", "queue.publish:jobs"]),
    _call("auth.create_role", role="painters", permissions=["kv.*:colour:*"], replace=True),
    _call("auth.create_role", role="gone", permissions=["kv.get"]),
    _call("auth.create_user", username="ann", password="first", roles=["painters", "gone"]),
    _call("auth.create_user", username="bob \U0001f511", password="second"),
    _call("auth.login", username="ann", password="first"),
    _call("auth.set_password", username="ann", password="third"),
    _call("auth.grant_role", username="ann", role="reader"),
    _call("auth.revoke_role", username="ann", role="reader"),
    _call("auth.disable_user", username="ann"),
    _call("auth.enable_user", username="ann"),
    _call("auth.delete_user", username="bob \U0001f511"),
    _call("auth.create_key", name="app", roles=["painters"], permissions=["kv.get"], allowed_ips=["10.0.0.0/8"]),
    _call("auth.create_key", name="short", permissions=["*"], expires_at=1_900_000_000_000),
    _call("auth.revoke_key", id="key_5"),
    _call("auth.delete_role", role="gone"),
]


def main(target: Path) -> None:
    """Write `journal`, all segments, and `snapshot`, a snapshot with the tail behind it."""
    with tempfile.TemporaryDirectory() as scratch:
        settings = {
            "SYNAP_JOURNAL_SEGMENT_BYTES": "1024",
            "SYNAP_JOURNAL_SNAPSHOT_EVERY_BYTES": "0",
            "SYNAP_QUEUES_MAX_RETRIES": "5",
        }
        data = Path(scratch) / "data"
        with ServerProcess(data, env=settings) as server:
            for request in REQUESTS:
                server.send(request)
            asyncio.run(_subscribe_and_leave(server, "outbox"))
            asyncio.run(_subscribe_and_see_it_killed(server, "outbox"))
        with ServerProcess(data, env=settings):  # gives back what the subscriber had
            pass
        _copy(data, target / "journal")
        subprocess.run([sys.executable, "-m", "synap", "journal", "snapshot", "--data", str(data)], check=True)
        covered = max(snapshot.lsn_of(path) for path in snapshot.list_snapshots(data))
        for path in segment.list_segments(data)[:-1]:
            if segment.first_lsn_of(path) <= covered:
                path.unlink()
        _copy(data, target / "snapshot")


async def _subscribe_and_leave(server: ServerProcess, queue: str) -> None:
    """Take a message on a WebSocket, and have the server give it back."""
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.url}/api/v1/ws") as socket:
        await _take_a_message(socket, queue)
    while server.call("queue.stats", queue=queue)["in_flight"]:
        await asyncio.sleep(0.01)


async def _subscribe_and_see_it_killed(server: ServerProcess, queue: str) -> None:
    """Take a message on a WebSocket that outlives the server."""
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.url}/api/v1/ws") as socket:
        await _take_a_message(socket, queue)
        server.kill()


async def _take_a_message(socket: aiohttp.ClientWebSocketResponse, queue: str) -> None:
    await socket.send_json(_call("queue.subscribe", queue=queue))
    while (await socket.receive_json())["type"] != "message":
        pass


def _copy(data: Path, target: Path) -> None:
    shutil.copytree(data, target, ignore=shutil.ignore_patterns("LOCK"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
