"""A replica whose master is broken, or none at all: it keeps what it has, says why, and goes on with a good one."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from synap.journal import aside
from synap.replication.link import INCOMING, OFFER_BYTES_MAX
from synap.replication.terms import Term
from synap.replication.wire import Ack, Greeting, Heartbeat, Records, pack
from tests.replication.impostor import Impostor
from tests.replication.inside import PATIENCE_SECS, caught_up, digest, get, link_state, replica_of, role, url
from tests.transport.sockets import Inside, wired, within
from tests.transport.wire import command, envelope, eventually

MANY_BYTES = 1_000
SECRET_URL = "http://somebody:secret@127.0.0.1"


class Field:
    """A master, its replica that has been led astray, and who has."""

    def __init__(self, master: Inside, replica: Inside, impostor: Impostor) -> None:
        self.master = master
        self.replica = replica
        self.impostor = impostor
        self.before = digest(replica)

    def lead_astray(self) -> None:
        """Have the replica follow the impostor."""
        self.replica.call("replication.follow", master=self.impostor.url)

    def says(self) -> str:
        """Why the replica does not follow, as soon as it knows that."""
        eventually(lambda: link_state(self.replica) == "waiting" and bool(self.impostor.greetings))
        reason = self.replica.call("replication.status")["master"]["reason"]
        assert isinstance(reason, str)
        assert get(self.replica, "/health/replication").json["master"]["state"] in ("waiting", "connecting", "copying")
        return reason

    def assert_unharmed(self) -> None:
        """The replica has what it had, and goes on with its master."""
        assert digest(self.replica) == self.before
        assert self.replica.call("kv.get", key="k1")["value"] == 1
        self.replica.call("replication.follow", master=url(self.master))
        self.master.call("kv.set", key="after", value="all")
        caught_up(self.replica, self.master)
        assert digest(self.replica) == digest(self.master)
        assert put_aside(self.replica) == []


def directory(server: Inside) -> Path:
    found: Path = server.server._directory
    return found


def put_aside(server: Inside) -> list[str]:
    """The directories with what was put aside."""
    return [path.name for path in directory(server).glob("diverged-*")]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synap.replication.link.RETRY_SECS", 0.02)


@contextmanager
def replicated(data: Path) -> Iterator[tuple[Inside, Inside]]:
    """A master with a little data, and its replica."""
    with Inside(data / "master") as master, replica_of(master, data / "replica") as replica:
        for number in range(5):
            master.call("kv.set", key=f"k{number}", value=number)
        caught_up(replica, master)
        yield master, replica


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Inside, Inside]]:
    with replicated(tmp_path_factory.mktemp("impostor")) as servers:
        yield servers


@pytest.fixture
def field(pair: tuple[Inside, Inside]) -> Iterator[Field]:
    """For tests after which all is as before: they end with `assert_unharmed`."""
    with Impostor(pair[0]) as impostor:
        yield Field(*pair, impostor)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Field]:
    """For tests that change more."""
    with replicated(tmp_path) as (master, replica), Impostor(master) as impostor:
        yield Field(master, replica, impostor)


# Records


def damaged(impostor: Impostor, greeting: Greeting) -> bytes:
    record = bytearray(impostor.record(greeting.from_lsn))
    record[-1] ^= 1
    return bytes(record)


SENT: dict[str, tuple[Callable[[Impostor, Greeting], bytes], str]] = {
    "a gap": (lambda i, g: pack(Records(i.record(g.from_lsn + 1))), "expected record"),
    "a record again": (lambda i, g: pack(Records(i.record(g.from_lsn - 1))), "expected record"),
    "out of order": (
        lambda i, g: pack(Records(i.record(g.from_lsn) + i.record(g.from_lsn + 2) + i.record(g.from_lsn + 1))),
        "expected record",
    ),
    "damaged": (lambda i, g: pack(Records(damaged(i, g))), "is damaged"),
    "one good, one damaged": (
        lambda i, g: pack(Records(i.record(g.from_lsn) + b"\0" * 20 + i.record(g.from_lsn + 1))),
        "is damaged",
    ),
    "half a record": (lambda i, g: pack(Records(i.record(g.from_lsn)[:-3])), "is damaged"),
    "garbage": (lambda i, g: b"\xc1garbage", ""),
    "nothing": (lambda i, g: b"", ""),
    "deep": (lambda i, g: b"M" + b"\x91" * 100_000, ""),
    "a number too large": (lambda i, g: b"M" + msgspec.msgpack.encode(["A", 2**64 - 1]), ""),
    "a bad heartbeat": (
        lambda i, g: b"M" + msgspec.msgpack.encode({"type": "H", "lsn": -1, "siblings": 3, "master": 4}),
        "",
    ),
}


@pytest.mark.parametrize("kind", SENT)
def test_what_does_not_follow_what_is_there_is_not_taken(field: Field, kind: str) -> None:
    send, why = SENT[kind]
    field.impostor.say = field.impostor.sends(lambda greeting: send(field.impostor, greeting))
    field.lead_astray()
    assert why in field.says()
    field.assert_unharmed()


def test_an_empty_message_and_one_of_another_kind_do_no_harm(field: Field) -> None:
    impostor = field.impostor
    impostor.say = impostor.sends(
        lambda g: pack(Records(b"")), lambda g: pack(Ack(1)), lambda g: pack(impostor.a_welcome(g))
    )
    field.lead_astray()
    eventually(lambda: bool(impostor.greetings) and link_state(field.replica) == "streaming")
    assert role(field.replica) == "replica"
    field.assert_unharmed()


Handler = Callable[[Impostor, web.WebSocketResponse, Greeting], Awaitable[None]]


async def ends(impostor: Impostor, socket: web.WebSocketResponse, greeting: Greeting) -> None:
    await socket.close()


async def talks_first(impostor: Impostor, socket: web.WebSocketResponse, greeting: Greeting) -> None:
    await socket.send_bytes(pack(Heartbeat(lsn=9, siblings=(), master=None)))


async def writes_text(impostor: Impostor, socket: web.WebSocketResponse, greeting: Greeting) -> None:
    await socket.send_str("welcome")


async def refuses(impostor: Impostor, socket: web.WebSocketResponse, greeting: Greeting) -> None:
    await socket.send_bytes(pack(impostor.a_welcome(greeting, accepted=False)))


async def is_of_the_past(impostor: Impostor, socket: web.WebSocketResponse, greeting: Greeting) -> None:
    await socket.send_bytes(pack(impostor.a_welcome(greeting, epoch=0)))


async def names_terms_badly(impostor: Impostor, socket: web.WebSocketResponse, greeting: Greeting) -> None:
    terms = (*impostor.node.terms, Term(2, "../../x", greeting.from_lsn))
    await socket.send_bytes(pack(impostor.a_welcome(greeting, terms=terms)))


async def is_of_no_epoch(impostor: Impostor, socket: web.WebSocketResponse, greeting: Greeting) -> None:
    await socket.send_bytes(pack(impostor.a_welcome(greeting, epoch=2**60)))


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (ends, "the stream has ended"),
        (talks_first, "expected a welcome"),
        (writes_text, "the stream has ended"),
        (refuses, "does not accept this node's history"),
        (is_of_the_past, "of epoch 0, and there has been 1"),
        (names_terms_badly, "matching regex"),
        (is_of_no_epoch, ""),
    ],
)
def test_who_does_not_welcome_as_one_should_is_not_followed(field: Field, handler: Handler, why: str) -> None:
    field.impostor.say = lambda socket, greeting: handler(field.impostor, socket, greeting)
    field.lead_astray()
    assert why in field.says()
    field.assert_unharmed()


def test_one_who_says_nothing_at_all_is_left_after_a_while(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synap.replication.link.SILENCE_MS", 200)

    async def mute(socket: web.WebSocketResponse, greeting: Greeting) -> None:
        async for _ in socket:
            pass

    for say in (mute, field.impostor.welcome):
        field.impostor.say = say
        field.lead_astray()
        assert field.says() == "it is silent"
    field.assert_unharmed()


def test_a_password_in_a_url_is_told_to_nobody(field: Field, caplog: pytest.LogCaptureFixture) -> None:
    """Wherever it stands: in the status, in refusals, in the log."""
    caplog.set_level(logging.DEBUG)
    nobody = f"{SECRET_URL}:9"
    field.replica.call("replication.follow", master=nobody)
    eventually(lambda: link_state(field.replica) == "waiting")
    port = field.impostor.url.rpartition(":")[2]
    refused = field.replica.send({"command": "kv.set", "payload": {"key": "a", "value": 1}})
    field.replica.call("replication.follow", master=f"{SECRET_URL}:{port}")
    eventually(lambda: bool(field.impostor.greetings))
    shown = [
        refused,
        field.replica.call("replication.status"),
        get(field.replica, "/health/replication").json,
        field.replica.call("admin.config"),
        caplog.text,
    ]
    assert refused["error"]["details"] == {"master": "http://127.0.0.1:9"}
    assert "secret@" not in str(shown)
    field.assert_unharmed()


# A command that nobody knows


@pytest.mark.parametrize("good", [0, 2])
def test_a_record_that_cannot_be_repeated_stops_a_replica_for_good(
    own: Field, good: int, caplog: pytest.LogCaptureFixture
) -> None:
    impostor, replica = own.impostor, own.replica
    impostor.say = impostor.sends(
        lambda g: pack(
            Records(
                b"".join(impostor.record(g.from_lsn + n) for n in range(good))
                + impostor.record(g.from_lsn + good, command="no.such")
            )
        )
    )
    own.lead_astray()
    eventually(lambda: link_state(replica) == "failed")
    last = own.before[1] + good
    within(PATIENCE_SECS, lambda: (replica.server._state.lsn, replica.server._journal.written_lsn), (last, last))
    assert "no.such" in str(replica.call("replication.status")["master"]["reason"])
    assert replica.call("admin.health")["status"] == "degraded"
    assert replica.call("admin.health")["components"]["replication"] == "failed"
    critical = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert len(critical) == 1
    for name, payload in (("follow", {"master": url(own.master)}), ("resync", {})):
        error = replica.send({"command": f"replication.{name}", "payload": payload})["error"]
        assert error["code"] == "UNAVAILABLE"
        assert "restart" in error["message"]
    assert replica.call("kv.get", key="k1")["value"] == 1
    assert replica.call("kv.get", key="forged")["found"] is bool(good)


def test_one_whose_replication_has_stopped_for_good_can_be_promoted_and_starts_again(own: Field) -> None:
    impostor, replica = own.impostor, own.replica
    impostor.say = impostor.sends(lambda g: pack(Records(impostor.record(g.from_lsn, command="no.such"))))
    own.lead_astray()
    eventually(lambda: link_state(replica) == "failed")
    with wired(replica) as wire:
        wire.send(command(envelope("replication.promote", force=True)) + command(envelope("kv.set", key="n", value=1)))
        assert [wire.answer().status for _ in range(2)] == [200, 200]
    assert role(replica) == "master"
    found = digest(replica)
    replica.__exit__()
    with Inside(directory(replica)) as again:
        assert (role(again), again.call("kv.get", key="n")["value"]) == ("master", 1)
        assert digest(again)[1] >= found[1]


# Snapshots


class Offering:
    """An impostor whose journal begins later than the replica's ends: it has to be copied."""

    def __init__(self, field: Field, offer: dict[str, Any] | bytes, body: Callable[[], AsyncIterator[bytes]]) -> None:
        impostor = field.impostor

        async def say(socket: web.WebSocketResponse, greeting: Greeting) -> None:
            ahead = {"oldest_lsn": greeting.from_lsn + 5, "last_lsn": greeting.from_lsn + 10}
            await socket.send_bytes(pack(impostor.a_welcome(greeting, accepted=False, **ahead)))

        impostor.say = say
        impostor.snapshot = body
        impostor.offer = (
            offer if isinstance(offer, bytes) else impostor.an_offer(**{"lsn": impostor.last_lsn + 10, **offer})
        )


async def endless() -> AsyncIterator[bytes]:
    for _ in range(4_000):
        yield b"x" * 25_000


async def short() -> AsyncIterator[bytes]:
    yield b"x" * (MANY_BYTES // 2)


async def garbage() -> AsyncIterator[bytes]:
    yield b"x" * MANY_BYTES


OFFERS: dict[str, tuple[dict[str, Any] | bytes, Callable[[], AsyncIterator[bytes]], str]] = {
    "a bad name": ({"name": "../x"}, garbage, "matching regex"),
    "an absolute name": ({"name": "/etc/passwd"}, garbage, "matching regex"),
    "a name with a line": ({"name": "x\n"}, garbage, "matching regex"),
    "a long name": ({"name": "x" * 300}, garbage, "matching regex"),
    "a term with a line": ({"terms": [[1, "x\n", 1]]}, garbage, "matching regex"),
    "a bad term": ({"terms": [[1, "../x", 1]]}, garbage, "matching regex"),
    "a bad epoch": ({"epoch": 2**60}, garbage, ""),
    "no JSON": (b"{", garbage, ""),
    "too much JSON": (b" " * (2 * OFFER_BYTES_MAX) + b"{}", garbage, ""),
    "an endless one": ({"bytes": MANY_BYTES}, endless, f"another length than the {MANY_BYTES} bytes announced"),
    "a short one": ({"bytes": MANY_BYTES}, short, f"another length than the {MANY_BYTES} bytes announced"),
    "garbage": ({"bytes": MANY_BYTES}, garbage, ""),
    "fewer than none": ({"bytes": -1}, garbage, ""),
    "nothing, of no history": ({"lsn": 0, "name": "", "bytes": 0, "terms": []}, garbage, "newest snapshot ends with"),
    "less than is here": ({"lsn": 2}, garbage, "its newest snapshot ends with record 2"),
}


@pytest.mark.parametrize("kind", OFFERS)
def test_a_snapshot_that_is_none_is_not_taken(field: Field, kind: str) -> None:
    offer, body, why = OFFERS[kind]
    Offering(field, offer, body)
    field.lead_astray()
    reason = field.says()
    assert why in reason
    assert role(field.replica) == "replica"
    assert field.impostor.sent_bytes < 64 * 1024 * 1024
    left = [path for path in directory(field.replica).glob(f"*{INCOMING}") if path.stat().st_size > MANY_BYTES]
    assert left == []
    outside = [path.name for path in directory(field.replica).parent.iterdir()]
    assert sorted(outside) == ["master", "replica"]
    field.assert_unharmed()


def test_data_of_another_history_is_put_aside_and_not_lost(own: Field, tmp_path: Path) -> None:
    with Inside(tmp_path / "stranger") as stranger:
        stranger.call("kv.set", key="strange", value=1)
        own.replica.call("replication.follow", master=url(stranger))
        caught_up(own.replica, stranger)
        assert not own.replica.call("kv.get", key="k1")["found"]
        [name] = put_aside(own.replica)
    kept = directory(own.replica) / name
    assert b"k1" in b"".join(path.read_bytes() for path in kept.iterdir())


# Files that cannot be changed


def test_a_rebuild_that_fails_leaves_the_replica_serving_what_it_had(
    own: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise OSError(28, "No space left on device")

    impostor = own.impostor

    async def has_less(socket: web.WebSocketResponse, greeting: Greeting) -> None:
        terms = (*impostor.node.terms, Term(2, "x", 3))
        await socket.send_bytes(pack(impostor.a_welcome(greeting, accepted=False, epoch=2, terms=terms)))

    impostor.say = has_less
    with monkeypatch.context() as patched:
        patched.setattr(aside, "copy_behind", failing)
        own.lead_astray()
        within(PATIENCE_SECS, lambda: len(impostor.greetings) > 1, True)
        eventually(lambda: "No space left" in str(own.replica.server._replication.link.reason))
        eventually(lambda: get(own.replica, "/ready").status == 200)
        own.replica.call("replication.follow", master=url(own.master))
        eventually(lambda: link_state(own.replica) == "streaming")
    own.assert_unharmed()


def test_one_whose_rebuild_has_failed_can_be_promoted(own: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(aside, "wipe", failing)
    own.master.call("admin.snapshot")
    within(20, lambda: own.master.server._snapshots.last_at is not None, True)
    own.replica.call("replication.resync")
    eventually(lambda: "No space left" in str(own.replica.server._replication.link.reason))

    def promoted() -> bool:
        reply = own.replica.send({"command": "replication.promote", "payload": {"force": True}})
        return bool(reply["success"])

    eventually(promoted)
    own.replica.call("kv.set", key="on its own", value=1)
    assert own.replica.call("kv.get", key="k1")["value"] == 1
