"""Replies remembered by idempotency key, so that a repeated write answers the same and changes nothing.

Entries live for 24 hours from the first request, decided from `now` on every look. All entries get the
same lifetime and time never runs backwards, so insertion order is expiry order.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple

from synap.clock import Millis
from synap.errors import IdempotencyConflict

LIFETIME_MS = 24 * 3600 * 1000
ENTRY_OVERHEAD_BYTES = 250


class Remembered(NamedTuple):
    """What was answered to the first request with a key."""

    fingerprint: bytes
    """A digest of the request; another one under the same key is a conflict."""
    reply: bytes
    """What was answered, encoded as its writer likes (see commands/transaction.py)."""
    expires_at: Millis


class IdempotencyTable:
    """Idempotency key to remembered reply."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, Remembered] = OrderedDict()
        self.used_bytes = 0

    def find(self, key: str, fingerprint: bytes, now: Millis) -> bytes | None:
        """The reply remembered for `key`, or None. Raises IdempotencyConflict for another request's key."""
        entry = self._entries.get(key)
        if entry is None or entry.expires_at <= now:
            return None
        if entry.fingerprint != fingerprint:
            raise IdempotencyConflict(
                f"idempotency key {key[:100]!r} was used for another request; use a new key for each new request",
                idempotency_key=key,
            )
        return entry.reply

    def remember(self, key: str, fingerprint: bytes, reply: bytes, now: Millis) -> None:
        """Keep `reply` for 24 hours."""
        self._add(key, Remembered(fingerprint, reply, now + LIFETIME_MS))

    def sweep(self, now: Millis, limit: int | None = None) -> int:
        """Forget up to `limit` (default all) entries older than 24 hours; returns how many."""
        swept = 0
        while self._entries and (limit is None or swept < limit):
            key, entry = next(iter(self._entries.items()))
            if entry.expires_at > now:
                break
            self._entries.popitem(last=False)
            self.used_bytes -= _size(key, entry)
            swept += 1
        return swept

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Forget everything: as before the first record."""
        self._entries.clear()
        self.used_bytes = 0

    def dump(self, chunk_rows: int) -> Iterator[list[Any]]:
        """The content in chunks of up to `chunk_rows` rows."""
        rows = [(key, *entry) for key, entry in self._entries.items()]
        for start in range(0, len(rows), chunk_rows):
            yield rows[start : start + chunk_rows]

    def load(self, rows: list[Any]) -> None:
        """Add the rows of one chunk of `dump`."""
        for key, fingerprint, reply, expires_at in rows:
            self._add(key, Remembered(fingerprint, reply, expires_at))

    def canonical(self, now: Millis) -> Iterator[Any]:
        """The live content as data, in the order it was remembered."""
        self.sweep(now)
        for key, entry in self._entries.items():
            yield (key, *entry)

    def _add(self, key: str, entry: Remembered) -> None:
        replaced = self._entries.pop(key, None)
        if replaced is not None:
            self.used_bytes -= _size(key, replaced)
        self._entries[key] = entry
        self.used_bytes += _size(key, entry)


def _size(key: str, entry: Remembered) -> int:
    return ENTRY_OVERHEAD_BYTES + sys.getsizeof(key) + sys.getsizeof(entry.reply)
