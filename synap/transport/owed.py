"""What a WebSocket owes its client: frames that leave in order, when the journal has what they tell.

While the disk refuses, or too few replicas confirm, replies say so and leave; pub/sub messages, which no journal keeps,
leave as well. What is pushed of streams and queues is held until the journal has it: nobody must act on an event, or on
a lease, that a crash could still take back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from synap.commands.reply import Reply
from synap.journal.committer import Committer
from synap.journal.record import Lsn

DISK_RETRY_SECS = 1.0


class Owed:
    """The frames that one connection owes. `advance` is called when there may be something to send."""

    def __init__(
        self,
        committer: Committer,
        write: Callable[[bytes], None],
        render: Callable[[Reply], bytes],
        advance: Callable[[], None],
    ) -> None:
        self._committer = committer
        self._write = write
        self._render = render
        self._advance = advance
        self._frames: deque[_Frame] = deque()
        self._held: deque[_Frame] = deque()
        self._is_waiting = False
        self._retry: asyncio.TimerHandle | None = None

    def reply(self, reply: Reply) -> None:
        """Owe the reply to a request."""
        self._frames.append(_Frame(self._render(reply), reply.lsn, reply.ack, reply, False))

    def push(self, frames: bytes, lsn: Lsn, ack: int, *, is_kept: bool) -> bool:
        """Owe what is pushed; says whether it has been sent at once. `is_kept`: the journal keeps it."""
        if not (self._frames or self._held) and lsn <= self._committer.reached[ack]:
            self._write(frames)
            return True
        self._frames.append(_Frame(frames, lsn, ack, None, is_kept))
        return False

    def send(self) -> None:
        """Send what may leave."""
        ready = self._no_longer_held() if self._held else []
        frames, reached = self._frames, self._committer.reached
        while frames:
            frame = frames[0]
            body = frame.body
            if frame.lsn > reached[frame.ack]:
                refusal = self._committer.refusal(frame.ack, frame.lsn)
                if refusal is None:
                    self._await(frame)
                    break
                if frame.is_kept:
                    self._hold(frames.popleft())
                    continue
                if frame.reply is not None and frame.reply.wrote:
                    body = self._render(frame.reply.refused(refusal))
            elif frame.is_kept and self._held:
                self._hold(frames.popleft())
                continue
            frames.popleft()
            ready.append(body)
        if ready:
            self._write(b"".join(ready))

    def drop_pushes(self) -> None:
        """Owe nothing but replies."""
        self._frames = deque(frame for frame in self._frames if frame.reply is not None)
        self._held.clear()

    def clear(self) -> None:
        """The connection is gone."""
        self._frames.clear()
        self._held.clear()
        if self._retry is not None:
            self._retry.cancel()

    def advance(self) -> None:
        """The disk or a replica has confirmed something, or time has passed since it has refused."""
        self._is_waiting = False
        self._advance()

    def __len__(self) -> int:
        return len(self._frames) + len(self._held)

    def _no_longer_held(self) -> list[bytes]:
        freed: list[bytes] = []
        while self._held and self._held[0].lsn <= self._committer.reached[self._held[0].ack]:
            freed.append(self._held.popleft().body)
        if self._held:
            self._try_again()
        return freed

    def _hold(self, frame: _Frame) -> None:
        self._held.append(frame)
        self._try_again()

    def _try_again(self) -> None:
        loop = asyncio.get_running_loop()
        if self._retry is None or self._retry.when() <= loop.time():
            self._retry = loop.call_later(DISK_RETRY_SECS, self.advance)

    def _await(self, frame: _Frame) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            self._committer.wait_for(self, frame.ack, frame.lsn)


class _Frame(msgspec.Struct, gc=False):
    body: bytes
    lsn: Lsn
    ack: int
    reply: Reply | None
    """None for what is pushed."""
    is_kept: bool
