"""A write is answered when as many replicas have it as its sender has asked for, and told so when they do not."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from synap.commands import packed
from synap.errors import AckTimeout
from synap.journal import REPLICAS_MAX
from tests.replication.follower import acked, following
from tests.replication.inside import caught_up, digest, link_state, replica_of, url
from tests.transport.blocking import PACKED
from tests.transport.sockets import Inside, connected, wired, within
from tests.transport.wire import Wire, command, envelope, eventually, request

SHORT_MS = 200
AT_LEAST_ONE = {"min_replicas_to_ack": 1, "ack_timeout_ms": 60_000}
HEADER = "X-Synap-Ack"


class Pair(NamedTuple):
    master: Inside
    replica: Inside


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A master and its one replica."""
    data = tmp_path_factory.mktemp("acks")
    with Inside(data / "master", replication={"ack_timeout_ms": 60_000}) as master:
        master.send({"command": "kv.set", "payload": {"key": "first", "value": 1}})
        with replica_of(master, data / "replica", replication={"ack_timeout_ms": SHORT_MS}) as replica:
            caught_up(replica, master)
            yield Pair(master, replica)


@pytest.fixture
def hasty(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """The same, and the master does not wait long."""
    monkeypatch.setattr(pair.master.server._committer, "_ack_timeout_secs", SHORT_MS / 1000)
    return pair


class Told(NamedTuple):
    """What a write was answered."""

    status: int
    ack: str | None
    lsn: int
    error: dict[str, Any] | None


Door = Callable[[Inside, str], Told]


def by_envelope(server: Inside, ack: str) -> Told:
    with wired(server) as wire:
        answer = wire.ask(command(json.dumps(write("e", ack)).encode()))
    return told(answer.status, answer.json)


def by_header(server: Inside, ack: str) -> Told:
    with wired(server) as wire:
        answer = wire.ask(command(envelope("kv.set", key="h", value=1), [(HEADER, ack)]))
    return told(answer.status, answer.json)


def in_messagepack(server: Inside, ack: str) -> Told:
    with wired(server) as wire:
        answer = wire.ask(command(packed.from_json(json.dumps(write("p", ack)).encode()), [PACKED]))
    return told(answer.status, msgspec.msgpack.decode(answer.body))


def over_rest(server: Inside, ack: str) -> Told:
    with wired(server) as wire:
        answer = wire.ask(request("POST", "/kv/set", b'{"key":"r","value":1}', [(HEADER, ack)]))
    error = None if answer.status == 200 else answer.error
    return Told(answer.status, answer.header(HEADER), int(answer.header("X-Synap-LSN") or 0), error)


def on_a_socket(server: Inside, ack: str, *, is_packed: bool = False) -> Told:
    with connected(server, is_packed=is_packed) as socket:
        socket.send({**write("s", ack), "request_id": "r"})
        reply = socket.reply("r")
    return told(200 if reply["success"] else 0, reply)


def on_a_packed_socket(server: Inside, ack: str) -> Told:
    return on_a_socket(server, ack, is_packed=True)


def for_a_batch(server: Inside, ack: str) -> Told:
    with wired(server) as wire:
        answer = wire.ask(command(json.dumps({"type": "batch", "commands": [write("b")], "ack": ack}).encode()))
    return told(answer.status, answer.json)


def for_an_atomic_batch(server: Inside, ack: str) -> Told:
    body = {"type": "batch", "atomic": True, "commands": [write("b"), write("c")], "ack": ack}
    with wired(server) as wire:
        answer = wire.ask(command(json.dumps(body).encode()))
    return told(answer.status, answer.json)


def write(key: str, ack: str | None = None) -> dict[str, Any]:
    return {"command": "kv.set", "payload": {"key": key, "value": 1}, **({} if ack is None else {"ack": ack})}


def told(status: int, reply: Any) -> Told:
    return Told(status, reply.get("ack"), reply.get("lsn", 0), reply.get("error"))


DOORS: tuple[Door, ...] = (
    by_envelope,
    by_header,
    in_messagepack,
    over_rest,
    on_a_socket,
    on_a_packed_socket,
    for_a_batch,
    for_an_atomic_batch,
)
every_door = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)


# In time


@every_door
@pytest.mark.parametrize("ack", ["replicated", "replicated:1"])
def test_who_asks_for_a_replica_is_answered_when_its_journal_has_the_write(pair: Pair, door: Door, ack: str) -> None:
    answered = door(pair.master, ack)
    assert (answered.error, answered.ack) == (None, "replicated:1")
    assert answered.lsn == pair.master.server._state.lsn
    assert pair.replica.server._journal.written_lsn >= answered.lsn
    assert acked(pair.master) >= [answered.lsn]


def test_in_a_batch_the_strongest_wish_is_that_of_all(pair: Pair) -> None:
    commands = [write("a", "written"), write("b", "replicated:1"), write("c", "synced")]
    reply = pair.master.send({"type": "batch", "commands": commands})
    assert reply["ack"] == "replicated:1"
    assert acked(pair.master) >= [reply["lsn"]]


@every_door
@pytest.mark.parametrize("ack", ["replicated:0", f"replicated:{REPLICAS_MAX + 1}", "replicated:x", "replicated:01"])
def test_a_number_of_replicas_out_of_range_is_told_and_nothing_is_written(pair: Pair, door: Door, ack: str) -> None:
    before = digest(pair.master)
    answered = door(pair.master, ack)
    assert answered.error is not None
    assert answered.error["code"] == "INVALID_REQUEST"
    assert f"from 1 to {REPLICAS_MAX}" in answered.error["message"]
    assert digest(pair.master) == before


def test_an_ack_changes_nothing_about_what_a_replica_answers(pair: Pair) -> None:
    assert by_envelope(pair.replica, "replicated:16").error["code"] == "READ_ONLY"  # type: ignore[index]
    read = {"command": "kv.get", "payload": {"key": "first"}, "ack": "replicated:16"}
    assert pair.replica.send(read)["payload"]["value"] == 1


def test_a_replica_that_comes_in_time_frees_who_waits(tmp_path: Path) -> None:
    with Inside(tmp_path / "m", replication={"ack_timeout_ms": 60_000}) as master, wired(master) as wire:
        wire.send(command(json.dumps(write("a", "replicated")).encode()))
        eventually(lambda: master.run(lambda: bool(master.server._committer._replica_waiters)))
        with replica_of(master, tmp_path / "r"):
            answer = wire.answer()
            assert (answer.status, answer.json["ack"]) == (200, "replicated:1")


# Not in time


@every_door
def test_a_write_that_too_few_replicas_have_is_told_so_and_is_on_the_master(hasty: Pair, door: Door) -> None:
    before = hasty.master.server._state.lsn
    answered = door(hasty.master, "replicated:2")
    assert answered.status in (AckTimeout.status, 0)
    assert answered.error is not None
    assert answered.error["code"] == "ACK_TIMEOUT"
    assert answered.error["details"] == {"lsn": before + 1, "wanted": 2, "confirmed": 1}
    assert hasty.master.server._state.lsn == before + 1
    caught_up(hasty.replica, hasty.master)
    assert digest(hasty.replica) == digest(hasty.master)


def test_who_waits_in_vain_holds_up_nobody_else_and_all_answers_leave_in_order(hasty: Pair) -> None:
    with wired(hasty.master) as wire, wired(hasty.master) as other:
        wire.send(
            command(json.dumps(write("a", "replicated:2")).encode())
            + command(envelope("kv.get", key="a"))
            + command(envelope("kv.set", key="c", value=2))
            + request("GET", "/kv/get/c")
        )
        assert other.ask(command(envelope("kv.set", key="d", value=3))).status == 200
        assert [wire.answer().status for _ in range(4)] == [504, 200, 200, 200]


def test_a_read_that_has_seen_what_replicas_lack_is_answered_all_the_same(hasty: Pair) -> None:
    hasty.master.send(write("seen"))
    read = {"command": "kv.get", "payload": {"key": "seen"}, "ack": "replicated:2"}
    assert hasty.master.send(read)["payload"]["value"] == 1


def test_a_write_that_was_told_to_be_too_late_is_remembered_with_its_result(hasty: Pair) -> None:
    again = {"command": "kv.incr", "payload": {"key": "counted"}, "idempotency_key": "k"}
    assert hasty.master.send({**again, "ack": "replicated:2"})["error"]["code"] == "ACK_TIMEOUT"
    assert hasty.master.send({**again, "ack": "replicated:1"})["payload"]["value"] == 1
    assert hasty.master.call("kv.get", key="counted")["value"] == 1


# Whose confirmations count


def test_two_connections_of_one_replica_count_once(tmp_path: Path) -> None:
    with Inside(tmp_path / "m", replication={"ack_timeout_ms": SHORT_MS}) as master, ExitStack() as stack:
        first = stack.enter_context(following(master, "one"))
        again = stack.enter_context(following(master, "one"))
        wire = stack.enter_context(wired(master))
        lsn = begun(master, wire, "replicated:2")
        for follower in (first, again):
            follower.confirm(lsn)
        answer = wire.answer()
        assert answer.error["details"] == {"lsn": lsn, "wanted": 2, "confirmed": 1}
        assert first.socket.closed() is not None
        another = stack.enter_context(following(master, "two"))
        lsn = begun(master, wire, "replicated:2")
        again.confirm(lsn)
        another.confirm(lsn)
        assert wire.answer().json["ack"] == "replicated:2"


def begun(master: Inside, wire: Wire, ack: str) -> int:
    """Have something written; returns its LSN, and does not wait for the answer."""
    lsn: int = master.server._state.lsn + 1
    wire.send(command(json.dumps(write("x", ack)).encode()))
    eventually(lambda: master.server._journal.written_lsn == lsn)
    return lsn


def test_a_replica_cannot_confirm_what_is_not_written_yet(tmp_path: Path) -> None:
    with Inside(tmp_path / "m", replication={"ack_timeout_ms": SHORT_MS}) as master, following(master) as follower:
        lsn = by_envelope(master, "written").lsn
        follower.confirm(2**62)
        within(5, lambda: acked(master), [lsn])
        answered = by_envelope(master, "replicated")
        assert answered.error is not None
        assert answered.error["code"] == "ACK_TIMEOUT"


def test_a_replica_confirms_only_what_its_journal_has(hasty: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    caught_up(hasty.replica, hasty.master)
    lsn, fd, real = hasty.master.server._journal.last_lsn, hasty.replica.server._journal._fd, os.write

    def refusing(to: int, data: bytes) -> int:
        if to == fd:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(to, data)

    monkeypatch.setattr(os, "write", refusing)
    answered = by_envelope(hasty.master, "replicated")
    assert answered.error is not None
    assert answered.error["details"]["confirmed"] == 0
    assert acked(hasty.master) == [lsn]
    assert hasty.replica.call("admin.health")["components"]["journal"] == "refusing writes"
    monkeypatch.setattr(os, "write", real)
    caught_up(hasty.replica, hasty.master)
    assert link_state(hasty.replica) == "streaming"
    assert by_envelope(hasty.master, "replicated").error is None


# Where a number of replicas is set


def test_every_write_waits_for_as_many_replicas_as_are_set_unless_it_says_otherwise(tmp_path: Path) -> None:
    with Inside(tmp_path / "m", replication={**AT_LEAST_ONE, "ack_timeout_ms": SHORT_MS}) as master:
        late = master.send({"command": "kv.set", "payload": {"key": "a", "value": 1}})
        assert late["error"]["code"] == "ACK_TIMEOUT"
        assert by_envelope(master, "written").ack == "written"
        assert by_envelope(master, "synced").ack == "synced"
        assert master.call("kv.get", key="a")["value"] == 1
        with replica_of(master, tmp_path / "r") as replica:
            caught_up(replica, master)
            assert master.send({"command": "kv.set", "payload": {"key": "a", "value": 1}})["ack"] == "replicated:1"


def test_what_is_pushed_is_held_until_as_many_replicas_have_it(tmp_path: Path) -> None:
    with Inside(tmp_path / "m", replication=AT_LEAST_ONE) as master, connected(master) as socket:
        for name, payload in (("stream.create", {"room": "r"}), ("queue.create", {"queue": "q"})):
            assert master.send({"command": name, "payload": payload, "ack": "written"})["success"]
        for name, payload in (("stream.subscribe", {"room": "r"}), ("queue.subscribe", {"queue": "q"})):
            socket.send({"command": name, "payload": payload, "request_id": name, "ack": "written"})
            assert socket.reply(name)["success"]
        event = {"command": "stream.publish", "payload": {"room": "r", "event_type": "e", "data": 1}}
        for entry in (event, {"command": "queue.publish", "payload": {"queue": "q", "message": 2}}):
            assert master.send({**entry, "ack": "written"})["success"]
        socket.quiet()
        with replica_of(master, tmp_path / "r"):
            assert {push["type"] for push in socket.pushes(2)} == {"event", "message"}


def test_who_waits_for_replicas_is_answered_at_once_when_the_master_steps_down(tmp_path: Path) -> None:
    with Inside(tmp_path / "m", replication=AT_LEAST_ONE) as master, wired(master) as wire, connected(master) as socket:
        wire.send(command(json.dumps(write("a")).encode()))
        socket.send({**write("b"), "request_id": "r"})
        eventually(lambda: master.run(lambda: len(master.server._committer._replica_waiters)) == 2)
        assert master.call("replication.follow", master="http://127.0.0.1:9")["role"] == "replica"
        answer = wire.answer()
        assert (answer.status, answer.error["code"]) == (504, "ACK_TIMEOUT")
        assert socket.reply("r")["error"]["code"] == "ACK_TIMEOUT"


def test_a_replica_that_is_promoted_waits_for_replicas_of_its_own(tmp_path: Path) -> None:
    with Inside(tmp_path / "m") as master:
        replication = {"min_replicas_to_ack": 1, "ack_timeout_ms": SHORT_MS}
        with replica_of(master, tmp_path / "r", replication=replication) as replica:
            master.call("kv.set", key="a", value=1)
            caught_up(replica, master)
            assert replica.call("kv.get", key="a")["value"] == 1
            replica.call("replication.promote", force=True)
            eventually(lambda: master.server._replication.node.role == "replica")
            within(10, lambda: replica.send(write("b")).get("ack"), "replicated:1")
            assert master.server._replication.node.upstream == url(replica)
