"""The lines that the ready messages of a queue stand in: one a priority, the highest first, by sequence number.

Messages are lined up and leased in the order of their numbers, so that a line is a deque. One that is needed further
inside than the `NEAR` first becomes a sorted list, until it is empty.

Costs: O(1) at both ends of a deque, else O(log n) a message, but for the change from one to the other, which is O(n).
Many that are gathered are put into their lines together, at the speed of a sort.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import TypeAlias

from sortedcontainers import SortedList

from synap.engines.queue_ledger import Ledger

NEAR = 1_000

# Measured on CPython 3.11: a line beside what stands in it.
_LINE_BYTES = 800

Line: TypeAlias = "deque[int] | SortedList"


class Lines:
    """Sequence numbers of ready messages."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lines: dict[int, Line] = {}
        """Only priorities that were ever used."""
        self._gathered: dict[int, list[int]] | None = None

    def add(self, priority: int, seq: int) -> None:
        """Line up a message."""
        if self._gathered is not None:
            self._gathered.setdefault(priority, []).append(seq)
            return
        line = self._lines.get(priority)
        if line is None:
            line = self._begin(priority)
        if type(line) is deque and (not line or seq > line[-1]):
            line.append(seq)
        else:
            self._put_in(priority, seq)

    def remove(self, priority: int, seq: int) -> None:
        """Take a message out of its line."""
        if self._gathered:
            self.line_up()
            self.gather()
        line, at = self._reach(priority, seq)
        del line[at]

    def take(self, count: int) -> list[int]:
        """Take out those whose turn it is, up to `count`."""
        taken: list[int] = []
        for line in self._lines.values():
            while line and len(taken) < count:
                taken.append(line[0])
                del line[0]
        return taken

    def gather(self) -> None:
        """Messages added from here on stand in no line before `line_up`. Nothing else may be asked meanwhile."""
        self._gathered = {}

    def line_up(self) -> None:
        """Put those that were gathered into their lines."""
        gathered, self._gathered = self._gathered or {}, None
        for priority, seqs in gathered.items():
            if len(seqs) < NEAR:
                for seq in seqs:
                    self.add(priority, seq)
            elif self._lines.get(priority):
                self._sorted(priority).update(seqs)
            else:
                self._begin(priority).extend(sorted(seqs))

    def place(self, priority: int, seq: int) -> int:
        """When it is the turn of a message that is there: 1 is next."""
        before = 0
        if len(self._lines) > 1:
            before = sum(len(line) for other, line in self._lines.items() if other > priority)
        line = self._lines[priority]
        if line[-1] == seq:  # as after every publish
            return before + len(line)
        return before + self._reach(priority, seq)[1] + 1

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

    def _begin(self, priority: int) -> deque[int]:
        """An empty line for a priority that has none, or an empty one."""
        line: deque[int] = deque()
        if priority in self._lines:
            self._lines[priority] = line
        else:
            lines = self._lines | {priority: line}
            self._lines = dict(sorted(lines.items(), reverse=True))
            self._ledger.content_bytes += _LINE_BYTES
        return line

    def _put_in(self, priority: int, seq: int) -> None:
        """Line up a message that may not be the last."""
        if not self._lines[priority]:
            self._begin(priority).append(seq)
            return
        line, at = self._reach(priority, seq)
        if isinstance(line, deque):
            line.insert(at, seq)
        else:
            line.add(seq)

    def _reach(self, priority: int, seq: int) -> tuple[Line, int]:
        """A line, and where in it a number stands or would stand."""
        line = self._lines[priority]
        if isinstance(line, deque):
            if line[-1] == seq:
                return line, len(line) - 1
            at = bisect_left(line, seq, 0, min(len(line), NEAR))
            if at < NEAR:
                return line, at
            line = self._sorted(priority)
        return line, line.bisect_left(seq)

    def _sorted(self, priority: int) -> SortedList:
        """A line as a sorted list."""
        line = self._lines[priority]
        if isinstance(line, deque):
            self._lines[priority] = line = SortedList(line)
        return line
