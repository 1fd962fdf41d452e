"""One partition of a stream: a log of events, compact in memory.

1. Offsets begin at 0 and go up by one. None is given twice, whatever retention removes.
2. Retention removes from the oldest event on, exact to the event, and what it has removed never comes back. Count and
   bytes are decided when an event is added; age whenever somebody looks: an event is gone as soon as `now` has reached
   its timestamp plus the age.
3. `max_bytes` counts type, key, headers and value. It never removes the newest event, however large that is.
4. Events are encoded one after the other (flags, four lengths, then type, key, headers and value) in segments with an
   index of where each ends and when it came. Ends count from the beginning of the log, not of the segment, so they
   stay true when a front that nobody can read any more is cut off. Doing so changes nothing that can be observed.

Costs: append O(1) amortised, O(log n) where bytes are limited; finding an offset, a time or a size O(log n).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from hashlib import blake2b
from operator import attrgetter
from struct import Struct
from typing import Any

import msgspec

from synap.clock import Millis
from synap.engines.bin import Bin

SEGMENT_BYTES = 256 * 1024
"""A segment that has grown to this takes no more."""
SEGMENT_EVENTS = 4_096
READ_BYTES_MAX = 16 * 1024 * 1024
"""What a read returns at most, unless told otherwise; counted as `max_bytes` counts."""

FREEING_OF_SEGMENT = 100
"""Giving back a segment takes as long as freeing so many elements."""

# A front that cannot be read any more is cut off when it is this large and more than half of its segment.
_CUT_BYTES_MIN = 4_096

_NS_PER_MS = 1_000_000
_IS_JSON, _HAS_KEY, _KEY_IS_TEXT = 1, 2, 4
_HEAD = Struct("<BIIII")
_HEAD_BYTES = _HEAD.size

# Measured on CPython 3.11: the objects; and for each event its end and its timestamp, with the arrays' slack.
_PARTITION_BYTES = 190
_SEGMENT_BYTES = 440
_INDEX_BYTES = 16

_first = attrgetter("first")


class Event(msgspec.Struct, gc=False):
    """What was published, and where it stands."""

    offset: int
    timestamp_ns: int
    """Unix nanoseconds."""
    event_type: str
    key: bytes | None
    key_is_text: bool
    headers: bytes
    """A JSON object as text; empty when there are none."""
    value: bytes
    is_json: bool


class Usage:
    """Where partitions count what they take together."""

    def __init__(self) -> None:
        self.used_bytes = 0
        """Estimated memory."""


class Partition:
    """A log of events."""

    __slots__ = (
        "_end",
        "_max_age_ms",
        "_max_bytes",
        "_max_events",
        "_segments",
        "_start",
        "_usage",
        "due",
        "next_offset",
    )

    def __init__(self, usage: Usage | None = None) -> None:
        self.next_offset = 0
        """What the next event gets."""
        self.due: Millis | None = None
        """When a sweep will look at it."""
        self._start = 0
        self._end = 0
        # All that count and bytes have removed is behind `_start`, which lies in the first segment. Removing segments
        # from the front of a list moves the others, but there are few: 4,000 for a gigabyte.
        self._segments: list[_Segment] = []
        self._max_events: int | None = None
        self._max_bytes: int | None = None
        self._max_age_ms: Millis | None = None
        self._usage = Usage() if usage is None else usage
        self._usage.used_bytes += self.used_bytes

    # Adding and removing

    def append(
        self,
        event_type: str,
        value: bytes,
        is_json: bool,
        key: bytes | None,
        key_is_text: bool,
        headers: bytes,
        timestamp_ns: int,
    ) -> int:
        """Add an event and return its offset. Timestamps (Unix nanoseconds) never decrease."""
        name, key_bytes = event_type.encode(), key or b""
        flags = (_IS_JSON if is_json else 0) | (0 if key is None else _HAS_KEY) | (_KEY_IS_TEXT if key_is_text else 0)
        head = _HEAD.pack(flags, len(name), len(key_bytes), len(headers), len(value))
        event = b"".join((head, name, key_bytes, headers, value))
        segment = self._segments[-1] if self._segments else self._open_segment(timestamp_ns)
        if len(segment.data) >= SEGMENT_BYTES or len(segment.ends) >= SEGMENT_EVENTS:
            segment = self._open_segment(timestamp_ns)
        offset, size = self.next_offset, len(event)
        self.next_offset = offset + 1
        self._end += size
        self._usage.used_bytes += size + _INDEX_BYTES
        segment.data += event
        segment.ends.append(self._end)
        segment.times.append(timestamp_ns)
        if self._max_events is not None or self._max_bytes is not None:
            self._remove_excess()
        return offset

    def keep(self, max_events: int | None, max_bytes: int | None, max_age_ms: Millis | None, now: Millis) -> None:
        """Limit what is kept from now on; None is no limit. What the old limits have removed stays removed."""
        self._advance(self.oldest(now))
        self._max_events, self._max_bytes, self._max_age_ms = max_events, max_bytes, max_age_ms
        self._remove_excess()

    def ages_at(self) -> Millis | None:
        """When age will remove the oldest event; None when it will not."""
        if self._max_age_ms is None or self._start == self.next_offset:
            return None
        first = self._segments[0]
        return -(-first.times[self._start - first.first] // _NS_PER_MS) + self._max_age_ms

    def free_aged(self, now: Millis) -> bool:
        """Free what age has removed, as far as it fills segments; says whether it has removed anything."""
        oldest = self.oldest(now)
        if oldest == self._start:
            return False
        self._advance(oldest)
        return True

    # Looking

    def oldest(self, now: Millis) -> int:
        """The offset of the oldest event kept; `next_offset` when there is none."""
        if self._max_age_ms is None:
            return self._start
        return max(self._start, self._since((now - self._max_age_ms) * _NS_PER_MS + 1))

    def count(self, now: Millis) -> int:
        """How many events are kept."""
        return self.next_offset - self.oldest(now)

    def size_bytes(self, now: Millis) -> int:
        """Bytes of the events kept, as `max_bytes` counts them."""
        return self._size_before(self.next_offset) - self._size_before(self.oldest(now))

    def read(self, offset: int, limit: int, now: Millis, bytes_max: int = READ_BYTES_MAX) -> list[Event]:
        """Up to `limit` events from `offset`, or the oldest, on, of `bytes_max` bytes at most unless it is only one."""
        start = max(offset, self.oldest(now))
        stop = min(start + limit, self.next_offset)
        if start >= stop:
            return []
        allowed = self._size_before(start) + bytes_max
        if self._size_before(stop) > allowed:
            stop = max(self._offset_of_size(allowed + 1) - 1, start + 1)
        return self._events(start, stop)

    def read_back(self, offset: int, limit: int, now: Millis, bytes_max: int = READ_BYTES_MAX) -> list[Event]:
        """Like `read`, from `offset`, or the newest, backwards."""
        stop = min(offset + 1, self.next_offset)
        start = max(stop - limit, self.oldest(now))
        if start >= stop:
            return []
        allowed = self._size_before(stop) - bytes_max
        if self._size_before(start) < allowed:
            start = min(self._offset_of_size(allowed), stop - 1)
        return self._events(start, stop)[::-1]

    def offset_at(self, timestamp_ns: int, now: Millis) -> int:
        """The first offset kept whose timestamp is not before `timestamp_ns`; `next_offset` when there is none."""
        return max(self.oldest(now), self._since(timestamp_ns))

    @property
    def used_bytes(self) -> int:
        """Estimated memory, within 20 % of the growth of the process."""
        if not self._segments:
            return _PARTITION_BYTES
        first = self._segments[0]
        index_bytes = _INDEX_BYTES * (self.next_offset - first.first)
        return _PARTITION_BYTES + _SEGMENT_BYTES * len(self._segments) + index_bytes + self._end - first.begin

    def throw_into(self, waste: Bin) -> None:
        """Have its segments freed later; nobody may use it any more."""
        waste.throw(self._segments, FREEING_OF_SEGMENT * len(self._segments))

    # Snapshot

    def fingerprint(self, now: Millis) -> bytes:
        """A hash of the events kept, whatever segments they are in."""
        events, times = blake2b(digest_size=32), blake2b(digest_size=32)
        oldest = self.oldest(now)
        for segment in self._segments:
            start = max(oldest, segment.first)
            if start < segment.stop:
                events.update(memoryview(segment.data)[segment.position(start) - segment.begin :])
                times.update(memoryview(segment.times)[start - segment.first :])
        return events.digest() + times.digest()

    def dump(self) -> tuple[int, int, int]:
        """What is to be known beside the segments."""
        return self.next_offset, self._start, self._end

    def dump_segments(self) -> Iterator[tuple[int, int, bytes, bytes, bytes]]:
        """The events by segments: first offset, where it begins, encoded events, their ends, their timestamps."""
        for segment in self._segments:
            kept = segment.since(self._start)
            yield kept.first, kept.begin, bytes(kept.data), kept.ends.tobytes(), kept.times.tobytes()

    def load(self, dumped: Any) -> None:
        """Take over what `dump` gave. The limits are not part of it."""
        self.next_offset, self._start, self._end = dumped

    def load_segment(self, first: int, begin: int, data: bytes, ends: bytes, times: bytes) -> None:
        """Add a segment of `dump_segments`."""
        self._add_segment(_Segment(first, begin, bytearray(data), array("Q", ends), array("Q", times)))

    def _open_segment(self, timestamp_ns: int) -> _Segment:
        # During recovery nobody sweeps, so this is where memory is given back.
        self._advance(self.oldest(timestamp_ns // _NS_PER_MS))
        segment = _Segment(self.next_offset, self._end, bytearray(), array("Q"), array("Q"))
        self._add_segment(segment)
        return segment

    def _add_segment(self, segment: _Segment) -> None:
        used_bytes = self.used_bytes
        if self._segments:
            self._segments[-1].seal()
        self._segments.append(segment)
        self._usage.used_bytes += self.used_bytes - used_bytes

    def _remove_excess(self) -> None:
        start = self._start
        if self._max_events is not None:
            start = max(start, self.next_offset - self._max_events)
        if self._max_bytes is not None and start < self.next_offset:
            excess_end = self._size_before(self.next_offset) - self._max_bytes
            if self._size_before(start) < excess_end:
                start = min(self._offset_of_size(excess_end), self.next_offset - 1)
        if start > self._start:
            self._advance(start)

    def _advance(self, start: int) -> None:
        """Nobody will read what is before `start`: free what lies in whole segments, or is most of one."""
        used_bytes, segments = self.used_bytes, self._segments
        self._start = start
        passed = 0
        while passed < len(segments) and segments[passed].stop <= start:
            passed += 1
        del segments[:passed]
        if segments:
            first = segments[0]
            unread = first.position(start) - first.begin
            if unread >= _CUT_BYTES_MIN and 2 * unread > len(first.data):
                segments[0] = first.since(start)
        self._usage.used_bytes += self.used_bytes - used_bytes

    def _segment_of(self, offset: int) -> int:
        """The index of the segment that holds `offset`, which must be held."""
        return bisect_right(self._segments, offset, key=_first) - 1

    def _since(self, timestamp_ns: int) -> int:
        """The first offset held whose timestamp is not before `timestamp_ns`."""
        segments = self._segments
        if not segments:
            return self.next_offset
        if segments[0].times[0] >= timestamp_ns:
            return segments[0].first
        index = bisect_left(segments, timestamp_ns, key=_last_timestamp)
        if index == len(segments):
            return self.next_offset
        return segments[index].first + bisect_left(segments[index].times, timestamp_ns)

    def _size_before(self, offset: int) -> int:
        """Bytes of all events ever added before `offset`, which must be held or the next one."""
        if offset == self.next_offset:
            return self._end - _HEAD_BYTES * offset
        segment = self._segments[0]
        if offset >= segment.stop:
            segment = self._segments[self._segment_of(offset)]
        return segment.position(offset) - _HEAD_BYTES * offset

    def _offset_of_size(self, size: int) -> int:
        """The first offset held before which there are at least `size` bytes."""
        index = bisect_left(self._segments, size, key=_size_before_segment) - 1
        if index < 0:
            return self._segments[0].first
        segment = self._segments[index]
        ends, first = segment.ends, segment.first
        return bisect_left(
            range(first + 1, segment.stop),
            size,
            key=lambda offset: ends[offset - first - 1] - _HEAD_BYTES * offset,
        ) + (first + 1)

    def _events(self, start: int, stop: int) -> list[Event]:
        index = self._segment_of(start)
        events = self._segments[index].events(start, stop)
        while (reached := start + len(events)) < stop:
            index += 1
            events += self._segments[index].events(reached, stop)
        return events


class _Segment:
    """Events one after the other. Only the last one of a log takes more; the others are sealed."""

    __slots__ = ("begin", "data", "ends", "first", "times")

    def __init__(self, first: int, begin: int, data: bytearray | bytes, ends: array[int], times: array[int]) -> None:
        self.first = first
        """Offset of the first event."""
        self.begin = begin
        """How many encoded bytes the log had before it."""
        self.data = data
        self.ends = ends
        self.times = times

    @property
    def stop(self) -> int:
        """The offset after the last one."""
        return self.first + len(self.ends)

    def seal(self) -> None:
        """Give back what was reserved for more events."""
        self.data, self.ends, self.times = bytes(self.data), self.ends[:], self.times[:]

    def position(self, offset: int) -> int:
        """How many encoded bytes the log had before the event; `begin` for one that is not after the first."""
        return self.ends[offset - self.first - 1] if offset > self.first else self.begin

    def since(self, offset: int) -> _Segment:
        """The segment without what comes before `offset`."""
        if offset <= self.first:
            return self
        begin, index = self.position(offset), offset - self.first
        return _Segment(offset, begin, self.data[begin - self.begin :], self.ends[index:], self.times[index:])

    def events(self, start: int, stop: int) -> list[Event]:
        """The events of a range of offsets, as far as it goes; it holds the first."""
        stop, unpack, events = min(stop, self.stop), _HEAD.unpack_from, []
        at, past = self.position(start) - self.begin, self.position(stop) - self.begin
        # One copy for all: what is cut out of a bytearray would have to be copied twice.
        data = bytes(memoryview(self.data)[at:past])
        at = 0
        for offset, timestamp_ns in enumerate(self.times[start - self.first : stop - self.first], start):
            flags, type_bytes, key_bytes, headers_bytes, value_bytes = unpack(data, at)
            type_at = at + _HEAD_BYTES
            key_at = type_at + type_bytes
            headers_at = key_at + key_bytes
            value_at = headers_at + headers_bytes
            at = value_at + value_bytes
            event = Event(
                offset,
                timestamp_ns,
                data[type_at:key_at].decode(),
                data[key_at:headers_at] if flags & _HAS_KEY else None,
                flags & _KEY_IS_TEXT != 0,
                data[headers_at:value_at],
                data[value_at:at],
                flags & _IS_JSON != 0,
            )
            events.append(event)
        return events


def _last_timestamp(segment: _Segment) -> int:
    return segment.times[-1]


def _size_before_segment(segment: _Segment) -> int:
    return segment.begin - _HEAD_BYTES * segment.first
