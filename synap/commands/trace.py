"""W3C Trace Context: the `traceparent` of a request ties its log lines to those of the services before it.

    00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
    version, trace-id, parent-id, trace-flags

A later version may have more behind these four fields, which mean what they mean in version 00.
"""

from __future__ import annotations

import re

# What is taken of a later version behind the four fields.
_LATER_CHARS_MAX = 200
_FIELDS = r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT = re.compile(rf"{_FIELDS}|(?!00){_FIELDS}-[!-~]{{0,{_LATER_CHARS_MAX}}}")


def parse(header: str | None) -> str | None:
    """The header if it is a traceparent, else None: the trace then begins here."""
    return header if header is not None and _TRACEPARENT.fullmatch(header) else None


def trace_id(traceparent: str) -> str:
    """The trace-id of what `parse` has let through."""
    return traceparent[3:35]
