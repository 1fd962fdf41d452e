"""Every command through every door it can come through: nobody gets in without a credential that allows it.

All of it follows from the command table: a command that is declared tomorrow is tried like all others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec
import orjson
import pytest
from websockets.exceptions import InvalidStatus

from synap.commands import TABLE, packed
from synap.commands.host import SnapshotBegun
from synap.commands.permissions import named_keys
from synap.commands.table import Command, Route
from tests.access.helpers import ROOT, Guarded, GuardedHarness, Header, Key, basic, bearer
from tests.payloads.samples import samples
from tests.transport.sockets import connected, listening, wired
from tests.transport.wire import COMMAND, HEALTH, Answer, Wire, chunked, command, request

PACKED = ("Content-Type", "application/msgpack")
COMMANDS = [c for c in TABLE.public() if not c.is_open]
OPEN = {c.name: c for c in TABLE.public() if c.is_open}
SOCKET = "/api/v1/ws"
SOURCES = {
    "stream.subscribe": "/stream/room/events",
    "pubsub.subscribe": "/pubsub/events?topics=room",
}
UNKNOWN = "synap_" + "x" * 43
FORGED = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290IiwiZXhwIjo5OTk5OTk5OTk5LCJyb2xlcyI6WyJhZG1pbiJdfQ."
BAD = [("X-API-Key", UNKNOWN), bearer(UNKNOWN), bearer(FORGED), ("Authorization", "Digest x"), ("Authorization", "")]
_WILD = "*?[#\\"


class Came(NamedTuple):
    """What came of one command: the HTTP status, the answer if it was over HTTP, and the error."""

    answer: Answer | None
    error: dict[str, Any] | None


class Asked(NamedTuple):
    """A command with a payload, and the headers it is sent with."""

    command: Command
    payload: Any
    headers: tuple[Header, ...] = ()

    @property
    def entry(self) -> dict[str, Any]:
        return {"command": self.command.name, "payload": self.payload}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    limits = {"max_wait_secs": 0.2}
    with Guarded(tmp_path_factory.mktemp("doors") / "data", limits=limits) as running:
        running.credentials.on_use = lambda kind, name: None  # that a key is in use is told by a digest
        with _unmoved(running):
            yield running


@contextmanager
def _unmoved(server: Guarded) -> Iterator[None]:
    """What stops the server or starts other processes is answered, and not done."""
    stop, snapshot = server.server.request_stop, server.server.request_snapshot
    server.server.request_stop = lambda: None  # type: ignore[method-assign]
    server.server.request_snapshot = lambda: SnapshotBegun(False, 0)  # type: ignore[method-assign]
    yield
    server.server.request_stop, server.server.request_snapshot = stop, snapshot  # type: ignore[method-assign]


# Doors


Door = Callable[[Wire, Asked], Came]


def single(wire: Wire, asked: Asked) -> Came:
    return _told(wire.ask(command(orjson.dumps(asked.entry), asked.headers)))


def in_chunks(wire: Wire, asked: Asked) -> Came:
    return _told(wire.ask(chunked("POST", COMMAND, orjson.dumps(asked.entry), asked.headers)))


def in_messagepack(wire: Wire, asked: Asked) -> Came:
    answer = wire.ask(command(packed.from_json(orjson.dumps(asked.entry)), (PACKED, *asked.headers)))
    return _told(answer, json.loads(packed.to_json(answer.body)))


def in_a_batch(wire: Wire, asked: Asked, *, atomic: bool = False) -> Came:
    body = orjson.dumps({"type": "batch", "commands": [asked.entry], "atomic": atomic})
    answer = wire.ask(command(body, asked.headers))
    return _told(answer, answer.json["results"][0] if answer.status == 200 else answer.json)


def in_an_atomic_batch(wire: Wire, asked: Asked) -> Came:
    return in_a_batch(wire, asked, atomic=True)


def with_an_idempotency_key(wire: Wire, asked: Asked) -> Came:
    named = {**asked.entry, "idempotency_key": orjson.dumps([asked.entry, asked.headers]).hex()[-200:]}
    return _told(wire.ask(command(orjson.dumps(named), asked.headers)))


COMMAND_DOORS: tuple[Door, ...] = (
    single,
    in_chunks,
    in_messagepack,
    in_a_batch,
    in_an_atomic_batch,
    with_an_idempotency_key,
)


def through_rest(wire: Wire, route: Route, asked: Asked) -> Came | None:
    """None where the payload cannot be said in a request to this route."""
    payload = asked.payload
    if not isinstance(payload, dict) or not set(route.parameters) <= payload.keys():
        return None
    path = route.path
    for name in route.parameters:
        path = path.replace(f"{{{name}}}", quote(str(payload[name]), safe=""))
    rest = {name: value for name, value in payload.items() if name not in route.parameters}
    if route.method != "GET":
        return _told(wire.ask(request(route.method, path, orjson.dumps(rest), asked.headers)))
    if any(isinstance(value, dict) for value in rest.values()):
        return None
    texts = {n: str(v).lower() if isinstance(v, bool) else v for n, v in rest.items()}
    query = f"?{urlencode(texts, doseq=True)}" if rest else ""
    return _told(wire.ask(request("GET", path + query, headers=asked.headers)))


def _told(answer: Answer, reply: Any = None) -> Came:
    reply = answer.json if reply is None else reply
    return Came(answer, reply["error"] if isinstance(reply, dict) and reply.get("status") == "error" else None)


class Entrance:
    """A connection for each HTTP door; one connection serves many requests, with different credentials."""

    def __init__(self, server: Guarded, stack: ExitStack) -> None:
        self._wires = {door: stack.enter_context(wired(server)) for door in COMMAND_DOORS}
        self._rest = stack.enter_context(wired(server))
        assert self._rest.ask(HEALTH).status == 200
        self.routes: set[Route] = set()
        """Those that have been tried."""

    def all(
        self, of: Command, *headers: Header, payloads: list[Any] | None = None
    ) -> Iterator[tuple[Door | Route, Came]]:
        """What comes of a command, with every payload through every door."""
        for payload in samples(of) if payloads is None else payloads:
            asked = Asked(of, payload, headers)
            for door, wire in self._wires.items():
                yield door, door(wire, asked)
            for route in of.routes:
                came = through_rest(self._rest, route, asked)
                if came is not None:
                    self.routes.add(route)
                    yield route, came


@contextmanager
def entrance(server: Guarded) -> Iterator[Entrance]:
    with ExitStack() as stack:
        yield Entrance(server, stack)


def over_a_socket(server: Guarded, key: Key, of: Command, payloads: list[Any], *, is_packed: bool) -> list[Came]:
    with connected(server, is_packed=is_packed, path=f"{SOCKET}?token={key.secret}") as socket:
        replies = []
        for number, payload in enumerate(payloads):
            socket.send(json.loads(orjson.dumps({**Asked(of, payload).entry, "request_id": str(number)})))
            replies.append(socket.reply(str(number)))
    return [Came(None, None if reply["success"] else reply["error"]) for reply in replies]


# Credentials


def everything_but(server: Guarded) -> dict[str, Key]:
    """For each command a key that allows all others."""
    names = [c.name for c in TABLE.public()]
    return {
        name: server.key(*(other for other in names if other != name), "admin.metrics")
        for name in (c.name for c in COMMANDS)
    }


def patterns(of: Command, payload: Any) -> list[str]:
    """Key patterns that just what a payload names lies inside of; none when it names nothing."""
    decoded = msgspec.json.decode(orjson.dumps(payload), type=of.payload)
    if not of.scopes:
        return [_literal(name) for name in named_keys(of, decoded)]
    found = []
    for field, scope in of.scopes.items():
        value = getattr(decoded, field)
        for name in [value] if isinstance(value, str) else value or ():
            wild = min((name.find(c) for c in _WILD if c in name), default=None)
            is_open = scope == "prefix" or wild is not None
            found.append(_literal(name[:wild]) + "*" * is_open)
    return found


def _literal(name: str) -> str:
    return "".join("\\" + c if c in "*?[\\" else c for c in name)


@cache
def named(of: Command) -> tuple[list[Any], list[str]]:
    """The payloads that name something, and patterns for all of it."""
    given = [(payload, patterns(of, payload)) for payload in samples(of)]
    return [payload for payload, found in given if found], [p for _, found in given for p in found]


# Proofs


def assert_kept_out(where: Any, came: Came) -> None:
    assert came.error is not None, where
    assert came.error["code"] == "UNAUTHORIZED", (where, came.error)
    assert came.answer is not None
    assert came.answer.status == 401
    assert came.answer.header("WWW-Authenticate"), where


def refusal(of: Command, where: Door | Route | None) -> str:
    """How somebody is refused who lacks the permission: some are refused there for everybody."""
    if where in (in_a_batch, in_an_atomic_batch) and of.attaches:
        return "NEEDS_WEBSOCKET"
    return "FORBIDDEN"


def assert_forbidden(of: Command, where: Door | Route | None, came: Came) -> None:
    assert came.error is not None, (of.name, where)
    assert came.error["code"] == refusal(of, where), (of.name, where, came.error)
    if came.error["code"] == "FORBIDDEN":
        assert came.error["details"]["permission"].partition(":")[0] == of.name
        assert came.answer is None or came.answer.status in (403, 200)


def is_turned_away(of: Command, came: Came) -> bool:
    """Whether it was refused for want of a permission for the command itself."""
    error = came.error
    return error is not None and (error["code"] == "UNAUTHORIZED" or error["details"].get("command") == of.name)


@pytest.mark.parametrize("header", [None, *BAD], ids=str)
def test_without_a_good_credential_nothing_is_done(server: Guarded, header: Header | None) -> None:
    before = server.digest()
    with entrance(server) as doors:
        for of in COMMANDS:
            payloads = None if header is None else samples(of)[:1]
            for where, came in doors.all(of, *([header] if header else []), payloads=payloads):
                assert_kept_out((of.name, where), came)
        if header is None:
            assert doors.routes == {route for of in COMMANDS for route in of.routes}
    assert server.digest() == before


@pytest.mark.parametrize("query", ["", f"?token={UNKNOWN}", f"?token={FORGED}", "?token="])
def test_without_a_good_credential_no_connection_stays(server: Guarded, query: str) -> None:
    with pytest.raises(InvalidStatus) as raised, connected(server, path=SOCKET + query):
        pass
    assert raised.value.response.status_code == 401
    assert raised.value.response.headers["WWW-Authenticate"]
    for path in SOURCES.values():
        path += query if "?" not in path else query.replace("?", "&")
        with listening(server, path) as source:
            assert source.status == 401
            assert source.headers["www-authenticate"]
            assert source.body()["error"]["code"] == "UNAUTHORIZED"
    assert server.leftovers().get("clients") is None


def test_a_credential_that_lacks_just_this_command_does_not_get_it(server: Guarded) -> None:
    keys = everything_but(server)
    before = server.digest()
    with entrance(server) as doors:
        for of in COMMANDS:
            for where, came in doors.all(of, keys[of.name].header):
                assert_forbidden(of, where, came)
            for is_packed in (False, True):
                for came in over_a_socket(server, keys[of.name], of, samples(of), is_packed=is_packed):
                    assert_forbidden(of, None, came)
    for name, path in SOURCES.items():
        with listening(server, f"{path}{'&' if '?' in path else '?'}token={keys[name].secret}") as source:
            assert source.status == 403
            assert source.body()["error"]["details"]["permission"] == name
    assert server.digest() == before


def test_a_credential_limited_to_other_keys_does_not_get_these(server: Guarded) -> None:
    keys = {of.name: server.key(f"{of.name}:elsewhere*") for of in COMMANDS}
    before = server.digest()
    with entrance(server) as doors:
        for of in COMMANDS:
            payloads = [payload for payload in samples(of) if of.scopes or not of.keys or patterns(of, payload)]
            for where, came in doors.all(of, keys[of.name].header, payloads=payloads):
                assert_forbidden(of, where, came)
            for came in over_a_socket(server, keys[of.name], of, payloads, is_packed=False):
                assert_forbidden(of, None, came)
    for name, path in SOURCES.items():
        with listening(server, f"{path}{'&' if '?' in path else '?'}token={keys[name].secret}") as source:
            assert source.status == 403
    assert server.digest() == before


def test_a_credential_limited_to_just_these_keys_gets_them(server: Guarded) -> None:
    with_keys = [of for of in COMMANDS if named(of)[0]]
    assert {of.name for of in COMMANDS if of.keys and of.scopes == {}} <= {of.name for of in with_keys}
    keys = {
        of.name: server.key(*(f"{of.name}:{pattern}" for pattern in dict.fromkeys(named(of)[1]))) for of in with_keys
    }
    with entrance(server) as doors:
        for of in with_keys:
            for where, came in doors.all(of, keys[of.name].header, payloads=named(of)[0]):
                assert not is_turned_away(of, came), (of.name, where, came.error)
            for is_packed in (False, True):
                for came in over_a_socket(server, keys[of.name], of, named(of)[0], is_packed=is_packed):
                    assert not is_turned_away(of, came), (of.name, came.error)


def test_a_credential_for_everything_gets_everything(server: Guarded) -> None:
    key = server.key("*")
    with entrance(server) as doors:
        for of in COMMANDS:
            for where, came in doors.all(of, key.header):
                assert came.error is None or came.error["code"] not in (
                    "UNAUTHORIZED",
                    "FORBIDDEN",
                    "INTERNAL_ERROR",
                ), (
                    of.name,
                    where,
                    came.error,
                )
            for is_packed in (False, True):
                for came in over_a_socket(server, key, of, samples(of), is_packed=is_packed):
                    assert not is_turned_away(of, came), (of.name, came.error)


def test_a_command_alone_is_enough_for_it_and_for_nothing_else(server: Guarded) -> None:
    with wired(server) as wire:
        for of, other in zip(COMMANDS, [*COMMANDS[1:], COMMANDS[0]], strict=True):
            alone = server.key(of.name).header
            assert not is_turned_away(of, single(wire, Asked(of, samples(of)[0], (alone,)))), of.name
            assert_forbidden(other, single, single(wire, Asked(other, samples(other)[0], (alone,))))


# What is open


def test_logging_in_needs_no_credential_through_any_door(server: Guarded) -> None:
    server.admin("auth.create_user", username="somebody", password="something")
    payload = {"username": "somebody", "password": "something"}
    with entrance(server) as doors:
        for where, came in doors.all(OPEN["auth.login"], payloads=[payload]):
            if where in (in_a_batch, in_an_atomic_batch):
                assert_kept_out(where, came)
            else:
                assert came.error is None, (where, came)


def test_who_one_is_needs_a_credential_that_need_not_allow_anything(server: Guarded) -> None:
    server.admin("auth.create_user", username="powerless", password="something")
    with entrance(server) as doors:
        for where, came in doors.all(OPEN["auth.me"]):
            assert_kept_out(where, came)
        for where, came in doors.all(OPEN["auth.me"], basic("powerless", "something")):
            assert came.error is None, (where, came)
    assert OPEN.keys() == {"auth.login", "auth.me"}


def page(server: Guarded, path: str, *headers: Header) -> Answer:
    with wired(server) as wire:
        return wire.ask(request("GET", path, headers=headers))


@pytest.mark.parametrize("path", ["/health", "/ready", "/docs", "/docs/start.js", "/openapi.json"])
def test_some_pages_are_for_everybody(server: Guarded, path: str) -> None:
    assert page(server, path).status == 200
    assert page(server, path, BAD[0]).status == 200


def test_the_metrics_need_a_permission(server: Guarded) -> None:
    for headers in ((), *((bad,) for bad in BAD)):
        answer = page(server, "/metrics", *headers)
        assert (answer.status, answer.error["code"]) == (401, "UNAUTHORIZED")
        assert answer.header("WWW-Authenticate")
    lacking = page(server, "/metrics", server.key(*(c.name for c in TABLE.public())).header)
    assert (lacking.status, lacking.error["details"]["permission"]) == (403, "admin.metrics")
    assert page(server, "/metrics", server.key("admin.metrics:*").header).status == 200
    assert page(server, "/metrics", server.key("admin.metrics:some").header).status == 403
    assert page(server, "/metrics", ROOT).status == 200


# Batches


@pytest.mark.parametrize("atomic", [False, True])
def test_what_is_forbidden_in_a_batch_fails_alone(server: Guarded, atomic: bool) -> None:
    key = server.key("kv.incr:mine", "kv.get")
    entries = [
        {"command": "kv.incr", "payload": {"key": "mine"}},
        {"command": "kv.incr", "payload": {"key": "yours"}},
        {"command": "kv.set", "payload": {"key": "mine", "value": 1}},
        {"command": "kv.get", "payload": {"key": "yours"}},
    ]
    with wired(server) as wire:
        body = orjson.dumps({"type": "batch", "commands": entries, "atomic": atomic})
        answer = wire.ask(command(body, [key.header]))
    assert answer.status == 200
    assert [r["status"] for r in answer.json["results"]] == ["success", "error", "error", "success"]
    assert [r["error"]["details"]["permission"] for r in answer.json["results"][1:3]] == ["kv.incr:yours", "kv.set"]
    assert answer.json["results"][3]["payload"]["found"] is False


@pytest.mark.parametrize("header", [None, *BAD], ids=str)
def test_a_batch_without_a_credential_is_refused_as_a_whole(server: Guarded, header: Header | None) -> None:
    for entries in ([], [{"command": "auth.me"}], [{"command": "kv.nonsense"}, {"command": "kv.dbsize"}]):
        with wired(server) as wire:
            answer = wire.ask(command(orjson.dumps({"type": "batch", "commands": entries}), [header] if header else []))
        assert (answer.status, answer.error["code"]) == (401, "UNAUTHORIZED")
        assert "results" not in answer.json


def test_nobody_is_told_which_commands_there_are_without_a_credential(server: Guarded) -> None:
    assert server.code(None, "kv.nonsense") == "UNAUTHORIZED"
    assert server.code(server.key("kv.get").header, "kv.nonsense") == "UNKNOWN_COMMAND"


def test_commands_of_the_server_itself_are_unknown_to_root(server: Guarded) -> None:
    internal = [c.name for c in TABLE if c.internal]
    assert internal
    for name in internal:
        assert server.code(ROOT, name) == "UNKNOWN_COMMAND"


@pytest.mark.parametrize("match", ["*:name", "user:1", "user:*x"])
def test_a_scan_tells_no_key_outside_by_its_cursor(match: str) -> None:
    """The cursor is the last key looked at, found or not: a match that only filters would give others away."""
    harness = GuardedHarness()
    for key in ("other:0999:secret", "user:1", "user:10:secret"):
        harness.call("kv.set", key=key, value=1)
    who = harness.caller(harness.key(f"kv.scan:{match}"))
    assert harness.code(who, "kv.scan", match=match, count=1) == "FORBIDDEN"
    may = harness.caller(harness.key("kv.scan:user:*"))
    assert harness.code(may, "kv.scan", match="user:*", count=1) is None
