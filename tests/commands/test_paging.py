"""Scans inside a hash, a set or a sorted set: pages in byte order, exactly once whatever else comes and goes."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap.commands import paging
from synap.commands.paging import EXAMINED_PER_PAGE_MIN, Page, page
from synap.engines.collection import NameOrder
from synap.errors import InvalidPayload
from tests.commands.collecting import scanned
from tests.commands.common import refused
from tests.support import Harness

# For each type, the command that scans, where its result holds the names, and how to add and to drop some.
SCANS = {
    "hash": ("hash.scan", "fields", "hash.mset", "hash.del"),
    "set": ("set.scan", "members", "set.add", "set.rem"),
    "sortedset": ("sortedset.zscan", "members", "sortedset.zadd", "sortedset.zrem"),
}
NAMES = st.text(alphabet="ab\0é\uffff\U0001f600", max_size=3)

every_type = pytest.mark.parametrize("kind", SCANS)


def add(harness: Harness, kind: str, names: list[str]) -> None:
    command, field = SCANS[kind][2], SCANS[kind][1]
    forms: dict[str, Any] = {
        "hash": dict.fromkeys(names, 1),
        "set": names,
        "sortedset": [{"member": name, "score": -len(name)} for name in names],
    }
    harness.call(command, key="k", **{field: forms[kind]})


def drop(harness: Harness, kind: str, names: list[str]) -> None:
    harness.call(SCANS[kind][3], key="k", **{SCANS[kind][1]: names})


def names_of(kind: str, pages: list[list[Any]]) -> list[str]:
    return [row["member"] if kind == "sortedset" else row for page_ in pages for row in page_]


@every_type
@given(names=st.sets(NAMES, min_size=1), count_=st.integers(1, 5))
def test_pages_hold_every_name_once_in_byte_order(kind: str, names: set[str], count_: int) -> None:
    harness = Harness()
    add(harness, kind, list(names))
    pages = scanned(harness, SCANS[kind][0], SCANS[kind][1], key="k", count=count_)
    assert names_of(kind, pages) == sorted(names, key=str.encode)
    assert [len(page_) for page_ in pages[:-1]] == [count_] * (len(pages) - 1)
    assert 1 <= len(pages[-1]) <= count_


@every_type
@pytest.mark.parametrize("seed", range(3))
def test_what_stays_comes_once_whatever_comes_and_goes_between_the_pages(
    harness: Harness, kind: str, seed: int
) -> None:
    random, new = Random(seed), count(1_000)
    steady = [f"{number:03} stays" for number in range(60)]
    passing = [f"{number:03} goes" for number in range(60)]
    add(harness, kind, random.sample(steady + passing, 120))
    command, field = SCANS[kind][:2]
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = harness.call(command, key="k", count=7, **cursor)
        found += names_of(kind, [list(answer[field])])
        if not answer["has_more"]:
            break
        cursor = {"cursor": answer["cursor"]}
        drop(harness, kind, random.sample(passing, 10) + [found[-1]] * found[-1].endswith("goes"))
        add(harness, kind, [f"{random.randrange(60):03} new {next(new)}" for _ in range(5)])
    assert [name for name in found if name.endswith("stays")] == steady
    assert found == sorted(set(found)), "in order, and none twice"


@every_type
def test_a_collection_that_is_gone_ends_the_scan(harness: Harness, kind: str) -> None:
    add(harness, kind, ["a", "b"])
    cursor = harness.call(SCANS[kind][0], key="k", count=1)["cursor"]
    harness.call("kv.del", key="k")
    answer = harness.call(SCANS[kind][0], key="k", cursor=cursor)
    assert (list(answer[SCANS[kind][1]]), answer["cursor"], answer["has_more"]) == ([], None, False)


@every_type
@pytest.mark.parametrize(
    ("match", "names"),
    [
        ("*", ["", "a*", "ab", "abc", "b", "é"]),
        ("a*", ["a*", "ab", "abc"]),
        ("a\\*", ["a*"]),
        ("?", ["b", "é"]),
        ("[^a]*", ["b", "é"]),
        ("*b*", ["ab", "abc", "b"]),
        ("", [""]),
        ("x*", []),
    ],
)
def test_a_match_is_a_glob(harness: Harness, kind: str, match: str, names: list[str]) -> None:
    add(harness, kind, ["", "a*", "ab", "abc", "b", "é"])
    for count_ in (1, 2, 100):
        pages = scanned(harness, SCANS[kind][0], SCANS[kind][1], key="k", match=match, count=count_)
        assert names_of(kind, pages) == names


@every_type
@pytest.mark.parametrize("cursor", ["!", "a", "YQ", "YQ==\n", "/w==", "é", "_w=="])
def test_what_no_page_gave_is_no_cursor(harness: Harness, kind: str, cursor: str) -> None:
    add(harness, kind, ["a"])
    error = refused(harness, SCANS[kind][0], key="k", cursor=cursor)
    assert isinstance(error, InvalidPayload)
    assert error.details == {"path": "payload.cursor"}


@every_type
@pytest.mark.parametrize("count_", [0, -1, 10_001, 1.5, "1"])
def test_a_page_holds_one_to_ten_thousand_names(harness: Harness, kind: str, count_: Any) -> None:
    error = refused(harness, SCANS[kind][0], key="k", count=count_)
    assert (error.code, error.details["path"]) == ("INVALID_PAYLOAD", "payload.count")


# The pages themselves


def ordered(names: list[str]) -> Any:
    return NameOrder(dict.fromkeys(names)).after


def test_a_page_with_a_rare_match_ends_after_looking_at_so_many_names() -> None:
    names = [f"{number:05}" for number in range(3 * EXAMINED_PER_PAGE_MIN)]
    looked_at = iter(names)
    found, cursor = page(Page(match="*2999", count=1), lambda *_: looked_at)
    assert (found, next(looked_at)) == ([], names[EXAMINED_PER_PAGE_MIN + 1])
    assert cursor == base64.b64encode(f">{names[EXAMINED_PER_PAGE_MIN - 1]}".encode()).decode()


def test_a_cursor_behind_the_empty_name_is_not_empty(harness: Harness) -> None:
    harness.call("set.add", key="k", members=["", "a"])
    first = harness.call("set.scan", key="k", count=1)
    assert (first["members"], first["has_more"]) == ([""], True)
    assert harness.call("set.scan", key="k", count=1, cursor=first["cursor"])["members"] == ["a"]
    assert first["cursor"]


def test_a_match_without_wildcards_at_its_beginning_looks_only_at_names_that_begin_so() -> None:
    asked: list[tuple[str | None, str]] = []

    def names(after: str | None, prefix: str) -> Iterator[str]:
        asked.append((after, prefix))
        return iter(())

    for prefix, match in (("", "user:*"), ("us", "user:?"), ("user:1", "user:*"), ("x", "user:*")):
        assert page(Page(match=match), names, prefix) == ([], None)
    assert asked == [(None, "user:"), (None, "user:"), (None, "user:1")]


def test_unwanted_names_do_not_count() -> None:
    names = ordered(list("abcdef"))
    found, cursor = page(Page(count=2), names, is_wanted=lambda name: name in "bdf")
    assert found == ["b", "d"]
    assert page(Page(count=2, cursor=cursor), names, is_wanted=lambda name: name in "bdf") == (["f"], None)


@given(st.sets(NAMES), st.integers(1, 4))
def test_a_cursor_is_made_only_where_more_follows(names: set[str], count_: int) -> None:
    found, cursor = paging.page(Page(count=count_), ordered(list(names)))
    assert found == sorted(names)[:count_]
    assert (cursor is not None) == (len(names) > count_)
