"""Who has messages of a queue in flight, where they were taken in somebody's name."""

from __future__ import annotations

from collections.abc import KeysView

from synap.engines.collection import text_bytes
from synap.engines.queue_ledger import Ledger

# Measured on CPython 3.11: a holder beside its name, and each of its messages.
_HOLDER_BYTES = 300
_HELD_BYTES = 50


class Lease:
    """Stands in a topic (Lease, name of the queue, holder) for the end of a lease."""


class Holders:
    """Sequence numbers of leased messages by the name of who holds them. O(1) a message."""

    def __init__(self, queue: str, ledger: Ledger) -> None:
        self._queue = queue
        self._ledger = ledger
        self._held: dict[str, set[int]] = {}

    def add(self, holder: str, seq: int) -> None:
        """A message is leased."""
        held = self._held.get(holder)
        if held is None:
            held = self._held[holder] = set()
            self._ledger.content_bytes += _HOLDER_BYTES + text_bytes(holder)
        held.add(seq)
        self._ledger.content_bytes += _HELD_BYTES

    def remove(self, holder: str, seq: int) -> None:
        """A lease has ended."""
        held = self._held[holder]
        held.remove(seq)
        self._ledger.content_bytes -= _HELD_BYTES
        if not held:
            del self._held[holder]
            self._ledger.content_bytes -= _HOLDER_BYTES + text_bytes(holder)
        self._ledger.note((Lease, self._queue, holder))

    def clear(self) -> None:
        """All leases have ended."""
        for holder, held in self._held.items():
            self._ledger.content_bytes -= _HOLDER_BYTES + text_bytes(holder) + _HELD_BYTES * len(held)
            self._ledger.note((Lease, self._queue, holder))
        self._held = {}

    def count(self, holder: str) -> int:
        """How many messages somebody holds."""
        return len(self._held.get(holder, ()))

    def held_by(self, holder: str) -> list[int]:
        """The messages somebody holds, sorted."""
        return sorted(self._held.get(holder, ()))

    def names(self) -> KeysView[str]:
        """Those who hold any."""
        return self._held.keys()
