"""What the tests of commands on collections share."""

from __future__ import annotations

from typing import Any

from tests.support import Harness

Row = tuple[str, dict[str, Any], Any]
"""A command, its payload, and the result or another expectation."""

# For each type, a command that makes a collection of one element at the key k.
MAKING: dict[str, tuple[str, dict[str, Any]]] = {
    "hash": ("hash.set", {"key": "k", "field": "f", "value": 1}),
    "list": ("list.rpush", {"key": "k", "value": 1}),
    "set": ("set.add", {"key": "k", "member": "m"}),
    "sortedset": ("sortedset.zadd", {"key": "k", "member": "m", "score": 1}),
}


def make(harness: Harness, kind: str, key: str = "k") -> None:
    """Let `key` hold a collection of one element, or a string."""
    command, payload = MAKING.get(kind, ("kv.set", {"value": "text"}))
    harness.call(command, **payload | {"key": key})


def scanned(harness: Harness, command: str, found_in: str, **payload: Any) -> list[list[Any]]:
    """The pages of a scan, from the first to the last."""
    pages, cursor = [], None
    while True:
        page = harness.call(command, **payload, **({} if cursor is None else {"cursor": cursor}))
        pages.append(list(page[found_in]))
        cursor = page["cursor"]
        assert page["has_more"] == (cursor is not None)
        if cursor is None:
            return pages
