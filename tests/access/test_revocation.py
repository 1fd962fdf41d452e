"""A credential that is good no more: refused from the next command on, and what it has open ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import jwt
import orjson
import pytest
from websockets.exceptions import InvalidStatus

from synap.commands.waiting import WouldBlock
from synap.journal import snapshot
from tests.access.helpers import ROOT, Guarded, GuardedHarness, Header, basic, bearer
from tests.transport.sockets import Socket, connected, listening, wired, within
from tests.transport.wire import command, envelope, request

SECRET = "a secret of at least thirty-two bytes"
SOON_SECS = 3.0
POLICY_VIOLATION = 1008
SOCKET = "/api/v1/ws"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with Guarded(tmp_path_factory.mktemp("revocation") / "data", auth={"jwt_secret": SECRET}) as running:
        yield running


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name for users, keys, queues and rooms that no other test uses."""
    return "".join(c if c.isalnum() else "-" for c in str(request.node.name))[-60:]


class Pass(NamedTuple):
    """A credential that can be sent as a bearer token, and what makes it void."""

    token: str
    revoke: Callable[[], Any]

    @property
    def header(self) -> Header:
        return bearer(self.token)


def logged_in(server: Guarded, name: str, *roles: str) -> str:
    server.admin("auth.create_user", username=name, password="p", roles=roles or ["writer"])
    token = server.ask(None, "auth.login", username=name, password="p").payload["token"]
    assert isinstance(token, str)
    return token


def revoked_key(server: Guarded, name: str) -> Pass:
    key = server.key("*")
    return Pass(key.secret, lambda: server.admin("auth.revoke_key", id=key.id))


def disabled_user(server: Guarded, name: str) -> Pass:
    return Pass(logged_in(server, name), lambda: server.admin("auth.disable_user", username=name))


def deleted_user(server: Guarded, name: str) -> Pass:
    return Pass(logged_in(server, name), lambda: server.admin("auth.delete_user", username=name))


def changed_password(server: Guarded, name: str) -> Pass:
    return Pass(logged_in(server, name), lambda: server.admin("auth.set_password", username=name, password="q"))


def expired_key(server: Guarded, name: str) -> Pass:
    key = server.key("*", expires_at=server.run(server.server._clock.now) + 1_000)
    return Pass(key.secret, lambda: _wait_until_refused(server, bearer(key.secret)))


def expired_token(server: Guarded, name: str) -> Pass:
    token = jwt.encode({"sub": name, "exp": int(time.time()) + 2, "permissions": ["*"]}, SECRET)
    return Pass(token, lambda: _wait_until_refused(server, bearer(token)))


def taken_role(server: Guarded, name: str) -> Pass:
    return Pass(logged_in(server, name), lambda: server.admin("auth.revoke_role", username=name, role="writer"))


def deleted_role(server: Guarded, name: str) -> Pass:
    server.admin("auth.create_role", role=name, permissions=["*"])
    return Pass(server.key(roles=[name]).secret, lambda: server.admin("auth.delete_role", role=name))


def _wait_until_refused(server: Guarded, header: Header) -> None:
    within(SOON_SECS, lambda: server.code(header, "auth.me") == "UNAUTHORIZED", True)


VOID = [revoked_key, disabled_user, deleted_user, changed_password, expired_key, expired_token]
POWERLESS = [taken_role, deleted_role]
every_way = pytest.mark.parametrize("way", [*VOID, *POWERLESS], ids=lambda way: way.__name__)


def subscribe(socket: Socket, name: str) -> None:
    """Subscribe to a queue with one message, a room and topics; the message is leased then."""
    socket.call("queue.publish", queue=name, message="leased")
    socket.call("queue.subscribe", queue=name, prefetch=2)
    socket.call("stream.subscribe", room=name, create=True)
    socket.call("pubsub.subscribe", topics=[name, "news.*"])
    assert socket.push()["message"] == "leased"


def tell(server: Guarded, name: str) -> None:
    """Publish where `subscribe` is subscribed."""
    server.admin("queue.publish", queue=name, message="too late")
    server.admin("stream.publish", room=name, event_type="too late", data=1)
    server.admin("pubsub.publish", topic=name, message="too late")
    server.admin("pubsub.publish", topic="news.all", message="too late")


def rest_of(socket: Socket) -> tuple[int | None, list[Any]]:
    """With which code the connection is closed, and the messages that came before."""
    told = []
    with suppress(EOFError, ConnectionError):
        while True:
            told.append(socket.message())
    close = socket.closed()
    return None if close is None else close.code, [message for message in told if message["type"] != "response"]


@every_way
def test_an_open_connection_is_closed_and_told_nothing_more(
    server: Guarded, name: str, way: Callable[[Guarded, str], Pass]
) -> None:
    held = way(server, name)
    with connected(server, path=f"{SOCKET}?token={held.token}") as socket:
        subscribe(socket, name)
        begun = time.monotonic()
        held.revoke()
        if way not in (expired_key, expired_token):  # that time has passed is noticed within a second
            tell(server, name)
        code, told = rest_of(socket)
        assert time.monotonic() - begun < 2 * SOON_SECS
        assert (code, told) == (POLICY_VIOLATION, [])
    assert server.admin("queue.stats", queue=name)["in_flight"] == 0
    assert server.admin("queue.consume", queue=name)["message"] == "leased"
    if way in VOID:
        with pytest.raises(InvalidStatus), connected(server, path=f"{SOCKET}?token={held.token}"):
            pass


@every_way
def test_the_next_command_is_refused_on_every_connection(
    server: Guarded, name: str, way: Callable[[Guarded, str], Pass]
) -> None:
    held = way(server, name)
    expected = "UNAUTHORIZED" if way in VOID else "FORBIDDEN"
    asked = command(envelope("kv.dbsize"), [held.header])
    with wired(server) as lane, wired(server) as handed_over:
        handed_over.ask(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        for wire in (lane, handed_over):
            assert wire.ask(asked).status == 200
        held.revoke()
        for wire in (lane, handed_over):
            assert wire.ask(asked).error["code"] == expected


@every_way
def test_server_sent_events_end(server: Guarded, name: str, way: Callable[[Guarded, str], Pass]) -> None:
    held = way(server, name)
    server.admin("stream.publish", room=name, event_type="t", data=1)
    with (
        listening(server, f"/pubsub/events?topics={name}&token={held.token}") as topics,
        listening(server, f"/stream/{name}/events?token={held.token}") as room,
    ):
        for source in (topics, room):
            source.first_id()
        held.revoke()
        if way not in (expired_key, expired_token):
            tell(server, name)
        for source in (topics, room):
            with pytest.raises(EOFError):
                source.event()


@every_way
@pytest.mark.parametrize("is_rest", [False, True])
def test_whoever_waits_is_refused_and_takes_nothing(
    server: Guarded, name: str, way: Callable[[Guarded, str], Pass], is_rest: bool
) -> None:
    held = way(server, name)
    payload = {"keys": [name], "timeout": 60}
    with wired(server) as wire:
        if is_rest:
            wire.send(request("POST", "/list/blpop", orjson.dumps(payload), [held.header]))
        else:
            wire.send(command(envelope("list.blpop", **payload), [held.header]))
        within(SOON_SECS, lambda: server.run(lambda: len(server.server._state.line)), 1)
        held.revoke()
        server.admin("list.rpush", key=name, value=1)
        answer = wire.answer()
    assert (answer.status, answer.error["code"]) in ((401, "UNAUTHORIZED"), (403, "FORBIDDEN"))
    assert (answer.status == 401) is (way in VOID)
    assert server.admin("list.range", key=name)["values"] == [1]


def test_what_is_told_in_the_very_tick_of_the_revocation_is_not_told_to_the_revoked(server: Guarded, name: str) -> None:
    key = server.key("*")
    entries = [
        {"command": "auth.revoke_key", "payload": {"id": key.id}},
        {"command": "queue.publish", "payload": {"queue": name, "message": "too late"}},
        {"command": "stream.publish", "payload": {"room": name, "event_type": "too late", "data": 1}},
        {"command": "pubsub.publish", "payload": {"topic": name, "message": "too late"}},
    ]
    with (
        connected(server, path=f"{SOCKET}?token={key.secret}") as socket,
        listening(server, f"/pubsub/events?topics={name}&token={key.secret}") as source,
        wired(server) as wire,
    ):
        source.first_id()
        subscribe(socket, name)
        wire.send(b"".join(command(orjson.dumps(entry), [ROOT]) for entry in entries))
        assert [wire.answer().status for _ in entries] == [200] * len(entries)
        assert rest_of(socket) == (POLICY_VIOLATION, [])
        with pytest.raises(EOFError):
            source.event()


def test_a_connection_stays_while_all_it_is_subscribed_to_is_allowed(server: Guarded, name: str) -> None:
    role = ["queue.*", "stream.*:n*", f"stream.*:{name}", "pubsub.*", "kv.get"]
    server.admin("auth.create_role", role=name, permissions=role)
    with connected(server, path=f"{SOCKET}?token={server.key(roles=[name]).secret}") as socket:
        subscribe(socket, name)
        narrower = [f"queue.subscribe:{name}", f"stream.subscribe:{name}", f"pubsub.subscribe:{name}"]
        server.admin("auth.create_role", role=name, permissions=[*narrower, "pubsub.subscribe:news.*"], replace=True)
        tell(server, name)
        assert len(socket.pushes(4)) == 4
        assert socket.reply(socket.begin("kv.get", key="a"))["error"]["code"] == "FORBIDDEN"
        server.admin("auth.create_role", role=name, permissions=narrower, replace=True)
        tell(server, name)
        assert rest_of(socket) == (POLICY_VIOLATION, [])


@pytest.mark.parametrize("kind", ["queue", "stream", "pubsub"])
def test_a_connection_ends_with_the_permission_for_any_of_its_subscriptions(
    server: Guarded, name: str, kind: str
) -> None:
    subscriptions = [f"{k}.subscribe" for k in ("queue", "stream", "pubsub")]
    server.admin("auth.create_role", role=name, permissions=[*subscriptions, "queue.publish"])
    with connected(server, path=f"{SOCKET}?token={server.key(roles=[name]).secret}") as socket:
        subscribe(socket, name)
        left = [s for s in subscriptions if not s.startswith(kind)]
        server.admin("auth.create_role", role=name, permissions=left, replace=True)
        assert rest_of(socket) == (POLICY_VIOLATION, [])


# In the dispatcher


def test_a_command_right_behind_the_revocation_is_refused() -> None:
    harness = GuardedHarness()
    key = harness.key("*")
    who = harness.caller(key)
    assert harness.code(who, "kv.dbsize") is None
    assert harness.code(who, "auth.revoke_key", id=key.id) is None
    assert harness.code(who, "kv.dbsize") == "UNAUTHORIZED"


def test_a_key_is_good_until_the_millisecond_in_which_it_expires() -> None:
    harness = GuardedHarness()
    who = harness.caller(harness.key("*", expires_at=harness.clock.now() + 1_000))
    harness.clock.advance(0.999)
    assert harness.code(who, "kv.dbsize") is None
    harness.clock.advance(0.001)
    assert harness.code(who, "kv.dbsize") == "UNAUTHORIZED"


def test_a_user_who_is_enabled_again_is_let_in_again(server: Guarded, name: str) -> None:
    token = logged_in(server, name)
    for way, code in (("auth.disable_user", "UNAUTHORIZED"), ("auth.enable_user", None)):
        server.admin(way, username=name)
        assert server.code(bearer(token), "kv.dbsize") == code


def test_a_token_is_not_good_for_a_user_made_anew(server: Guarded, name: str) -> None:
    token = logged_in(server, name)
    server.admin("auth.delete_user", username=name)
    server.admin("auth.create_user", username=name, password="p", roles=["admin"])
    assert server.code(bearer(token), "auth.me") == "UNAUTHORIZED"


def test_a_role_made_anew_gives_nothing_to_those_who_had_the_old_one() -> None:
    harness = GuardedHarness()
    harness.call("auth.create_role", role="r", permissions=["kv.*"])
    who = harness.caller(harness.key(roles=["r"]))
    harness.call("auth.delete_role", role="r")
    harness.call("auth.create_role", role="r", permissions=["*"])
    assert harness.code(who, "kv.dbsize") == "FORBIDDEN"


def test_a_remembered_reply_is_not_told_to_whoever_may_not_ask_any_more() -> None:
    harness = GuardedHarness()
    harness.call("kv.set", key="a", value="secret")
    harness.call("auth.create_role", role="r", permissions=["kv.*"])
    who = harness.caller(harness.key(roles=["r"]))
    entry = {"command": "kv.getset", "payload": {"key": "a", "value": 1}}
    alone = {**entry, "idempotency_key": "alone"}
    batch = {"type": "batch", "commands": [entry], "idempotency_key": "batch"}
    assert [harness.send(request, caller=who).get("success", True) for request in (alone, batch)] == [True, True]
    harness.call("auth.create_role", role="r", permissions=["hash.*"], replace=True)
    told = json.dumps([harness.send(request, caller=who) for request in (alone, batch)])
    assert "secret" not in told
    assert told.count('"FORBIDDEN"') == 2


def test_that_a_key_is_in_use_is_noted_without_losing_what_was_waited_for() -> None:
    harness = GuardedHarness()
    who = harness.caller(harness.key("*"))
    replies: list[Any] = []
    with pytest.raises(WouldBlock) as raised:
        harness.dispatcher.answer(envelope("list.blpop", keys=["a", "b"], timeout=600), caller=who)
    raised.value.wait.begin(lambda reply: replies.append(json.loads(reply.body)["payload"]))
    harness.clock.advance(120)  # it is to be noted again
    pushes = [{"command": "list.rpush", "payload": {"key": key, "value": key}} for key in "ab"]
    harness.send({"type": "batch", "commands": pushes})
    left = [value for key in "ab" for value in harness.call("list.range", key=key)["values"]]
    assert sorted([*left, *(reply["value"] for reply in replies)]) == ["a", "b"]


# Restart


@pytest.mark.parametrize("from_snapshot", [False, True])
@pytest.mark.parametrize("secret", ["", SECRET], ids=["no secret", "a secret"])
def test_accounts_are_there_after_a_restart_and_tokens_with_a_secret(
    tmp_path: Path, from_snapshot: bool, secret: str
) -> None:
    data = tmp_path / "data"
    with Guarded(data, auth={"jwt_secret": secret}) as server:
        server.admin("auth.create_role", role="readers", permissions=["kv.get", "kv.dbsize:*"])
        token = logged_in(server, "anna", "readers")
        good, gone = server.key("*", allowed_ips=["127.0.0.1"]), server.key("*")
        later = server.key("kv.dbsize", expires_at=server.run(server.server._clock.now) + 600_000)
        server.admin("auth.revoke_key", id=gone.id)
        server.admin("auth.create_user", username="ben", password="p", roles=["admin"])
        server.admin("auth.disable_user", username="ben")
        before = [server.admin(f"auth.list_{what}") for what in ("users", "keys", "roles")]
        if from_snapshot:
            server.admin("admin.snapshot")
            within(20, lambda: len(snapshot.list_snapshots(data)), 1)
    with Guarded(data, auth={"jwt_secret": secret}) as server:
        assert [server.admin(f"auth.list_{what}") for what in ("users", "keys", "roles")] == before
        for header in (good.header, later.header, basic("anna", "p")):
            assert server.code(header, "kv.dbsize") is None
        for header in (gone.header, basic("ben", "p"), basic("anna", "q")):
            assert server.code(header, "kv.dbsize") == "UNAUTHORIZED"
        assert server.code(basic("anna", "p"), "kv.set", key="a", value=1) == "FORBIDDEN"
        assert server.code(bearer(token), "kv.dbsize") == (None if secret else "UNAUTHORIZED")


def test_a_token_of_root_ends_with_its_password(tmp_path: Path) -> None:
    tokens = []
    for password in ("one", "two"):
        auth = {"jwt_secret": SECRET, "root_password": password}
        with Guarded(tmp_path / "data", auth=auth) as server:
            tokens.append(server.ask(None, "auth.login", username="root", password=password).payload["token"])
            codes = [server.code(bearer(token), "admin.config") for token in tokens]
            assert codes == ["UNAUTHORIZED"] * (len(tokens) - 1) + [None]
