"""`sortedset.*`: strings with a score. What holds for every type of collection is in test_collections.py."""

from __future__ import annotations

from itertools import chain, combinations
from typing import Any

import pytest

from synap.errors import InvalidPayload
from tests.commands.collecting import scanned
from tests.commands.common import recorded, refused
from tests.support import Harness

INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)
LARGEST = 1.7976931348623157e308


def put(harness: Harness, key: str = "k", /, **scores: Any) -> None:
    members = [{"member": member, "score": score} for member, score in scores.items()]
    harness.call("sortedset.zadd", key=key, members=members)


def shown(members: list[dict[str, Any]]) -> dict[str, Any]:
    """Members with scores as a dict, which keeps their order."""
    return {row["member"]: row["score"] for row in members}


def scores_of(harness: Harness, key: str = "k") -> dict[str, Any]:
    return shown(harness.call("sortedset.zrange", key=key)["members"])


def ranged(harness: Harness, command: str, **payload: Any) -> str:
    """The members that a command answers with, one letter each."""
    return "".join(shown(harness.call(f"sortedset.{command}", key="k", **payload)["members"]))


@pytest.fixture
def five(harness: Harness) -> Harness:
    """a to e with scores 1 to 5."""
    put(harness, a=1, b=2, c=3, d=4, e=5)
    return harness


# zadd: conditions, and whether each lets an absent member come, one go up, one go down

CONDITIONS: dict[tuple[str, ...], tuple[bool, bool, bool]] = {
    (): (True, True, True),
    ("nx",): (True, False, False),
    ("xx",): (False, True, True),
    ("gt",): (True, True, False),
    ("lt",): (True, False, True),
    ("xx", "gt"): (False, True, False),
    ("xx", "lt"): (False, False, True),
}
COMBINATIONS = list(chain.from_iterable(combinations(("nx", "xx", "gt", "lt"), n) for n in range(5)))
# A member, its score before (None: absent) and the score to give.
ABSENT, UP, DOWN, SAME = ("new", None, 5), ("m", 10, 15), ("m", 10, 5), ("m", 10, 10)


@pytest.mark.parametrize("single", [True, False], ids=["member", "members"])
@pytest.mark.parametrize("ch", [False, True])
@pytest.mark.parametrize(("options", "admitted"), CONDITIONS.items())
def test_zadd_changes_what_its_options_let_it_change(
    options: tuple[str, ...], admitted: tuple[bool, bool, bool], ch: bool, single: bool
) -> None:
    for (member, before, score), is_admitted in zip((ABSENT, UP, DOWN, SAME), (*admitted, False), strict=True):
        harness = Harness()
        put(harness, m=10)
        form: dict[str, Any] = {"member": member, "score": score}
        form = form if single else {"members": [form]}
        result = harness.call("sortedset.zadd", key="k", **form, **dict.fromkeys(options, True), ch=ch)
        assert result == {"added": int(is_admitted and (ch or before is None))}
        assert scores_of(harness).get(member) == (score if is_admitted else before)
        assert len(recorded(harness)) == 1 + is_admitted


@pytest.mark.parametrize(("options", "admitted"), CONDITIONS.items())
def test_zadd_with_incr_answers_the_new_score_or_null_where_it_may_not_change(
    options: tuple[str, ...], admitted: tuple[bool, bool, bool]
) -> None:
    for (member, before, score), is_admitted in zip((ABSENT, UP, DOWN), admitted, strict=True):
        harness = Harness()
        put(harness, m=10)
        increment = score - (before or 0)
        chosen = dict.fromkeys((*options, "incr"), True)
        result = harness.call("sortedset.zadd", key="k", member=member, score=increment, **chosen)
        assert result["score"] == (score if is_admitted else None)
        assert scores_of(harness).get(member) == (score if is_admitted else before)


@pytest.mark.parametrize("ch", [False, True])
@pytest.mark.parametrize("incr", [False, True])
@pytest.mark.parametrize("options", [options for options in COMBINATIONS if options not in CONDITIONS])
def test_zadd_refuses_options_that_exclude_each_other(
    harness: Harness, options: tuple[str, ...], ch: bool, incr: bool
) -> None:
    chosen = dict.fromkeys(options, True)
    error = refused(harness, "sortedset.zadd", key="k", member="m", score=1, **chosen, ch=ch, incr=incr)
    assert isinstance(error, InvalidPayload)
    assert all(option in error.message for option in options)
    assert recorded(harness) == []


def test_zadd_counts_new_members_and_with_ch_changed_ones(harness: Harness) -> None:
    put(harness, a=1, b=2)
    changes = [{"member": member, "score": score} for member, score in [("a", 1), ("b", 3), ("c", 4), ("c", 5)]]
    assert harness.call("sortedset.zadd", key="k", members=changes, ch=True) == {"added": 3}
    assert scores_of(harness) == {"a": 1, "b": 3, "c": 5}
    assert harness.call("sortedset.zadd", key="k", members=changes) == {"added": 0}


@pytest.mark.parametrize("options", [[], ["ch"], ["nx"], ["xx", "ch"], ["gt", "ch"], ["lt"], ["xx", "gt"]])
def test_many_members_are_added_as_they_would_be_one_by_one(harness: Harness, options: list[str]) -> None:
    asked = dict.fromkeys(options, True)
    given = [{"member": f"m{number % 70}", "score": number * 7 % 30} for number in range(100)]
    for key in ("many", "single"):
        harness.call("sortedset.zadd", key=key, members=[{"member": f"m{n}", "score": 15} for n in range(40)])
    one_by_one = [harness.call("sortedset.zadd", key="single", **one, **asked)["added"] for one in given]
    assert harness.call("sortedset.zadd", key="many", members=given, **asked) == {"added": sum(one_by_one)}
    assert harness.call("sortedset.zrange", key="many") == harness.call("sortedset.zrange", key="single")


def test_incrementing_by_nothing_is_allowed_unless_it_must_grow_or_shrink(harness: Harness) -> None:
    put(harness, m=10)
    for options, score in (({}, 10), ({"xx": True}, 10), ({"gt": True}, None), ({"lt": True}, None)):
        result = harness.call("sortedset.zadd", key="k", member="m", score=0, incr=True, **options)
        assert result == {"added": 0, "score": score}
    assert len(recorded(harness)) == 1


@pytest.mark.parametrize(
    ("command", "payload", "path"),
    [
        ("zincrby", {"increment": "-inf"}, "payload.increment"),
        ("zadd", {"score": "-inf", "incr": True}, "payload.score"),
    ],
)
def test_a_sum_that_is_no_number_is_refused(harness: Harness, command: str, payload: dict[str, Any], path: str) -> None:
    put(harness, m="+inf")
    error = refused(harness, f"sortedset.{command}", key="k", member="m", **payload)
    assert (error.code, error.details["path"]) == ("INVALID_PAYLOAD", path)
    assert scores_of(harness) == {"m": "+inf"}


# Scores


@pytest.mark.parametrize(
    ("score", "told"),
    [
        (1, 1),
        (-0.5, -0.5),
        (1e308, 1e308),
        (5e-324, 5e-324),
        (2**53, 2**53),
        ("inf", "+inf"),
        ("+inf", "+inf"),
        ("-inf", "-inf"),
    ],
)
def test_a_score_is_a_number_or_an_infinity_as_text(harness: Harness, score: Any, told: Any) -> None:
    harness.call("sortedset.zadd", key="k", member="m", score=score)
    assert harness.call("sortedset.zscore", key="k", member="m") == {"found": True, "score": told}
    assert harness.call("sortedset.zmscore", key="k", members=["m", "x"]) == {"scores": [told, None]}
    assert harness.call("sortedset.zrank", key="k", member="m") == {"rank": 0, "score": told}
    assert harness.call("sortedset.zrange", key="k") == {"members": [{"member": "m", "score": told}]}
    assert harness.call("sortedset.zscan", key="k")["members"] == [{"member": "m", "score": told}]
    for again in (harness.replayed(), harness.restored()):
        assert again.state.digest(harness.clock.now()) == harness.digest()
    assert harness.call("sortedset.zpopmax", key="k") == {"members": [{"member": "m", "score": told}]}


@pytest.mark.parametrize("score", ["nan", "5", "Infinity", "", None, True, [], 10**400])
def test_what_is_no_score_is_refused(harness: Harness, score: Any) -> None:
    error = refused(harness, "sortedset.zadd", key="k", members=[{"member": "m", "score": score}])
    assert (error.code, error.details["path"]) == ("INVALID_PAYLOAD", "payload.members[0].score")
    error = refused(harness, "sortedset.zincrby", key="k", member="m", increment=score)
    assert (error.code, error.details["path"]) == ("INVALID_PAYLOAD", "payload.increment")


def test_zincrby_counts_from_zero(harness: Harness) -> None:
    assert harness.call("sortedset.zincrby", key="k", member="m", increment=1.5) == {"score": 1.5}
    assert harness.call("sortedset.zincrby", key="k", member="m", increment=-2) == {"score": -0.5}
    assert harness.call("sortedset.zincrby", key="k", member="m", increment="+inf") == {"score": "+inf"}
    assert harness.call("sortedset.zincrby", key="k", member="m", increment=5) == {"score": "+inf"}
    assert len(recorded(harness)) == 3


# By rank and by score


def test_members_stand_by_score_and_then_by_their_bytes(harness: Harness) -> None:
    put(harness, b=1, a=1, B=1, é=1, z=0, **{"\U0001f600": 1, "\uffff": 1, "top": "+inf", "bottom": "-inf"})
    order = ["bottom", "z", "B", "a", "b", "é", "\uffff", "\U0001f600", "top"]
    assert list(scores_of(harness)) == order
    for rank, member in enumerate(order):
        assert harness.call("sortedset.zrank", key="k", member=member)["rank"] == rank
        assert harness.call("sortedset.zrevrank", key="k", member=member)["rank"] == len(order) - 1 - rank


@pytest.mark.parametrize(
    ("bounds", "forwards", "backwards"),
    [
        ({}, "abcde", "edcba"),
        ({"start": 1, "stop": 3}, "bcd", "dcb"),
        ({"start": -2}, "de", "ba"),
        ({"stop": 1}, "ab", "ed"),
        ({"start": 4, "stop": 2}, "", ""),
        ({"start": 5}, "", ""),
        ({"start": INT64_MIN, "stop": 0}, "a", "e"),
        ({"stop": INT64_MAX}, "abcde", "edcba"),
    ],
)
def test_a_range_of_ranks_counts_from_either_end(
    five: Harness, bounds: dict[str, int], forwards: str, backwards: str
) -> None:
    assert ranged(five, "zrange", **bounds) == forwards
    assert ranged(five, "zrevrange", **bounds) == backwards
    removal = {"start": 0, "stop": -1} | bounds
    assert five.call("sortedset.zremrangebyrank", key="k", **removal) == {"removed": len(forwards)}
    assert "".join(scores_of(five)) == "".join(sorted(set("abcde") - set(forwards)))
    assert len(recorded(five)) == (2 if forwards else 1)


@pytest.mark.parametrize(
    ("low", "high", "members"),
    [
        (2, 4, "bcd"),
        ("2", "4", "bcd"),
        ("(2", 4, "cd"),
        (2, "(4", "bc"),
        ("(2", "(3", ""),
        ("-inf", "+inf", "abcde"),
        ("-inf", "(3", "ab"),
        ("(4.5", "inf", "e"),
        (3, 3, "c"),
        (4, 2, ""),
        ("+inf", "-inf", ""),
        (5.5, LARGEST, ""),
    ],
)
def test_a_range_of_scores_may_exclude_its_ends(five: Harness, low: Any, high: Any, members: str) -> None:
    bounds = {"min": low, "max": high}
    assert five.call("sortedset.zcount", key="k", **bounds) == {"count": len(members)}
    assert ranged(five, "zrangebyscore", **bounds) == members
    assert ranged(five, "zrevrangebyscore", **bounds) == members[::-1]
    assert five.call("sortedset.zremrangebyscore", key="k", **bounds) == {"removed": len(members)}
    assert "".join(scores_of(five)) == "".join(sorted(set("abcde") - set(members)))
    assert len(recorded(five)) == (2 if members else 1)


@pytest.mark.parametrize(
    ("part", "forwards", "backwards"),
    [
        ({}, "bcde", "edcb"),
        ({"offset": 1}, "cde", "dcb"),
        ({"count": 2}, "bc", "ed"),
        ({"offset": 1, "count": 2}, "cd", "dc"),
        ({"offset": 3, "count": 9}, "e", "b"),
        ({"offset": 4}, "", ""),
        ({"count": 0}, "", ""),
        ({"offset": 2, "count": -1}, "de", "cb"),
        ({"offset": -1}, "", ""),
        ({"offset": INT64_MAX, "count": INT64_MAX}, "", ""),
        ({"offset": 1, "count": INT64_MAX}, "cde", "dcb"),
    ],
)
def test_a_range_of_scores_is_given_in_parts(
    five: Harness, part: dict[str, int], forwards: str, backwards: str
) -> None:
    assert ranged(five, "zrangebyscore", min="(1", max=5, **part) == forwards
    assert ranged(five, "zrevrangebyscore", min="(1", max=5, **part) == backwards


@pytest.mark.parametrize("bound", ["", "(", "((1", "five", "nan", "[1", None, True])
@pytest.mark.parametrize("command", ["zcount", "zrangebyscore", "zrevrangebyscore", "zremrangebyscore"])
def test_what_is_no_bound_is_named(five: Harness, command: str, bound: Any) -> None:
    for field, bounds in (("min", {"min": bound, "max": 1}), ("max", {"min": 1, "max": bound})):
        for key in ("k", "nobody"):
            error = refused(five, f"sortedset.{command}", key=key, **bounds)
            assert (error.code, error.details["path"]) == ("INVALID_PAYLOAD", f"payload.{field}")


# Taking out


@pytest.mark.parametrize(
    ("command", "payload", "members"),
    [
        ("zpopmin", {}, "a"),
        ("zpopmax", {}, "e"),
        ("zpopmin", {"count": 2}, "ab"),
        ("zpopmax", {"count": 2}, "ed"),
        ("zpopmax", {"count": 0}, ""),
        ("zpopmin", {"count": INT64_MAX}, "abcde"),
    ],
)
def test_pops_take_the_lowest_or_the_highest(
    five: Harness, command: str, payload: dict[str, int], members: str
) -> None:
    assert ranged(five, command, **payload) == members
    assert "".join(scores_of(five)) == "".join(sorted(set("abcde") - set(members)))
    assert len(recorded(five)) == (2 if members else 1)


def test_zrem_takes_one_member_or_several(five: Harness) -> None:
    assert five.call("sortedset.zrem", key="k", member="a") == {"removed": 1}
    assert five.call("sortedset.zrem", key="k", members=["b", "nobody", "b"]) == {"removed": 1}
    assert five.call("sortedset.zrem", key="k", members=["nobody"]) == {"removed": 0}
    assert five.call("sortedset.zcard", key="k") == {"count": 3}
    assert len(recorded(five)) == 3


# Combining: x = a 1, b 2, top inf; y = b 10, c 20, top -inf; plain = the set a, c


@pytest.mark.parametrize(
    ("command", "payload", "stored"),
    [
        ("zunionstore", {"keys": ["x", "y"]}, {"top": 0, "a": 1, "b": 12, "c": 20}),
        ("zunionstore", {"keys": ["x", "plain"]}, {"c": 1, "a": 2, "b": 2, "top": "+inf"}),
        ("zunionstore", {"keys": ["x", "x"], "weights": [2, 0.5]}, {"a": 2.5, "b": 5, "top": "+inf"}),
        ("zunionstore", {"keys": ["x"], "weights": [0]}, {"a": 0, "b": 0, "top": 0}),
        ("zunionstore", {"keys": ["x"], "weights": ["-inf"]}, {"a": "-inf", "b": "-inf", "top": "-inf"}),
        ("zunionstore", {"keys": ["x", "y"], "aggregate": "min"}, {"top": "-inf", "a": 1, "b": 2, "c": 20}),
        ("zunionstore", {"keys": ["x", "y"], "aggregate": "max"}, {"a": 1, "b": 10, "c": 20, "top": "+inf"}),
        ("zunionstore", {"keys": ["nobody", "plain"], "weights": [5, 3]}, {"a": 3, "c": 3}),
        ("zinterstore", {"keys": ["x", "y"]}, {"top": 0, "b": 12}),
        ("zinterstore", {"keys": ["x", "y"], "weights": [1, 10], "aggregate": "max"}, {"b": 100, "top": "+inf"}),
        ("zinterstore", {"keys": ["x", "plain"], "weights": [1, 7]}, {"a": 8}),
        ("zinterstore", {"keys": ["x", "nobody"]}, {}),
        # As in Redis: a product that is no number makes the sum 0, and no minimum.
        ("zinterstore", {"keys": ["x", "y"], "weights": [1, 0]}, {"top": 0, "b": 2}),
        ("zinterstore", {"keys": ["x", "y"], "weights": [1, 0], "aggregate": "min"}, {"b": 0, "top": "+inf"}),
        ("zdiffstore", {"keys": ["x", "y"]}, {"a": 1}),
        ("zdiffstore", {"keys": ["x", "plain", "nobody"]}, {"b": 2, "top": "+inf"}),
        ("zdiffstore", {"keys": ["plain", "y"]}, {"a": 1}),
        ("zdiffstore", {"keys": ["nobody", "x"]}, {}),
    ],
)
def test_sorted_sets_and_sets_are_combined_into_one(
    harness: Harness, command: str, payload: dict[str, Any], stored: dict[str, Any]
) -> None:
    put(harness, "x", a=1, b=2, top="+inf")
    put(harness, "y", b=10, c=20, top="-inf")
    harness.call("set.add", key="plain", members=["a", "c"])
    for destination in ("new", payload["keys"][0]):
        result = harness.call(f"sortedset.{command}", destination=destination, **payload)
        assert result == {"count": len(stored)}
        assert list(scores_of(harness, destination).items()) == list(stored.items())
    assert harness.replayed().state.digest(harness.clock.now()) == harness.digest()


# Scans, see also test_paging.py


def test_a_scan_gives_members_in_byte_order_whatever_their_scores(harness: Harness) -> None:
    put(harness, c=1, b=2, a=3)
    pages = scanned(harness, "sortedset.zscan", "members", key="k", count=2)
    assert [shown(members) for members in pages] == [{"a": 3, "b": 2}, {"c": 1}]


# Payloads


@pytest.mark.parametrize(
    ("command", "payload", "path"),
    [
        ("zadd", {"key": "k"}, "payload"),
        ("zadd", {"key": "k", "member": "m"}, "payload"),
        ("zadd", {"key": "k", "score": 1}, "payload"),
        ("zadd", {"key": "k", "member": "m", "score": 1, "members": [{"member": "n", "score": 1}]}, "payload"),
        ("zadd", {"key": "k", "members": []}, "payload.members"),
        ("zadd", {"key": "k", "members": {"m": 1}}, "payload.members"),
        ("zadd", {"key": "k", "members": [{"member": "m"}]}, "payload.members[0].score"),
        ("zadd", {"key": "k", "members": [{"member": m, "score": 1} for m in "mn"], "incr": True}, "payload"),
        ("zadd", {"key": "k", "member": "m", "score": 1, "nx": 1}, "payload.nx"),
        ("zrem", {"key": "k"}, "payload"),
        ("zincrby", {"key": "k", "member": "m"}, "payload.increment"),
        ("zmscore", {"key": "k", "members": "m"}, "payload.members"),
        ("zcount", {"key": "k", "min": 1}, "payload.max"),
        ("zrange", {"key": "k", "start": "(1"}, "payload.start"),
        ("zrangebyscore", {"key": "k", "min": 1, "max": 2, "limit": 3}, "payload.limit"),
        ("zpopmin", {"key": "k", "count": -1}, "payload.count"),
        ("zremrangebyrank", {"key": "k", "start": 0}, "payload.stop"),
        ("zunionstore", {"destination": "k", "keys": []}, "payload.keys"),
        ("zunionstore", {"destination": "k", "keys": ["a", "b"], "weights": [1]}, "payload"),
        ("zinterstore", {"destination": "k", "keys": ["a"], "aggregate": "avg"}, "payload.aggregate"),
        ("zdiffstore", {"destination": "k", "keys": ["a"], "weights": [1]}, "payload.weights"),
        ("bzpopmin", {"keys": ["k"]}, "payload.timeout"),
    ],
)
def test_a_wrong_field_of_a_payload_is_named_by_its_path(
    harness: Harness, command: str, payload: dict[str, Any], path: str
) -> None:
    error = refused(harness, f"sortedset.{command}", **payload)
    assert (error.code, error.details["path"]) == ("INVALID_PAYLOAD", path)
    assert recorded(harness) == []
