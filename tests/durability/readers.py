"""Publishers and readers of rooms on a server that is killed now and then, and what each of them has to see.

A `Library` knows which event stands where, from whatever anybody was told or has read. Each reader remembers only where
it is, as a program would, and checks that it goes on exactly there.
"""

from __future__ import annotations

import asyncio
import json
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiohttp

from synap.errors import RoomNotFound
from tests.durability.workers import BROKEN, SOCKET_PATH, Caller, Place, broken_off, called
from tests.support import payload_of

REBORN = "reborn"
"""A room that is deleted again and again."""
PAUSE_SECS = 0.01
POLL_SECS = 0.4
BREAKDOWNS = 0.01
"""Of events, so many are followed by the end of their reader's connection."""

Position = tuple[str, int, int]
"""Room, partition and offset."""


class Library:
    """Every event that anybody was told of or has read."""

    def __init__(self) -> None:
        self.events: dict[Position, str] = {}
        """What stands where."""
        self.ids: dict[str, str] = {}
        """What an id names, in which room and where."""
        self.told: set[Position] = set()
        """What publishers were told."""
        self.perhaps: set[str] = set()
        """What may have been published."""

    def note(self, room: str, partition: int, offset: int, data: Any, event_id: str | None = None) -> Position:
        """An event was told or read."""
        position, text = (room, partition, offset), json.dumps(data)
        if room != REBORN:
            known = self.events.setdefault(position, text)
            assert known == text, f"{position} was {known} and is {text}"
        if event_id is not None:
            named = self.ids.setdefault(event_id, f"{position} {text}")
            assert named == f"{position} {text}", f"{event_id} was {named} and is {position} {text}"
        return position

    def note_read(self, room: str, event: dict[str, Any]) -> Position:
        """An event was read."""
        return self.note(room, event["partition"], event["offset"], event["data"], event["event_id"])


# Publishing


class Publisher:
    """Publishes one event or a few at a time. A careful one repeats what was lost on the way, under the same key."""

    def __init__(self, place: Place, library: Library, rng: random.Random, name: str, *, is_careful: bool) -> None:
        self._place = place
        self._library = library
        self._rng = rng
        self._name = name
        self._is_careful = is_careful
        self._count = 0

    async def run(self, rooms: list[str]) -> None:
        """Publish until it is over."""
        async with aiohttp.ClientSession() as session:
            caller = Caller(self._place, session)
            while not self._place.is_quiet:
                room = self._rng.choice(rooms)
                if self._rng.random() < 0.1:
                    await self._publish_anew(caller)
                elif self._rng.random() < 0.3:
                    await self._publish_some(caller, room)
                else:
                    await self._publish(caller, room)
                await asyncio.sleep(self._rng.uniform(0, 2 * PAUSE_SECS))

    async def _publish(self, caller: Caller, room: str) -> None:
        [event] = self._events(1)
        told = await self._send(caller, called("stream.publish", room=room, **event), [event])
        if told is not None:
            data, event_id = event["data"], told["event_id"]
            self._library.told.add(self._library.note(room, told["partition"], told["offset"], data, event_id))

    async def _publish_some(self, caller: Caller, room: str) -> None:
        events = self._events(self._rng.randint(2, 5))
        told = await self._send(caller, called("stream.publish_batch", room=room, events=events), events)
        if told is not None:
            for event, partition, offset in zip(events, told["partitions"], told["offsets"], strict=True):
                self._library.told.add(self._library.note(room, partition, offset, event["data"]))

    async def _publish_anew(self, caller: Caller) -> None:
        """Publish to the room that comes and goes; only its ids are of interest."""
        with suppress(RoomNotFound, *BROKEN):
            if self._rng.random() < 0.3:
                await caller.call("stream.delete", room=REBORN)
            [event] = self._events(1)
            told = await caller.call("stream.publish", room=REBORN, **event)
            self._library.note(REBORN, told["partition"], told["offset"], event["data"], told["event_id"])

    async def _send(self, caller: Caller, request: dict[str, Any], events: list[dict[str, Any]]) -> Any:
        """The result; None when it was lost on the way."""
        if self._is_careful:
            return payload_of(await caller.persist(request | {"idempotency_key": f"{self._name} {self._count}"}))
        try:
            return payload_of(await caller.send(request))
        except BROKEN:
            self._library.perhaps |= {json.dumps(event["data"]) for event in events}
            return None

    def _events(self, count: int) -> list[dict[str, Any]]:
        events = []
        for _ in range(count):
            self._count += 1
            event = {"event_type": "counted", "data": {"by": self._name, "n": self._count}}
            key = self._rng.choice([None, "a", "b", "c", "d", "e"])
            events.append(event if key is None else event | {"key": key})
        return events


# Reading


class Reader(ABC):
    """Reads a room from its beginning, each event once and in order, whatever happens to its connection."""

    def __init__(self, place: Place, library: Library, rng: random.Random, room: str, partitions: int) -> None:
        self.place = place
        self.library = library
        self.rng = rng
        self.room = room
        self.next_offsets = dict.fromkeys(range(partitions), 0)
        self.breakdowns = 0

    async def run(self) -> None:
        """Read until it is over."""
        async with aiohttp.ClientSession() as session:
            while not self.place.is_over:
                with suppress(*BROKEN):
                    await self.read(session, await self.place.url())
                self.breakdowns += 1
                await asyncio.sleep(0.01)

    @abstractmethod
    async def read(self, session: aiohttp.ClientSession, url: str) -> None:
        """Read on until the connection ends."""

    def see(self, event: dict[str, Any]) -> bool:
        """An event has come; says whether the connection is to break."""
        assert event["type"] == "event", event
        _, partition, offset = self.library.note_read(self.room, event)
        assert offset == self.next_offsets[partition], f"expected offset {self.next_offsets[partition]}, got {event}"
        self.next_offsets[partition] += 1
        return self.rng.random() < BREAKDOWNS

    def has_read(self, next_offsets: dict[int, int]) -> bool:
        """Whether it has read a room up to its end."""
        return self.next_offsets == next_offsets


class SocketReader(Reader):
    """Subscribed on a WebSocket; it names the offsets it has not seen yet."""

    async def read(self, session: aiohttp.ClientSession, url: str) -> None:
        async with session.ws_connect(url + SOCKET_PATH) as socket:
            begin = {str(partition): offset for partition, offset in self.next_offsets.items()}
            await socket.send_json(called("stream.subscribe", room=self.room, from_offsets=begin))
            frame = await socket.receive()
            if frame.type is aiohttp.WSMsgType.TEXT:
                subscribed = payload_of(frame.json())
                assert (subscribed["next_offsets"], subscribed["gap"]) == (begin, None)
            async for frame in socket:
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    return
                if self.see(frame.json()):
                    broken_off(socket)
                    return


class EventSourceReader(Reader):
    """Takes server-sent events; it knows nothing but the last id it has got."""

    def __init__(self, place: Place, library: Library, rng: random.Random, room: str, partitions: int) -> None:
        super().__init__(place, library, rng, room, partitions)
        self._last_id = ""

    async def read(self, session: aiohttp.ClientSession, url: str) -> None:
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        address = f"{url}/stream/{self.room}/events?from_offset=0"
        async with session.get(address, headers=headers, timeout=aiohttp.ClientTimeout(None)) as response:
            assert response.status == 200, await response.text()
            async for event in _sent(response):
                self._last_id = event["id"]
                if "data" in event and self.see(json.loads(event["data"])):
                    return


async def _sent(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, str]]:
    """The events of a response; one that is cut short does not count."""
    event: dict[str, str] = {}
    async for line in response.content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if line != b"\n":
            event[name] = value
            continue
        yield event
        event = {}


class Group:
    """A consumer group, as those who read for it know it together."""

    def __init__(self, place: Place, library: Library, room: str, name: str) -> None:
        self.room = room
        self.name = name
        self.read: dict[tuple[int, int], int] = {}
        """How often each event of each partition was read."""
        self.lost = 0
        """How many answers did not arrive."""
        self._place = place
        self._library = library
        self._committed: dict[int, set[int]] = {}
        """Where it may go on in each partition, as far as the one who commits knows."""

    async def run_committing_at_once(self) -> None:
        """Read, and count as read whatever is returned."""
        async with aiohttp.ClientSession() as session:
            caller = Caller(self._place, session)
            while not self._place.is_over:
                try:
                    events = await self._consume(caller, auto_commit=True)
                except BROKEN:
                    self.lost += 1
                    await asyncio.sleep(0.01)
                    continue
                for position in events:
                    assert self.read[position] == 1, f"{position} was read again"

    async def run_committing_afterwards(self, rng: random.Random) -> None:
        """Read, and commit behind what was read; now and then break down before."""
        async with aiohttp.ClientSession() as session:
            caller = Caller(self._place, session)
            while not self._place.is_over:
                with suppress(*BROKEN):
                    positions = await self._consume(caller, auto_commit=False)
                    if rng.random() < 0.9:
                        await self._commit(caller, positions)
                await asyncio.sleep(0.01)

    async def _consume(self, caller: Caller, *, auto_commit: bool) -> list[tuple[int, int]]:
        result = await caller.call(
            "stream.consume",
            room=self.room,
            group=self.name,
            auto_commit=auto_commit,
            max_events=50,
            timeout=POLL_SECS,
        )
        assert result["missed"] == 0
        positions = [self._library.note_read(self.room, event)[1:] for event in result["events"]]
        assert sorted(positions) == sorted(positions, key=lambda position: position[0]), "out of order"
        for position in positions:
            self.read[position] = self.read.get(position, 0) + 1
        return positions

    async def _commit(self, caller: Caller, positions: list[tuple[int, int]]) -> None:
        first = dict(reversed(positions))
        for partition, offset in dict(positions).items():
            possible = self._committed.setdefault(partition, {0})
            assert first[partition] in possible, f"it went on at {first[partition]}, expected one of {possible}"
            possible.add(offset + 1)
            await caller.call("stream.commit", room=self.room, group=self.name, partition=partition, offset=offset + 1)
            self._committed[partition] = {offset + 1}

    def has_read(self, next_offsets: dict[int, int]) -> bool:
        """Whether it has read all events of a room."""
        return len(self.read) == sum(next_offsets.values())
