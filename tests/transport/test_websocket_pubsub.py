"""Pub/sub on real connections: once each, and a subscriber that reads too slowly costs little and is told the truth."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.frames import CloseCode, Opcode

from synap.transport import websocket
from tests.support import ServerProcess
from tests.transport.sockets import Inside, Socket, connected, frame, wired, within
from tests.transport.wire import HEALTH, memory_bytes

OUTBOX_MESSAGES, OUTBOX_BYTES = 300, 1024 * 1024
FLOOD, MESSAGE_BYTES, BATCH = 100_000, 1_024, 1_000
MIB = 1024 * 1024
GROWTH_BYTES_MAX = 100 * MIB
SMALL_BUFFER = 4_096


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    limits = {"outbox_messages": OUTBOX_MESSAGES, "outbox_bytes": OUTBOX_BYTES}
    with Inside(tmp_path_factory.mktemp("sockets") / "data", limits=limits) as running:
        yield running


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic that no other test uses."""
    return str(request.node.name)


def flood(publisher: Socket, topic: str, count: int, size: int = MESSAGE_BYTES) -> None:
    """Publish so many messages, numbered from 0."""
    for at in range(0, count, BATCH):
        commands = [
            {"command": "pubsub.publish", "payload": {"topic": topic, "message": [number, "x" * size]}}
            for number in range(at, min(at + BATCH, count))
        ]
        publisher.send({"type": "batch", "commands": commands, "request_id": "flood"})
        publisher.reply("flood")


def numbers(subscriber: Socket, topic: str, last: int) -> tuple[list[int], int]:
    """The numbers of the messages up to the last one, and how many are told to be missing; gaps must fit exactly."""
    seen: list[int] = []
    missed, expected = 0, 0
    while expected <= last:
        push = subscriber.push()
        if push["type"] == "gap":
            assert push["topic"] == topic
            missed += push["missed"]
            expected += push["missed"]
        else:
            assert push["message"][0] == expected, f"{len(seen)} seen, {missed} missed"
            seen.append(expected)
            expected += 1
    return seen, missed


def test_a_message_comes_once_however_many_patterns_match(server: Inside, topic: str) -> None:
    with connected(server) as subscriber, connected(server) as publisher:
        patterns = [f"{topic}.a", f"{topic}.*", f"{topic}.#", "#"]
        subscribed = subscriber.call("pubsub.subscribe", topics=patterns)
        assert (subscribed["subscribed"], subscribed["gap"]) == (patterns, None)
        for number in range(3):
            told = publisher.call("pubsub.publish", topic=f"{topic}.a", message=number, metadata={"é": 1})
            assert (told["subscribers_notified"], told["subscribers_matched"]) == (1, 1)
        pushed = subscriber.pushes(3)
        assert [push["message"] for push in pushed] == [0, 1, 2]
        assert {push["topic"] for push in pushed} == {f"{topic}.a"}
        assert pushed[0]["metadata"] == {"é": 1}
        assert {push["pattern"] for push in pushed} <= set(patterns)
        assert subscriber.call("pubsub.unsubscribe")["unsubscribed"] == patterns
        publisher.call("pubsub.publish", topic=f"{topic}.a", message=3)
        subscriber.quiet()


def test_the_reply_comes_before_the_first_message_also_of_ones_own(server: Inside, topic: str) -> None:
    with connected(server) as subscriber:
        asked = [
            {"command": "pubsub.subscribe", "payload": {"topics": [topic]}, "request_id": "s"},
            {"command": "pubsub.publish", "payload": {"topic": topic, "message": 1}, "request_id": "p"},
        ]
        subscriber.send_raw(b"".join(subscriber.framed(request) for request in asked))
        first, *others = [subscriber.message() for _ in range(3)]
        assert first["request_id"] == "s"
        assert {other["type"] for other in others} == {"response", "message"}


def test_who_comes_back_gets_what_was_missed_or_is_told_how_much_is_gone(server: Inside, topic: str) -> None:
    with connected(server) as publisher:
        with connected(server) as subscriber:
            epoch = subscriber.call("pubsub.subscribe", topics=[topic])["epoch"]
            flood(publisher, topic, 5, size=1)
            seen = subscriber.pushes(5)[2]["seq"]
        for patterns in ([topic], [topic, f"{topic}.#"]):
            with connected(server) as subscriber:
                back = subscriber.call("pubsub.subscribe", topics=patterns, epoch=epoch, last_seq=seen)
                assert back["gap"] is None
                assert [push["message"][0] for push in subscriber.pushes(2)] == [3, 4]
                subscriber.quiet(0.05)
        flood(publisher, topic, 1_000, size=1)
        with connected(server) as subscriber:
            gap = subscriber.call("pubsub.subscribe", topics=[topic], epoch=epoch, last_seq=seen)["gap"]
            pushed = subscriber.pushes(256)
            assert gap == {"missed": 1_002 - 256, "at_least": False, "reason": "history"}
            assert [push["message"][0] for push in pushed] == list(range(1_000 - 256, 1_000))


def test_after_a_restart_nobody_knows_what_was_missed(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server, connected(server) as subscriber:
        epoch = subscriber.call("pubsub.subscribe", topics=["t"])["epoch"]
        server.kill()
    with ServerProcess(tmp_path / "data") as server, connected(server) as subscriber:
        back = subscriber.call("pubsub.subscribe", topics=["t"], epoch=epoch, last_seq=0)
        assert (back["gap"]["missed"], back["gap"]["reason"]) == (None, "restart")
        assert back["epoch"] != epoch


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_what_a_slow_subscriber_misses_is_told_in_its_place(server: Inside, topic: str, policy: str) -> None:
    count = 20_000
    with (
        connected(server, receive_buffer=SMALL_BUFFER) as slow,
        connected(server) as publisher,
        connected(server) as quick,
    ):
        slow.call("pubsub.subscribe", topics=[topic], policy=policy)
        quick.call("pubsub.subscribe", topics=[topic + "2"])
        before = server.call("pubsub.stats")["dropped_total"]
        flood(publisher, topic, count)
        publisher.call("pubsub.publish", topic=topic + "2", message="quick")
        assert quick.push()["message"] == "quick"
        dropped = server.call("pubsub.stats")["dropped_total"] - before
        waiting = server.run(lambda: max(len(client.outbox) for client in server.server._live.clients))
        assert 0 < waiting <= OUTBOX_MESSAGES
        seen, missed = numbers(slow, topic, count - 1)
        assert missed == dropped == count - len(seen)
        if policy == "drop_oldest":
            assert seen[-OUTBOX_MESSAGES:] == list(range(count - OUTBOX_MESSAGES, count))
        else:
            assert seen[:OUTBOX_MESSAGES] == list(range(OUTBOX_MESSAGES))
        assert server.call("pubsub.stats")["dropped_total"] - before == dropped
        assert f"synap_pubsub_dropped_total {float(before + dropped)}" in _metrics(server)
        publisher.call("pubsub.publish", topic=topic, message="after")
        assert slow.push()["message"] == "after"


def test_a_subscriber_that_wants_all_or_nothing_is_closed(server: Inside, topic: str) -> None:
    with connected(server, receive_buffer=65_536) as slow, connected(server) as publisher:
        slow.call("pubsub.subscribe", topics=[topic], policy="disconnect")
        flood(publisher, topic, 20_000)
        seen = []
        with pytest.raises(EOFError):
            while True:
                seen.append(slow.push()["message"][0])
        assert seen == list(range(len(seen)))
        closed = slow.closed()
        assert closed is not None
        assert closed.code == CloseCode.POLICY_VIOLATION
        within(2, lambda: server.call("pubsub.stats")["total_subscribers"], 0)


def test_a_subscriber_that_wants_all_and_reads_nothing_is_cut_off(
    server: Inside, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "CLOSE_SECS_MAX", 0.2)
    with connected(server, receive_buffer=SMALL_BUFFER) as slow, connected(server) as publisher:
        slow.call("pubsub.subscribe", topics=[topic], policy="disconnect")
        flood(publisher, topic, 20_000)
        within(5, lambda: server.leftovers()["clients"], 1)
        within(5, lambda: server.leftovers()["connections"], 1)


def test_a_flood_costs_a_bounded_amount_of_memory_and_delays_nobody(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server, connected(server) as publisher, connected(server) as other:
        flood(publisher, "warm", 5_000)
        before = memory_bytes(server)
        with connected(server, receive_buffer=SMALL_BUFFER) as slow, connected(server) as packed:
            slow.call("pubsub.subscribe", topics=["t"])
            packed.is_packed = True
            packed.call("pubsub.subscribe", topics=["t"])
            delays: list[float] = []
            over = threading.Event()

            def measure() -> None:
                while not over.is_set():
                    started = time.monotonic()
                    other.call("kv.incr", key="k")
                    delays.append(time.monotonic() - started)

            measuring = threading.Thread(target=measure)
            measuring.start()
            flood(publisher, "t", FLOOD)
            over.set()
            measuring.join()
            assert memory_bytes(server) - before < GROWTH_BYTES_MAX
            assert len(delays) > FLOOD / BATCH / 2  # a command gets its turn between batches
            stats = server.call("pubsub.stats")
            assert stats["dropped_total"] > FLOOD
            seen, missed = numbers(slow, "t", FLOOD - 1)
            assert len(seen) + missed == FLOOD


@pytest.mark.soak
def test_many_floods_and_slow_subscribers_do_not_add_up(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server, connected(server) as publisher:
        flood(publisher, "t", FLOOD)
        found = []
        for _ in range(10):
            with connected(server, receive_buffer=SMALL_BUFFER) as slow, connected(server) as other:
                slow.call("pubsub.subscribe", topics=["#"])
                other.call("pubsub.subscribe", topics=["#"], policy="drop_newest")
                flood(publisher, "t", FLOOD)
            found.append(memory_bytes(server))
        assert found[-1] - found[4] < 10 * MIB  # by then the allocator has what it needs


def test_pings_are_answered_while_nothing_is_read(server: Inside, topic: str) -> None:
    """They are once the client reads: the answer has its place behind what was sent before."""
    with connected(server, receive_buffer=SMALL_BUFFER) as slow, connected(server) as publisher:
        slow.call("pubsub.subscribe", topics=[topic])
        flood(publisher, topic, 5_000)
        for number in range(50):
            slow.send_raw(frame(Opcode.PING, b"%d" % number))
        pongs: list[Any] = []
        while len(pongs) < 50:
            received = slow.frame()
            if received.opcode is Opcode.PONG:
                pongs.append(int(bytes(received.data)))
        assert pongs == list(range(50))


def test_who_answers_no_ping_is_cut_off_and_others_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "HEARTBEAT_SECS", 0.4)
    with Inside(tmp_path / "data") as server, connected(server) as dead, connected(server) as alive:
        for subscriber in (dead, alive):
            subscriber.call("queue.create", queue="q")
            subscriber.call("queue.subscribe", queue="q")
        server.call("queue.publish", queue="q", message=1)
        assert dead.push()["message"] == 1
        assert alive.push()["message"] == 1
        alive.quiet(0.8)
        assert server.leftovers()["clients"] == 1


def _metrics(server: Inside) -> str:
    with wired(server) as wire:
        return wire.ask(HEALTH.replace(b"health", b"metrics")).body.decode()
