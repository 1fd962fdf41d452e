"""Rendered events are the same whether they were kept or are made anew, and what is kept is bounded."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from synap.commands.frames import EventFrames
from synap.engines.arrivals import Arrivals
from synap.engines.streams import Retention, Stream, Streams

NOW = 1_700_000_000_000
FEW_BYTES = 5_000
"""Room for a handful of events."""


def stream(events: int = 0) -> Stream:
    made = Streams(Arrivals()).create("room", 1, Retention())
    publish(made, events)
    return made


def publish(room: Stream, count: int) -> None:
    for _ in range(count):
        room.append(0, "type", b'"%d"' % room.partitions[0].next_offset, NOW)


def offsets(frames: EventFrames, room: Stream, offset: int) -> list[int]:
    """Of what a read brings, after a look at the content."""
    pushes = frames.read(room, 0, offset, NOW)
    for push in pushes:
        told = json.loads(push.body)
        assert (told["type"], told["room"], told["offset"], told["data"]) == (
            "event",
            "room",
            push.seq,
            str(push.seq),
        )
    return [json.loads(push.body)["offset"] for push in pushes]


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10_000)), max_size=30), st.sampled_from([0, FEW_BYTES, 10**6])
)
def test_a_read_brings_neighbours_from_its_offset_on_whatever_is_kept(
    history: list[tuple[int, int]], bytes_max: int
) -> None:
    room, frames = stream(1), EventFrames(bytes_max)
    for published, place in history:
        publish(room, published)
        offset = place % room.partitions[0].next_offset
        brought = offsets(frames, room, offset)
        assert brought
        assert brought == list(range(offset, offset + len(brought)))
        assert frames.bytes <= bytes_max


def test_what_one_has_read_another_gets_without_its_being_made_again() -> None:
    room, frames = stream(10), EventFrames()
    first, second = frames.read(room, 0, 3, NOW), frames.read(room, 0, 5, NOW)
    assert [id(push) for push in second] == [id(push) for push in first[2:]]


def test_what_comes_behind_what_was_read_is_kept_with_it() -> None:
    room, frames = stream(10), EventFrames()
    early = frames.read(room, 0, 0, NOW)
    publish(room, 5)
    late = frames.read(room, 0, 10, NOW)
    assert [id(push) for push in frames.read(room, 0, 0, NOW)] == [id(push) for push in early + late]


def test_who_begins_before_what_is_kept_gets_all_of_it() -> None:
    room, frames = stream(10), EventFrames()
    assert offsets(frames, room, 7) == [7, 8, 9]
    assert offsets(frames, room, 2) == [2, 3, 4, 5, 6, 7, 8, 9]
