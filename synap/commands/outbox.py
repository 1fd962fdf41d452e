"""Pub/sub messages on their way to one connection: a bounded queue that tells what it had to drop.

Whatever was dropped is counted and told as `{"type": "gap", "topic": ..., "missed": n}` in its place: in front of the
messages that came after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec
import orjson

from synap.engines.pubsub import Message, PubSub

Policy = Literal["drop_oldest", "drop_newest", "disconnect"]

# Gaps are told by topic, up to this many topics in one place; past them, as one gap of no topic in particular.
GAP_TOPICS_MAX = 1_000


class Push(msgspec.Struct, eq=False, gc=False):
    """Something a client did not ask for just now. Connections share it."""

    kind: str
    """`message`, `gap`, the type of an event, ...: what server-sent events call it."""
    body: bytes
    """JSON."""
    seq: int | None = None
    """Of a pub/sub message, or the offset of an event."""
    partition: int = 0
    topic: str = ""
    text_frame: bytes = b""
    """As a WebSocket sends it; made by the first one that does."""
    binary_frame: bytes = b""


class MessageFrames:
    """Renders messages; the same one for many connections is rendered once a pattern. One per server."""

    def __init__(self) -> None:
        self._message: Message | None = None
        self._frames: dict[str, Push] = {}

    def frame(self, message: Message, pattern: str) -> Push:
        """The push for a message that a pattern matched."""
        if message is not self._message:
            self._message, self._frames = message, {}
        frame = self._frames.get(pattern)
        if frame is None:
            frame = self._frames[pattern] = self._render(message, pattern)
        return frame

    def _render(self, message: Message, pattern: str) -> Push:
        body = (
            b'{"type":"message","topic":%b,"pattern":%b,"message":%b,"metadata":%b,"message_id":"%b","seq":%d,'
            b'"timestamp":%d}'
        ) % (
            orjson.dumps(message.topic),
            orjson.dumps(pattern),
            message.body,
            message.metadata,
            message.message_id.encode(),
            message.seq,
            message.timestamp,
        )
        return Push("message", body, message.seq, 0, message.topic)


class Outbox:
    """What pub/sub has for one connection and could not be sent yet."""

    def __init__(
        self,
        pubsub: PubSub,
        frames: MessageFrames,
        wake: Callable[[], None],
        *,
        messages_max: int,
        bytes_max: int,
        policy: Policy,
    ) -> None:
        self.policy: Policy = policy
        """For patterns that name none."""
        self.policies: dict[str, Policy] = {}
        """By pattern."""
        self.dropped = 0
        self.overflowed = False
        """The connection is to be closed: a message found no room, and the policy says so."""
        self._pubsub = pubsub
        self._frames = frames
        self._wake = wake
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._queue: deque[Push | _Gap] = deque()
        self._messages = 0
        self._bytes = 0

    def take(self, message: Message, pattern: str) -> bool:
        """Queue a message; False when it is dropped. An older one may be dropped for it, as the policy says."""
        if self.overflowed:
            return False
        frame = self._frames.frame(message, pattern)
        size = len(frame.body)
        if not self._queue:
            self._wake()
        if self._messages and not self._has_room(size) and not self._make_room(message, size, pattern):
            return False
        self._queue.append(frame)
        self._messages += 1
        self._bytes += size
        return True

    @property
    def room(self) -> int:
        """How many messages more it takes at most; always one."""
        return max(self._messages_max - self._messages, 1)

    def newest_that_fit(self, messages: list[tuple[Message, str]]) -> tuple[list[tuple[Message, str]], int]:
        """The newest of some messages of the past, with their patterns, that find room; and how many do not."""
        count, size = self._messages, self._bytes
        for first in range(len(messages), 0, -1):
            count += 1
            size += len(self._frames.frame(*messages[first - 1]).body)
            if count > 1 and (count > self._messages_max or size > self._bytes_max):
                return messages[first:], first
        return messages, 0

    def drain(self, bytes_max: int) -> list[Push]:
        """Take out what is to be sent next, up to about `bytes_max` bytes."""
        if self._bytes <= bytes_max and self._messages == len(self._queue):  # all of it, and no gaps
            pushes: list[Push] = list(self._queue)  # type: ignore[arg-type]
            self._queue.clear()
            self._messages = self._bytes = 0
            return pushes
        pushes = []
        while self._queue and bytes_max > 0:
            entry = self._queue.popleft()
            if isinstance(entry, _Gap):
                pushes += entry.pushes()
            else:
                self._count_out(entry)
                bytes_max -= len(entry.body)
                pushes.append(entry)
        return pushes

    def clear(self) -> None:
        """Drop everything: the connection is gone."""
        self._queue.clear()
        self._messages = self._bytes = 0

    def __len__(self) -> int:
        """Messages queued."""
        return self._messages

    def __bool__(self) -> bool:
        """Whether there is something to send, be it a gap."""
        return bool(self._queue)

    def _has_room(self, size: int) -> bool:
        return self._messages < self._messages_max and self._bytes + size <= self._bytes_max

    def _make_room(self, message: Message, size: int, pattern: str) -> bool:
        policy = self.policies.get(pattern, self.policy)
        if policy == "disconnect":
            self.overflowed = True
            self.dropped += 1
            self._wake()
            return False
        if policy == "drop_newest":
            self._gap_at_end().add(message.topic)
            self.dropped += 1
            return False
        while self._messages and not self._has_room(size):
            self._drop_oldest()
        return True

    def _drop_oldest(self) -> None:
        """Drop the first message; the gap in front of it, if there is one, grows."""
        entry = self._queue.popleft()
        gap = entry if isinstance(entry, _Gap) else _Gap()
        while isinstance(entry, _Gap):
            if entry is not gap:
                gap.merge(entry)
            entry = self._queue.popleft()
        self._count_out(entry)
        gap.add(entry.topic)
        self.dropped += 1
        self._pubsub.dropped_total += 1  # what is not even taken, it counts itself
        self._queue.appendleft(gap)

    def _count_out(self, entry: Push) -> None:
        self._messages -= 1
        self._bytes -= len(entry.body)

    def _gap_at_end(self) -> _Gap:
        last = self._queue[-1] if self._queue else None
        if isinstance(last, _Gap):
            return last
        gap = _Gap()
        self._queue.append(gap)
        return gap


class _Gap:
    """Messages that were dropped in one place, counted by topic."""

    __slots__ = ("_missed",)

    def __init__(self) -> None:
        self._missed: dict[str | None, int] = {}

    def add(self, topic: str | None, count: int = 1) -> None:
        if topic not in self._missed and len(self._missed) >= GAP_TOPICS_MAX:
            topic = None
        self._missed[topic] = self._missed.get(topic, 0) + count

    def merge(self, later: _Gap) -> None:
        for topic, count in later._missed.items():
            self.add(topic, count)

    def pushes(self) -> Iterator[Push]:
        for topic, missed in self._missed.items():
            yield Push("gap", orjson.dumps({"type": "gap", "topic": topic, "missed": missed}))
