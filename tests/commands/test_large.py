"""Listings are in their order, whether they are short or made in slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap.commands import large
from synap.commands.roles import builtin
from synap.commands.slices import Sliced
from synap.commands.types import Result
from tests.support import Harness


class Numbers(Result):
    """What is listed here."""

    numbers: list[int]


@pytest.fixture(params=["short", "long"])
def length(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every listing counts as short, or as long."""
    monkeypatch.setattr(large, "WHOLE_MAX", 1_000 if request.param == "short" else 0)
    monkeypatch.setattr(large, "PORTION", 2)


def made(items: list[int], is_wanted: Callable[[int], bool], first: list[int]) -> Any:
    result: Any = large.ordered(Numbers, items, lambda n: -n, str, is_wanted=is_wanted, first=first)
    return msgspec.json.decode(result.finish() if isinstance(result, Sliced) else msgspec.json.encode(result))


@given(st.lists(st.integers(0, 50), min_size=1), st.lists(st.integers(), max_size=3), st.sampled_from([1, 2, 3]))
def test_a_long_listing_says_what_a_short_one_would(items: list[int], first: list[int], divisor: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(large, "PORTION", 3)
        shown = []
        for whole_max in (len(items), len(items) - 1):
            patched.setattr(large, "WHOLE_MAX", whole_max)
            shown.append(made(items, lambda n: n % divisor == 0, first))
    wanted = sorted((n for n in items if n % divisor == 0), reverse=True)
    assert shown == [{"numbers": [*first, *map(str, wanted)]}] * 2


@pytest.mark.usefixtures("length")
def test_users_are_listed_by_name(harness: Harness) -> None:
    for name in ("zoe", "amy", "bob", "émile", "Ann"):
        harness.call("auth.create_user", username=name, password="p")
    assert [user["username"] for user in harness.call("auth.list_users")["users"]] == [
        *("Ann", "amy", "bob", "zoe", "émile")
    ]


@pytest.mark.usefixtures("length")
def test_keys_are_listed_in_the_order_they_were_made(harness: Harness) -> None:
    made = [harness.call("auth.create_key", name=name)["id"] for name in "cab"]
    harness.clock.wall -= 1_000_000
    made.append(harness.call("auth.create_key", name="0")["id"])
    harness.call("auth.revoke_key", id=made.pop(1))
    assert [key["id"] for key in harness.call("auth.list_keys")["keys"]] == made


@pytest.mark.usefixtures("length")
def test_roles_are_listed_by_name_behind_those_built_in(harness: Harness) -> None:
    for role in ("tellers", "auditors", "clerks"):
        harness.call("auth.create_role", role=role, permissions=["kv.get"])
    listed = harness.call("auth.list_roles")["roles"]
    assert [role["role"] for role in listed] == [*builtin(), "auditors", "clerks", "tellers"]
    assert listed[-1] == {"role": "tellers", "permissions": ["kv.get"], "builtin": False}


@pytest.mark.usefixtures("length")
@pytest.mark.parametrize(
    ("pattern", "expected"), [(None, ["a", "a.b", "a.c", "b"]), ("a.*", ["a.b", "a.c"]), ("b", ["b"]), ("x.#", [])]
)
def test_topics_are_listed_by_name(harness: Harness, pattern: str | None, expected: list[str]) -> None:
    for topic in ("b", "a.c", "a", "a.b", "b"):
        harness.call("pubsub.publish", topic=topic, message=1)
    listed = harness.call("pubsub.topics", pattern=pattern)["topics"]
    assert [topic["topic"] for topic in listed] == expected
    assert all(topic["published_total"] == 1 + (topic["topic"] == "b") for topic in listed)
