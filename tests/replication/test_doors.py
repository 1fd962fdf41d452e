"""What a server lets others follow, and whom: secrets, greetings and acknowledgements of every kind, and snapshots."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import Opcode

from synap.errors import Unavailable
from synap.replication.service import OFFERS
from synap.replication.wire import (
    CLAIM_PATH,
    SECRET_HEADER,
    SNAPSHOT_PATH,
    STREAM_PATH,
    Heartbeat,
    Records,
    pack,
    records_behind,
)
from tests.access.helpers import ROOT, Guarded, Header
from tests.replication.follower import Follower, acked, following, stream_path
from tests.replication.inside import caught_up, link_state, replica_of, role, url
from tests.transport.sockets import Inside, connected, wired, within
from tests.transport.wire import Answer, eventually, request

SECRET: Header = (SECRET_HEADER, "hush")
WRONG: Header = (SECRET_HEADER, "hush!")
PATIENT = 10


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    with Inside(tmp_path_factory.mktemp("doors") / "data") as running:
        for number in range(10):
            running.call("kv.set", key=f"k{number}", value=number)
        yield running


def asked(server: Inside, method: str, path: str, *headers: Header, body: bytes | None = None) -> Answer:
    with wired(server) as wire:
        return wire.ask(request(method, path, body, headers))


def lineage(server: Inside) -> str:
    found: str = server.server._replication.node._standing.lineage
    return found


def snapshotted(server: Inside) -> Any:
    """The offer of a new snapshot."""
    before = server.server._snapshots.last_at
    server.call("kv.incr", key="snapshots")
    eventually(lambda: server.call("admin.snapshot")["started"] or server.server._snapshots.last_at != before)
    within(20, lambda: server.server._snapshots.last_at != before, True)
    return asked(server, "GET", SNAPSHOT_PATH).json


# Who may


ROUTES: list[tuple[str, str, bytes | None]] = [
    ("GET", stream_path(node="n", **{"from": 1}), None),
    ("GET", SNAPSHOT_PATH, None),
    ("GET", SNAPSHOT_PATH + "/some-name", None),
    ("POST", CLAIM_PATH, b"{}"),
]
LET_IN = {"INVALID_REQUEST", "KEY_NOT_FOUND", None}


def code(server: Inside, method: str, path: str, body: bytes | None, *headers: Header) -> str | None:
    answer = asked(server, method, path, *headers, body=body)
    return None if answer.status == 200 else answer.error["code"]


def allowed(server: Inside, *headers: Header) -> list[bool]:
    """For each route whether it lets somebody in."""
    codes = [code(server, *route, *headers) for route in ROUTES]
    assert set(codes) <= LET_IN | {"UNAUTHORIZED", "FORBIDDEN"}
    return [found in LET_IN for found in codes]


def test_an_open_server_without_a_secret_lets_in_all_but_who_names_one(master: Inside) -> None:
    assert all(allowed(master))
    assert not any(allowed(master, SECRET))


def test_an_open_server_with_a_secret_lets_in_who_knows_it(tmp_path: Path) -> None:
    with Inside(tmp_path / "m", replication={"secret": SECRET[1]}) as server:
        assert all(allowed(server, SECRET))
        for headers in ((), (WRONG,), ((SECRET_HEADER, ""),)):
            assert not any(allowed(server, *headers))


def test_a_guarded_server_lets_in_who_knows_the_secret_or_has_the_permission(tmp_path: Path) -> None:
    with Guarded(tmp_path / "m", replication={"secret": SECRET[1]}) as server:
        key, other = server.key("replication.stream"), server.key("kv.*", "replication.status")
        for headers in ((SECRET,), (ROOT,), (key.header,), (WRONG, key.header)):
            assert all(allowed(server, *headers)), headers
        for refused in ((), (WRONG,), (other.header,)):
            assert not any(allowed(server, *refused)), refused


def test_a_guarded_server_without_a_secret_takes_none(tmp_path: Path) -> None:
    with Guarded(tmp_path / "m") as server:
        for headers in ((), (SECRET,), ((SECRET_HEADER, ""),)):
            assert not any(allowed(server, *headers))


def test_a_replica_with_another_secret_says_so_and_gets_nothing(tmp_path: Path) -> None:
    with Inside(tmp_path / "m", replication={"secret": SECRET[1]}) as server:
        server.call("kv.set", key="a", value=1)
        with replica_of(server, tmp_path / "r", replication={"secret": "other"}) as replica:
            eventually(lambda: link_state(replica) == "waiting")
            reason = replica.call("replication.status")["master"]["reason"]
            assert reason == "it answers 401; is replication.secret the same there?"
            assert replica.server._state.lsn == 0


@pytest.mark.parametrize("phase", ["starting", "rebuilding", "draining"])
def test_a_server_that_serves_nobody_is_not_followed(master: Inside, phase: str) -> None:
    dispatcher = master.server._dispatcher

    def turn(refusal: Unavailable | None) -> None:
        dispatcher.refusal = refusal

    master.run(lambda: turn(Unavailable(phase)))
    try:
        for method, path, body in ROUTES:
            answer = asked(master, method, path, body=body)
            assert (answer.status, answer.error["message"]) == (503, phase)
    finally:
        master.run(lambda: turn(None))


# Greetings


@pytest.mark.parametrize(
    "query",
    [
        "",
        "node=a",
        "from=1",
        "node=a&from=x",
        "node=a&from=-3",
        "node=a&from=99999999999999999999999",
        f"node=a&from={2**63}",
        "node=a&from=1&epoch=-1",
        f"node=a&from=1&epoch={2**53 + 1}",
        "node=a&from=1&history=../x",
        "node=a&from=1&history=UPPER",
        "node=a&from=1&history=a%0A",
        "node=a&from=1&lineage=a%2Fb",
        "node=a&from=1&url=ftp://x",
        "node=a&from=1&url=http://a/b",
        "node=a&from=1&url=http://" + "a" * 3_000,
    ],
)
def test_a_greeting_that_cannot_be_is_refused(master: Inside, query: str) -> None:
    with pytest.raises(InvalidStatus) as raised, connected(master, path=f"{STREAM_PATH}?{query}"):
        pass
    assert raised.value.response.status_code == 400
    assert json.loads(raised.value.response.body or b"{}")["error"]["code"] == "INVALID_REQUEST"


def test_the_stream_is_a_websocket(master: Inside) -> None:
    answer = asked(master, "GET", stream_path(node="n", **{"from": 1}))
    assert (answer.status, answer.error["code"]) == (400, "INVALID_REQUEST")
    assert "WebSocket" in answer.error["message"]


def history(server: Inside) -> str:
    found: str = server.server._replication.node.history_id
    return found


def test_records_are_sent_from_the_one_asked_for(master: Inside) -> None:
    last = master.server._journal.last_lsn
    for behind in (0, 3, last):
        with following(master, from_lsn=behind + 1, history=history(master)) as follower:
            assert follower.welcome.accepted
            assert follower.welcome.last_lsn == last
            lsn = behind
            while lsn < last:
                message = follower.message()
                if isinstance(message, Records):
                    lsn += len(records_behind(message.data, lsn))


@pytest.mark.parametrize("known", [False, True])
def test_who_has_another_history_is_told_that_of_the_master_and_is_sent_nothing(master: Inside, known: bool) -> None:
    of = lineage(master) if known else "another"
    with following(master, from_lsn=3, history="unheard0of", lineage=of) as follower:
        assert not follower.welcome.accepted
        assert follower.welcome.terms == master.server._replication.node.terms
        with pytest.raises(EOFError):
            follower.message()
    assert role(master) == "master"


def test_who_asks_for_what_is_not_written_yet_is_sent_it_once_it_is(tmp_path: Path) -> None:
    with Inside(tmp_path / "m") as server:
        first = server.server._journal.last_lsn + 3
        with following(server, from_lsn=first, history=history(server)) as follower:
            for number in range(4):
                server.call("kv.set", key="a", value=number)
            while not isinstance(message := follower.message(), Records):
                assert isinstance(message, Heartbeat)
            assert records_behind(message.data, first - 1)


def test_a_master_steps_down_before_a_higher_epoch_of_its_own_lineage_only(tmp_path: Path) -> None:
    with Inside(tmp_path / "m") as server:
        for other in ("", "another"):
            with following(server, epoch=9, lineage=other):
                assert (role(server), server.call("replication.status")["epoch"]) == ("master", 1)
        with following(server, epoch=9, lineage=lineage(server)):
            eventually(lambda: role(server) == "replica")
        status = server.call("replication.status")
        assert (status["epoch"], status["master"]["address"]) == (9, None)
        refused = server.send({"command": "kv.set", "payload": {"key": "a", "value": 1}})["error"]
        assert (refused["code"], refused["details"]) == ("READ_ONLY", {"master": None})
        server.call("replication.promote")
        assert server.call("replication.status")["epoch"] == 10


# What a replica says


@pytest.mark.parametrize(
    "say",
    [
        lambda follower: follower.send(b"\x00garbage"),
        lambda follower: follower.send(b""),
        lambda follower: follower.send(b"M"),
        lambda follower: follower.send(b"M" + b"\x91" * 900),
        lambda follower: follower.send(b"R" + b"x" * 100),
        lambda follower: follower.send(b"x" * 100_000),
        lambda follower: follower.send(b'{"lsn":1}', Opcode.TEXT),
        lambda follower: follower.send(pack(Heartbeat(lsn=1, siblings=(), master=None))),
    ],
    ids=["garbage", "empty", "nothing", "nested", "records", "huge", "text", "heartbeat"],
)
def test_who_sends_anything_but_acknowledgements_is_left(master: Inside, say: Callable[[Follower], None]) -> None:
    with following(master, "babbling") as follower:
        say(follower)
        assert follower.socket.closed() is not None
    within(PATIENT, lambda: len(acked(master)), 0)
    assert master.call("kv.get", key="k1")["value"] == 1


@pytest.mark.parametrize("lsn", [-1, -(2**63)])
def test_an_acknowledgement_of_nothing_is_none(master: Inside, lsn: int) -> None:
    with following(master, "negative") as follower:
        follower.confirm(lsn)
        follower.confirm(1)
        within(PATIENT, lambda: acked(master) in ([1], []), True)


# Snapshots


def test_a_snapshot_is_offered_and_can_be_had_in_parts(master: Inside) -> None:
    offer = snapshotted(master)
    path = f"{SNAPSHOT_PATH}/{offer['name']}"
    whole = asked(master, "GET", path)
    assert (whole.status, len(whole.body)) == (200, offer["bytes"])
    part = asked(master, "GET", path, ("Range", "bytes=100-"))
    assert (part.status, part.body) == (206, whole.body[100:])


def test_a_snapshot_that_is_being_copied_stays_when_there_is_a_newer_one(master: Inside) -> None:
    offer = snapshotted(master)
    path = f"{SNAPSHOT_PATH}/{offer['name']}"
    begun = asked(master, "GET", path).body
    newer = snapshotted(master)
    assert newer["lsn"] > offer["lsn"]
    rest = asked(master, "GET", path, ("Range", "bytes=50-"))
    assert (rest.status, rest.body) == (206, begun[50:])


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "%2e%2e",
        "%2e%2e%2freplication.json",
        "..%2F..%2Freplication.json",
        ".",
        "%00",
        "replication.json",
        "LOCK",
        "x" * 5_000,
        "%ff",
    ],
)
def test_nothing_but_snapshots_is_given_away(master: Inside, name: str) -> None:
    answer = asked(master, "GET", f"{SNAPSHOT_PATH}/{name}")
    assert answer.status in (400, 404)
    assert answer.error["code"] in ("KEY_NOT_FOUND", "INVALID_REQUEST")


def test_an_offer_that_nobody_takes_is_forgotten_and_none_outlives_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Inside(tmp_path / "m") as server:
        monkeypatch.setattr("synap.replication.service.OFFER_SECS_MAX", 0.0)
        path = f"{SNAPSHOT_PATH}/{snapshotted(server)['name']}"
        eventually(lambda: list((tmp_path / "m" / OFFERS).iterdir()) == [])
        assert asked(server, "GET", path).status == 404
        monkeypatch.undo()
        asked(server, "GET", SNAPSHOT_PATH)
        assert len(list((tmp_path / "m" / OFFERS).iterdir())) == 1
    assert not (tmp_path / "m" / OFFERS).exists()


def test_a_server_without_a_snapshot_offers_none(tmp_path: Path) -> None:
    with Inside(tmp_path / "m") as server:
        offer = asked(server, "GET", SNAPSHOT_PATH).json
        assert (offer["name"], offer["lsn"], offer["bytes"], offer["terms"]) == ("", 0, 0, [])


# Claims


def claim(server: Inside, **said: Any) -> Answer:
    master = {"role": "master", "epoch": 7, "term": "zz", "lineage": lineage(server), "url": "http://127.0.0.1:9"}
    return asked(server, "POST", CLAIM_PATH, body=json.dumps(master | said).encode())


@pytest.mark.parametrize(
    "said",
    [
        {"role": "king"},
        {"epoch": -1},
        {"epoch": 2**64},
        {"epoch": "7"},
        {"term": "../x"},
        {"term": "a\n"},
        {"lineage": "x" * 65},
        {"url": "ftp://x"},
        {"url": "http://"},
        {"url": "http://a/path"},
        {"url": "http://" + "a" * 3_000},
        {"url": ""},
    ],
    ids=str,
)
def test_a_claim_that_cannot_be_is_refused(master: Inside, said: dict[str, Any]) -> None:
    answer = claim(master, **said)
    assert (answer.status, answer.error["code"]) == (400, "INVALID_REQUEST")
    assert role(master) == "master"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000])
def test_garbage_is_no_claim(master: Inside, body: bytes) -> None:
    answer = asked(master, "POST", CLAIM_PATH, body=body)
    assert (answer.status, answer.error["code"]) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize("said", [{"lineage": "another"}, {"lineage": ""}, {"epoch": 0}, {"role": "replica"}], ids=str)
def test_a_claim_of_somebody_else_or_of_the_past_changes_nothing(master: Inside, said: dict[str, Any]) -> None:
    answer = claim(master, **said)
    assert (answer.status, answer.json["role"], answer.json["epoch"]) == (200, "master", 1)
    assert answer.json["url"] == url(master)
    assert role(master) == "master"


def test_a_master_gives_way_to_one_of_a_higher_epoch(tmp_path: Path) -> None:
    with Inside(tmp_path / "m") as server:
        answer = claim(server)
        assert (answer.status, answer.json["role"], answer.json["epoch"]) == (200, "replica", 7)
        assert server.call("replication.status")["master"]["address"] == "http://127.0.0.1:9"


# A server that starts


def test_what_is_asked_of_a_server_before_it_knows_its_role_is_unavailable(master: Inside) -> None:
    node = master.server._replication.node
    master.run(lambda: setattr(node, "_has_started", False))
    try:
        for method, path, body in ROUTES:
            assert asked(master, method, path, body=body).status == 503
    finally:
        master.run(lambda: setattr(node, "_has_started", True))


def test_two_servers_that_are_told_to_follow_each_other_say_so(tmp_path: Path) -> None:
    with Inside(tmp_path / "a") as one, replica_of(one, tmp_path / "b") as two:
        one.call("kv.set", key="a", value=1)
        caught_up(two, one)
        with pytest.raises(Exception, match="that is this server itself"):
            one.call("replication.follow", master=url(one))
        one.call("replication.follow", master=url(two))
        for node in (one, two):
            within(PATIENT, lambda node=node: "follows this node" in str(told_reason(node)), True)  # type: ignore[misc]
        assert one.call("kv.get", key="a")["value"] == 1
        one.call("replication.promote", force=True)
        one.call("kv.set", key="b", value=2)
        caught_up(two, one)


def told_reason(server: Inside) -> str | None:
    master = server.call("replication.status")["master"]
    return None if master is None else master["reason"]


def test_a_replica_that_stays_silent_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Inside(tmp_path / "m") as server, following(server) as follower:
        within(PATIENT, lambda: len(acked(server)), 1)
        later = time.monotonic() + 31.0
        monkeypatch.setattr(
            type(server.server._replication), "now_ms", property(lambda _: (later + time.monotonic()) * 1000)
        )
        assert follower.socket.closed() is not None
