"""What the commands on streams have in common: the events they take, looking rooms up, and live feeds."""

from __future__ import annotations

from typing import Annotated

import msgspec
import orjson

from synap.clock import Millis
from synap.commands.outbox import Push
from synap.commands.state import State
from synap.commands.types import UNSET, Json, Key, Payload, Unset, check_either
from synap.engines.arrivals import Topic
from synap.engines.streams import Stream
from synap.errors import InvalidPayload, RoomNotFound

Room = Key
EventType = Annotated[str, msgspec.Meta(min_length=1, max_length=1_024)]
EventTypes = Annotated[list[EventType], msgspec.Meta(min_length=1, max_length=1_000)]
PartitionIndex = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Group = Annotated[str, msgspec.Meta(min_length=1, max_length=1_024)]
EVENT_KEY_MAX = 65_536
EventKey = Annotated[str, msgspec.Meta(max_length=EVENT_KEY_MAX)]
Headers = dict[str, Json]

_encode = msgspec.json.Encoder().encode


class RoomOnly(Payload):
    """A command on one room."""

    room: Room


class NewEvent(Payload):
    """An event to publish: `data` is any JSON, `data_base64` bytes; a key is text, or bytes as `key_base64`."""

    event_type: EventType
    data: Json | Unset = UNSET
    data_base64: bytes | Unset = UNSET
    key: EventKey | None = None
    key_base64: bytes | None = None
    headers: Headers = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.data is UNSET or self.data_base64 is not UNSET:
            check_either(self.data, self.data_base64, "data or data_base64")
        if self.key_base64 is not None:
            if self.key is not None:
                raise ValueError("expected key or key_base64, not both")
            if len(self.key_base64) > EVENT_KEY_MAX:
                raise ValueError(f"key_base64: expected at most {EVENT_KEY_MAX} bytes, got {len(self.key_base64)}")

    def append_to(self, stream: Stream, partition: int | None, now: Millis) -> tuple[int, int]:
        """Add the event to a partition, the one where it belongs if None; returns the partition and its offset."""
        is_json, key = self.data is not UNSET, self.key_base64 if self.key is None else self.key.encode()
        value: bytes = self.data if is_json else self.data_base64  # type: ignore[assignment]
        headers = _encode(self.headers) if self.headers else b""
        if partition is None:
            partition = stream.partition_for(key)
        key_is_text = self.key_base64 is None
        return partition, stream.append(partition, self.event_type, value, now, is_json, key, key_is_text, headers)


def existing_room(state: State, name: str) -> Stream:
    """The stream of a room. Raises RoomNotFound."""
    stream = state.streams.find(name)
    if stream is None:
        raise RoomNotFound(f"there is no room {name[:100]!r}", room=name)
    return stream


def check_partition(stream: Stream, partition: int) -> None:
    """Raise InvalidPayload unless the stream has the partition."""
    count = len(stream.partitions)
    if partition >= count:
        raise InvalidPayload(
            f"payload.partition: expected 0 to {count - 1} in room {stream.name[:100]!r}, got {partition}",
            path="payload.partition",
        )


class StreamFeed:
    """A subscription to a room: it reads the log at its own pace, so a slow client costs the server nothing.

    What retention removes before it is read is told as a gap, in its place.
    """

    def __init__(self, state: State, room: str, cursors: dict[int, int] | None, event_types: list[str] | None) -> None:
        """`cursors`: next offset by partition; None for all partitions of a room that is still to come."""
        self.room = room
        self.topic: Topic = (Stream, room)
        self.subscribed = ("stream.subscribe", room)
        self.ended = False
        """The room is gone; there will be nothing more."""
        self.is_behind = False
        """The last pull has not read everything."""
        self._state = state
        self._stream = None if cursors is None else existing_room(state, room)
        self._cursors = cursors or {}
        self._event_types = None if event_types is None else frozenset(event_types)

    def pull(self, now: Millis, bytes_max: int) -> list[Push]:
        """What is to be sent next. Reads up to about `bytes_max` bytes, events of types not asked for included."""
        self.is_behind = False
        stream = self._state.streams.find(self.room)
        if self._stream is None and stream is not None:
            self._stream = stream
            self._cursors = dict.fromkeys(range(len(stream.partitions)), 0)
        if self._stream is not stream and not self.ended:
            self.ended = True
            return [Push("end", orjson.dumps({"type": "end", "room": self.room, "reason": "the room was deleted"}))]
        if stream is None or self.ended:
            return []
        pushes: list[Push] = []
        for partition, cursor in list(self._cursors.items()):
            if cursor < stream.partitions[partition].next_offset:
                bytes_max = self._read(stream, partition, now, bytes_max, pushes)
                if bytes_max <= 0:
                    self.is_behind = True
                    self._cursors[partition] = self._cursors.pop(partition)  # the others come first the next time
                    break
        return pushes

    def _read(self, stream: Stream, partition: int, now: Millis, bytes_max: int, pushes: list[Push]) -> int:
        """Add what stands in a partition from here on, as far as it was asked for; returns what `bytes_max` leaves."""
        log, cursor, types = stream.partitions[partition], self._cursors[partition], self._event_types
        oldest = log.oldest(now)
        if cursor < oldest:
            gap = self._gap(partition, cursor, oldest)
            pushes.append(gap)
            bytes_max -= len(gap.body)
            cursor = oldest
        while cursor < log.next_offset and bytes_max > 0:
            for push in self._state.frames.read(stream, partition, cursor, now):
                cursor += 1
                if types is None or push.kind in types:
                    pushes.append(push)
                bytes_max -= len(push.body)
                if bytes_max <= 0:
                    break
        self._cursors[partition] = cursor
        return bytes_max

    def _gap(self, partition: int, start: int, stop: int) -> Push:
        gap = {"type": "gap", "room": self.room, "partition": partition, "missed": stop - start}
        return Push("gap", orjson.dumps(gap | {"from": start, "to": stop - 1}), stop - 1, partition)
