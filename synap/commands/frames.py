"""Events as clients see them, alone or pushed."""

from __future__ import annotations

import msgspec
import orjson
from cachetools import LRUCache

from synap.clock import Millis
from synap.commands.outbox import Push
from synap.commands.types import UNSET, Json, Result, Unset
from synap.engines.partition import Event
from synap.engines.streams import Stream

FRAMES_BYTES_MAX = 16 * 1024 * 1024
# How far ahead events are rendered: what a slow subscriber does not come to soon would only crowd out others' frames.
_READ_AT_ONCE = 100
_PUSH_BYTES = 400
_READ_AT_ONCE_BYTES = 1024 * 1024

_NULL = Json(b"null")
_EMPTY = Json(b"{}")
_encode = msgspec.json.Encoder().encode


class StreamEvent(Result):
    """An event. `timestamp` is when it was published. Bytes that are not JSON stand in `data_base64`, `key_base64`."""

    partition: int
    offset: int
    event_id: str
    event_type: str
    data: Json
    key: str | None
    headers: Json
    timestamp: int
    data_base64: bytes | Unset = UNSET
    key_base64: bytes | Unset = UNSET


def described(stream: Stream, partition: int, event: Event) -> StreamEvent:
    """An event as clients see it."""
    has_text_key = event.key is not None and event.key_is_text
    return StreamEvent(
        partition=partition,
        offset=event.offset,
        event_id=stream.event_id(partition, event.offset),
        event_type=event.event_type,
        data=Json(event.value) if event.is_json else _NULL,
        key=event.key.decode() if has_text_key and event.key is not None else None,
        headers=Json(event.headers) if event.headers else _EMPTY,
        timestamp=event.timestamp_ns // 1_000_000,
        data_base64=UNSET if event.is_json else event.value,
        key_base64=UNSET if event.key is None or event.key_is_text else event.key,
    )


class EventFrames:
    """Rendered events, kept for a while: what many subscribers of a room get is rendered once. One per server."""

    def __init__(self, bytes_max: int = FRAMES_BYTES_MAX) -> None:
        self._frames: LRUCache[tuple[int, int, int], Push] = LRUCache(bytes_max, getsizeof=_size)
        self._bytes_max = bytes_max

    def read(self, stream: Stream, partition: int, offset: int, now: Millis) -> list[Push]:
        """Pushes for the events from `offset` on, which is one that the log keeps; at least one, not all there are."""
        frame = self._frames.get((stream.serial, partition, offset))
        if frame is not None:
            return [frame]
        events = stream.partitions[partition].read(offset, _READ_AT_ONCE, now, _READ_AT_ONCE_BYTES)
        return [self._keep(stream, partition, event) for event in events]

    def _keep(self, stream: Stream, partition: int, event: Event) -> Push:
        body = _encode(described(stream, partition, event))
        body = b'{"type":"event","room":%b,%b' % (orjson.dumps(stream.name), body[1:])
        push = Push(event.event_type, body, event.offset, partition)
        if _size(push) <= self._bytes_max:
            self._frames[stream.serial, partition, event.offset] = push
        return push


def _size(push: Push) -> int:
    """What a push takes, with the frame that a WebSocket makes of it."""
    return _PUSH_BYTES + 2 * len(push.body)
