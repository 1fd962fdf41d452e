"""Subscriptions of the synchronous client: iterators that reconnect, each on a connection of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from synap_sdk import results as r
from synap_sdk._address import Address, Credentials
from synap_sdk._caller import Caller
from synap_sdk._failure import SynapConnectionError, SynapError
from synap_sdk._feeds import (
    Feed,
    Message,
    Missed,
    MissedEvents,
    PubsubFeed,
    QueueFeed,
    StreamFeed,
    SubscriptionEnded,
    given,
)
from synap_sdk._frames import Frames
from synap_sdk._options import Options
from synap_sdk._protocol import encode, read_reply
from synap_sdk._wire import Broken, connect
from synap_sdk.errors import RateLimitExceeded, ReadOnly, Unauthorized, Unavailable

T = TypeVar("T")
OnGap = Callable[[Missed], object]
CONNECT_SECS = 5.0
HEARTBEAT_SECS = 20.0
_RECEIVE_BYTES = 256 * 1024
_log = logging.getLogger("synap_sdk")


class Place(Protocol):
    """Where to connect to, and who asks."""

    options: Options
    credentials: Credentials
    address: Address
    subscriptions: set[Any]

    def headers(self, address: Address) -> bytes: ...


class BlockingSubscription(Generic[T]):
    """An iterator of what is pushed. Enter it as a context, or `start` it, to know that it has begun.

    For one thread, but for `close`, which any may call. Raises SynapError for what cannot be repaired by connecting
    again, SubscriptionEnded when there will be nothing more.
    """

    def __init__(self, home: Callable[[], Place], feed: Feed[T], on_gap: OnGap | None, *, is_complete: bool) -> None:
        self._home = home
        self._feed = feed
        self._on_gap = on_gap
        self._is_complete = is_complete
        self._items: deque[T | Missed | SynapError] = deque()
        self._line: _Line | None = None
        self._has_begun = False
        self._closed = threading.Event()

    def start(self) -> BlockingSubscription[T]:
        """Connect and subscribe, unless that was done; raises SynapError when the server refuses."""
        if self._line is None:
            self._home().subscriptions.add(self)
            self._connect()
        return self

    def close(self) -> None:
        """End the subscription; iterating ends."""
        self._closed.set()
        self._home().subscriptions.discard(self)
        if self._line is not None:
            self._line.close()

    def quiesce(self, command: str, **payload: str) -> None:
        """Ask for no more, and stay connected: what is leased to the connection stays so."""
        if self._line is not None:
            self._line.send(encode({"command": command, "payload": payload, "request_id": "quiesce"}))

    def get(self, timeout: float | None = None) -> T | None:
        """The next item; None when none has come after `timeout` seconds, or none will."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._closed.is_set():
            while self._items:
                item = self._items.popleft()
                if isinstance(item, SynapError):
                    self.close()
                    raise item
                if not isinstance(item, Missed):
                    return item
                self._tell(item)
            self.start()
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return None
            self._receive(left)
        return None

    def __iter__(self) -> BlockingSubscription[T]:
        return self

    def __next__(self) -> T:
        item = self.get()
        if item is None:
            raise StopIteration
        return item

    def __enter__(self) -> BlockingSubscription[T]:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell(self, gap: Missed) -> None:
        if self._on_gap is not None:
            self._on_gap(gap)
        elif self._is_complete:
            raise MissedEvents(gap)
        else:
            _log.warning("%s", gap)

    def _connect(self) -> None:
        """Subscribe, for as long as it takes once it has begun."""
        policy = self._home().options.policy
        failures = 0
        while not self._closed.is_set():
            try:
                self._subscribe()
                self._has_begun = True
                return
            except Unauthorized:
                credentials = self._home().credentials
                if credentials.username is None or failures:
                    raise
                credentials.forget()
            except (SynapConnectionError, Unavailable, RateLimitExceeded, ReadOnly):
                if not self._has_begun and failures >= policy.retries:
                    raise
            failures += 1
            self._closed.wait(policy.backoff.pause(failures))

    def _subscribe(self) -> None:
        home = self._home()
        try:
            line = _Line(home, CONNECT_SECS)
        except Broken as broken:
            raise SynapConnectionError(broken.reason) from broken
        try:
            line.send(self._feed.request())
            frames: list[bytes] = []
            while not frames:
                frames = line.receive(CONNECT_SECS)
            answer = read_reply(frames[0])
            if not isinstance(answer.error, msgspec.UnsetType):
                raise answer.error.exception()
            gap = self._feed.begun(msgspec.json.decode(answer.payload))
        except BaseException:
            line.close()
            raise
        if gap is not None:
            self._items.append(gap)
        self._line = line
        self._take(frames[1:])

    def _receive(self, timeout_secs: float | None) -> None:
        line = self._line
        if line is None:
            return
        try:
            self._take(line.receive(timeout_secs))
        except SynapConnectionError:
            line.close()
            self._line = None

    def _take(self, frames: list[bytes]) -> None:
        for frame in frames:
            try:
                item = self._feed.read(frame)
            except msgspec.MsgspecError as error:
                item = SubscriptionEnded(f"what the server sent cannot be read: {error}")
            if item is not None:
                self._items.append(item)


class _Line:
    """A WebSocket on a blocking socket."""

    def __init__(self, home: Place, timeout_secs: float) -> None:
        headers = home.headers(home.address).decode()
        named = dict(line.split(": ", 1) for line in headers.splitlines())
        self._socket = connect(home.address, home.options.tls, timeout_secs)
        self._frames = Frames(home.address, named)
        self._sending = threading.Lock()
        self._heard_at = time.monotonic()
        try:
            self._flush()
            while not self._frames.is_open:
                self._read(timeout_secs)
        except BaseException:
            self._socket.close()
            raise

    def send(self, message: bytes) -> None:
        """Write a message. Raises SynapConnectionError."""
        with self._sending:
            self._frames.send(message)
        self._flush()

    def receive(self, timeout_secs: float | None) -> list[bytes]:
        """What comes next, maybe nothing within `timeout_secs`. Raises SynapConnectionError when there is no more."""
        wait = HEARTBEAT_SECS if timeout_secs is None else min(timeout_secs, HEARTBEAT_SECS)
        try:
            return self._read(max(wait, 0.001))
        except TimeoutError:
            silent_secs = time.monotonic() - self._heard_at
            if silent_secs > 2 * HEARTBEAT_SECS:
                raise SynapConnectionError("the server has not answered for too long") from None
            if silent_secs >= HEARTBEAT_SECS / 2:
                with self._sending:
                    self._frames.ping()
                self._flush()
            return []

    def close(self) -> None:
        """End the connection, also under a thread that reads from it."""
        try:
            with self._sending:
                self._frames.close()
            self._flush()
            self._socket.shutdown(2)
        except (OSError, SynapError):
            pass
        self._socket.close()

    def _read(self, timeout_secs: float) -> list[bytes]:
        try:
            self._socket.settimeout(timeout_secs)
            data = self._socket.recv(_RECEIVE_BYTES)
        except TimeoutError:
            raise
        except OSError as error:
            raise SynapConnectionError(f"the connection failed: {error}") from error
        self._heard_at = time.monotonic()
        with self._sending:
            messages = self._frames.receive(data)
        self._flush()
        if not data or (self._frames.is_over and not messages):
            raise SynapConnectionError(self._frames.reason())
        return messages

    def _flush(self) -> None:
        with self._sending:
            data = self._frames.to_send()
            try:
                if data:
                    self._socket.sendall(data)
            except OSError as error:
                raise SynapConnectionError(f"the connection failed: {error}") from error


class Iterating:
    """What `stream`, `pubsub` and `queue` have beside their commands."""

    __slots__ = ()
    _caller: Caller

    def _place(self) -> Place:
        home: Place = self._caller._home
        return home


class StreamIterating(Iterating):
    """`stream.subscribe`."""

    __slots__ = ()

    def subscribe(
        self,
        room: str,
        *,
        from_offset: int | None = None,
        from_offsets: dict[int, int] | None = None,
        replay: bool = False,
        partition: int | None = None,
        group: str | None = None,
        event_types: list[str] | None = None,
        create: bool = False,
        on_gap: OnGap | None = None,
    ) -> BlockingSubscription[r.StreamEvent]:
        """Events of a room, each once: after a reconnect at the next offset of every partition.

        Begins at `from_offsets` (by partition) or `from_offset`, else where `group` is, else at the oldest event with
        `replay`, else with what comes next. With `create`, a room that is not there counts as empty.

        Args:
            on_gap: gets told what retention removed before it was read; without it, that raises MissedEvents

        Raises:
            RoomNotFound: there is no such room
            MissedEvents: events are gone; iterating again goes on behind them
            SubscriptionEnded: the room was deleted
        """
        offsets = None if from_offsets is None else {str(number): at for number, at in from_offsets.items()}
        fields = given(room=room, from_offset=from_offset, from_offsets=offsets, partition=partition, group=group)
        fields |= given(event_types=event_types, replay=replay or None, create=create or None)
        return BlockingSubscription(self._place, StreamFeed(fields), on_gap, is_complete=True)


class PubsubIterating(Iterating):
    """`pubsub.subscribe`."""

    __slots__ = ()

    def subscribe(
        self,
        topics: list[str] | str,
        *,
        policy: str | None = None,
        epoch: str | None = None,
        last_seq: int | None = None,
        on_gap: OnGap | None = None,
    ) -> BlockingSubscription[Message]:
        """Messages of topics; in a pattern, `*` is one level and `#` any number of them.

        After a reconnect the server sends again what it still has of the messages in between.

        Args:
            policy: what the server does when this client reads too slowly: drop_oldest, drop_newest or disconnect
            on_gap: gets told what was missed; without it, that is logged as a warning
        """
        named = [topics] if isinstance(topics, str) else list(topics)
        fields = given(topics=named, policy=policy, epoch=epoch, last_seq=last_seq)
        return BlockingSubscription(self._place, PubsubFeed(fields), on_gap, is_complete=False)


class QueueIterating(Iterating):
    """`queue.subscribe`."""

    __slots__ = ()

    def subscribe(
        self, queue: str, *, prefetch: int = 1, ack_deadline: float | None = None, consumer_id: str | None = None
    ) -> BlockingSubscription[r.QueueDelivery]:
        """Messages of a queue, at most `prefetch` of them unacknowledged. Acknowledge each with `queue.ack`.

        What is not acknowledged when the connection ends comes again at once, here or elsewhere.

        Args:
            ack_deadline: seconds until a message that was not acknowledged comes again; the queue's by default

        Raises:
            QueueNotFound: there is no such queue
            SubscriptionEnded: the queue was deleted
        """
        fields = given(queue=queue, prefetch=prefetch, ack_deadline=ack_deadline, consumer_id=consumer_id)
        return BlockingSubscription(self._place, QueueFeed(fields), None, is_complete=False)
