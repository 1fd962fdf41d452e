"""From request to journal: gates, batches, records and failures."""

from __future__ import annotations

import json
import logging
from typing import Any

import msgspec
import pytest

from synap.clock import Millis
from synap.commands.gates import Limits
from synap.commands.state import State
from synap.commands.table import Table, command
from synap.commands.types import KeyOnly, Success
from synap.errors import DiskFull, InvalidPayload, KeyNotFound, SynapError, Unavailable
from tests.commands.common import batch, recorded, refused, restarted
from tests.support import START, Harness

DISK_FULL = OSError(28, "No space left on device")


def codes(results: list[Any]) -> list[str]:
    return [result["error"]["code"] if result["status"] == "error" else "OK" for result in results]


# Batches


def test_the_results_of_a_batch_are_in_the_order_of_its_commands(harness: Harness) -> None:
    increments = [("kv.incr", {"key": "n"})] * 5
    results = batch(harness, *increments, ("kv.get", {"key": "n"}), ("kv.dbsize", {}))
    assert [r["payload"].get("value") for r in results] == [1, 2, 3, 4, 5, 5, None]
    assert results[-1] == {"status": "success", "payload": {"size": 1}}


@pytest.mark.parametrize("atomic", [False, True])
def test_a_bad_entry_fails_alone(harness: Harness, atomic: bool) -> None:
    harness.call("kv.set", key="text", value="x")
    results = batch(
        harness,
        ("kv.set", {"key": "a", "value": 1}),
        ("kv.nope", {}),
        ("kv.set", {"key": "b"}),
        ("kv.incr", {"key": "text"}),
        {"commmand": "kv.dbsize"},
        {"type": "batch", "commands": []},
        {"command": "kv.dbsize", "ack": "never"},
        ("kv.set", {"key": "c", "value": 1}),
        atomic=atomic,
    )
    assert codes(results) == [
        "OK",
        "UNKNOWN_COMMAND",
        "INVALID_PAYLOAD",
        "NOT_A_NUMBER",
        "INVALID_REQUEST",
        "INVALID_REQUEST",
        "INVALID_REQUEST",
        "OK",
    ]
    assert harness.call("kv.keys")["keys"] == ["a", "c", "text"]


@pytest.mark.parametrize("entry", [None, 5, "kv.dbsize", [], [{"command": "kv.dbsize"}], {}])
def test_an_entry_that_is_no_request_fails_alone(harness: Harness, entry: Any) -> None:
    reply = harness.send({"type": "batch", "commands": [entry, {"command": "kv.dbsize"}]})
    assert codes(reply["results"]) == ["INVALID_REQUEST", "OK"]


def test_an_empty_batch_has_no_results(harness: Harness) -> None:
    for atomic in (False, True):
        reply = harness.send({"type": "batch", "commands": [], "atomic": atomic, "request_id": "b"})
        assert reply == {"type": "batch_response", "request_id": "b", "results": []}
    assert recorded(harness) == []


def test_a_batch_holds_ten_thousand_commands_and_no_more(harness: Harness) -> None:
    entry = {"command": "kv.incr", "payload": {"key": "n"}}
    assert len(harness.send({"type": "batch", "commands": [entry] * 10_000, "atomic": True})["results"]) == 10_000
    reply = harness.dispatcher.answer(json.dumps({"type": "batch", "commands": [entry] * 10_001}).encode())
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"], error["details"]) == (413, "PAYLOAD_TOO_LARGE", {"limit": 10_000})
    assert harness.call("kv.get", key="n")["value"] == 10_000


def test_the_limit_of_a_batch_can_be_set() -> None:
    harness = Harness(Limits(max_batch=2))
    assert codes(batch(harness, ("kv.dbsize", {}), ("kv.dbsize", {}))) == ["OK", "OK"]
    reply = harness.send({"type": "batch", "commands": [{"command": "kv.dbsize"}] * 3, "request_id": "b"})
    assert (reply["request_id"], reply["error"]["code"]) == ("b", "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("form", ["read", "write", "write with a key"])
def test_the_reply_to_a_batch_is_bounded(harness: Harness, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr("synap.commands.dispatcher.REPLY_BYTES_MAX", 2_500)
    harness.call("kv.set", key="a", value="x" * 1_000)
    write = ("kv.set", {"key": "a", "value": 1, "nx": True, "get": True})
    name, payload = ("kv.get", {"key": "a"}) if form == "read" else write
    entries: list[dict[str, Any]] = [{"command": name, "payload": payload} for _ in range(5)]
    if form == "write with a key":
        entries = [{**entry, "idempotency_key": f"i{number}"} for number, entry in enumerate(entries)]
    assert codes(batch(harness, *entries)) == ["OK"] * 3 + ["PAYLOAD_TOO_LARGE"] * 2


# Records


def test_a_write_leaves_the_payload_as_it_was_sent(harness: Harness) -> None:
    harness.send(b'{"payload": { "value" : 1.10 ,"key":"\\u006b"}, "command":"kv.set"}')
    (record,) = harness.log.records
    assert (record.lsn, record.time, record.command) == (1, START, "kv.set")
    assert record.payload == b'{ "value" : 1.10 ,"key":"\\u006b"}'


def test_a_write_without_a_payload_leaves_an_empty_one(harness: Harness) -> None:
    harness.call("kv.set", key="a", value=1)
    harness.send({"command": "kv.flushdb"})
    assert (recorded(harness), harness.log.records[1].payload) == (["kv.set", "kv.flushdb"], b"{}")


def test_records_are_numbered_without_a_gap(harness: Harness) -> None:
    for number in range(3):
        harness.call("kv.incr", key="n")
        refused(harness, "kv.incr", key="n", amount="x")
        harness.call("kv.get", key="n")
        harness.clock.advance(number)
    batch(harness, ("kv.incr", {"key": "n"}), ("kv.incr", {"key": "n"}))
    assert [record.lsn for record in harness.log.records] == [1, 2, 3, 4, 5]
    assert harness.state.lsn == 5


# Instructive ones; that it holds for every command, test_digest.py shows with payloads drawn from the table.
READS: list[tuple[str, dict[str, Any]]] = [
    ("kv.get", {"key": "a"}),
    ("kv.ttl", {"key": "a"}),
    ("kv.scan", {}),
    ("kv.mget", {"keys": ["a", "b"]}),
    ("kv.stats", {}),
    ("key.randomkey", {}),
    ("memory.usage", {"key": "a"}),
    ("hash.get", {"key": "b", "field": "a"}),
    ("admin.digest", {}),
]

UNCHANGED: list[tuple[str, dict[str, Any]]] = [
    ("kv.set", {"key": "a", "value": 2, "nx": True}),
    ("kv.set", {"key": "no", "value": 2, "xx": True}),
    ("kv.del", {"key": "no"}),
    ("kv.del", {"keys": ["no", "none"]}),
    ("kv.mdel", {"keys": []}),
    ("kv.expire", {"key": "no", "ttl": 5}),
    ("kv.expire", {"key": "no", "ttl": 0}),
    ("kv.persist", {"key": "no"}),
    ("kv.persist", {"key": "a"}),
    ("kv.mset", {"pairs": []}),
    ("kv.mset", {"pairs": {}}),
    ("kv.msetnx", {"pairs": {"a": 1, "no": 1}}),
    ("kv.msetnx", {"pairs": {}}),
    ("kv.setrange", {"key": "text", "offset": 0, "value": ""}),
    ("kv.setrange", {"key": "no", "offset": 9, "value": ""}),
    ("kv.getdel", {"key": "no"}),
    ("key.rename", {"source": "a", "destination": "a"}),
    ("key.renamenx", {"source": "a", "destination": "text"}),
    ("key.copy", {"source": "a", "destination": "text"}),
    ("key.copy", {"source": "a", "destination": "a", "replace": True}),
]

FAILING: list[tuple[str, dict[str, Any]]] = [
    ("kv.set", {"key": "a"}),
    ("kv.set", {"key": "a", "value": 1, "nx": True, "xx": True}),
    ("kv.incr", {"key": "text"}),
    ("kv.incr", {"key": "a", "amount": 2**63 - 1}),
    ("kv.incrbyfloat", {"key": "text", "amount": 1}),
    ("kv.append", {"key": "a", "value": "x"}),
    ("kv.setrange", {"key": "a", "offset": 0, "value": "x"}),
    ("key.rename", {"source": "no", "destination": "a"}),
    ("kv.nope", {}),
]


@pytest.mark.parametrize("form", ["single", "batch", "atomic"])
@pytest.mark.parametrize(("name", "payload"), READS + UNCHANGED + FAILING)
def test_what_changes_nothing_leaves_no_record_and_no_trace(
    harness: Harness, name: str, payload: dict[str, Any], form: str
) -> None:
    harness.call("kv.mset", pairs={"a": 1, "text": "x"})
    before = harness.digest()
    if form == "single":
        harness.send({"command": name, "payload": payload})
    else:
        batch(harness, (name, payload), atomic=form == "atomic")
    assert recorded(harness) == ["kv.mset"]
    assert harness.digest() == before


# Atomic batches


def test_an_atomic_batch_is_one_record(harness: Harness) -> None:
    batch(harness, ("kv.incr", {"key": "a"}), ("kv.incr", {"key": "b"}), ("kv.get", {"key": "a"}), atomic=True)
    (record,) = harness.log.records
    assert (record.lsn, record.command) == (1, "system.transaction")
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()


def test_a_plain_batch_is_a_record_for_each_write(harness: Harness) -> None:
    batch(harness, ("kv.incr", {"key": "a"}), ("kv.get", {"key": "a"}), ("kv.incr", {"key": "b"}))
    assert recorded(harness) == ["kv.incr", "kv.incr"]


def test_a_failing_command_does_not_undo_the_others_of_its_atomic_batch(harness: Harness) -> None:
    results = batch(
        harness,
        ("kv.set", {"key": "a", "value": "x"}),
        ("kv.incr", {"key": "a"}),
        ("kv.del", {"key": "no"}),
        ("kv.set", {"key": "b", "value": 1}),
        atomic=True,
    )
    assert codes(results) == ["OK", "NOT_A_NUMBER", "OK", "OK"]
    assert len(harness.log.records) == 1
    again = harness.replayed()
    assert again.digest(harness.clock.now()) == harness.digest()
    assert bytes(harness.log.records[0].payload).count(b"kv.set") == 2
    assert b"kv.incr" not in bytes(harness.log.records[0].payload)


def test_the_record_of_an_atomic_batch_keeps_payloads_byte_for_byte(harness: Harness) -> None:
    payload = b'{ "key":"k", "value": 1.10 }'
    harness.send(b'{"type":"batch","atomic":true,"commands":[{"command":"kv.set","payload":%b}]}' % payload)
    assert payload in bytes(harness.log.records[0].payload)


# A disk that takes no writes


def test_a_full_disk_refuses_writes_while_reads_go_on(harness: Harness) -> None:
    harness.call("kv.set", key="a", value=1)
    harness.log.failure = DISK_FULL
    error = refused(harness, "kv.set", key="a", value=2)
    assert isinstance(error, DiskFull)
    assert error.details == {"reason": "No space left on device"}
    for name, payload in (("kv.del", {"key": "a"}), ("kv.expire", {"key": "a", "ttl": 0}), ("kv.flushdb", {})):
        assert refused(harness, name, **payload).code == "DISK_FULL"
    assert harness.call("kv.get", key="a")["value"] == 1
    results = batch(harness, ("kv.incr", {"key": "a"}), ("kv.get", {"key": "a"}), atomic=True)
    assert codes(results) == ["DISK_FULL", "OK"]
    assert recorded(harness) == ["kv.set"]


def test_writes_are_taken_again_once_the_disk_takes_them(harness: Harness) -> None:
    harness.log.failure = DISK_FULL
    refused(harness, "kv.set", key="a", value=1)
    harness.log.failure = None
    harness.call("kv.set", key="a", value=2)
    assert [record.lsn for record in harness.log.records] == [1]


def test_keys_that_expire_on_a_full_disk_stay_gone_once_it_takes_writes_again(harness: Harness) -> None:
    harness.call("kv.set", key="a", value=1, ttl=5)
    harness.clock.advance(6)
    harness.log.failure = DISK_FULL
    harness.dispatcher.sweep(100)
    assert harness.call("kv.get", key="a")["found"] is False
    assert recorded(harness) == ["kv.set"]
    harness.log.failure = None
    harness.dispatcher.sweep(100)
    assert restarted(harness, START).call("kv.get", key="a")["found"] is False


# Not serving


def test_every_request_is_refused_while_the_server_is_not_serving(harness: Harness) -> None:
    harness.dispatcher.refusal = Unavailable("the server is starting")
    for request in (
        {"command": "kv.set", "payload": {"key": "a", "value": 1}},
        {"command": "kv.dbsize"},
        {"type": "batch", "commands": [{"command": "kv.dbsize"}]},
    ):
        reply = harness.dispatcher.answer(json.dumps({**request, "request_id": "r"}).encode())
        decoded = json.loads(reply.body)
        assert (reply.status, reply.lsn, decoded["request_id"]) == (503, 0, "r")
        assert decoded["error"]["code"] == "UNAVAILABLE"
    harness.dispatcher.ready()
    assert harness.call("kv.dbsize") == {"size": 0}


# Bugs


def fail(state: State, payload: KeyOnly, now: Millis) -> Success:
    """Fall over."""
    raise RuntimeError(f"secret {payload.key}")


def recurse(state: State, payload: KeyOnly, now: Millis) -> Success:
    """Never come back."""
    return recurse(state, payload, now)


def shout(payload: KeyOnly, session: object) -> KeyOnly:
    return KeyOnly(key=payload.key.upper())


def keep(state: State, payload: KeyOnly, now: Millis) -> Success:
    """Store a number under the key."""
    state.keyspace.put(payload.key, b"1", now)
    return Success(success=True)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Harness:
    """A harness whose commands are the toys above."""
    table = Table()
    monkeypatch.setattr("synap.commands.table.TABLE", table)
    command("toy.fail", writes=True, keys=("key",), cost="O(1)", since="0.1")(fail)
    command("toy.recurse", keys=("key",), cost="O(1)", since="0.1")(recurse)
    command("toy.keep", writes=True, keys=("key",), admit=shout, cost="O(1)", since="0.1")(keep)
    return Harness(table=table)


def test_a_bug_is_told_by_an_incident_that_is_in_the_log(toys: Harness, caplog: pytest.LogCaptureFixture) -> None:
    body = b'{"command":"toy.fail","payload":{"key":"k"},"request_id":"r"}'
    with caplog.at_level(logging.ERROR):
        reply = toys.dispatcher.answer(body)
    decoded = json.loads(reply.body)
    incident = decoded["error"]["details"]["incident"]
    assert (reply.status, decoded["request_id"], decoded["error"]["code"]) == (500, "r", "INTERNAL_ERROR")
    assert b"secret" not in reply.body
    assert b"RuntimeError" not in reply.body
    (record,) = caplog.records
    assert incident in record.getMessage()
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "secret k"
    assert recorded(toys) == []


def test_every_bug_is_an_incident_of_its_own(toys: Harness) -> None:
    incidents = {refused(toys, "toy.fail", key="k").details["incident"] for _ in range(3)}
    assert len(incidents) == 3


def test_a_bug_fails_alone_in_its_batch(toys: Harness) -> None:
    entries = ("toy.keep", {"key": "a"}), ("toy.fail", {"key": "a"}), ("toy.keep", {"key": "b"})
    assert codes(batch(toys, *entries, atomic=True)) == ["OK", "INTERNAL_ERROR", "OK"]
    assert recorded(toys) == ["system.transaction"]


def test_admission_decides_what_the_handler_and_the_journal_get(toys: Harness) -> None:
    toys.call("toy.keep", key="whisper")
    assert toys.log.records[0].payload == b'{"key":"WHISPER"}'
    assert toys.state.keyspace.peek("WHISPER", START) == b"1"


# Tallies


def test_successes_failures_and_refusals_are_counted_apart(harness: Harness) -> None:
    harness.call("kv.set", key="a", value="x")
    refused(harness, "kv.set", key="a")
    refused(harness, "kv.incr", key="a")
    refused(harness, "kv.nope")
    tallies = {name: (b.succeeded, b.failed, b.rejected) for name, b in harness.dispatcher.bound.items()}
    assert tallies["kv.set"] == (1, 0, 1)
    assert tallies["kv.incr"] == (0, 1, 0)
    assert harness.dispatcher.errors_by_code == {"INVALID_PAYLOAD": 1, "NOT_A_NUMBER": 1, "UNKNOWN_COMMAND": 1}


# The door for one command


def test_call_runs_one_command_and_says_what_was_missing(harness: Harness) -> None:
    outcome = harness.dispatcher.call("kv.set", b'{"key":"a","value":1.10}')
    assert msgspec.json.decode(outcome.payload) == {"key": "a", "success": True, "previous": None}
    assert (outcome.lsn, outcome.wrote, outcome.missing) == (1, True, False)
    outcome = harness.dispatcher.call("kv.get", b'{"key":"a"}')
    assert outcome.payload == b'{"found":true,"value":1.10,"ttl":null}'
    assert (outcome.wrote, outcome.missing) == (False, False)
    assert harness.dispatcher.call("kv.get", b'{"key":"b"}').missing is True


def test_call_raises_what_a_request_would_be_answered(harness: Harness) -> None:
    for name, payload, code in [
        ("kv.nope", b"{}", "UNKNOWN_COMMAND"),
        ("kv.get", b"{}", "INVALID_PAYLOAD"),
        ("kv.get", b"{", "INVALID_REQUEST"),
        ("key.rename", b'{"source":"a","destination":"b"}', "KEY_NOT_FOUND"),
    ]:
        with pytest.raises(SynapError) as raised:
            harness.dispatcher.call(name, payload)
        assert raised.value.code == code


def test_call_remembers_by_idempotency_key(harness: Harness) -> None:
    payload = b'{"key":"n"}'
    first = harness.dispatcher.call("kv.incr", payload, idempotency_key="once")
    assert (
        harness.dispatcher.call("kv.incr", payload, idempotency_key="once").payload == first.payload == b'{"value":1}'
    )
    missing = b'{"source":"a","destination":"b"}'
    for _ in range(2):
        with pytest.raises(KeyNotFound):
            harness.dispatcher.call("key.rename", missing, idempotency_key="gone")
    with pytest.raises(InvalidPayload):
        harness.dispatcher.call("kv.incr", b"{}", idempotency_key="wrong")
