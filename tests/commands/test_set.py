"""`set.*`: unordered strings. What holds for every type of collection is in test_collections.py."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from synap.commands.set import PICKS_MAX
from synap.errors import InvalidPayload, OutOfRange
from tests.commands.collecting import scanned
from tests.commands.common import recorded, refused
from tests.support import Harness

DIGITS = list("0123456789")
SEED_MAX = 2**53


def added(harness: Harness, *members: str, key: str = "k") -> None:
    harness.call("set.add", key=key, members=list(members))


def members_of(harness: Harness, key: str = "k") -> Any:
    return harness.call("set.members", key=key)["members"]


@pytest.fixture
def three(harness: Harness) -> Harness:
    """Sets a, b, c that overlap; `none` is absent."""
    for key, members in (("a", "1234"), ("b", "345"), ("c", "467")):
        added(harness, *members, key=key)
    return harness


@pytest.mark.parametrize("member", ["m", "", " ", "\0", '"', "é", "😀", "x" * 1_000])
def test_any_text_is_a_member(harness: Harness, member: str) -> None:
    assert harness.call("set.add", key="k", member=member) == {"added": 1}
    assert harness.call("set.ismember", key="k", member=member) == {"is_member": True, "results": None}
    assert members_of(harness) == [member]
    assert harness.call("set.rem", key="k", member=member) == {"removed": 1}
    assert harness.call("kv.dbsize") == {"size": 0}


def test_members_are_there_once_in_the_order_they_were_added(harness: Harness) -> None:
    assert harness.call("set.add", key="k", members=["b", "a", "b"]) == {"added": 2}
    assert harness.call("set.add", key="k", members=["a", "c"]) == {"added": 1}
    assert members_of(harness) == ["b", "a", "c"]
    assert harness.call("set.card", key="k") == {"count": 3}
    assert harness.call("set.rem", key="k", members=["b", "nobody", "b"]) == {"removed": 1}
    assert members_of(harness) == ["a", "c"]


def test_ismember_answers_one_or_several(harness: Harness) -> None:
    added(harness, "a", "b")
    results = harness.call("set.ismember", key="k", members=["b", "x", "b"])
    assert results == {"is_member": None, "results": [True, False, True]}
    assert harness.call("set.ismember", key="k", member="x") == {"is_member": False, "results": None}


@pytest.mark.parametrize(
    ("command", "payload"),
    [
        ("set.add", {"key": "k", "member": "a"}),
        ("set.add", {"key": "k", "members": ["a", "b"]}),
        ("set.rem", {"key": "k", "members": ["x", "y"]}),
        ("set.pop", {"key": "k", "count": 0}),
        ("set.move", {"source": "k", "destination": "to", "member": "x"}),
        ("set.move", {"source": "k", "destination": "k", "member": "a"}),
        ("set.interstore", {"destination": "to", "keys": ["k", "nobody"]}),
    ],
)
def test_what_changes_nothing_leaves_no_record(harness: Harness, command: str, payload: dict[str, Any]) -> None:
    added(harness, "a", "b")
    digest = harness.digest()
    harness.call(command, **payload)
    assert recorded(harness) == ["set.add"]
    assert harness.digest() == digest


# At random


def test_pops_take_out_and_picks_leave_in(harness: Harness) -> None:
    added(harness, *DIGITS)
    picked = harness.call("set.randmember", key="k", count=4)["members"]
    assert len(set(picked)) == 4
    assert harness.call("set.randmember", key="k")["members"][0] in DIGITS
    assert len(harness.call("set.randmember", key="k", count=-50)["members"]) == 50
    assert sorted(harness.call("set.randmember", key="k", count=50)["members"]) == DIGITS
    assert harness.call("set.randmember", key="k", count=0) == {"members": []}
    popped = harness.call("set.pop", key="k", count=4)["members"] + harness.call("set.pop", key="k")["members"]
    assert sorted(popped + members_of(harness)) == DIGITS
    assert len(members_of(harness)) == 5
    assert sorted(harness.call("set.pop", key="k", count=99)["members"] + popped) == DIGITS
    assert harness.call("kv.dbsize") == {"size": 0}


def test_the_seed_is_journalled_so_that_the_same_members_go_everywhere(harness: Harness) -> None:
    added(harness, *DIGITS)
    for _ in range(4):
        harness.call("set.pop", key="k", count=2)
    seeds = [json.loads(record.payload)["seed"] for record in harness.log.records[1:]]
    assert len(set(seeds)) == 4
    assert all(0 <= seed <= SEED_MAX for seed in seeds)
    assert harness.replayed().state.digest(harness.clock.now()) == harness.digest()


def test_a_pop_after_a_snapshot_takes_what_it_would_have_taken_without(harness: Harness) -> None:
    added(harness, "c", "a", "é", "b", "\U0001f600", "\uffff")
    restored = harness.restored()
    popped = harness.call("set.pop", key="k", count=3, seed=7)["members"]
    restored.apply(harness.log.records[-1])
    assert restored.state.digest(harness.clock.now()) == harness.digest()
    assert not set(popped) & set(members_of(harness))


@pytest.mark.parametrize(("command", "count"), [("set.pop", 3), ("set.randmember", 3), ("set.randmember", -3)])
def test_a_seed_that_is_given_decides(command: str, count: int) -> None:
    def picked(seed: int) -> Any:
        harness = Harness()
        added(harness, *DIGITS)
        return harness.call(command, key="k", count=count, seed=seed)["members"]

    assert picked(1) == picked(1)
    assert len({tuple(picked(seed)) for seed in range(30)}) > 20


@pytest.mark.parametrize("count", [1, -1, 5])
def test_without_a_seed_every_member_has_a_chance(harness: Harness, count: int) -> None:
    added(harness, *DIGITS)
    found = Counter(m for _ in range(200) for m in harness.call("set.randmember", key="k", count=count)["members"])
    # One of ten is missing after 200 picks in one run of 100 million.
    assert set(found) == set(DIGITS)
    assert recorded(harness) == ["set.add"]


def test_counts_are_bounded(harness: Harness) -> None:
    added(harness, "a")
    assert isinstance(refused(harness, "set.pop", key="k", count=-1), InvalidPayload)
    error = refused(harness, "set.randmember", key="k", count=-PICKS_MAX - 1)
    assert isinstance(error, OutOfRange)
    assert error.details == {"limit": -PICKS_MAX}
    assert len(harness.call("set.randmember", key="k", count=-PICKS_MAX)["members"]) == PICKS_MAX
    assert harness.call("set.pop", key="k", count=2**63 - 1) == {"members": ["a"]}


# Several sets


def test_a_member_moves_from_one_set_to_another(harness: Harness) -> None:
    added(harness, "a", "b")
    assert harness.call("set.move", source="k", destination="to", member="a") == {"moved": True}
    assert harness.call("set.move", source="k", destination="to", member="a") == {"moved": False}
    added(harness, "a")
    assert harness.call("set.move", source="k", destination="to", member="a") == {"moved": True}
    assert harness.call("set.move", source="k", destination="k", member="b") == {"moved": True}
    assert (members_of(harness), members_of(harness, "to")) == (["b"], ["a"])
    assert harness.call("set.move", source="k", destination="to", member="b") == {"moved": True}
    assert harness.call("kv.keys")["keys"] == ["to"]
    assert harness.replayed().state.digest(harness.clock.now()) == harness.digest()


@pytest.mark.parametrize(
    ("operation", "keys", "members"),
    [
        ("inter", "ab", "34"),
        ("inter", "abc", "4"),
        ("inter", "a", "1234"),
        ("inter", ["a", "none"], ""),
        ("union", "ab", "12345"),
        ("union", "abc", "1234567"),
        ("union", ["none", "c", "c"], "467"),
        ("diff", "ab", "12"),
        ("diff", "abc", "12"),
        ("diff", "ca", "67"),
        ("diff", "aa", ""),
        ("diff", ["none", "a"], ""),
        ("diff", ["a", "none"], "1234"),
    ],
)
def test_sets_are_combined_and_stored(three: Harness, operation: str, keys: Any, members: str) -> None:
    found = three.call(f"set.{operation}", keys=list(keys))["members"]
    assert sorted(found) == list(members)
    for destination in ("new", keys[0]):
        stored = three.call(f"set.{operation}store", destination=destination, keys=list(keys))
        assert stored == {"count": len(members)}
        assert members_of(three, destination) == found
        assert three.call("key.exists", key=destination) == {"exists": bool(members)}
    assert three.replayed().state.digest(three.clock.now()) == three.digest()


def test_a_stored_set_shares_nothing_with_its_source(three: Harness) -> None:
    three.call("set.unionstore", destination="copy", keys=["b"])
    three.call("set.add", key="copy", member="new")
    three.call("set.rem", key="b", member="3")
    assert (members_of(three, "copy"), members_of(three, "b")) == (["3", "4", "5", "new"], ["4", "5"])


# Scans, see also test_paging.py


def test_a_scan_gives_members_in_byte_order(harness: Harness) -> None:
    added(harness, "b", "\U0001f600", "a", "\uffff", "é", "B")
    assert scanned(harness, "set.scan", "members", key="k") == [["B", "a", "b", "é", "\uffff", "\U0001f600"]]
    assert scanned(harness, "set.scan", "members", key="k", count=4) == [["B", "a", "b", "é"], ["\uffff", "\U0001f600"]]
    assert scanned(harness, "set.scan", "members", key="k", match="[A-b]") == [["B", "a", "b"]]


# Payloads


@pytest.mark.parametrize(
    ("command", "payload", "path"),
    [
        ("set.add", {"key": "k"}, "payload"),
        ("set.add", {"key": "k", "member": "a", "members": ["b"]}, "payload"),
        ("set.add", {"key": "k", "member": 1}, "payload.member"),
        ("set.add", {"key": "k", "members": ["a", 1]}, "payload.members[1]"),
        ("set.add", {"key": "k", "members": "ab"}, "payload.members"),
        ("set.rem", {"key": "", "member": "a"}, "payload.key"),
        ("set.ismember", {"key": "k", "membre": "a"}, "payload.membre"),
        ("set.pop", {"key": "k", "count": -1}, "payload.count"),
        ("set.pop", {"key": "k", "seed": -1}, "payload.seed"),
        ("set.pop", {"key": "k", "seed": SEED_MAX + 1}, "payload.seed"),
        ("set.randmember", {"key": "k", "count": 1.5}, "payload.count"),
        ("set.move", {"source": "k", "destination": "k"}, "payload.member"),
        ("set.inter", {"keys": []}, "payload.keys"),
        ("set.union", {"keys": ["a", ""]}, "payload.keys[1]"),
        ("set.diffstore", {"keys": ["a"]}, "payload.destination"),
        ("set.scan", {"key": "k", "cursor": 0}, "payload.cursor"),
    ],
)
def test_a_wrong_field_of_a_payload_is_named_by_its_path(
    harness: Harness, command: str, payload: dict[str, Any], path: str
) -> None:
    error = refused(harness, command, **payload)
    assert (error.code, error.details["path"]) == ("INVALID_PAYLOAD", path)
    assert recorded(harness) == []
