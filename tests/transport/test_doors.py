"""One contract behind two doors: the command lane and aiohttp answer the same bytes to the same request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec.msgpack
import pytest

from tests.support import ServerProcess
from tests.transport.wire import COMMAND, Answer, Headers, chunked, command, connect, connect_handed_over, envelope

MIB = 1024 * 1024
MEMORY_LIMIT_BYTES = 6 * MIB
PACKED = ("Content-Type", "application/msgpack")

# The beginning of a request id made by the server, in JSON or MessagePack, and the id of an incident.
_RANDOM = re.compile(rb"(request_id(?:\":\"|[\xa0-\xbf])|incident(?: |\":\"))[0-9a-f]{16}", re.DOTALL)


def through_the_lane(server: ServerProcess, body: bytes, headers: Headers) -> Answer:
    with connect(server) as wire:
        return wire.ask_at_length(command(body, headers))


def through_a_handed_over_connection(server: ServerProcess, body: bytes, headers: Headers) -> Answer:
    with connect_handed_over(server) as wire:
        return wire.ask_at_length(command(body, headers))


def in_chunks(server: ServerProcess, body: bytes, headers: Headers) -> Answer:
    with connect(server) as wire:
        return wire.ask_at_length(chunked("POST", COMMAND, body, headers))


DOORS = (through_the_lane, through_a_handed_over_connection, in_chunks)


class Doors:
    """A server for each door. All get the same requests in the same order, so even LSNs must agree."""

    def __init__(self, make_directory: Callable[[str], Path]) -> None:
        self._make_directory = make_directory
        self._servers: list[ServerProcess] = []
        self.in_step = False

    def start(self) -> None:
        """Begin anew with servers that have seen nothing."""
        self.stop()
        env = {"SYNAP_MEMORY_LIMIT_BYTES": str(MEMORY_LIMIT_BYTES)}
        self._servers = [ServerProcess(self._make_directory(door.__name__) / "data", env=env) for door in DOORS]
        self.in_step = True

    def stop(self) -> None:
        for server in self._servers:
            server.kill()

    def ask(self, body: bytes, *headers: tuple[str, str]) -> Answer:
        """The answer, which is the same through every door."""
        self.in_step = False
        answers = [door(server, body, headers) for door, server in zip(DOORS, self._servers, strict=True)]
        seen = {door.__name__: comparable(answer) for door, answer in zip(DOORS, answers, strict=True)}
        expected = comparable(answers[0])
        assert seen == dict.fromkeys(seen, expected)
        self.in_step = True
        return answers[0]

    def call(self, name: str, /, **payload: object) -> Answer:
        return self.ask(envelope(name, **payload))


def comparable(answer: Answer) -> tuple[str, list[tuple[str, str]], bytes]:
    """An answer without what two servers cannot agree on: the time, and the random part of the ids they make."""
    headers = [(name, "now" if name == "Date" else value) for name, value in answer.headers]
    return answer.status_line, headers, _RANDOM.sub(rb"\1random", answer.body)


@pytest.fixture(scope="module")
def all_doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    doors = Doors(tmp_path_factory.mktemp)
    yield doors
    doors.stop()


@pytest.fixture
def doors(all_doors: Doors) -> Doors:
    """The doors. After a difference the servers no longer hold the same, so the next test gets new ones."""
    if not all_doors.in_step:
        all_doors.start()
    return all_doors


def pack(data: object) -> bytes:
    return msgspec.msgpack.encode(data)


def test_a_successful_write_and_read(doors: Doors) -> None:
    written = doors.ask(b'{"command":"kv.set","payload":{"key":"a","value":{"b":[1,2]}},"request_id":"one"}')
    assert written.status == 200
    assert written.header("Content-Type") == "application/json; charset=utf-8"
    assert [name for name, _ in written.headers] == ["Content-Type", "Content-Length", "Date", "Server"]
    assert written.header("Server") == "synap"
    lsn = written.json["lsn"]
    assert written.body == (
        b'{"type":"response","request_id":"one","status":"success","success":true,"ack":"written","lsn":%d,'
        b'"payload":{"key":"a","success":true,"previous":null}}' % lsn
    )
    assert doors.call("kv.get", key="a").payload == {"found": True, "value": {"b": [1, 2]}, "ttl": None}


def test_the_server_makes_a_request_id_when_none_is_given(doors: Doors) -> None:
    first, second = (doors.ask(b'{"command":"kv.dbsize"}').json["request_id"] for _ in range(2))
    assert first
    assert first != second


@pytest.mark.parametrize("request_id", ["", "x" * 1000, 'quote " and \\', "\0", "🎉", "\u2028"])
def test_any_request_id_is_echoed(doors: Doors, request_id: str) -> None:
    body = json.dumps({"command": "kv.dbsize", "request_id": request_id}).encode()
    assert doors.ask(body).json["request_id"] == request_id


@pytest.mark.parametrize("atomic", [False, True])
def test_a_batch_with_successes_and_failures(doors: Doors, atomic: bool) -> None:
    commands = [
        {"command": "kv.set", "payload": {"key": "batch", "value": "text"}},
        {"command": "kv.incr", "payload": {"key": "batch"}},
        {"command": "kv.nope"},
        {"command": "kv.get", "payload": {"key": "batch"}, "request_id": "ignored"},
        {"command": "kv.get", "payload": {"key": 5}},
        "not a command",
    ]
    batch = {"type": "batch", "request_id": "b", "commands": commands, "atomic": atomic}
    answer = doors.ask(json.dumps(batch).encode())
    assert answer.status == 200
    assert answer.json["type"] == "batch_response"
    assert answer.json["request_id"] == "b"
    codes = [result.get("error", {}).get("code") for result in answer.json["results"]]
    assert codes == [None, "NOT_A_NUMBER", "UNKNOWN_COMMAND", None, "INVALID_PAYLOAD", "INVALID_REQUEST"]


def test_a_batch_of_nothing(doors: Doors) -> None:
    assert doors.ask(b'{"type":"batch","commands":[]}').json["results"] == []


def test_a_batch_inside_a_batch_fails_alone(doors: Doors) -> None:
    inner = '{"type":"batch","commands":[]}'
    answer = doors.ask(f'{{"type":"batch","request_id":"b","commands":[{inner},{{"command":"kv.dbsize"}}]}}'.encode())
    assert answer.status == 200
    assert [result["status"] for result in answer.json["results"]] == ["error", "success"]
    assert answer.json["results"][0]["error"]["code"] == "INVALID_REQUEST"


def test_ten_thousand_commands_in_a_batch_and_not_one_more(doors: Doors) -> None:
    one = b'{"command":"kv.incr","payload":{"key":"counter"}}'
    full = doors.ask(b'{"type":"batch","request_id":"b","commands":[%b]}' % b",".join([one] * 10_000))
    assert full.status == 200
    assert [result["payload"]["value"] for result in full.json["results"]] == list(range(1, 10_001))
    over = doors.ask(b'{"type":"batch","request_id":"b","commands":[%b]}' % b",".join([one] * 10_001))
    assert (over.status, over.error["code"], over.error["details"]) == (413, "PAYLOAD_TOO_LARGE", {"limit": 10_000})
    assert doors.call("kv.get", key="counter").payload["value"] == 10_000


def test_messagepack_in_and_out(doors: Doors) -> None:
    body = pack({"command": "kv.set", "payload": {"key": "packed", "value": [1, "ü", None]}, "request_id": "p"})
    answer = doors.ask(body, PACKED)
    assert answer.status == 200
    assert answer.header("Content-Type") == "application/msgpack"
    assert msgspec.msgpack.decode(answer.body)["request_id"] == "p"
    assert doors.call("kv.get", key="packed").payload["value"] == [1, "ü", None]


@pytest.mark.parametrize("media_type", ["Application/MsgPack", "application/msgpack; charset=binary"])
def test_the_media_type_is_matched_as_http_says(doors: Doors, media_type: str) -> None:
    answer = doors.ask(pack({"command": "kv.dbsize", "request_id": "p"}), ("Content-Type", media_type))
    assert answer.status == 200
    assert answer.header("Content-Type") == "application/msgpack"


@pytest.mark.parametrize("name", ["idempotency-key", "IDEMPOTENCY-KEY", "Idempotency-Key"])
@pytest.mark.parametrize("value", ["folded", "folded  ", "\t folded"])
def test_header_names_have_no_case_and_values_no_edges(doors: Doors, name: str, value: str) -> None:
    assert doors.ask(envelope("kv.incr", key="folded"), (name, value)).payload == {"value": 1}


@pytest.mark.parametrize("headers", [[("X-Long", "y" * 40_000)], [(f"X-{i}", "y") for i in range(200)]])
def test_long_heads_are_taken_or_refused_by_all(doors: Doors, headers: list[tuple[str, str]]) -> None:
    assert doors.ask(envelope("kv.dbsize"), *headers).status in (200, 400)


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "nonsense", ""])
def test_any_other_media_type_is_read_as_json(doors: Doors, media_type: str) -> None:
    assert doors.ask(envelope("kv.dbsize"), ("Content-Type", media_type)).status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b'{"command":"kv.dbsize"}',
        pack({"command": "kv.set", "payload": {"key": "x", "value": b"bytes"}}),
        pack({"command": "kv.set", "payload": {"key": "x", "value": float("nan")}}),
        pack({"command": "kv.set", "payload": {"key": "x", "value": {1: 2}}}),
        pack(None),
        b"\x91" * 100_000,
        b"\xdd\xff\xff\xff\xff",
        b"\x81\xa7command\xa3\xff\xfe\xfd",
    ],
)
def test_what_is_not_a_messagepack_envelope(doors: Doors, body: bytes) -> None:
    answer = doors.ask(body, PACKED)
    assert answer.status == 400
    assert msgspec.msgpack.decode(answer.body)["error"]["code"] == "INVALID_REQUEST"


@pytest.mark.parametrize("value", ["1e999", str(2**80), "-1e-999", '"\\ud83d\\ude00"', "[" * 510 + "]" * 510])
def test_every_json_value_can_be_read_as_messagepack(doors: Doors, value: str) -> None:
    doors.ask(f'{{"command":"kv.set","payload":{{"key":"any","value":{value}}}}}'.encode())
    answer = doors.ask(pack({"command": "kv.get", "payload": {"key": "any"}, "request_id": "p"}), PACKED)
    assert answer.status == 200
    assert msgspec.msgpack.decode(answer.body)["payload"]["found"] is True


def test_an_idempotency_key_gives_the_first_reply_again(doors: Doors) -> None:
    header = ("Idempotency-Key", "once")
    first = doors.ask(envelope("kv.incr", key="idempotent"), header)
    again = doors.ask(envelope("kv.incr", key="idempotent"), header)
    assert first.payload == again.payload == {"value": 1}
    assert doors.call("kv.get", key="idempotent").payload["value"] == 1


def test_an_idempotency_key_for_another_request_is_a_conflict(doors: Doors) -> None:
    doors.ask(envelope("kv.incr", key="conflict"), ("Idempotency-Key", "twice"))
    answer = doors.ask(envelope("kv.incr", key="conflict", amount=2), ("Idempotency-Key", "twice"))
    assert (answer.status, answer.error["code"]) == (409, "IDEMPOTENCY_CONFLICT")


def test_the_envelope_goes_before_the_idempotency_header(doors: Doors) -> None:
    body = b'{"command":"kv.incr","payload":{"key":"envelope"},"request_id":"r","idempotency_key":"%b"}'
    doors.ask(body % b"inner 1", ("Idempotency-Key", "outer"))
    assert doors.ask(body % b"inner 2", ("Idempotency-Key", "outer")).payload == {"value": 2}


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_an_idempotency_key_of_an_unusable_length_is_refused(doors: Doors, key: str) -> None:
    answer = doors.ask(envelope("kv.incr", key="unusable"), ("Idempotency-Key", key))
    assert (answer.status, answer.error["code"]) == (400, "INVALID_REQUEST")
    assert doors.call("kv.exists", key="unusable").payload["count"] == 0


def test_an_idempotency_key_that_is_not_utf_8_is_refused(doors: Doors) -> None:
    answer = doors.ask(envelope("kv.incr", key="not UTF-8"), ("Idempotency-Key", "\xff\xfe"))
    assert (answer.status, answer.error["code"]) == (400, "INVALID_REQUEST")
    assert doors.call("kv.exists", key="not UTF-8").payload["count"] == 0


def test_an_idempotency_key_in_utf_8_is_the_one_in_the_envelope(doors: Doors) -> None:
    doors.ask(envelope("kv.incr", key="accent"), ("Idempotency-Key", "é".encode().decode("latin-1")))
    body = {"command": "kv.incr", "payload": {"key": "accent"}, "request_id": "r", "idempotency_key": "é"}
    assert doors.ask(json.dumps(body).encode()).payload == {"value": 1}
    assert doors.call("kv.get", key="accent").payload["value"] == 1


@pytest.mark.parametrize("level", ["written", "synced"])
def test_the_acknowledgement_asked_for_is_stated(doors: Doors, level: str) -> None:
    answer = doors.ask(envelope("kv.set", key="ack", value=1), ("X-Synap-Ack", level))
    assert answer.json["ack"] == level


@pytest.mark.parametrize("level", ["nonsense", "", "Written", "written, synced"])
def test_an_unknown_acknowledgement_is_refused(doors: Doors, level: str) -> None:
    answer = doors.ask(envelope("kv.set", key="no ack", value=1), ("X-Synap-Ack", level))
    assert (answer.status, answer.error["code"]) == (400, "INVALID_REQUEST")
    assert "written, synced" in answer.error["message"]
    assert doors.call("kv.exists", key="no ack").payload["count"] == 0


def test_an_acknowledgement_that_is_no_text_is_refused(doors: Doors) -> None:
    answer = doors.ask(envelope("kv.set", key="no ack", value=1), ("X-Synap-Ack", "\xff"))
    assert (answer.status, answer.error["code"]) == (400, "INVALID_REQUEST")
    assert "X-Synap-Ack" in answer.error["message"]
    assert doors.call("kv.exists", key="no ack").payload["count"] == 0


@pytest.mark.parametrize("level", ["nonsense", ""])
def test_an_unknown_acknowledgement_in_the_envelope_is_refused(doors: Doors, level: str) -> None:
    one = json.dumps({**json.loads(envelope("kv.set", key="no ack", value=1)), "ack": level}).encode()
    answer = doors.ask(one)
    assert (answer.status, answer.error["code"]) == (400, "INVALID_REQUEST")
    batch = doors.ask(b'{"type":"batch","request_id":"b","commands":[%b]}' % one)
    assert batch.json["results"][0]["error"]["code"] == "INVALID_REQUEST"
    assert doors.call("kv.exists", key="no ack").payload["count"] == 0


def test_the_envelope_goes_before_the_acknowledgement_header(doors: Doors) -> None:
    body = b'{"command":"kv.set","payload":{"key":"a","value":1},"request_id":"r","ack":"synced"}'
    assert doors.ask(body, ("X-Synap-Ack", "written")).json["ack"] == "synced"


def test_every_kind_of_error_has_its_status(doors: Doors) -> None:
    doors.call("kv.set", key="text", value="abc")
    doors.call("kv.set", key="most", value=2**63 - 1)
    doors.call("kv.set", key="number", value=1)
    expected = [
        (envelope("kv.gte", key="a"), 400, "UNKNOWN_COMMAND"),
        (envelope("key.rename", source="nobody", destination="b"), 404, "KEY_NOT_FOUND"),
        (envelope("kv.append", key="number", value="x"), 409, "WRONG_TYPE"),
        (envelope("kv.set", key="k" * 65_537, value=1), 413, "PAYLOAD_TOO_LARGE"),
        (envelope("kv.set", key="a"), 422, "INVALID_PAYLOAD"),
        (envelope("kv.incr", key="text"), 422, "NOT_A_NUMBER"),
        (envelope("kv.incr", key="most"), 422, "OUT_OF_RANGE"),
    ]
    for body, status, code in expected:
        answer = doors.ask(body)
        assert (answer.status, answer.error["code"]) == (status, code)
        assert answer.json["success"] is False
        assert answer.json["type"] == "response"


def test_a_full_memory_refuses_writes_only(doors: Doors) -> None:
    assert doors.call("kv.set", key="large", value="x" * MEMORY_LIMIT_BYTES).status == 200
    answer = doors.call("kv.set", key="one more", value=1)
    assert (answer.status, answer.error["code"]) == (507, "MEMORY_LIMIT")
    assert doors.call("kv.strlen", key="large").payload == {"length": MEMORY_LIMIT_BYTES}
    assert doors.call("kv.del", key="large").payload == {"deleted": 1}


VALID = b'{"command":"kv.dbsize","payload":{}}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"hello",
        b"[]",
        b"null",
        b"1",
        b'"kv.dbsize"',
        b"{}",
        b"\xef\xbb\xbf" + VALID,
        VALID + b"\x00",
        VALID + VALID,
        VALID.decode().encode("utf-16"),
        b'{"command":"kv.dbsize",}',
        b"{'command':'kv.dbsize'}",
        b'{"command":"kv.dbsize"} // comment',
        b'{"command":"kv.dbsize","type":"nonsense"}',
        b'{"command":5}',
        b'{"command":null}',
        b'{"command":"kv.dbsize","request_id":7}',
        b'{"command":"kv.dbsize","unknown":1}',
        b'{"type":"batch"}',
        b'{"type":"batch","commands":{}}',
        b'{"type":"batch","commands":[],"atomic":1}',
        b'{"type":"batch","commands":[],"payload":{}}',
        b'{"command":"kv.set","payload":{"key":"a","value":NaN}}',
        b'{"command":"kv.set","payload":{"key":"a","value":-Infinity}}',
        b'{"command":"kv.set","payload":{"key":"a","value":01}}',
        b'{"command":"kv.set","payload":{"key":"a","value":.5}}',
        b'{"command":"kv.set","payload":{"key":"a","value":+1}}',
        b'{"command":"kv.set","payload":{"key":"a","value":"\t"}}',
        b'{"command":"kv.set","payload":{"key":"a","value":"\\x41"}}',
        b'{"command":"kv.set","payload":{"key":"a","value":tru}}',
        b'{"command":"kv.set","payload":{"key":"a","value":"\xff"}}',
        b'{"command":"kv.set","payload":{"key":"a","value":"\xed\xa0\x80"}}',
        b'{"command":"kv.set","payload":{"key":"a","value":"\xc0\xaf"}}',
        b'{"command":"kv.set","payload":{"key":"\xff","value":1}}',
        b'{"command":"kv.dbsize","request_id":"\xff"}',
        b'{"command":"kv.dbsize"}\xff',
        b"\xff" + VALID,
    ],
)
def test_what_is_not_a_json_envelope(doors: Doors, body: bytes) -> None:
    answer = doors.ask(body)
    assert (answer.status, answer.error["code"]) == (400, "INVALID_REQUEST")
    assert answer.json["request_id"]
    assert doors.call("kv.dbsize").status == 200


def test_a_bad_envelope_keeps_its_request_id(doors: Doors) -> None:
    answer = doors.ask(b'{"command":"kv.dbsize","unknown":1,"request_id":"mine"}')
    assert answer.json["request_id"] == "mine"
    assert "unknown" in answer.error["message"]


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        (b'{"key":"a","value":1,"tll":5}', "payload.tll"),
        (b'{"value":1}', "payload.key"),
        (b'{"key":"","value":1}', "payload.key"),
        (b'{"key":5,"value":1}', "payload.key"),
        (b'{"key":"a","value":1,"ttl":"soon"}', "payload.ttl"),
        (b'{"key":"a","value":1,"ttl":0}', "payload.ttl"),
        (b"[]", "payload"),
        (b"null", "payload"),
        (b'"text"', "payload"),
    ],
)
def test_a_bad_payload_is_told_by_its_place(doors: Doors, payload: bytes, path: str) -> None:
    answer = doors.ask(b'{"command":"kv.set","payload":%b,"request_id":"r"}' % payload)
    assert (answer.status, answer.error["code"]) == (422, "INVALID_PAYLOAD")
    assert answer.error["details"]["path"] == path


def test_values_may_nest_to_the_limit_and_not_deeper(doors: Doors) -> None:
    def nested(levels: int) -> bytes:
        return b'{"command":"kv.set","payload":{"key":"deep","value":%b%b},"request_id":"r"}' % (
            b"[" * levels,
            b"]" * levels,
        )

    # The payload object is a level too, and so is the envelope around it.
    assert doors.ask(nested(510)).status == 200
    for levels in (513, 1_000, 100_000):
        answer = doors.ask(nested(levels))
        assert (answer.status, answer.error["code"]) == (400, "INVALID_REQUEST")
        assert "512" in answer.error["message"]


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"payload":', b'{"commands":['])
def test_a_body_that_only_opens_does_no_harm(doors: Doors, opening: bytes) -> None:
    answer = doors.ask(opening * 100_000)
    assert (answer.status, answer.error["code"]) == (400, "INVALID_REQUEST")
    assert doors.call("kv.dbsize").status == 200


@pytest.mark.parametrize("key", ["\0", "a\0b", "🎉", "/", "%00", " ", "\u202e", "k" * 65_536, "é" * 32_768])
def test_keys_of_any_text_up_to_the_limit(doors: Doors, key: str) -> None:
    doors.call("kv.set", key=key, value=1)
    assert doors.call("kv.get", key=key).payload["value"] == 1
    assert doors.call("kv.del", key=key).payload["deleted"] == 1


@pytest.mark.parametrize("key", ["k" * 65_537, "é" * 32_769, "k" * MIB])
def test_keys_over_the_limit_are_too_large(doors: Doors, key: str) -> None:
    for body in (
        envelope("kv.set", key=key, value=1),
        envelope("kv.get", key=key),
        envelope("kv.del", keys=["a", key]),
        envelope("kv.mset", pairs={key: 1}),
        envelope("kv.mset", pairs=[{"key": key, "value": 1}]),
    ):
        answer = doors.ask(body)
        assert (answer.status, answer.error["code"]) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("amount", [2**63, -(2**63) - 1, 2**64, 10**30])
def test_integers_beyond_64_bits_are_refused_where_64_bits_count(doors: Doors, amount: int) -> None:
    answer = doors.call("kv.incr", key="beyond", amount=amount)
    assert (answer.status, answer.error["code"]) == (422, "INVALID_PAYLOAD")
    assert answer.error["details"]["path"] == "payload.amount"


@pytest.mark.parametrize(
    "value",
    [
        str(2**80),
        "1.10",
        "1e999",
        "-0",
        "-0.0",
        "1E+2",
        "0." + "1" * 400,
        '{"b":1,"a":2}',
        '{"a":1,"a":2}',
        '"\\u00e9\\/\\n"',
        '"é"',
        '"\\u0000"',
        '"\\ud83d\\ude00"',
        '{ "a" : [ 1 , 2 ] }',
        "[\n\t1,\r\n2 ]",
        "null",
        "false",
        '""',
        "{}",
        "[]",
    ],
)
def test_values_come_back_byte_for_byte(doors: Doors, value: str) -> None:
    doors.ask(f'{{"command":"kv.set","payload":{{"key":"kept", "value":{value}}},"request_id":"r"}}'.encode())
    answer = doors.call("kv.get", key="kept")
    assert f'"payload":{{"found":true,"value":{value},"ttl":null}}}}'.encode() in answer.body


def test_a_body_over_the_limit_is_refused_and_the_next_connection_works(doors: Doors) -> None:
    answer = doors.ask(envelope("kv.set", key="huge", value="x" * (33 * MIB)))
    assert (answer.status, answer.error["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert answer.header("Connection") == "close"
    assert doors.call("kv.exists", key="huge").payload["count"] == 0
