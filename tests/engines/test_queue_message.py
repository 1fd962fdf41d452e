"""The mark that the headers of a message get when it dies."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap.engines.queue_message import with_death

MARK = b'"x-death-reason":"expired","x-death-at":5'


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (b"{}", b"{%b}"),
        (b" { } ", b"{%b}"),
        (b'{"a":1}', b'{"a":1,%b}'),
        (b'{ "a" : 1 , "b":[ 1,{"c":2} ] }', b'{"a" : 1,"b":[ 1,{"c":2} ],%b}'),
        (b'{"x-death-at":1,"x-death-reason":"rejected"}', b"{%b}"),
        (b'{"a":1,"x-death-at":[{"b":1}],"c":2,"x-death-at":2}', b'{"a":1,"c":2,%b}'),
        (b'{"x-death\\u002dat":1}', b"{%b}"),
        (b'{"x-death-count":1}', b'{"x-death-count":1,%b}'),
        (b'{"x":{"x-death-at":1}}', b'{"x":{"x-death-at":1},%b}'),
        (b'{"a":"\\u00e9\\ud800, \\"x-death-at\\":1}"}', b'{"a":"\\u00e9\\ud800, \\"x-death-at\\":1}",%b}'),
        (b'{"a":1.10,"a":1e999,"b":-0}', b'{"a":1.10,"a":1e999,"b":-0,%b}'),
        ("{'é':'日'}".replace("'", '"').encode(), "{'é':'日',%b}".replace("'", '"').encode()),
    ],
)
def test_a_mark_takes_the_place_of_an_older_one_and_the_rest_stays_as_written(headers: bytes, expected: bytes) -> None:
    assert with_death(headers, "expired", 5) == expected % MARK


def test_an_integer_of_any_length_stays() -> None:
    digits = b"7" * 100_000
    assert with_death(b'{"a":' + digits + b"}", "expired", 5) == b'{"a":' + digits + b"," + MARK + b"}"


names = st.text(st.characters(codec="utf-8"), max_size=3) | st.sampled_from(
    ["x-death-at", "x-death-reason", "x-death-"]
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)


@given(
    headers=st.dictionaries(names, values, max_size=4), indent=st.none() | st.integers(0, 2), ascii_only=st.booleans()
)
def test_headers_of_any_form_keep_their_other_members(
    headers: dict[str, object], indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(headers, indent=indent, ensure_ascii=ascii_only).encode()
    marked = with_death(text, "expired", 5)
    kept = {name: value for name, value in headers.items() if name not in ("x-death-at", "x-death-reason")}
    assert list(json.loads(marked).items()) == [*kept.items(), ("x-death-reason", "expired"), ("x-death-at", 5)]
    assert with_death(marked, "expired", 5) == marked
