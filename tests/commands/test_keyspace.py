"""`kv.*` on the keyspace as a whole: scans, counts, statistics, flushing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap.commands.paging import EXAMINED_PER_PAGE_MIN
from tests.commands.common import put_pile, refused
from tests.support import Harness

# Scans


def pages(harness: Harness, **payload: Any) -> list[list[str]]:
    found, cursor = [], None
    while True:
        page = harness.call("kv.scan", cursor=cursor, **payload)
        assert page["has_more"] is (page["cursor"] is not None)
        assert len(page["keys"]) <= payload.get("count", 100)
        found.append(page["keys"])
        cursor = page["cursor"]
        if cursor is None:
            return found


def scanned(harness: Harness, **payload: Any) -> list[str]:
    return [key for page in pages(harness, **payload) for key in page]


def test_an_empty_keyspace_is_one_empty_page(harness: Harness) -> None:
    assert harness.call("kv.scan") == {"keys": [], "cursor": None, "has_more": False}


def test_pages_follow_each_other_in_key_order_and_end_without_a_cursor(harness: Harness) -> None:
    names = [f"k{number:03}" for number in range(250)]
    harness.call("kv.mset", pairs=dict.fromkeys(reversed(names), 1))
    assert [len(page) for page in pages(harness)] == [100, 100, 50]
    assert scanned(harness, count=7) == names
    assert [len(page) for page in pages(harness, count=125)] == [125, 125]
    assert [len(page) for page in pages(harness, count=250)] == [250]


def test_keys_come_in_the_order_of_their_utf8_bytes(harness: Harness) -> None:
    names = ["a", "Z", "é", "z", "\uffff", "😀", "\0", "aa", "a\0"]
    harness.call("kv.mset", pairs=dict.fromkeys(names, 1))
    assert scanned(harness, count=2) == sorted(names, key=str.encode) == harness.call("kv.keys")["keys"]


def test_a_prefix_is_literal_and_a_match_is_a_glob(harness: Harness) -> None:
    harness.call("kv.mset", pairs=dict.fromkeys(["user:1", "user:22", "user:*", "order:1", "us"], 1))
    assert scanned(harness, prefix="user:*") == ["user:*"]
    assert scanned(harness, prefix="user:") == ["user:*", "user:1", "user:22"]
    assert scanned(harness, match="user:?") == ["user:*", "user:1"]
    assert scanned(harness, prefix="us", match="*:1") == ["user:1"]
    assert scanned(harness, prefix="user:2", match="user:*") == ["user:22"]
    assert scanned(harness, prefix="us", match="user:1") == ["user:1"]
    assert scanned(harness, prefix="order", match="user:*") == []
    assert scanned(harness, match="user:\\*") == ["user:*"]
    assert harness.call("kv.keys", match="[ou]*:1") == {"keys": ["order:1", "user:1"], "count": 2}
    assert harness.call("kv.keys", match="user:1") == {"keys": ["user:1"], "count": 1}
    assert harness.call("kv.keys", match="none*") == {"keys": [], "count": 0}


def test_a_scan_can_be_limited_to_a_type(piles: Harness) -> None:
    piles.call("kv.mset", pairs={"a": 1, "c": 1})
    put_pile(piles, "b")
    assert scanned(piles, type="string", count=1) == ["a", "c"]
    assert scanned(piles, type="pile") == ["b"]
    assert scanned(piles, type="hash") == []
    assert piles.call("kv.keys")["keys"] == ["a", "b", "c"]


def test_expired_keys_are_not_scanned(harness: Harness) -> None:
    harness.call("kv.mset", pairs=[{"key": "a", "value": 1, "ttl": 1}, {"key": "b", "value": 1}])
    harness.clock.advance(1)
    assert scanned(harness) == ["b"]
    assert harness.call("kv.keys") == {"keys": ["b"], "count": 1}


def test_a_cursor_survives_the_deletion_of_the_key_it_stands_on(harness: Harness) -> None:
    harness.call("kv.mset", pairs=dict.fromkeys("abcdef", 1))
    first = harness.call("kv.scan", count=2)
    harness.call("kv.del", keys=["a", "b", "c"])
    second = harness.call("kv.scan", count=2, cursor=first["cursor"])
    assert (first["keys"], second["keys"]) == (["a", "b"], ["d", "e"])
    harness.call("kv.flushdb")
    assert harness.call("kv.scan", cursor=second["cursor"]) == {"keys": [], "cursor": None, "has_more": False}


CHANGES = st.lists(st.tuples(st.booleans(), st.text("abcd", min_size=1, max_size=2)), max_size=6)


@settings(deadline=None, max_examples=60)
@given(st.sets(st.text("abcd", min_size=1, max_size=3)), st.lists(CHANGES, max_size=12), st.integers(1, 4))
def test_every_key_that_stays_is_scanned_exactly_once_while_others_come_and_go(
    initial: set[str], changes: list[list[tuple[bool, str]]], count: int
) -> None:
    harness, touched = Harness(), {key for step in changes for _, key in step}
    harness.call("kv.mset", pairs=dict.fromkeys(initial, 1))
    found, cursor, steps = list[str](), None, iter(changes)
    while True:
        page = harness.call("kv.scan", cursor=cursor, count=count)
        found += page["keys"]
        cursor = page["cursor"]
        if cursor is None:
            break
        for added, key in next(steps, []):
            harness.call("kv.set" if added else "kv.del", key=key, **({"value": 1} if added else {}))
    assert found == sorted(set(found), key=str.encode)
    assert initial - touched <= set(found) <= initial | touched


def test_a_page_with_a_rare_match_ends_after_a_bounded_number_of_keys(harness: Harness) -> None:
    total = 5 * EXAMINED_PER_PAGE_MIN
    harness.call("kv.mset", pairs=dict.fromkeys((f"k{number:06}" for number in range(total)), 1))
    harness.call("kv.set", key="z-needle", value=1)
    found = pages(harness, match="*needle", count=1)
    assert len(found) >= 5
    assert [key for page in found for key in page] == ["z-needle"]


@pytest.mark.parametrize("cursor", ["!", "abc", "0", "a", "=", "_w==", "YQ==x", "é", "YQ=", " YQ==", 0, ["a"]])
def test_a_cursor_that_no_page_gave_out_is_refused(harness: Harness, cursor: Any) -> None:
    error = refused(harness, "kv.scan", cursor=cursor)
    assert (error.code, error.details["path"]) == ("INVALID_PAYLOAD", "payload.cursor")


# The keyspace as a whole


def test_dbsize_counts_live_keys_of_every_type(piles: Harness) -> None:
    piles.call("kv.mset", pairs=[{"key": "a", "value": 1}, {"key": "b", "value": 1, "ttl": 1}])
    put_pile(piles, "c")
    assert piles.call("kv.dbsize") == {"size": 3}
    piles.clock.advance(1)
    assert piles.call("kv.dbsize") == {"size": 2}


def test_flushdb_removes_everything_and_counts_what_was_alive(harness: Harness) -> None:
    harness.call("kv.mset", pairs=[{"key": "a", "value": 1}, {"key": "b", "value": 1, "ttl": 1}])
    harness.clock.advance(1)
    assert harness.call("kv.flushdb") == {"flushed": 1}
    assert harness.call("kv.flushdb") == {"flushed": 0}
    assert harness.call("kv.scan")["keys"] == []
    assert harness.call("kv.stats")["memory_bytes"] == 0


def test_stats_describe_the_keyspace(piles: Harness) -> None:
    piles.call("kv.mset", pairs=[{"key": "a", "value": 1}, {"key": "b", "value": 1, "ttl": 1}])
    piles.call("kv.set", key="c", value=1, ttl=100)
    put_pile(piles, "pile", 1, 2)
    piles.clock.advance(1)
    piles.call("kv.get", key="a")
    piles.call("kv.mget", keys=["a", "b", "missing"])
    stats = piles.call("kv.stats")
    assert stats.pop("memory_bytes") == piles.state.keyspace.used_bytes > 0
    assert stats == {
        "total_keys": 3,
        "by_type": {"string": 2, "pile": 1},
        "expiring": 1,
        "hits": 2,
        "misses": 2,
        "evicted": 0,
        "expired": 1,
    }
