"""`queue.*`: creating, configuring, publishing, looking, purging, deleting."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from synap.engines.queue_duplicates import DEDUP_WINDOW_MS
from synap.errors import QueueExists, QueueFull, QueueNotFound
from tests.commands.common import recorded, refused
from tests.commands.queueing import (
    NO_MESSAGE,
    check_recovery,
    counts,
    put,
    queue,
    raw_payload,
    stats,
    take,
    taken,
    tick,
)
from tests.support import START, Harness

DEFAULTS = {
    "max_depth": None,
    "ack_deadline_secs": 30,
    "max_retries": 3,
    "retry": {"strategy": "exponential", "initial_secs": 0, "max_secs": 60, "multiplier": 2},
    "message_ttl_secs": None,
    "dead_letter": True,
}
STRANGE_NAMES = ["ü/ñ?*#", "a" * 65_536, "\x00", "🐝", " ", "q\n"]

# Creating and configuring


def test_a_queue_is_created_with_the_defaults_and_is_empty(harness: Harness) -> None:
    assert harness.call("queue.create", queue="q") == {"queue": "q", "created": True}
    assert stats(harness) == {
        "queue": "q",
        "depth": 0,
        "delayed": 0,
        "in_flight": 0,
        "consumers": 0,
        "published_total": 0,
        "consumed_total": 0,
        "acked_total": 0,
        "nacked_total": 0,
        "dead_lettered_total": 0,
        "dlq_depth": 0,
        "oldest_message_age_secs": 0,
        "config": DEFAULTS,
    }


def test_creating_with_the_same_configuration_again_changes_nothing(harness: Harness) -> None:
    queue(harness, max_depth=5)
    assert harness.call("queue.create", queue="q", config={"max_depth": 5, "max_retries": 3})["created"] is False
    assert len(harness.log.records) == 1


def test_creating_with_another_configuration_is_refused_and_tells_the_one_there_is(harness: Harness) -> None:
    queue(harness, max_depth=5)
    error = refused(harness, "queue.create", queue="q", config={"max_depth": 6})
    assert isinstance(error, QueueExists)
    assert error.details == {"queue": "q", "config": DEFAULTS | {"max_depth": 5}}
    assert refused(harness, "queue.create", queue="q").code == "QUEUE_EXISTS"


def test_options_left_out_are_as_by_default_also_inside_retry(harness: Harness) -> None:
    queue(harness, retry={"strategy": "linear", "initial_secs": 0.5}, message_ttl_secs=1e-9)
    retry = DEFAULTS["retry"] | {"strategy": "linear", "initial_secs": 0.5}  # type: ignore[operator]
    assert stats(harness)["config"] == DEFAULTS | {"retry": retry, "message_ttl_secs": 1e-9}


def test_configure_changes_what_is_named_and_leaves_the_rest(harness: Harness) -> None:
    queue(harness, max_depth=5, retry={"initial_secs": 1})
    changed = harness.call("queue.configure", queue="q", config={"max_depth": None, "retry": {"max_secs": 7}})
    expected = DEFAULTS | {"retry": {"strategy": "exponential", "initial_secs": 1, "max_secs": 7, "multiplier": 2}}
    assert changed == {"queue": "q", "config": expected}
    assert harness.call("queue.configure", queue="q")["config"] == expected
    assert recorded(harness) == ["queue.create", "queue.configure"]
    check_recovery(harness)


@pytest.mark.parametrize("name", STRANGE_NAMES, ids=range(len(STRANGE_NAMES)))
def test_a_queue_may_have_any_name(harness: Harness, name: str) -> None:
    put(harness, queue=name)
    assert take(harness, name)["message"] == 1
    assert harness.call("queue.list") == {"queues": [{"name": name, "depth": 0, "in_flight": 1}]}
    check_recovery(harness)


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        ("configure", {}),
        ("consume", {}),
        ("ack", {"message_id": "m"}),
        ("nack", {"message_id": "m"}),
        ("extend", {"message_id": "m", "ack_deadline": 1}),
        ("peek", {}),
        ("purge", {}),
        ("stats", {}),
        ("dlq", {}),
        ("dlq_replay", {"all": True}),
        ("dlq_purge", {}),
    ],
)
def test_a_queue_that_is_not_there_is_told(harness: Harness, command: str, fields: dict[str, Any]) -> None:
    error = refused(harness, f"queue.{command}", queue="none", **fields)
    assert isinstance(error, QueueNotFound)
    assert error.details == {"queue": "none"}
    assert recorded(harness) == []


# Publishing


def test_a_published_message_is_described_by_every_command_alike(harness: Harness) -> None:
    assert put(harness, {"n": 1}, headers={"a": [1, None]}, priority=7) == {
        "message_id": "msg_1_1",
        "position": 1,
        "seq": 1,
        "duplicate": False,
    }
    message = {
        "message_id": "msg_1_1",
        "message": {"n": 1},
        "priority": 7,
        "retry_count": 0,
        "headers": {"a": [1, None]},
        "seq": 1,
        "published_at": START,
        "delivery": 0,
        "deadline": None,
    }
    assert harness.call("queue.peek", queue="q") == {"messages": [message]}
    assert take(harness) == message | {"delivery": 1, "deadline": START + 30_000}


def test_messages_come_by_priority_then_in_the_order_they_were_published(harness: Harness) -> None:
    priorities = [5, 0, 9, 5, 9, 0]
    positions = [put(harness, n, priority=priority)["position"] for n, priority in enumerate(priorities)]
    assert positions == [1, 2, 1, 3, 2, 6]
    assert taken(harness) == [2, 4, 0, 3, 1, 5]


@pytest.mark.parametrize(
    "value", ["1.10", "1e999", "123456789012345678901234567890", '{"a":1,"a":2}', r'"\u00e9"', "null", "-0", "[ 1 ]"]
)
def test_messages_and_headers_are_kept_byte_for_byte(harness: Harness, value: str) -> None:
    raw_payload(harness, "queue.publish", f'{{"queue":"q","message":{value},"headers":{{"h":{value},"i":[]}}}}')
    for _ in range(2):
        found = raw_payload(harness, "queue.peek", '{"queue":"q"}')
        assert f'"message":{value},'.encode() in found
        assert f'"headers":{{"h":{value},"i":[]}}'.encode() in found
    check_recovery(harness)
    leased = take(harness)
    harness.call("queue.nack", queue="q", message_id=leased["message_id"], requeue=False)
    assert f'"headers":{{"h":{value},"i":[],"x-death'.encode() in raw_payload(harness, "queue.dlq", '{"queue":"q"}')


def test_deeply_nested_headers_outlive_the_death_of_their_message(harness: Harness) -> None:
    deep = "[" * 505 + "]" * 505
    raw_payload(harness, "queue.publish", f'{{"queue":"q","message":{deep},"headers":{{"h":{deep}}},"ttl":1}}')
    tick(harness, 1)
    assert deep.encode() in raw_payload(harness, "queue.dlq", '{"queue":"q"}')


@pytest.mark.parametrize("body", [b"", b"\x00\xff", b"null", b"x" * 100_000])
def test_bytes_come_back_as_they_were(harness: Harness, body: bytes) -> None:
    text = base64.b64encode(body).decode()
    harness.call("queue.publish", queue="q", message_base64=text)
    found = take(harness)
    assert (found["message"], found["message_base64"]) == (None, text)
    check_recovery(harness)


def test_json_null_is_not_bytes(harness: Harness) -> None:
    put(harness, None)
    assert "message_base64" not in take(harness)


def test_a_delayed_message_has_no_position_and_comes_when_it_is_due(harness: Harness) -> None:
    assert put(harness, 1, delay_secs=0.25)["position"] is None
    put(harness, 2, delay_secs=0.0004)
    assert counts(harness) == (1, 1, 0, 0)
    harness.clock.advance(0.249)
    assert taken(harness) == [2]
    harness.clock.advance(0.001)
    assert taken(harness) == [1]
    check_recovery(harness)


@pytest.mark.parametrize("ttl", [1e-9, 1e-300, 0.001])
def test_the_shortest_life_is_a_millisecond(harness: Harness, ttl: float) -> None:
    put(harness, 1, ttl=ttl)
    assert counts(harness) == (1, 0, 0, 0)
    harness.clock.advance(0.001)
    assert counts(harness) == (0, 0, 0, 1)
    (dead,) = harness.call("queue.dlq", queue="q")["messages"]
    assert dead["headers"] == {"x-death-reason": "expired", "x-death-at": START + 1}
    check_recovery(harness)


def test_the_longest_times_are_taken(harness: Harness) -> None:
    queue(harness, ack_deadline_secs=9e9, message_ttl_secs=9e9, max_depth=2**63 - 1, retry={"max_secs": 9e9})
    put(harness, 1, delay_secs=9e9, ttl=9e9)
    put(harness, 2)
    leased = take(harness, ack_deadline=9e9)
    harness.call("queue.nack", queue="q", message_id=leased["message_id"], delay_secs=9e9)
    assert counts(harness) == (0, 2, 0, 0)
    check_recovery(harness)


def test_a_life_begins_when_the_delay_is_over(harness: Harness) -> None:
    put(harness, 1, delay_secs=10, ttl=1)
    harness.clock.advance(10.999)
    assert counts(harness) == (1, 0, 0, 0)
    harness.clock.advance(0.001)
    assert counts(harness) == (0, 0, 0, 1)


# Duplicates


def test_a_dedup_id_seen_in_the_last_five_minutes_adds_nothing(harness: Harness) -> None:
    first = put(harness, 1, dedup_id="d", priority=1)
    put(harness, 2)
    assert put(harness, 3, dedup_id="d") == first | {"position": 2, "duplicate": True}
    assert (counts(harness), recorded(harness)) == ((2, 0, 0, 0), ["queue.publish"] * 2)
    harness.clock.advance(DEDUP_WINDOW_MS / 1000 - 0.001)
    assert put(harness, 3, dedup_id="d")["duplicate"] is True
    harness.clock.advance(0.001)
    assert put(harness, 3, dedup_id="d")["duplicate"] is False
    check_recovery(harness)


def test_a_duplicate_of_what_is_gone_or_in_flight_has_no_position(harness: Harness) -> None:
    first = put(harness, 1, dedup_id="d")
    leased = take(harness)
    assert put(harness, 1, dedup_id="d") == first | {"position": None, "duplicate": True}
    harness.call("queue.ack", queue="q", message_id=leased["message_id"])
    assert put(harness, 1, dedup_id="d")["duplicate"] is True
    assert put(harness, 1, queue="other", dedup_id="d")["duplicate"] is False


def test_a_duplicate_is_told_before_the_queue_is_full(harness: Harness) -> None:
    queue(harness, max_depth=1)
    put(harness, 1, dedup_id="d")
    assert put(harness, 1, dedup_id="d")["duplicate"] is True
    assert refused(harness, "queue.publish", queue="q", message=1, dedup_id="e").code == "QUEUE_FULL"
    harness.call("queue.purge", queue="q")
    assert put(harness, 1, dedup_id="e")["duplicate"] is False


def test_a_queue_made_anew_knows_no_duplicates_and_no_old_ids(harness: Harness) -> None:
    first = put(harness, 1, dedup_id="d")
    assert harness.call("queue.delete", queue="q") == {"deleted": True}
    second = put(harness, 1, dedup_id="d")
    assert (second["duplicate"], second["message_id"] == first["message_id"]) == (False, False)
    check_recovery(harness)


# Limits


def test_max_depth_counts_ready_and_delayed_messages_and_not_those_in_flight(harness: Harness) -> None:
    queue(harness, max_depth=2)
    put(harness, 1)
    put(harness, 2, delay_secs=60)
    error = refused(harness, "queue.publish", queue="q", message=3)
    assert isinstance(error, QueueFull)
    assert error.details == {"queue": "q", "max_depth": 2}
    leased = take(harness)
    put(harness, 3)
    assert harness.call("queue.nack", queue="q", message_id=leased["message_id"])["action"] == "requeued"
    assert counts(harness) == (2, 1, 0, 0)
    assert refused(harness, "queue.publish", queue="q", message=4).code == "QUEUE_FULL"
    assert recorded(harness).count("queue.publish") == 3
    check_recovery(harness)


# Looking, purging, deleting


def test_peek_takes_nothing_and_shows_no_more_than_asked(harness: Harness) -> None:
    for n in range(3):
        put(harness, n)
    shown = harness.call("queue.peek", queue="q", count=2)["messages"]
    assert [message["message"] for message in shown] == [0, 1]
    assert len(harness.call("queue.peek", queue="q", count=10_000)["messages"]) == 3
    assert recorded(harness) == ["queue.publish"] * 3


def test_purge_takes_ready_and_delayed_messages_and_leaves_the_others(harness: Harness) -> None:
    put(harness, 1)
    put(harness, 2)
    put(harness, 3, delay_secs=9)
    kept = take(harness)
    assert harness.call("queue.purge", queue="q") == {"purged": 2}
    assert harness.call("queue.purge", queue="q") == {"purged": 0}
    assert counts(harness) == (0, 0, 1, 0)
    harness.call("queue.ack", queue="q", message_id=kept["message_id"])
    assert recorded(harness).count("queue.purge") == 1
    check_recovery(harness)


def test_a_deleted_queue_is_gone_and_deleting_it_again_says_so(harness: Harness) -> None:
    put(harness)
    assert harness.call("queue.delete", queue="q") == {"deleted": True}
    assert harness.call("queue.delete", queue="q") == {"deleted": False}
    assert harness.call("queue.list") == {"queues": []}
    assert recorded(harness) == ["queue.publish", "queue.delete"]


def test_the_list_is_by_name_and_of_this_moment(harness: Harness) -> None:
    for name in ("b", "a", "c"):
        put(harness, queue=name, ttl=1)
    put(harness, queue="a", delay_secs=1)
    harness.clock.advance(1)
    listed = harness.call("queue.list")["queues"]
    assert [(each["name"], each["depth"]) for each in listed] == [("a", 1), ("b", 0), ("c", 0)]


def test_the_statistics_count_since_the_queue_was_created(harness: Harness) -> None:
    queue(harness, max_retries=1)
    for n in range(4):
        put(harness, n)
    harness.clock.advance(2.9)
    assert stats(harness)["oldest_message_age_secs"] == 2
    one, two, three = take(harness, max_messages=3, consumer_id="c")["messages"]
    assert stats(harness)["consumers"] == 1
    harness.call("queue.ack", queue="q", message_id=one["message_id"])
    harness.call("queue.nack", queue="q", message_id=two["message_id"])
    harness.call("queue.nack", queue="q", message_id=three["message_id"], requeue=False)
    found = stats(harness)
    totals = [found[f"{name}_total"] for name in ("published", "consumed", "acked", "nacked", "dead_lettered")]
    assert (totals, counts(harness), found["consumers"]) == ([4, 3, 1, 2, 1], (2, 0, 0, 1), 0)
    check_recovery(harness)


# Payloads


@pytest.mark.parametrize(
    ("command", "payload", "path"),
    [
        ("create", {}, "payload.queue"),
        ("create", {"queue": ""}, "payload.queue"),
        ("create", {"queue": 1}, "payload.queue"),
        ("create", {"config": {"depth": 1}}, "payload.config.depth"),
        ("create", {"config": {"max_depth": 0}}, "payload.config.max_depth"),
        ("create", {"config": {"max_depth": 2**63}}, "payload.config.max_depth"),
        ("create", {"config": {"ack_deadline_secs": 0}}, "payload.config.ack_deadline_secs"),
        ("create", {"config": {"ack_deadline_secs": None}}, "payload.config.ack_deadline_secs"),
        ("create", {"config": {"max_retries": -1}}, "payload.config.max_retries"),
        ("create", {"config": {"retry": {"strategy": "random"}}}, "payload.config.retry.strategy"),
        ("create", {"config": {"retry": {"initial_secs": -1}}}, "payload.config.retry.initial_secs"),
        ("create", {"config": {"retry": {"multiplier": 0.5}}}, "payload.config.retry.multiplier"),
        ("create", {"config": {"message_ttl_secs": 9e9 + 1}}, "payload.config.message_ttl_secs"),
        ("create", {"config": {"dead_letter": 1}}, "payload.config.dead_letter"),
        ("publish", {}, "payload"),
        ("publish", {"message": 1, "message_base64": "AA=="}, "payload"),
        ("publish", {"message_base64": "?"}, "payload.message_base64"),
        ("publish", {"message_base64": None}, "payload.message_base64"),
        ("publish", {"message": 1, "priority": 10}, "payload.priority"),
        ("publish", {"message": 1, "priority": -1}, "payload.priority"),
        ("publish", {"message": 1, "priority": "5"}, "payload.priority"),
        ("publish", {"message": 1, "headers": []}, "payload.headers"),
        ("publish", {"message": 1, "delay_secs": -0.001}, "payload.delay_secs"),
        ("publish", {"message": 1, "delay_secs": 9e9 + 1}, "payload.delay_secs"),
        ("publish", {"message": 1, "ttl": 0}, "payload.ttl"),
        ("publish", {"message": 1, "dedup_id": ""}, "payload.dedup_id"),
        ("publish", {"message": 1, "dedup_id": "d" * 1_025}, "payload.dedup_id"),
        ("publish", {"message": 1, "delay": 1}, "payload.delay"),
        ("peek", {"count": 0}, "payload.count"),
        ("peek", {"count": 10_001}, "payload.count"),
        ("purge", {"all": True}, "payload.all"),
    ],
)
def test_a_wrong_field_of_a_payload_is_named_by_its_path(
    harness: Harness, command: str, payload: dict[str, Any], path: str
) -> None:
    if path != "payload.queue":
        payload = {"queue": "q"} | payload
    error = refused(harness, f"queue.{command}", **payload)
    assert (error.code, error.details["path"]) == ("INVALID_PAYLOAD", path)
    assert recorded(harness) == []


@pytest.mark.parametrize("value", ["1e999", "1" + "0" * 400, "NaN", "-1e999"])
def test_numbers_that_are_none_are_refused(harness: Harness, value: str) -> None:
    for payload in (f'{{"queue":"q","timeout":{value}}}', f'{{"queue":"q","ack_deadline":{value}}}'):
        reply = harness.send(f'{{"command":"queue.consume","payload":{payload}}}'.encode())
        assert reply["error"]["code"] in ("INVALID_PAYLOAD", "INVALID_REQUEST")


def test_a_name_that_is_too_long_is_refused(harness: Harness) -> None:
    assert refused(harness, "queue.publish", queue="ü" * 40_000, message=1).code == "PAYLOAD_TOO_LARGE"


def test_an_empty_queue_gives_nulls_or_an_empty_list(harness: Harness) -> None:
    queue(harness)
    assert take(harness) == NO_MESSAGE
    assert take(harness, max_messages=3) == {"messages": []}
    assert json.loads(harness.log.records[-1].payload)["queue"] == "q"
    assert recorded(harness) == ["queue.create"]
