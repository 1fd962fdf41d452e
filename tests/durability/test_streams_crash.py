"""Streams on a server that is killed now and then: what was told stands, and every reader sees all of it in order."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import aiohttp
import pytest

from tests.durability.client import PATIENCE_SECS
from tests.durability.readers import EventSourceReader, Group, Library, Publisher, Reader, SocketReader
from tests.durability.workers import Caller, Place

PUBLISHERS = 8
ROOMS = {"one": 1, "three": 3}
PIECES = {"SYNAP_JOURNAL_SEGMENT_BYTES": "16384", "SYNAP_JOURNAL_SNAPSHOT_EVERY_BYTES": "32768"}
READERS: list[type[Reader]] = [SocketReader, EventSourceReader]


@pytest.mark.parametrize("kills", [3, pytest.param(60, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])])
async def test_what_was_told_stands_and_is_read_once_and_in_order_across_kill_9(
    tmp_path: Path, rng: random.Random, kills: int
) -> None:
    fsync = rng.choice(["everysec", "always"])
    place, library = Place(tmp_path / "data", "--fsync", fsync, env=PIECES), Library()
    readers = [
        reader(place, library, random.Random(rng.random()), room, partitions)
        for reader in READERS
        for room, partitions in ROOMS.items()
    ]
    at_most_once, at_least_once = Group(place, library, "three", "at most"), Group(place, library, "three", "at least")
    publishers = [
        Publisher(place, library, random.Random(rng.random()), f"publisher{number}", is_careful=number % 2 == 0)
        for number in range(PUBLISHERS)
    ]
    async with asyncio.timeout(PATIENCE_SECS + 5 * kills), aiohttp.ClientSession() as session, place.serving():
        caller = Caller(place, session)
        for room, partitions in ROOMS.items():
            await caller.call("stream.create", room=room, partitions=partitions)
        async with asyncio.TaskGroup() as reading:
            for reader in readers:
                reading.create_task(reader.run())
            for _ in range(2):
                reading.create_task(at_most_once.run_committing_at_once())
            reading.create_task(at_least_once.run_committing_afterwards(random.Random(rng.random())))
            async with asyncio.TaskGroup() as publishing:
                for publisher in publishers:
                    publishing.create_task(publisher.run(list(ROOMS)))
                await place.suffer(kills, rng)
                await asyncio.sleep(0.2)
                place.is_quiet = True
            ends = {room: await _read_all(caller, library, room, partitions) for room, partitions in ROOMS.items()}
            while not all(reader.has_read(ends[reader.room]) for reader in readers):
                await asyncio.sleep(0.02)
            while not at_least_once.has_read(ends["three"]):
                await asyncio.sleep(0.02)
            await _check_at_most_once(caller, at_most_once, ends["three"])
            await place.end()
    _check(library, ends)
    assert all(reader.breakdowns > kills for reader in readers)


async def _read_all(caller: Caller, library: Library, room: str, partitions: int) -> dict[int, int]:
    """Read the whole history of a room; returns the next offset of each partition."""
    ends = {}
    for partition in range(partitions):
        offset = 0
        while events := (await caller.call("stream.history", room=room, partition=partition, from_offset=offset))[
            "events"
        ]:
            for event in events:
                assert event["offset"] == offset
                library.note_read(room, event)
                offset += 1
        ends[partition] = offset
    return ends


async def _check_at_most_once(caller: Caller, group: Group, ends: dict[int, int]) -> None:
    """Nothing is left to read, and nothing is missing but what was in answers that were lost."""
    while True:
        offsets = await caller.call("stream.offsets", room=group.room, group=group.name)
        if {each["partition"]: each["committed"] for each in offsets["partitions"]} == ends:
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    assert max(group.read.values()) == 1
    assert group.has_read(ends) or group.lost


def _check(library: Library, ends: dict[str, dict[int, int]]) -> None:
    """What was told is there, once, where it was told; what else is there had been asked for."""
    there = {(room, partition, n) for room, end in ends.items() for partition, stop in end.items() for n in range(stop)}
    assert library.events.keys() == there
    texts = list(library.events.values())
    assert len(set(texts)) == len(texts)
    told = {library.events[position] for position in library.told}
    assert told <= set(texts) <= told | library.perhaps
    assert not told & library.perhaps
    assert all(min(end.values()) > 0 for end in ends.values())
