"""`stream.*` for consumers: groups with committed offsets, and live subscriptions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from synap.clock import Millis
from synap.commands import large
from synap.commands.events import (
    EventTypes,
    Group,
    Offset,
    PartitionIndex,
    Room,
    RoomOnly,
    StreamFeed,
    check_partition,
    existing_room,
)
from synap.commands.frames import StreamEvent, described
from synap.commands.session import Session
from synap.commands.state import State
from synap.commands.table import command, nothing_yet, unchanged
from synap.commands.types import Count, Payload, Result
from synap.engines.partition import READ_BYTES_MAX
from synap.engines.streams import Stream
from synap.errors import GroupNotFound, InvalidOffset

ConsumerId = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class Consume(Payload):
    """Payload of stream.consume. A `timeout` in seconds waits for events; `start` is where a new group begins.

    With `auto_commit` what is returned counts as read; without, commit the offset behind it when it is done with.
    """

    room: Room
    group: Group
    consumer_id: ConsumerId | None = None
    max_events: Count = 100
    timeout: Annotated[float, msgspec.Meta(ge=0)] = 0
    auto_commit: bool = True
    start: Literal["oldest", "latest"] = "oldest"
    partitions: Annotated[list[PartitionIndex], msgspec.Meta(min_length=1, max_length=1_024)] | None = None


class Consumed(Result):
    """Events the group has not read, and how many more there are. `missed` were removed before it could read them."""

    events: list[StreamEvent]
    lag: int
    missed: int


@command(
    "stream.consume",
    writes=True,
    grows=False,
    waits=True,
    keys=("room",),
    routes=("GET /stream/{room}/consume/{group}",),
    cost="O(partitions + events)",
    since="0.3",
)
def consume(state: State, payload: Consume, now: Millis) -> Consumed:
    """Read on as a consumer group, in all partitions or those named."""
    stream = existing_room(state, payload.room)
    indexes = range(len(stream.partitions)) if payload.partitions is None else list(dict.fromkeys(payload.partitions))
    for index in indexes:
        check_partition(stream, index)
    state.attendance.note(payload.room, payload.group, payload.consumer_id, now, payload.timeout)
    is_new = _join(stream, payload, now)
    committed = stream.committed(payload.group) or []
    # Each time others come first, or a small `max_events` would never get as far as the last ones.
    first = sum(committed) % len(indexes)
    indexes = [*indexes[first:], *indexes[:first]]
    events: list[StreamEvent] = []
    read_to: dict[int, int] = {}
    missed = size = 0
    for turn, index in enumerate(indexes):
        log, oldest = stream.partitions[index], stream.partitions[index].oldest(now)
        missed += max(oldest - committed[index], 0)
        share = -(-(payload.max_events - len(events)) // (len(indexes) - turn))  # leaves something for those behind
        found = log.read(committed[index], share, now, READ_BYTES_MAX - size) if size < READ_BYTES_MAX else []
        size += sum(len(event.value) for event in found)
        events += described(stream, index, found)
        read_to[index] = found[-1].offset + 1 if found else max(committed[index], oldest)
    lag = stream.lag(payload.group, now) - len(events)
    moved = {index: offset for index, offset in read_to.items() if offset != committed[index]}
    if payload.auto_commit:
        for index, offset in moved.items():
            stream.commit(payload.group, index, offset)
    changed = is_new or (payload.auto_commit and bool(moved))
    result = Consumed(events, lag, missed)
    if not events and not missed and payload.timeout:
        topics = [(Stream, payload.room)]
        return nothing_yet(
            result,
            payload.timeout,
            topics,
            lambda _: payload,
            name=payload.consumer_id,
            changed=changed,
            for_all=True,
        )
    return result if changed else unchanged(result)


class Commit(Payload):
    """Payload of stream.commit; `offset` is the next one to read."""

    room: Room
    group: Group
    offset: Offset
    partition: PartitionIndex = 0


class Committed(Result):
    """The offset the group goes on at."""

    committed: int


@command("stream.commit", writes=True, grows=False, keys=("room",), cost="O(1)", since="0.3")
def commit(state: State, payload: Commit, now: Millis) -> Committed:
    """Say where a group goes on in a partition, also backwards; a group that is not there is created."""
    stream = existing_room(state, payload.room)
    check_partition(stream, payload.partition)
    log = stream.partitions[payload.partition]
    if payload.offset > log.next_offset:
        raise InvalidOffset(
            f"the next offset of partition {payload.partition} is {log.next_offset}, got {payload.offset}",
            next_offset=log.next_offset,
        )
    committed = stream.committed(payload.group)
    if committed is None:
        stream.join(payload.group, [log.oldest(now) for log in stream.partitions])
    elif committed[payload.partition] == payload.offset:
        return unchanged(Committed(payload.offset))
    stream.commit(payload.group, payload.partition, payload.offset)
    return Committed(payload.offset)


class GroupOnly(Payload):
    """A command on one consumer group."""

    room: Room
    group: Group


class PartitionOffsets(Result):
    """Where a group is in a partition; `newest` is null when it holds no events."""

    partition: int
    committed: int
    newest: int | None
    lag: int


class Offsets(Result):
    """Where a group is."""

    partitions: list[PartitionOffsets]


@command("stream.offsets", keys=("room",), cost="O(partitions)", since="0.3")
def offsets(state: State, payload: GroupOnly, now: Millis) -> Offsets:
    """Tell where a group goes on in each partition."""
    stream = existing_room(state, payload.room)
    partitions = []
    for index, offset in enumerate(_committed(stream, payload.group)):
        log = stream.partitions[index]
        newest = log.next_offset - 1 if log.count(now) else None
        partitions.append(PartitionOffsets(index, offset, newest, log.next_offset - max(offset, log.oldest(now))))
    return Offsets(partitions)


class GroupListed(Result):
    """A consumer group; `consumers` are those that wait for events or have asked for some within half a minute."""

    group: str
    lag: int
    consumers: int


class Groups(Result):
    """The consumer groups of a room, by name."""

    groups: list[GroupListed]


@command("stream.groups", keys=("room",), cost="O(groups * partitions)", since="0.3")
def groups(state: State, payload: RoomOnly, now: Millis) -> Groups:
    """List the consumer groups of a room."""
    stream = existing_room(state, payload.room)
    # The maximum of two numbers is much less than an element elsewhere.
    return large.listed(Groups, _described(state, stream, now), stream.group_count, 1 + len(stream.partitions) // 10)


class DeletedGroup(Result):
    """Whether there was such a group."""

    deleted: bool


@command("stream.delete_group", writes=True, grows=False, keys=("room",), cost="O(1)", since="0.3")
def delete_group(state: State, payload: GroupOnly, now: Millis) -> DeletedGroup:
    """Forget a consumer group and where it was."""
    stream = existing_room(state, payload.room)
    if stream.committed(payload.group) is None:
        return unchanged(DeletedGroup(False))
    stream.remove_group(payload.group)
    return DeletedGroup(True)


class Subscribe(Payload):
    """Payload of stream.subscribe. Begins at `from_offsets` (by partition) or `from_offset`, else where `group` is,
    else at the oldest event with `replay`, else with what comes next. With `create`, a room that is not there counts as
    empty.

    A client that reads slowly catches up from the log (`policy`); nothing is dropped for it.
    """

    room: Room
    from_offset: Offset | None = None
    from_offsets: dict[str, Offset] = {}
    replay: bool = False
    partition: PartitionIndex | None = None
    group: Group | None = None
    event_types: EventTypes | None = None
    policy: Literal["catch_up"] = "catch_up"
    create: bool = False

    def __post_init__(self) -> None:
        for partition in self.from_offsets:
            if not (partition.isascii() and partition.isdecimal() and str(int(partition)) == partition):
                raise ValueError(f"from_offsets: expected numbers of partitions, got {partition[:40]!r}")


class Gap(Result):
    """Offsets that were asked for and are gone, both ends included."""

    from_: int = msgspec.field(name="from")
    to: int


class Subscribed(Result):
    """Where the subscription begins; `next_offset` and `gap` are those of the first of its partitions.

    What is gone in other partitions is told as gaps where their events would have come.
    """

    subscribed: bool
    room: str
    next_offset: int
    gap: Gap | None
    next_offsets: dict[str, int]


@command("stream.subscribe", attaches=True, keys=("room",), cost="O(partitions)", since="0.3")
def subscribe(state: State, payload: Subscribe, now: Millis, session: Session) -> Subscribed:
    """Have the events of a room pushed on this WebSocket, past ones first where asked for."""
    if payload.create and state.streams.find(payload.room) is None:
        session.open(StreamFeed(state, payload.room, None, payload.event_types))
        return Subscribed(True, payload.room, 0, None, {})
    stream = existing_room(state, payload.room)
    if payload.partition is not None:
        check_partition(stream, payload.partition)
    for partition in payload.from_offsets:
        check_partition(stream, int(partition))
    indexes = range(len(stream.partitions)) if payload.partition is None else [payload.partition]
    cursors = {index: _begin(stream, index, payload, now) for index in indexes}
    first = indexes[0]
    asked, oldest = cursors[first], stream.partitions[first].oldest(now)
    cursors[first] = max(asked, oldest)
    session.open(StreamFeed(state, payload.room, dict(cursors), payload.event_types))
    gap = Gap(from_=asked, to=oldest - 1) if asked < oldest else None
    next_offsets = {str(index): offset for index, offset in cursors.items()}
    return Subscribed(True, payload.room, cursors[first], gap, next_offsets)


class Unsubscribed(Result):
    """Whether there was a subscription."""

    unsubscribed: bool


@command("stream.unsubscribe", attaches=True, keys=("room",), cost="O(1)", since="0.3")
def unsubscribe(state: State, payload: RoomOnly, now: Millis, session: Session) -> Unsubscribed:
    """Have no more events of a room pushed."""
    return Unsubscribed(session.close((Stream, payload.room)))


def _described(state: State, stream: Stream, now: Millis) -> Iterator[GroupListed]:
    """The groups there are, as they are now, however late each is asked for."""
    committed = stream.all_committed()
    oldest = [log.oldest(now) for log in stream.partitions]
    ends = [log.next_offset for log in stream.partitions]
    published = sum(ends)
    consumers = state.attendance.count

    def listing() -> Iterator[GroupListed]:
        for group, offsets in committed:
            lag = published - sum(map(min, map(max, offsets, oldest), ends))
            yield GroupListed(group, lag, consumers(stream.name, group, now))

    return listing()


def _join(stream: Stream, payload: Consume, now: Millis) -> bool:
    """Make the group if there is none; says whether it was made."""
    if stream.committed(payload.group) is not None:
        return False
    from_oldest = payload.start == "oldest"
    stream.join(payload.group, [log.oldest(now) if from_oldest else log.next_offset for log in stream.partitions])
    return True


def _committed(stream: Stream, group: str) -> list[int]:
    committed = stream.committed(group)
    if committed is None:
        raise GroupNotFound(f"room {stream.name[:100]!r} has no group {group[:100]!r}", room=stream.name, group=group)
    return committed


def _begin(stream: Stream, index: int, payload: Subscribe, now: Millis) -> int:
    """The offset asked for in one partition, which may be gone. Raises InvalidOffset."""
    log = stream.partitions[index]
    asked = payload.from_offsets.get(str(index), payload.from_offset)
    if asked is not None:
        if asked > log.next_offset:
            raise InvalidOffset(
                f"the next offset of partition {index} is {log.next_offset}, got {asked}", next_offset=log.next_offset
            )
        return asked
    committed = None if payload.group is None else stream.committed(payload.group)
    if committed is not None:
        return committed[index]
    return log.oldest(now) if payload.replay else log.next_offset
