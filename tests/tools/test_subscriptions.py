"""How a subscription goes on after its connection has ended."""

from __future__ import annotations

import json
from typing import Any

from synap.tools.subscriptions import Subscriptions


def subscribed(command: str, result: dict[str, Any], **payload: Any) -> Subscriptions:
    subscriptions = Subscriptions()
    subscriptions.answered(command, json.dumps(payload), result)
    return subscriptions


def resumed(subscriptions: Subscriptions) -> list[tuple[str, dict[str, Any]]]:
    return [(subscription.command, subscription.resumed()) for subscription in subscriptions]


def test_a_room_goes_on_behind_the_last_event_of_every_partition() -> None:
    rooms = subscribed("stream.subscribe", {"next_offsets": {"0": 3, "1": 0}}, room="r", replay=True, group="g")
    rooms.saw({"type": "event", "room": "r", "partition": 0, "offset": 3})
    rooms.saw({"type": "gap", "room": "r", "partition": 1, "missed": 5, "from": 0, "to": 4})
    asked = {"room": "r", "group": "g", "from_offsets": {"0": 4, "1": 5}}
    assert resumed(rooms) == [("stream.subscribe", asked)]


def test_a_room_that_was_not_there_goes_on_at_its_beginning() -> None:
    rooms = subscribed("stream.subscribe", {"next_offsets": {}}, room="r", create=True)
    rooms.saw({"type": "event", "room": "r", "partition": 1, "offset": 0})
    asked = {"room": "r", "create": True, "from_offset": 0, "from_offsets": {"1": 1}}
    assert resumed(rooms) == [("stream.subscribe", asked)]


def test_topics_go_on_together_behind_the_last_message() -> None:
    topics = subscribed("pubsub.subscribe", {"subscribed": ["a"], "epoch": "e", "seq": 7}, topics=["a"])
    topics.answered("pubsub.subscribe", '{"topics": ["b.*"]}', {"subscribed": ["a", "b.*"], "epoch": "e", "seq": 8})
    topics.saw({"type": "message", "topic": "b.c", "seq": 12})
    assert resumed(topics) == [("pubsub.subscribe", {"topics": ["a", "b.*"], "epoch": "e", "last_seq": 12})]


def test_a_queue_is_asked_for_as_before() -> None:
    queues = subscribed("queue.subscribe", {"subscribed": True}, queue="q", prefetch=5)
    queues.saw({"type": "message", "queue": "q", "message_id": "m"})
    assert resumed(queues) == [("queue.subscribe", {"queue": "q", "prefetch": 5})]


def test_what_was_ended_does_not_go_on() -> None:
    subscriptions = subscribed("queue.subscribe", {}, queue="q")
    subscriptions.answered("stream.subscribe", '{"room": "r"}', {"next_offsets": {"0": 0}})
    subscriptions.answered("stream.subscribe", '{"room": "s"}', {"next_offsets": {"0": 0}})
    subscriptions.answered(
        "pubsub.subscribe", '{"topics": ["a", "b"]}', {"subscribed": ["a", "b"], "epoch": "e", "seq": 0}
    )
    endings = [
        ("stream.unsubscribe", {"room": "r"}),
        ("stream.unsubscribe", {"room": "s"}),
        ("queue.unsubscribe", {"queue": "q"}),
        ("pubsub.unsubscribe", {}),
    ]
    assert subscriptions.endings() == endings
    subscriptions.answered("stream.unsubscribe", '{"room": "r"}', {"unsubscribed": True})
    subscriptions.answered("queue.unsubscribe", '{"queue": "q"}', {"unsubscribed": True})
    subscriptions.answered("pubsub.unsubscribe", '{"topics": ["a"]}', {"unsubscribed": ["a"]})
    assert [each.label for each in subscriptions] == ["room s", "topics b"]
    subscriptions.answered("pubsub.unsubscribe", "{}", {"unsubscribed": ["b"]})
    subscriptions.saw({"type": "end", "room": "s", "reason": "the room was deleted"})
    assert not list(subscriptions)
