"""What is typed at the prompt."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap.tools.line import Unreadable, parse


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ("kv.dbsize", {}),
        ("  kv.get   key=a ", {"key": "a"}),
        ("kv.set key=a value=1", {"key": "a", "value": 1}),
        ("kv.set value=a=b", {"value": "a=b"}),
        ("kv.set value=", {"value": ""}),
        ("""kv.set value='"hello"' ttl=10""", {"value": "hello", "ttl": 10}),
        ("kv.set value='hello world' ttl=10", {"value": "hello world", "ttl": 10}),
        ("kv.set value='5'", {"value": 5}),
        ('kv.set value="hello world"', {"value": "hello world"}),
        ('kv.set value="5"', {"value": "5"}),
        ('kv.set value={"a": [1, 2]} ttl=10', {"value": {"a": [1, 2]}, "ttl": 10}),
        ("kv.set value=[1, 2] ttl=10", {"value": [1, 2], "ttl": 10}),
        ("kv.set value=[bold] ttl=10", {"value": "[bold]", "ttl": 10}),
        ("kv.set value=it's", {"value": "it's"}),
        ("kv.set value=é😀", {"value": "é😀"}),
        ('kv.set {"key": "a", "value": {"b": 1}}', {"key": "a", "value": {"b": 1}}),
        ('hash.mset ["a", 1]', ["a", 1]),
    ],
)
def test_fields_or_json_make_the_payload(text: str, payload: object) -> None:
    line = parse(text)
    assert line.command == text.split()[0]
    assert json.loads(line.payload) == payload


def test_numbers_are_sent_as_they_were_typed() -> None:
    assert parse("kv.set value=1.10").payload == '{"value":1.10}'
    assert parse('kv.set {"value": 1e999}').payload == '{"value": 1e999}'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("kv.get greeting", "expected field=value, got 'greeting'"),
        ("kv.set value=hello world", "expected field=value, got 'world'"),
        ("kv.set value='hello", "expected the closing ' of 'hello and a blank behind it"),
        ('kv.set value="hello', 'expected the closing " of "hello and a blank behind it'),
        ("kv.set {1}", "the payload is not JSON: "),
        ("kv.get =a", "expected field=value, got '=a'"),
    ],
)
def test_a_line_that_is_wrong_is_told_why(text: str, reason: str) -> None:
    with pytest.raises(Unreadable) as raised:
        parse(text)
    assert str(raised.value).startswith(reason)


@given(st.text(min_size=1).filter(str.strip))
def test_any_line_is_json_or_refused(text: str) -> None:
    try:
        json.loads(parse(text).payload)
    except Unreadable as error:
        assert str(error)
