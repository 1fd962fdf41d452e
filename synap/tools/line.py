"""What is typed at the shell's prompt: a command with its fields, or with its payload as JSON.

    kv.set key=greeting value='"hello"' ttl=10
    kv.set {"key": "greeting", "value": "hello"}

A value is JSON or else text. It ends at a blank, unless it stands between apostrophes or is a JSON string, array or
object.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from synap.tools.json_text import member

_NAME = re.compile(r"\s*(\S+)\s*")
_FIELD = re.compile(r"([^\s=]+)=")
_APOSTROPHES = re.compile(r"'([^']*)'(?!\S)")
_WORD = re.compile(r"\S*")
_BLANKS = re.compile(r"\s*")
_JSON = json.JSONDecoder()


class Unreadable(ValueError):
    """What was typed is no command; the message says why."""


@dataclass(frozen=True)
class Line:
    """A command and the JSON of its payload."""

    command: str
    payload: str


def parse(text: str) -> Line:
    """Read a line that is not blank. Raises Unreadable."""
    found = _NAME.match(text)
    if found is None:
        raise Unreadable("expected a command")
    command, rest = found[1], text[found.end() :].rstrip()
    if rest.startswith(("{", "[")):
        return Line(command, _whole(rest))
    return Line(command, f"{{{','.join(_members(rest))}}}")


def _whole(text: str) -> str:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the payload is not JSON: {error}") from None
    return text


def _members(text: str) -> list[str]:
    members = []
    position = 0
    while position < len(text):
        found = _FIELD.match(text, position)
        if found is None:
            word = _WORD.match(text, position)
            raise Unreadable(f"expected field=value, got {word[0] if word else text!r}")
        value, position = _value(text, found.end())
        members.append(member(found[1], value))
        blanks = _BLANKS.match(text, position)
        position = blanks.end() if blanks else position
    return members


def _value(text: str, start: int) -> tuple[str, int]:
    """A value, and where it ends."""
    quoted = _APOSTROPHES.match(text, start)
    if quoted is not None:
        return quoted[1], quoted.end()
    opening = text[start : start + 1]
    if opening and opening in '"[{':
        try:
            _, end = _JSON.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = -1
        if end >= 0 and not text[end : end + 1].strip():
            return text[start:end], end
    if opening and opening in "'\"":
        raise Unreadable(f"expected the closing {opening} of {text[start : start + 20]} and a blank behind it")
    word = _WORD.match(text, start)
    return (word[0], word.end()) if word else ("", start)
