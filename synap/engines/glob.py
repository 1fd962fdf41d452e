"""Glob patterns as Redis has them: `*`, `?`, `[abc]`, `[a-z]`, `[^a]` and a backslash that escapes.

A pattern becomes a regular expression in which what follows a `*` is matched at its first occurrence and
never retried (an atomic group). That is exact for globs and keeps hostile patterns from backtracking:
matching costs O(pattern x subject) at worst.
"""

from __future__ import annotations

import re
from functools import lru_cache

_SPECIAL = re.compile(r"[*?\\\[]")


@lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression for `fullmatch`."""
    pieces = _pieces(pattern)
    runs: list[list[str]] = [[]]
    for piece in pieces:
        if piece == "*":
            runs.append([])
        else:
            runs[-1].append(piece)
    head, *rest = ("".join(run) for run in runs)
    if not rest:
        return re.compile(head, re.DOTALL)
    middle = "".join(f"(?>.*?{run})" for run in rest[:-1] if run)
    return re.compile(f"{head}{middle}.*{rest[-1]}", re.DOTALL)


def literal_prefix(pattern: str) -> str:
    """The fixed text every match begins with; a scan may start there."""
    special = _SPECIAL.search(pattern)
    return pattern[: special.start()] if special else pattern


def _pieces(pattern: str) -> list[str]:
    pieces: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            if not pieces or pieces[-1] != "*":
                pieces.append("*")
        elif char == "?":
            pieces.append(".")
        elif char == "[":
            piece, at = _char_class(pattern, at)
            pieces.append(piece)
        else:
            if char == "\\" and at < len(pattern):
                char = pattern[at]
                at += 1
            pieces.append(re.escape(char))
    return pieces


def _char_class(pattern: str, at: int) -> tuple[str, int]:
    negated = pattern.startswith("^", at)
    at += negated
    members: list[str] = []
    while at < len(pattern) and pattern[at] != "]":
        if pattern[at] == "\\" and at + 1 < len(pattern):
            at += 1
            members.append(re.escape(pattern[at]))
        elif at + 2 < len(pattern) and pattern[at + 1] == "-":
            low, high = sorted((pattern[at], pattern[at + 2]))
            members.append(f"{re.escape(low)}-{re.escape(high)}")
            at += 2
        else:
            members.append(re.escape(pattern[at]))
        at += 1
    at += 1
    if not members:
        return ("." if negated else "(?!)"), at
    return f"[{'^' if negated else ''}{''.join(members)}]", at
