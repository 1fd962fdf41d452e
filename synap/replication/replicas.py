"""Who follows this node, and how far each of them is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from synap.journal import REPLICAS_MAX
from synap.journal.record import Lsn
from synap.replication.wire import Greeting

MARKS_MAX = 2_000
REMEMBERED_MS = 600_000.0
"""What somebody needs who has gone is kept for so long."""


class Replica:
    """One that follows. Times are in milliseconds of a clock that does not jump."""

    def __init__(self, number: int, greeting: Greeting, address: str, now: float) -> None:
        self.id = f"replica-{number}"
        self.node = greeting.node
        self.address = greeting.url or address
        self.url = greeting.url
        self.acked_lsn: Lsn = 0
        """Its journal has everything up to here. 0 until it has said so on this connection."""
        self.needs_lsn = greeting.from_lsn
        """The next record that it has to be sent, if it has to be sent anything again."""
        self.heard_at = now


class Replicas:
    """All of them. `reached[n - 1]` is the last record that n replicas have."""

    def __init__(self) -> None:
        self.reached: list[Lsn] = [0] * REPLICAS_MAX
        self._joined: dict[str, Replica] = {}
        self._departed: dict[str, Replica] = {}
        self._count = 0
        self._marks: list[tuple[Lsn, float]] = []
        """The journal's end at some moments, ascending: how late somebody is who has not got there."""

    def join(self, greeting: Greeting, address: str, now: float) -> Replica:
        """Somebody begins to follow. Whom the same node had as its connection before is dropped (see `is_joined`)."""
        before = self._joined.get(greeting.node)
        if before is None:
            self._count += 1
        number = self._count if before is None else int(before.id.rpartition("-")[2])
        replica = self._joined[greeting.node] = Replica(number, greeting, address, now)
        self._departed.pop(greeting.node, None)
        self._count_acks()
        return replica

    def leave(self, replica: Replica, now: float) -> None:
        """A connection has ended. Who followed on it will soon come back, perhaps."""
        if self.is_joined(replica):
            self._departed[replica.node] = self._joined.pop(replica.node)
            replica.heard_at = now
            self._count_acks()

    def is_joined(self, replica: Replica) -> bool:
        """Whether this connection still counts."""
        return self._joined.get(replica.node) is replica

    def acknowledge(self, replica: Replica, lsn: Lsn, now: float) -> bool:
        """Its journal has everything up to `lsn`. Says whether `reached` has changed."""
        replica.heard_at = now
        if not self.is_joined(replica) or lsn <= replica.acked_lsn:
            return False
        replica.acked_lsn, replica.needs_lsn = lsn, lsn + 1
        before = list(self.reached)
        self._count_acks()
        return before != self.reached

    def wrote(self, lsn: Lsn, now: float) -> None:
        """The journal ends with `lsn` now."""
        marks = self._marks
        if not self._joined:
            marks.clear()
        elif not marks or (lsn > marks[-1][0] and now > marks[-1][1]):
            marks.append((lsn, now))
            if len(marks) > MARKS_MAX:  # of what is long ago, every other will do
                marks[: MARKS_MAX // 2] = marks[: MARKS_MAX // 2 : 2]

    def lag_ms(self, replica: Replica, last_lsn: Lsn, now: float) -> float:
        """For how long the oldest record that it does not have has been waiting for it."""
        if replica.acked_lsn >= last_lsn:
            return 0.0
        at = bisect_right(self._marks, (replica.acked_lsn, float("inf")))
        return max(now - self._marks[at][1], 0.0) if at < len(self._marks) else 0.0

    def needs_from(self, now: float) -> Lsn | None:
        """The oldest record that one of them still has to be sent, or one that has gone a short while ago."""
        for node, replica in list(self._departed.items()):
            if replica.heard_at < now - REMEMBERED_MS:
                del self._departed[node]
        return min((replica.needs_lsn for replica in (*self, *self._departed.values())), default=None)

    def __iter__(self) -> Iterator[Replica]:
        return iter(self._joined.values())

    def __len__(self) -> int:
        return len(self._joined)

    def _count_acks(self) -> None:
        """What n replicas have they will not lose because one of them leaves: `reached` never falls."""
        acked = sorted((replica.acked_lsn for replica in self), reverse=True)[:REPLICAS_MAX]
        for index, lsn in enumerate(acked):
            self.reached[index] = max(self.reached[index], lsn)
