"""Requests with an idempotency key: repeated as often as one likes, executed once."""

from __future__ import annotations

from typing import Any

import pytest

from synap.commands.gates import Limits
from synap.errors import IdempotencyConflict, SynapError
from tests.commands.common import recorded, restarted
from tests.support import START, Harness, payload_of

DAY_SECS = 24 * 3600
INCR = {"command": "kv.incr", "payload": {"key": "n"}}


def once(harness: Harness, command: str, /, key: str = "once", **payload: Any) -> Any:
    """The payload answered to a command with an idempotency key."""
    return payload_of(harness.send({"command": command, "payload": payload, "idempotency_key": key}))


def incr(harness: Harness, key: str = "once", amount: int = 1) -> Any:
    request = {"command": "kv.incr", "payload": {"key": "n", "amount": amount}, "idempotency_key": key}
    return payload_of(harness.send(request))["value"]


def count(harness: Harness) -> Any:
    return harness.call("kv.get", key="n")["value"]


def error_of(reply: Any) -> SynapError:
    with pytest.raises(SynapError) as raised:
        payload_of(reply)
    return raised.value


def test_a_repeated_write_gets_the_first_reply_and_changes_nothing(harness: Harness) -> None:
    assert incr(harness) == 1
    digest = harness.digest()
    assert [incr(harness) for _ in range(3)] == [1, 1, 1]
    assert (count(harness), len(harness.log.records)) == (1, 1)
    assert harness.digest() == digest


def test_the_first_reply_is_kept_byte_for_byte(harness: Harness) -> None:
    harness.send(b'{"command":"kv.set","payload":{"key":"k","value":{"a":1.10}}}')
    body = b'{"command":"kv.getset","payload":{"key":"k","value":2},"idempotency_key":"i"}'
    replies = {harness.dispatcher.answer(body).body.rpartition(b'"payload":')[2] for _ in range(2)}
    assert replies == {b'{"value":{"a":1.10}}}'}


def test_another_key_is_another_write(harness: Harness) -> None:
    assert [incr(harness, key) for key in ("a", "b", "a")] == [1, 2, 1]


def test_a_header_stands_in_for_the_field_and_the_field_wins(harness: Harness) -> None:
    assert payload_of(harness.send(INCR, idempotency_key="h"))["value"] == 1
    assert payload_of(harness.send({**INCR, "idempotency_key": "h"}))["value"] == 1
    assert payload_of(harness.send({**INCR, "idempotency_key": "f"}, idempotency_key="h"))["value"] == 2


@pytest.mark.parametrize(
    "other",
    [
        {"command": "kv.incr", "payload": {"key": "n", "amount": 2}},
        {"command": "kv.decr", "payload": {"key": "n"}},
        {"type": "batch", "commands": [INCR]},
    ],
)
def test_the_same_key_on_another_request_is_a_conflict(harness: Harness, other: dict[str, Any]) -> None:
    harness.send({**INCR, "idempotency_key": "i"})
    error = error_of(harness.send({**other, "idempotency_key": "i"}))
    assert isinstance(error, IdempotencyConflict)
    assert error.details == {"idempotency_key": "i"}
    assert count(harness) == 1


def test_an_error_is_remembered_like_any_reply(harness: Harness) -> None:
    harness.call("kv.set", key="n", value="text")
    first = error_of(harness.send({**INCR, "idempotency_key": "i"}))
    harness.call("kv.set", key="n", value=5)
    again = error_of(harness.send({**INCR, "idempotency_key": "i"}))
    assert (first.code, first.message, first.details) == (again.code, again.message, again.details)
    assert first.code == "NOT_A_NUMBER"
    assert count(harness) == 5
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()


def test_an_unchanged_result_is_remembered_like_any_reply(harness: Harness) -> None:
    harness.call("kv.set", key="lock", value="other")
    request = {"command": "kv.set", "payload": {"key": "lock", "value": "me", "nx": True}, "idempotency_key": "i"}
    assert payload_of(harness.send(request))["success"] is False
    harness.call("kv.del", key="lock")
    assert payload_of(harness.send(request))["success"] is False
    assert harness.call("kv.exists", key="lock")["exists"] is False
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()


def test_a_request_that_was_refused_before_it_ran_may_be_tried_again(harness: Harness) -> None:
    wrong = {"command": "kv.incr", "payload": {"key": "n", "amount": "1"}, "idempotency_key": "i"}
    assert error_of(harness.send(wrong)).code == "INVALID_PAYLOAD"
    harness.log.failure = OSError(28, "No space left on device")
    assert error_of(harness.send({**INCR, "idempotency_key": "i"})).code == "DISK_FULL"
    harness.log.failure = None
    assert payload_of(harness.send({**INCR, "idempotency_key": "i"}))["value"] == 1


def test_a_payload_that_contradicts_itself_may_be_put_right_under_the_same_key(harness: Harness) -> None:
    wrong = {"key": "k", "value": 1, "nx": True, "xx": True}
    request = {"command": "kv.set", "payload": wrong, "idempotency_key": "i"}
    assert error_of(harness.send(request)).code == "INVALID_PAYLOAD"
    assert recorded(harness) == []
    assert payload_of(harness.send({**request, "payload": {"key": "k", "value": 1, "nx": True}}))["success"] is True


def test_a_remembered_reply_is_given_even_while_the_disk_is_full(harness: Harness) -> None:
    batch = {"type": "batch", "commands": [INCR], "idempotency_key": "batch"}
    assert (incr(harness), harness.send(batch)["results"][0]["payload"]["value"]) == (1, 2)
    harness.log.failure = OSError(28, "No space left on device")
    assert incr(harness) == 1
    assert harness.send(batch)["results"][0]["payload"]["value"] == 2


def test_a_key_is_free_again_after_24_hours(harness: Harness) -> None:
    assert incr(harness) == 1
    harness.clock.advance(DAY_SECS - 0.001)
    assert incr(harness) == 1
    harness.clock.advance(0.001)
    assert incr(harness) == 2
    assert incr(harness, amount=1) == 2


def test_replies_are_remembered_across_restarts_and_snapshots(harness: Harness) -> None:
    assert incr(harness) == 1
    harness.clock.advance(60)
    again = restarted(harness, harness.clock.wall)
    assert incr(again) == 1
    assert (count(again), recorded(again)) == (1, [])
    assert harness.restored().digest(harness.clock.now()) == harness.digest()


def test_reads_take_no_notice_of_a_key(harness: Harness) -> None:
    request = {"command": "kv.get", "payload": {"key": "n"}, "idempotency_key": "i"}
    assert payload_of(harness.send(request))["found"] is False
    harness.call("kv.incr", key="n")
    assert payload_of(harness.send(request))["value"] == 1
    assert recorded(harness) == ["kv.incr"]
    assert incr(harness, "i") == 2


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_1_to_255_characters(harness: Harness, key: str) -> None:
    assert error_of(harness.send({**INCR, "idempotency_key": key})).code == "INVALID_REQUEST"
    assert error_of(harness.send(INCR, idempotency_key=key)).code == "INVALID_REQUEST"
    assert recorded(harness) == []
    assert incr(harness, "é" * 255) == 1


def test_remembered_replies_count_as_memory_until_forgotten(harness: Harness) -> None:
    harness.call("kv.incr", key="n")
    before = harness.state.used_bytes
    incr(harness)
    assert harness.state.used_bytes > before
    harness.clock.advance(DAY_SECS)
    harness.dispatcher.sweep(100)
    assert harness.state.used_bytes == before


# Inside batches


@pytest.mark.parametrize("atomic", [False, True])
def test_an_entry_with_a_key_is_executed_once_across_batches(harness: Harness, atomic: bool) -> None:
    batch = {"type": "batch", "atomic": atomic, "commands": [{**INCR, "idempotency_key": "i"}, INCR]}
    values = [[r["payload"]["value"] for r in harness.send(batch)["results"]] for _ in range(3)]
    assert values == [[1, 2], [1, 3], [1, 4]]
    assert incr_plain(harness, "i") == 1
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()


def incr_plain(harness: Harness, key: str) -> Any:
    return payload_of(harness.send({**INCR, "idempotency_key": key}))["value"]


def test_the_same_key_twice_in_one_batch_is_executed_once(harness: Harness) -> None:
    entry = {**INCR, "idempotency_key": "i"}
    results = harness.send({"type": "batch", "commands": [entry, entry]})["results"]
    assert [r["payload"]["value"] for r in results] == [1, 1]
    assert count(harness) == 1


def test_a_conflict_inside_a_batch_fails_alone(harness: Harness) -> None:
    other = {"command": "kv.decr", "payload": {"key": "n"}, "idempotency_key": "i"}
    results = harness.send({"type": "batch", "commands": [{**INCR, "idempotency_key": "i"}, other, INCR]})["results"]
    assert [r["status"] for r in results] == ["success", "error", "success"]
    assert results[1]["error"]["code"] == "IDEMPOTENCY_CONFLICT"


@pytest.mark.parametrize("atomic", [False, True])
def test_a_whole_batch_with_a_key_is_executed_once(harness: Harness, atomic: bool) -> None:
    commands = [INCR, {"command": "kv.get", "payload": {"key": "n"}}, {"command": "nope"}, INCR]
    batch = {"type": "batch", "commands": commands, "atomic": atomic, "idempotency_key": "b"}
    first = harness.send(batch)
    harness.call("kv.set", key="n", value=100)
    assert harness.send(batch)["results"] == first["results"]
    assert [r["status"] for r in first["results"]] == ["success", "success", "error", "success"]
    assert count(harness) == 100
    assert len(harness.log.records) == 2
    again = restarted(harness, START)
    assert again.send(batch)["results"] == first["results"]
    assert count(again) == 100


def test_another_batch_under_the_same_key_is_a_conflict(harness: Harness) -> None:
    harness.send({"type": "batch", "commands": [INCR], "idempotency_key": "b"})
    reply = harness.send({"type": "batch", "commands": [INCR, INCR], "idempotency_key": "b"})
    assert reply["error"]["code"] == "IDEMPOTENCY_CONFLICT"


def test_keys_of_a_batch_and_of_its_entries_are_both_remembered(harness: Harness) -> None:
    batch = {"type": "batch", "commands": [{**INCR, "idempotency_key": "entry"}], "idempotency_key": "batch"}
    for _ in range(2):
        assert harness.send(batch)["results"][0]["payload"]["value"] == 1
    assert incr_plain(harness, "entry") == 1
    assert len(harness.log.records) == 1
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()


def test_a_batch_and_its_entry_under_one_key_leave_a_state_that_replays(harness: Harness) -> None:
    batch = {"type": "batch", "commands": [{**INCR, "idempotency_key": "i"}], "idempotency_key": "i"}
    assert harness.send(batch)["results"] == harness.send(batch)["results"]
    assert count(harness) == 1
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()
    assert harness.restored().digest(harness.clock.now()) == harness.digest()
    harness.call("kv.flushdb")
    harness.clock.advance(DAY_SECS)
    harness.dispatcher.sweep(100)
    assert harness.state.used_bytes == 0


# Together with memory limits


def test_what_a_refused_request_has_evicted_is_in_the_journal() -> None:
    harness = Harness(Limits(memory_bytes=4_000, memory_policy="volatile-ttl"))
    harness.call("kv.set", key="cache", value=1, ttl=100)
    harness.call("kv.set", key="big", value="x" * 8_000)
    error = error_of(harness.send({**INCR, "idempotency_key": "i"}))
    assert error.code == "MEMORY_LIMIT"
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()
