"""Text operations on stored JSON strings, in characters."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap.engines import strings
from synap.errors import PayloadTooLarge, WrongType


def stored(text: str) -> bytes:
    return json.dumps(text).encode()


def loaded(value: bytes) -> str:
    text = json.loads(value)
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize(
    ("value", "actual"),
    [
        (b"1", "JSON number"),
        (b"-1.5", "JSON number"),
        (b"true", "JSON boolean"),
        (b"false", "JSON boolean"),
        (b"null", "JSON null"),
        (b"[1]", "JSON array"),
        (b'{"a":1}', "JSON object"),
    ],
)
def test_a_value_that_is_not_a_string_is_named_in_the_error(value: bytes, actual: str) -> None:
    with pytest.raises(WrongType) as raised:
        strings.text(value, "k")
    assert raised.value.details == {"key": "k", "expected": "JSON string", "actual": actual}
    assert raised.value.message == f"'k' holds a {actual}, expected a JSON string"


def test_text_is_read_through_json_escapes() -> None:
    assert strings.text(rb'"a\u00e9\n\ud83d\ude00\"\\"', "k") == 'aé\n😀"\\'
    assert strings.text('"aé😀"'.encode(), "k") == "aé😀"


def test_an_absent_key_counts_as_empty() -> None:
    assert strings.text(None, "k") == ""
    assert strings.substring(None, 0, -1, "k") == ""
    assert strings.appended(None, "é", "k") == ('"é"'.encode(), 1)


@settings(deadline=None)
@given(st.text(), st.text())
def test_appending_joins_the_texts_and_counts_characters(first: str, second: str) -> None:
    value, length = strings.appended(stored(first), second, "k")
    assert loaded(value) == first + second
    assert length == len(first + second)


@pytest.mark.parametrize(
    ("start", "end", "part"),
    [
        (0, 3, "Hell"),
        (0, -1, "Hello World"),
        (-4, -1, "orld"),
        (5, 3, ""),
        (5, 5000, " World"),
        (-5000, 10000, "Hello World"),
        (0, -100, "H"),
        (1, -100, ""),
        (-1, -100, ""),
        (-100, -99, "H"),
        (-100, -100, "H"),
        (-100, -101, ""),
        (11, 20, ""),
        (10, 10, "d"),
        (-(2**63), 2**63 - 1, "Hello World"),
    ],
)
def test_ranges_are_those_of_redis(start: int, end: int, part: str) -> None:
    assert strings.substring(stored("Hello World"), start, end, "k") == part


def naive_range(text: str, start: int, end: int) -> str:
    if start < 0 and end < 0 and start > end:
        return ""
    first = start + len(text) if start < 0 else start
    last = end + len(text) if end < 0 else end
    return "".join(char for at, char in enumerate(text) if max(first, 0) <= at <= max(last, 0))


@settings(deadline=None)
@given(st.text(max_size=6), st.integers(-9, 9), st.integers(-9, 9))
def test_any_range_is_cut_by_characters(text: str, start: int, end: int) -> None:
    assert strings.substring(stored(text), start, end, "k") == naive_range(text, start, end)


@pytest.mark.parametrize(
    ("text", "offset", "part", "result"),
    [
        ("foo", 0, "b", "boo"),
        ("foo", 1, "b", "fbo"),
        ("foo", 4, "bar", "foo\0bar"),
        ("foo", 3, "bar", "foobar"),
        ("foo", 1, "barbar", "fbarbar"),
        ("", 1, "foo", "\0foo"),
        ("aé😀z", 2, "ü", "aéüz"),
        ("foo", 5, "", "foo\0\0"),
    ],
)
def test_overwriting_replaces_characters_and_pads_with_nul(text: str, offset: int, part: str, result: str) -> None:
    value, length = strings.overwritten(stored(text), offset, part, "k")
    assert (loaded(value), length) == (result, len(result))


def test_a_text_may_grow_to_the_limit_and_not_beyond() -> None:
    room = strings.MAX_VALUE_BYTES - len('""')
    full = b'"' + b"x" * (room - 1) + b'"'
    value, length = strings.appended(full, "y", "k")
    assert (len(value), length) == (strings.MAX_VALUE_BYTES, room)
    with pytest.raises(PayloadTooLarge) as raised:
        strings.appended(full, "é", "k")
    assert raised.value.details == {"limit": strings.MAX_VALUE_BYTES}


def test_padding_is_counted_as_it_is_stored() -> None:
    with pytest.raises(PayloadTooLarge):
        strings.overwritten(None, strings.MAX_VALUE_BYTES // 6 + 1, "x", "k")
