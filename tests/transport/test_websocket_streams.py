"""Subscriptions to rooms on real connections: every event once and in order, whatever goes on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from synap.errors import InvalidOffset, RoomNotFound
from tests.support import ServerProcess
from tests.transport.sockets import Inside, Socket, connected, within

PUBLISHERS, EVENTS_EACH = 3, 1_500


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    with Inside(tmp_path_factory.mktemp("sockets") / "data") as running:
        yield running


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    """A room that no other test uses."""
    return str(request.node.name)


def publish(on: Socket, room: str, count: int, first: int = 0, size: int = 0) -> None:
    """Publish numbers; one that begins with 0 has as many events in front of it as it says."""
    events = [{"event_type": "n", "data": [number, "x" * size]} for number in range(first, first + count)]
    for at in range(0, count, 500):
        on.call("stream.publish_batch", room=room, events=events[at : at + 500])


def test_the_reply_comes_before_the_first_event(server: Inside, room: str) -> None:
    with connected(server) as subscriber:
        publish(subscriber, room, 3)
        request_id = subscriber.begin("stream.subscribe", room=room, replay=True)
        assert subscriber.message()["request_id"] == request_id
        assert [event["offset"] for event in subscriber.pushes(3)] == [0, 1, 2]


def test_an_event_of_ones_own_comes_after_the_reply_or_before_but_once(server: Inside, room: str) -> None:
    with connected(server) as subscriber:
        subscriber.call("stream.subscribe", room=room, create=True)
        asked = [
            subscriber.framed({"command": "stream.publish", "payload": {"room": room, "event_type": "t", "data": n}})
            for n in range(100)
        ]
        subscriber.send_raw(b"".join(asked))
        assert [event["data"] for event in subscriber.pushes(100)] == list(range(100))
        subscriber.quiet()


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_replay_hands_over_to_live_while_others_publish(tmp_path: Path, partitions: int, fsync: str) -> None:
    with Inside(tmp_path / "data", journal={"fsync": fsync}) as server, ExitStack() as stack:
        sockets = [stack.enter_context(connected(server)) for _ in range(PUBLISHERS)]
        sockets[0].call("stream.create", room="r", partitions=partitions)

        def run(socket: Socket) -> None:
            waiting = [
                socket.begin("stream.publish", room="r", event_type="t", data=n, key=str(n)) for n in range(EVENTS_EACH)
            ]
            for request_id in waiting:
                socket.result(request_id)

        threads = [threading.Thread(target=run, args=(socket,)) for socket in sockets]
        for thread in threads:
            thread.start()
        total = PUBLISHERS * EVENTS_EACH
        for number in range(4):
            subscriber = stack.enter_context(connected(server, is_packed=number == 0))
            subscriber.call("stream.subscribe", room="r", replay=True)
            seen: dict[int, list[int]] = {}
            for event in subscriber.pushes(total):
                seen.setdefault(event["partition"], []).append(event["offset"])
            assert all(offsets == list(range(len(offsets))) for offsets in seen.values())
            subscriber.quiet(0.02)
        for thread in threads:
            thread.join()


def test_what_retention_removes_is_told_and_never_skipped(server: Inside, room: str) -> None:
    with connected(server) as publisher, connected(server, receive_buffer=4096) as slow:
        publisher.call("stream.create", room=room, retention={"max_events": 100})
        publish(publisher, room, 150)
        subscribed = slow.call("stream.subscribe", room=room, from_offset=0)
        assert (subscribed["gap"], subscribed["next_offset"]) == ({"from": 0, "to": 49}, 50)
        publish(publisher, room, 3_000, first=150, size=5_000)
        last, missed = 49, 0
        while last < 3_149:
            push = slow.push()
            if push["type"] == "gap":
                assert (push["room"], push["from"]) == (room, last + 1)
                assert push["missed"] == push["to"] - push["from"] + 1
                missed += push["missed"]
                last = push["to"]
            else:
                assert push["offset"] == push["data"][0] == last + 1
                last = push["offset"]
        assert missed > 0


def test_who_reads_slowly_catches_up_completely_and_holds_up_nobody(server: Inside, room: str) -> None:
    with connected(server) as publisher, connected(server, receive_buffer=4096) as slow, connected(server) as quick:
        for subscriber in (slow, quick):
            subscriber.call("stream.subscribe", room=room, create=True)
        publish(publisher, room, 5_000, size=2_000)
        assert [event["offset"] for event in quick.pushes(5_000)] == list(range(5_000))
        assert server.run(lambda: sum(len(client.outbox) for client in server.server._live.clients)) == 0
        assert [event["offset"] for event in slow.pushes(5_000)] == list(range(5_000))


def test_a_busy_room_keeps_nothing_else_of_a_connection_waiting(server: Inside, room: str) -> None:
    with connected(server) as publisher, connected(server, receive_buffer=65_536) as subscriber:
        publish(publisher, room, 4_000, size=4_000)
        subscriber.call("stream.subscribe", room=room + "2", create=True)
        subscriber.call("pubsub.subscribe", topics=[room])
        subscriber.begin("stream.subscribe", room=room, replay=True)
        publish(publisher, room + "2", 1)
        publisher.call("pubsub.publish", topic=room, message=1)
        order = [(push["type"], push.get("room")) for push in subscriber.pushes(4_002)]
        assert order.index(("event", room + "2")) < 3_000
        assert order.index(("message", None)) < 3_000


def test_a_reader_comes_back_by_offset_also_after_kill_9(tmp_path: Path) -> None:
    data = tmp_path / "data"
    positions: dict[str, int] = {}
    seen: list[Any] = []
    published = 0
    for turn in range(3):
        server = ServerProcess(data, "--fsync", "always" if turn else "everysec")
        with connected(server) as publisher, connected(server) as reader:
            if turn == 0:
                publisher.call("stream.create", room="r", partitions=3)
            publish(publisher, "r", 40, first=published)
            published += 40
            reader.call("stream.subscribe", room="r", from_offsets=positions, replay=turn == 0)
            for event in reader.pushes(published - len(seen) - 5):
                seen.append(event["data"][0])
                assert event["offset"] == positions.get(str(event["partition"]), 0)
                positions[str(event["partition"])] = event["offset"] + 1
            server.kill()
    with ServerProcess(data) as server, connected(server) as reader:
        reader.call("stream.subscribe", room="r", from_offsets=positions)
        seen += [event["data"][0] for event in reader.pushes(published - len(seen))]
        reader.quiet()
    assert sorted(seen) == list(range(published))


def test_beginnings_that_make_no_sense_are_refused_and_change_nothing(server: Inside, room: str) -> None:
    with connected(server) as subscriber:
        with pytest.raises(RoomNotFound):
            subscriber.call("stream.subscribe", room=room)
        publish(subscriber, room, 2)
        subscriber.call("stream.subscribe", room=room)
        with pytest.raises(InvalidOffset):
            subscriber.call("stream.subscribe", room=room, from_offset=3)
        publish(subscriber, room, 1, first=2)
        assert subscriber.push()["offset"] == 2


def test_the_deletion_of_the_room_is_told_once(server: Inside, room: str) -> None:
    with connected(server) as subscriber, connected(server) as other:
        subscriber.call("stream.subscribe", room=room, create=True)
        publish(other, room, 2)
        commands = [
            {"command": "stream.delete", "payload": {"room": room}},
            {"command": "stream.publish", "payload": {"room": room, "event_type": "t", "data": "new"}},
        ]
        assert [push["offset"] for push in subscriber.pushes(2)] == [0, 1]
        server.send({"type": "batch", "commands": commands})
        end = subscriber.push()
        assert (end["type"], end["room"]) == ("end", room)
        publish(other, room, 1)
        subscriber.quiet()
        assert not subscriber.call("stream.unsubscribe", room=room)["unsubscribed"]


def test_nothing_comes_after_the_end_of_a_subscription(server: Inside, room: str) -> None:
    with connected(server) as subscriber, connected(server) as other:
        publish(other, room, 500)
        subscriber.begin("stream.subscribe", room=room, replay=True)
        last = subscriber.begin("stream.unsubscribe", room=room)
        messages = [subscriber.message()]
        while messages[-1].get("request_id") != last:
            messages.append(subscriber.message())
        publish(other, room, 10)
        subscriber.quiet()
        assert server.leftovers().get("watchers") is None


def test_subscribers_that_are_reset_under_fire_leave_nothing_behind(server: Inside, room: str) -> None:
    with connected(server) as publisher:
        for turn in range(5):
            with ExitStack() as stack:
                subscribers = [stack.enter_context(connected(server)) for _ in range(40)]
                for subscriber in subscribers:
                    subscriber.begin("stream.subscribe", room=room, create=True, replay=bool(turn % 2))
                publish(publisher, room, 100, size=500)
                for subscriber in subscribers[::2]:
                    subscriber.reset()
                publish(publisher, room, 100, size=500)
        assert publisher.call("kv.dbsize")
    within(10, lambda: bool(server.leftovers()), False)
