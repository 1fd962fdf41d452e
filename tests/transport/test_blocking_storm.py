"""Blocking commands when the server ends, and with everything happening at once: no value is lost or given twice."""

from __future__ import annotations

import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support import ServerProcess
from tests.transport.blocking import (
    DBSIZE,
    DOORS,
    NOTHING,
    STOPS_WITHIN_SECS,
    Door,
    answers_to_the_end,
    blpop,
    both,
    left,
    rpush,
    seen,
)
from tests.transport.wire import (
    Opener,
    connect,
)

# The end of the server


def test_who_waits_when_the_server_stops_is_told_that_nothing_came(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server, ExitStack() as stack:
        waiting = [(door, stack.enter_context(door.opened(server))) for door in DOORS * 5]
        for door, wire in waiting:
            wire.send(door.pop("k", "other"))
        seen(server)
        server.process.send_signal(signal.SIGTERM)
        for door, wire in waiting:
            assert door.result(wire.answer()) == NOTHING
            wire.expect_closed()
        assert server.process.wait(STOPS_WITHIN_SECS) == 0


@both
def test_nothing_follows_the_answer_that_says_it_is_the_last(tmp_path: Path, opened: Opener) -> None:
    with ServerProcess(tmp_path / "data") as server, opened(server) as wire:
        wire.send(blpop("k") + DBSIZE + blpop("k") + DBSIZE)
        seen(server)
        server.process.send_signal(signal.SIGTERM)
        first, *others = answers_to_the_end(wire)
        assert first.payload == NOTHING
        assert all(answer.status == 503 for answer in others)
        closing = [answer.header("Connection") == "close" for answer in (first, *others)]
        assert not any(closing[:-1])
        assert server.process.wait(STOPS_WITHIN_SECS) == 0


def test_what_was_popped_after_a_wait_stays_popped_after_a_crash(tmp_path: Path) -> None:
    synced = [("X-Synap-Ack", "synced")]
    keyed = blpop("k", "other", headers=[("Idempotency-Key", "i"), *synced])
    server = ServerProcess(tmp_path / "data")
    with connect(server) as plain, connect(server) as with_key, connect(server) as abandoned:
        for wire, asked in ((plain, blpop("k", headers=synced)), (with_key, keyed), (abandoned, blpop("none"))):
            wire.send(asked)
            seen(server)
        server.call("list.rpush", key="k", values=[1, 2, 3])
        assert [wire.answer().payload["value"] for wire in (plain, with_key)] == [1, 2]
        server.kill()
    with ServerProcess(tmp_path / "data") as again, connect(again) as wire:
        assert wire.ask(keyed).payload == {"key": "k", "value": 2}
        assert left(again, "k") == [3]


# Everything at once


class Storm:
    """Clients that push, pop, wait, and leave while waiting, all at once, each value a number of its own."""

    KEYS = ("storm a", "storm b")

    def __init__(self, server: ServerProcess, seed: int) -> None:
        self.server, self.seed = server, seed
        self.pushed: list[int] = []
        self.popped: list[int] = []
        self.pushing = True
        self.failures: list[BaseException] = []

    def run(self, *clients: Callable[[random.Random, int], None], pushers: int, pushes: int) -> None:
        others = [self._thread(client, number) for number, client in enumerate(clients)]
        active = [self._thread(self._pusher(pushes), 1_000 + number) for number in range(pushers)]
        for thread in (*others, *active):
            thread.start()
        for thread in active:
            thread.join()
        self.pushing = False
        for thread in others:
            thread.join()
        assert self.failures == []

    def patient(self, door: Door) -> Callable[[random.Random, int], None]:
        """Waits again and again, for a moment or so."""

        def client(chance: random.Random, number: int) -> None:
            with door.opened(self.server) as wire:
                while self.pushing:
                    asked = door.pop(*self._keys(chance), timeout=chance.choice([0.001, 0.003, 0.01, 0.1]))
                    depth = chance.choice([1, 1, 3])
                    wire.send(asked * depth)
                    for _ in range(depth):
                        self._take(door.result(wire.answer()))

        return client

    def leaver(self, door: Door) -> Callable[[random.Random, int], None]:
        """Says after a moment that it is done, and takes what it may have been given before the server saw that."""

        def client(chance: random.Random, number: int) -> None:
            while self.pushing:
                with door.opened(self.server) as wire:
                    wire.send(door.pop(*self._keys(chance)))
                    time.sleep(chance.choice([0, 0.0005, 0.002, 0.005]))
                    wire.socket.shutdown(socket.SHUT_WR)
                    for answer in answers_to_the_end(wire):
                        self._take(door.result(answer))

        return client

    def check(self) -> None:
        """Every value was popped once, or is still there."""
        kept = [value for key in self.KEYS for value in left(self.server, key)]
        found = Counter(self.popped + kept)
        twice = [value for value, count in found.items() if count > 1]
        lost = sorted(set(self.pushed) - set(found))
        assert (twice, lost, set(found) - set(self.pushed)) == ([], [], set()), f"seed {self.seed}"

    def _pusher(self, pushes: int) -> Callable[[random.Random, int], None]:
        def client(chance: random.Random, number: int) -> None:
            with connect(self.server) as wire:
                for at in range(pushes):
                    first = (number * pushes + at) * 10
                    values = range(first, first + chance.choice([1, 1, 1, 2, 5]))
                    self.pushed.extend(values)
                    assert wire.ask(rpush(chance.choice(self.KEYS), *values)).status == 200
                    if chance.random() < 0.2:
                        time.sleep(0.002)

        return client

    def _keys(self, chance: random.Random) -> list[str]:
        return chance.sample(self.KEYS, chance.choice([1, 2]))

    def _take(self, result: Any) -> None:
        if result["key"] is not None:
            self.popped.append(result["value"])

    def _thread(self, client: Callable[[random.Random, int], None], number: int) -> threading.Thread:
        def run() -> None:
            try:
                client(random.Random(self.seed * 10_000 + number), number)
            except BaseException as error:
                self.failures.append(error)

        return threading.Thread(target=run)


@pytest.mark.parametrize("seed", [1, 2])
def test_in_a_storm_every_value_is_popped_once_or_still_there(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    with ServerProcess(tmp_path / "data") as server:
        storm = Storm(server, seed)
        clients = [storm.patient(door) for door in DOORS] + [storm.leaver(door) for door in DOORS]
        storm.run(*clients, pushers=2, pushes=300)
        storm.check()
        before = sorted(value for key in Storm.KEYS for value in left(server, key))
        assert server.stop() == 0
    with ServerProcess(tmp_path / "data") as again:
        assert sorted(value for key in Storm.KEYS for value in left(again, key)) == before
