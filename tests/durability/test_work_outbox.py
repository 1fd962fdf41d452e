"""The outbox pattern: a key, a message and an event in one atomic batch are all there after a crash, or none is.

kill -9 does not tear what the system has been given in one piece; a power cut does, so the journal is cut as well.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from synap.commands.events import existing_room
from synap.commands.messages import existing_queue
from synap.errors import QueueNotFound, RoomNotFound
from synap.journal import segment
from tests.durability.client import SMALL_PIECES, acknowledged, until, writing
from tests.durability.twin import recovered, rows
from tests.durability.workers import called
from tests.support import ServerProcess

WRITERS = 8
READ_AT_ONCE = 10_000
CUTS = 8


class Orders:
    """A Book (see client.py) of orders, each of which is noted, sent to work and told in one go."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.acknowledged = 0
        self._sent = 0

    def next(self, rng: random.Random) -> Any:
        """See Book."""
        self._sent += 1
        order = {"n": self._sent, "pad": "x" * rng.randrange(200)}
        commands = [
            called("kv.set", key=self.name, value=order),
            called("queue.publish", queue=self.name, message=order, priority=5),
            called("stream.publish", room=self.name, event_type="ordered", data=order),
        ]
        rng.shuffle(commands)
        return {"type": "batch", "atomic": True, "commands": commands}

    def acknowledge(self, results: list[Any]) -> bool:
        """See Book."""
        self.acknowledged += 1
        return [result["status"] for result in results] == ["success"] * 3

    def refused(self) -> None:
        """See Book."""
        self._sent = self.acknowledged

    def check(self, server: ServerProcess) -> None:
        """Key, queue and room tell of the same orders, and no acknowledged one is missing."""
        newest, messages, events = server.call("kv.get", key=self.name)["value"], [], []
        with suppress(QueueNotFound):
            messages = server.call("queue.peek", queue=self.name, count=READ_AT_ONCE)["messages"]
        with suppress(RoomNotFound):
            events = server.call("stream.history", room=self.name, limit=READ_AT_ONCE)["events"]
        count = newest["n"] if newest else 0
        assert self.acknowledged <= count <= self._sent
        assert [message["message"]["n"] for message in messages] == list(range(1, count + 1))
        assert [event["data"] for event in events] == [message["message"] for message in messages]
        assert [event["offset"] for event in events] == list(range(count))
        assert not messages or messages[-1]["message"] == newest
        self.acknowledged = self._sent = count


@pytest.mark.parametrize("rounds", [3, pytest.param(40, marks=[pytest.mark.soak, pytest.mark.timeout(1200)])])
def test_a_key_a_message_and_an_event_of_one_atomic_batch_are_all_there_or_none(
    tmp_path: Path, rng: random.Random, rounds: int
) -> None:
    data, books = tmp_path / "data", [Orders(f"orders{number}") for number in range(WRITERS)]
    for left in reversed(range(rounds)):
        pieces = SMALL_PIECES if left else None  # what is cut below is to have several orders in it
        with ServerProcess(data, "--fsync", rng.choice(["everysec", "always"]), env=pieces) as server:
            for book in books:
                book.check(server)
            _crash(server, books, rng)
    _check_cut_journals(data, tmp_path / "cut", rng)
    with ServerProcess(data) as server:
        for book in books:
            book.check(server)


def _check_cut_journals(data: Path, scratch: Path, rng: random.Random) -> None:
    """Wherever a torn write ends, an order is there as a whole or not at all."""
    size = segment.list_segments(data)[-1].stat().st_size
    for _ in range(CUTS):
        shutil.copytree(data, scratch, ignore=shutil.ignore_patterns("LOCK"))
        os.truncate(segment.list_segments(scratch)[-1], rng.randrange(size // 2, size))
        state = recovered(scratch).state
        counts = {key: orjson.loads(value)["n"] for key, _, value, _ in rows(state)}
        assert {name: existing_queue(state, name, state.time).depth for name in state.queues.names()} == counts
        assert {name: existing_room(state, name).published_total for name in state.streams.names()} == counts
        shutil.rmtree(scratch)


def _crash(server: ServerProcess, books: list[Orders], rng: random.Random) -> None:
    before = acknowledged(books)
    with writing(server, books, rng):
        until(lambda: acknowledged(books) > before)
        time.sleep(rng.uniform(0.02, 0.2))
        server.kill()
