"""One partition's log: offsets, retention, reading, and what comes back from a snapshot."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from synap.engines import partition as module
from synap.engines.partition import SEGMENT_BYTES, SEGMENT_EVENTS, Event, Partition

NOW = 1_700_000_000_000
NS = 1_000_000


def add(log: Partition, value: bytes, now: int = NOW, event_type: str = "", **options: Any) -> int:
    given = {"is_json": True, "key": None, "key_is_text": True, "headers": b""} | options
    return log.append(event_type, value, timestamp_ns=now * NS, **given)


def holding(*values: bytes, now: int = NOW) -> Partition:
    log = Partition()
    for value in values:
        add(log, value, now)
    return log


def filled(count: int, size: int = 10, now: int = NOW) -> Partition:
    return holding(*(b"%0*d" % (size, number) for number in range(count)), now=now)


def offsets(events: list[Event]) -> list[int]:
    return [event.offset for event in events]


def reloaded(log: Partition) -> Partition:
    dumped, *segments = msgspec.msgpack.decode(msgspec.msgpack.encode([log.dump(), *log.dump_segments()]))
    again = Partition()
    again.load(dumped)
    for segment in segments:
        again.load_segment(*segment)
    return again


def test_an_event_comes_back_as_it_was_published() -> None:
    log = Partition()
    add(log, b'{"a":1}', event_type="größe", key=b"k\xff", key_is_text=False, headers=b'{"h":"x"}')
    add(log, b"\0\xff", NOW + 1, "", is_json=False, key=b"")
    assert log.read(0, 10, NOW + 1) == [
        Event(0, NOW * NS, "größe", b"k\xff", False, b'{"h":"x"}', b'{"a":1}', True),
        Event(1, (NOW + 1) * NS, "", b"", True, b"", b"\0\xff", False),
    ]


def test_offsets_begin_at_0_and_count_up() -> None:
    log = Partition()
    assert [add(log, b"1") for _ in range(3)] == [0, 1, 2]
    assert log.next_offset == 3


def test_an_empty_log_has_nothing_to_read() -> None:
    log = Partition()
    assert (log.oldest(NOW), log.count(NOW), log.size_bytes(NOW), log.offset_at(0, NOW)) == (0, 0, 0, 0)
    assert log.read(0, 10, NOW) == log.read_back(5, 10, NOW) == []


def test_reading_begins_at_the_oldest_and_ends_at_the_newest() -> None:
    log = filled(10)
    log.keep(4, None, None, NOW)
    assert offsets(log.read(0, 3, NOW)) == [6, 7, 8]
    assert offsets(log.read(8, 100, NOW)) == [8, 9]
    assert log.read(10, 100, NOW) == log.read(99, 100, NOW) == []
    assert offsets(log.read_back(99, 3, NOW)) == [9, 8, 7]
    assert offsets(log.read_back(7, 100, NOW)) == [7, 6]
    assert log.read_back(5, 100, NOW) == log.read_back(-1, 100, NOW) == []


def test_a_read_stops_at_its_limit_of_bytes_but_gives_at_least_one_event() -> None:
    log = filled(10, size=100)
    assert offsets(log.read(2, 10, NOW, 300)) == [2, 3, 4]
    assert offsets(log.read(2, 10, NOW, 299)) == [2, 3]
    assert offsets(log.read(2, 10, NOW, 0)) == [2]
    assert offsets(log.read_back(7, 10, NOW, 300)) == [7, 6, 5]
    assert offsets(log.read_back(7, 10, NOW, 299)) == [7, 6]
    assert offsets(log.read_back(7, 10, NOW, 0)) == [7]


def test_events_without_any_bytes_count_for_nothing() -> None:
    log = holding(b"", b"", b"1", b"")
    log.keep(None, 1, None, NOW)
    assert offsets(log.read(0, 10, NOW, 0)) == [0, 1]
    assert offsets(log.read(0, 10, NOW, 1)) == [0, 1, 2, 3]
    assert offsets(log.read_back(3, 10, NOW, 0)) == [3]


def test_a_limit_of_events_keeps_the_newest() -> None:
    log = Partition()
    log.keep(3, None, None, NOW)
    for number in range(10):
        add(log, b"%d" % number)
        assert log.count(NOW) == min(number + 1, 3)
    assert [event.value for event in log.read(0, 10, NOW)] == [b"7", b"8", b"9"]


def test_a_limit_of_bytes_counts_type_key_headers_and_value() -> None:
    log = Partition()
    log.keep(None, 20, None, NOW)
    for _ in range(5):
        add(log, b"12", event_type="ab", key=b"k", headers=b"{...}")
    assert (log.count(NOW), log.size_bytes(NOW)) == (2, 20)


def test_a_limit_of_bytes_keeps_the_newest_event_even_if_it_is_larger() -> None:
    log = filled(5)
    log.keep(None, 30, None, NOW)
    add(log, b"x" * 100)
    assert (log.oldest(NOW), log.size_bytes(NOW)) == (5, 100)
    add(log, b"x" * 30)
    assert (log.oldest(NOW), log.size_bytes(NOW)) == (6, 30)


def test_an_event_is_gone_as_soon_as_it_has_reached_the_age() -> None:
    log = holding(b"1")
    log.keep(None, None, 1_000, NOW)
    add(log, b"2", NOW + 1)
    assert log.oldest(NOW + 999) == 0
    assert log.oldest(NOW + 1_000) == 1
    assert (log.oldest(NOW + 1_001), log.count(NOW + 1_001), log.size_bytes(NOW + 1_001)) == (2, 0, 0)
    assert log.read(0, 10, NOW + 1_001) == log.read_back(9, 10, NOW + 1_001) == []
    assert add(log, b"3", NOW + 1_001) == 2


def test_what_retention_has_removed_stays_removed_when_it_is_loosened() -> None:
    log = filled(10)
    log.keep(4, None, 1_000, NOW)
    log.keep(None, None, None, NOW + 999)
    assert log.oldest(NOW + 999) == 6
    log.keep(None, None, 1_000, NOW + 999)
    log.keep(None, None, None, NOW + 1_000)
    assert (log.oldest(NOW + 1_000), log.next_offset) == (10, 10)


def test_tightened_retention_removes_at_once() -> None:
    log = filled(10)
    log.keep(None, 45, None, NOW)
    assert log.oldest(NOW) == 6
    log.keep(2, None, None, NOW)
    assert log.oldest(NOW) == 8
    log.keep(None, None, 1, NOW + 1)
    assert log.oldest(NOW + 1) == 10


def test_an_offset_is_found_by_time() -> None:
    log = Partition()
    for step in (0, 0, 5, 9):
        add(log, b"1", NOW + step)
    found = {step: log.offset_at((NOW + step) * NS, NOW + 9) for step in (-1, 0, 1, 5, 6, 9, 10)}
    assert found == {-1: 0, 0: 0, 1: 2, 5: 2, 6: 3, 9: 3, 10: 4}
    log.keep(3, None, None, NOW + 9)
    assert log.offset_at(0, NOW + 9) == 1


@pytest.mark.parametrize("size", [0, 10, 100, SEGMENT_BYTES // 3, SEGMENT_BYTES * 2])
def test_events_are_found_in_every_segment(size: int) -> None:
    count = min(2 * SEGMENT_EVENTS + 100, 5_000_000 // (size + 1))
    log = filled(count, size)
    assert [event.offset for event in log.read(0, count, NOW, 2**62)] == list(range(count))
    step = max(count // 200, 1)
    for offset in range(0, count, step):
        assert [event.value for event in log.read(offset, 1, NOW)] == [b"%0*d" % (size, offset)]
        assert offsets(log.read_back(offset, 3, NOW, 2**62)) == [*range(offset, max(offset - 3, -1), -1)]


def test_memory_of_what_retention_removed_is_given_back() -> None:
    log = filled(10 * SEGMENT_EVENTS)
    whole = log.used_bytes
    log.keep(SEGMENT_EVENTS, None, None, NOW)
    assert log.used_bytes < whole / 4
    log.keep(10, None, None, NOW)
    assert log.used_bytes < module._CUT_BYTES_MIN + 1_500


def test_a_short_log_that_is_much_written_to_stays_small() -> None:
    log = Partition()
    log.keep(10, None, None, NOW)
    for _ in range(3 * SEGMENT_EVENTS):
        add(log, b"x" * 20)
        assert log.used_bytes < module._CUT_BYTES_MIN + 3_000
    assert log.count(NOW) == 10


def test_what_age_has_removed_is_freed() -> None:
    log = filled(3 * SEGMENT_EVENTS)
    assert log.ages_at() is None
    log.keep(None, None, 1_000, NOW)
    assert log.ages_at() == NOW + 1_000
    assert not log.free_aged(NOW + 999)
    assert [log.free_aged(NOW + 1_000) for _ in range(2)] == [True, False]
    assert (log.used_bytes, log.ages_at()) == (Partition().used_bytes, None)
    assert (log.oldest(NOW + 1_000), add(log, b"1", NOW + 1_000)) == (log.next_offset - 1, 3 * SEGMENT_EVENTS)


def test_a_log_that_nobody_sweeps_gives_memory_back_as_it_grows() -> None:
    log = Partition()
    log.keep(None, None, 10, NOW)
    for number in range(10 * SEGMENT_EVENTS):
        add(log, b"1234567890", NOW + number)
    assert log.used_bytes < 3 * SEGMENT_EVENTS * 50


def test_a_timestamp_within_a_millisecond_counts_as_it_is() -> None:
    log = Partition()
    log.keep(None, None, 1_000, NOW)
    log.append("", b"", is_json=True, key=None, key_is_text=True, headers=b"", timestamp_ns=NOW * NS + 1)
    assert (log.oldest(NOW + 1_000), log.ages_at()) == (0, NOW + 1_001)
    assert log.oldest(NOW + 1_001) == 1


def test_a_loaded_log_goes_on_where_it_was() -> None:
    log = filled(2 * SEGMENT_EVENTS + 10)
    log.keep(SEGMENT_EVENTS + 5, None, None, NOW)
    again = reloaded(log)
    assert again.fingerprint(NOW) == log.fingerprint(NOW)
    assert (again.oldest(NOW), again.size_bytes(NOW)) == (log.oldest(NOW), log.size_bytes(NOW))
    again.keep(SEGMENT_EVENTS + 5, None, None, NOW)
    assert add(again, b"x") == add(log, b"x")
    assert again.read(0, 10**6, NOW) == log.read(0, 10**6, NOW)


def test_segments_do_not_pile_up_over_restarts() -> None:
    log = Partition()
    for number in range(300):
        add(log, b"%d" % number)
        log = reloaded(log)
    assert len(list(log.dump_segments())) == 1
    assert [event.value for event in log.read(0, 300, NOW)] == [b"%d" % number for number in range(300)]


def test_the_fingerprint_tells_apart_what_is_kept() -> None:
    prints = {
        holding(*values).fingerprint(NOW)
        for values in ([], [b""], [b"", b""], [b"a"], [b"b"], [b"a", b"b"], [b"ab"], [b"b", b"a"])
    }
    assert len(prints) == 8
    assert holding(b"a", now=NOW).fingerprint(NOW) != holding(b"a", now=NOW + 1).fingerprint(NOW)
    trimmed = holding(b"a", b"b")
    trimmed.keep(1, None, None, NOW)
    assert trimmed.fingerprint(NOW) == holding(b"b").fingerprint(NOW)


class AgainstTwin(RuleBasedStateMachine):
    """The log beside a list of all events ever, with segments of a few events so that there are many."""

    def __init__(self) -> None:
        super().__init__()
        self._patch = pytest.MonkeyPatch()
        self.log = Partition()
        self.twin: list[Event] = []
        self.gone = 0
        self.limits: tuple[int | None, int | None, int | None] = (None, None, None)
        self.now = NOW

    def teardown(self) -> None:
        self._patch.undo()

    @initialize(events=st.sampled_from([1, 3, 4_096]), size=st.sampled_from([1, 150, 2**18]), cut=st.integers(1, 200))
    def have_small_segments(self, events: int, size: int, cut: int) -> None:
        self._patch.setattr(module, "SEGMENT_EVENTS", events)
        self._patch.setattr(module, "SEGMENT_BYTES", size)
        self._patch.setattr(module, "_CUT_BYTES_MIN", cut)

    def size(self, events: list[Event]) -> int:
        return sum(len(e.event_type.encode()) + len(e.key or b"") + len(e.headers) + len(e.value) for e in events)

    def remove(self) -> None:
        """What the limits remove at this moment."""
        count, size, age = self.limits
        while self.gone < len(self.twin):
            kept = self.twin[self.gone :]
            too_many = count is not None and len(kept) > count
            too_large = size is not None and len(kept) > 1 and self.size(kept) > size
            too_old = age is not None and kept[0].timestamp_ns + age * NS <= self.now * NS
            if not (too_many or too_large or too_old):
                break
            self.gone += 1

    @rule(
        event_type=st.sampled_from(["", "a", "größe"]),
        value=st.binary(max_size=60),
        is_json=st.booleans(),
        key=st.none() | st.binary(max_size=9),
        key_is_text=st.booleans(),
        headers=st.sampled_from([b"", b'{"a":1}']),
        times=st.sampled_from([1, 1, 1, 7]),
    )
    def append(self, times: int, **given: Any) -> None:
        for _ in range(times):
            offset = self.log.append(**given, timestamp_ns=self.now * NS)
            assert offset == len(self.twin)
            self.twin.append(Event(offset, self.now * NS, **given))
            self.remove()

    @rule(step=st.integers(1, 30))
    def advance(self, step: int) -> None:
        self.now += step
        self.remove()

    @rule(
        count=st.none() | st.integers(1, 12),
        size=st.none() | st.integers(1, 300),
        age=st.none() | st.integers(1, 60),
    )
    def keep(self, count: int | None, size: int | None, age: int | None) -> None:
        self.log.keep(count, size, age, self.now)
        self.limits = (count, size, age)
        self.remove()

    @rule()
    def free(self) -> None:
        before = self.log.ages_at()
        assert self.log.free_aged(self.now) == (before is not None and before <= self.now)

    @rule()
    def reload(self) -> None:
        before = self.log.fingerprint(self.now)
        self.log = reloaded(self.log)
        self.log.keep(*self.limits, self.now)
        assert self.log.fingerprint(self.now) == before

    @rule(offset=st.integers(0, 60), limit=st.integers(1, 20), bytes_max=st.sampled_from([0, 50, 200, 10**6]))
    def read(self, offset: int, limit: int, bytes_max: int) -> None:
        kept = self.twin[self.gone :]
        forward = [event for event in kept if event.offset >= offset][:limit]
        backward = [event for event in reversed(kept) if event.offset <= offset][:limit]
        assert self.log.read(offset, limit, self.now, bytes_max) == self.fitting(forward, bytes_max)
        assert self.log.read_back(offset, limit, self.now, bytes_max) == self.fitting(backward, bytes_max)

    def fitting(self, events: list[Event], bytes_max: int) -> list[Event]:
        while len(events) > 1 and self.size(events) > bytes_max:
            events = events[:-1]
        return events

    @rule(back=st.integers(-1, 100), nanos=st.sampled_from([-1, 0, 1]))
    def find_by_time(self, back: int, nanos: int) -> None:
        timestamp = (self.now - back) * NS + nanos
        later = [event.offset for event in self.twin[self.gone :] if event.timestamp_ns >= timestamp]
        assert self.log.offset_at(timestamp, self.now) == min(later, default=len(self.twin))

    @invariant()
    def agree(self) -> None:
        kept = self.twin[self.gone :]
        assert self.log.next_offset == len(self.twin)
        assert self.log.oldest(self.now) == self.gone
        assert (self.log.count(self.now), self.log.size_bytes(self.now)) == (len(kept), self.size(kept))
        assert self.log.read(0, 1_000, self.now) == kept


AgainstTwin.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestAgainstTwin = AgainstTwin.TestCase
