"""A trace goes on: what a traced request sends carries its traceparent, and log lines name it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from synap.commands.caller import Caller, Peer
from synap.commands.gates import Limits
from tests.support import START, Harness
from tests.transport.sockets import Inside, wired
from tests.transport.wire import chunked, command, envelope, request

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
TRACED = [("traceparent", TRACE)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    with Inside(tmp_path_factory.mktemp("traced") / "data") as running:
        yield running


def published(server: Inside, *requests: bytes) -> list[Any]:
    """The headers of the messages that requests have put into a queue."""
    with wired(server) as wire:
        for asked in requests:
            assert wire.ask(asked).status == 200
    messages = [server.call("queue.consume", queue="q") for _ in requests]
    return [message["headers"] for message in messages]


def test_a_message_carries_the_trace_of_its_request_through_every_door(server: Inside) -> None:
    body = envelope("queue.publish", queue="q", message=1, headers={"source": "x"})
    rest = json.dumps({"message": 1, "headers": {"source": "x"}}).encode()
    asked = [
        command(body, TRACED),
        chunked("POST", "/api/v1/command", body, TRACED),
        request("POST", "/queue/q/publish", rest, TRACED),
    ]
    assert published(server, *asked) == [{"source": "x", "traceparent": TRACE}] * 3


def test_each_request_of_a_connection_has_its_own_trace_or_none(server: Inside) -> None:
    body = envelope("queue.publish", queue="q", message=1)
    asked = [command(body, TRACED), command(body), command(body, [("traceparent", OTHER)]), command(body)]
    assert published(server, *asked) == [{"traceparent": TRACE}, {}, {"traceparent": OTHER}, {}]


def test_a_trace_that_a_message_has_already_is_not_replaced(server: Inside) -> None:
    body = envelope("queue.publish", queue="q", message=1, headers={"traceparent": OTHER})
    assert published(server, command(body, TRACED)) == [{"traceparent": OTHER}]


@pytest.mark.parametrize("value", ["", "garbage", TRACE.upper(), TRACE[:-1], "00-" + "0" * 32 + TRACE[35:]])
def test_what_is_no_trace_is_left_out(server: Inside, value: str) -> None:
    body = envelope("queue.publish", queue="q", message=1)
    assert published(server, command(body, [("traceparent", value)])) == [{}]


def test_events_and_messages_carry_it_as_well(server: Inside) -> None:
    events = [{"event_type": "a", "data": 1}, {"event_type": "b", "data": 2, "headers": {"traceparent": OTHER}}]
    with wired(server) as wire:
        wire.ask(command(envelope("stream.publish", room="r", event_type="e", data=0), TRACED))
        wire.ask(command(envelope("stream.publish_batch", room="r", events=events), TRACED))
    found = [event["headers"] for event in server.call("stream.history", room="r")["events"]]
    assert found == [{"traceparent": TRACE}, {"traceparent": TRACE}, {"traceparent": OTHER}]


def traced(harness: Harness) -> Caller:
    return Caller(Peer(1, "192.0.2.1", 4711, START), trace=TRACE)


def test_what_is_journalled_has_the_trace_so_that_a_replay_has_it_too() -> None:
    harness = Harness()
    harness.answer(envelope("queue.publish", queue="q", message=1), caller=traced(harness))
    (record,) = harness.log.records
    assert json.loads(record.payload)["headers"] == {"traceparent": TRACE}
    assert harness.replayed().state.digest(START) == harness.digest()


def test_a_slow_command_is_kept_with_who_asked_and_its_trace() -> None:
    harness = Harness(Limits(slow_secs=0))
    harness.send(
        {"command": "kv.set", "payload": {"key": "k", "value": "secret"}, "request_id": "r-1"}, caller=traced(harness)
    )
    (entry,) = harness.dispatcher.slowlog.entries(10)
    assert (entry.command, entry.key, entry.client) == ("kv.set", "k", "192.0.2.1:4711")
    assert (entry.request_id, entry.trace) == ("r-1", TRACE)
    assert "secret" not in repr(entry)


def test_at_level_debug_every_command_is_logged_with_who_asked(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "synap.dispatcher"):
        harness = Harness()
        harness.send(
            {"command": "kv.set", "payload": {"key": "k", "value": "secret"}, "request_id": "r-3"},
            caller=traced(harness),
        )
    (line,) = [record for record in caplog.records if record.message == "command"]
    fields = line.__dict__["fields"]
    assert fields.pop("duration_ms") >= 0
    assert fields == {
        "command": "kv.set",
        "key": "k",
        "request_id": "r-3",
        "client": "192.0.2.1:4711",
        "trace_id": TRACE[3:35],
    }


def test_a_slow_command_is_logged_and_others_are_not(caplog: pytest.LogCaptureFixture) -> None:
    for slow_secs, lines in ((0.0, 1), (3_600.0, 0)):
        caplog.clear()
        Harness(Limits(slow_secs=slow_secs)).call("kv.get", key="k")
        assert sum(record.message == "slow command" for record in caplog.records) == lines


def test_an_incident_is_logged_with_request_client_and_trace(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    harness = Harness()

    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(harness.dispatcher.bound["kv.get"], "handler", fail)
    with caplog.at_level(logging.ERROR):
        asked = {"command": "kv.get", "payload": {"key": "k"}, "request_id": "r-2"}
        reply = harness.send(asked, caller=traced(harness))
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert line.__dict__["fields"] == {
        "incident": reply["error"]["details"]["incident"],
        "request_id": "r-2",
        "client": "192.0.2.1:4711",
        "trace_id": TRACE[3:35],
    }
    assert "a bug" not in json.dumps(reply)


def test_the_id_in_the_log_of_a_request_without_one_is_that_of_its_reply() -> None:
    harness = Harness(Limits(slow_secs=0))
    reply = harness.send({"command": "kv.get", "payload": {"key": "k"}})
    assert harness.dispatcher.slowlog.entries(1)[0].request_id == reply["request_id"]
