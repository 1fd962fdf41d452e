"""Connections: pipelines, pieces, pauses, ends, and requests whose framing cannot be trusted."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import ServerProcess
from tests.transport.wire import (
    COMMAND,
    HEALTH,
    Opener,
    Wire,
    chunked,
    command,
    connect,
    connect_handed_over,
    envelope,
    eventually,
    memory_bytes,
    request,
)

MIB = 1024 * 1024
SHORT_SECS = 5.0
READ_TIMEOUT_SECS = 1
IDLE_TIMEOUT_SECS = 2

both = pytest.mark.parametrize("opened", [connect, connect_handed_over], ids=["fresh", "handed over"])
DBSIZE = command(envelope("kv.dbsize"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("lane") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that waits for nobody."""
    env = {
        "SYNAP_LIMITS_READ_TIMEOUT_SECS": str(READ_TIMEOUT_SECS),
        "SYNAP_LIMITS_IDLE_TIMEOUT_SECS": str(IDLE_TIMEOUT_SECS),
    }
    with ServerProcess(tmp_path_factory.mktemp("impatient") / "data", env=env) as running:
        yield running


def incr(key: str) -> bytes:
    return command(envelope("kv.incr", key=key))


def connections(server: ServerProcess) -> int:
    """How many connections the server counts, the one that asks not included."""
    page = server.http("GET", "/metrics")[2].decode()
    samples = [s for family in text_string_to_metric_families(page) for s in family.samples]
    return next(int(s.value) for s in samples if s.name == "synap_connections") - 1


# Pipelines and pieces


@both
@pytest.mark.parametrize("count", [2, 300, 3_000])
def test_pipelined_requests_are_answered_in_order(server: ServerProcess, opened: Opener, count: int) -> None:
    key = f"pipeline {opened} {count}"
    with opened(server) as wire:
        wire.send(incr(key) * count)
        assert [wire.answer().payload["value"] for _ in range(count)] == list(range(1, count + 1))


@both
def test_a_request_may_arrive_byte_by_byte(server: ServerProcess, opened: Opener) -> None:
    with opened(server) as wire:
        wire.send_by(1, incr(f"bytes {opened}") * 2)
        assert [wire.answer().payload["value"] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(
    "pipeline",
    [
        DBSIZE + command(b"nonsense") + DBSIZE,
        DBSIZE + HEALTH + DBSIZE,
        chunked("POST", COMMAND, envelope("kv.dbsize"), chunk_bytes=10) + DBSIZE,
    ],
    ids=["of commands", "with another request in the middle", "with a chunked body"],
)
def test_a_pipeline_may_be_cut_anywhere(server: ServerProcess, pipeline: bytes) -> None:
    with connect(server) as other, connect(server) as whole:
        whole.send(pipeline)
        count = 2 if b"chunked" in pipeline else 3
        statuses = [whole.answer().status for _ in range(count)]
        for cut in range(1, len(pipeline)):
            with connect(server) as wire:
                wire.send(pipeline[:cut])
                other.ask(DBSIZE)  # meanwhile the server has seen the first part
                wire.send(pipeline[cut:])
                assert [wire.answer().status for _ in range(count)] == statuses, f"cut at {cut}"


def test_commands_and_other_requests_are_answered_in_order(server: ServerProcess) -> None:
    with connect(server) as wire:
        wire.send(incr("mixed") * 3 + HEALTH + incr("mixed") + request("GET", "/kv/get/mixed") + incr("mixed"))
        answers = [wire.answer().json for _ in range(7)]
    assert [answer["payload"]["value"] for answer in answers[:3]] == [1, 2, 3]
    assert answers[3]["status"] == "healthy"
    assert answers[4]["payload"]["value"] == 4
    assert answers[5]["value"] == 4
    assert answers[6]["payload"]["value"] == 5


def test_a_reply_waiting_for_the_disk_holds_back_those_after_it(server: ServerProcess) -> None:
    synced = command(envelope("kv.incr", key="order"), [("X-Synap-Ack", "synced")])
    with connect(server) as wire:
        wire.send((synced + DBSIZE + incr("order") + HEALTH) * 20)
        for turn in range(20):
            assert wire.answer().json["ack"] == "synced"
            assert "size" in wire.answer().payload
            assert wire.answer().payload["value"] == 2 * turn + 2
            assert wire.answer().json["status"] == "healthy"


@both
def test_empty_lines_before_a_request_are_passed_over(server: ServerProcess, opened: Opener) -> None:
    with opened(server) as wire:
        assert wire.ask(b"\r\n\r\n" + DBSIZE).status == 200
        assert wire.ask(b"\r\n" + DBSIZE).status == 200


# What clients may also say


@both
def test_a_client_may_wait_for_leave_to_send_the_body(server: ServerProcess, opened: Opener) -> None:
    body = envelope("kv.dbsize")
    head = command(body, [("Expect", "100-continue")]).removesuffix(body)
    with opened(server) as wire:
        wire.send(head)
        wire.expect(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert wire.ask(body).status == 200


@both
def test_an_expectation_nobody_knows_is_refused_as_the_contract_words_it(server: ServerProcess, opened: Opener) -> None:
    with opened(server) as wire:
        answer = wire.ask(command(envelope("kv.dbsize"), [("Expect", "wonders")]))
        assert answer.status == 417
        assert answer.error["code"] == "INVALID_REQUEST"


@both
def test_an_offer_to_upgrade_may_be_ignored(server: ServerProcess, opened: Opener) -> None:
    with opened(server) as wire:
        offer = [("Upgrade", "h2c"), ("Connection", "Upgrade, HTTP2-Settings"), ("HTTP2-Settings", "AAMAAABk")]
        assert wire.ask(command(envelope("kv.dbsize"), offer)).status == 200
        assert wire.ask(DBSIZE).status == 200


@both
def test_the_target_may_be_a_whole_url(server: ServerProcess, opened: Opener) -> None:
    with opened(server) as wire:
        assert wire.ask(DBSIZE.replace(b" /api", b" http://synap/api", 1)).status == 200


@both
def test_a_head_request_gets_a_head(server: ServerProcess, opened: Opener) -> None:
    with opened(server) as wire:
        wire.send(request("HEAD", "/health"))
        assert wire.answer(to_head=True).status == 200
        assert wire.ask(DBSIZE).status == 200


@both
def test_connection_close_is_honoured(server: ServerProcess, opened: Opener) -> None:
    with opened(server) as wire:
        answer = wire.ask(command(envelope("kv.dbsize"), [("Connection", "close")]))
        assert answer.status == 200
        assert answer.header("Connection") == "close"
        wire.expect_closed()


@both
def test_http_1_0_is_served_and_closed(server: ServerProcess, opened: Opener) -> None:
    with opened(server) as wire:
        answer = wire.ask(DBSIZE.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert answer.payload["size"] >= 0
        assert answer.header("Connection") != "keep-alive"
        wire.expect_closed()


@both
def test_http_1_0_may_ask_to_keep_the_connection(server: ServerProcess, opened: Opener) -> None:
    asking = command(envelope("kv.dbsize"), [("Connection", "keep-alive")]).replace(b"HTTP/1.1", b"HTTP/1.0")
    with opened(server) as wire:
        assert wire.ask(asking).header("Connection") == "keep-alive"
        assert wire.ask(asking).status == 200


@both
@pytest.mark.parametrize("path", ["/", "/nope", "/api/v1/command/", "/api/v1", "/kv/get/", "//health", "/%00", "/../x"])
def test_unknown_paths_are_404(server: ServerProcess, opened: Opener, path: str) -> None:
    with opened(server) as wire:
        answer = wire.ask(request("GET", path))
        assert (answer.status, answer.error["code"]) == (404, "INVALID_REQUEST")
        assert wire.ask(DBSIZE).status == 200


@both
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", COMMAND, "POST"),
        ("PUT", COMMAND, "POST"),
        ("OPTIONS", COMMAND, "POST"),
        ("POST", "/kv/get/a", "GET"),
        ("GET", "/kv/set", "POST"),
        ("GET", "/kv/del/a", "DELETE"),
        ("POST", "/health", "GET"),
    ],
)
def test_wrong_methods_are_told_the_right_ones(
    server: ServerProcess, opened: Opener, method: str, path: str, allowed: str
) -> None:
    with opened(server) as wire:
        answer = wire.ask(request(method, path))
        assert (answer.status, answer.error["code"]) == (405, "INVALID_REQUEST")
        assert allowed in (answer.header("Allow") or "").split(", ")
        assert wire.ask(DBSIZE).status == 200


# Ends


@both
@pytest.mark.parametrize(
    ("asked", "count"),
    [
        (DBSIZE, 1),
        (HEALTH, 1),
        (DBSIZE * 3, 3),
        (HEALTH * 3, 3),
        (command(envelope("kv.set", key="half-closed", value=1), [("X-Synap-Ack", "synced")]), 1),
        (DBSIZE + HEALTH, 2),
        (HEALTH + DBSIZE, 2),
        (DBSIZE * 2_500, 2_500),
    ],
    ids=["command", "health", "commands", "healths", "synced", "command, health", "health, command", "many"],
)
def test_a_client_that_has_said_all_still_gets_its_replies(
    server: ServerProcess, opened: Opener, asked: bytes, count: int
) -> None:
    for _ in range(5):  # the end may be seen together with the request or after it
        with opened(server) as wire:
            wire.send(asked)
            wire.socket.shutdown(socket.SHUT_WR)
            assert [wire.answer().status for _ in range(count)] == [200] * count
            wire.expect_closed()


@both
@pytest.mark.parametrize(
    "asked",
    [
        b"",
        DBSIZE[:20],
        DBSIZE[:-5],
        HEALTH[:-5],
        chunked("POST", COMMAND, b"{}")[:-5],
        request("POST", "/nope", b"a body that nobody reads")[:-5],
    ],
)
def test_a_client_that_stops_halfway_is_let_go(server: ServerProcess, opened: Opener, asked: bytes) -> None:
    with opened(server, SHORT_SECS) as wire:
        wire.send(asked)
        wire.socket.shutdown(socket.SHUT_WR)
        while wire.socket.recv(65_536):
            pass


@both
def test_clients_that_vanish_harm_nobody(server: ServerProcess, opened: Opener) -> None:
    eventually(lambda: connections(server) == 0)  # those of the test before have left
    large = command(envelope("kv.mset", pairs={"vanish": "x" * MIB}))
    get_large = command(envelope("kv.get", key="vanish"))
    with connect(server) as stays:
        for asked in (b"", DBSIZE[:20], DBSIZE[:-1], DBSIZE, large, large[:-1], get_large * 30, HEALTH, HEALTH[:-1]):
            with opened(server) as wire:
                wire.send(asked)
                wire.reset()
            assert stays.ask(DBSIZE).status == 200
        eventually(lambda: connections(server) == 1)


@both
@pytest.mark.parametrize(("value_bytes", "count"), [(1_000, 200_000), (250_000, 1_500)])
def test_a_client_that_does_not_read_neither_stops_others_nor_fills_the_memory(
    tmp_path: Path, opened: Opener, value_bytes: int, count: int
) -> None:
    with ServerProcess(tmp_path / "data") as server, connect(server) as other, opened(server) as deaf:
        server.call("kv.set", key="large", value="x" * value_bytes)
        one = command(envelope("kv.get", key="large"))
        before = memory_bytes(server)
        other.send(command(json.dumps({"type": "batch", "commands": [{"command": "kv.dbsize"}] * 10_000}).encode()))
        sent = send_what_is_taken(deaf, one * count)  # it piles up while the server is at the batch
        assert other.answer().status == 200
        for _ in range(20):
            assert other.ask(DBSIZE).status == 200
        grown = memory_bytes(server) - before
        assert grown < 64 * MIB, f"{grown // MIB} MiB for {value_bytes * count // MIB} MiB of answers"
        for _ in range(min(sent // len(one), 2_000)):
            assert len(deaf.answer().body) > value_bytes
        deaf.reset()
        assert other.ask(DBSIZE).status == 200


def send_what_is_taken(wire: Wire, data: bytes) -> int:
    """Send until the server takes no more for a while; returns how much that was."""
    wire.socket.settimeout(0.5)
    sent, view = 0, memoryview(data)
    try:
        while sent < len(data):
            sent += wire.socket.send(view[sent : sent + 65_536])
    except TimeoutError:
        pass
    wire.socket.settimeout(SHORT_SECS)
    return sent


# Time


def test_a_request_that_does_not_arrive_in_time_is_refused(impatient: ServerProcess) -> None:
    post = request("POST", "/kv/set", b'{"key":"late","value":1}')
    halves = {
        "half a head": DBSIZE[:60],
        "half a body": DBSIZE[:-5],
        "half of another head": HEALTH[:-4],
        "half of another body": post[:-5],
        "half of a chunked body": chunked("POST", COMMAND, envelope("kv.dbsize"))[:-5],
        "half a second request": DBSIZE + DBSIZE[:-5],
    }
    with ExitStack() as stack:
        waiting = []
        for opened in (connect, connect_handed_over):
            for name, half in halves.items():
                wire = stack.enter_context(opened(impatient, SHORT_SECS))
                wire.send(half)
                waiting.append((f"{name}, {opened.__name__}", wire))
        seen = {name: end_of(wire, answers=2 if "second" in name else 1) for name, wire in waiting}
    assert seen == {name: (400, "INVALID_REQUEST", "close") for name, _ in waiting}


def end_of(wire: Wire, answers: int) -> tuple[int, str, str | None] | str:
    """What the server says when it gives up."""
    try:
        answer = [wire.answer() for _ in range(answers)][-1]
    except EOFError:
        return "closed without a word"
    except TimeoutError:
        return "nothing"
    return answer.status, answer.error["code"], answer.header("Connection")


def test_a_refused_request_ends_its_connection(impatient: ServerProcess) -> None:
    with connect(impatient, SHORT_SECS) as wire:
        wire.send(DBSIZE[:-5])
        assert wire.answer().status == 400
        wire.expect_closed()


@both
def test_a_drip_is_no_way_to_hold_a_connection(impatient: ServerProcess, opened: Opener) -> None:
    with opened(impatient) as wire:
        wire.send(f"POST {COMMAND} HTTP/1.1\r\nHost: synap\r\nX-Drip: ".encode())
        wire.socket.settimeout(0.1)
        started = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() < started + SHORT_SECS:
                wire.send(b"x")
                try:
                    if not wire.socket.recv(65_536):
                        raise ConnectionError
                except TimeoutError:
                    pass
        assert time.monotonic() > started + READ_TIMEOUT_SECS / 2


def test_a_slow_but_steady_body_within_the_time_is_fine(impatient: ServerProcess) -> None:
    with connect(impatient) as wire:
        wire.send(DBSIZE[:-10])
        for byte in DBSIZE[-10:]:
            time.sleep(READ_TIMEOUT_SECS / 50)
            wire.send(bytes([byte]))
        assert wire.answer().status == 200


def test_an_idle_connection_is_closed_without_a_word(impatient: ServerProcess) -> None:
    started = time.monotonic()
    with connect(impatient) as unused, connect(impatient) as used, connect_handed_over(impatient) as handed_over:
        assert used.ask(DBSIZE).status == 200
        for wire in (unused, used, handed_over):
            wire.expect_closed()
    assert IDLE_TIMEOUT_SECS / 2 < time.monotonic() - started < IDLE_TIMEOUT_SECS + SHORT_SECS


def test_a_connection_in_use_is_not_idle(impatient: ServerProcess) -> None:
    with connect(impatient) as fresh, connect_handed_over(impatient) as handed_over:
        deadline = time.monotonic() + 1.5 * IDLE_TIMEOUT_SECS
        while time.monotonic() < deadline:
            assert fresh.ask(DBSIZE).status == handed_over.ask(DBSIZE).status == 200
            time.sleep(IDLE_TIMEOUT_SECS / 10)


# Numbers


def test_connections_over_the_limit_are_refused_until_there_is_room(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", env={"SYNAP_LIMITS_MAX_CONNECTIONS": "3"}) as server, ExitStack() as stack:
        wires = [stack.enter_context(o(server)) for o in (connect, connect_handed_over, connect)]
        assert [wire.ask(DBSIZE).status for wire in wires] == [200] * 3
        for _ in range(20):
            with connect(server) as refused:
                answer = refused.ask(DBSIZE)
                assert (answer.status, answer.error["code"]) == (503, "UNAVAILABLE")
                assert answer.header("Connection") == "close"
                refused.expect_closed()
        assert [wire.ask(DBSIZE).status for wire in wires] == [200] * 3
        wires[1].socket.close()
        eventually(lambda: server.http("GET", "/health")[0] == 200)


# Framing


def framed(*lines: bytes, body: bytes = b"hello", line: bytes = b"POST /api/v1/command HTTP/1.1") -> bytes:
    return b"\r\n".join([line, *lines, b"", body])


HOST, FIVE, IN_CHUNKS = b"Host: synap", b"Content-Length: 5", b"Transfer-Encoding: chunked"

AMBIGUOUS = {
    "two lengths, the same": framed(HOST, FIVE, FIVE),
    "two lengths, different": framed(HOST, FIVE, b"Content-Length: 6"),
    "two lengths, one in small letters": framed(HOST, FIVE, b"content-length: 5"),
    "a length, then chunks": framed(HOST, FIVE, IN_CHUNKS, body=b"0\r\n\r\n"),
    "chunks, then a length": framed(HOST, IN_CHUNKS, FIVE, body=b"0\r\n\r\n"),
    "an unknown coding": framed(HOST, b"Transfer-Encoding: gzip"),
    "an unknown coding and a length": framed(HOST, b"Transfer-Encoding: gzip", FIVE),
    "chunks inside another coding": framed(HOST, b"Transfer-Encoding: chunked, gzip"),
    "chunks twice": framed(HOST, b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "chunks by another name": framed(HOST, b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "a list of lengths": framed(HOST, b"Content-Length: 5 , 5"),
    "a tight list of lengths": framed(HOST, b"Content-Length: 5,5"),
    "a length with a sign": framed(HOST, b"Content-Length: +5"),
    "a negative length": framed(HOST, b"Content-Length: -5"),
    "a hexadecimal length": framed(HOST, b"Content-Length: 0x5"),
    "a length with an underscore": framed(HOST, b"Content-Length: 5_0"),
    "a length that is no number": framed(HOST, b"Content-Length: five"),
    "a length in superscript": framed(HOST, b"Content-Length: \xc2\xb2"),
    "two numbers": framed(HOST, b"Content-Length: 5 5"),
    "no number": framed(HOST, b"Content-Length: "),
    "a length of 2^64": framed(HOST, b"Content-Length: 18446744073709551616"),
    "a space before the colon": framed(HOST, b"Content-Length : 5"),
    "a folded header": framed(HOST, b"X-Folded: a", b" b", FIVE),
    "a folded length": framed(HOST, b"Content-Length:", b" 5"),
    "bare line feeds": framed(HOST, FIVE).replace(b"\r\n", b"\n"),
    "a bare line feed in the request line": framed(HOST, FIVE).replace(b"\r\n", b"\n", 1),
    "a bare line feed between headers": framed(HOST + b"\n" + FIVE),
    "a bare line feed before the empty line": framed(HOST, FIVE).replace(b": 5\r\n", b": 5\n"),
    "a bare carriage return": framed(HOST, b"X-Bare: a\rb", FIVE),
    "a doubled carriage return": framed(HOST, b"X-Bare: a\r", FIVE),
    "a NUL in a header": framed(HOST, b"X-Nul: a\0b", FIVE),
    "a header without a colon": framed(HOST, b"hello", FIVE),
    "a header without a name": framed(HOST, b": hello", FIVE),
    "a header with a space in its name": framed(HOST, b"Content Length: 5", FIVE),
    "no host": framed(FIVE),
    "two hosts": framed(HOST, HOST, FIVE),
    "HTTP 0.9": framed(HOST, FIVE, line=b"POST /api/v1/command"),
    "HTTP 1.2": framed(HOST, FIVE, line=b"POST /api/v1/command HTTP/1.2"),
    "HTTP 2.0": framed(HOST, FIVE, line=b"POST /api/v1/command HTTP/2.0"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method that is none": framed(HOST, FIVE, line=b"P\xffST /api/v1/command HTTP/1.1"),
    "a target that is not ASCII": framed(HOST, FIVE, line=b"POST /api/v1/\xffcommand HTTP/1.1"),
    "a method nobody registered": framed(HOST, FIVE, line=b"BREW /api/v1/command HTTP/1.1"),
    "no target": framed(HOST, FIVE, line=b"POST HTTP/1.1"),
    "a chunk of no size": framed(HOST, IN_CHUNKS, body=b"\r\nhello\r\n0\r\n\r\n"),
    "a chunk of a size that is none": framed(HOST, IN_CHUNKS, body=b"zz\r\nhello\r\n0\r\n\r\n"),
    "a chunk of negative size": framed(HOST, IN_CHUNKS, body=b"-5\r\nhello\r\n0\r\n\r\n"),
    "a chunk of 2^64": framed(HOST, IN_CHUNKS, body=b"10000000000000000\r\nhello\r\n0\r\n\r\n"),
    "a chunk longer than it says": framed(HOST, IN_CHUNKS, body=b"2\r\nhello\r\n0\r\n\r\n"),
    "a chunk that ends in a bare line feed": framed(HOST, IN_CHUNKS, body=b"5\nhello\n0\n\n"),
    "garbage": bytes(range(256)) * 4,
    "a NUL": b"\0",
    "a word": b"hello\r\n\r\n",
    "half a word": b"hello",
    "the hello of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)),
    "many headers": framed(HOST, *[b"X-%d: y" % i for i in range(1_000)], FIVE),
    "a header too long": framed(HOST, b"X-Long: " + b"y" * MIB, FIVE),
    "a target too long": framed(HOST, FIVE, line=b"GET /" + b"y" * MIB + b" HTTP/1.1"),
    "a head without end": b"POST /api/v1/command HTTP/1.1\r\n" + b"X-More: y\r\n" * 100_000,
}


@both
@pytest.mark.parametrize("asked", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_http_that_cannot_be_trusted_is_refused_and_the_connection_closed(
    server: ServerProcess, opened: Opener, asked: bytes
) -> None:
    key = f"smuggled {time.monotonic_ns()}"
    smuggled = command(envelope("kv.set", key=key, value=1))
    with opened(server, SHORT_SECS) as wire:
        answer = wire.ask_at_length(asked + smuggled if asked.endswith((b"\r\n", b"hello")) else asked)
        assert (answer.status, answer.error["code"]) == (400, "INVALID_REQUEST")
        wire.expect_closed()
    assert server.call("kv.exists", key=key)["count"] == 0


@both
def test_a_refusal_bears_the_name_of_the_server_and_tells_no_versions(server: ServerProcess, opened: Opener) -> None:
    with opened(server) as wire:
        assert wire.ask(AMBIGUOUS["a length with a sign"]).header("Server") == "synap"


def test_refusals_leave_no_traceback_in_the_log(server: ServerProcess) -> None:
    before = server.log.stat().st_size
    compressed = command(envelope("kv.dbsize"), [("Content-Encoding", "gzip")])
    for opened in (connect, connect_handed_over):
        for asked in (*AMBIGUOUS.values(), compressed):
            with opened(server) as wire, suppress(EOFError, OSError):
                wire.send(asked)
                wire.socket.shutdown(socket.SHUT_WR)
                wire.answer()
                wire.expect_closed()
    assert "Traceback" not in server.log.read_bytes()[before:].decode()
