"""Connections that stay open: leases held in their name, subscriptions to queues, and what their end gives back."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from synap.commands.queue_consuming import QueueFeed, Release
from synap.commands.session import HOLDERS_MAX, SESSION_MARK
from synap.commands.table import NoPayload
from synap.engines.queue_holders import Lease
from tests.commands.common import recorded, refused
from tests.commands.queueing import (
    Connection,
    check_recovery,
    counts,
    put,
    queue,
    stats,
    take,
    taken,
    tick,
)
from tests.commands.waiters import Waiter, blocked, calls, nobody_waits
from tests.support import Harness


@pytest.fixture
def connection(harness: Harness) -> Connection:
    return Connection(harness)


def subscribe(connection: Connection, **fields: Any) -> QueueFeed:
    before = set(connection.feeds)
    connection.call("queue.subscribe", **{"queue": "q"} | fields)
    feed = connection.feeds[(set(connection.feeds) - before).pop()]
    assert isinstance(feed, QueueFeed)
    return feed


def credit(harness: Harness, feed: QueueFeed) -> int:
    return feed.credit(harness.state, harness.clock.now())


def request(feed: QueueFeed, credit: int) -> bytes:
    return msgspec.json.encode(feed.request(credit))


def in_line(harness: Harness, feed: QueueFeed) -> Waiter:
    """What the transport does for a subscription that finds nothing."""
    return blocked(lambda: harness.dispatcher.call("queue.consume", request(feed, credit(harness, feed))))


def pushed(harness: Harness, feed: QueueFeed) -> list[Any]:
    """What the transport would push, asking once for the credit there is."""
    allowed = credit(harness, feed)
    if allowed <= 0:
        return []
    outcome = harness.dispatcher.call("queue.consume", request(feed, allowed))
    return [message["message"] for message in json.loads(outcome.payload)["messages"]]


def end(harness: Harness, connection: Connection) -> None:
    """What the transport does when a connection is gone."""
    connection.end()
    for name, holder in connection.holders:
        harness.dispatcher.perform("queue.release", Release(queue=name, consumer_id=holder))


# Leases in its name


@pytest.mark.parametrize("consumer_id", [None, "ann", "c" * 256, "ü@" * 128])
def test_what_a_connection_has_consumed_comes_again_when_it_ends(
    harness: Harness, connection: Connection, consumer_id: str | None
) -> None:
    for n in range(3):
        put(harness, n)
    fields = {} if consumer_id is None else {"consumer_id": consumer_id}
    connection.call("queue.consume", queue="q", max_messages=2, **fields)
    elsewhere = take(harness, **fields)
    assert elsewhere["message"] == 2
    check_recovery(harness)
    end(harness, connection)
    assert counts(harness) == (2, 0, 1, 0)
    assert recorded(harness)[-1] == "queue.release"
    again = take(harness)
    assert (again["message"], again["delivery"], again["retry_count"]) == (0, 2, 1)
    check_recovery(harness)


def test_a_consumer_id_that_is_too_long_for_a_connection_is_refused(harness: Harness, connection: Connection) -> None:
    put(harness)
    body = {"command": "queue.consume", "payload": {"queue": "q", "consumer_id": "c" * 257}}
    error = connection.send(body)["error"]
    assert (error["code"], error["details"]) == ("INVALID_PAYLOAD", {"path": "payload.consumer_id"})
    assert (counts(harness), connection.holders) == ((1, 0, 0, 0), {})
    body["command"] = "queue.subscribe"
    assert connection.send(body)["error"]["code"] == "INVALID_PAYLOAD"


def test_a_server_that_starts_anew_gives_back_what_connections_had_and_nothing_else(
    harness: Harness, connection: Connection
) -> None:
    for number in range(3):
        put(harness, number)
    connection.call("queue.consume", queue="q", max_messages=2)
    harness.call("queue.consume", queue="q", consumer_id="over-http")
    harness.dispatcher.perform("queue.release_sessions", NoPayload())
    assert (stats(harness)["depth"], stats(harness)["in_flight"]) == (2, 1)
    before = recorded(harness)
    harness.dispatcher.perform("queue.release_sessions", NoPayload())
    assert recorded(harness) == before
    check_recovery(harness)


def test_a_connection_consumes_under_so_many_names_and_no_more(harness: Harness, connection: Connection) -> None:
    put(harness)
    for number in range(HOLDERS_MAX):
        connection.holder("q", str(number))
    body = {"command": "queue.consume", "payload": {"queue": "q", "consumer_id": "one more"}}
    assert connection.send(body)["error"]["code"] == "INVALID_REQUEST"
    assert connection.send(body | {"payload": {"queue": "q", "consumer_id": "7"}})["status"] == "success"


def test_the_journal_names_the_connection_so_that_a_replay_can_release(
    harness: Harness, connection: Connection
) -> None:
    put(harness)
    connection.call("queue.consume", queue="q", consumer_id="ann")
    assert calls(harness)[-1][1]["consumer_id"] == f"ann{SESSION_MARK}session"
    end(harness, connection)
    check_recovery(harness)


def test_an_end_without_messages_in_flight_leaves_no_record(harness: Harness, connection: Connection) -> None:
    put(harness)
    message = connection.call("queue.consume", queue="q")
    harness.call("queue.ack", queue="q", message_id=message["message_id"])
    harness.call("queue.delete", queue="q")
    before = recorded(harness)
    end(harness, connection)
    assert recorded(harness) == before


def test_a_release_is_a_delivery_that_failed(harness: Harness, connection: Connection) -> None:
    queue(harness, max_retries=1, retry={"strategy": "fixed", "initial_secs": 60})
    put(harness)
    connection.call("queue.consume", queue="q")
    end(harness, connection)
    other = Connection(harness, "other")
    assert other.call("queue.consume", queue="q")["delivery"] == 2
    end(harness, other)
    assert counts(harness) == (0, 0, 0, 1)
    check_recovery(harness)


def test_a_release_serves_who_waits(harness: Harness, connection: Connection) -> None:
    put(harness, 7)
    connection.call("queue.consume", queue="q")
    body = b'{"command":"queue.consume","payload":{"queue":"q","timeout":9}}'
    waiter = blocked(lambda: harness.dispatcher.answer(body))
    end(harness, connection)
    assert waiter.payload["message"] == 7
    check_recovery(harness)


def test_a_wait_on_a_connection_takes_in_its_name_though_another_brings_the_message(
    harness: Harness, connection: Connection
) -> None:
    queue(harness)
    waiter = connection.waiting("queue.consume", queue="q", timeout=9, consumer_id="ann")
    Connection(harness, "publisher").call("queue.publish", queue="q", message=1)
    assert waiter.payload["message"] == 1
    assert list(connection.holders) == [("q", f"ann{SESSION_MARK}session")]
    end(harness, connection)
    assert counts(harness) == (1, 0, 0, 0)
    check_recovery(harness)


@pytest.mark.parametrize("atomic", [False, True])
def test_what_a_batch_on_a_connection_consumes_is_held_in_its_name(
    harness: Harness, connection: Connection, atomic: bool
) -> None:
    put(harness, 1)
    entries = [{"command": "queue.consume", "payload": {"queue": "q"}}] * 2
    results = connection.send({"type": "batch", "commands": entries, "atomic": atomic})["results"]
    assert [result["payload"]["message"] for result in results] == [1, None]
    end(harness, connection)
    assert taken(harness) == [1]
    check_recovery(harness)


def test_clients_cannot_release(harness: Harness) -> None:
    put(harness)
    take(harness, consumer_id="ann")
    error = refused(harness, "queue.release", queue="q", consumer_id="ann")
    assert error.code == "UNKNOWN_COMMAND"
    assert counts(harness) == (0, 0, 1, 0)


def test_a_full_disk_keeps_the_leases_until_they_run_out(harness: Harness, connection: Connection) -> None:
    put(harness)
    connection.call("queue.consume", queue="q")
    harness.log.failure = OSError(28, "No space left on device")
    end(harness, connection)
    assert counts(harness) == (0, 0, 1, 0)
    harness.log.failure = None
    tick(harness, 30)
    assert counts(harness) == (1, 0, 0, 0)
    check_recovery(harness)


# Subscriptions to queues


def test_a_subscription_needs_a_queue_and_a_connection(harness: Harness, connection: Connection) -> None:
    request = {"command": "queue.subscribe", "payload": {"queue": "q"}}
    assert connection.send(request)["error"]["code"] == "QUEUE_NOT_FOUND"
    queue(harness)
    assert harness.send(request)["error"]["code"] == "NEEDS_WEBSOCKET"
    assert connection.send(request)["payload"] == {"subscribed": True, "queue": "q", "prefetch": 1}
    assert len(harness.log.records) == 1


@pytest.mark.parametrize("prefetch", [0, -1, 10_001, 1.5, "1", None])
def test_a_prefetch_that_makes_no_sense_is_refused(harness: Harness, connection: Connection, prefetch: Any) -> None:
    queue(harness)
    reply = connection.send({"command": "queue.subscribe", "payload": {"queue": "q", "prefetch": prefetch}})
    assert (reply["error"]["code"], reply["error"]["details"]) == ("INVALID_PAYLOAD", {"path": "payload.prefetch"})


def test_no_more_than_prefetch_messages_are_in_flight(harness: Harness, connection: Connection) -> None:
    for n in range(5):
        put(harness, n)
    feed = subscribe(connection, prefetch=2)
    assert (credit(harness, feed), pushed(harness, feed), credit(harness, feed)) == (2, [0, 1], 0)
    harness.call("queue.ack", queue="q", message_id="msg_1_1")
    assert (pushed(harness, feed), pushed(harness, feed)) == ([2], [])
    harness.call("queue.nack", queue="q", message_id="msg_1_2")
    assert pushed(harness, feed) == [1]
    check_recovery(harness)


@pytest.mark.parametrize("how", ["ack", "nack", "reject", "lease", "delete"])
def test_whatever_ends_a_lease_gives_credit_and_is_heard_of(harness: Harness, connection: Connection, how: str) -> None:
    put(harness)
    feed = subscribe(connection)
    assert pushed(harness, feed) == [1]
    heard: list[Any] = []
    harness.dispatcher.line.notify = heard.append
    if how == "lease":
        tick(harness, 30)
    elif how == "delete":
        harness.call("queue.delete", queue="q")
    else:
        fields = {"requeue": False} if how == "reject" else {}
        command = "ack" if how == "ack" else "nack"
        harness.call(f"queue.{command}", queue="q", message_id="msg_1_1", **fields)
    assert heard == [(Lease, "q", feed.holder)]
    if how != "delete":
        assert credit(harness, feed) == 1


def test_a_subscription_in_line_is_told_of_the_deletion(harness: Harness, connection: Connection) -> None:
    queue(harness)
    feed = subscribe(connection, prefetch=3)
    waiter = in_line(harness, feed)
    harness.call("queue.delete", queue="q")
    assert waiter.replies[0].code == "QUEUE_NOT_FOUND"


def test_its_lease_is_as_long_as_asked(harness: Harness, connection: Connection) -> None:
    put(harness)
    feed = subscribe(connection, ack_deadline=0.5)
    pushed(harness, feed)
    harness.clock.advance(0.5)
    assert counts(harness) == (1, 0, 0, 0)


def test_subscriptions_by_several_names_share_fairly_in_line(harness: Harness, connection: Connection) -> None:
    queue(harness)
    feeds = [subscribe(connection, consumer_id=name) for name in ("a", "b" * 256)]
    waiters = [in_line(harness, feed) for feed in feeds]
    put(harness, 1)
    put(harness, 2)
    replies = [json.loads(waiter.replies[0].payload)["messages"][0]["message"] for waiter in waiters]
    assert (replies, stats(harness)["consumers"]) == ([1, 2], 2)
    assert connection.call("queue.unsubscribe", queue="q") == {"unsubscribed": True}
    assert connection.call("queue.unsubscribe", queue="q") == {"unsubscribed": False}
    assert counts(harness) == (0, 0, 2, 0)
    end(harness, connection)
    assert counts(harness) == (2, 0, 0, 0)
    check_recovery(harness)


def test_an_end_leaves_nothing_behind(harness: Harness, connection: Connection) -> None:
    queue(harness)
    subscribe(connection)
    connection.call("stream.subscribe", room="r", create=True)
    end(harness, connection)
    assert (connection.feeds, nobody_waits(harness)) == ({}, True)


def test_subscribing_again_under_the_same_name_takes_the_place_of_the_first(
    harness: Harness, connection: Connection
) -> None:
    put(harness, 1)
    first = subscribe(connection)
    pushed(harness, first)
    connection.call("queue.subscribe", queue="q", prefetch=5)
    (feed,) = connection.feeds.values()
    assert isinstance(feed, QueueFeed)
    assert credit(harness, feed) == 4
