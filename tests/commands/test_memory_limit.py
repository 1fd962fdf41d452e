"""The memory limit: what is refused, what is evicted under each policy, and what the journal says of it."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap.commands import TABLE
from synap.commands.gates import Limits
from synap.commands.table import Command
from synap.engines.collection import Collection
from synap.errors import MemoryLimit
from tests.commands.common import recorded, refused
from tests.payloads.samples import samples
from tests.payloads.strategies import NAMESPACES, commands
from tests.support import Harness

VALUE = "x" * 1_000
LIMIT_BYTES = 10_000
# The name of who holds a message is the dearest of what a command that only shrinks, moves or marks may add.
BOOKKEEPING_BYTES = 600
# A message that is leased, beside the first one of a request.
LEASE_BYTES = 400

sequences = st.sampled_from(NAMESPACES).flatmap(lambda namespace: st.lists(commands(namespace), min_size=8))


def limited(policy: str, memory_bytes: int = LIMIT_BYTES) -> Harness:
    return Harness(Limits(memory_bytes=memory_bytes, memory_policy=policy))


def fill(harness: Harness, keys: str, **options: Any) -> None:
    for key in keys:
        harness.call("kv.set", key=key, value=VALUE, **options)


def left(harness: Harness) -> str:
    return "".join(harness.call("kv.keys")["keys"])


def evicted_for_one_more(harness: Harness) -> str:
    """The keys that make room for another value, in key order."""
    before = left(harness)
    fill(harness, "z")
    after = left(harness)
    assert after.endswith("z")
    return "".join(key for key in before if key not in after)


def are_first(evicted: str, order: str) -> bool:
    """Whether the evicted keys are those that stand first in `order`, and at least one."""
    return evicted != "" and set(evicted) == set(order[: len(evicted)])


def fill_up(harness: Harness, **options: Any) -> str:
    """Write keys a, b, c ... until the limit is passed; returns them."""
    written = ""
    while harness.state.used_bytes <= LIMIT_BYTES:
        key = chr(ord("a") + len(written))
        fill(harness, key, **options)
        written += key
    return written


def test_noeviction_refuses_growing_writes_and_says_what_to_do() -> None:
    harness = limited("noeviction")
    written = fill_up(harness)
    error = refused(harness, "kv.set", key="new", value=1)
    assert isinstance(error, MemoryLimit)
    assert error.details == {
        "used_bytes": harness.state.used_bytes,
        "limit_bytes": LIMIT_BYTES,
        "policy": "noeviction",
    }
    assert "delete keys or raise memory.limit_bytes" in error.message
    assert left(harness) == written


@pytest.mark.parametrize("command", [c for c in TABLE.public() if c.writes], ids=lambda command: command.name)
def test_past_the_limit_every_write_is_refused_that_can_grow_and_no_other(command: Command) -> None:
    for payload in samples(command):
        harness = limited("noeviction")
        fill_up(harness)
        before = harness.digest()
        reply = harness.send({"command": command.name, "payload": payload})
        is_refused = reply["status"] == "error" and reply["error"]["code"] == "MEMORY_LIMIT"
        assert is_refused is command.grows
        assert harness.digest() == before or not is_refused


@settings(max_examples=150)
@given(sequences)
def test_what_does_not_claim_to_grow_takes_no_memory(requests: list[dict[str, Any]]) -> None:
    harness = Harness()
    for request in requests:
        before = harness.state.used_bytes
        harness.answer(orjson.dumps(request))
        if not harness.dispatcher.bound[request["command"]].command.grows:
            more_leases = request["payload"].get("max_messages", 1) - 1
            allowed = BOOKKEEPING_BYTES + more_leases * LEASE_BYTES
            assert harness.state.used_bytes - before <= allowed, orjson.dumps(request)


@settings(max_examples=150)
@given(sequences)
def test_every_command_has_what_it_changed_counted(requests: list[dict[str, Any]]) -> None:
    harness = Harness()
    for request in requests:
        harness.answer(orjson.dumps(request))
    keyspace, now = harness.state.keyspace, harness.clock.now()
    held = {key: keyspace.peek(key, now) for key in keyspace.keys(now)}
    for value in held.values():
        if isinstance(value, Collection):
            assert (value.tallied_bytes, value.tallied_elements) == (value.used_bytes(), len(value))
    assert keyspace.used_bytes == sum(keyspace.entry_bytes(key, value) for key, value in held.items())


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("kv.del", {"key": "a"}),
        ("kv.expire", {"key": "a", "ttl": 100}),
        ("key.renamenx", {"source": "a", "destination": "new"}),
        ("kv.flushdb", {}),
    ],
)
def test_deletes_and_reads_work_past_the_limit(name: str, payload: dict[str, Any]) -> None:
    harness = limited("noeviction")
    fill_up(harness)
    assert harness.call("kv.get", key="a")["value"] == VALUE
    assert harness.send({"command": name, "payload": payload})["success"] is True


def test_writes_are_taken_again_once_there_is_room() -> None:
    harness = limited("noeviction")
    fill_up(harness)
    refused(harness, "kv.set", key="new", value=1)
    harness.call("kv.del", keys=["a", "b"])
    assert harness.call("kv.set", key="new", value=1)["success"] is True


def test_expired_keys_make_room_before_anything_is_refused() -> None:
    harness = limited("noeviction")
    fill_up(harness, ttl=5)
    harness.clock.advance(5)
    assert harness.call("kv.set", key="new", value=1)["success"] is True
    assert left(harness) == "new"


def test_no_limit_means_no_limit() -> None:
    harness = limited("noeviction", memory_bytes=0)
    fill(harness, "abcdefghijklmnop")
    assert left(harness) == "abcdefghijklmnop"


def test_allkeys_lru_evicts_what_was_unused_for_longest() -> None:
    harness = limited("allkeys-lru")
    written = fill_up(harness)
    harness.call("kv.get", key="a")
    assert are_first(evicted_for_one_more(harness), written[1:] + "a")


def test_volatile_lru_evicts_only_keys_with_a_ttl() -> None:
    harness = limited("volatile-lru")
    fill(harness, "pq")
    fill(harness, "uvw", ttl=100)
    harness.call("kv.get", key="u")
    fill_up(harness)
    assert are_first(evicted_for_one_more(harness), "vwu")


def test_volatile_lru_evicts_keys_that_got_their_ttl_later() -> None:
    harness = limited("volatile-lru")
    harness.call("kv.set", key="y", value=VALUE * 3)
    fill_up(harness)
    harness.call("kv.expire", key="y", ttl=100)
    assert evicted_for_one_more(harness) == "y"


def test_volatile_ttl_evicts_the_nearest_expiry_first() -> None:
    harness = limited("volatile-ttl")
    fill(harness, "u", ttl=300)
    fill(harness, "v", ttl=100)
    fill(harness, "w", ttl=200)
    harness.call("kv.expire", key="v", ttl=250)
    fill_up(harness)
    assert are_first(evicted_for_one_more(harness), "wvu")


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-ttl"])
def test_a_policy_that_finds_nothing_to_evict_refuses(policy: str) -> None:
    harness = limited(policy)
    written = fill_up(harness)
    assert refused(harness, "kv.set", key="new", value=1).code == "MEMORY_LIMIT"
    assert left(harness) == written


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "volatile-ttl"])
def test_as_much_is_evicted_as_one_large_value_needs(policy: str) -> None:
    harness = limited(policy)
    fill(harness, "abcdefg", ttl=100)
    harness.call("kv.set", key="h", value="x" * 5_000, ttl=200)
    harness.call("kv.incr", key="n")
    assert harness.state.used_bytes <= LIMIT_BYTES
    evicted = 8 - len(left(harness).replace("n", ""))
    assert evicted >= 2
    assert harness.call("kv.stats")["evicted"] == evicted
    assert "h" in left(harness)


def test_an_eviction_is_a_record_before_the_write_that_needed_it() -> None:
    harness = limited("allkeys-lru")
    fill_up(harness)
    evicted = list(evicted_for_one_more(harness))
    assert recorded(harness)[-2:] == ["kv.evict", "kv.set"]
    assert json.loads(bytes(harness.log.records[-2].payload)) == {"keys": evicted}
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()
    assert harness.restored().digest(harness.clock.now()) == harness.digest()


def test_an_eviction_inside_an_atomic_batch_is_part_of_its_record() -> None:
    harness = limited("allkeys-lru")
    fill_up(harness)
    before = len(harness.log.records)
    entry = {"command": "kv.set", "payload": {"key": "z", "value": VALUE}}
    harness.send({"type": "batch", "atomic": True, "commands": [entry]})
    assert recorded(harness)[before:] == ["system.transaction"]
    assert "a" not in left(harness)
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()


def test_a_write_that_fails_after_an_eviction_still_leaves_its_record() -> None:
    harness = limited("allkeys-lru")
    written = fill_up(harness)
    assert refused(harness, "kv.incr", key=written[-1]).code == "NOT_A_NUMBER"
    assert recorded(harness)[-1] == "kv.evict"
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("kv.ttl", {"key": "a"}),
        ("kv.exists", {"key": "a"}),
        ("kv.scan", {}),
        ("kv.keys", {}),
        ("key.type", {"key": "a"}),
        ("key.exists", {"key": "a"}),
        ("memory.usage", {"key": "a"}),
    ],
)
def test_asking_about_a_key_is_no_use_of_it(name: str, payload: dict[str, Any]) -> None:
    harness = limited("allkeys-lru")
    written = fill_up(harness)
    harness.call(name, **payload)
    assert are_first(evicted_for_one_more(harness), written)


def test_changing_the_ttl_and_renaming_are_uses_of_a_key() -> None:
    harness = limited("allkeys-lru")
    written = fill_up(harness)
    harness.call("kv.expire", key="a", ttl=100)
    harness.call("key.rename", source="b", destination="y")
    assert are_first(evicted_for_one_more(harness), written[2:] + "ay")
