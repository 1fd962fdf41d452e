"""Servers that die, are slow, or answer nonsense: what is repeated, what is not, and what the caller is told."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sdk.python.tests.servers import Restarting
from synap_sdk import AsyncSynap, Synap, SynapConnectionError, SynapError, SynapTimeout, errors

Answer = Callable[[bytes], bytes | None]


@contextmanager
def http_server(answer: Answer) -> Iterator[str]:
    """A server that gives every request the bytes that `answer` makes of its body; None closes the connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file:
            while True:
                length = 0
                line = file.readline()
                if not line:
                    return
                while line.strip():
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                    line = file.readline()
                reply = answer(file.read(length))
                if reply is None:
                    return
                connection.sendall(reply)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def http(body: bytes, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def failure(code: str, **details: object) -> bytes:
    error = {"code": code, "message": "no", "details": details}
    return http(json.dumps({"type": "response", "status": "error", "error": error}).encode())


SUCCESS = http(b'{"status":"success","payload":{"found":true,"value":1,"ttl":null}}')
SET = http(b'{"status":"success","payload":{"key":"k","success":true,"previous":null}}')


def test_nobody_there_is_told_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with Synap(f"http://127.0.0.1:{port}", retries=2) as client, pytest.raises(SynapConnectionError) as caught:
        client.kv.set("k", 1)
    assert not caught.value.may_have_happened


async def test_nobody_there_is_told_soon_in_asyncio() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    for transport in ("websocket", "http"):
        async with AsyncSynap(f"http://127.0.0.1:{port}", retries=2, transport=transport) as client:
            with pytest.raises(SynapConnectionError) as caught:
                await client.kv.set("k", 1)
            assert not caught.value.may_have_happened


def test_no_reply_in_time_is_a_timeout() -> None:
    silent = threading.Event()

    def never(_: bytes) -> None:
        silent.wait(10)

    with http_server(never) as url, Synap(url) as client:
        with pytest.raises(SynapTimeout) as read:
            client.kv.get("k", timeout=0.2)
        with pytest.raises(SynapTimeout) as written:
            client.kv.set("k", 1, timeout=0.2)
        silent.set()
    assert not read.value.may_have_happened
    assert written.value.may_have_happened


async def test_a_server_that_stands_still_is_a_timeout(restarting: Restarting) -> None:
    async with AsyncSynap(restarting.url) as client:
        await client.kv.set("k", 1)
        restarting.process.process.send_signal(19)
        getting, setting = client.kv.get("k", timeout=0.3), client.kv.set("k", 2, timeout=0.3)
        patient = client.kv.get("k")
        with pytest.raises(SynapTimeout) as read:
            await getting
        with pytest.raises(SynapTimeout) as written:
            await setting
        restarting.process.process.send_signal(18)
        assert (await patient).value in (1, 2), "the one with more patience gets its answer"
    assert (read.value.may_have_happened, written.value.may_have_happened) == (False, True)


def test_a_read_is_repeated_when_the_connection_breaks() -> None:
    answers: list[bytes | None] = [None, None, SUCCESS]
    with http_server(lambda _: answers.pop(0)) as url, Synap(url) as client:
        assert client.kv.get("k").value == 1


def test_a_write_is_not_repeated_unless_it_has_a_key() -> None:
    answers: list[bytes | None] = [None, None, SET]
    bodies: list[bytes] = []

    def answer(body: bytes) -> bytes | None:
        bodies.append(body)
        return answers.pop(0)

    with http_server(answer) as url, Synap(url) as client:
        with pytest.raises(SynapConnectionError, match="may or may not") as caught:
            client.kv.set("k", 1)
        assert caught.value.may_have_happened
        assert client.kv.set("k", 1, idempotency_key="once").success
    assert bodies[1] == bodies[2], "the very same request"


def test_writes_get_keys_of_their_own_where_they_are_to_be_repeated() -> None:
    answers: list[bytes | None] = [None, SET, SET, SET]
    bodies: list[bytes] = []

    def answer(body: bytes) -> bytes | None:
        bodies.append(body)
        return answers.pop(0)

    with http_server(answer) as url, Synap(url, retry_writes=True) as client:
        client.kv.set("k", 1)
        client.kv.set("k", 1)
        with pytest.raises(SynapError), client.batch() as batch:  # it is answered as a single command would be
            batch.kv.set("k", 1)
    keys = [json.loads(body)["idempotency_key"] for body in bodies]
    assert keys[0] == keys[1] != keys[2] != keys[3]


def test_what_was_refused_with_nothing_done_is_tried_again() -> None:
    answers = [failure("UNAVAILABLE"), failure("RATE_LIMIT_EXCEEDED", retry_after_secs=0), SET]
    with http_server(lambda _: answers.pop(0)) as url, Synap(url) as client:
        assert client.kv.set("k", 1).success


def test_patience_has_an_end() -> None:
    with http_server(lambda _: failure("UNAVAILABLE")) as url, Synap(url, retries=2) as client:
        with pytest.raises(errors.Unavailable):
            client.kv.set("k", 1)
    with http_server(lambda _: failure("RATE_LIMIT_EXCEEDED", retry_after_secs=60)) as url:
        with Synap(url) as client, pytest.raises(errors.RateLimitExceeded):
            client.kv.set("k", 1, timeout=1)


def test_a_code_from_the_future_is_an_error_all_the_same() -> None:
    with http_server(lambda _: failure("TOO_PURPLE", shade=7)) as url, Synap(url) as client:
        with pytest.raises(SynapError) as caught:
            client.kv.get("k")
    assert (caught.value.code, caught.value.details) == ("TOO_PURPLE", {"shade": 7})


@pytest.mark.parametrize(
    "nonsense",
    [
        http(b"<html>teapot</html>", 418),
        http(b'{"status":"success","payload":{"found":"maybe"}}'),
        http(b'{"status":"success"}'),
        http(b"{}"),
    ],
)
def test_nonsense_is_told_as_such(nonsense: bytes) -> None:
    with http_server(lambda _: nonsense) as url, Synap(url, retries=0) as client, pytest.raises(SynapError):
        client.kv.get("k")


def test_what_is_not_http_is_a_connection_error() -> None:
    with http_server(lambda _: b"220 mail.example ESMTP\r\n") as url, Synap(url, retries=1) as client:
        with pytest.raises(SynapConnectionError, match="HTTP"):
            client.kv.get("k")


async def test_what_is_no_websocket_is_told_as_such() -> None:
    async with AsyncSynap(retries=0) as _:
        pass
    with http_server(lambda _: http(b"<html>", 404)) as url:
        async with AsyncSynap(url, retries=0) as client:
            with pytest.raises(SynapError, match="404"):
                await client.kv.get("k")


async def test_killed_under_pipelined_calls_each_is_answered_or_told(restarting: Restarting) -> None:
    async with AsyncSynap(restarting.url) as client:
        await client.kv.dbsize()
        calls = [client.kv.incr(f"k{number}") for number in range(3_000)]
        await asyncio.sleep(0.002)
        restarting.kill()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        restarting.start()
        for number, outcome in enumerate(outcomes):
            value = (await client.kv.get(f"k{number}")).value if number % 100 == 0 else None
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, SynapConnectionError)
            elif number % 100 == 0:
                assert value == 1, "acknowledged, so it is there"


async def test_under_keys_every_write_is_done_once_although_the_server_dies(restarting: Restarting) -> None:
    async with AsyncSynap(restarting.url, retry_writes=True) as client:
        await client.kv.dbsize()
        calls = [client.kv.incr("n") for _ in range(3_000)]
        await asyncio.sleep(0.002)
        restarting.kill()
        await asyncio.sleep(0.1)
        restarting.start()
        assert sorted(result.value for result in await asyncio.gather(*calls)) == list(range(1, 3_001))


def test_the_synchronous_client_finds_the_server_again(restarting: Restarting) -> None:
    with Synap(restarting.url) as client:
        client.kv.set("k", 1)
        restarting.kill()
        restarting.start()
        client.kv.set("k", 2)  # the old connection is seen to be closed before anything is sent on it
        assert client.kv.get("k").value == 2
