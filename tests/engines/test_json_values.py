"""Comparing stored JSON as values, however it is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap.engines.json_values import places

DIGITS_5000 = "9" * 5_000


def deep(levels: int, opening: str, core: str, closing: str) -> str:
    return opening * levels + core + closing * levels


EQUAL = [
    ("1", "1.0"),
    ("1", "10e-1"),
    ("-0", "0.0"),
    ("1.10", "11E-1"),
    ("1e999", "10e998"),
    ("123456789012345678901234567890", "123456789012345678901234567890.0"),
    (DIGITS_5000, DIGITS_5000 + ".0"),
    ("1e10000000000000000000", "1e10000000000000000000"),
    ('"a"', '"\\u0061"'),
    ('"é"', '"\\u00E9"'),
    ('"\U0001f600"', '"\\ud83d\\ude00"'),
    ('"/"', '"\\/"'),
    ("[1,2]", "[ 1.0, 2 ]"),
    ("{}", "{ }"),
    ('{"a":1,"b":[2]}', '{"b": [2.0], "a": 1}'),
    ('{"a":1,"a":2}', '{"a":2}'),
    ('{"\\u0061":null}', '{"a":null}'),
    (deep(512, "[", "", "]"), deep(512, "[ ", "", "]")),
    (deep(500, '{"a":', "1", "}"), deep(500, '{"a": ', "1.0", "}")),
]

DIFFERENT = [
    ("1", "2"),
    ("1", "true"),
    ("0", "false"),
    ("0", "null"),
    ("false", "null"),
    ("1", '"1"'),
    ('""', "null"),
    ("[]", "{}"),
    ("[]", "null"),
    ("[1]", "[true]"),
    ("[[]]", "[{}]"),
    ('{"a":1}', '{"a":true}'),
    ('{"a":1}', '{"a":1,"b":null}'),
    ('{"a":1,"b":2}', '{"a":1,"c":2}'),
    ("[1,2]", "[2,1]"),
    ("[1]", "[1,1]"),
    ("1e999", "1e998"),
    ("1e-999", "0"),
    ("0.1", "0.1000000000000000055511151231257827"),
    ("9007199254740993", "9007199254740992"),
    (DIGITS_5000, DIGITS_5000 + ".5"),
    ("1e10000000000000000000", "1"),
    ("1e10000000000000000000", '"1e10000000000000000000"'),
    ("[1e10000000000000000000]", '["1e10000000000000000000"]'),
    ('"é"', '"e\u0301"'),
    ('"a"', '"A"'),
    (deep(500, '{"a":', "1", "}"), deep(500, '{"a": ', "2", "}")),
]


def shortened(text: str) -> str:
    return text if len(text) < 40 else f"{text[:20]}...{len(text)}"


# What is looked through at once, of each kind.
CROWDS = {
    "alone": [],
    "integers": [b"%d" % number for number in range(5, 3_000)],
    "numbers": [b"%d.75" % number for number in range(3_000)],
    "texts": [b'"text %d"' % number for number in range(3_000)],
    "nested": [b'{"a":[%d]}' % number for number in range(5, 3_000)],
    "all kinds": [b"-17", b"1.75", b'"text"', b'"\\""', b"[[]]", b"[null]", b'{"c":1}'] * 400,
}


def is_equal(one: str, other: str) -> bool:
    found = list(places(one.encode(), [other.encode()]))
    assert found in ([], [0])
    return found == [0]


@pytest.mark.parametrize(("one", "other"), EQUAL, ids=shortened)
def test_equal_values_are_equal_however_they_are_written(one: str, other: str) -> None:
    assert is_equal(one, other)
    assert is_equal(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=shortened)
def test_different_values_are_different(one: str, other: str) -> None:
    assert not is_equal(one, other)
    assert not is_equal(other, one)


@pytest.mark.parametrize("crowd", CROWDS.values(), ids=CROWDS)
@pytest.mark.parametrize(("one", "other"), EQUAL, ids=shortened)
def test_equal_values_are_found_among_many_others(one: str, other: str, crowd: list[bytes]) -> None:
    for wanted, stored in ((one, other), (other, one)):
        values = [*crowd, stored.encode(), *crowd, wanted.encode()]
        assert list(places(wanted.encode(), values)) == [len(crowd), 2 * len(crowd) + 1]


@pytest.mark.parametrize("wanted", ["9007199254740993", "9007199254740993.0", "9007199254740993e0"])
@pytest.mark.parametrize("form", ["%s", "[%s]", '{"a":%s}', '["1e5",%s ]'])
def test_integers_that_no_float_holds_are_told_apart(wanted: str, form: str) -> None:
    numbers = ["9007199254740992", "9007199254740993", "9007199254740993.0", "9007199254740994", "90071992547409930e-1"]
    values = [(form % number).encode() for number in numbers]
    assert list(places((form % wanted).encode(), values)) == [1, 2, 4]


# Against a naive comparison: few values, so that equal ones meet often, each written at random.

LEAVES = st.sampled_from([None, True, False, 0, 1, 2, 10**20, 0.5, "", "a", "é", "1", "\U0001f600"])
NESTED = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("aé"), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """The value as JSON, written in one of many ways."""
    space = draw(st.sampled_from(["", " ", "\n\t"]))
    if isinstance(value, dict):
        members = [f"{draw(written(name))}:{space}{draw(written(inner))}" for name, inner in value.items()]
        return "{" + f"{space},".join(draw(st.permutations(members))) + space + "}"
    if isinstance(value, list):
        return f"[{space}" + f",{space}".join(draw(written(inner)) for inner in value) + "]"
    if isinstance(value, str):
        escaped = "".join(f"\\u{unit:04x}" for unit in _utf16(value))
        return draw(st.sampled_from([f'"{escaped}"', json.dumps(value, ensure_ascii=False)]))
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return draw(
        st.sampled_from([json.dumps(value), f"{value}e0", f"{value}e+00"] + [f"{value}.0"] * (type(value) is int))
    )


def _utf16(text: str) -> list[int]:
    data = text.encode("utf-16-be")
    return [data[at] * 256 + data[at + 1] for at in range(0, len(data), 2)]


def told_apart(value: Any) -> Any:
    """The value in a form in which Python does not take true for 1."""
    if isinstance(value, dict):
        return {name: told_apart(inner) for name, inner in value.items()}
    return [told_apart(inner) for inner in value] if isinstance(value, list) else (isinstance(value, bool), value)


@settings(max_examples=300)
@given(st.data())
def test_values_are_equal_exactly_when_python_takes_them_for_equal(data: st.DataObject) -> None:
    one = data.draw(NESTED)
    other = data.draw(st.just(one) | NESTED)
    first, second = data.draw(written(one)), data.draw(written(other))
    assert is_equal(first, second) == (told_apart(one) == told_apart(other))
