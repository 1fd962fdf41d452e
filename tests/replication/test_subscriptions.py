"""Who is subscribed on a replica gets what is published on the master, and is told when that is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from synap.replication.replicas import Replica
from synap.replication.service import PUBLISHED_BYTES_MAX, Stream
from synap.replication.wire import Greeting, Heartbeat, Message, Publication
from tests.replication.follower import Follower, following
from tests.replication.inside import caught_up, digest, get, link_state, replica_of, role, url
from tests.transport.sockets import Inside, Socket, connected, listening, wired, within
from tests.transport.test_metrics import samples
from tests.transport.wire import command, envelope, eventually

RESTARTED = 1012
LARGE = 100_000
MANY = 60


class Pair(NamedTuple):
    master: Inside
    replica: Inside


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """For tests that leave the roles as they are."""
    data = tmp_path_factory.mktemp("subscriptions")
    with Inside(data / "master") as master, replica_of(master, data / "replica") as replica:
        caught_up(replica, master)
        yield Pair(master, replica)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Pair]:
    """For tests that change them."""
    with Inside(tmp_path / "master") as master, replica_of(master, tmp_path / "replica") as replica:
        master.call("stream.create", room="room")
        caught_up(replica, master)
        yield Pair(master, replica)


@pytest.fixture
def room(pair: Pair, request: pytest.FixtureRequest) -> str:
    """A room that no other test uses, and that the replica has."""
    name = str(request.node.name)
    pair.master.call("stream.create", room=name)
    caught_up(pair.replica, pair.master)
    return name


def publish(on: Inside, room: str, *data: Any) -> None:
    for each in data:
        on.call("stream.publish", room=room, event_type="e", data=each)


# What comes


def test_a_room_is_followed_on_a_replica(pair: Pair, room: str) -> None:
    publish(pair.master, room, 0, 1)
    caught_up(pair.replica, pair.master)
    with connected(pair.replica) as socket:
        socket.call("stream.subscribe", room=room, replay=True)
        publish(pair.master, room, 2, 3)
        pushed = socket.pushes(4)
        assert [(event["offset"], event["data"]) for event in pushed] == [(n, n) for n in range(4)]
        socket.quiet()


def test_a_room_is_followed_by_server_sent_events(pair: Pair, room: str) -> None:
    with listening(pair.replica, f"/stream/{room}/events?replay=true") as source:
        publish(pair.master, room, "a", "b")
        events = source.events(2)
    assert [(event.id, event.json["data"]) for event in events] == [("0", "a"), ("1", "b")]


def test_who_subscribes_to_a_room_that_is_not_there_makes_none_and_gets_it_when_it_comes(pair: Pair) -> None:
    with connected(pair.replica) as socket:
        assert socket.call("stream.subscribe", room="later", create=True)["subscribed"]
        caught_up(pair.replica, pair.master)
        assert digest(pair.replica) == digest(pair.master)
        publish(pair.master, "later", 1)
        assert socket.push()["data"] == 1


def test_pubsub_comes_with_topic_message_and_metadata(pair: Pair) -> None:
    with connected(pair.replica) as socket, connected(pair.master) as there:
        for each in (socket, there):
            each.call("pubsub.subscribe", topics=["a.*", "b"])
        pair.master.call("pubsub.publish", topic="a.x", message={"n": "ü"}, metadata={"from": "here"})
        pair.master.call("pubsub.publish", topic="c", message="for nobody")
        pair.master.call("pubsub.publish", topic="b", message=[1.10])
        here, on_master = socket.pushes(2), there.pushes(2)
    for ours, theirs in zip(here, on_master, strict=True):
        for field in ("topic", "pattern", "message", "metadata"):
            assert ours[field] == theirs[field]


def test_pubsub_comes_by_server_sent_events(pair: Pair) -> None:
    with listening(pair.replica, "/pubsub/events?topics=news.%23") as source:
        eventually(lambda: pair.replica.call("pubsub.stats")["total_subscribers"] == 1)
        pair.master.call("pubsub.publish", topic="news.today", message=[1, 2])
        assert source.event().json["message"] == [1, 2]


def test_a_message_that_is_larger_than_what_may_wait_comes_too(pair: Pair) -> None:
    large = "x" * (2 * PUBLISHED_BYTES_MAX)
    with connected(pair.replica) as socket:
        socket.call("pubsub.subscribe", topics=["large"])
        pair.master.call("pubsub.publish", topic="large", message=large)
        assert socket.push()["message"] == large
        pair.master.call("pubsub.publish", topic="large", message="small")
        assert socket.push()["message"] == "small"


def test_a_message_goes_on_to_replicas_of_a_replica_once(pair: Pair, tmp_path: Path) -> None:
    with replica_of(pair.replica, tmp_path / "last") as last, connected(last) as socket:
        caught_up(last, pair.replica)
        socket.call("pubsub.subscribe", topics=["passed on"])
        pair.master.call("pubsub.publish", topic="passed on", message=1)
        assert socket.push()["message"] == 1
        socket.quiet()


# Who reads slowly


def after_reading(follower: Follower, wanted: int) -> list[Message]:
    """What has been sent, up to the publication of this number."""
    came: list[Message] = []
    while not (came and isinstance(came[-1], Publication) and came[-1].body.startswith(b"[%d," % wanted)):
        came.append(follower.message())
    return came


def test_what_waits_for_a_slow_replica_is_bounded_and_what_it_is_not_sent_is_counted(tmp_path: Path) -> None:
    with Inside(tmp_path / "m") as master, following(master, receive_buffer=4_096) as follower:
        [stream] = master.server._replication.streams
        waiting: list[int] = []

        def publish_many() -> None:
            for number in range(MANY):
                body = b'[%d,"%b"]' % (number, b"x" * LARGE)
                master.server._replication.publish("t", body, b"null")
                waiting.append(stream._published_bytes)

        master.run(publish_many)
        assert max(waiting) <= PUBLISHED_BYTES_MAX
        dropped = samples(master)["synap_replication_pubsub_dropped_total",]
        assert dropped >= MANY - PUBLISHED_BYTES_MAX // LARGE - 1
        came = after_reading(follower, MANY - 1)
        numbers = [int(m.body[1 : m.body.index(b",")]) for m in came if isinstance(m, Publication)]
        assert numbers == sorted(numbers)
        assert len(numbers) == MANY - dropped
        master.call("kv.set", key="a", value=1)
        while not isinstance(message := follower.message(), Heartbeat) or message.lsn < master.server._journal.last_lsn:
            pass


def test_heartbeats_are_dropped_for_no_message_and_wait_behind_none() -> None:
    stream = Stream(Replica(1, Greeting(node="n", from_lsn=1), "127.0.0.1", 0.0), 0)
    stream.beat(b"an old heartbeat")
    dropped = sum(stream.publish(b"%d" % number * LARGE) for number in range(MANY))
    stream.beat(b"heartbeat")
    heartbeat, *messages = stream.messages()
    assert heartbeat == b"heartbeat"
    assert 0 < len(messages) == MANY - dropped
    assert not stream.has_messages


# When roles change


def subscribed(socket: Socket) -> None:
    """To a room and a topic."""
    socket.call("stream.subscribe", room="room")
    socket.call("pubsub.subscribe", topics=["t"])


def test_subscriptions_go_on_when_their_replica_is_promoted(own: Pair) -> None:
    with connected(own.replica) as socket, listening(own.replica, "/stream/room/events?replay=true") as source:
        subscribed(socket)
        publish(own.master, "room", 1)
        assert (socket.push()["data"], source.event().json["data"]) == (1, 1)
        own.replica.call("replication.promote", force=True)
        publish(own.replica, "room", 2)
        own.replica.call("pubsub.publish", topic="t", message=3)
        assert {push.get("data", push.get("message")) for push in socket.pushes(2)} == {2, 3}
        assert source.event().json["data"] == 2


def test_when_a_master_steps_down_sockets_are_closed_and_who_waits_is_answered(own: Pair) -> None:
    with (
        connected(own.master) as socket,
        connected(own.master) as waiting,
        listening(own.master, "/stream/room/events") as source,
        wired(own.master) as wire,
    ):
        subscribed(socket)
        pop = waiting.begin("list.blpop", keys=["l"], timeout=0)
        wire.send(command(envelope("list.blpop", keys=["l"], timeout=0)))
        eventually(lambda: own.master.run(lambda: len(own.master.server._state.line)) == 2)
        own.replica.call("replication.promote", force=True)
        assert wire.answer().payload["key"] is None
        assert waiting.result(pop)["key"] is None
        for each in (socket, waiting):
            close = each.closed()
            assert close is not None
            assert (close.code, close.reason) == (RESTARTED, "this server is a replica now")
        with pytest.raises(EOFError):
            source.event()
    assert role(own.master) == "replica"
    assert own.master.leftovers().get("clients") is None
    eventually(lambda: link_state(own.master) == "streaming")
    with connected(own.master) as socket:
        subscribed(socket)
        publish(own.replica, "room", 9)
        assert socket.push()["data"] == 9


def test_who_asks_for_the_change_on_a_socket_is_answered_before_it_is_closed(own: Pair) -> None:
    with connected(own.replica) as socket:
        assert socket.call("replication.promote", force=True)["role"] == "master"
        assert socket.call("kv.set", key="a", value=1)["success"]
        assert socket.call("replication.follow", master="http://127.0.0.1:9")["role"] == "replica"
        close = socket.closed()
        assert close is not None
        assert close.code == RESTARTED


def test_when_a_replica_is_rebuilt_sockets_are_closed_and_the_stream_is_there_again(own: Pair) -> None:
    publish(own.master, "room", *range(5))
    own.master.call("admin.snapshot")
    within(20, lambda: own.master.server._snapshots.last_at is not None, True)
    caught_up(own.replica, own.master)
    with connected(own.replica) as socket, listening(own.replica, "/stream/room/events?replay=true") as source:
        subscribed(socket)
        last_id = source.events(5)[-1].id
        assert own.replica.call("replication.resync")["started"]
        close = socket.closed()
        assert close is not None
        assert (close.code, close.reason) == (RESTARTED, "this replica is being rebuilt")
        with pytest.raises(EOFError):
            source.event()
    eventually(lambda: get(own.replica, "/ready").status == 200)
    publish(own.master, "room", 5)
    with listening(own.replica, "/stream/room/events", last_id) as source:
        assert source.event().json["data"] == 5
    caught_up(own.replica, own.master)


def test_a_master_has_nothing_to_copy_anew(own: Pair) -> None:
    assert own.master.call("replication.resync") == {"started": False}
    assert role(own.master) == "master"


def test_what_was_leased_by_connections_is_free_on_who_is_promoted(own: Pair) -> None:
    own.master.call("queue.publish", queue="q", message="work")
    with connected(own.master) as socket:
        socket.call("queue.subscribe", queue="q")
        assert socket.push()["message"] == "work"
        caught_up(own.replica, own.master)
        own.replica.call("replication.promote", force=True)
        assert own.replica.call("queue.consume", queue="q")["message"] == "work"
    eventually(lambda: role(own.master) == "replica")
    assert own.master.call("replication.status")["master"]["address"] == url(own.replica)
