"""JSON between a person and the server: typed without quotes where that is clear, and shown laid out.

Numbers keep the digits they came with, both ways.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn

INDENT = "  "


class _Number(str):
    """A number as it was written."""


class _Members(list[tuple[str, Any]]):
    """The members of an object, in order; one may be there twice."""


def value_of(text: str) -> str:
    """The JSON of what somebody typed: itself when it is JSON, or else a string."""
    try:
        json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return json.dumps(text)
    return text


def member(name: str, text: str) -> str:
    """A member of a JSON object, its value as it was typed when that is JSON."""
    return f"{json.dumps(name)}:{value_of(text)}"


def laid_out(raw: bytes, width: int = 0) -> str:
    """JSON for people: an array or object that does not fit into `width` columns takes a line an item."""
    parsed = json.loads(raw, parse_int=_Number, parse_float=_Number, object_pairs_hook=_Members)
    return "".join(_pieces(parsed, width, "", 0))


def one_line(raw: bytes) -> str:
    """JSON as a line for people."""
    return _flat(json.loads(raw, parse_int=_Number, parse_float=_Number, object_pairs_hook=_Members))


def _pieces(value: Any, width: int, margin: str, used: int) -> Iterator[str]:
    """`used`: columns that are taken in front of it."""
    flat = _flat(value)
    if not isinstance(value, list) or not value or used + len(flat) < width:
        yield flat
        return
    opening, closing = "{}" if isinstance(value, _Members) else "[]"
    inner = margin + INDENT
    separator = opening
    for item in value:
        name = ""
        if isinstance(value, _Members):
            name, item = f"{_text(item[0])}: ", item[1]
        yield f"{separator}\n{inner}{name}"
        yield from _pieces(item, width, inner, len(inner) + len(name) + 1)
        separator = ","
    yield f"\n{margin}{closing}"


def _flat(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, _Members):
        return f"{{{', '.join(f'{_text(name)}: {_flat(item)}' for name, item in value)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flat, value))}]"
    return _text(value)


def _text(value: str | bool | None) -> str:
    """A scalar; what a terminal would obey instead of showing is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
