"""Streams: rooms of partitions that events are published to, and the groups that read them.

1. What a partition is, and how retention works in it, stands in partition.py. Retention holds for each partition.
2. A group is a committed offset for each partition: the next one to read. Reading changes nothing.
3. A stream has a serial number that no other stream ever had, so an event's id never names another event, not even
   after a stream of the same name has been made anew.
4. What age has removed is gone at that moment; `Streams.sweep` only frees its memory.

Costs: those of a partition; a group O(partitions); removing a stream O(its segments).
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec

from synap.clock import Millis
from synap.engines.arrivals import Arrivals
from synap.engines.bin import Bin
from synap.engines.chunks import chunked
from synap.engines.collection import NameOrder, text_bytes
from synap.engines.murmur2 import murmur2
from synap.engines.partition import Partition, Usage

MaxEvents = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
MaxBytes = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
MaxAge = Annotated[float, msgspec.Meta(gt=0, le=9_000_000_000, description="seconds, decimals allowed")]

# Moments that no longer matter stay in the heap until they surface; past this many times the others it is rebuilt.
STALE_MOMENT_FACTOR = 2
STALE_MOMENT_SLACK = 1_000

# Measured on CPython 3.11.
_STREAM_BYTES = 330
_GROUP_BYTES = 110
_COMMITTED_BYTES = 8
_MOMENT_BYTES = 130

_NS_PER_MS = 1_000_000

# When, which stream, which of its partitions.
Moment = tuple[Millis, str, int]
Row = tuple[Any, ...]


class Retention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much each partition keeps; None is no limit."""

    max_events: MaxEvents | None = None
    max_bytes: MaxBytes | None = None
    """Of type, key, headers and value. The newest event is kept even if it is larger."""
    max_age_secs: MaxAge | None = None

    @property
    def max_age_ms(self) -> Millis | None:
        """The age in milliseconds, at least one."""
        return None if self.max_age_secs is None else max(round(self.max_age_secs * 1000), 1)


class Streams:
    """All streams of one server."""

    def __init__(self, arrivals: Arrivals, waste: Bin | None = None) -> None:
        self._arrivals = arrivals
        self._bin = Bin() if waste is None else waste
        self.clear()

    @property
    def used_bytes(self) -> int:
        """Estimated memory of all streams."""
        return self._ledger.used_bytes

    @property
    def next_due(self) -> float:
        """No event is removed by age before this; one may then."""
        return self._ledger.next_due

    def find(self, name: str) -> Stream | None:
        """The stream; None when there is none."""
        return self._streams.get(name)

    def create(self, name: str, partitions: int, retention: Retention) -> Stream:
        """A new stream under a name that is free."""
        self._last_serial += 1
        return self._insert(name, self._last_serial, partitions, retention)

    def remove(self, name: str) -> None:
        """Drop a stream that is there, with all it holds."""
        stream = self._streams.pop(name)
        self._order.removed(name)
        stream.close()
        stream.throw_into(self._bin)

    def __len__(self) -> int:
        """How many streams there are."""
        return len(self._streams)

    def names(self) -> list[str]:
        """The names of all streams, sorted."""
        return list(self._order.all())

    def sweep(self, now: Millis, limit: int) -> int:
        """Free what age has removed, in up to `limit` partitions; returns in how many there was something."""
        changed = 0
        for _ in range(limit):
            if self._ledger.next_due > now:
                break
            moment = self._ledger.pop()
            if self._is_live(moment):
                _, name, index = moment
                changed += self._streams[name].free_aged(index, now)
        return changed

    def clear(self) -> None:
        """Forget everything: as before the first record. A stream that somebody still has is in no books any more."""
        self._streams: dict[str, Stream] = {}
        self._order = NameOrder(self._streams)
        self._last_serial = 0
        self._ledger = _Ledger(self._arrivals, self._is_live)

    def dump(self, chunk_rows: int) -> Iterator[list[Any]]:
        """The content in chunks of up to `chunk_rows` rows; one ends early when its segments are large."""
        return chunked(self._rows(), chunk_rows)

    def load(self, rows: list[Any]) -> None:
        """Add the rows of one chunk of `dump`."""
        for kind, *row in rows:
            if kind == "serial":
                (self._last_serial,) = row
            elif kind == "stream":
                name, serial, retention, keyless_total, partitions = row
                stream = self._insert(name, serial, len(partitions), msgspec.convert(retention, Retention))
                stream.load(keyless_total, partitions)
            elif kind == "segment":
                name, index, *segment = row
                self._streams[name].load_segment(index, *segment)
            elif kind == "group":
                name, group, offsets = row
                self._streams[name].join(group, offsets)
            else:
                raise LookupError(f"this version knows no {kind!r} of streams")

    def canonical(self, now: Millis) -> Iterator[Any]:
        """What a client could observe at `now`, in the order of names; events as their hashes."""
        yield ("serial", self._last_serial)
        for name in self._order.all():
            stream = self._streams[name]
            logs = [(log.next_offset, log.oldest(now), log.fingerprint(now)) for log in stream.partitions]
            yield ("stream", name, stream.serial, msgspec.to_builtins(stream.retention), stream.keyless_total, logs)
            yield from stream.dump_groups()

    def _insert(self, name: str, serial: int, partitions: int, retention: Retention) -> Stream:
        stream = Stream(name, serial, partitions, retention, self._ledger)
        self._streams[name] = stream
        self._order.added(name)
        return stream

    def _is_live(self, moment: Moment) -> bool:
        at, name, index = moment
        stream = self._streams.get(name)
        return stream is not None and index < len(stream.partitions) and stream.partitions[index].due == at

    def _rows(self) -> Iterator[tuple[Row, int]]:
        """The rows of `dump` and about how much memory each takes."""
        yield ("serial", self._last_serial), 0
        for name in self._order.all():
            stream = self._streams[name]
            logs = [log.dump() for log in stream.partitions]
            retention = msgspec.to_builtins(stream.retention)
            yield ("stream", name, stream.serial, retention, stream.keyless_total, logs), 200 * len(logs)
            for index, log in enumerate(stream.partitions):
                for segment in log.dump_segments():
                    yield ("segment", name, index, *segment), sum(map(len, segment[2:]))
            for row in stream.dump_groups():
                yield row, _COMMITTED_BYTES * len(logs)


class Stream:
    """A room: its partitions, and the groups that read them."""

    __slots__ = ("_groups", "_ledger", "keyless_total", "name", "partitions", "retention", "serial")

    def __init__(self, name: str, serial: int, partitions: int, retention: Retention, ledger: _Ledger) -> None:
        self.name = name
        self.serial = serial
        """A number that no other stream has had."""
        self.partitions = [Partition(ledger) for _ in range(partitions)]
        self.retention = retention
        """To look at; `set_retention` changes it."""
        self.keyless_total = 0
        """How many events without a key have been published."""
        self._groups: dict[str, array[int]] = {}
        self._ledger = ledger
        ledger.used_bytes += self._base_bytes()
        self.set_retention(retention, 0)

    @property
    def published_total(self) -> int:
        """How many events have ever been published."""
        return sum(log.next_offset for log in self.partitions)

    def partition_for(self, key: bytes | None) -> int:
        """Where an event belongs: as Kafka's clients choose by the key; without one the partitions take turns."""
        count = len(self.partitions)
        if count == 1:
            return 0
        return (self.keyless_total if key is None else murmur2(key) & 0x7FFFFFFF) % count

    def append(
        self,
        partition: int,
        event_type: str,
        value: bytes,
        now: Millis,
        is_json: bool = True,
        key: bytes | None = None,
        key_is_text: bool = True,
        headers: bytes = b"",
    ) -> int:
        """Publish an event to a partition that is there; returns its offset."""
        log = self.partitions[partition]
        offset = log.append(event_type, value, is_json, key, key_is_text, headers, now * _NS_PER_MS)
        if key is None:
            self.keyless_total += 1
        if log.due is None and self.retention.max_age_secs is not None:
            self._ledger.schedule(self.name, partition, log)
        arrivals = self._ledger.arrivals
        if arrivals.awaited:
            arrivals.note((Stream, self.name))
        return offset

    def set_retention(self, retention: Retention, now: Millis) -> None:
        """Keep that much from now on; what the old retention has removed stays removed."""
        self.retention = retention
        for index, log in enumerate(self.partitions):
            log.keep(retention.max_events, retention.max_bytes, retention.max_age_ms, now)
            self._ledger.schedule(self.name, index, log)

    def event_id(self, partition: int, offset: int) -> str:
        """What names the event among those of all streams."""
        return self.id_prefix(partition) + hex(offset)[2:]

    def id_prefix(self, partition: int) -> str:
        """What the ids of all events of a partition begin with; the offset in hexadecimal follows."""
        return "evt_%x_%x_" % (self.serial, partition)  # noqa: UP031 - takes half as long as an f-string

    # Groups

    def committed(self, group: str) -> list[int] | None:
        """The next offset to read in each partition; None when there is no such group."""
        offsets = self._groups.get(group)
        return None if offsets is None else offsets.tolist()

    def commit(self, group: str, partition: int, offset: int) -> None:
        """Let the group go on at `offset`; one that is not there is created, at 0 in the other partitions."""
        self.join(group, [0] * len(self.partitions))
        self._groups[group][partition] = offset

    def join(self, group: str, offsets: list[int]) -> None:
        """Create a group that begins at an offset for each partition; one that is there stays as it is."""
        if group not in self._groups:
            self._groups[group] = array("q", offsets)
            self._ledger.used_bytes += self._group_bytes(group)

    def group_names(self) -> list[str]:
        """The names of all groups, sorted."""
        return sorted(self._groups)

    @property
    def group_count(self) -> int:
        """How many groups there are."""
        return len(self._groups)

    def all_committed(self) -> list[tuple[str, array[int]]]:
        """What `committed` tells of all groups, sorted by name. O(groups * partitions), but at the speed of a copy."""
        return [(group, self._groups[group][:]) for group in sorted(self._groups)]

    def remove_group(self, group: str) -> bool:
        """Forget a group; says whether there was one."""
        if self._groups.pop(group, None) is None:
            return False
        self._ledger.used_bytes -= self._group_bytes(group)
        return True

    def lag(self, group: str, now: Millis) -> int:
        """How many of the events kept a group that is there has not read yet."""
        offsets = self._groups[group]
        return sum(
            max(log.next_offset - max(offset, log.oldest(now)), 0)
            for log, offset in zip(self.partitions, offsets, strict=True)
        )

    # For Streams

    def free_aged(self, index: int, now: Millis) -> bool:
        """Free what age has removed from a partition; says whether there was anything."""
        log = self.partitions[index]
        changed = log.free_aged(now)
        self._ledger.forget(log)
        self._ledger.schedule(self.name, index, log)
        return changed

    def close(self) -> None:
        """The stream is gone: count out what it held, and tell who waits for it."""
        for log in self.partitions:
            self._ledger.forget(log)
            self._ledger.used_bytes -= log.used_bytes
        self._ledger.used_bytes -= self._base_bytes() + sum(map(self._group_bytes, self._groups))
        if self._ledger.arrivals.awaited:
            self._ledger.arrivals.note((Stream, self.name))

    def throw_into(self, waste: Bin) -> None:
        """Have what it held freed later."""
        for log in self.partitions:
            log.throw_into(waste)
        waste.throw(self._groups, len(self._groups))

    def dump_groups(self) -> Iterator[Row]:
        """A row for each group."""
        for group in sorted(self._groups):
            yield ("group", self.name, group, self._groups[group].tolist())

    def load(self, keyless_total: int, partitions: list[Any]) -> None:
        """Take over what a snapshot tells beside segments and groups."""
        self.keyless_total = keyless_total
        for log, dumped in zip(self.partitions, partitions, strict=True):
            log.load(dumped)

    def load_segment(self, index: int, *segment: Any) -> None:
        """Add a segment of a snapshot."""
        log = self.partitions[index]
        log.load_segment(*segment)
        self._ledger.schedule(self.name, index, log)

    def _base_bytes(self) -> int:
        return _STREAM_BYTES + text_bytes(self.name)

    def _group_bytes(self, group: str) -> int:
        return _GROUP_BYTES + text_bytes(group) + _COMMITTED_BYTES * len(self.partitions)


class _Ledger(Usage):
    """What the streams of a server share: what they take, when age may free some of it, and whom to tell of events.

    A partition has at most one moment that counts: the one in its `due`. It may be too early, as events come after
    it; then the sweep finds nothing and takes note of the next.
    """

    def __init__(self, arrivals: Arrivals, is_live: Callable[[Moment], bool]) -> None:
        super().__init__()
        self.arrivals = arrivals
        self._is_live = is_live
        self._moments: list[Moment] = []
        self._live = 0
        self.next_due: float = math.inf
        """The earliest moment."""

    def schedule(self, name: str, index: int, log: Partition) -> None:
        """Take note of when age will have removed a segment of the log, unless it will be looked at before."""
        at = log.ages_at()
        if at is None or (log.due is not None and log.due <= at):
            return
        self.forget(log)
        log.due = at
        self._live += 1
        self.used_bytes += _MOMENT_BYTES
        heapq.heappush(self._moments, (at, name, index))
        if len(self._moments) > STALE_MOMENT_FACTOR * self._live + STALE_MOMENT_SLACK:
            # The moments of a stream and of the one before it of the same name may be equal.
            self._moments = sorted(set(filter(self._is_live, self._moments)))
        self.next_due = self._moments[0][0]

    def forget(self, log: Partition) -> None:
        """Its moment no longer counts."""
        if log.due is not None:
            log.due = None
            self._live -= 1
            self.used_bytes -= _MOMENT_BYTES

    def pop(self) -> Moment:
        """The earliest moment, which no longer is one."""
        moment = heapq.heappop(self._moments)
        self.next_due = self._moments[0][0] if self._moments else math.inf
        return moment
