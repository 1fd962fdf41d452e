"""Bad input by the thousand where one must log in: heads, tokens, frames and pages. Nothing lets anybody in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given, seed, settings
from websockets.exceptions import InvalidStatus
from websockets.frames import Opcode

from synap.commands import TABLE
from synap.transport.guard import SOCKET_PATH
from tests.access.helpers import ROOT, ROOT_PASSWORD, GuardedHarness, Header, basic
from tests.payloads.strategies import payloads
from tests.support import ServerProcess
from tests.transport.sockets import Socket, connected, frame
from tests.transport.test_browsers import DOORS, ask
from tests.transport.test_tls import self_signed
from tests.transport.wire import COMMAND, HEALTH, Answer, Headers, Wire, command, envelope, request

SEED = 20_261_121
SECRET = "a secret of at least thirty-two bytes"
CANARY = "the canary in the mine"
APP = "https://app.example"
TIMEOUT_SECS = 10.0
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ +synap\.[a-z.]+: [^\x00-\x1f\x7f-\x9f]*")

bounded = partial(settings, deadline=None, database=None, suppress_health_check=list(HealthCheck))


class Target:
    """A guarded server with something worth taking, and a key for those who may."""

    def __init__(self, server: ServerProcess, context: ssl.SSLContext | None) -> None:
        self.server = server
        self.port = server.port
        self._context = context
        made = self.ask(ROOT, "auth.create_key", name="good", permissions=["kv.*"]).payload
        self.secret: str = made["key"]
        self.key: Header = ("X-API-Key", self.secret)
        self.good = command(envelope("kv.exists", key="canary"), [self.key])
        assert self.ask(self.key, "kv.set", key="canary", value=CANARY).status == 200

    def open(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_SECS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is None:
            return connection
        return self._context.wrap_socket(connection, server_hostname="localhost")

    def ask(self, header: Header, name: str, /, **payload: Any) -> Answer:
        with closing(self.open()) as connection:
            return Wire(connection).ask(command(envelope(name, **payload), [header]))

    def told(self, *pieces: bytes, begun: bytes = b"") -> list[Answer]:
        """What is answered to pieces, each sent on its own, until the server ends the connection."""
        answers: list[Answer] = []
        with closing(self.open()) as connection:
            wire = Wire(connection)
            if begun:
                assert wire.ask(begun).status == 200
            with suppress(OSError):
                for piece in pieces:
                    wire.send(piece)
                if self._context is None:
                    connection.shutdown(socket.SHUT_WR)
            with suppress(EOFError, ConnectionError):
                while self._context is None or not (answers and answers[-1].status == 200):
                    answers.append(wire.answer())
        return answers

    def check(self, fuzzed: list[Answer]) -> None:
        """Nobody was let in by what was answered so, nothing failed, and the next request is answered."""
        for answer in fuzzed:
            assert answer.status < 500, answer
            assert CANARY.encode() not in answer.body
            assert answer.status >= 400 or b'"exists":true' in answer.body, answer
        assert self.ask(self.key, "kv.get", key="canary").payload["value"] == CANARY
        assert self.ask(self.key, "kv.exists", key="broken in").payload["exists"] is False

    def check_log(self) -> None:
        """One line an event, with nothing in it that a terminal would obey, and no credential."""
        text = self.server.log.read_bytes().decode("ascii")
        for line in text.splitlines():
            assert LOG_LINE.fullmatch(line), line
            assert "incident" not in line and "Traceback" not in line, line
        for secret in (self.secret, ROOT_PASSWORD, SECRET, basic("root", ROOT_PASSWORD)[1].split()[1]):
            assert secret not in text


ENVIRONMENT = {
    "SYNAP_AUTH_ENABLED": "true",
    "SYNAP_AUTH_ROOT_PASSWORD": ROOT_PASSWORD,
    "SYNAP_AUTH_JWT_SECRET": SECRET,
    "SYNAP_SERVER_CORS_ORIGINS": APP,
    "SYNAP_LIMITS_READ_TIMEOUT_SECS": "1",
}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with ServerProcess(tmp_path_factory.mktemp("guarded") / "data", env=ENVIRONMENT) as server:
        yield Target(server, None)


@pytest.fixture(scope="module")
def over_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("guarded")
    files = self_signed(folder)
    with ServerProcess(folder / "data", env=ENVIRONMENT | files.environment) as server:
        yield Target(server, files.trusting())


# Heads

UNREADABLE = b"Bearer eyJhbGciOiJIUzI1NiIsImNyaXQiOlsiXHVkODAwIl19.e30.AAAA"  # crit is a lone surrogate
ODD_BASIC = [b"root", b"root:", b":x", b"a:b:c:d", b"\xff:x", b"\xed\xa0\x80:x", b"a\r\nb:c", b"\0:\0", b"\x1b[2J:x"]
NASTY = [
    *(b"", b" ", b"\t", b",", b"\x00", b"\x7f", b"\xff\xfe", b"\xc3\xa9", b"\xed\xa0\x80", "ключ".encode(), b'"', b"'"),
    *(b"a\r\nX-API-Key: synap_x", b"a\nb", b"a\rb", b"a\r\n b", b"a\r\n\r\nGET /kv/get/canary HTTP/1.1\r\n\r\n"),
    *(b"Basic", b"Basic ", b"Basic :", b"Basic ====", b"Basic //9v", b"basic cm9vdDo=", b"BASIC cm9vdA==", b"Digest x"),
    *(b"Basic " + base64.b64encode(text) for text in ODD_BASIC),
    *(b"Bearer", b"Bearer ", b"Bearer null", b"Bearer synap_", b"bearer\tx", b"Bearer a.b.c", b"Bearer " + b"." * 99),
    *(b"Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0.", b"Negotiate"),
    UNREADABLE,
    *(b"synap_" + b"A" * 43, b"synap_" + b"A" * 8_300, b"x" * 8_300, b"Basic " + b"A" * 12_000, b"e" * 40_000),
    *(b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01", b"00-\r\n", b"cc-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01-\x1b"),
    *(b"http://127.0.0.1.evil.example", b"null", b"synced", b"replicated:99999999999999999999", b"k" * 300),
]
NAMES = [
    b"Authorization",
    b"X-API-Key",
    b"traceparent",
    b"Idempotency-Key",
    b"X-Synap-Ack",
    b"authorization",
    b"x-api-key ",
]
FRAMING = [
    *(b"0", b"-1", b"+1", b"1e3", b"0x10", b"99999999999999999999", b"5, 5", b" 7", b"7 7", b"\xd9\xa1", b"1_0", b""),
    *(b"00000000000000000007", b"33554433", b"7;q=1"),
]
VALUES = st.sampled_from(NASTY) | st.binary(max_size=40)
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES), VALUES), min_size=1, max_size=5)
FRAMED = st.tuples(
    st.sampled_from([b"Content-Length", b"Host", b"Origin", b"Connection"]), VALUES | st.sampled_from(FRAMING)
)
BREAK_IN = envelope("kv.set", key="broken in", value=1)
LINES = [
    (b"POST " + COMMAND.encode(), envelope("kv.get", key="canary")),
    (b"POST " + COMMAND.encode(), BREAK_IN),
    (b"GET /kv/get/canary", b""),
    (b"POST /kv/set", b'{"key":"broken in","value":1}'),
    (b"GET " + SOCKET_PATH.encode() + b"?token=x", b""),
    (b"GET /metrics", b""),
]


def head(line: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    length = b"" if any(name == b"Content-Length" for name, _ in headers) else b"Content-Length: %d\r\n" % len(body)
    host = b"" if any(name == b"Host" for name, _ in headers) else b"Host: synap\r\n"
    return b"%b HTTP/1.1\r\n%b%b%b\r\n%b" % (
        line, host, b"".join(b"%b: %b\r\n" % pair for pair in headers), length, body
    )  # fmt: skip


def codes(answers: list[Answer]) -> list[int]:
    """Their status; how often a name was tried does not matter."""
    return [401 if answer.status == 429 else answer.status for answer in answers]


@seed(SEED)
@bounded(max_examples=400)
@given(st.sampled_from(LINES), HEADERS, st.none() | FRAMED, st.integers(0, 2_000), st.integers(0, 2_000))
@example(LINES[0], [(b"Authorization", b"Basic //9v")], None, 0, 0)
@example(LINES[1], [(b"X-API-Key", b"a"), (b"X-API-Key", b"b")], None, 9, 0)
@example(LINES[1], [], (b"Origin", b"\x80"), 0, 0)
@example(LINES[2], [(b"Authorization", UNREADABLE)], None, 0, 0)
def test_no_head_lets_anybody_in(
    target: Target,
    line: tuple[bytes, bytes],
    headers: list[tuple[bytes, bytes]],
    framed: tuple[bytes, bytes] | None,
    cut: int,
    other_cut: int,
) -> None:
    """Sent in pieces and with a good request behind it, to both ends a connection can have.

    What is no HTTP may end a connection before what came with it is answered.
    """
    sent = head(line[0], headers + ([framed] if framed else []), line[1]) + target.good
    first, second = sorted((cut, other_cut))
    pieces = (sent[:first], sent[first:second], sent[second:])
    fresh, handed_over = target.told(*pieces), target.told(*pieces, begun=HEALTH)
    told = codes(fresh), codes(handed_over)
    assert told[0] == told[1] or 400 in told[0] + told[1], told
    target.check(fresh + handed_over)


@seed(SEED)
@bounded(max_examples=60)
@given(st.sampled_from(LINES[:4]), HEADERS, st.integers(0, 2_000))
def test_no_head_lets_anybody_in_over_tls(
    over_tls: Target, line: tuple[bytes, bytes], headers: list[tuple[bytes, bytes]], cut: int
) -> None:
    sent = head(line[0], headers, line[1]) + over_tls.good
    over_tls.check(over_tls.told(sent[:cut], sent[cut:]))


def test_the_log_holds_neither_what_was_sent_nor_a_credential(target: Target) -> None:
    for value in NASTY:
        for name in (b"Authorization", b"X-API-Key", b"traceparent", b"Idempotency-Key"):
            target.check(target.told(head(*LINES[0][:1], [(name, value)], LINES[0][1])))
    for username in ("a\nb", "\x1b[2J", "\u202e", "a\0b", "x" * 8_000, "\x9b31m", '"quoted" =x'):
        assert target.ask(basic(username, SECRET), "kv.get", key="canary").status in (401, 429)
        assert target.ask(target.key, "auth.login", username=username, password=SECRET).status in (401, 422, 429)
    target.check_log()


@pytest.mark.parametrize("bad", [("X-API-Key", "synap_wrong"), ("Authorization", "Basic //9v"), ("Authorization", "x")])
def test_wherever_requests_are_cut_each_is_answered_for_itself(target: Target, bad: Header) -> None:
    refused = command(envelope("kv.get", key="canary"), [bad])
    rest = request("GET", "/kv/get/canary", headers=[bad])
    sent = refused + target.good + rest + target.good
    for cut in range(1, len(sent)):
        with closing(target.open()) as connection:
            wire = Wire(connection)
            wire.send(sent[:cut])
            wire.send(sent[cut:])
            assert [wire.answer().status for _ in range(4)] == [401, 200, 401, 200], cut


@pytest.mark.parametrize("size", [4_000, 8_100, 8_200, 32_000, 1_000_000])
@pytest.mark.parametrize("scheme", ["Bearer ", "Bearer synap_", "Basic ", "X-API-Key"])
def test_however_long_a_credential_is_it_is_refused(target: Target, scheme: str, size: int) -> None:
    name = scheme if scheme == "X-API-Key" else "Authorization"
    value = "A" * size if scheme == "X-API-Key" else scheme + "A" * size
    for begun in (b"", HEALTH):
        answers = target.told(command(BREAK_IN, [(name, value)]), begun=begun)
        assert all(answer.status in (400, 401, 429) for answer in answers)
        assert answers or size == 1_000_000, "only what is far too long may be cut off before the answer is read"
    target.check([])


ODD_LINES = [
    *(
        b"GET /pubsub/events?topics=a",
        b"GET /stream/a/events",
        b"POST /kv/set",
        b"GET /kv/get/\x80",
        b"GET /kv/get/%80",
    ),
    *(
        b"GET /kv/get/a?x=\x80",
        b"GET /\x80",
        b"P\x80T /kv",
        b"GET /pubsub/events?topics=%80&policy=%ff",
        b"OPTIONS /kv/set",
    ),
    *(b"DELETE /auth/roles/%ed%a0%80", b"GET /slowlog?count=%80", b"GET " + SOCKET_PATH.encode(), b"GET /health"),
    *(b"GET /stream/%80/events?from_offset=%ff", b"POST /auth/users", b"GET /docs", b"POST " + COMMAND.encode()),
]
ODD_HEADERS = [
    *(
        b"Last-Event-ID",
        b"X-Synap-Ack",
        b"Idempotency-Key",
        b"traceparent",
        b"Content-Type",
        b"Host",
        b"Origin",
        b"Expect",
    ),
    *(b"Content-Encoding", b"Sec-Fetch-Site", b"Upgrade", b"Sec-WebSocket-Key", b"Range", b"If-None-Match", b"Accept"),
]
ODD_BYTES = [b"\x80", b"\x80-1", b"\xed\xa0\x80-1", b"\xc3\xa9", b"1:\xd9\xa1", b"\x80, \xff"]


@pytest.mark.parametrize("name", ODD_HEADERS, ids=bytes.decode)
def test_no_bytes_upset_the_server_beside_a_good_credential(target: Target, name: bytes) -> None:
    root = (ROOT[0].encode(), ROOT[1].encode())
    for line in ODD_LINES:
        for value in ODD_BYTES:
            with closing(target.open()) as connection:
                connection.sendall(
                    head(line, [root, (name, value)], b'{"key":"odd","value":1}' if b"POST" in line else b"")
                )
                with suppress(ConnectionError):
                    told = connection.recv(100)
                    assert told == b"" or int(told.split()[1]) < 500, (line, value)


# Tokens

ODD_NUMBERS = [
    b"0",
    b"-1",
    b"1.5",
    b"1e400",
    b"-1e400",
    b"1e15",
    b"9" * 400,
    b"NaN",
    b"Infinity",
    b"true",
    b"null",
    b'"1"',
]
ODD_NUMBERS += [b'"99999999999"', b'" 9_9999999999 "', b"[]", b"{}", b"99999999999", b"9007199254740993", b'"\\u0669"']
ODD_TEXTS = [
    b'""',
    b'"root"',
    b'"\\ud800"',
    b'"\\u0000"',
    b'"a\\nb"',
    b"null",
    b"7",
    b"[]",
    b'["\\udfff"]',
    b'"' + b"x" * 999 + b'"',
]
ODD_LISTS = [
    b"[]",
    b'["admin"]',
    b'["\\ud800"]',
    b'["\\u0000"]',
    b'["*"]',
    b'["kv.*:\\udc00"]',
    b'["[a-"]',
    b'"*"',
    b"null",
    b"[[]]",
    b"[1]",
]
CLAIMS = st.fixed_dictionaries(
    {"sub": st.sampled_from(ODD_TEXTS), "exp": st.sampled_from(ODD_NUMBERS)},
    optional={
        **{name: st.sampled_from(ODD_NUMBERS) for name in ("nbf", "iat", "gen")},
        **{name: st.sampled_from(ODD_LISTS) for name in ("roles", "permissions")},
        **{name: st.sampled_from(ODD_TEXTS + ODD_LISTS) for name in ("iss", "aud", "jti")},
        "deep": st.sampled_from([b"[" * 900 + b"]" * 900, b'{"a":' * 900 + b"1" + b"}" * 900]),
    },
)
ALGORITHMS = [b'"HS256"', b'"none"', b'"HS384"', b'"RS256"', b"null", b"[]", b'"\\ud800"', b"1e400"]
JOSE = st.fixed_dictionaries(
    {"alg": st.sampled_from(ALGORITHMS[:1] * 8 + ALGORITHMS)},
    optional={name: st.sampled_from(ODD_TEXTS + ODD_LISTS) for name in ("typ", "kid", "crit", "b64", "jwk")},
)


def encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def object_of(members: dict[str, bytes]) -> bytes:
    return b"{" + b",".join(b'"%b":%b' % (name.encode(), value) for name, value in members.items()) + b"}"


def signed(jose: bytes, claims: bytes, secret: str = SECRET) -> str:
    text = encoded(jose) + b"." + encoded(claims)
    return (text + b"." + encoded(hmac.digest(secret.encode(), text, hashlib.sha256))).decode()


@seed(SEED)
@bounded(max_examples=300)
@given(JOSE, CLAIMS)
@example({"alg": b'"HS256"'}, {"sub": b'"\\ud800"', "exp": b"99999999999", "permissions": b'["*"]'})
@example({"alg": b'"HS256"'}, {"sub": b'"x"', "exp": b"99999999999", "roles": b'["\\ud800"]'})
@example({"alg": b'"HS256"'}, {"sub": b'"x"', "exp": b"9" * 4_000, "permissions": b'["*"]'})
def test_whatever_a_well_signed_token_says_nothing_breaks(jose: dict[str, bytes], claims: dict[str, bytes]) -> None:
    harness = GuardedHarness(jwt_secret=SECRET)
    who = harness.caller(harness.bearer(signed(object_of(jose), object_of(claims))))
    codes = [harness.code(who, name) for name in ("auth.me", "kv.keys", "kv.dbsize", "auth.list_keys")]
    remembered = b'{"command":"kv.set","payload":{"key":"a","value":1},"idempotency_key":"once"}'
    codes.append(json.loads(harness.answer(remembered, caller=who).body).get("error", {}).get("code"))
    assert set(codes) <= {None, "UNAUTHORIZED", "FORBIDDEN"}, codes
    assert codes[0] is None or set(codes) == {"UNAUTHORIZED"}
    assert harness.replayed().digest(harness.clock.now()) == harness.digest(), "the journal does not say all"


@seed(SEED)
@bounded(max_examples=300)
@given(JOSE.map(object_of) | st.binary(max_size=60), CLAIMS.map(object_of) | st.binary(max_size=60), st.data())
def test_no_token_that_is_signed_otherwise_is_good(jose: bytes, claims: bytes, data: st.DataObject) -> None:
    harness = GuardedHarness(jwt_secret=SECRET)
    good = b'{"sub":"root","exp":99999999999,"roles":["admin"]}'
    token = signed(jose, data.draw(st.sampled_from([claims, good])), secret="another secret of thirty-two bytes")
    at = data.draw(st.integers(0, len(token)))
    piece = data.draw(st.text(max_size=3) | st.sampled_from([".", "=", "\0", "\udcff", "synap_", " "]))
    for attempt in (token, token[:at] + piece + token[at:], token[:at] + piece, token.rpartition(".")[0] + "."):
        who = harness.caller(harness.bearer(attempt))
        assert harness.code(who, "auth.me") == "UNAUTHORIZED"


# Frames


AUTH = [command.name for command in TABLE.public() if command.namespace == "auth"]
ODD_NAMES = ["\\ud800", "\\udfff\\ud800", "\\u0000", "a\\nb", "a:b", "", "é" * 65, "x" * 200, "\\u202e", "..", "admin"]
MEMBERS = ["username", "password", "name", "id", "role", "roles", "permissions", "allowed_ips", "expires_at", "replace"]
ODD_MEMBERS = st.sampled_from(
    [b"1e400", b"-1", b"null", b"[]", b"{}", b'["*"]', b'["::/0"]', b'["\\ud800"]', b'["\\u0000"]', b"true"]
)
PAYLOADS = st.dictionaries(
    st.sampled_from(MEMBERS),
    ODD_MEMBERS | st.sampled_from(ODD_NAMES).map(lambda name: f'"{name}"'.encode()),
    max_size=4,
).map(object_of)
ENVELOPES = st.dictionaries(
    st.sampled_from(
        ["command", "type", "request_id", "idempotency_key", "ack", "version", "caller", "identity", "token"]
    ),
    ODD_MEMBERS | st.sampled_from([b'"auth.me"', b'"batch"', b'"\\ud800"', b'"root"']),
    max_size=4,
).map(object_of)
ASKED = st.sampled_from(AUTH).flatmap(
    lambda name: (
        PAYLOADS.map(lambda payload: b'{"command":"%b","payload":%b}' % (name.encode(), payload))
        | payloads(TABLE.get(name)).map(lambda payload: json.dumps({"command": name, "payload": payload}).encode())  # type: ignore[arg-type]
    )
)


@seed(SEED)
@bounded(max_examples=300)
@given(st.lists(ASKED | ENVELOPES, min_size=1, max_size=8))
@example([b'{"command":"auth.create_user","payload":{"username":"\\ud800","password":"x"}}'])
@example([b'{"command":"auth.login","payload":{"username":"a","password":"\\ud800"}}'])
@example([b'{"command":"auth.create_key","payload":{"name":"a\\u0000\\n","permissions":["*"]}}'] * 2)
def test_no_account_upsets_the_server(bodies: list[bytes]) -> None:
    harness = GuardedHarness()
    lesser = harness.caller(harness.key("kv.*"))
    assert harness.code(lesser, "auth.me") is None, "that it is in use is noted"
    digest = harness.digest()
    for body in bodies:
        told = json.loads(harness.answer(body, caller=lesser).body)
        assert told.get("error", {}).get("code") != "INTERNAL_ERROR", told
        assert told["status"] == "error" or json.loads(body)["command"] == "auth.me", told
    assert harness.digest() == digest, "who may do nothing has done something"
    for body in bodies:
        told = json.loads(harness.answer(body).body)
        assert told.get("error", {}).get("code") != "INTERNAL_ERROR", told
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()


@seed(SEED)
@bounded(max_examples=100)
@given(st.lists(st.tuples(ASKED | ENVELOPES, st.binary(max_size=4), st.integers(0, 200)), min_size=1, max_size=6))
def test_no_frame_lets_anybody_do_more(target: Target, mutated: list[tuple[bytes, bytes, int]]) -> None:
    with connected(target, path=f"{SOCKET_PATH}?token={target.secret}") as connection:
        with suppress(OSError):
            for body, piece, at in mutated:
                spoilt = frame(Opcode.TEXT, body)
                connection.send_raw(spoilt if len(piece) % 2 else spoilt[:at] + piece + spoilt[at + 1 :])
        told = all_told(connection)
    for reply in told:
        assert reply.get("error", {}).get("code") != "INTERNAL_ERROR", reply
        assert reply["status"] == "error" or reply["payload"]["name"] == "good", reply
    target.check([])


def all_told(connection: Socket) -> list[dict[str, Any]]:
    """What is answered to all that was sent; the end of it is asked for in a way that a broken frame may swallow."""
    told = []
    with suppress(OSError, EOFError):
        connection.send_raw(frame(Opcode.CLOSE, b"\x03\xe8"))
        connection.connection.shutdown(socket.SHUT_WR)
        while True:
            told.append(connection.message())
    return told


@pytest.mark.parametrize(
    "query", ["", "?token=", "?token=synap_x", "?token=%FF", "?token=%ED%A0%80", "?token=a%0D%0Ab"]
)
def test_nobody_gets_a_connection_that_stays(target: Target, query: str) -> None:
    with pytest.raises(InvalidStatus, match="401"), connected(target, path=SOCKET_PATH + query):
        pass
    for path in ("/pubsub/events", "/stream/a/events"):
        answers = target.told(request("GET", path + query))
        assert [answer.status for answer in answers] == [401]


# Pages

AUTHORITIES = [
    *("127.0.0.1.evil.example", "127.0.0.1.evil.example:{port}", "127.0.0.1:{port}.evil.example"),
    *("evil.example#127.0.0.1:{port}", "127.0.0.1:{port}@evil.example", "evil.example@127.0.0.1:{port}"),
    *("127.0.0.1", "127.0.0.1:0{port}", "127.0.0.1:{port}0", ":{port}", "*", "127.0.0.1.:{port}", "[::1]:{port}"),
    *("[::ffff:127.0.0.1]:{port}", "localhost:{port}", "2130706433:{port}", "0x7f.1:{port}", "127.1:{port}"),
    *("127.0.0.1:{port}/", "127.0.0.1:{port}?", "127.0.0.1:{port},x", "127.0.0.1:{port};x", "127.0.0.1%3A{port}"),
    *("127\u30020\u30020\u30021:{port}", "\uff1127.0.0.1:{port}", "evil.example://127.0.0.1:{port}"),
]  # fmt: skip
WHOLE = [
    *("null", "NULL", "*", ",", "127.0.0.1:{port}", "//127.0.0.1:{port}", "http:/127.0.0.1:{port}"),
    *("http:127.0.0.1:{port}", "app.example", "http://", "https://app.example.", "https://app.example:443"),
    *("https://app.example:", "https://app.example/", "HTTPS://APP.EXAMPLE", "https://app.example@evil.example"),
    *("https://app.example.evil.example", "https://evil.app.example", "http://app.example"),
    *("https://app.example,https://app.example", "https://\u0430pp.example", "https://app.example\\@evil.example"),
    *("https://app%2eexample", "https://app.example;"),
]  # fmt: skip
ORIGINS = [*(f"{scheme}://{each}" for scheme in ("http", "https") for each in AUTHORITIES), *WHOLE]
ORIGINS += [f"{APP} {APP}", "null, http://127.0.0.1:{port}", "null http://127.0.0.1:{port}", "-://127.0.0.1:{port}"]
ASKING = {name: door for name, door in DOORS.items() if name not in ("page", "no route")}


def with_token(path: str, token: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}token={token}"


@pytest.mark.parametrize("door", ASKING)
def test_no_page_is_taken_for_another(target: Target, door: str) -> None:
    method, path, body, more = ASKING[door]
    headers: Headers = (*more, target.key)
    for origin in (template.replace("{port}", str(target.port)) for template in ORIGINS):
        told = ask(target.server, method, path, body, (*headers, ("Origin", origin)))
        assert told.status in (400, 403), origin
        assert told.header("Access-Control-Allow-Origin") is None
        if method == "GET" and (path == SOCKET_PATH or "events" in path):
            told = ask(target.server, method, with_token(path, target.secret), body, (*more, ("Origin", origin)))
            assert told.status in (400, 403), origin
    assert target.ask(target.key, "kv.exists", key="a").payload["exists"] is False


@pytest.mark.parametrize("door", ASKING)
def test_two_origins_are_not_one(target: Target, door: str) -> None:
    method, path, body, more = ASKING[door]
    length = [] if body is None else [("Content-Length", str(len(body)))]
    own = f"http://127.0.0.1:{target.port}"
    for pair in (
        (APP, "https://evil.example"),
        ("https://evil.example", APP),
        (own, "null"),
        ("null", own),
        (APP, own),
    ):
        headers = [*more, target.key, *length, *(("Origin", origin) for origin in pair)]
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{target.port}", *(f"{n}: {v}" for n, v in headers)]
        answers = target.told("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        assert [answer.status in (400, 403) for answer in answers] == [True], pair
    assert target.ask(target.key, "kv.exists", key="a").payload["exists"] is False


def test_a_page_that_may_ask_still_has_to_log_in(target: Target) -> None:
    for origin in (APP, f"http://127.0.0.1:{target.port}"):
        for method, path, body, more in ASKING.values():
            assert ask(target.server, method, path, body, (*more, ("Origin", origin))).status == 401
