"""Streams: where events go, groups, retention of all partitions, sweeping, and what comes back from a snapshot."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from synap.engines.arrivals import Arrivals
from synap.engines.chunks import CHUNK_BYTES
from synap.engines.partition import SEGMENT_EVENTS, Event
from synap.engines.streams import STALE_MOMENT_SLACK, MaxAge, Retention, Stream, Streams

NOW = 1_700_000_000_000
FOREVER = Retention()


def made(**retention: Any) -> tuple[Streams, Stream]:
    streams = Streams(Arrivals())
    return streams, streams.create("room", 3, Retention(**retention))


def publish(stream: Stream, *values: bytes, partition: int = 0, now: int = NOW) -> None:
    for value in values:
        stream.append(partition, "type", value, now=now)


def values(stream: Stream, partition: int = 0, now: int = NOW) -> list[bytes]:
    return [event.value for event in stream.partitions[partition].read(0, 1_000_000, now)]


def digest(streams: Streams, now: int = NOW) -> bytes:
    return msgspec.msgpack.encode(list(streams.canonical(now)))


def reloaded(streams: Streams, chunk_rows: int = 1_000) -> Streams:
    again = Streams(Arrivals())
    for rows in streams.dump(chunk_rows):
        again.load(msgspec.msgpack.decode(msgspec.msgpack.encode(rows)))
    return again


# Rooms and events


def test_a_stream_is_found_by_its_name_until_it_is_removed() -> None:
    streams, stream = made()
    assert streams.find("room") is stream
    assert (stream.name, len(stream.partitions), stream.retention) == ("room", 3, FOREVER)
    streams.remove("room")
    assert (streams.find("room"), streams.names()) == (None, [])


def test_names_are_sorted_by_their_bytes() -> None:
    streams = Streams(Arrivals())
    for name in ["b", "\U0001f600", "é", "\uffff", "", "a"]:
        streams.create(name, 1, FOREVER)
    assert streams.names() == ["", "a", "b", "é", "\uffff", "\U0001f600"]


def test_an_event_is_stamped_with_the_time_it_was_published() -> None:
    _, stream = made()
    stream.append(1, "type", b"1", key=b"k", headers=b'{"a":1}', now=NOW)
    (event,) = stream.partitions[1].read(0, 10, NOW)
    assert event == Event(0, NOW * 1_000_000, "type", b"k", True, b'{"a":1}', b"1", True)


def test_the_serial_is_of_no_other_stream_not_even_of_one_of_the_same_name() -> None:
    streams, stream = made()
    publish(stream, b"1")
    streams.remove("room")
    again = reloaded(streams).create("room", 1, FOREVER)
    assert (stream.serial, again.serial) == (1, 2)
    assert (stream.event_id(2, 255), again.event_id(2, 255)) == ("evt_1_2_ff", "evt_2_2_ff")


def test_offsets_of_a_recreated_stream_begin_at_0() -> None:
    streams, stream = made()
    publish(stream, b"1", b"2")
    streams.remove("room")
    assert streams.create("room", 1, FOREVER).append(0, "type", b"1", now=NOW) == 0


def test_a_key_chooses_the_partition_as_kafkas_clients_do() -> None:
    _, stream = made()
    # murmur2: -973932308, -790332482 and 479470107, of which Kafka takes the lower 31 bits.
    chosen = [stream.partition_for(key) for key in (b"21", b"foobar", b"abc")]
    assert chosen == [(2**31 - 973932308) % 3, (2**31 - 790332482) % 3, 479470107 % 3]


def test_events_without_a_key_take_turns() -> None:
    _, stream = made()
    chosen = []
    for key in [None, None, b"k", None, None]:
        chosen.append(stream.partition_for(key))
        stream.append(chosen[-1], "type", b"1", key=key, now=NOW)
    assert [chosen[0], chosen[1], chosen[3], chosen[4]] == [0, 1, 2, 0]
    assert stream.partition_for(None) == stream.partition_for(None) == 1


def test_all_events_ever_published_are_counted() -> None:
    _, stream = made(max_events=1)
    for partition in (0, 0, 2):
        publish(stream, b"1", partition=partition)
    assert stream.published_total == 3


# Retention


@pytest.mark.parametrize(
    "given",
    [
        {"max_events": 0},
        {"max_bytes": 0},
        {"max_age_secs": 0},
        {"max_age_secs": 1e300},
        {"max_events": 2**63},
        {"a": 1},
    ],
)
def test_retention_that_makes_no_sense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(given, Retention)


def test_the_shortest_age_is_a_millisecond() -> None:
    assert Retention(max_age_secs=0.0001).max_age_ms == 1
    assert Retention(max_age_secs=1.5).max_age_ms == 1_500
    assert msgspec.json.decode(b"0.0001", type=MaxAge) == 0.0001


def test_retention_holds_for_each_partition() -> None:
    _, stream = made(max_events=2)
    for partition in (0, 1):
        publish(stream, b"1", b"2", b"3", partition=partition)
    assert values(stream, 0) == values(stream, 1) == [b"2", b"3"]


def test_changed_retention_holds_at_once_and_what_is_gone_stays_gone() -> None:
    _, stream = made(max_age_secs=1)
    publish(stream, b"1")
    publish(stream, b"2", b"3", now=NOW + 500)
    stream.set_retention(FOREVER, NOW + 1_000)
    assert values(stream, now=NOW + 9_000) == [b"2", b"3"]
    stream.set_retention(Retention(max_events=1), NOW + 9_000)
    assert (values(stream, now=NOW + 9_000), stream.retention.max_events) == ([b"3"], 1)


def test_a_sweep_frees_what_age_has_removed_and_changes_nothing_to_be_seen() -> None:
    streams, stream = made(max_age_secs=1)
    empty = streams.used_bytes
    publish(stream, *[b"x"] * (2 * SEGMENT_EVENTS))
    publish(stream, b"1", partition=2, now=NOW + 500)
    before = digest(streams, NOW + 1_000)
    assert streams.sweep(NOW + 999, 100) == 0
    assert [streams.sweep(NOW + 1_000, 1) for _ in range(2)] == [1, 0]
    assert digest(streams, NOW + 1_000) == before
    assert streams.sweep(NOW + 1_500, 100) == 1
    assert streams.used_bytes == empty


def test_a_sweep_has_something_to_do_whenever_an_event_is_too_old() -> None:
    streams, stream = made(max_age_secs=1)
    for step in range(0, 1_000, 100):
        publish(stream, b"1", now=NOW + step)
    assert streams.next_due == NOW + 1_000
    assert [streams.sweep(NOW + 1_000 + step, 100) for step in (0, 50, 100, 150, 799)] == [1, 0, 1, 0, 1]
    assert (streams.next_due, streams.sweep(NOW + 1_900, 100), stream.partitions[0].count(NOW)) == (NOW + 1_800, 1, 0)


def test_a_shortened_age_is_swept_sooner_and_a_lifted_one_never() -> None:
    streams, stream = made(max_age_secs=100)
    publish(stream, b"1")
    stream.set_retention(Retention(max_age_secs=1), NOW)
    assert streams.sweep(NOW + 1_000, 100) == 1
    publish(stream, b"2", now=NOW + 1_000)
    stream.set_retention(FOREVER, NOW + 1_000)
    assert streams.sweep(NOW + 1_000_000, 100) == 0
    assert values(stream, now=NOW + 1_000_000) == [b"2"]


def test_a_sweep_leaves_alone_a_stream_made_in_the_place_of_another() -> None:
    streams, stream = made(max_age_secs=1)
    publish(stream, b"1")
    streams.remove("room")
    again = streams.create("room", 1, Retention(max_age_secs=2))
    publish(again, b"2")
    assert streams.sweep(NOW + 1_000, 100) == 0
    assert streams.sweep(NOW + 2_000, 100) == 1


def test_moments_that_no_longer_matter_do_not_pile_up() -> None:
    streams, stream = made(max_age_secs=1_000_000)
    for round_ in range(5_000):
        publish(stream, b"1")
        stream.set_retention(Retention(max_age_secs=1_000_000 - round_), NOW)
    assert len(streams._ledger._moments) <= STALE_MOMENT_SLACK + 10
    for _ in range(5_000):
        streams.remove("room")
        publish(streams.create("room", 1, Retention(max_age_secs=1)), b"1")
    assert len(streams._ledger._moments) <= STALE_MOMENT_SLACK + 10
    assert streams.sweep(NOW + 1_000, 10_000) == 1


# Groups


def test_a_group_begins_where_it_joins_and_goes_on_where_it_commits() -> None:
    _, stream = made()
    assert stream.committed("g") is None
    stream.join("g", [0, 5, 7])
    stream.commit("g", 1, 6)
    assert stream.committed("g") == [0, 6, 7]
    stream.join("g", [1, 1, 1])
    assert stream.committed("g") == [0, 6, 7]


def test_committing_creates_the_group() -> None:
    _, stream = made()
    stream.commit("b", 1, 3)
    stream.commit("a", 0, 1)
    assert (stream.committed("b"), stream.group_names()) == ([0, 3, 0], ["a", "b"])


def test_a_removed_group_is_unknown() -> None:
    _, stream = made()
    stream.commit("g", 0, 1)
    assert (stream.remove_group("g"), stream.remove_group("g")) == (True, False)
    assert (stream.committed("g"), stream.group_names()) == (None, [])


def test_nobody_changes_a_group_by_what_he_was_told() -> None:
    _, stream = made()
    start = [0, 0, 0]
    stream.join("g", start)
    told = stream.committed("g")
    assert told is not None
    told[0] = start[0] = 9
    assert stream.committed("g") == [0, 0, 0]


def test_lag_counts_what_is_kept_and_not_yet_read() -> None:
    _, stream = made(max_events=3, max_age_secs=1)
    for partition in (0, 1):
        publish(stream, *[b"x"] * 5, partition=partition)
    stream.join("g", [0, 4, 0])
    assert stream.lag("g", NOW) == 3 + 1
    stream.commit("g", 1, 99)
    assert stream.lag("g", NOW) == 3
    assert stream.lag("g", NOW + 1_000) == 0


# Waiting


def test_whoever_waits_for_a_stream_is_told_of_events_and_of_its_end() -> None:
    arrivals = Arrivals()
    streams = Streams(arrivals)
    stream = streams.create("room", 1, FOREVER)
    topic = (Stream, "room")
    publish(stream, b"1")
    assert not arrivals.arrived
    arrivals.awaited = {topic}
    publish(stream, b"1")
    assert list(arrivals.arrived) == [topic]
    arrivals.arrived.clear()
    streams.remove("room")
    assert list(arrivals.arrived) == [topic]


# Memory


def test_memory_is_counted_and_all_given_back() -> None:
    streams, stream = made(max_age_secs=1)
    empty = streams.used_bytes
    stream.commit("g", 0, 1)
    publish(stream, *[b"x" * 100] * 1_000)
    assert streams.used_bytes > empty + 100_000
    stream.remove_group("g")
    streams.sweep(NOW + 1_000, 10)
    assert streams.used_bytes == empty
    stream.commit("g", 0, 1)
    publish(stream, *[b"x" * 100] * 1_000, now=NOW + 1_000)
    streams.remove("room")
    assert streams.used_bytes == 0


# Snapshot


def rich() -> Streams:
    streams, stream = made(max_events=5_000, max_age_secs=3_600.0)
    publish(stream, *[b"%d" % number for number in range(6_000)])
    stream.append(1, "größe", b"\0", is_json=False, key=b"\xff", key_is_text=False, headers=b'{"a":1}', now=NOW + 1)
    stream.commit("g", 0, 2_000)
    stream.join("a", [0, 1, 0])
    streams.create("empty", 2, FOREVER)
    streams.create("gone", 1, FOREVER)
    streams.remove("gone")
    return streams


@pytest.mark.parametrize("chunk_rows", [1, 3, 1_000])
def test_loaded_streams_are_the_same_and_stay_so(chunk_rows: int) -> None:
    streams = rich()
    again = reloaded(streams, chunk_rows)
    assert digest(again) == digest(streams)
    for each in (streams, again):
        stream = each.find("room")
        assert stream is not None
        publish(stream, b"new", partition=stream.partition_for(None), now=NOW + 1_000)
        each.create("next", 1, FOREVER)
    assert digest(again, NOW + 1_000) == digest(streams, NOW + 1_000)
    assert digest(again, NOW + 3_600_001) == digest(streams, NOW + 3_600_001)


def test_a_loaded_stream_is_swept() -> None:
    again = reloaded(rich())
    before = again.used_bytes
    assert again.sweep(NOW + 3_600_000, 100) == 1
    assert again.sweep(NOW + 3_600_001, 100) == 1
    assert again.used_bytes < before / 10


def test_chunks_of_a_snapshot_stay_small() -> None:
    streams, stream = made()
    publish(stream, *[b"x" * 1_000_000] * 40)
    chunks = [len(msgspec.msgpack.encode(rows)) for rows in streams.dump(1_000)]
    assert max(chunks) < CHUNK_BYTES + 1_100_000
    assert len(chunks) == 3
    assert max(map(len, streams.dump(2))) == 2


def test_a_row_of_a_newer_version_is_refused() -> None:
    with pytest.raises(LookupError, match="no 'novelty'"):
        Streams(Arrivals()).load([("novelty", 1)])


@pytest.mark.parametrize(
    "change",
    [
        lambda stream: publish(stream, b"1"),
        lambda stream: publish(stream, b"1", partition=1),
        lambda stream: stream.append(0, "type", b"1", is_json=False, now=NOW),
        lambda stream: stream.append(0, "type", b"1", key=b"", now=NOW),
        lambda stream: stream.append(0, "type", b"1", key=b"", key_is_text=False, now=NOW),
        lambda stream: stream.append(0, "typ", b"e1", now=NOW),
        lambda stream: stream.append(0, "type", b"1", headers=b"{}", now=NOW),
        lambda stream: publish(stream, b"1", now=NOW + 1),
        lambda stream: stream.commit("g", 0, 1),
        lambda stream: stream.join("g", [0, 0, 0]),
        lambda stream: stream.set_retention(Retention(max_events=9), NOW),
    ],
)
def test_every_change_shows_in_the_canonical_form(change: Any) -> None:
    seen = set()
    for others in (False, True):
        streams, stream = made()
        if others:
            change(stream)
        else:
            publish(stream, b"0")
        seen.add(digest(streams))
    fresh, _ = made()
    assert len(seen | {digest(fresh)}) == 3


def test_the_canonical_form_does_not_tell_where_segments_begin() -> None:
    streams, stream = made(max_events=10)
    other, fresh = made(max_events=10)
    publish(stream, *[b"x"] * 5_000)
    publish(fresh, *[b"x"] * 4_990)
    again = reloaded(other)
    found = again.find("room")
    assert found is not None
    publish(found, *[b"x"] * 10)
    assert digest(again) == digest(streams)
