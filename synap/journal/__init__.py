"""What survives: records in segments, group commit, recovery and snapshots.

It knows records (`record.py`) and a `Machine` that they are applied to, not what they mean. `log.py` is
the journal on local files, behind the small protocol that a journal elsewhere would also have.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from synap.clock import Millis
from synap.journal.record import Lsn, Record

# How far a record can have come; level REPLICATED + n - 1: the journals of n replicas have it.
WRITTEN, SYNCED, REPLICATED = 0, 1, 2
REPLICAS_MAX = 16


class Machine(Protocol):
    """What records are applied to and snapshots are made of."""

    def apply(self, record: Record) -> None:
        """Repeat a change. Raises when it cannot be repeated."""

    def dump(self) -> Iterator[bytes]:
        """The state as chunks."""

    def load(self, chunk: bytes) -> None:
        """Add one chunk of `dump` to an empty state."""

    def loaded(self, lsn: Lsn, time: Millis) -> None:
        """All chunks of a snapshot that ends with record `lsn` at `time` have been loaded."""


class JournalDamaged(Exception):
    """The journal cannot be opened without losing records; the message names file, offset and the way on."""
