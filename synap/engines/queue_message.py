"""A message of a queue, and the mark its headers get when it dies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from synap.clock import Millis
from synap.engines.collection import json_bytes

NO_HEADERS = b"{}"
DEATH_REASON, DEATH_AT = "x-death-reason", "x-death-at"

Stage = Literal["ready", "delayed", "leased", "dead"]
Reason = Literal["delivery_limit", "expired", "rejected"]

# Measured on CPython 3.11 at a million messages: the object, its numbers, its slots in the table and in the line; and
# the head of its content.
_MESSAGE_BYTES = 235 + json_bytes(b"")
# Numbers stay text: only where a value ends is of interest, and very long integers are refused.
_DECODER = json.JSONDecoder(parse_float=str, parse_int=str)
# What stands between the names and values of JSON that is known to be valid.
_GAP = re.compile(r"[\s:,]*")


class Message(msgspec.Struct, eq=False, gc=False):
    """What was published once, and how far its delivery is. To look at; only its queue changes it."""

    seq: int
    priority: int
    body: bytes
    is_json: bool
    headers: bytes
    """A JSON object."""
    published_at: Millis
    expires_at: Millis | None
    deliveries: int = 0
    state: Stage = "ready"
    due: Millis | None = None
    """The lease deadline when leased, the moment it becomes ready when delayed."""
    holder: str | None = None

    @property
    def retry_count(self) -> int:
        """Failed deliveries so far, without the one it died of."""
        return max(self.deliveries - 1, 0) if self.state in ("leased", "dead") else self.deliveries

    @property
    def changes_at(self) -> Millis | None:
        """When time will change its state; None if never."""
        if self.state == "ready":
            return self.expires_at
        if self.state == "delayed" and self.due is not None and self.expires_at is not None:
            return min(self.due, self.expires_at)
        return self.due

    @property
    def used_bytes(self) -> int:
        """Estimated memory."""
        used_bytes = _MESSAGE_BYTES + len(self.body)
        return used_bytes if self.headers is NO_HEADERS else used_bytes + json_bytes(self.headers)


def with_death(headers: bytes, reason: Reason, at: Millis) -> bytes:
    """The headers with reason and time of a death in place of those they may have; the others stay as written."""
    others = [] if headers == NO_HEADERS else list(_other_members(headers))
    members = [*others, f'"{DEATH_REASON}":"{reason}"', f'"{DEATH_AT}":{at}']
    return f"{{{','.join(members)}}}".encode()


def _other_members(headers: bytes) -> Iterator[str]:
    """The text of each member that does not tell of a death."""
    text = headers.decode()
    end = _skip_gap(text, text.index("{") + 1)
    while text[end] != "}":
        start = end
        name, end = _DECODER.raw_decode(text, start)
        _, end = _DECODER.raw_decode(text, _skip_gap(text, end))
        if name not in (DEATH_REASON, DEATH_AT):
            yield text[start:end]
        end = _skip_gap(text, end)


def _skip_gap(text: str, start: int) -> int:
    gap = _GAP.match(text, start)
    return start if gap is None else gap.end()
