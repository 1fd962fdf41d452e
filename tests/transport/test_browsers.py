"""Web pages: which may ask, through which door, and what browsers are told about the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from synap.config import BadSetting, load
from synap.transport.guard import SOCKET_PATH
from tests.support import ServerProcess
from tests.transport.wire import COMMAND, Headers, chunked, connect, envelope

APP = "https://app.example"
FOREIGN = "https://evil.example"
UPGRADE = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)
SET = json.dumps({"key": "a", "value": 1}).encode()
# Method, path, body and further headers.
DOORS = {
    "command": ("POST", COMMAND, envelope("kv.set", key="a", value=1), ()),
    "simple command": ("POST", COMMAND, envelope("kv.set", key="a", value=1), (("Content-Type", "text/plain"),)),
    "REST": ("POST", "/kv/set", SET, ()),
    "REST read": ("GET", "/kv/keys", None, ()),
    "page": ("GET", "/health", None, ()),
    "WebSocket": ("GET", SOCKET_PATH, None, UPGRADE),
    "events": ("GET", "/pubsub/events?topics=a", None, ()),
    "no route": ("GET", "/nowhere", None, ()),
}
every_door = pytest.mark.parametrize("door", DOORS)


class Told(NamedTuple):
    """The head of an answer, and as much of its body as came with it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        values = [value for known, value in self.headers if known.lower() == name.lower()]
        assert len(values) <= 1, values
        return values[0] if values else None

    @property
    def error(self) -> Any:
        return json.loads(self.body)["error"]


def ask(server: ServerProcess, method: str, path: str, body: bytes | None = None, headers: Headers = ()) -> Told:
    """Ask as a browser would; the Host is that of the address line unless `headers` have one."""
    given = dict(headers)
    given.setdefault("Host", f"127.0.0.1:{server.port}")
    if body is not None:
        given["Content-Length"] = str(len(body))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    with server.socket() as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65_536)
        head, _, rest = received.partition(b"\r\n\r\n")
        status_line, *told = head.decode().split("\r\n")
        split = [(name, value) for name, _, value in (line.partition(": ") for line in told)]
        wanted = int(dict(split).get("Content-Length", 0))
        while len(rest) < wanted:
            rest += connection.recv(65_536)
    return Told(int(status_line.split(" ")[1]), split, rest)


def through(server: ServerProcess, door: str, *headers: tuple[str, str]) -> Told:
    method, path, body, more = DOORS[door]
    return ask(server, method, path, body, (*more, *headers))


def preflight(server: ServerProcess, path: str, origin: str) -> Told:
    asked = [("Origin", origin), ("Access-Control-Request-Method", "POST")]
    return ask(server, "OPTIONS", path, None, [*asked, ("Access-Control-Request-Headers", "content-type,x-api-key")])


def running(tmp_path_factory: pytest.TempPathFactory, origins: str) -> Iterator[ServerProcess]:
    data = tmp_path_factory.mktemp("browsers") / "data"
    with ServerProcess(data, env={"SYNAP_SERVER_CORS_ORIGINS": origins}) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Without any origin named."""
    yield from running(tmp_path_factory, "")


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    yield from running(tmp_path_factory, f"{APP},http://localhost:3000")


@pytest.fixture(scope="module")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    yield from running(tmp_path_factory, "*")


# Who may ask


@every_door
@pytest.mark.parametrize("origin", [FOREIGN, "null", "", "http://127.0.0.1", "http://localhost:3000"])
def test_a_page_of_others_is_refused(server: ServerProcess, door: str, origin: str) -> None:
    answer = through(server, door, ("Origin", origin))
    assert (answer.status, answer.error["code"]) == (403, "FORBIDDEN")
    assert "server.cors_origins" in answer.error["message"]
    assert answer.error["details"] == {"origin": origin}
    assert answer.header("Access-Control-Allow-Origin") is None
    assert server.call("kv.exists", key="a")["exists"] is False


@every_door
@pytest.mark.parametrize("origin", [f"{FOREIGN}:443", "https://app.example.evil.example", "http://app.example", "null"])
def test_a_page_that_is_not_named_is_refused_where_others_are(named: ServerProcess, door: str, origin: str) -> None:
    answer = through(named, door, ("Origin", origin))
    assert (answer.status, answer.error["code"]) == (403, "FORBIDDEN")
    assert answer.header("Access-Control-Allow-Origin") is None
    assert answer.header("Vary") == "Origin"


def test_several_origins_are_nobodys(named: ServerProcess) -> None:
    lines = f"GET /health HTTP/1.1\r\nHost: a\r\nOrigin: {APP}\r\nOrigin: {APP}\r\n\r\n"
    with connect(named) as wire:
        answer = wire.ask(lines.encode())
    assert answer.status in (400, 403)


@every_door
def test_a_page_of_the_server_itself_may_ask(server: ServerProcess, door: str) -> None:
    for host in (f"127.0.0.1:{server.port}", f"localhost:{server.port}", "[::1]:80", "synap.localhost", "10.0.0.1"):
        for scheme in ("http", "https"):
            answer = through(server, door, ("Host", host), ("Origin", f"{scheme}://{host}"))
            assert answer.status in (200, 101) or (door, answer.status) == ("no route", 404)
            assert answer.header("Access-Control-Allow-Origin") is None
    server.call("kv.del", key="a")


@every_door
def test_a_name_that_may_lead_anywhere_is_not_the_server_itself(server: ServerProcess, door: str) -> None:
    host = f"rebound.example:{server.port}"
    answer = through(server, door, ("Host", host), ("Origin", f"http://{host}"))
    assert (answer.status, answer.error["code"]) == (403, "FORBIDDEN")
    assert "server.cors_origins" in answer.error["message"]


def test_a_name_is_the_server_itself_where_one_has_to_log_in(tmp_path_factory: pytest.TempPathFactory) -> None:
    data = tmp_path_factory.mktemp("guarded") / "data"
    with ServerProcess(data, env={"SYNAP_AUTH_ENABLED": "true", "SYNAP_AUTH_ROOT_PASSWORD": "secret"}) as server:
        answer = ask(server, "GET", "/health", None, [("Host", "synap.example"), ("Origin", "https://synap.example")])
        assert answer.status == 200
        assert preflight(server, COMMAND, "https://synap.example").status == 403


@every_door
def test_a_program_names_no_page_and_may_ask(server: ServerProcess, door: str) -> None:
    answer = through(server, door, ("Host", "anything.example"))
    assert answer.status in (200, 101) or (door, answer.status) == ("no route", 404)
    server.call("kv.del", key="a")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("mode", ["no-cors", "navigate"])
def test_other_pages_cannot_embed_what_takes_a_message(server: ServerProcess, site: str, mode: str) -> None:
    server.call("queue.publish", queue="jobs", message=1)
    marked = [("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", mode)]
    assert ask(server, "GET", "/queue/jobs/consume", None, marked).status == 403
    assert server.call("queue.stats", queue="jobs")["depth"] == 1
    server.call("queue.purge", queue="jobs")


def test_other_pages_may_link_to_the_documentation_alone(server: ServerProcess) -> None:
    linked = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate")]
    assert ask(server, "GET", "/docs", None, linked).status == 200
    assert ask(server, "GET", "/metrics", None, linked).status == 403
    assert ask(server, "GET", "/metrics", None, [("Sec-Fetch-Site", "none"), linked[1]]).status == 200
    assert ask(server, "GET", "/docs/start.js", None, [("Sec-Fetch-Site", "same-origin")]).status == 200


@pytest.mark.parametrize(
    "origin", ["app.example", "https://app.example/", "https://App.example", "null", "https://", "https://a b", "**"]
)
def test_what_no_browser_would_send_cannot_be_named(origin: str) -> None:
    with pytest.raises(BadSetting) as raised:
        load(None, {"SYNAP_SERVER_CORS_ORIGINS": f"{APP}, {origin}"}, {})
    expected = 'expected origins as browsers name them, https://app.example, or "*" for all'
    told = f"SYNAP_SERVER_CORS_ORIGINS: server.cors_origins: {expected}, got {origin!r}"
    assert str(raised.value) == told


# What browsers are told


@every_door
@pytest.mark.parametrize("origin", [APP, "http://localhost:3000"])
def test_a_named_page_may_ask_and_read(named: ServerProcess, door: str, origin: str) -> None:
    answer = through(named, door, ("Origin", origin))
    assert answer.status in (200, 101) or (door, answer.status) == ("no route", 404)
    assert answer.header("Access-Control-Allow-Origin") == origin
    assert answer.header("Vary") == "Origin"
    shown = "X-Synap-Ack, X-Synap-LSN, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After"
    assert answer.header("Access-Control-Expose-Headers") == shown
    assert answer.header("Access-Control-Allow-Credentials") is None


@every_door
def test_every_page_may_ask_where_all_are_named(everyone: ServerProcess, door: str) -> None:
    for origin in (FOREIGN, "null"):
        answer = through(everyone, door, ("Origin", origin))
        assert answer.status in (200, 101) or (door, answer.status) == ("no route", 404)
        assert answer.header("Access-Control-Allow-Origin") == "*"
        assert answer.header("Access-Control-Allow-Credentials") is None
        assert answer.header("Vary") is None


@pytest.mark.parametrize("path", [COMMAND, "/kv/set", "/kv/get/a%2Fb", "/health", SOCKET_PATH, "/docs", "/nowhere"])
def test_a_browser_that_asks_beforehand_is_told_what_is_taken(named: ServerProcess, path: str) -> None:
    answer = preflight(named, path, APP)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.header("Access-Control-Allow-Origin") == APP
    assert answer.header("Access-Control-Allow-Methods") == "GET, POST, DELETE"
    taken = "Content-Type, Authorization, X-API-Key, Idempotency-Key, X-Synap-Ack, Last-Event-ID, traceparent"
    assert answer.header("Access-Control-Allow-Headers") == taken
    assert int(answer.header("Access-Control-Max-Age") or 0) > 0
    assert answer.header("Vary") == "Origin"
    refused = preflight(named, path, FOREIGN)
    assert (refused.status, refused.header("Access-Control-Allow-Origin")) == (403, None)


def test_options_that_no_browser_asks_are_answered_as_ever(named: ServerProcess) -> None:
    assert ask(named, "OPTIONS", "/health").status == 405
    assert ask(named, "OPTIONS", "/health", None, [("Origin", APP)]).status == 405


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", COMMAND, b"nonsense", 400),
        ("POST", COMMAND, envelope("kv.get", key=""), 422),
        ("GET", "/hash/none/get/field", None, 404),
        ("DELETE", "/health", None, 405),
        ("POST", "/kv/set", b"{}", 422),
    ],
)
def test_errors_can_be_read_as_well(
    named: ServerProcess, method: str, path: str, body: bytes | None, status: int
) -> None:
    answer = ask(named, method, path, body, [("Origin", APP)])
    assert answer.status == status
    assert answer.header("Access-Control-Allow-Origin") == APP


def test_a_connection_answers_pages_and_programs_in_turn(named: ServerProcess) -> None:
    body = envelope("kv.dbsize")
    with connect(named) as wire:
        for origin, allowed in ((None, None), (APP, APP), (FOREIGN, None), (None, None)):
            answer = wire.ask(chunked("POST", COMMAND, body, [("Origin", origin)] if origin else []))
            assert answer.status == (403 if origin == FOREIGN else 200)
            assert answer.header("Access-Control-Allow-Origin") == allowed


@pytest.mark.parametrize(
    "path", ["/docs", "/docs/start.js", "/docs/swagger-ui.css", "/openapi.json", "/health", "/metrics", "/nowhere"]
)
def test_nothing_is_taken_for_another_type(server: ServerProcess, path: str) -> None:
    answer = ask(server, "GET", path)
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert answer.header("Strict-Transport-Security") is None


def test_the_page_is_not_framed_and_says_nothing_of_where_one_comes_from(server: ServerProcess) -> None:
    answer = ask(server, "GET", "/docs")
    assert answer.header("X-Frame-Options") == "DENY"
    assert answer.header("Referrer-Policy") == "no-referrer"
    assert answer.header("Cross-Origin-Opener-Policy") == "same-origin"
    assert "frame-ancestors 'none'" in (answer.header("Content-Security-Policy") or "")
