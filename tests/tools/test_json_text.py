"""JSON for people."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap.tools.json_text import laid_out, member, one_line, value_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=40)
@given(JSON, st.integers(0, 120))
def test_what_is_laid_out_is_the_same_json(value: object, width: int) -> None:
    text = laid_out(json.dumps(value).encode(), width)
    assert json.loads(text) == value
    assert "\x1b" not in text


def test_what_fits_stays_on_a_line() -> None:
    raw = b'{"name":"ann","scores":[1,2,3],"more":{"a":1}}'
    assert laid_out(raw, 80) == '{"name": "ann", "scores": [1, 2, 3], "more": {"a": 1}}'
    assert laid_out(raw, 30) == '{\n  "name": "ann",\n  "scores": [1, 2, 3],\n  "more": {"a": 1}\n}'


@settings(max_examples=40)
@given(JSON)
def test_without_a_width_every_item_has_a_line(value: object) -> None:
    text = json.dumps(value, indent=2)
    assert laid_out(json.dumps(value).encode()) == laid_out(text.encode())
    if laid_out(text.encode()).isascii() and "\\" not in text:
        assert laid_out(text.encode()) == text


@pytest.mark.parametrize("number", ["1.10", "1e999", "-0", "12345678901234567890123", "1E5"])
def test_numbers_keep_their_digits(number: str) -> None:
    assert one_line(f'{{"n":[{number}]}}'.encode()) == f'{{"n": [{number}]}}'


def test_members_stay_in_order_and_may_be_there_twice() -> None:
    assert one_line(b'{"b":1,"a":2,"b":3}') == '{"b": 1, "a": 2, "b": 3}'


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert one_line(b'"\\u001b[2J\\u009b2J\\ud800 \xc3\xa9"') == '"\\u001b[2J\\u009b2J\\ud800 é"'


@pytest.mark.parametrize(
    ("typed", "value"), [("5", "5"), ("true", "true"), ("hello", '"hello"'), ("NaN", '"NaN"'), ("[1, 2", '"[1, 2"')]
)
def test_what_is_typed_is_json_or_else_text(typed: str, value: str) -> None:
    assert value_of(typed) == value
    assert member("a", typed) == f'"a":{value}'
