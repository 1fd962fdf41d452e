"""Rate limits: told on every answer, kept through every door, and by nobody got around."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.exceptions import InvalidStatus

from synap.config import RateLimit
from tests.access.helpers import ADDRESS, Guarded, GuardedHarness
from tests.support import START
from tests.transport.sockets import Inside, connected, listening, wired
from tests.transport.wire import COMMAND, HEALTH, Answer, chunked, command, envelope, request

LIMIT = "X-RateLimit-Limit"
REMAINING = "X-RateLimit-Remaining"
RESET = "X-RateLimit-Reset"
BURST = 5
# So slow that no token comes back while a test runs.
SLOW = {"enabled": True, "requests_per_second": 0.001, "burst": BURST}
PLENTY = {"enabled": True, "requests_per_second": 0.001, "burst": 100_000}
PACKED = ("Content-Type", "application/msgpack")
DBSIZE = envelope("kv.dbsize")

DOORS: dict[str, bytes] = {
    "lane": command(DBSIZE),
    "chunked": chunked("POST", COMMAND, DBSIZE),
    "MessagePack": command(bytes.fromhex("81a7636f6d6d616e64a96b762e646273697a65"), [PACKED]),
    "batch": command(orjson.dumps({"type": "batch", "commands": [{"command": "kv.dbsize"}]})),
    "GET": request("GET", "/kv/stats"),
    "POST": request("POST", "/kv/set", b'{"key":"a","value":1}'),
}
FAILING: dict[str, bytes] = {
    "unknown command": command(envelope("kv.nonsense")),
    "no JSON": command(b"{"),
    "no JSON in chunks": chunked("POST", COMMAND, b"{"),
    "no MessagePack": command(b"\xc1", [PACKED]),
    "wrong payload": command(envelope("kv.get", keys=1)),
    "wrong payload of GET": request("GET", "/kv/scan?count=some"),
    "unknown field of GET": request("GET", "/kv/scan?nonsense=1"),
    "wrong payload of POST": request("POST", "/kv/set", b"{"),
    "path and body": request("POST", "/list/a/lpush", b'{"key":"b"}'),
    "wrong address": request("GET", "/kv/get/%FF"),
    "missing": request("GET", "/kv/get/nothing"),
    "no stream of events": request("GET", "/stream/nothing/events"),
    "wrong query of events": request("GET", "/stream/nothing/events?partition=x"),
    "no WebSocket": request("GET", "/api/v1/ws"),
}


@pytest.fixture(scope="module")
def plenty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    with Inside(tmp_path_factory.mktemp("limits") / "data", rate_limit=PLENTY) as running:
        yield running


def limits_of(answer: Answer) -> tuple[int, int, int]:
    found = [answer.header(name) for name in (LIMIT, REMAINING, RESET)]
    assert None not in found, (answer.status_line, answer.headers)
    limit, remaining, reset = (int(value or 0) for value in found)
    return limit, remaining, reset


def left(server: Inside) -> int:
    with wired(server) as wire:
        return limits_of(wire.ask(command(DBSIZE)))[1]


# On every answer


@pytest.mark.parametrize("asked", [*DOORS.values(), *FAILING.values()], ids=[*DOORS, *FAILING])
def test_every_answer_tells_what_is_left_and_every_request_counts(plenty: Inside, asked: bytes) -> None:
    before = left(plenty)
    with wired(plenty) as wire:
        limit, remaining, reset = limits_of(wire.ask(asked))
    assert (limit, remaining) == (PLENTY["burst"], before - 1)
    assert reset > START // 1000
    assert left(plenty) == before - 2


def test_pipelined_answers_tell_it_too(plenty: Inside) -> None:
    with wired(plenty) as wire:
        wire.send(command(DBSIZE) * 20)
        remaining = [limits_of(wire.answer())[1] for _ in range(20)]
    assert remaining == sorted(remaining, reverse=True)
    assert left(plenty) == remaining[-1] - 1


def test_server_sent_events_tell_it(plenty: Inside) -> None:
    before = left(plenty)
    with listening(plenty, "/pubsub/events?topics=a") as source:
        assert source.status == 200
        assert source.headers[REMAINING.lower()] == str(before - 1)


def test_what_watches_the_server_is_neither_counted_nor_told(tmp_path: Path) -> None:
    with Inside(tmp_path / "data", rate_limit=SLOW) as server, wired(server) as wire:
        for path in ("/health", "/ready"):
            for _ in range(3 * BURST):
                answer = wire.ask(request("GET", path))
                assert answer.status == 200
                assert answer.header(LIMIT) is None
        assert left(server) == BURST - 1


def test_without_limits_nothing_is_told(tmp_path: Path) -> None:
    with Inside(tmp_path / "data") as server, wired(server) as wire:
        for asked in (*DOORS.values(), *FAILING.values()):
            assert wire.ask(asked).header(LIMIT) is None


# Refused


def test_whoever_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    with Inside(tmp_path / "data", rate_limit=SLOW) as server, wired(server) as wire:
        for number in range(BURST):
            answer = wire.ask(command(DBSIZE))
            assert (answer.status, limits_of(answer)[1]) == (200, BURST - 1 - number)
        wire.ask(HEALTH)
        for name, asked in (*DOORS.items(), *FAILING.items()):
            with wired(server) as fresh:
                answer = fresh.ask(asked)
            assert answer.status == 429, name
            assert limits_of(answer)[1] == 0
            assert int(answer.header("Retry-After") or 0) in range(900, 1_001)
        with listening(server, "/pubsub/events?topics=a") as source:
            assert (source.status, source.headers["retry-after"] != "") == (429, True)
        with pytest.raises(InvalidStatus) as raised, connected(server):
            pass
        assert raised.value.response.status_code == 429


def test_every_frame_of_a_websocket_counts(tmp_path: Path) -> None:
    with Inside(tmp_path / "data", rate_limit=SLOW) as server, connected(server) as socket:
        codes = []
        for _ in range(BURST + 1):
            reply = socket.reply(socket.begin("kv.dbsize"))
            codes.append(reply.get("error", {}).get("code"))
    assert codes == [None] * (BURST - 1) + ["RATE_LIMIT_EXCEEDED"] * 2


def test_what_is_refused_does_nothing(tmp_path: Path) -> None:
    with Inside(tmp_path / "data", rate_limit=SLOW) as server, wired(server) as wire:
        values = [wire.ask(command(envelope("kv.incr", key="a"))) for _ in range(2 * BURST)]
        assert [a.status for a in values] == [200] * BURST + [429] * BURST
        assert server.run(lambda: server.server._state.lsn) <= BURST + 2


# With a fake clock


def limited(burst: int = BURST, per: str = "credential", rate: float = 1.0) -> GuardedHarness:
    return GuardedHarness(RateLimit(True, rate, burst, per))  # type: ignore[arg-type]


def test_a_token_comes_back_with_time() -> None:
    harness = limited()
    who = harness.caller(harness.key("*"))
    assert [harness.code(who, "kv.dbsize") for _ in range(BURST + 1)] == [None] * BURST + ["RATE_LIMIT_EXCEEDED"]
    refused = harness.answer(DBSIZE, caller=who)
    assert (refused.status, (refused.headers or {})["Retry-After"]) == (429, "1")
    harness.clock.advance(1)
    assert [harness.code(who, "kv.dbsize") for _ in range(2)] == [None, "RATE_LIMIT_EXCEEDED"]


def test_every_command_of_a_batch_counts_afterwards_if_need_be() -> None:
    harness = limited()
    who = harness.caller(harness.key("*"))
    batch = {"type": "batch", "commands": [{"command": "kv.incr", "payload": {"key": "a"}}] * 12}
    assert harness.send(batch, caller=who)["results"][-1]["payload"]["value"] == 12
    harness.clock.advance(7)
    assert (harness.answer(DBSIZE, caller=who).headers or {})["Retry-After"] == "1"
    harness.clock.advance(1)
    assert harness.code(who, "kv.dbsize") is None


@pytest.mark.parametrize("commands", [0, 1])
def test_the_smallest_batch_counts_once(commands: int) -> None:
    harness = limited()
    who = harness.caller(harness.key("*"))
    for _ in range(BURST):
        assert "results" in harness.send(
            {"type": "batch", "commands": [{"command": "kv.dbsize"}] * commands}, caller=who
        )
    assert harness.code(who, "kv.dbsize") == "RATE_LIMIT_EXCEEDED"


def exhausted(harness: GuardedHarness, who: Any, address: str = ADDRESS) -> bool:
    """Whether somebody has nothing left, without taking of it."""
    bucket = harness.caller(who, address).bucket
    assert bucket is not None
    return bucket.standing(harness.clock.now())[0] == 0


def test_credentials_are_counted_apart_wherever_they_come_from() -> None:
    harness = limited()
    one, other = harness.key("*"), harness.key("*")
    for n in range(BURST):
        assert harness.code(harness.caller(one, f"192.0.2.{n}"), "kv.dbsize") is None
    assert harness.code(harness.caller(one, "192.0.2.99"), "kv.dbsize") == "RATE_LIMIT_EXCEEDED"
    assert harness.code(harness.caller(other, "192.0.2.1"), "kv.dbsize") is None


def test_who_has_no_good_credential_is_counted_by_address() -> None:
    harness = limited()
    bad = [harness.credentials.by_api_key(f"synap_{n}") for n in range(BURST)]
    assert [harness.code(harness.caller(identity), "kv.dbsize") for identity in bad] == ["UNAUTHORIZED"] * BURST
    assert exhausted(harness, harness.credentials.nobody)
    assert exhausted(harness, harness.bearer("x.y.z"))
    assert not exhausted(harness, harness.credentials.nobody, "192.0.2.2")
    assert not exhausted(harness, harness.key("*"))


def test_addresses_can_be_counted_instead() -> None:
    harness = limited(per="address")
    for _ in range(BURST):
        assert harness.code(harness.caller(harness.key("*")), "kv.dbsize") is None
    assert exhausted(harness, harness.key("*"))
    assert not exhausted(harness, harness.key("*"), "192.0.2.2")


def test_a_denied_request_counts_as_any_other() -> None:
    harness = limited()
    who = harness.caller(harness.key("kv.get"))
    codes = [harness.code(who, "kv.set", key="a", value=1) for _ in range(BURST + 1)]
    assert codes == ["FORBIDDEN"] * BURST + ["RATE_LIMIT_EXCEEDED"]


def test_pipelined_requests_of_different_credentials_are_each_told_their_own(tmp_path: Path) -> None:
    with Guarded(tmp_path / "data", rate_limit=PLENTY) as server:
        one, other = server.key("*"), server.key("*")
        asked = [command(DBSIZE, [key.header]) for key in (one, one, one, other)]
        with wired(server) as wire:
            wire.send(b"".join(asked))
            remaining = [PLENTY["burst"] - limits_of(wire.answer())[1] for _ in asked]
    assert remaining[-1] == 1
    assert all(used in (1, 2, 3) for used in remaining[:-1])
    assert remaining[2] == 3
