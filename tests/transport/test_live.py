"""Connections that are pushed to, all together: the journal comes first, and nothing is left behind."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import CloseCode

from synap.commands.events import StreamFeed
from synap.errors import DiskFull
from tests.durability.test_full_disk import Asked, Disk, disk, file_size_limit, small_file_system
from tests.support import ServerProcess
from tests.transport.sockets import TIMEOUT_SECS, Inside, Socket, connected, listening, wired, within
from tests.transport.wire import HEALTH, memory_bytes

STOPS_WITHIN_SECS = 9.0
MIB = 1024 * 1024

__all__ = ["disk", "file_size_limit", "small_file_system"]


@contextmanager
def slow_disk(server: Inside) -> Iterator[threading.Event]:
    """No fsync ends before the event is set."""
    go_on = threading.Event()
    journal = server.server._journal
    original = journal.sync_job

    def sync_job() -> Any:
        job = original()
        if job is not None:
            run = job.run
            job = type("Slow", (), {"run": lambda _: (go_on.wait(10), run())[1]})()
        return job

    server.run(lambda: setattr(journal, "sync_job", sync_job))
    try:
        yield go_on
    finally:
        go_on.set()


# The journal


def test_with_fsync_always_nothing_is_pushed_that_a_power_cut_could_take_back(tmp_path: Path) -> None:
    with Inside(tmp_path / "data", journal={"fsync": "always"}) as server, ExitStack() as stack:
        reader, worker, publisher = (stack.enter_context(connected(server)) for _ in range(3))
        publisher.call("queue.create", queue="q")
        publisher.call("stream.create", room="r")
        reader.call("stream.subscribe", room="r")
        worker.call("queue.subscribe", queue="q")
        source = stack.enter_context(listening(server, "/stream/r/events"))
        source.first_id()
        with slow_disk(server) as go_on:
            published = publisher.begin("stream.publish", room="r", event_type="t", data=1)
            publisher.begin("queue.publish", queue="q", message=1)
            for client in (reader, worker):
                client.quiet()
            for connection in (publisher.connection, source.connection):
                connection.settimeout(0.01)
                with pytest.raises(TimeoutError):
                    connection.recv(1)
                connection.settimeout(TIMEOUT_SECS)
            go_on.set()
            assert reader.push()["data"] == source.event().json["data"] == 1
            assert worker.push()["message"] == 1
            assert publisher.result(published)["offset"] == 0


def test_replies_of_reads_and_writes_stay_in_order_behind_the_disk(tmp_path: Path) -> None:
    with Inside(tmp_path / "data", journal={"fsync": "always"}) as server, connected(server) as client:
        asked: list[str] = []
        for number in range(3_000):
            asked.append(
                client.begin("kv.set" if number % 2 else "kv.get", key="k", **({"value": 1} if number % 2 else {}))
            )
        assert [client.message()["request_id"] for _ in asked] == asked


def test_nobody_is_told_of_a_lease_that_the_journal_refuses(disk: Disk) -> None:
    with ServerProcess(disk.data) as server, connected(server) as worker, connected(server) as reader:
        server.call("queue.create", queue="q")
        reader.call("stream.subscribe", room="r", create=True)
        worker.call("queue.subscribe", queue="q", prefetch=1_000)
        disk.fill(server)
        refused = 0
        published = []
        while refused < 3:
            for number in range(20):
                try:
                    server.call("queue.publish", queue="q", message=number)
                    published.append(number)
                except DiskFull:
                    refused += 1
        Asked().write_until_full(server)
        for _ in range(3):
            assert worker.reply(worker.begin("queue.purge", queue="q"))["error"]["code"] == "DISK_FULL"
            assert worker.call("queue.stats", queue="q")
        told = _pushed_by_now(worker)
        server.kill()
    if hasattr(disk, "_filler"):
        disk.free(server)
    with ServerProcess(disk.data) as server:
        found = server.call("queue.peek", queue="q", count=1_000)["messages"]
        assert len(found) >= len(published)
        delivered = {message["seq"] for message in found if message["retry_count"]}
        assert {push["seq"] for push in told} <= delivered  # the crash has ended the leases, and they still count


def _pushed_by_now(client: Socket) -> list[Any]:
    """What has been pushed, and is still coming."""
    pushed: list[Any] = []
    while True:
        try:
            client.quiet()
        except AssertionError:
            pushed.append(client.push())
        else:
            return pushed


def test_when_there_is_room_again_subscriptions_go_on(disk: Disk) -> None:
    with ServerProcess(disk.data) as server, connected(server) as worker, connected(server) as reader:
        server.call("queue.create", queue="q")
        worker.call("queue.subscribe", queue="q", prefetch=10)
        reader.call("stream.subscribe", room="r", create=True)
        disk.fill(server)
        Asked().write_until_full(server)
        disk.free(server)
        within(
            10, lambda: bool(server.send({"command": "kv.set", "payload": {"key": "k", "value": 1}})["success"]), True
        )
        server.call("queue.publish", queue="q", message="after")
        server.call("stream.publish", room="r", event_type="t", data="after")
        assert worker.push()["message"] == "after"
        assert reader.push()["data"] == "after"


# Errors


def test_an_error_in_the_push_to_one_is_not_the_trouble_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull = StreamFeed.pull

    def failing(feed: StreamFeed, now: int, bytes_max: int) -> Any:
        if "broken" in (feed._event_types or ()):
            raise RuntimeError("out of order")
        return pull(feed, now, bytes_max)

    monkeypatch.setattr(StreamFeed, "pull", failing)
    with Inside(tmp_path / "data") as server, ExitStack() as stack:
        first, broken, second, publisher = (stack.enter_context(connected(server)) for _ in range(4))
        for client in (first, broken, second):
            types = {"event_types": ["broken"]} if client is broken else {}
            client.begin("stream.subscribe", room="r", create=True, **types)
        for number in range(3):
            publisher.call("stream.publish", room="r", event_type="t", data=number)
        for client in (first, second):
            assert [push["data"] for push in client.pushes(3)] == [0, 1, 2]
        closed = broken.closed()
        assert closed is not None
        assert closed.code == CloseCode.INTERNAL_ERROR


# The end of the server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_stops_says_goodbye_to_all(tmp_path: Path, number: signal.Signals) -> None:
    with ServerProcess(tmp_path / "data") as server, ExitStack() as stack:
        idle, waiting, worker, reader, packed = (stack.enter_context(connected(server)) for _ in range(5))
        server.call("queue.create", queue="q")
        server.call("stream.create", room="r")
        waits = [
            waiting.begin("list.blpop", keys=["k"], timeout=100),
            waiting.begin("queue.consume", queue="q", timeout=9),
        ]
        worker.call("queue.subscribe", queue="q", prefetch=3)
        reader.call("stream.subscribe", room="r")
        packed.is_packed = True
        packed.call("pubsub.subscribe", topics=["#"])
        sources = [
            stack.enter_context(listening(server, path)) for path in ("/stream/r/events", "/pubsub/events?topics=t")
        ]
        for source in sources:
            source.first_id()
        waiting.call("kv.dbsize")
        server.process.send_signal(number)
        assert server.process.wait(STOPS_WITHIN_SECS) == 0
        assert waiting.result(waits[0]) == {"key": None, "value": None}
        assert waiting.result(waits[1])["message_id"] is None
        for client in (idle, waiting, worker, reader, packed):
            closed = client.closed()
            assert closed is not None
            assert closed.code == CloseCode.GOING_AWAY
        for source in sources:
            with pytest.raises(EOFError):
                source.event()


def test_what_is_owed_leaves_before_the_goodbye(tmp_path: Path) -> None:
    with Inside(tmp_path / "data", journal={"fsync": "always"}) as server, ExitStack() as stack:
        writer, reader, leaving = (stack.enter_context(connected(server)) for _ in range(3))
        reader.call("stream.subscribe", room="r", create=True)
        with slow_disk(server) as go_on:
            asked = [writer.begin("stream.publish", room="r", event_type="t", data=n) for n in range(100)]
            last = leaving.begin("kv.set", key="k", value=1)
            within(5, lambda: server.run(lambda: server.server._state.lsn) >= len(asked) + 1, True)
            server.stop()
            threading.Timer(0.2, go_on.set).start()
            assert [writer.result(request_id)["offset"] for request_id in asked] == list(range(100))
            assert [push["data"] for push in reader.pushes(100)] == list(range(100))
            assert leaving.result(last)["success"]
            for client in (writer, reader, leaving):
                closed = client.closed()
                assert closed is not None
                assert closed.code == CloseCode.GOING_AWAY


@pytest.mark.parametrize("wait", ["queue.subscribe", "queue.consume", "list.blpop"])
def test_clients_that_go_in_the_moment_of_the_stop_do_not_disturb_it(tmp_path: Path, wait: str) -> None:
    with Inside(tmp_path / "data") as server, ExitStack() as stack:
        server.call("queue.create", queue="q")
        clients = [stack.enter_context(connected(server)) for _ in range(40)]
        for client in clients:
            payload = {"keys": ["k"]} if wait == "list.blpop" else {"queue": "q"}
            client.begin(wait, **payload, **({} if wait == "queue.subscribe" else {"timeout": 100}))
            client.call("kv.dbsize")
        with server.halted():
            for client in clients[::2]:
                client.reset()
            server.stop()
        for client in clients[1::2]:
            closed = client.closed()
            assert closed is not None
            assert closed.code == CloseCode.GOING_AWAY
    assert server.has_stopped_well


def test_clients_that_read_nothing_hold_up_no_stop(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server, ExitStack() as stack:
        publisher = stack.enter_context(connected(server))
        stalled = [stack.enter_context(connected(server, receive_buffer=4096)) for _ in range(3)]
        source = stack.enter_context(listening(server, "/pubsub/events?topics=t", receive_buffer=4096))
        for client in stalled:
            client.call("pubsub.subscribe", topics=["t"])
        source.first_id()
        publish = {"command": "pubsub.publish", "payload": {"topic": "t", "message": "x" * 1_000}}
        for _ in range(10):
            publisher.send({"type": "batch", "commands": [publish] * 1_000, "request_id": "b"})
            publisher.reply("b")
        assert b"synap_push_connections 5.0" in server.http("GET", "/metrics")[2]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(STOPS_WITHIN_SECS) == 0


# Nothing is left behind


def test_no_more_than_so_many_connections_are_taken(tmp_path: Path) -> None:
    with Inside(tmp_path / "data", limits={"max_connections": 4}) as server, ExitStack() as stack:
        clients = [stack.enter_context(connected(server)) for _ in range(3)]
        with listening(server, "/pubsub/events?topics=t") as source:
            source.first_id()
            with pytest.raises(InvalidStatus), connected(server):
                pass
        clients[0].close()
        within(5, lambda: server.leftovers()["connections"], 2)
        with connected(server) as client:
            assert client.call("kv.dbsize")


def test_connections_that_come_and_go_at_random_leave_nothing_behind(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    with Inside(tmp_path / "data") as server, connected(server) as publisher:
        publisher.call("queue.create", queue="q")
        publisher.call("stream.create", room="r", partitions=2)
        files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        open_ones: list[Socket] = []
        with ExitStack() as stack:
            for number in range(400):
                client = stack.enter_context(connected(server, is_packed=rng.random() < 0.2))
                open_ones.append(client)
                for command, payload in rng.sample(ATTACHMENTS, rng.randint(0, 4)):
                    client.begin(command, **payload)
                for command, payload in rng.sample(PUBLICATIONS, 1):
                    publisher.begin(command, **payload)
                if rng.random() < 0.8:
                    _leave(open_ones.pop(rng.randrange(len(open_ones))), rng)
                if number % 100 == 0:
                    publisher.call("kv.dbsize")
            assert publisher.call("kv.dbsize")
        publisher.close()
        within(10, lambda: bool(server.leftovers()), False)
        within(10, lambda: len(os.listdir("/proc/self/fd")) <= files, True)  # noqa: PTH208
        stats = server.call("queue.stats", queue="q")
        assert stats["in_flight"] == 0
        with wired(server) as wire:
            metrics = wire.ask(HEALTH.replace(b"health", b"metrics")).body.decode()
        for name in ("push_connections", "waiting_commands", "outbox_messages"):
            assert f"synap_{name} 0.0" in metrics


ATTACHMENTS: list[tuple[str, dict[str, Any]]] = [
    ("pubsub.subscribe", {"topics": ["t", "#", "*.a"]}),
    ("pubsub.subscribe", {"topics": ["t"], "policy": "disconnect"}),
    ("stream.subscribe", {"room": "r", "replay": True}),
    ("stream.subscribe", {"room": "none", "create": True}),
    ("queue.subscribe", {"queue": "q", "prefetch": 3}),
    ("queue.consume", {"queue": "q", "timeout": 60}),
    ("list.blpop", {"keys": ["a", "b"], "timeout": 60}),
    ("list.brpop", {"keys": ["b"], "timeout": 0}),
    ("stream.consume", {"room": "r", "group": "g", "timeout": 60}),
    ("sortedset.bzpopmin", {"keys": ["z"], "timeout": 60}),
]
PUBLICATIONS: list[tuple[str, dict[str, Any]]] = [
    ("pubsub.publish", {"topic": "t", "message": "x" * 1_000}),
    ("stream.publish", {"room": "r", "event_type": "t", "data": "x" * 1_000}),
    ("queue.publish", {"queue": "q", "message": 1}),
    ("list.rpush", {"key": "b", "value": 1}),
]


def _leave(client: Socket, rng: random.Random) -> None:
    how = rng.choice(["close", "reset", "gone", "half-closed"])
    if how == "close":
        client.close()
    elif how == "reset":
        client.reset()
    elif how == "half-closed":
        client.connection.shutdown(socket.SHUT_WR)
    else:
        client.connection.close()


@pytest.mark.soak
def test_thousands_of_connections_that_come_and_go_cost_nothing_in_the_end(tmp_path: Path) -> None:
    rng = random.Random(1)
    with ServerProcess(tmp_path / "data") as server:
        server.call("queue.create", queue="q")
        server.call("stream.create", room="r")
        found = []
        for _ in range(5):
            for _ in range(1_000):
                with connected(server) as client:
                    for command, payload in rng.sample(ATTACHMENTS, 4):
                        client.begin(command, **payload)
                    client.call("kv.dbsize")
                    _leave(client, rng)
            found.append(memory_bytes(server))
        assert found[-1] - found[1] < 5 * MIB
