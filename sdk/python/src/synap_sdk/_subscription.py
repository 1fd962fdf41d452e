"""Subscriptions of the asyncio client: iterators that reconnect.

Each has a connection of its own. Whoever reads it slowly holds up nobody else: what is not read stays with the server,
which keeps it in the log or drops it as the policy says, instead of growing here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from synap_sdk import results as r
from synap_sdk._address import Address
from synap_sdk._caller import AsyncCaller
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
from synap_sdk._protocol import encode, read_reply
from synap_sdk._session import Session
from synap_sdk._socket import Socket
from synap_sdk.errors import RateLimitExceeded, ReadOnly, Unauthorized, Unavailable

T = TypeVar("T")
OnGap = Callable[[Missed], object]
BUFFERED_MAX = 256
"""With so many items waiting to be taken, no more are read."""
_log = logging.getLogger("synap_sdk")


class Home(Protocol):
    """Where to connect to."""

    @property
    def session(self) -> Session: ...

    @property
    def address(self) -> Address: ...

    @property
    def subscriptions(self) -> set[Subscription[Any]]: ...


class Subscription(Generic[T]):
    """An asynchronous iterator of what is pushed. Enter it as a context, or `start` it, to know that it has begun.

    Raises SynapError for what connecting again cannot repair, SubscriptionEnded when there will be nothing more.
    """

    def __init__(self, home: Callable[[], Home], feed: Feed[T], on_gap: OnGap | None, *, is_complete: bool) -> None:
        self._home = home
        self._feed = feed
        self._on_gap = on_gap
        self._is_complete = is_complete
        """What is missed is an error where nobody said what to do about it."""
        self._items: deque[T | Missed | SynapError] = deque()
        self._arrived = asyncio.Event()
        self._socket: Socket | None = None
        self._reader: asyncio.Task[None] | None = None
        self._begun: asyncio.Future[None] | None = None
        self._gone = asyncio.Event()
        self.is_closed = False

    async def start(self) -> Subscription[T]:
        """Connect and subscribe, unless that was done; raises SynapError when the server refuses."""
        if self._begun is None:
            self._begun = asyncio.get_running_loop().create_future()
            self._reader = asyncio.create_task(self._keep())
            self._home().subscriptions.add(self)
        await asyncio.shield(self._begun)
        return self

    async def close(self) -> None:
        """End the subscription; iterating ends after what has arrived."""
        self.is_closed = True
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        socket, self._socket = self._socket, None
        self._home().subscriptions.discard(self)
        self._arrived.set()
        if socket is not None:
            socket.close()
            await socket.wait_closed()

    def quiesce(self, command: str, **payload: str) -> None:
        """Ask for no more, and stay connected: what is leased to the connection stays so."""
        if self._reader is not None:
            self._reader.cancel()
        if self._socket is not None:
            self._socket.send(encode({"command": command, "payload": payload, "request_id": "quiesce"}))

    def __aiter__(self) -> Subscription[T]:
        return self

    async def __anext__(self) -> T:
        if self._reader is None and not self.is_closed:
            await self.start()
        while True:
            while not self._items:
                if self.is_closed:
                    raise StopAsyncIteration
                self._arrived.clear()
                await self._arrived.wait()
            item = self._items.popleft()
            if self._socket is not None and len(self._items) < BUFFERED_MAX // 2:
                self._socket.read(True)
            if isinstance(item, SynapError):
                self.is_closed = True
                raise item
            if not isinstance(item, Missed):
                return item
            self._tell(item)

    async def __aenter__(self) -> Subscription[T]:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _tell(self, gap: Missed) -> None:
        if self._on_gap is not None:
            self._on_gap(gap)
        elif self._is_complete:
            raise MissedEvents(gap)
        else:
            _log.warning("%s", gap)

    async def _keep(self) -> None:
        """Stay subscribed until there is an error that another connection would not mend."""
        failures = 0
        while True:
            try:
                await self._subscribe()
                failures = 0
                await self._gone.wait()
            except (SynapConnectionError, Unavailable, RateLimitExceeded, ReadOnly) as error:
                if not self._begun.done() and failures >= self._home().session.policy.retries:  # type: ignore[union-attr]
                    self._fail(error)
                    return
            except Unauthorized as error:
                credentials = self._home().session.credentials
                if credentials.username is None or failures:
                    self._fail(error)
                    return
                credentials.forget()
            except SynapError as error:
                self._fail(error)
                return
            failures += 1
            await asyncio.sleep(self._home().session.policy.backoff.pause(failures))

    async def _subscribe(self) -> None:
        home = self._home()
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._gone.clear()

        def take(frame: bytes) -> None:
            if not reply.done():
                self._answered(frame, reply)
            else:
                self._receive(frame)

        def lost(reason: str) -> None:
            self._gone.set()
            if not reply.done():
                reply.set_exception(SynapConnectionError(reason))

        socket = await home.session.open(home.address, take, lost)
        self._socket = socket
        socket.send(self._feed.request())
        await reply
        if self._begun is not None and not self._begun.done():
            self._begun.set_result(None)

    def _answered(self, frame: bytes, reply: asyncio.Future[Any]) -> None:
        try:
            answer = read_reply(frame)
            if not isinstance(answer.error, msgspec.UnsetType):
                raise answer.error.exception()
            gap = self._feed.begun(msgspec.json.decode(answer.payload))
        except msgspec.MsgspecError as error:
            reply.set_exception(SynapError(f"the server's reply cannot be read: {error}"))
        except SynapError as error:
            reply.set_exception(error)
        else:
            if gap is not None:
                self._put(gap)
            reply.set_result(None)

    def _receive(self, frame: bytes) -> None:
        try:
            item = self._feed.read(frame)
        except msgspec.MsgspecError as error:
            self._fail(SynapError(f"what the server sent cannot be read: {error}"))
            return
        if isinstance(item, SubscriptionEnded):
            self._fail(item)
        elif item is not None:
            self._put(item)

    def _put(self, item: T | Missed | SynapError) -> None:
        self._items.append(item)
        self._arrived.set()
        if len(self._items) >= BUFFERED_MAX and self._socket is not None:
            self._socket.read(False)

    def _fail(self, error: SynapError) -> None:
        if self._begun is not None and not self._begun.done():
            self._begun.set_exception(error)
        else:
            self._put(error)
        if self._socket is not None:
            self._socket.close()
        if self._reader is not None and self._reader is not asyncio.current_task():
            self._reader.cancel()


class Subscribing:
    """What `stream`, `pubsub` and `queue` have beside their commands."""

    __slots__ = ()
    _caller: AsyncCaller

    def _home(self) -> Home:
        home: Home = self._caller._running()
        return home


class StreamSubscribing(Subscribing):
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
    ) -> Subscription[r.StreamEvent]:
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
        return Subscription(self._home, StreamFeed(fields), on_gap, is_complete=True)


class PubsubSubscribing(Subscribing):
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
    ) -> Subscription[Message]:
        """Messages of topics; in a pattern, `*` is one level and `#` any number of them.

        After a reconnect the server sends again what it still has of the messages in between.

        Args:
            policy: what the server does when this client reads too slowly: drop_oldest, drop_newest or disconnect
            on_gap: gets told what was missed; without it, that is logged as a warning
        """
        named = [topics] if isinstance(topics, str) else list(topics)
        fields = given(topics=named, policy=policy, epoch=epoch, last_seq=last_seq)
        return Subscription(self._home, PubsubFeed(fields), on_gap, is_complete=False)


class QueueSubscribing(Subscribing):
    """`queue.subscribe` and workers."""

    __slots__ = ()

    def subscribe(
        self, queue: str, *, prefetch: int = 1, ack_deadline: float | None = None, consumer_id: str | None = None
    ) -> Subscription[r.QueueDelivery]:
        """Messages of a queue, at most `prefetch` of them unacknowledged. Acknowledge each with `queue.ack`.

        What is not acknowledged when the connection ends comes again at once, here or elsewhere.

        Args:
            ack_deadline: seconds until a message that was not acknowledged comes again; the queue's by default

        Raises:
            QueueNotFound: there is no such queue
            SubscriptionEnded: the queue was deleted
        """
        fields = given(queue=queue, prefetch=prefetch, ack_deadline=ack_deadline, consumer_id=consumer_id)
        return Subscription(self._home, QueueFeed(fields), None, is_complete=False)
