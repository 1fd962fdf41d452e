"""`key.*`: keys of any type, whatever they hold."""

from __future__ import annotations

from collections import Counter

import pytest

from synap.errors import InvalidPayload, KeyNotFound
from tests.commands.common import put_pile, recorded, refused
from tests.support import Harness


def test_type_names_what_a_key_holds(piles: Harness) -> None:
    piles.call("kv.set", key="text", value="x", ttl=1)
    put_pile(piles, "pile", 1)
    assert piles.call("key.type", key="text") == {"type": "string"}
    assert piles.call("key.type", key="pile") == {"type": "pile"}
    assert piles.call("key.type", key="missing") == {"type": "none"}
    piles.clock.advance(1)
    assert piles.call("key.type", key="text") == {"type": "none"}


def test_exists_says_whether_a_key_of_any_type_is_there(piles: Harness) -> None:
    put_pile(piles, "pile")
    assert piles.call("key.exists", key="pile") == {"exists": True}
    assert piles.call("key.exists", key="missing") == {"exists": False}


@pytest.mark.parametrize("command", ["key.rename", "key.renamenx"])
def test_a_renamed_key_takes_its_value_and_its_ttl_along(harness: Harness, command: str) -> None:
    harness.call("kv.set", key="a", value=[1], ttl=10)
    assert harness.call(command, source="a", destination="b") == {"success": True}
    assert harness.call("kv.get", key="b") == {"found": True, "value": [1], "ttl": 10}
    assert harness.call("kv.get", key="a")["found"] is False
    assert harness.call("kv.keys")["keys"] == ["b"]


def test_rename_replaces_the_destination_and_its_ttl(piles: Harness) -> None:
    piles.call("kv.set", key="a", value=1)
    put_pile(piles, "b", 1, 2)
    piles.call("kv.expire", key="b", ttl=10)
    piles.call("key.rename", source="a", destination="b")
    assert piles.call("kv.get", key="b") == {"found": True, "value": 1, "ttl": None}
    assert piles.call("kv.stats")["by_type"] == {"string": 1, "pile": 0}


def test_renamenx_leaves_an_existing_destination_alone(harness: Harness) -> None:
    harness.call("kv.mset", pairs={"a": 1, "b": 2})
    assert harness.call("key.renamenx", source="a", destination="b") == {"success": False}
    assert harness.call("kv.mget", keys=["a", "b"]) == {"values": [1, 2]}


def test_renamenx_takes_the_place_of_an_expired_destination(harness: Harness) -> None:
    harness.call("kv.mset", pairs=[{"key": "a", "value": 1}, {"key": "b", "value": 2, "ttl": 1}])
    harness.clock.advance(1)
    assert harness.call("key.renamenx", source="a", destination="b") == {"success": True}
    assert harness.call("kv.get", key="b") == {"found": True, "value": 1, "ttl": None}


def test_a_key_renamed_onto_itself_stays_as_it_is(harness: Harness) -> None:
    harness.call("kv.set", key="a", value=1, ttl=10)
    assert harness.call("key.rename", source="a", destination="a") == {"success": True}
    assert harness.call("key.renamenx", source="a", destination="a") == {"success": False}
    assert harness.call("kv.get", key="a") == {"found": True, "value": 1, "ttl": 10}
    assert recorded(harness) == ["kv.set"]


@pytest.mark.parametrize("command", ["key.rename", "key.renamenx"])
def test_renaming_a_missing_key_is_an_error_that_names_it(harness: Harness, command: str) -> None:
    harness.call("kv.set", key="b", value=1)
    for destination in ("a", "b"):
        error = refused(harness, command, source="a", destination=destination)
        assert isinstance(error, KeyNotFound)
        assert error.details == {"key": "a"}
        assert "'a'" in error.message
    assert harness.call("kv.keys")["keys"] == ["b"]


def test_an_expired_key_cannot_be_renamed(harness: Harness) -> None:
    harness.call("kv.set", key="a", value=1, ttl=1)
    harness.clock.advance(1)
    assert isinstance(refused(harness, "key.rename", source="a", destination="b"), KeyNotFound)


def test_a_copy_has_the_value_and_the_ttl_and_shares_neither(piles: Harness) -> None:
    put_pile(piles, "a", 1)
    piles.call("kv.expire", key="a", ttl=10)
    assert piles.call("key.copy", source="a", destination="b") == {"success": True}
    assert piles.call("kv.ttl", key="b") == {"found": True, "ttl": 10}
    piles.call("kv.persist", key="b")
    piles.clock.advance(10)
    assert piles.call("kv.keys")["keys"] == ["b"]


def test_a_copy_replaces_only_when_told_to(harness: Harness) -> None:
    harness.call("kv.mset", pairs=[{"key": "a", "value": 1}, {"key": "b", "value": 2, "ttl": 10}])
    assert harness.call("key.copy", source="a", destination="b") == {"success": False}
    assert harness.call("kv.get", key="b") == {"found": True, "value": 2, "ttl": 10}
    assert harness.call("key.copy", source="a", destination="b", replace=True) == {"success": True}
    assert harness.call("kv.get", key="b") == {"found": True, "value": 1, "ttl": None}


def test_a_copy_onto_itself_changes_nothing(harness: Harness) -> None:
    harness.call("kv.set", key="a", value=1, ttl=10)
    assert harness.call("key.copy", source="a", destination="a") == {"success": False}
    assert harness.call("key.copy", source="a", destination="a", replace=True) == {"success": False}
    assert harness.call("kv.get", key="a") == {"found": True, "value": 1, "ttl": 10}
    assert recorded(harness) == ["kv.set"]


def test_copying_a_missing_key_is_no_success_and_no_error(harness: Harness) -> None:
    harness.call("kv.set", key="b", value=1)
    assert harness.call("key.copy", source="a", destination="b", replace=True) == {"success": False}
    assert harness.call("kv.get", key="b")["value"] == 1


def test_a_random_key_of_an_empty_keyspace_is_null(harness: Harness) -> None:
    assert harness.call("key.randomkey") == {"key": None}
    harness.call("kv.set", key="a", value=1, ttl=1)
    harness.clock.advance(1)
    assert harness.call("key.randomkey") == {"key": None}


def test_random_keys_have_equal_chances(harness: Harness) -> None:
    harness.call("kv.mset", pairs=dict.fromkeys("abcdefghij", 1))
    drawn = Counter(harness.call("key.randomkey")["key"] for _ in range(2_000))
    assert set(drawn) == set("abcdefghij")
    assert min(drawn.values()) > 100
    assert max(drawn.values()) < 300


def test_a_pick_names_one_key_for_good(harness: Harness) -> None:
    harness.call("kv.mset", pairs=dict.fromkeys("abc", 1))
    assert [harness.call("key.randomkey", seed=pick)["key"] for pick in range(4)] == ["a", "b", "c", "a"]
    assert isinstance(refused(harness, "key.randomkey", seed=-1), InvalidPayload)


def test_looking_at_keys_leaves_no_record(harness: Harness) -> None:
    harness.call("kv.set", key="a", value=1)
    harness.call("key.type", key="a")
    harness.call("key.exists", key="a")
    harness.call("key.randomkey")
    assert recorded(harness) == ["kv.set"]
