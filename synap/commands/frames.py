"""Events as clients see them, alone or pushed."""

from __future__ import annotations

from operator import attrgetter

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
_READ_AT_ONCE_BYTES = 1024 * 1024
_BLOCK_EVENTS = 64
# A block that would grow past this begins anew.
_BLOCK_BYTES_MAX = 2 * 1024 * 1024
_PUSH_BYTES = 400

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


def described(stream: Stream, partition: int, events: list[Event]) -> list[StreamEvent]:
    """Events of a partition as clients see them."""
    id_prefix = stream.id_prefix(partition)
    return [
        StreamEvent(
            partition,
            event.offset,
            id_prefix + hex(event.offset)[2:],
            event.event_type,
            Json(event.value) if event.is_json else _NULL,
            event.key.decode() if event.key is not None and event.key_is_text else None,
            Json(event.headers) if event.headers else _EMPTY,
            event.timestamp_ns // 1_000_000,
            UNSET if event.is_json else event.value,
            UNSET if event.key is None or event.key_is_text else event.key,
        )
        for event in events
    ]


class EventFrames:
    """Rendered events, kept for a while: what many subscribers of a room get is rendered once. One per server.

    They are kept in blocks of neighbours, and those that nobody has read for the longest time are dropped first.
    """

    def __init__(self, bytes_max: int = FRAMES_BYTES_MAX) -> None:
        self._blocks: LRUCache[tuple[int, int, int], _Block] = LRUCache(bytes_max, getsizeof=attrgetter("size"))
        self._bytes_max = bytes_max

    @property
    def bytes(self) -> float:
        """What is kept takes."""
        return self._blocks.currsize

    def read(self, stream: Stream, partition: int, offset: int, now: Millis) -> list[Push]:
        """Pushes for the events from `offset` on, which is one that the log keeps; at least one, not all there are."""
        key = stream.serial, partition, offset // _BLOCK_EVENTS
        block = self._blocks.get(key)
        if block is not None and block.first <= offset < block.first + len(block.pushes):
            return block.pushes[offset - block.first :]
        limit = _BLOCK_EVENTS - offset % _BLOCK_EVENTS
        events = stream.partitions[partition].read(offset, limit, now, _READ_AT_ONCE_BYTES)
        pushes = _rendered(stream, partition, events)
        self._keep(key, offset, pushes)
        return pushes

    def _keep(self, key: tuple[int, int, int], first: int, pushes: list[Push]) -> None:
        block, size = self._blocks.get(key), sum(map(_size, pushes))
        if block is not None and first == block.first + len(block.pushes) and block.size + size <= _BLOCK_BYTES_MAX:
            first, pushes, size = block.first, block.pushes + pushes, block.size + size
        if size <= self._bytes_max:
            self._blocks[key] = _Block(first, pushes, size)


class _Block(msgspec.Struct, gc=False, eq=False):
    """Events that follow one another."""

    first: int
    pushes: list[Push]
    size: int


def _rendered(stream: Stream, partition: int, events: list[Event]) -> list[Push]:
    opening = b'{"type":"event","room":%b,' % orjson.dumps(stream.name)
    pushes = []
    for event in described(stream, partition, events):
        body = opening + _encode(event)[1:]
        pushes.append(Push(event.event_type, body, event.offset, partition))
    return pushes


def _size(push: Push) -> int:
    """What a push takes, with the frame that a WebSocket makes of it."""
    return _PUSH_BYTES + 2 * len(push.body)
