"""What publishers have said to recognise a message by, should they send it again: remembered for five minutes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from synap.clock import Millis
from synap.engines.collection import text_bytes
from synap.engines.queue_ledger import Ledger

DEDUP_WINDOW_MS = 5 * 60 * 1000

# Measured on CPython 3.11: an entry beside its text.
_ENTRY_BYTES = 200


class Duplicates:
    """Sequence numbers by `dedup_id`. All are kept equally long, so the oldest is the first to go."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._entries: OrderedDict[str, tuple[int, Millis]] = OrderedDict()

    def find(self, dedup_id: str, now: Millis) -> int | None:
        """The message that was published with the `dedup_id`, if that is still remembered."""
        entry = self._entries.get(dedup_id)
        return None if entry is None or entry[1] <= now else entry[0]

    def add(self, dedup_id: str, seq: int, until: Millis) -> None:
        """Remember a message."""
        self._entries[dedup_id] = (seq, until)
        self._ledger.content_bytes += _size(dedup_id)

    @property
    def next_due(self) -> Millis | None:
        """When the oldest is to be forgotten; None when there is none."""
        return next(iter(self._entries.values()))[1] if self._entries else None

    def forget_oldest(self) -> None:
        """Forget the one whose time is over."""
        dedup_id, _ = self._entries.popitem(last=False)
        self._ledger.content_bytes -= _size(dedup_id)

    def throw(self) -> None:
        """Forget all; the bin frees them."""
        self._ledger.content_bytes -= sum(map(_size, self._entries))
        self._ledger.bin.throw(self._entries, len(self._entries))
        self._entries = OrderedDict()

    def rows(self) -> Iterator[tuple[tuple[str, int, Millis], int]]:
        """What `add` is given for each, and the memory it takes."""
        for dedup_id, (seq, until) in self._entries.items():
            yield (dedup_id, seq, until), _size(dedup_id)


def remembered_until(now: Millis) -> Millis:
    """How long a message published at `now` is remembered."""
    return now + DEDUP_WINDOW_MS


def _size(dedup_id: str) -> int:
    return _ENTRY_BYTES + text_bytes(dedup_id)
