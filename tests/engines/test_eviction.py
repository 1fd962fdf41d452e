"""Eviction: which keys each policy gives up, in which order, and how many."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap.engines import eviction
from synap.engines.keyspace import Keyspace

NOW = 1_000_000
EVERYTHING = 10**9


def keyspace_for(policy: str) -> Keyspace:
    keyspace = Keyspace()
    eviction.prepare(keyspace, policy)
    return keyspace


def order(keyspace: Keyspace, policy: str, now: int = NOW) -> list[str]:
    return eviction.victims(keyspace, policy, EVERYTHING, now)


def test_noeviction_gives_up_nothing() -> None:
    keyspace = keyspace_for("noeviction")
    keyspace.put("a", b"1", NOW, NOW + 1)
    assert order(keyspace, "noeviction") == []


def test_allkeys_lru_gives_up_what_was_unused_for_longest() -> None:
    keyspace = keyspace_for("allkeys-lru")
    for key in "abcd":
        keyspace.put(key, b"1", NOW)
    keyspace.get("a", NOW)
    keyspace.put("b", b"2", NOW)
    assert order(keyspace, "allkeys-lru") == ["c", "d", "a", "b"]


def test_peeking_and_scanning_are_no_use_of_a_key() -> None:
    keyspace = keyspace_for("allkeys-lru")
    for key in "ab":
        keyspace.put(key, b"1", NOW)
    keyspace.peek("a", NOW)
    keyspace.type_at("a", NOW)
    list(keyspace.keys(NOW))
    assert order(keyspace, "allkeys-lru") == ["a", "b"]


def test_keys_from_before_the_policy_was_set_are_given_up_too() -> None:
    keyspace = Keyspace()
    keyspace.put("lasting", b"1", NOW)
    keyspace.put("expiring", b"1", NOW, NOW + 1)
    eviction.prepare(keyspace, "allkeys-lru")
    assert set(order(keyspace, "allkeys-lru")) == {"lasting", "expiring"}
    eviction.prepare(keyspace, "volatile-lru")
    assert order(keyspace, "volatile-lru") == ["expiring"]


def test_volatile_lru_gives_up_only_keys_with_an_expiry() -> None:
    keyspace = keyspace_for("volatile-lru")
    keyspace.put("lasting", b"1", NOW)
    for key in "abc":
        keyspace.put(key, b"1", NOW, NOW + 10)
    keyspace.get("a", NOW)
    keyspace.get("lasting", NOW)
    assert order(keyspace, "volatile-lru") == ["b", "c", "a"]


def test_volatile_lru_follows_keys_that_gain_and_lose_their_expiry() -> None:
    keyspace = keyspace_for("volatile-lru")
    for key in "abc":
        keyspace.put(key, b"1", NOW)
    keyspace.set_expiry("b", NOW + 10)
    assert order(keyspace, "volatile-lru") == ["b"]
    keyspace.set_expiry("a", NOW + 10)
    keyspace.clear_expiry("b")
    assert order(keyspace, "volatile-lru") == ["a"]
    keyspace.put("a", b"2", NOW)
    assert order(keyspace, "volatile-lru") == []


def test_volatile_ttl_gives_up_the_nearest_expiry_first() -> None:
    keyspace = keyspace_for("volatile-ttl")
    keyspace.put("lasting", b"1", NOW)
    keyspace.put("late", b"1", NOW, NOW + 30)
    keyspace.put("soon", b"1", NOW, NOW + 10)
    keyspace.put("renewed", b"1", NOW, NOW + 5)
    keyspace.set_expiry("renewed", NOW + 20)
    assert order(keyspace, "volatile-ttl") == ["soon", "renewed", "late"]


def test_volatile_ttl_names_a_key_once_however_often_its_expiry_was_set() -> None:
    keyspace = keyspace_for("volatile-ttl")
    for at in (NOW + 10, NOW + 20, NOW + 10):
        keyspace.put("a", b"1", NOW, at)
    keyspace.put("b", b"1", NOW, NOW + 10)
    assert order(keyspace, "volatile-ttl") == ["a", "b"]


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "volatile-ttl"])
def test_keys_that_time_has_removed_are_not_given_up_again(policy: str) -> None:
    keyspace = keyspace_for(policy)
    keyspace.put("due", b"1", NOW, NOW + 5)
    keyspace.put("alive", b"1", NOW, NOW + 10)
    assert order(keyspace, policy, NOW + 5) == ["alive"]


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "volatile-ttl"])
@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 500), min_size=1, max_size=10), excess=st.integers(-10, 3_000))
def test_victims_free_what_was_asked_for_and_hardly_more(policy: str, sizes: list[int], excess: int) -> None:
    keyspace = keyspace_for(policy)
    for number, size in enumerate(sizes):
        keyspace.put(f"k{number}", b"x" * size, NOW, NOW + number + 1)
    chosen = eviction.victims(keyspace, policy, excess, NOW)
    assert chosen == order(keyspace, policy)[: len(chosen)]
    freed = [keyspace.entry_bytes(key, keyspace.peek(key, NOW)) for key in chosen]
    assert sum(freed) >= excess or len(chosen) == len(sizes)
    assert sum(freed[:-1]) < max(excess, 1)


def test_victims_that_free_exactly_what_was_asked_for_are_enough() -> None:
    keyspace = keyspace_for("allkeys-lru")
    for key in "abc":
        keyspace.put(key, b"1", NOW)
    size = keyspace.entry_bytes("a", b"1")
    assert eviction.victims(keyspace, "allkeys-lru", 2 * size, NOW) == ["a", "b"]
    assert eviction.victims(keyspace, "allkeys-lru", 2 * size + 1, NOW) == ["a", "b", "c"]


USES = st.lists(st.tuples(st.sampled_from(["get", "put", "remove"]), st.sampled_from("abcdef")), max_size=40)


@settings(deadline=None)
@given(USES)
def test_the_order_of_use_is_exact(uses: list[tuple[str, str]]) -> None:
    keyspace, expected = keyspace_for("allkeys-lru"), list[str]()
    for use, key in uses:
        there = key in expected
        if there:
            expected.remove(key)
        if use == "put":
            keyspace.put(key, b"1", NOW)
        elif use == "get":
            keyspace.get(key, NOW)
        else:
            keyspace.discard(key, NOW)
        if use == "put" or (use == "get" and there):
            expected.append(key)
    assert order(keyspace, "allkeys-lru") == expected
