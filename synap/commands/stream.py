"""`stream.*`: rooms, the events published to them, and their history. The rules stand in engines/streams.py.

What consumers ask for is in stream_consuming.py.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from synap.clock import Millis
from synap.commands import large
from synap.commands.events import (
    EventTypes,
    NewEvent,
    Offset,
    PartitionIndex,
    Room,
    RoomOnly,
    check_partition,
    existing_room,
)
from synap.commands.frames import StreamEvent, described
from synap.commands.state import State
from synap.commands.table import NoPayload, command, unchanged
from synap.commands.types import UNSET, Count, Payload, Result, Unset
from synap.engines.partition import READ_BYTES_MAX, Event, Partition
from synap.engines.streams import MaxAge, MaxBytes, MaxEvents, Retention, Stream
from synap.errors import InvalidOffset, InvalidPayload, RoomExists

PARTITIONS_MAX = 1_024
SCANNED_MAX = 100_000
"""How many events one request looks at for those of the types it asks for."""
_NS_PER_MS = 1_000_000


class RetentionOptions(Payload):
    """How long events are kept, in each partition; null: for ever. What is left out stays as it is by default."""

    max_events: MaxEvents | Unset | None = UNSET
    max_bytes: MaxBytes | Unset | None = UNSET
    max_age_secs: MaxAge | Unset | None = UNSET

    def over(self, base: Retention) -> Retention:
        """The retention where these options take the place of `base`'s."""
        given = {name: getattr(self, name) for name in Retention.__struct_fields__}
        return msgspec.structs.replace(base, **{name: value for name, value in given.items() if value is not UNSET})


class Create(Payload):
    """Payload of stream.create."""

    room: Room
    partitions: Annotated[int, msgspec.Meta(ge=1, le=PARTITIONS_MAX)] = 1
    retention: RetentionOptions = msgspec.field(default_factory=RetentionOptions)


class Created(Result):
    """The room is there now."""

    room: str
    created: bool


@command(
    "stream.create",
    writes=True,
    creates=True,
    keys=("room",),
    routes=("POST /stream/{room}",),
    cost="O(partitions)",
    since="0.3",
)
def create(state: State, payload: Create, now: Millis) -> Created:
    """Create a room. ROOM_EXISTS when there is one."""
    if state.streams.find(payload.room) is not None:
        raise RoomExists(f"there is a room {payload.room[:100]!r} already", room=payload.room)
    state.streams.create(payload.room, payload.partitions, payload.retention.over(state.defaults.retention))
    return Created(payload.room, True)


class Deleted(Result):
    """Whether there was something to delete."""

    deleted: bool


@command(
    "stream.delete",
    writes=True,
    grows=False,
    keys=("room",),
    routes=("DELETE /stream/{room}",),
    cost="O(n)",
    since="0.3",
)
def delete(state: State, payload: RoomOnly, now: Millis) -> Deleted:
    """Delete a room with its events and groups."""
    if state.streams.find(payload.room) is None:
        return unchanged(Deleted(False))
    state.streams.remove(payload.room)
    return Deleted(True)


class Publish(NewEvent, kw_only=True):
    """Payload of stream.publish. Without `partition` the key decides, as in Kafka; without a key they take turns."""

    room: Room
    partition: PartitionIndex | None = None


class Published(Result):
    """Where the event is, and how many were subscribed to the room."""

    event_id: str
    offset: int
    partition: int
    subscribers_notified: int


@command(
    "stream.publish",
    trace_in="headers",
    writes=True,
    keys=("room",),
    routes=("POST /stream/{room}/publish",),
    cost="O(1)",
    since="0.3",
)
def publish(state: State, payload: Publish, now: Millis) -> Published:
    """Add an event to a room; one that is not there is created."""
    stream = state.streams.find(payload.room)
    if stream is None:
        if payload.partition:
            raise InvalidPayload(
                f"payload.partition: a room that an event creates has partition 0 alone, got {payload.partition}",
                path="payload.partition",
            )
        stream = state.streams.create(payload.room, 1, state.defaults.retention)
    if payload.partition is not None:
        check_partition(stream, payload.partition)
    partition, offset = payload.append_to(stream, payload.partition, now)
    subscribers = len(state.line.watchers((Stream, payload.room)))
    return Published(stream.event_id(partition, offset), offset, partition, subscribers)


class PublishBatch(Payload):
    """Payload of stream.publish_batch."""

    room: Room
    events: Annotated[list[NewEvent], msgspec.Meta(min_length=1, max_length=10_000)]


class PublishedBatch(Result):
    """Where the events are, in the order given."""

    offsets: list[int]
    partitions: list[int]


@command("stream.publish_batch", trace_in="headers", writes=True, keys=("room",), cost="O(events)", since="0.3")
def publish_batch(state: State, payload: PublishBatch, now: Millis) -> PublishedBatch:
    """Add several events to a room, in one record; a room that is not there is created."""
    stream = state.streams.find(payload.room) or state.streams.create(payload.room, 1, state.defaults.retention)
    published = [event.append_to(stream, None, now) for event in payload.events]
    return PublishedBatch([offset for _, offset in published], [partition for partition, _ in published])


class History(Payload):
    """Payload of stream.history. Begins at `from_offset`, else at `from_timestamp` (Unix ms), else at the oldest event.

    `reverse` reads backwards, from there or from the newest. With `create`, a room that is not there counts as empty.
    """

    room: Room
    from_offset: Offset | None = None
    limit: Count = 100
    partition: PartitionIndex = 0
    from_timestamp: Annotated[int, msgspec.Meta(ge=0, le=9_000_000_000_000)] | None = None
    event_types: EventTypes | None = None
    reverse: bool = False
    create: bool = False


class HistoryResult(Result):
    """Events in the order asked for. `oldest_offset` and `newest_offset` are null when the partition holds none.

    Go on at `next_offset`; backwards, null is the end.
    """

    events: list[StreamEvent]
    oldest_offset: int | None
    newest_offset: int | None
    next_offset: int | None


@command(
    "stream.history",
    keys=("room",),
    routes=("GET /stream/{room}/history",),
    cost="O(log n + events looked at)",
    since="0.3",
)
def history(state: State, payload: History, now: Millis) -> HistoryResult:
    """Read events of a partition, from an offset or a time on."""
    if payload.create and state.streams.find(payload.room) is None:
        return HistoryResult([], None, None, None if payload.reverse else 0)
    stream = existing_room(state, payload.room)
    check_partition(stream, payload.partition)
    log = stream.partitions[payload.partition]
    found, next_offset = _read(log, payload, _start(log, payload, now), now)
    oldest = log.oldest(now)
    is_empty = oldest == log.next_offset
    return HistoryResult(
        events=described(stream, payload.partition, found),
        oldest_offset=None if is_empty else oldest,
        newest_offset=None if is_empty else log.next_offset - 1,
        next_offset=None if next_offset < (oldest if payload.reverse else 0) else next_offset,
    )


class RoomListed(Result):
    """A room in the list of all."""

    room: str
    partitions: int
    events: int
    bytes: int
    subscribers: int


class Rooms(Result):
    """All rooms, by name."""

    rooms: list[RoomListed]


@command("stream.rooms", routes=("GET /stream/list",), cost="O(rooms)", since="0.3")
def rooms(state: State, payload: NoPayload, now: Millis) -> Rooms:
    """List all rooms.

    Where there are many, this takes several turns of the server: each is described as it is at its turn.
    """
    listing = (
        _listed(state, stream, now)
        for name in state.streams.names()
        if (stream := state.streams.find(name)) is not None
    )
    return large.listed(Rooms, listing, len(state.streams))


class PartitionStats(Result):
    """One partition; `oldest_offset` and `newest_offset` are null when it holds no events."""

    partition: int
    events: int
    bytes: int
    oldest_offset: int | None
    newest_offset: int | None
    next_offset: int


class Stats(Result):
    """A room in numbers; `oldest_offset` and `newest_offset` are those of the first partition."""

    room: str
    partitions: list[PartitionStats]
    events: int
    bytes: int
    oldest_offset: int | None
    newest_offset: int | None
    published_total: int
    subscribers: int
    groups: int
    retention: Retention


@command("stream.stats", keys=("room",), routes=("GET /stream/{room}/stats",), cost="O(partitions)", since="0.3")
def stats(state: State, payload: RoomOnly, now: Millis) -> Stats:
    """Describe a room."""
    stream = existing_room(state, payload.room)
    partitions = [_partition_stats(index, log, now) for index, log in enumerate(stream.partitions)]
    listed = _listed(state, stream, now)
    return Stats(
        room=stream.name,
        partitions=partitions,
        events=listed.events,
        bytes=listed.bytes,
        oldest_offset=partitions[0].oldest_offset,
        newest_offset=partitions[0].newest_offset,
        published_total=stream.published_total,
        subscribers=listed.subscribers,
        groups=len(stream.group_names()),
        retention=stream.retention,
    )


class SetRetention(RetentionOptions, kw_only=True):
    """Payload of stream.retention; what is left out stays as it is."""

    room: Room


class RetentionResult(Result):
    """The retention now in force."""

    retention: Retention


@command("stream.retention", writes=True, grows=False, keys=("room",), cost="O(partitions * log n)", since="0.3")
def retention(state: State, payload: SetRetention, now: Millis) -> RetentionResult:
    """Change how long the events of a room are kept; with nothing to change, tell."""
    stream = existing_room(state, payload.room)
    wanted = payload.over(stream.retention)
    if wanted == stream.retention:
        return unchanged(RetentionResult(wanted))
    stream.set_retention(wanted, now)
    return RetentionResult(wanted)


def _start(log: Partition, payload: History, now: Millis) -> int:
    """The offset to begin reading at. Raises InvalidOffset."""
    if payload.from_offset is not None:
        if payload.from_offset > log.next_offset:
            raise InvalidOffset(
                f"the next offset of partition {payload.partition} is {log.next_offset}, got {payload.from_offset}",
                next_offset=log.next_offset,
            )
        return min(payload.from_offset, log.next_offset - 1) if payload.reverse else payload.from_offset
    if payload.from_timestamp is None:
        return log.next_offset - 1 if payload.reverse else 0
    if payload.reverse:
        return log.offset_at((payload.from_timestamp + 1) * _NS_PER_MS, now) - 1
    return log.offset_at(payload.from_timestamp * _NS_PER_MS, now)


def _read(log: Partition, payload: History, offset: int, now: Millis) -> tuple[list[Event], int]:
    """The events asked for, and the offset at which to go on."""
    wanted = None if payload.event_types is None else frozenset(payload.event_types)
    read, step = (log.read_back, -1) if payload.reverse else (log.read, 1)
    found: list[Event] = []
    scanned = size = 0
    while len(found) < payload.limit and scanned < SCANNED_MAX and size < READ_BYTES_MAX:
        events = read(offset, payload.limit - len(found), now, READ_BYTES_MAX - size)
        if not events:
            break
        scanned += len(events)
        offset = events[-1].offset + step
        kept = [event for event in events if wanted is None or event.event_type in wanted]
        size += sum(len(event.value) for event in kept)
        found += kept
    return found, offset if payload.reverse else max(offset, log.oldest(now))


def _listed(state: State, stream: Stream, now: Millis) -> RoomListed:
    return RoomListed(
        room=stream.name,
        partitions=len(stream.partitions),
        events=sum(log.count(now) for log in stream.partitions),
        bytes=sum(log.size_bytes(now) for log in stream.partitions),
        subscribers=len(state.line.watchers((Stream, stream.name))),
    )


def _partition_stats(index: int, log: Partition, now: Millis) -> PartitionStats:
    oldest, events = log.oldest(now), log.count(now)
    return PartitionStats(
        partition=index,
        events=events,
        bytes=log.size_bytes(now),
        oldest_offset=oldest if events else None,
        newest_offset=log.next_offset - 1 if events else None,
        next_offset=log.next_offset,
    )
