"""The lines that the ready messages of a queue stand in: one a priority, the highest first, by sequence number.

Costs: O(log n) a message. Many that are gathered are put into their lines together, at the speed of a sort.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from sortedcontainers import SortedList

from synap.engines.queue_ledger import Ledger

# Measured on CPython 3.11: a line beside what stands in it.
_LINE_BYTES = 800


class Lines:
    """Sequence numbers of ready messages."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lines: dict[int, SortedList] = {}
        """Only priorities that were ever used."""
        self._gathered: dict[int, list[int]] | None = None

    def add(self, priority: int, seq: int) -> None:
        """Line up a message."""
        if self._gathered is None:
            self._line(priority).add(seq)
        else:
            self._gathered.setdefault(priority, []).append(seq)

    def remove(self, priority: int, seq: int) -> None:
        """Take a message out of its line."""
        if self._gathered:
            self.line_up()
            self.gather()
        line = self._lines[priority]
        if line[0] == seq:  # as for every lease
            del line[0]
        else:
            line.remove(seq)

    def gather(self) -> None:
        """Messages added from here on stand in no line before `line_up`. Nothing else may be asked meanwhile."""
        self._gathered = {}

    def line_up(self) -> None:
        """Put those that were gathered into their lines."""
        gathered, self._gathered = self._gathered or {}, None
        for priority, seqs in gathered.items():
            self._line(priority).update(seqs)

    def place(self, priority: int, seq: int) -> int:
        """When it is the turn of a message that is there: 1 is next."""
        before = sum(len(line) for other, line in self._lines.items() if other > priority)
        line = self._lines[priority]
        if line[-1] == seq:  # as after every publish
            return before + len(line)
        return before + int(line.bisect_left(seq)) + 1

    def oldest(self) -> int | None:
        """The lowest number; None when no message is ready."""
        return min((line[0] for line in self._lines.values() if line), default=None)

    def throw(self) -> None:
        """Forget all; the bin frees them."""
        for line in self._lines.values():
            self._ledger.bin.throw(line, len(line))
        self._ledger.content_bytes -= _LINE_BYTES * len(self._lines)
        self._lines = {}

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self._lines.values())

    def _line(self, priority: int) -> SortedList:
        line = self._lines.get(priority)
        if line is None:
            lines = self._lines | {priority: SortedList()}
            self._lines = dict(sorted(lines.items(), reverse=True))
            line = self._lines[priority]
            self._ledger.content_bytes += _LINE_BYTES
        return line
