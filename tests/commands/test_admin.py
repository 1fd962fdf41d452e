"""`admin.*`: the digest and the list of commands."""

from __future__ import annotations

import re

from synap.commands import TABLE
from tests.commands.common import recorded, restarted
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
