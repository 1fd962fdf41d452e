"""`queue.*` for consumers: leases, acknowledgements, giving back, extending, and what dies."""

from __future__ import annotations

from typing import Any

import pytest

from synap.errors import MessageNotFound, QueueFull
from tests.commands.common import recorded, refused
from tests.commands.queueing import check_recovery, counts, put, queue, stats, take, taken, tick
from tests.support import START, Harness

DEFAULT_LEASE_SECS = 30


def ack(harness: Harness, message: Any, **fields: Any) -> Any:
    return harness.call("queue.ack", queue="q", message_id=message["message_id"], **fields)


def nack(harness: Harness, message: Any, **fields: Any) -> Any:
    return harness.call("queue.nack", queue="q", message_id=message["message_id"], **fields)["action"]


def extend(harness: Harness, message: Any, secs: float, **fields: Any) -> Any:
    return harness.call("queue.extend", queue="q", message_id=message["message_id"], ack_deadline=secs, **fields)


def dead(harness: Harness) -> list[Any]:
    found = harness.call("queue.dlq", queue="q")["messages"]
    assert isinstance(found, list)
    return found


# Leases


def test_a_message_is_with_one_consumer_until_its_lease_runs_out(harness: Harness) -> None:
    put(harness)
    first = take(harness)
    assert (first["delivery"], first["retry_count"]) == (1, 0)
    harness.clock.advance(DEFAULT_LEASE_SECS - 0.001)
    assert take(harness)["message_id"] is None
    harness.clock.advance(0.001)
    assert refused(harness, "queue.ack", queue="q", message_id=first["message_id"]).code == "MESSAGE_NOT_FOUND"
    again = take(harness)
    assert (again["message_id"], again["delivery"], again["retry_count"]) == (first["message_id"], 2, 1)
    assert again["published_at"] == START
    check_recovery(harness)


@pytest.mark.parametrize(("secs", "leased_ms"), [(1e-9, 1), (0.0015, 2), (0.25, 250), (9e9, 9_000_000_000_000)])
def test_a_lease_lasts_as_long_as_asked(harness: Harness, secs: float, leased_ms: int) -> None:
    put(harness)
    take(harness, ack_deadline=secs)
    assert harness.state.queues.next_due == START + leased_ms
    harness.clock.wall = START + leased_ms - 1
    assert counts(harness) == (0, 0, 1, 0)
    harness.clock.wall = START + leased_ms
    assert counts(harness) == (1, 0, 0, 0)


def test_several_messages_come_in_order_and_no_more_than_there_are(harness: Harness) -> None:
    for n in range(5):
        put(harness, n, priority=n)
    found = take(harness, max_messages=3)
    assert [message["message"] for message in found["messages"]] == [4, 3, 2]
    assert set(found) == {"messages"}
    assert [message["message"] for message in take(harness, max_messages=10_000)["messages"]] == [1, 0]
    assert take(harness, max_messages=1) == {"messages": []}


def test_a_message_that_comes_back_finds_its_old_place(harness: Harness) -> None:
    for n in range(3):
        put(harness, n)
    nack(harness, take(harness))
    assert taken(harness) == [0, 1, 2]


# Acknowledging


def test_an_acknowledged_message_is_gone(harness: Harness) -> None:
    put(harness)
    message = take(harness)
    assert ack(harness, message) == {"success": True, "acked": 1, "missing": []}
    error = refused(harness, "queue.ack", queue="q", message_id=message["message_id"])
    assert isinstance(error, MessageNotFound)
    assert error.details == {"queue": "q", "message_id": message["message_id"]}
    tick(harness, 100)
    assert counts(harness) == (0, 0, 0, 0)
    check_recovery(harness)


def test_several_acknowledged_at_once_count_once_each_and_the_missing_are_told(harness: Harness) -> None:
    for n in range(3):
        put(harness, n)
    one, two = (message["message_id"] for message in take(harness, max_messages=2)["messages"])
    ids = [one, "nonsense", one, two, "msg_1_3", "nonsense"]
    found = harness.call("queue.ack", queue="q", message_ids=ids)
    assert found == {"success": False, "acked": 2, "missing": ["nonsense", "msg_1_3"]}
    assert (counts(harness), stats(harness)["acked_total"]) == ((1, 0, 0, 0), 2)
    error = refused(harness, "queue.ack", queue="q", message_ids=ids)
    assert (error.code, error.details["message_id"]) == ("MESSAGE_NOT_FOUND", one)
    check_recovery(harness)


@pytest.mark.parametrize(
    "message_id",
    [
        *("MSG_1_1", "msg_1_01", "msg_01_1", "msg_1_+1", "msg_1_ 1", "msg_1_1_", "msg_1_0_1", "msg_1_0x1", "msg_2_1"),
        *("msg_1_", "msg_1_\u0661", "msg_1_0", "msg_1_-1", "msg_1_" + "f" * 58, "1", "\x00"),
    ],
)
@pytest.mark.parametrize("command", ["ack", "nack", "extend"])
def test_only_the_id_itself_names_a_message(harness: Harness, command: str, message_id: str) -> None:
    put(harness)
    take(harness)
    put(harness, queue="other")
    take(harness, "other")
    fields = {"ack_deadline": 1} if command == "extend" else {}
    error = refused(harness, f"queue.{command}", queue="q", message_id=message_id, **fields)
    assert error.code == "MESSAGE_NOT_FOUND"
    assert counts(harness) == (0, 0, 1, 0)


def test_what_is_not_leased_cannot_be_acknowledged(harness: Harness) -> None:
    ready, delayed = put(harness)["message_id"], put(harness, delay_secs=1)["message_id"]
    for message_id in (ready, delayed):
        assert refused(harness, "queue.ack", queue="q", message_id=message_id).code == "MESSAGE_NOT_FOUND"
        assert refused(harness, "queue.nack", queue="q", message_id=message_id).code == "MESSAGE_NOT_FOUND"


def test_a_delivery_number_guards_against_an_earlier_lease(harness: Harness) -> None:
    put(harness)
    first = take(harness)
    harness.clock.advance(DEFAULT_LEASE_SECS)
    second = take(harness)
    late = {"queue": "q", "message_id": first["message_id"], "delivery": first["delivery"]}
    for command, fields in (("ack", {}), ("nack", {}), ("extend", {"ack_deadline": 9})):
        assert refused(harness, f"queue.{command}", **late, **fields).code == "MESSAGE_NOT_FOUND"
    for delivery in (0, 3, -1, 2**62):
        assert refused(harness, "queue.ack", **late | {"delivery": delivery}).code == "MESSAGE_NOT_FOUND"
    extend(harness, second, 9, delivery=2)
    assert ack(harness, second, delivery=second["delivery"])["acked"] == 1
    check_recovery(harness)


# Giving back


@pytest.mark.parametrize(
    ("retry", "rests"),
    [
        ({}, [0, 0, 0, 0]),
        ({"strategy": "fixed", "initial_secs": 1.5}, [1.5, 1.5, 1.5, 1.5]),
        ({"strategy": "linear", "initial_secs": 2, "max_secs": 5}, [2, 4, 5, 5]),
        ({"initial_secs": 0.5, "multiplier": 4, "max_secs": 30}, [0.5, 2, 8, 30]),
        ({"initial_secs": 9e9, "max_secs": 0}, [0, 0, 0, 0]),
        ({"initial_secs": 1, "multiplier": 1e6, "max_secs": 9e9}, [1, 1e6, 9e9, 9e9]),
    ],
)
@pytest.mark.parametrize("how", ["nack", "lease"])
def test_a_failed_message_rests_as_the_retry_policy_says(
    harness: Harness, retry: dict[str, Any], rests: list[float], how: str
) -> None:
    queue(harness, max_retries=0, retry=retry, ack_deadline_secs=1)
    put(harness)
    for rest in rests:
        message = take(harness)
        if how == "nack":
            assert nack(harness, message) == "requeued"
        else:
            harness.clock.advance(1)
        if rest:
            harness.clock.advance(rest - 0.001)
            assert take(harness)["message_id"] is None
            harness.clock.advance(0.001)
    assert take(harness)["delivery"] == len(rests) + 1
    check_recovery(harness)


def test_a_delay_of_its_own_goes_before_the_policy(harness: Harness) -> None:
    queue(harness, retry={"strategy": "fixed", "initial_secs": 60})
    put(harness)
    nack(harness, take(harness), delay_secs=0.5)
    assert counts(harness) == (0, 1, 0, 0)
    harness.clock.advance(0.5)
    nack(harness, take(harness), delay_secs=0)
    assert take(harness)["retry_count"] == 2


@pytest.mark.parametrize(("max_retries", "deliveries"), [(1, 2), (2, 3), (10, 11)])
def test_past_max_retries_a_message_dies(harness: Harness, max_retries: int, deliveries: int) -> None:
    queue(harness, max_retries=max_retries)
    put(harness, headers={"a": 1, "x-death-reason": "mine"})
    actions = [nack(harness, take(harness)) for _ in range(deliveries)]
    assert actions == ["requeued"] * (deliveries - 1) + ["dead_lettered"]
    (letter,) = dead(harness)
    assert letter["headers"] == {"a": 1, "x-death-reason": "delivery_limit", "x-death-at": START}
    assert letter["delivery"] == deliveries
    check_recovery(harness)


def test_a_lease_that_runs_out_for_the_last_time_kills_at_its_deadline(harness: Harness) -> None:
    queue(harness, max_retries=1, ack_deadline_secs=1)
    put(harness)
    take(harness)
    harness.clock.advance(1)
    take(harness)
    tick(harness, 500)
    (letter,) = dead(harness)
    assert letter["headers"]["x-death-at"] == START + 2_000
    check_recovery(harness)


def test_without_retry_limit_a_message_always_comes_again(harness: Harness) -> None:
    queue(harness, max_retries=0)
    put(harness)
    for _ in range(50):
        assert nack(harness, take(harness)) == "requeued"
    assert take(harness)["retry_count"] == 50


@pytest.mark.parametrize(("dead_letter", "action", "depth"), [(True, "dead_lettered", 1), (False, "dropped", 0)])
def test_a_rejected_message_dies_or_is_dropped(harness: Harness, dead_letter: bool, action: str, depth: int) -> None:
    queue(harness, dead_letter=dead_letter)
    put(harness)
    assert nack(harness, take(harness), requeue=False, delay_secs=5) == action
    assert counts(harness) == (0, 0, 0, depth)
    assert [letter["headers"]["x-death-reason"] for letter in dead(harness)] == ["rejected"] * depth
    check_recovery(harness)


def test_a_message_whose_life_ends_in_flight_may_still_be_acknowledged_and_dies_when_given_back(
    harness: Harness,
) -> None:
    put(harness, 1, ttl=1)
    put(harness, 2, ttl=1)
    one, two = take(harness, max_messages=2)["messages"]
    harness.clock.advance(2)
    assert ack(harness, one)["acked"] == 1
    assert nack(harness, two) == "dead_lettered"
    assert dead(harness)[0]["headers"] == {"x-death-reason": "expired", "x-death-at": START + 2_000}


# Extending


def test_an_extended_lease_runs_from_now(harness: Harness) -> None:
    put(harness)
    message = take(harness)
    harness.clock.advance(29)
    assert extend(harness, message, 0.5) == {"success": True, "deadline": START + 29_500}
    harness.clock.advance(0.499)
    assert extend(harness, message, 60)["deadline"] == START + 89_499
    harness.clock.advance(59.999)
    assert ack(harness, message)["success"] is True
    check_recovery(harness)


def test_a_lease_extended_and_shortened_again_ends_once(harness: Harness) -> None:
    queue(harness, max_retries=5)
    put(harness)
    message = take(harness, ack_deadline=10)
    for secs in (20, 10, 9e9, 1e-9, 10):
        extend(harness, message, secs)
    tick(harness, 10)
    assert take(harness)["delivery"] == 2
    check_recovery(harness)


def test_a_lease_that_is_over_cannot_be_extended(harness: Harness) -> None:
    put(harness)
    message = take(harness)
    harness.clock.advance(DEFAULT_LEASE_SECS)
    error = refused(harness, "queue.extend", queue="q", message_id=message["message_id"], ack_deadline=1)
    assert error.code == "MESSAGE_NOT_FOUND"


# Dead letters


def test_several_acknowledged_at_once_may_name_their_deliveries(harness: Harness) -> None:
    for number in range(3):
        put(harness, number)
    early = harness.call("queue.consume", queue="q", max_messages=2)["messages"]
    harness.clock.advance(DEFAULT_LEASE_SECS)
    late = harness.call("queue.consume", queue="q", max_messages=3)["messages"]
    ids = [message["message_id"] for message in late]
    outdated = {"message_ids": ids[:2], "deliveries": [message["delivery"] for message in early]}
    assert refused(harness, "queue.ack", queue="q", **outdated).code == "MESSAGE_NOT_FOUND"
    found = harness.call("queue.ack", queue="q", message_ids=ids, deliveries=[2, 1, 1])
    assert found == {"success": False, "acked": 2, "missing": [ids[1]]}
    for wrong in ([1], [1, 1, 1, 1]):
        assert refused(harness, "queue.ack", queue="q", message_ids=ids, deliveries=wrong).code == "INVALID_PAYLOAD"
    assert refused(harness, "queue.ack", queue="q", message_id=ids[0], deliveries=[1]).code == "INVALID_PAYLOAD"
    check_recovery(harness)


def test_a_replayed_letter_is_a_new_message_that_tells_of_its_death(harness: Harness) -> None:
    put(harness, "m", priority=9, headers={"a": 1})
    nack(harness, take(harness), requeue=False)
    harness.clock.advance(5)
    found = harness.call("queue.dlq_replay", queue="q", message_id="msg_1_1")
    assert found == {"replayed": 1, "message_id": "msg_1_2", "seq": 2}
    again = take(harness)
    assert again == {
        "message_id": "msg_1_2",
        "message": "m",
        "priority": 9,
        "retry_count": 0,
        "headers": {"a": 1, "x-death-reason": "rejected", "x-death-at": START},
        "seq": 2,
        "published_at": START + 5_000,
        "delivery": 1,
        "deadline": harness.clock.now() + 30_000,
    }
    assert refused(harness, "queue.dlq_replay", queue="q", message_id="msg_1_1").code == "MESSAGE_NOT_FOUND"
    assert refused(harness, "queue.dlq_replay", queue="q", message_id=again["message_id"]).code == "MESSAGE_NOT_FOUND"
    check_recovery(harness)


def test_all_letters_are_replayed_in_the_order_they_died_or_none(harness: Harness) -> None:
    for n in range(3):
        put(harness, n)
    letters = take(harness, max_messages=3)["messages"]
    for letter in reversed(letters):
        nack(harness, letter, requeue=False)
    harness.call("queue.configure", queue="q", config={"max_depth": 2})
    error = refused(harness, "queue.dlq_replay", queue="q", all=True)
    assert isinstance(error, QueueFull)
    assert (error.details, counts(harness)) == ({"queue": "q", "max_depth": 2}, (0, 0, 0, 3))
    harness.call("queue.configure", queue="q", config={"max_depth": None})
    everything = {"replayed": 3, "message_id": None, "seq": None}
    assert harness.call("queue.dlq_replay", queue="q", all=True) == everything
    assert harness.call("queue.dlq_replay", queue="q", all=True) == everything | {"replayed": 0}
    assert taken(harness) == [2, 1, 0]
    assert recorded(harness).count("queue.dlq_replay") == 1
    check_recovery(harness)


def test_letters_are_shown_first_death_first_and_purged(harness: Harness) -> None:
    for n, ttl in enumerate([3, 1, 2]):
        put(harness, n, ttl=ttl)
    harness.clock.advance(60)
    assert [letter["message"] for letter in dead(harness)] == [1, 2, 0]
    assert len(harness.call("queue.dlq", queue="q", count=2)["messages"]) == 2
    assert harness.call("queue.dlq_purge", queue="q") == {"purged": 3}
    assert harness.call("queue.dlq_purge", queue="q") == {"purged": 0}
    assert (dead(harness), stats(harness)["dead_lettered_total"]) == ([], 3)
    check_recovery(harness)


# Everything at once


def test_a_message_lives_through_all_there_is(harness: Harness) -> None:
    queue(harness, max_retries=2, ack_deadline_secs=10, retry={"initial_secs": 1, "multiplier": 3})
    put(harness, {"order": 1}, delay_secs=5, dedup_id="order-1", headers={"trace": "t"})
    assert put(harness, {"order": 1}, dedup_id="order-1")["duplicate"] is True
    assert take(harness)["message_id"] is None
    tick(harness, 5)
    first = take(harness, consumer_id="ann")
    harness.clock.advance(9)
    extend(harness, first, 10, delivery=1)
    tick(harness, 10)
    assert counts(harness) == (0, 1, 0, 0)
    tick(harness, 1)
    second = take(harness)
    assert (second["delivery"], second["retry_count"]) == (2, 1)
    assert refused(harness, "queue.ack", queue="q", message_id=first["message_id"], delivery=1).status == 404
    assert nack(harness, second) == "requeued"
    tick(harness, 2.999)
    assert take(harness)["message_id"] is None
    tick(harness, 0.001)
    assert nack(harness, take(harness)) == "dead_lettered"
    check_recovery(harness)
    harness.call("queue.dlq_replay", queue="q", all=True)
    last = take(harness)
    assert (last["delivery"], last["headers"]["trace"]) == (1, "t")
    assert last["headers"]["x-death-reason"] == "delivery_limit"
    ack(harness, last)
    assert (counts(harness), stats(harness)["published_total"]) == ((0, 0, 0, 0), 1)
    assert put(harness, {"order": 1}, dedup_id="order-1")["duplicate"] is True
    check_recovery(harness)


# Payloads


@pytest.mark.parametrize(
    ("command", "payload", "path"),
    [
        ("consume", {"timeout": -1}, "payload.timeout"),
        ("consume", {"timeout": "1"}, "payload.timeout"),
        ("consume", {"ack_deadline": 0}, "payload.ack_deadline"),
        ("consume", {"ack_deadline": 9e9 + 1}, "payload.ack_deadline"),
        ("consume", {"max_messages": 0}, "payload.max_messages"),
        ("consume", {"max_messages": 10_001}, "payload.max_messages"),
        ("consume", {"consumer_id": ""}, "payload.consumer_id"),
        ("consume", {"consumer_id": "c" * 513}, "payload.consumer_id"),
        ("consume", {"count": 1}, "payload.count"),
        ("ack", {}, "payload"),
        ("ack", {"message_id": "m", "message_ids": ["m"]}, "payload"),
        ("ack", {"message_ids": ["m"], "delivery": 1}, "payload"),
        ("ack", {"message_ids": []}, "payload.message_ids"),
        ("ack", {"message_ids": ["m"] * 10_001}, "payload.message_ids"),
        ("ack", {"message_id": "m" * 65}, "payload.message_id"),
        ("ack", {"message_id": 1}, "payload.message_id"),
        ("ack", {"message_id": "m", "delivery": 1.5}, "payload.delivery"),
        ("nack", {}, "payload.message_id"),
        ("nack", {"message_id": "m", "delay_secs": -1}, "payload.delay_secs"),
        ("nack", {"message_id": "m", "requeue": "no"}, "payload.requeue"),
        ("extend", {"message_id": "m"}, "payload.ack_deadline"),
        ("extend", {"message_id": "m", "ack_deadline": 0}, "payload.ack_deadline"),
        ("dlq", {"count": 0}, "payload.count"),
        ("dlq_replay", {}, "payload"),
        ("dlq_replay", {"all": False}, "payload"),
        ("dlq_replay", {"all": True, "message_id": "m"}, "payload"),
    ],
)
def test_a_wrong_field_of_a_payload_is_named_by_its_path(
    harness: Harness, command: str, payload: dict[str, Any], path: str
) -> None:
    queue(harness)
    error = refused(harness, f"queue.{command}", queue="q", **payload)
    assert (error.code, error.details["path"]) == ("INVALID_PAYLOAD", path)
    assert recorded(harness) == ["queue.create"]
