"""What is sent and how it is read back, without any connection."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from sdk.generate import model, python
from synap_sdk import SynapError, errors, results
from synap_sdk import _commands as c
from synap_sdk import _payloads as p
from synap_sdk._address import Address
from synap_sdk._command import Command
from synap_sdk._frames import Frames
from synap_sdk._policy import Backoff, Policy
from synap_sdk._protocol import PIPELINE_COMMANDS_MAX, Call, Exchange, body_of, groups


def call(command: Command[Any], payload: Any, key: str | None = None) -> Call:
    return Call(command, body_of(command, payload, key, None), key is not None, None, None)


def opened() -> tuple[Frames, ServerProtocol]:
    """Both ends of a WebSocket after the handshake."""
    client, server = Frames(Address.of("http://127.0.0.1:1"), {}), ServerProtocol()
    server.receive_data(client.to_send())
    (request,) = server.events_received()
    server.send_response(server.accept(request))  # type: ignore[arg-type]
    assert client.receive(b"".join(server.data_to_send())) == []
    assert client.is_open
    return client, server


MESSAGES = [b"{}", b"x" * 125, b"y" * 126, b"z" * 70_000, "é".encode() * 40]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 126, 4_096, 1_000_000])
def test_messages_come_whole_however_the_bytes_are_cut(step: int) -> None:
    client, server = opened()
    for number, message in enumerate(MESSAGES):
        server.send_text(message)
        if number == 1:
            server.send_ping(b"there?")
    server.send_text(b"in ", fin=False)
    server.send_continuation(b"parts", fin=True)
    server.send_binary(b"bytes")
    data = b"".join(server.data_to_send())
    received = [m for at in range(0, len(data), step) for m in client.receive(data[at : at + step])]
    assert received == [*MESSAGES, b"in parts", b"bytes"]
    server.receive_data(client.to_send())
    assert [event.opcode for event in server.events_received() if isinstance(event, Frame)] == [Opcode.PONG]


def test_what_no_server_may_send_ends_the_connection() -> None:
    for wrong in (b"\x81\x85maskhello", b"\xf1\x00", b"\x83\x00"):
        client, _ = opened()
        client.receive(wrong)
        assert client.is_over


def test_calls_together_are_one_batch_and_one_alone_is_none() -> None:
    exchange = Exchange()
    alone = json.loads(exchange.frame([call(c.KV_GET, p.KvGet("k"))]))
    assert alone == {"command": "kv.get", "payload": {"key": "k"}, "request_id": "1"}
    both = [call(c.KV_SET, p.KvSet("k", 1, 5), "key"), call(c.KV_GET, p.KvGet("k"))]
    assert json.loads(exchange.frame(both)) == {
        "type": "batch",
        "request_id": "2",
        "commands": [
            {"command": "kv.set", "payload": {"key": "k", "value": 1, "ttl": 5}, "idempotency_key": "key"},
            {"command": "kv.get", "payload": {"key": "k"}},
        ],
    }


def test_what_may_not_share_a_frame_does_not_and_the_order_stays() -> None:
    get, login, wait = call(c.KV_GET, p.KvGet("k")), call(c.AUTH_LOGIN, p.AuthLogin("u", "p")), None
    wait = call(c.LIST_BLPOP, p.ListBlpop(["l"], 1))
    assert list(groups([get, get, login, get, wait, wait])) == [[get, get], [login], [get], [wait], [wait]]
    many = [get] * (2 * PIPELINE_COMMANDS_MAX + 1)
    assert [len(group) for group in groups(many)] == [PIPELINE_COMMANDS_MAX, PIPELINE_COMMANDS_MAX, 1]


def test_fields_at_their_defaults_are_not_sent() -> None:
    body = body_of(c.QUEUE_PUBLISH, p.QueuePublish("q", None, priority=5, delay_secs=0), None, None)
    assert json.loads(body + b"}") == {"command": "queue.publish", "payload": {"queue": "q", "message": None}}


def test_replies_find_their_calls_in_any_order() -> None:
    exchange = Exchange()
    first, second = call(c.KV_INCR, p.KvIncr("a")), call(c.KV_GET, p.KvGet("b"))
    exchange.frame([first])
    exchange.frame([second])
    reply = b'{"type":"response","request_id":"2","status":"success","payload":{"found":true,"value":[1],"ttl":null}}'
    assert exchange.receive(reply) == (((second, results.KvGetResult(True, [1], None)),), None)
    assert exchange.receive(reply)[0] == (), "told twice, it is nobody's"
    assert exchange.in_flight() == [first]
    assert exchange.lost() == [first]
    assert len(exchange) == 0


@pytest.mark.parametrize(
    "answer",
    [
        b'{"type":"batch_response","request_id":"1","results":[{"status":"success","payload":{"value":1}}]}',
        b'{"type":"batch_response","request_id":"1","results":[{"payload":{"value":"x"}},{"payload":{"value":1}}]}',
        b'{"type":"batch_response","request_id":"1"}',
        b'{"type":"response","request_id":"1","status":"error","error":{"code":"UNAVAILABLE","message":"no"}}',
    ],
)
def test_a_wrong_reply_to_a_batch_is_an_error_for_each(answer: bytes) -> None:
    exchange = Exchange()
    exchange.frame([call(c.KV_INCR, p.KvIncr("a")), call(c.KV_INCR, p.KvIncr("b"))])
    answered, _ = exchange.receive(answer)
    assert len(answered) == 2
    assert all(isinstance(outcome, SynapError) for _, outcome in answered)


def test_only_what_does_no_harm_is_repeated() -> None:
    policy = Policy(retries=2)
    read, keyed = call(c.KV_GET, p.KvGet("k")), call(c.KV_INCR, p.KvIncr("k"), "key")
    assert policy.failure_of(read, "gone") is None
    assert policy.failure_of(keyed, "gone") is None
    for command, payload in ((c.KV_INCR, p.KvIncr("k")), (c.PUBSUB_PUBLISH, p.PubsubPublish("t", 1))):
        failure = policy.failure_of(call(command, payload), "gone")
        assert failure is not None
        assert failure.may_have_happened
    assert policy.failure_of(read, "gone") is None
    last = policy.failure_of(read, "gone")
    assert last is not None
    assert not last.may_have_happened, "reading does nothing"


def test_masters_are_followed_so_many_times_and_no_more() -> None:
    policy, write = Policy(), call(c.KV_INCR, p.KvIncr("k"))
    refusal = errors.ReadOnly("a replica", {"master": "http://10.0.0.1:1"})
    followed = [policy.master_after(write, refusal) for _ in range(6)]
    assert followed == ["http://10.0.0.1:1"] * 5 + [None]
    assert policy.master_after(write, errors.ReadOnly("a replica", {"master": None})) is None


def test_pauses_grow_up_to_a_limit() -> None:
    backoff = Backoff(0.1, 1.0)
    for attempt, longest in ((1, 0.1), (2, 0.2), (4, 0.8), (5, 1.0), (500, 1.0)):
        assert longest / 2 <= backoff.pause(attempt) <= longest


def test_generating_tells_two_definitions_of_one_name() -> None:
    def entry(name: str, kind: str) -> dict[str, Any]:
        nested = {"title": "Thing", "type": "object", "properties": {"a": {"type": kind}}, "required": ["a"]}
        result = {"type": "object", "properties": {"thing": {"$ref": "#/$defs/Thing"}}, "$defs": {"Thing": nested}}
        facts = dict.fromkeys(("writes", "effect", "admin", "waits", "attaches", "secret", "alone"), False)
        payload = {"type": "object", "properties": {}}
        said = {"summary": "Do.", "description": "Do.", "cost": "O(1)", "since": "0.1", "keys": []}
        return {"name": name, "payload": payload, "result": result, **facts, **said}

    same = model.from_listing([entry("x.a", "string"), entry("x.b", "string")])
    assert list(same[0].outputs) == ["XThing", "XAResult", "XBResult"]
    with pytest.raises(ValueError, match="XThing"):
        model.from_listing([entry("x.a", "string"), entry("x.b", "integer")])


def test_the_generated_text_is_as_ruff_would_have_it() -> None:
    assert python._formatted("x=1\n") == "x = 1\n"
