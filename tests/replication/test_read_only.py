"""Every command on a replica: what changes something is refused and changes nothing, all else is as on its master."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from synap.commands import TABLE
from synap.commands.table import Command, Route
from synap.errors import CredentialExpired, IdempotencyConflict, ReadOnly, Unauthorized
from tests.access.helpers import ROOT, ROOT_PASSWORD, Guarded, bearer
from tests.access.test_every_door import Came, Door, entrance, in_a_batch, in_an_atomic_batch
from tests.payloads.improviser import Improviser
from tests.payloads.samples import samples
from tests.payloads.strategies import drawn, payloads
from tests.replication.inside import caught_up, digest, replica_of, role, url
from tests.transport.sockets import Inside, connected, wired, within
from tests.transport.wire import Wire, command

SECRET = "hush"
SEED = 20_261_121
FILLED_WITH, READ, PAYLOADS = 1_200, 800, 6
ALIVE = ("admin", "replication", "pubsub")
"""Namespaces that tell of a server, not of data."""
ITS_OWN = ("key.randomkey", "set.randmember", "auth.login", "memory.usage")
TURNING = ("replication.promote", "replication.follow", "replication.resync", "admin.shutdown", "admin.snapshot")
REFUSED = [c for c in TABLE.public() if c.writes or (c.has_effect and not c.admin)]
READERS = [c for c in TABLE.public() if c not in REFUSED and c.name not in TURNING and not c.attaches]


class Pair(NamedTuple):
    master: Guarded
    replica: Guarded


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A master full of everything, whose clock stands still, and its replica."""
    data, limits = tmp_path_factory.mktemp("read-only"), {"max_wait_secs": 0.1}
    replication = {"secret": SECRET}
    with Guarded(data / "master", replication=replication, limits=limits) as master:
        at = time.time_ns()
        master.server._clock._source = lambda: at
        master.credentials.on_use = lambda kind, name: None  # who reads must not bring a record
        improviser, rng = Improviser(payloads_for([c for c in REFUSED if c.namespace != "auth"])), random.Random(SEED)
        entries = [improviser.next(rng) for _ in range(FILLED_WITH)]
        with wired(master) as wire:
            for first in range(0, FILLED_WITH, 200):
                body = orjson.dumps({"type": "batch", "commands": entries[first : first + 200]})
                assert wire.ask(command(body, [ROOT])).status == 200
        master.key("kv.*")
        followed = {**replication, "master": url(master)}
        with Guarded(data / "replica", replication=followed, limits=limits) as replica:
            caught_up(replica, master)
            yield Pair(master, replica)


def payloads_for(commands: list[Command]) -> dict[str, list[Any]]:
    """A few for each command."""
    return {of.name: drawn(payloads(of), PAYLOADS, SEED) for of in commands}


def state(pair: Pair) -> Any:
    """What must not change: digests, and where journals end."""
    return [(digest(node), node.server._journal.last_lsn) for node in pair]


def assert_refused(pair: Pair, of: Command, where: Door | Route | None, came: Came) -> None:
    error = came.error
    assert error is not None, (of.name, where)
    if where in (in_a_batch, in_an_atomic_batch) and (of.attaches or of.is_secret):
        assert error["code"] in ("NEEDS_WEBSOCKET", "INVALID_REQUEST"), (of.name, where)
    elif of.is_secret and error["code"] == "INVALID_REQUEST":
        assert "idempotency" in error["message"]
    else:
        assert error["code"] == "READ_ONLY", (of.name, where, error)
        assert error["details"] == {"master": url(pair.master)}
        assert url(pair.master) in error["message"]
        assert came.answer is None or came.answer.status in (503, 200)


def test_whatever_writes_publishes_or_takes_messages_is_refused_through_every_door(pair: Pair) -> None:
    before = state(pair)
    with entrance(pair.replica) as doors:
        for of in REFUSED:
            for where, came in doors.all(of, ROOT, payloads=samples(of)[:3]):
                assert_refused(pair, of, where, came)
        assert doors.routes == {route for of in REFUSED for route in of.routes}
    assert state(pair) == before


@pytest.mark.parametrize("is_packed", [False, True])
def test_it_is_refused_on_a_socket_and_nothing_comes_of_it(pair: Pair, is_packed: bool) -> None:
    before = state(pair)
    token = pair.replica.admin("auth.login", username="root", password=ROOT_PASSWORD)["token"]
    with connected(pair.replica, is_packed=is_packed, path=f"/api/v1/ws?token={token}") as socket:
        for of in REFUSED:
            socket.send(
                json.loads(orjson.dumps({"command": of.name, "payload": samples(of)[0], "request_id": of.name}))
            )
            reply = socket.reply(of.name)
            assert_refused(pair, of, None, Came(None, None if reply["success"] else reply["error"]))
        socket.quiet()
    assert state(pair) == before


def test_readers_answer_as_they_do_on_the_master(pair: Pair) -> None:
    before = state(pair)
    readers = [c for c in READERS if c.namespace not in ALIVE and c.name not in ITS_OWN]
    known = payloads_for(readers)
    rng = random.Random(SEED)
    told = 0
    with wired(pair.master) as there, wired(pair.replica) as here:
        for number in range(READ):
            of = readers[number % len(readers)]
            payload = rng.choice(known[of.name])
            asked = {"command": of.name, "payload": payload, "request_id": "r"}
            theirs, ours = (asks(wire, asked) for wire in (there, here))
            for reply in (theirs, ours):
                for its_own in ("operations", "hits", "misses", "memory_bytes"):  # what it was asked, and has allocated
                    reply.get("payload", {}).pop(its_own, None)
            assert ours == theirs, asked
            told += ours["success"]
    assert told > READ / 2
    assert state(pair) == before


def asks(wire: Wire, entry: dict[str, Any]) -> Any:
    """The reply to root."""
    return wire.ask(command(orjson.dumps(entry), [ROOT])).json


def test_reads_with_idempotency_keys_and_in_atomic_batches_bring_no_record(pair: Pair) -> None:
    before = state(pair)
    read = {"command": "kv.dbsize", "payload": {}}
    with wired(pair.replica) as wire:
        assert asks(wire, {**read, "idempotency_key": "read"})["success"]
        batch = {"type": "batch", "commands": [read, {**read, "idempotency_key": "read"}]}
        for atomic in (False, True):
            results = asks(wire, {**batch, "atomic": atomic})["results"]
            assert [result["status"] for result in results] == ["success", "success"]
        assert asks(wire, {**batch, "idempotency_key": "b"})["error"]["code"] == "READ_ONLY"
    assert state(pair) == before


def test_what_a_batch_reads_is_answered_beside_what_it_may_not_write(pair: Pair) -> None:
    before = state(pair)
    commands = [
        {"command": "kv.set", "payload": {"key": "a", "value": 1}},
        {"command": "kv.get", "payload": {"key": "a"}},
        {"command": "pubsub.publish", "payload": {"topic": "t", "message": 1}},
        {"command": "list.blpop", "payload": {"keys": ["a list that is not there"], "timeout": 0}},
    ]
    with wired(pair.replica) as wire:
        for atomic in (False, True):
            results = asks(wire, {"type": "batch", "commands": commands, "atomic": atomic})["results"]
            codes = [result.get("error", {}).get("code") for result in results]
            assert codes == ["READ_ONLY", None, "READ_ONLY", "READ_ONLY"]
    assert state(pair) == before


@pytest.mark.parametrize("name", TURNING[:3])
@pytest.mark.parametrize("atomic", [False, True])
def test_what_changes_the_role_stands_in_no_batch(pair: Pair, name: str, atomic: bool) -> None:
    before = state(pair)
    payload = {"replication.promote": {"force": True}, "replication.follow": {"master": "http://127.0.0.1:9"}}.get(name)
    commands = [{"command": name, "payload": payload or {}}, {"command": "kv.set", "payload": {"key": "x", "value": 1}}]
    for node, then in ((pair.replica, "READ_ONLY"), (pair.master, None)):
        with wired(node) as wire:
            results = asks(wire, {"type": "batch", "commands": commands[: 1 if then is None else 2], "atomic": atomic})
        codes = [result["error"]["code"] for result in results["results"]]
        assert codes == ["INVALID_REQUEST", *([then] if then else [])]
    assert [role(node) for node in pair] == ["master", "replica"]
    assert state(pair) == before


# What was answered once


def test_a_remembered_reply_is_given_on_a_replica_and_when_that_is_promoted(tmp_path: Path) -> None:
    single = {"command": "kv.incr", "payload": {"key": "n"}, "idempotency_key": "k", "request_id": "r"}
    entries = [{"command": "kv.incr", "payload": {"key": "m"}}, {"command": "kv.get", "payload": {"key": "m"}}]
    batch = {"type": "batch", "commands": entries, "idempotency_key": "b", "request_id": "r"}
    with Inside(tmp_path / "master") as master, replica_of(master, tmp_path / "replica") as replica:
        first, results = master.send(single)["payload"], master.send(batch)["results"]
        caught_up(replica, master)
        before = digest(replica)
        assert replica.send(single)["payload"] == first
        assert replica.send(batch)["results"] == results
        assert replica.send({**single, "idempotency_key": "new"})["error"]["code"] == ReadOnly.code
        other = {**single, "payload": {"key": "n", "amount": 2}}
        assert replica.send(other)["error"]["code"] == IdempotencyConflict.code
        assert digest(replica) == before
        replica.call("replication.promote", force=True)
        assert replica.send(single)["payload"] == first
        assert replica.send(batch)["results"] == results
        assert (replica.call("kv.get", key="n")["value"], replica.call("kv.get", key="m")["value"]) == (1, 1)


# Credentials


def test_credentials_made_on_the_master_are_good_on_a_replica_and_their_use_is_not_journalled(pair: Pair) -> None:
    master, replica = pair
    key = master.key("kv.get:a*")
    master.admin("auth.create_role", role="looks", permissions=["kv.get"])
    master.admin("auth.create_user", username="reader", password="a good password", roles=["looks"])
    caught_up(replica, master)
    before = state(pair)
    assert replica.code(key.header, "kv.get", key="a1") is None
    assert replica.code(key.header, "kv.get", key="b1") == "FORBIDDEN"
    assert replica.code(key.header, "kv.set", key="a1", value=1) == "FORBIDDEN"
    assert replica.code(None, "kv.get", key="a1") == "UNAUTHORIZED"
    token = replica.admin("auth.login", username="reader", password="a good password")["token"]
    assert replica.code(bearer(token), "kv.get", key="a1") is None
    assert replica.code(None, "auth.login", username="reader", password="a bad password") == "UNAUTHORIZED"
    assert state(pair) == before
    master.admin("auth.revoke_key", id=key.id)
    caught_up(replica, master)
    assert replica.code(key.header, "kv.get", key="a1") == "UNAUTHORIZED"


def test_a_connection_whose_key_the_master_revokes_is_ended_on_the_replica(pair: Pair) -> None:
    key = pair.master.key("kv.*")
    caught_up(pair.replica, pair.master)
    with connected(pair.replica, path=f"/api/v1/ws?token={key.secret}") as socket:
        assert not socket.call("kv.get", key="none")["found"]
        pair.master.admin("auth.revoke_key", id=key.id)
        assert socket.closed() is not None


def ahead(server: Inside, seconds: float) -> None:
    """Set a server's clock ahead."""

    def move() -> None:
        server.server._clock._source = lambda: time.time_ns() + int(seconds * 1e9)

    server.run(move)


def test_credentials_expire_by_a_replicas_own_clock_and_data_does_not(tmp_path: Path) -> None:
    with Guarded(tmp_path / "master", replication={"secret": SECRET}) as master:
        followed = {"secret": SECRET, "master": url(master)}
        with Guarded(tmp_path / "replica", replication=followed) as replica:
            key = master.key("*", expires_at=int(time.time() * 1000) + 1_000_000)
            master.admin("kv.set", key="brief", value=1, ttl=1_000)
            caught_up(replica, master)
            token = replica.admin("auth.login", username="root", password=ROOT_PASSWORD)["token"]
            assert replica.code(key.header, "kv.get", key="brief") is None
            assert replica.code(bearer(token), "kv.get", key="brief") is None
            before = digest(replica)
            ahead(replica, 1_000_000.0)
            for expired in (key.header, bearer(token)):
                assert replica.code(expired, "kv.get", key="brief") == CredentialExpired.code == Unauthorized.code
            assert replica.admin("kv.get", key="brief")["found"]
            replica.run(lambda: replica.server._dispatcher.tick(1_000))
            assert digest(replica) == before
            replica.admin("replication.promote", force=True)
            within(5, lambda: replica.admin("kv.get", key="brief")["found"], False)


def test_rate_limits_hold_on_a_replica(tmp_path: Path) -> None:
    limit = {"enabled": True, "requests_per_second": 0.001, "burst": 3}
    with Inside(tmp_path / "master") as master, replica_of(master, tmp_path / "r", rate_limit=limit) as replica:
        statuses = []
        with wired(replica) as wire:
            for _ in range(5):
                statuses.append(wire.ask(command(b'{"command":"kv.dbsize"}')).status)
        assert statuses == [200, 200, 200, 429, 429]
