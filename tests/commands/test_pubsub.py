"""`pubsub.*`: who gets what, what is kept for those who come back, and what is counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from synap.engines.pubsub import HISTORY_MESSAGES
from tests.commands.common import batch, recorded, refused
from tests.commands.queueing import Connection
from tests.support import START, Harness


@pytest.fixture
def connection(harness: Harness) -> Connection:
    return Connection(harness)


def subscribe(connection: Connection, *topics: str, **fields: Any) -> Any:
    return connection.call("pubsub.subscribe", topics=topics, **fields)


def publish(harness: Harness, topic: str, message: Any = 1, **fields: Any) -> Any:
    return harness.call("pubsub.publish", topic=topic, message=message, **fields)


def told(connection: Connection) -> list[Any]:
    """Messages, and (topic, missed) for gaps."""
    return [p["message"] if p["type"] == "message" else (p["topic"], p["missed"]) for p in connection.drained()]


# Publishing


def test_a_message_reaches_who_is_subscribed_with_everything_about_it(harness: Harness, connection: Connection) -> None:
    found = subscribe(connection, "a.*")
    assert found == {"subscribed": ["a.*"], "epoch": harness.state.pubsub.epoch, "seq": 0, "gap": None}
    published = publish(harness, "a.b", {"n": 1}, metadata={"m": [1]})
    assert published == {
        "message_id": published["message_id"],
        "topic": "a.b",
        "subscribers_notified": 1,
        "subscribers_matched": 1,
    }
    assert connection.drained() == [
        {
            "type": "message",
            "topic": "a.b",
            "pattern": "a.*",
            "message": {"n": 1},
            "metadata": {"m": [1]},
            "message_id": published["message_id"],
            "seq": 1,
            "timestamp": START,
        }
    ]
    assert (connection.drained(), connection.woken, recorded(harness)) == ([], 1, [])


@pytest.mark.parametrize("name", ["message", "payload", "data"])
@pytest.mark.parametrize("value", ["1.10", "1e999", "null", '{"a":1,"a":2}', r'"\u00e9"', "[ 1 ]"])
def test_a_message_goes_by_any_of_three_names_and_is_sent_byte_for_byte(
    harness: Harness, connection: Connection, name: str, value: str
) -> None:
    subscribe(connection, "t")
    harness.answer(
        f'{{"command":"pubsub.publish","payload":{{"topic":"t","{name}":{value},"metadata":{{"k":{value}}}}}}}'.encode()
    )
    (push,) = connection.outbox.drain(1_000)
    assert f'"message":{value},"metadata":{{"k":{value}}},'.encode() in push.body


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("a.b", ["a.b"], ["a", "a.b.c", "A.b"]),
        ("a.*", ["a.b", "a."], ["a", "a.b.c"]),
        ("*", ["a", "ü"], ["a.b"]),
        ("#", ["a", "a.b.c", "."], []),
        ("a.#", ["a", "a.b", "a.b.c"], ["b", "ab"]),
        ("#.c", ["c", "a.c", "a.b.c"], ["c.a"]),
        ("a.*.c", ["a.b.c", "a..c"], ["a.c", "a.b.b.c"]),
        ("a.#.c", ["a.c", "a.b.b.c"], ["a.b"]),
        ("a*", ["a*"], ["ab"]),
    ],
)
def test_patterns_match_as_in_rabbitmq(
    harness: Harness, connection: Connection, pattern: str, matching: list[str], others: list[str]
) -> None:
    subscribe(connection, pattern)
    for topic in matching:
        assert publish(harness, topic, topic)["subscribers_matched"] == 1
    for topic in others:
        assert publish(harness, topic, topic)["subscribers_matched"] == 0
    assert told(connection) == matching


def test_one_frame_a_connection_even_where_several_patterns_match(harness: Harness, connection: Connection) -> None:
    other = Connection(harness, "other")
    subscribe(connection, "a.#", "a.b", "*.b")
    subscribe(other, "a.b")
    assert publish(harness, "a.b")["subscribers_notified"] == 2
    assert [push["pattern"] for push in connection.drained() + other.drained()] == ["a.#", "a.b"]


def test_nothing_is_kept_of_pubsub_in_the_journal_or_the_digest(harness: Harness, connection: Connection) -> None:
    before = harness.digest()
    subscribe(connection, "#")
    batch(harness, *(("pubsub.publish", {"topic": "t", "message": n}) for n in range(3)), atomic=True)
    assert (told(connection), recorded(harness), harness.digest()) == ([0, 1, 2], [], before)


# Subscribing


def test_subscriptions_add_up_and_end_one_by_one_or_all(harness: Harness, connection: Connection) -> None:
    subscribe(connection, "a", "b", "a")
    assert subscribe(connection, "b", "c")["subscribed"] == ["a", "b", "c"]
    assert connection.call("pubsub.unsubscribe", topics=["b", "x", "b"]) == {"unsubscribed": ["b"]}
    for topic in "abc":
        publish(harness, topic, topic)
    assert told(connection) == ["a", "c"]
    assert connection.call("pubsub.unsubscribe") == {"unsubscribed": ["a", "c"]}
    assert connection.call("pubsub.unsubscribe") == {"unsubscribed": []}
    assert publish(harness, "a")["subscribers_matched"] == 0


def test_subscriptions_need_a_connection(harness: Harness, connection: Connection) -> None:
    for command in ("pubsub.subscribe", "pubsub.unsubscribe"):
        assert refused(harness, command, topics=["a"]).code == "NEEDS_WEBSOCKET"
    (result,) = connection.send(
        {"type": "batch", "commands": [{"command": "pubsub.subscribe", "payload": {"topics": ["a"]}}]}
    )["results"]
    assert result["error"]["code"] == "NEEDS_WEBSOCKET"


def test_a_connection_has_no_more_patterns_than_it_may(
    harness: Harness, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synap.commands.pubsub.PATTERNS_MAX", 3)
    subscribe(connection, "a", "b")
    reply = connection.send({"command": "pubsub.subscribe", "payload": {"topics": ["c", "d"]}})
    assert (reply["error"]["code"], reply["error"]["details"]) == ("PAYLOAD_TOO_LARGE", {"limit": 3})
    assert subscribe(connection, "c")["subscribed"] == ["a", "b", "c"]


# Coming back


def test_who_comes_back_gets_what_it_missed_once_then_what_is_new(harness: Harness, connection: Connection) -> None:
    for n in range(6):
        publish(harness, f"t.{n % 2}", n)
    publish(harness, "other", "x")
    epoch = harness.state.pubsub.epoch
    found = subscribe(connection, "t.*", "#.1", epoch=epoch, last_seq=2)
    assert (found["gap"], found["seq"]) == (None, 7)
    publish(harness, "t.0", "new")
    assert told(connection) == [2, 3, 4, 5, "new"]


@pytest.mark.parametrize("last_seq", [3, 4, 2**63 - 1])
def test_who_has_missed_nothing_gets_nothing(harness: Harness, connection: Connection, last_seq: int) -> None:
    for n in range(3):
        publish(harness, "t", n)
    assert subscribe(connection, "t", epoch=harness.state.pubsub.epoch, last_seq=last_seq)["gap"] is None
    assert told(connection) == []


def test_what_is_no_longer_kept_is_a_gap_with_its_number(harness: Harness, connection: Connection) -> None:
    for n in range(HISTORY_MESSAGES + 44):
        publish(harness, "t", n)
    epoch = harness.state.pubsub.epoch
    found = subscribe(connection, "t", epoch=epoch, last_seq=4)
    assert found["gap"] == {"missed": 40, "at_least": False, "reason": "history"}
    assert told(connection) == list(range(44, HISTORY_MESSAGES + 44))


def test_another_epoch_is_a_gap_of_unknown_size(harness: Harness, connection: Connection) -> None:
    publish(harness, "t", 1)
    for epoch in ("of another server", ""):
        found = subscribe(connection, "t", epoch=epoch, last_seq=0)
        assert found["gap"] == {"missed": None, "at_least": True, "reason": "restart"}
    publish(harness, "t", 2)
    assert told(connection) == [2]


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "disconnect"])
def test_more_than_an_outbox_takes_is_told_as_a_gap_and_the_newest_are_sent(harness: Harness, policy: str) -> None:
    for n in range(50):
        publish(harness, "t", n)
    epoch = harness.state.pubsub.epoch
    for messages_max, bytes_max in ((7, 1_000_000), (1_000, 1_000)):
        connection = Connection(harness, messages_max=messages_max, bytes_max=bytes_max)
        gap = subscribe(connection, "t", policy=policy, epoch=epoch, last_seq=10)["gap"]
        assert (gap, connection.outbox.overflowed) == (
            {"missed": 33, "at_least": False, "reason": "history"},
            False,
        )
        assert told(connection) == list(range(43, 50))


def test_a_message_larger_than_the_outbox_is_sent_alone(harness: Harness) -> None:
    for n in range(3):
        publish(harness, "t", str(n) * 2_000)
    connection = Connection(harness, bytes_max=1_000)
    gap = subscribe(connection, "t", epoch=harness.state.pubsub.epoch, last_seq=0)["gap"]
    assert (gap["missed"], told(connection)) == (2, ["2" * 2_000])


# Policies


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("drop_oldest", [("t", 2), 2, 3]), ("drop_newest", [0, 1, ("t", 2)]), ("disconnect", [0, 1])],
)
def test_a_slow_reader_is_treated_as_its_policy_says(harness: Harness, policy: str, expected: list[Any]) -> None:
    connection = Connection(harness, messages_max=2)
    subscribe(connection, "t", policy=policy)
    notified = [publish(harness, "t", n)["subscribers_notified"] for n in range(4)]
    assert notified == ([1, 1, 1, 1] if policy == "drop_oldest" else [1, 1, 0, 0])
    assert told(connection) == expected
    assert connection.outbox.overflowed is (policy == "disconnect")
    assert harness.call("pubsub.stats")["dropped_total"] == 2


def test_a_policy_is_that_of_the_pattern_until_it_is_unsubscribed(harness: Harness) -> None:
    connection = Connection(harness, messages_max=1)
    subscribe(connection, "new", policy="drop_newest")
    subscribe(connection, "old")
    for topic in ("new", "new", "old", "new"):
        publish(harness, topic, topic)
    assert told(connection) == [("new", 1), ("new", 1), "old", ("new", 1)]
    connection.call("pubsub.unsubscribe")
    assert connection.outbox.policies == {}


# Looking


def test_topics_are_listed_with_those_who_match_and_what_was_published(
    harness: Harness, connection: Connection
) -> None:
    subscribe(connection, "a.b", "a.*", "c")
    subscribe(Connection(harness, "other"), "#")
    for topic in ("a.b", "a.b", "a.c"):
        publish(harness, topic)
    listed = [
        {"topic": "a.b", "subscribers": 2, "published_total": 2},
        {"topic": "a.c", "subscribers": 2, "published_total": 1},
        {"topic": "c", "subscribers": 2, "published_total": 0},
    ]
    assert harness.call("pubsub.topics") == {"topics": listed}
    assert harness.call("pubsub.topics", pattern="a.*") == {"topics": listed[:2]}
    assert harness.call("pubsub.topics", pattern="c") == {"topics": listed[2:]}
    assert harness.call("pubsub.topics", pattern="none") == {"topics": []}


def test_the_statistics_count_since_the_start(harness: Harness, connection: Connection) -> None:
    subscribe(connection, "a", "b")
    for topic in "abc":
        publish(harness, topic)
    assert harness.call("pubsub.stats") == {
        "total_topics": 3,
        "total_subscribers": 1,
        "published_total": 3,
        "delivered_total": 2,
        "dropped_total": 0,
    }


# Payloads


@pytest.mark.parametrize(
    ("command", "payload", "path"),
    [
        ("publish", {"topic": "t"}, "payload"),
        ("publish", {"topic": "t", "message": 1, "data": 1}, "payload"),
        ("publish", {"topic": "", "message": 1}, "payload.topic"),
        ("publish", {"topic": "a.*", "message": 1}, "payload"),
        ("publish", {"topic": "#", "message": 1}, "payload"),
        ("publish", {"topic": "t", "message": 1, "metadata": []}, "payload.metadata"),
        ("publish", {"topic": "t", "message": 1, "key": 1}, "payload.key"),
        ("subscribe", {"topics": []}, "payload.topics"),
        ("subscribe", {"topics": [""]}, "payload.topics[0]"),
        ("subscribe", {"topics": "a"}, "payload.topics"),
        ("subscribe", {"topics": ["a"] * 10_001}, "payload.topics"),
        ("subscribe", {"topics": ["a"], "policy": "block"}, "payload.policy"),
        ("subscribe", {"topics": ["a"], "epoch": "e"}, "payload"),
        ("subscribe", {"topics": ["a"], "last_seq": 0}, "payload"),
        ("subscribe", {"topics": ["a"], "epoch": "e", "last_seq": -1}, "payload.last_seq"),
        ("topics", {"pattern": ""}, "payload.pattern"),
    ],
)
def test_a_wrong_field_of_a_payload_is_named_by_its_path(
    connection: Connection, command: str, payload: dict[str, Any], path: str
) -> None:
    error = connection.send({"command": f"pubsub.{command}", "payload": payload})["error"]
    assert (error["code"], error["details"]["path"]) == ("INVALID_PAYLOAD", path)


@pytest.mark.parametrize("name", ["a" * 1_025, "." * 64, "ü" * 513], ids=["bytes", "levels", "not characters"])
def test_names_that_are_too_long_are_refused_everywhere(connection: Connection, name: str) -> None:
    for command, payload in [
        ("publish", {"topic": name, "message": 1}),
        ("subscribe", {"topics": ["a", name]}),
        ("topics", {"pattern": name}),
    ]:
        body = json.dumps({"command": f"pubsub.{command}", "payload": payload}).encode()
        assert connection.send(body)["error"]["code"] == "PAYLOAD_TOO_LARGE"
