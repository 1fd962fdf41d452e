"""What collections share: ranges of indexes as Redis means them, names in the order of their bytes, and sizes."""

from __future__ import annotations

import sys
from itertools import islice
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap.engines.collection import NameOrder, json_bytes, span, text_bytes
from synap.engines.hashes import Hash
from synap.engines.sets import Set
from synap.engines.sortedsets import SortedSet
from tests.engines.twins import in_byte_order

INT64_MAX, INT64_MIN = 2**63 - 1, -(2**63)
NAMES = st.text(alphabet="ab\0é\uffff\U0001f600", max_size=4)
indexes = st.integers(-8, 8) | st.sampled_from([INT64_MAX, INT64_MIN])


@given(indexes, indexes, st.integers(0, 6))
def test_a_span_holds_the_indexes_between_both_ends_counted_from_either_side(
    start: int, stop: int, length: int
) -> None:
    first, last = (index + length if index < 0 else index for index in (start, stop))
    begin, end = span(start, stop, length)
    assert list(range(begin, end)) == [index for index in range(length) if first <= index <= last]
    assert 0 <= begin <= end <= length


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0, -1, (0, 5)),
        (1, 3, (1, 4)),
        (-2, -1, (3, 5)),
        (-100, 100, (0, 5)),
        (3, 1, (3, 3)),
        (5, 9, (5, 5)),
        (0, -6, (0, 0)),
        (-1, 0, (4, 4)),
    ],
)
def test_spans_of_five(start: int, stop: int, expected: tuple[int, int]) -> None:
    assert span(start, stop, 5) == expected


@given(st.lists(NAMES), st.lists(st.tuples(st.booleans(), NAMES)), NAMES, st.none() | NAMES, st.booleans())
def test_names_come_in_the_order_of_their_bytes_whenever_they_were_sorted(
    at_first: list[str], changes: list[tuple[bool, str]], prefix: str, after: str | None, early: bool
) -> None:
    names = dict.fromkeys(at_first)
    order = NameOrder(names)
    if early:
        order.keep()
    for is_added, name in changes:
        if is_added and name not in names:
            names[name] = None
            order.added(name)
        elif not is_added and name in names:
            del names[name]
            order.removed(name)
    assert list(order.after(after, prefix)) == in_byte_order(names, after, prefix)
    assert list(order.all()) == in_byte_order(names)


def test_an_order_that_was_cleared_begins_anew() -> None:
    names = dict.fromkeys("ab")
    order = NameOrder(names)
    assert list(order.all()) == ["a", "b"]
    names.clear()
    order.cleared()
    names["c"] = None
    order.added("c")
    assert list(order.after(None)) == ["c"]


@pytest.mark.parametrize("count", [2, 63, 64, 65, 1_000])
@pytest.mark.parametrize(
    ("held", "add", "remove"),
    [
        (Hash, lambda held, name: held.set(name, b"1"), Hash.delete),
        (Set, Set.add, Set.remove),
        (SortedSet, lambda held, name: held.put(name, -float(name)), SortedSet.remove),
    ],
)
def test_names_stay_in_order_as_they_come_and_go_between_pages(held: Any, add: Any, remove: Any, count: int) -> None:
    names, collection = [str(number) for number in range(count)], held()
    for name in reversed(names):
        add(collection, name)
    assert list(collection.after(None, "")) == in_byte_order(names)
    for name, more in zip(names[::3], range(count, 2 * count), strict=False):
        remove(collection, name)
        add(collection, str(more))
        names[names.index(name)] = str(more)
        assert list(islice(collection.after(name, ""), 2)) == in_byte_order(names, name)[:2]
    assert list(collection.after(None, "")) == in_byte_order(names)


@pytest.mark.parametrize("text", ["", "a", "text" * 25, "é", "né", "日本語", "\U0001f600" * 20, "a\U0001f600"])
def test_a_text_counts_for_as_much_after_it_was_sent_as_before(text: str) -> None:
    fresh = text.encode().decode()
    before = text_bytes(fresh)
    msgspec.json.encode(fresh)  # may leave a UTF-8 copy inside the string
    assert text_bytes(fresh) == before == text_bytes(text.encode().decode())


@pytest.mark.parametrize("text", ["", "a" * 10, "a" * 1_000, "é" * 10, "日" * 100, "\U0001f600" * 100])
def test_sizes_are_about_those_of_the_objects(text: str) -> None:
    fresh = text.encode().decode()
    assert sys.getsizeof(fresh) <= text_bytes(fresh) <= sys.getsizeof(fresh) + 16 + len(text) + len(text.encode())
    assert 0 <= json_bytes(text.encode()) - sys.getsizeof(text.encode()) <= 16
