"""What tells of everything: listings and statistics in slices, scans past dead keys, work that is left for later."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from synap.commands import gates, slices
from synap.commands.gates import REMOVED_PER_WRITE_MAX, Limits
from synap.commands.paging import EXAMINED_PER_PAGE_MAX, EXAMINED_PER_PAGE_MIN
from synap.commands.slices import Sliced
from synap.commands.waiting import WouldBlock
from synap.engines.bin import WORTH_THROWING
from tests.commands.collecting import scanned
from tests.commands.common import batch, recorded
from tests.support import Harness

MANY = slices.WHOLE_MAX + 500


def in_slices(harness: Harness, command: str, between: Callable[[], object] = lambda: None, **payload: Any) -> Any:
    """The result of a command, other work being done after each of its slices; it must take several."""
    begun: list[Sliced] = []
    harness.dispatcher.take_turns = lambda work, _is_wanted, _done: begun.append(work)
    with pytest.raises(WouldBlock):
        harness.dispatcher.answer(json.dumps({"command": command, "payload": payload}).encode())
    harness.dispatcher.take_turns = None
    steps = 1
    while not begun[0].step():
        between()
        steps += 1
    assert steps > 2
    return json.loads(begun[0].finish())


def expiring(harness: Harness, count: int = MANY, ttl: int = 5) -> None:
    pairs = [{"key": f"dead{number:05d}", "value": 1, "ttl": ttl} for number in range(count)]
    harness.call("kv.mset", pairs=pairs)


def test_many_queues_are_listed_in_slices_as_they_are_at_their_turn(harness: Harness) -> None:
    for number in range(MANY):
        harness.call("queue.publish", queue=f"q{number:05d}", message=1)
    whole = harness.call("queue.list")
    assert in_slices(harness, "queue.list") == whole
    last = f"q{MANY - 1:05d}"
    listed = in_slices(harness, "queue.list", lambda: harness.call("queue.delete", queue=last))["queues"]
    assert listed == whole["queues"][:-1]


def test_many_rooms_are_listed_in_slices_as_they_are_at_their_turn(harness: Harness) -> None:
    for number in range(MANY):
        harness.call("stream.publish", room=f"r{number:05d}", event_type="e", data=1)
    whole = harness.call("stream.rooms")
    assert in_slices(harness, "stream.rooms") == whole
    last = f"r{MANY - 1:05d}"
    listed = in_slices(harness, "stream.rooms", lambda: harness.call("stream.delete", room=last))["rooms"]
    assert listed == whole["rooms"][:-1]


def test_many_groups_are_listed_as_they_were_at_once(harness: Harness) -> None:
    harness.call("stream.create", room="r", partitions=100)
    for number in range(300):
        harness.call("stream.publish", room="r", event_type="e", data=1)
        harness.call("stream.consume", room="r", group=f"g{number}", max_events=number + 1)
    whole = harness.call("stream.groups", room="r")
    lags = {group["group"]: group["lag"] for group in whole["groups"]}
    assert (lags["g0"], lags["g299"]) == (299, 0)
    more = {"room": "r", "event_type": "e", "data": 1}
    assert in_slices(harness, "stream.groups", lambda: harness.call("stream.publish", **more), room="r") == whole


def test_statistics_of_keys_wait_in_slices_until_what_is_due_is_gone(harness: Harness) -> None:
    expiring(harness)
    harness.call("kv.set", key="alive", value=1)
    harness.clock.advance(6)
    stats = in_slices(harness, "kv.stats")
    assert (stats["total_keys"], stats["by_type"]["string"], stats["expiring"], stats["expired"]) == (1, 1, 0, MANY)
    assert harness.call("kv.stats")["memory_bytes"] == stats["memory_bytes"]


def test_keys_that_are_due_are_counted_out_before_they_are_swept(harness: Harness) -> None:
    expiring(harness)
    harness.call("kv.mset", pairs={"a": 1, "b": 2})
    harness.clock.advance(6)
    assert harness.call("kv.dbsize") == {"size": 2}
    assert len(harness.state.keyspace) > 2
    assert {harness.call("key.randomkey")["key"] for _ in range(50)} == {"a", "b"}
    assert harness.call("kv.flushdb") == {"flushed": 2}
    assert harness.call("kv.stats")["expired"] == MANY
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()


def test_a_page_ends_after_so_many_dead_keys_and_the_scan_goes_on(harness: Harness) -> None:
    expiring(harness, 3 * EXAMINED_PER_PAGE_MIN)
    harness.call("kv.set", key="e", value=1)
    harness.clock.advance(6)
    pages = scanned(harness, "kv.scan", "keys", count=10)
    assert len(pages) > 2
    assert [key for page in pages for key in page] == ["e"]


def test_the_largest_page_looks_at_no_more_than_it_may_hold(harness: Harness) -> None:
    harness.call("kv.mset", pairs={f"k{number:06d}": 1 for number in range(EXAMINED_PER_PAGE_MAX + 1)})
    page = harness.call("kv.scan", count=10_000, match="*1")
    assert (len(page["keys"]), page["has_more"]) == (EXAMINED_PER_PAGE_MAX // 10, True)


def test_commands_of_one_moment_sweep_once(harness: Harness) -> None:
    expiring(harness, 1_000)
    harness.clock.advance(6)
    batch(harness, *[("kv.get", {"key": "x"})] * 3)
    assert len(harness.state.keyspace) == 800
    assert recorded(harness) == ["kv.mset", "system.clock"]


def test_a_tick_says_whether_there_is_more_to_do(harness: Harness) -> None:
    expiring(harness, 250)
    harness.clock.advance(6)
    assert [harness.dispatcher.tick(100) for _ in range(3)] == [True, True, False]


def test_a_tick_with_time_sweeps_and_frees_everything(harness: Harness) -> None:
    harness.state.bin.is_emptied = True
    harness.call("set.add", key="s", members=[str(number) for number in range(10 * WORTH_THROWING)])
    harness.call("kv.del", key="s")
    expiring(harness, 250)
    harness.clock.advance(6)
    assert harness.state.bin
    assert harness.dispatcher.tick(100, 60.0) is False
    assert (len(harness.state.keyspace), bool(harness.state.bin)) == (0, False)


def over_limit(count: int) -> Harness:
    """A server whose memory is over its limit by what so many keys take, and by one more."""
    harness = Harness(Limits(memory_bytes=1_000_000, memory_policy="allkeys-lru"))
    harness.call("kv.set", key="first", value="x" * 800_000)
    harness.call("kv.mset", pairs={f"k{number:05d}": "x" * 100 for number in range(count + 1_000)})
    harness.call("kv.del", key="first")
    harness.call("kv.set", key="last", value="x" * (1_000_000 - 250 * 1_000))
    return harness


def evicted(harness: Harness) -> int:
    count: int = harness.call("kv.stats")["evicted"]
    return count


def test_a_write_evicts_so_many_keys_and_those_after_it_go_on() -> None:
    harness = over_limit(3 * REMOVED_PER_WRITE_MAX)
    counts = []
    while harness.state.used_bytes > 1_000_000:
        before = evicted(harness)
        harness.call("kv.set", key="new", value=1)
        counts.append(evicted(harness) - before)
    assert len(counts) > 2
    assert set(counts[:-1]) == {REMOVED_PER_WRITE_MAX}
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()


def test_far_over_the_limit_a_write_makes_all_the_room_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = over_limit(3 * REMOVED_PER_WRITE_MAX)
    monkeypatch.setattr(gates, "EXCESS_BYTES_MAX", 1_000)
    harness.call("kv.set", key="new", value=1)
    assert evicted(harness) > REMOVED_PER_WRITE_MAX
    assert harness.state.used_bytes < 1_001_000
