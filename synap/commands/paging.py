"""Pages of names in the order of their bytes: kv.scan, and the scans inside a hash, a set or a sorted set.

A cursor is the last name of the page before. So a name that is there from the first page to the last comes exactly
once, whatever else comes and goes meanwhile.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from itertools import islice

from synap.commands.types import Count, Payload
from synap.engines import glob
from synap.errors import InvalidPayload

# A page with a rare match must not walk through everything: it ends after looking at this many names.
EXAMINED_PER_PAGE_MIN = 1_000
EXAMINED_PER_PAGE_MAX = 10_000
EXAMINED_PER_NAME = 10

_CURSOR_MARK = ">"


class Page(Payload, kw_only=True):
    """What every scan takes: `match` is a glob, `cursor` the one of the page before."""

    match: str | None = None
    cursor: str | None = None
    count: Count = 100


def page(
    asked: Page,
    names: Callable[[str | None, str], Iterator[str]],
    prefix: str = "",
    is_wanted: Callable[[str], bool] = lambda _: True,
) -> tuple[list[str], str | None]:
    """The names on a page, and the cursor of the next one; None at the end.

    `names(after, prefix)` gives them in order. A page may hold fewer names than asked for, even none.
    Raises InvalidPayload for a cursor that is none.
    """
    last = None if asked.cursor is None else _decode_cursor(asked.cursor)
    narrowed = _narrowed(prefix, asked.match)
    if narrowed is None:
        return [], None
    found: list[str] = []
    candidates = names(last, narrowed)
    examined = min(max(EXAMINED_PER_PAGE_MIN, asked.count * EXAMINED_PER_NAME), EXAMINED_PER_PAGE_MAX)
    for name in islice(candidates, examined):
        last = name
        if matches(name, asked.match) and is_wanted(name):
            found.append(name)
            if len(found) == asked.count:
                break
    has_more = last is not None and next(candidates, None) is not None
    return found, _encode_cursor(last) if has_more and last is not None else None


def matches(name: str, match: str | None) -> bool:
    """Whether a name matches a glob; None matches all."""
    return match is None or match == "*" or glob.compiled(match).fullmatch(name) is not None


def _narrowed(prefix: str, match: str | None) -> str | None:
    """The longest text that both demand at the beginning of a name; None when they contradict each other."""
    literal = "" if match is None else glob.literal_prefix(match)
    shorter, longer = sorted((prefix, literal), key=len)
    return longer if longer.startswith(shorter) else None


def _encode_cursor(name: str) -> str:
    """Never empty, not even for the empty name: clients go on while there is a cursor."""
    return base64.urlsafe_b64encode(f"{_CURSOR_MARK}{name}".encode()).decode()


def _decode_cursor(cursor: str) -> str:
    try:
        decoded = base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        decoded = ""
    if not decoded.startswith(_CURSOR_MARK):
        raise InvalidPayload("payload.cursor: expected the cursor of the page before", path="payload.cursor")
    return decoded.removeprefix(_CURSOR_MARK)
