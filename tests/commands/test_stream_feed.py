"""Live subscriptions to rooms: where they begin, what is pushed and in which order, gaps, and the end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap.commands.frames import EventFrames
from tests.commands.common import refused
from tests.commands.queueing import Connection, check_recovery, decoded, event, events
from tests.commands.waiters import nobody_waits
from tests.support import START, Harness


def subscribe(connection: Connection, **fields: Any) -> Any:
    return connection.call("stream.subscribe", **{"room": "r"} | fields)


def told(pushes: list[Any]) -> list[Any]:
    """Data of events; (missed, from, to) of gaps; the type of anything else."""
    return [
        push["data"]
        if push["type"] == "event"
        else (push["missed"], push["from"], push["to"])
        if push["type"] == "gap"
        else push["type"]
        for push in pushes
    ]


@pytest.fixture
def connection(harness: Harness) -> Connection:
    return Connection(harness)


# Where it begins


@pytest.mark.parametrize(
    ("fields", "begins"),
    [
        ({}, 4),
        ({"replay": True}, 0),
        ({"from_offset": 2}, 2),
        ({"from_offset": 4}, 4),
        ({"from_offset": 0, "replay": False}, 0),
        ({"from_offset": 3, "group": "g", "replay": True}, 3),
        ({"group": "g"}, 1),
        ({"group": "g", "replay": True}, 1),
        ({"group": "unknown"}, 4),
        ({"group": "unknown", "replay": True}, 0),
        ({"from_offsets": {"0": 3}, "from_offset": 1}, 3),
        ({"from_offsets": {}, "from_offset": 1}, 1),
        ({"partition": 0, "from_offset": 1}, 1),
    ],
)
def test_a_subscription_begins_where_asked(
    harness: Harness, connection: Connection, fields: dict[str, Any], begins: int
) -> None:
    events(harness, *range(4))
    harness.call("stream.commit", room="r", group="g", offset=1)
    assert subscribe(connection, **fields) == {
        "subscribed": True,
        "room": "r",
        "next_offset": begins,
        "gap": None,
        "next_offsets": {"0": begins},
    }
    event(harness, 4)
    assert told(connection.pulled("r")) == list(range(begins, 5))
    assert connection.pulled("r") == []


def test_an_event_is_pushed_as_history_tells_it(harness: Harness, connection: Connection) -> None:
    events(harness, 1)
    subscribe(connection)
    published = event(harness, {"a": 1}, key="k", headers={"h": 1})
    assert published["subscribers_notified"] == 1
    (pushed,) = connection.pulled("r")
    (described,) = harness.call("stream.history", room="r", from_offset=1)["events"]
    assert pushed == {"type": "event", "room": "r"} | described
    assert pushed["timestamp"] == START


@pytest.mark.parametrize("room", ['"quoted"', "ü\n", "%b%d"])
def test_a_frame_holds_names_and_values_as_they_are(harness: Harness, connection: Connection, room: str) -> None:
    subscribe(connection, room=room, create=True)
    body = json.dumps({"room": room, "event_type": room, "data": 0, "key": room}).replace('"data": 0', '"data": 1.10')
    harness.answer(f'{{"command":"stream.publish","payload":{body}}}'.encode())
    (push,) = connection.feed(room).pull(START, 1_000)
    assert b'"data":1.10,' in push.body
    pushed = json.loads(push.body)
    assert (pushed["room"], pushed["event_type"], pushed["key"], push.kind) == (room, room, room, room)


def test_an_offset_beyond_the_end_is_refused(harness: Harness, connection: Connection) -> None:
    harness.call("stream.create", room="r", partitions=2)
    events(harness, 1, 2, 3)
    for fields in ({"from_offset": 3}, {"from_offset": 2}, {"from_offsets": {"1": 2}}):
        request = {"command": "stream.subscribe", "payload": {"room": "r", **fields}}
        assert connection.send(request)["error"]["code"] == "INVALID_OFFSET"
    assert connection.feeds == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"partition": 1},
        {"from_offsets": {"1": 0}},
        {"from_offsets": {"00": 0}},
        {"from_offsets": {"-1": 0}},
        {"from_offsets": {"x": 0}},
        {"from_offsets": {"\u0661": 0}},
        {"from_offsets": {"9" * 5_000: 0}},
        {"from_offsets": {"0": -1}},
        {"from_offset": -1},
        {"event_types": []},
        {"policy": "drop_oldest"},
        {"from": 1},
    ],
    ids=range(12),
)
def test_a_payload_that_makes_no_sense_is_refused(
    harness: Harness, connection: Connection, fields: dict[str, Any]
) -> None:
    events(harness, 1)
    reply = connection.send({"command": "stream.subscribe", "payload": {"room": "r", **fields}})
    assert reply["error"]["code"] == "INVALID_PAYLOAD"
    assert connection.feeds == {}


def test_a_room_that_is_not_there_is_told_or_awaited(harness: Harness, connection: Connection) -> None:
    reply = connection.send({"command": "stream.subscribe", "payload": {"room": "r"}})
    assert reply["error"]["code"] == "ROOM_NOT_FOUND"
    assert subscribe(connection, create=True)["next_offsets"] == {}
    assert connection.pulled("r") == []
    harness.call("stream.create", room="r", partitions=2)
    events(harness, 1, 2, 3)
    assert sorted(told(connection.pulled("r"))) == [1, 2, 3]


def test_a_subscription_needs_a_connection_and_stands_in_no_batch(harness: Harness, connection: Connection) -> None:
    events(harness, 1)
    assert refused(harness, "stream.subscribe", room="r").code == "NEEDS_WEBSOCKET"
    for atomic in (False, True):
        entries = [{"command": "stream.subscribe", "payload": {"room": "r"}}]
        (result,) = connection.send({"type": "batch", "commands": entries, "atomic": atomic})["results"]
        assert result["error"]["code"] == "NEEDS_WEBSOCKET"
    assert connection.feeds == {}


# Event types, partitions


def test_only_the_types_asked_for_are_pushed(harness: Harness, connection: Connection) -> None:
    for n in range(6):
        event(harness, n, event_type="abc"[n % 3])
    subscribe(connection, replay=True, event_types=["a", "c"])
    assert told(connection.pulled("r")) == [0, 2, 3, 5]
    event(harness, 6, event_type="b")
    assert connection.pulled("r") == []


def test_each_partition_is_pushed_in_its_order(harness: Harness, connection: Connection) -> None:
    harness.call("stream.create", room="r", partitions=3)
    events(harness, *range(9))
    found = subscribe(connection, from_offsets={"0": 1, "2": 3}, replay=True)
    assert (found["next_offset"], found["next_offsets"]) == (1, {"0": 1, "1": 0, "2": 3})
    pulled = connection.pulled("r")
    assert [[e["data"] for e in pulled if e["partition"] == n] for n in range(3)] == [[3, 6], [1, 4, 7], []]
    other = Connection(harness, "other")
    subscribe(other, partition=1, replay=True)
    events(harness, 9, 10)
    assert told(other.pulled("r")) == [1, 4, 7, 10]


def test_a_busy_partition_does_not_keep_the_others_from_being_pushed(harness: Harness, connection: Connection) -> None:
    harness.call("stream.create", room="r", partitions=3)
    events(harness, *range(3))
    subscribe(connection, replay=True)
    seen = []
    for _ in range(6):
        events(harness, *range(100, 110), partition=0)
        seen += [e["partition"] for e in connection.pulled("r", bytes_max=1)]
    assert seen == [0, 1, 2, 0, 0, 0]


def test_large_events_are_not_rendered_long_before_they_are_wanted(harness: Harness, connection: Connection) -> None:
    events(harness, *["x" * 600_000] * 10)
    subscribe(connection, replay=True)
    for offset in range(10):
        (pushed,) = connection.pulled("r", bytes_max=1)
        assert pushed["offset"] == offset
        assert harness.state.frames.bytes <= 2 * 2 * 700_000


def test_subscribing_again_begins_anew(harness: Harness, connection: Connection) -> None:
    events(harness, 1, 2)
    subscribe(connection, replay=True)
    connection.pulled("r")
    subscribe(connection, from_offset=1)
    assert told(connection.pulled("r")) == [2]
    assert harness.call("stream.stats", room="r")["subscribers"] == 1


def test_an_ended_subscription_is_not_counted(harness: Harness, connection: Connection) -> None:
    events(harness, 1)
    subscribe(connection)
    assert harness.call("stream.rooms")["rooms"][0]["subscribers"] == 1
    assert connection.call("stream.unsubscribe", room="r") == {"unsubscribed": True}
    assert connection.call("stream.unsubscribe", room="r") == {"unsubscribed": False}
    assert event(harness)["subscribers_notified"] == 0
    assert nobody_waits(harness)


# Gaps


def test_what_retention_has_removed_is_told_in_the_reply(harness: Harness, connection: Connection) -> None:
    harness.call("stream.create", room="r", retention={"max_events": 2})
    events(harness, *range(6))
    found = subscribe(connection, from_offset=1)
    assert (found["gap"], found["next_offset"]) == ({"from": 1, "to": 3}, 4)
    assert told(connection.pulled("r")) == [4, 5]
    assert subscribe(connection, replay=True)["gap"] is None


def test_gaps_in_other_partitions_are_pushed_in_their_place(harness: Harness, connection: Connection) -> None:
    harness.call("stream.create", room="r", partitions=2, retention={"max_events": 1})
    events(harness, *range(6))
    found = subscribe(connection, from_offset=0)
    assert (found["gap"], found["next_offsets"]) == ({"from": 0, "to": 1}, {"0": 2, "1": 0})
    assert told(connection.pulled("r")) == [4, (2, 0, 1), 5]


@pytest.mark.parametrize("how", ["max_events", "max_age_secs"])
def test_who_is_overtaken_by_retention_is_told_what_is_gone(harness: Harness, connection: Connection, how: str) -> None:
    harness.call("stream.create", room="r", retention={how: 3})
    events(harness, 0, 1)
    subscribe(connection, replay=True)
    assert told(connection.pulled("r", bytes_max=1)) == [0]
    if how == "max_events":
        events(harness, 2, 3, 4, 5)
    else:
        harness.clock.advance(1)
        event(harness, 2)
        harness.clock.advance(2)
        events(harness, 3, 4)
        assert told(connection.pulled("r", bytes_max=1)) == [(1, 1, 1)]
        harness.clock.advance(1)
    assert told(connection.pulled("r")) == ([(2, 1, 2), 3, 4, 5] if how == "max_events" else [(1, 2, 2), 3, 4])


# The end


@pytest.mark.parametrize("again", [False, True])
def test_the_deletion_of_the_room_ends_the_subscription(harness: Harness, connection: Connection, again: bool) -> None:
    events(harness, 1)
    subscribe(connection)
    event(harness, 2)
    harness.call("stream.delete", room="r")
    if again:
        event(harness, 3)
    assert connection.pulled("r") == [{"type": "end", "room": "r", "reason": "the room was deleted"}]
    assert connection.feed("r").ended
    assert connection.pulled("r") == []


def test_watchers_hear_of_events_and_of_the_end(harness: Harness, connection: Connection) -> None:
    events(harness, 1)
    heard: list[Any] = []
    harness.dispatcher.line.notify = heard.append
    subscribe(connection)
    event(harness, 2)
    events(harness, 3, room="other")
    harness.call("stream.delete", room="r")
    assert [name for _, name in heard] == ["r", "r"]
    connection.end()
    event(harness, 4)
    assert (len(heard), nobody_waits(harness)) == (2, True)


# Replay hands over to live


def test_replay_hands_over_to_live_while_others_publish(harness: Harness, connection: Connection) -> None:
    events(harness, *range(500))
    subscribe(connection, replay=True)
    seen: list[Any] = []
    for n in range(500, 800):
        event(harness, n)
        seen += told(connection.pulled("r", bytes_max=300))
    while pulled := connection.pulled("r", bytes_max=300):
        seen += told(pulled)
    assert seen == list(range(800))
    check_recovery(harness)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, 40)),
        st.tuples(st.just("pull"), st.integers(1, 2_000)),
        st.tuples(st.just("advance"), st.integers(1, 3)),
        st.tuples(st.just("limit"), st.integers(1, 20)),
    ),
    max_size=30,
)


@given(steps, st.integers(1, 3), st.booleans(), st.sampled_from([None, 0.002, 5]))
def test_pushes_and_gaps_together_are_all_that_was_published(
    steps: list[tuple[str, int]], partitions: int, replay: bool, max_age: float | None
) -> None:
    harness = Harness()
    harness.state.frames = EventFrames(1_000)
    harness.call("stream.create", room="r", partitions=partitions, retention={"max_age_secs": max_age})
    connection = Connection(harness)
    subscribe(connection, replay=replay)
    expected: list[list[int]] = [[] for _ in range(partitions)]
    seen: list[list[int | None]] = [[] for _ in range(partitions)]

    def pull(bytes_max: int) -> bool:
        pushes = connection.feed("r").pull(harness.clock.now(), bytes_max)
        assert sum(len(push.body) for push in pushes[:-1]) < bytes_max
        for push in decoded(pushes):
            if push["type"] == "gap":
                assert push["missed"] == push["to"] - push["from"] + 1
                assert push["from"] == len(seen[push["partition"]])
                seen[push["partition"]] += [None] * push["missed"]
            else:
                assert push["offset"] == len(seen[push["partition"]])
                seen[push["partition"]].append(push["data"])
        return bool(pushes)

    for kind, amount in steps:
        if kind == "publish":
            for n in range(amount):
                expected[event(harness, n)["partition"]].append(n)
        elif kind == "pull":
            pull(amount)
        elif kind == "advance":
            harness.clock.advance(amount / 1_000)
        else:
            harness.call("stream.retention", room="r", max_events=amount)
    while pull(1_000):
        pass
    for published, got in zip(expected, seen, strict=True):
        assert len(published) == len(got)
        assert all(told in (None, data) for data, told in zip(published, got, strict=True))
