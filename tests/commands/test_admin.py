"""`admin.*`: the digest, the list of commands, and what the server around the state tells."""

from __future__ import annotations

import re

import pytest

from synap.commands import TABLE
from synap.commands.host import (
    Client,
    Facts,
    Health,
    JournalStats,
    MemoryStats,
    ServerStats,
    Setting,
    SnapshotBegun,
)
from synap.commands.slowlog import SlowLog
from synap.engines.streams import Stream
from tests.commands.common import recorded, refused, restarted
from tests.support import START, Harness


def test_the_digest_is_a_hash_with_the_number_of_the_last_change(harness: Harness) -> None:
    harness.call("kv.set", key="a", value=1)
    harness.call("kv.set", key="a", value=2)
    reply = harness.call("admin.digest")
    assert re.fullmatch(r"[0-9a-f]{64}", reply["digest"])
    assert reply["lsn"] == 2


def test_equal_data_gives_an_equal_digest_whatever_the_way_there() -> None:
    one, other = Harness(), Harness()
    one.call("kv.mset", pairs=[{"key": "a", "value": 1}, {"key": "b", "value": 2, "ttl": 5}])
    other.call("kv.set", key="b", value=0)
    other.call("kv.set", key="a", value=1)
    other.call("kv.set", key="b", value=2, ttl=5)
    assert one.call("admin.digest")["digest"] == other.call("admin.digest")["digest"]


def test_the_digest_differs_in_every_observable_detail() -> None:
    digests = []
    for pairs in (
        [],
        [{"key": "a", "value": 1}],
        [{"key": "b", "value": 1}],
        [{"key": "a", "value": 2}],
        [{"key": "a", "value": 1, "ttl": 5}],
        [{"key": "a", "value": 1, "ttl": 6}],
        [{"key": "a", "value": 1}, {"key": "b", "value": 1}],
    ):
        harness = Harness()
        harness.call("kv.mset", pairs=pairs)
        digests.append(harness.call("admin.digest")["digest"])
    assert len(set(digests)) == len(digests)


def test_the_digest_is_the_same_before_and_after_a_sweep(harness: Harness) -> None:
    harness.call("kv.mset", pairs=[{"key": f"k{n}", "value": n, "ttl": n + 1} for n in range(20)])
    swept = restarted(harness, START)
    harness.clock.advance(10)
    for _ in range(10):
        swept.clock.advance(1)
        swept.dispatcher.sweep(limit=100)
    assert swept.call("admin.digest")["digest"] == harness.call("admin.digest")["digest"]


def test_a_digest_leaves_no_record(harness: Harness) -> None:
    harness.call("admin.digest")
    assert recorded(harness) == []


def test_every_public_command_is_listed_with_its_schemas(harness: Harness) -> None:
    listed = harness.call("admin.commands")["commands"]
    assert [entry["name"] for entry in listed] == [command.name for command in TABLE.public()]
    for entry in listed:
        assert entry["summary"]
        assert entry["payload"] and entry["result"]
    assert "kv.evict" not in [entry["name"] for entry in listed]


# What the server around the state tells


class FakeHost:
    """A server that notes what it is asked to do."""

    def __init__(self) -> None:
        self.slowlog = SlowLog()
        self.asked: list[str] = []

    def facts(self) -> Facts:
        return Facts(
            server=ServerStats("9.9", 7, "master"),
            memory=MemoryStats(1_000, 2_000, None),
            journal=JournalStats(3, 4_000, "always"),
            connections=5,
            key_operations_per_sec=6,
        )

    def health(self) -> Health:
        return Health("healthy", "9.9", "master", 7, "serving", {"journal": "operational"})

    def settings(self) -> dict[str, Setting]:
        return {"server.port": Setting(15_500, "--port"), "auth.jwt_secret": Setting("********", "synap.toml")}

    def clients(self) -> list[Client]:
        return [Client(1, "127.0.0.1:4000", "sse", "ann", START, 2, 3)]

    def shutdown(self) -> None:
        self.asked.append("shutdown")

    def snapshot(self) -> SnapshotBegun:
        self.asked.append("snapshot")
        return SnapshotBegun(len(self.asked) == 1, 12)


@pytest.fixture
def host(harness: Harness) -> FakeHost:
    harness.state.host = host = FakeHost()
    return host


TOLD_BY_THE_HOST = [
    "admin.stats",
    "admin.health",
    "admin.config",
    "admin.slowlog",
    "admin.clients",
    "admin.snapshot",
    "admin.shutdown",
]


@pytest.mark.parametrize("command", TOLD_BY_THE_HOST)
def test_without_a_server_around_the_state_there_is_nobody_to_tell(harness: Harness, command: str) -> None:
    assert refused(harness, command).code == "UNAVAILABLE"


@pytest.mark.parametrize("command", TOLD_BY_THE_HOST)
def test_what_the_host_tells_or_does_leaves_no_record(harness: Harness, host: FakeHost, command: str) -> None:
    digest = harness.digest()
    harness.call(command)
    assert recorded(harness) == []
    assert harness.digest() == digest


def test_everything_but_health_and_the_listing_is_for_administrators() -> None:
    open_to_all = {c.name for c in TABLE.public() if c.namespace == "admin" and not c.admin}
    assert open_to_all == {"admin.health", "admin.commands"}


@pytest.mark.usefixtures("host")
def test_the_stats_of_an_empty_server_are_those_of_its_host_and_zeros(harness: Harness) -> None:
    assert harness.call("admin.stats") == {
        "server": {"version": "9.9", "uptime_secs": 7, "role": "master"},
        "memory": {"used_bytes": 1_000, "limit_bytes": 2_000, "rss_bytes": None},
        "kv": {"total_keys": 0, "operations_per_sec": 6},
        "queues": {"total_queues": 0, "total_messages": 0},
        "streams": {"total_rooms": 0, "total_subscribers": 0},
        "pubsub": {"total_topics": 0, "total_subscribers": 0},
        "journal": {"lsn": 3, "bytes": 4_000, "fsync": "always"},
        "connections": 5,
    }


@pytest.mark.usefixtures("host")
def test_the_stats_count_live_keys_of_all_types(harness: Harness) -> None:
    harness.call("kv.set", key="a", value=1)
    harness.call("kv.set", key="brief", value=1, ttl=1)
    harness.call("hash.set", key="h", field="f", value=1)
    assert harness.call("admin.stats")["kv"]["total_keys"] == 3
    harness.clock.advance(1)
    assert harness.call("admin.stats")["kv"]["total_keys"] == 2


@pytest.fixture(params=["few", "many"])
def crowd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of queues and rooms counts as few, or as many."""
    if request.param == "many":
        monkeypatch.setattr("synap.commands.admin.WHOLE_MAX", 0)
        monkeypatch.setattr("synap.commands.admin.PORTION", 2)


@pytest.mark.usefixtures("host", "crowd")
def test_the_stats_count_messages_that_are_ready_delayed_and_in_flight_but_no_dead_ones(harness: Harness) -> None:
    for _ in range(4):
        harness.call("queue.publish", queue="q", message=1)
    harness.call("queue.publish", queue="other", message=1, delay_secs=60)
    taken = [harness.call("queue.consume", queue="q")["message_id"] for _ in range(2)]
    harness.call("queue.nack", queue="q", message_id=taken[0], requeue=False)
    assert harness.call("admin.stats")["queues"] == {"total_queues": 2, "total_messages": 4}
    harness.clock.advance(3_600)
    harness.call("queue.purge", queue="q")
    assert harness.call("admin.stats")["queues"] == {"total_queues": 2, "total_messages": 1}


@pytest.mark.usefixtures("host", "crowd")
def test_the_stats_count_the_subscribers_of_every_room_and_those_of_topics(harness: Harness) -> None:
    for room in ("a", "b", "c"):
        harness.call("stream.create", room=room)
    for room, subscriber in (("a", 1), ("a", 2), ("b", 1)):
        harness.state.line.watch((Stream, room), subscriber)
    harness.call("pubsub.publish", topic="news", message=1)
    stats = harness.call("admin.stats")
    assert stats["streams"] == {"total_rooms": 3, "total_subscribers": 3}
    assert stats["pubsub"] == {"total_topics": 1, "total_subscribers": 0}


@pytest.mark.usefixtures("host")
def test_health_settings_and_clients_are_told_as_the_host_has_them(harness: Harness) -> None:
    assert harness.call("admin.health") == {
        "status": "healthy",
        "version": "9.9",
        "role": "master",
        "uptime_secs": 7,
        "phase": "serving",
        "components": {"journal": "operational"},
    }
    assert harness.call("admin.config")["settings"]["server.port"] == {"value": 15_500, "origin": "--port"}
    assert harness.call("admin.clients")["clients"] == [
        {
            "id": 1,
            "address": "127.0.0.1:4000",
            "transport": "sse",
            "user": "ann",
            "connected_at": START,
            "subscriptions": 2,
            "outbox": 3,
        }
    ]


def test_the_slow_log_is_read_newest_first_and_as_far_as_asked(harness: Harness, host: FakeHost) -> None:
    assert harness.call("admin.slowlog") == {"entries": []}
    for number in range(150):
        host.slowlog.note(START + number, "kv.keys", None, 0.2, "127.0.0.1:4000")
    assert len(harness.call("admin.slowlog")["entries"]) == 100
    assert [entry["at"] for entry in harness.call("admin.slowlog", count=2)["entries"]] == [START + 149, START + 148]
    assert refused(harness, "admin.slowlog", count=0).code == "INVALID_PAYLOAD"


def test_a_snapshot_and_the_end_are_passed_on_to_the_host(harness: Harness, host: FakeHost) -> None:
    assert harness.call("admin.snapshot") == {"started": True, "lsn": 12}
    assert harness.call("admin.shutdown") == {"accepted": True}
    assert host.asked == ["snapshot", "shutdown"]
    assert harness.call("admin.snapshot") == {"started": False, "lsn": 12}
