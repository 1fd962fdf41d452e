"""What proves who somebody is, and what does not: API keys, passwords, and where they may stand."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus

from synap.commands.credentials import Credentials
from synap.errors import SynapError, Unauthorized
from synap.transport.guard import Guard, Unverified
from tests.access.helpers import ROOT, ROOT_PASSWORD, Guarded, GuardedHarness, basic, bearer
from tests.support import CHEAP_HASHER, FakeClock
from tests.transport.sockets import connected, listening, wired
from tests.transport.wire import command, envelope, request

SECRET = "a secret of at least thirty-two bytes"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with Guarded(tmp_path_factory.mktemp("credentials") / "data") as running:
        yield running


# API keys


def test_an_api_key_is_good_as_x_api_key_and_as_bearer(server: Guarded) -> None:
    key = server.key("kv.get")
    for header in (key.header, bearer(key.secret), ("authorization", f"bearer  {key.secret}")):
        me = server.ask(header, "auth.me").payload
        assert (me["name"], me["kind"], me["permissions"]) == ("test", "key", ["kv.get"])


@pytest.mark.parametrize("spoil", [lambda k: k[:-1], lambda k: k + "x", str.upper, lambda k: k[6:], lambda k: ""])
def test_a_key_that_is_nearly_right_is_none(server: Guarded, spoil: Callable[[str], str]) -> None:
    secret = spoil(server.key("*").secret)
    assert server.code(("X-API-Key", secret), "kv.dbsize") == "UNAUTHORIZED"
    assert server.code(bearer(secret), "kv.dbsize") == "UNAUTHORIZED"


def test_a_bad_key_is_not_made_up_for_by_a_good_token_beside_it(server: Guarded) -> None:
    with wired(server) as wire:
        headers = [("X-API-Key", "synap_wrong"), bearer(server.key("*").secret)]
        assert wire.ask(command(envelope("kv.dbsize"), headers)).status == 401


@pytest.mark.parametrize("name", ["X-API-Key", "Authorization"])
def test_two_credentials_of_a_kind_are_refused(server: Guarded, name: str) -> None:
    good, bad = server.key("*").secret, "synap_wrong"
    for first, second in ((good, bad), (bad, good), (good, good)):
        values = [f"Bearer {v}" if name == "Authorization" else v for v in (first, second)]
        with wired(server) as wire:
            assert wire.ask(command(envelope("kv.dbsize"), [(name, v) for v in values])).status in (400, 401)


@pytest.mark.parametrize(
    ("allowed", "at_home", "elsewhere"),
    [
        (["192.0.2.7"], ["192.0.2.7", "::ffff:192.0.2.7"], ["192.0.2.8", "::1", "::192.0.2.7", "local"]),
        (["192.0.2.0/30", "10.0.0.0/8"], ["192.0.2.3", "10.9.8.7"], ["192.0.2.4", "11.0.0.0", "::ffff:192.0.2.4"]),
        (["192.0.2.9/30"], ["192.0.2.8"], ["192.0.2.12"]),
        (["2001:db8::/32"], ["2001:db8::1", "2001:db8:ffff::"], ["2001:db9::", "32.1.13.184", "nonsense", ""]),
        (["::1"], ["::1"], ["127.0.0.1", "::2"]),
    ],
)
def test_a_key_may_be_limited_to_addresses(allowed: list[str], at_home: list[str], elsewhere: list[str]) -> None:
    harness = GuardedHarness()
    key = harness.key("*", allowed_ips=allowed)
    for address in at_home:
        assert harness.code(harness.caller(key, address), "kv.dbsize") is None
    for address in elsewhere:
        assert harness.code(harness.caller(key, address), "kv.dbsize") == "FORBIDDEN"
        assert harness.code(harness.caller(key, address), "auth.me") == "FORBIDDEN"


# Passwords


class CountingHasher:
    """Counts how often a password is verified."""

    def __init__(self) -> None:
        self.verified = 0

    def verify(self, password_hash: str, password: str) -> bool:
        self.verified += 1
        return CHEAP_HASHER.verify(password_hash, password)

    def hash(self, password: str) -> str:
        return CHEAP_HASHER.hash(password)


def test_a_password_is_verified_once_and_then_known(server: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = CountingHasher()
    monkeypatch.setattr(server.credentials, "_hasher", hasher)
    server.admin("auth.create_user", username="anna", password="right", roles=["reader"])
    for _ in range(3):
        assert server.code(basic("anna", "right"), "kv.dbsize") is None
    assert hasher.verified == 1
    assert server.code(basic("anna", "wrong"), "kv.dbsize") == "UNAUTHORIZED"
    assert server.code(basic("anna", "right "), "kv.dbsize") == "UNAUTHORIZED"
    assert hasher.verified == 3


def test_for_who_does_not_exist_a_password_is_verified_as_well(
    server: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasher = CountingHasher()
    monkeypatch.setattr(server.credentials, "_hasher", hasher)
    unknown = server.ask(basic("nobody", "x"), "kv.dbsize")
    server.admin("auth.create_user", username="ben", password="right")
    wrong = server.ask(basic("ben", "x"), "kv.dbsize")
    assert hasher.verified == 2
    assert unknown.error == wrong.error
    assert server.code(None, "auth.login", username="nobody", password="x") == "UNAUTHORIZED"
    assert hasher.verified == 3


@pytest.mark.parametrize("is_hashed", [False, True])
def test_root_is_named_by_the_settings(tmp_path: Path, is_hashed: bool) -> None:
    password = CHEAP_HASHER.hash(ROOT_PASSWORD) if is_hashed else ROOT_PASSWORD
    with Guarded(tmp_path / "data", auth={"root_password": password, "root_username": "root"}) as server:
        assert server.admin("auth.me") == {"name": "root", "kind": "root", "roles": ["admin"], "permissions": ["*"]}
        assert server.code(basic("root", "wrong"), "kv.dbsize") == "UNAUTHORIZED"
        assert server.code(basic("root", ""), "kv.dbsize") == "UNAUTHORIZED"
        assert server.code(basic("root", password), "kv.dbsize") == ("UNAUTHORIZED" if is_hashed else None)
        token = server.ask(None, "auth.login", username="root", password=ROOT_PASSWORD).payload["token"]
        assert server.ask(bearer(token), "auth.me").payload["kind"] == "root"
        assert server.code(ROOT, "auth.create_user", username="root", password="x") == "USER_EXISTS"
        assert server.admin("auth.list_users") == {"users": []}


def test_without_a_password_there_is_no_root() -> None:
    harness = GuardedHarness(root_password="")
    assert harness.code(harness.caller(harness.credentials.nobody), "auth.login", username="root", password="x")
    check = harness.credentials.password_check("root", "")
    assert not check.run()


def test_failed_logins_are_slowed_down_and_forgotten_after_a_while() -> None:
    harness = GuardedHarness()
    harness.call("auth.create_user", username="carl", password="right")
    nobody = harness.caller(harness.credentials.nobody)
    login = {"username": "carl", "password": "wrong"}
    codes = [harness.code(nobody, "auth.login", **login) for _ in range(11)]
    assert codes == ["UNAUTHORIZED"] * 10 + ["RATE_LIMIT_EXCEEDED"]
    right = envelope("auth.login", username="carl", password="right")
    refused = harness.answer(right, caller=nobody)
    assert (refused.status, (refused.headers or {})["Retry-After"]) == (429, "10")
    elsewhere = harness.caller(harness.credentials.nobody, "192.0.2.2")
    assert harness.code(elsewhere, "auth.login", **login) == "UNAUTHORIZED"
    harness.clock.advance(9)
    assert (harness.answer(right, caller=nobody).headers or {})["Retry-After"] == "1"
    harness.clock.advance(1)
    assert harness.answer(right, caller=nobody).status == 200
    assert harness.code(nobody, "auth.login", **login) == "UNAUTHORIZED"


def test_a_name_is_guessed_no_faster_from_many_addresses() -> None:
    harness = GuardedHarness()
    codes = [
        harness.code(
            harness.caller(harness.credentials.nobody, f"192.0.2.{n}"), "auth.login", username="dora", password="x"
        )
        for n in range(30)
    ]
    assert codes == ["UNAUTHORIZED"] * 20 + ["RATE_LIMIT_EXCEEDED"] * 10


def test_basic_is_slowed_down_as_logins_are(tmp_path: Path) -> None:
    with Guarded(tmp_path / "data") as server:
        answers = [server.ask(basic("emil", "x"), "kv.dbsize") for _ in range(12)]
        assert [a.status for a in answers] == [401] * 10 + [429] * 2
        assert int(answers[-1].header("Retry-After") or 0) in range(1, 11)
        assert server.code(ROOT, "kv.dbsize") is None, "who has been verified is not held up"


# While a password is on its way


NO_WORKERS: Any = None  # headers alone need none


class Halted:
    """Has the server verify passwords in its own time."""

    def __init__(self, server: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        server.credentials._failures.clear()  # others have failed from the same address
        verify = server.credentials.verify

        def wait(password_hash: str | None, password: str) -> bool:
            is_right = verify(password_hash, password)
            self.begun.set()
            assert self.go_on.wait(10)
            return is_right

        monkeypatch.setattr(server.credentials, "verify", wait)


MEANWHILE: dict[str, tuple[str, dict[str, Any]]] = {
    "disabled": ("auth.disable_user", {}),
    "deleted": ("auth.delete_user", {}),
    "another password": ("auth.set_password", {"password": "other"}),
}


@pytest.mark.parametrize(("change", "more"), MEANWHILE.values(), ids=MEANWHILE.keys())
@pytest.mark.parametrize("is_login", [False, True], ids=["Basic", "login"])
def test_a_user_who_is_gone_while_the_password_is_verified_is_not_let_in(
    server: Guarded, monkeypatch: pytest.MonkeyPatch, change: str, more: dict[str, Any], is_login: bool
) -> None:
    server.admin("auth.create_user", username="frida", password="right", roles=["reader"])
    halted, answers = Halted(server, monkeypatch), []

    def ask() -> None:
        if is_login:
            answers.append(server.ask(None, "auth.login", username="frida", password="right"))
        else:
            answers.append(server.ask(basic("frida", "right"), "admin.config"))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert halted.begun.wait(10)
        server.admin(change, username="frida", **more)
    finally:
        halted.go_on.set()
        asking.join()
        with pytest.MonkeyPatch.context() as ending:
            ending.setattr(server.credentials, "verify", Credentials.verify.__get__(server.credentials))
            if change != "auth.delete_user":
                server.admin("auth.delete_user", username="frida")
    assert answers[0].status == 401, answers[0].json


def test_a_user_made_anew_with_the_same_password_is_let_in(server: Guarded) -> None:
    for _ in range(2):
        server.admin("auth.create_user", username="gerd", password="same", roles=["reader"])
        assert server.code(basic("gerd", "same"), "kv.dbsize") is None
        server.admin("auth.delete_user", username="gerd")
        assert server.code(basic("gerd", "same"), "kv.dbsize") == "UNAUTHORIZED"


# Without a credential, and where a token may stand


def test_what_everybody_may_do_needs_no_credential(tmp_path: Path) -> None:
    auth = {"anonymous_permissions": ["kv.get:public*", "pubsub.subscribe:news.*", "admin.metrics"]}
    with Guarded(tmp_path / "data", auth=auth) as server:
        assert server.code(None, "kv.get", key="public/a") is None
        assert server.code(None, "kv.get", key="private") == "UNAUTHORIZED"
        assert server.code(("X-API-Key", "synap_wrong"), "kv.get", key="public/a") == "UNAUTHORIZED"
        assert server.ask(None, "auth.me").payload["kind"] == "anonymous"
        with wired(server) as wire:
            assert wire.ask(request("GET", "/metrics")).status == 200
            assert wire.ask(request("GET", "/info")).status == 401
        with connected(server) as socket:
            socket.call("pubsub.subscribe", topics=["news.*"])
            with pytest.raises(Unauthorized):
                socket.call("pubsub.subscribe", topics=["#"])


def test_a_token_in_the_address_is_taken_where_browsers_cannot_send_headers_and_nowhere_else(server: Guarded) -> None:
    query = f"token={server.key('*').secret}"
    with connected(server, path=f"/api/v1/ws?{query}") as socket:
        assert socket.call("auth.me")["kind"] == "key"
    with listening(server, f"/pubsub/events?topics=a&{query}") as source:
        assert source.status == 200
    for path in ("/kv/scan", "/info", "/metrics", "/auth/me"):
        with wired(server) as wire:
            assert wire.ask(request("GET", f"{path}?{query}")).status in (401, 422)
    with wired(server) as wire:
        assert wire.ask(request("POST", f"/api/v1/command?{query}", envelope("kv.dbsize"))).status == 401
    with pytest.raises(InvalidStatus), connected(server, path=f"/api/v1/ws?api_key={server.key('*').secret}"):
        pass


# Nonsense

_TEXTS = st.one_of(
    st.text(st.characters(min_codepoint=1, max_codepoint=255, exclude_characters="\r\n")),
    st.sampled_from(
        ["Bearer ", "Basic ", "Basic Og==", "Basic cm9vdDo=", "Bearer a.b.c", "bearer", "synap_", "Basic ="]
    ),
    st.binary().map(lambda b: "Basic " + base64.b64encode(b).decode()),
    st.binary().map(lambda b: "Bearer " + ".".join([base64.urlsafe_b64encode(b).decode()] * 3)),
)


@given(st.one_of(st.none(), _TEXTS), st.one_of(st.none(), _TEXTS))
def test_no_headers_let_anybody_in_by_chance(api_key: str | None, authorization: str | None) -> None:
    harness = _HARNESS
    try:
        identity = Guard(harness.credentials, FakeClock(), NO_WORKERS).identify(api_key, authorization)
    except Unverified as unverified:
        assert not harness.credentials.password_check(unverified.username, unverified.password).run()
        return
    assert identity is not None
    assert identity.rules["kv.get"] == ()
    if api_key is not None or authorization is not None:
        with pytest.raises(SynapError):
            identity.check(harness.clock.now())


_HARNESS = GuardedHarness(jwt_secret=SECRET)


@given(st.sampled_from(["X-API-Key", "Authorization"]), _TEXTS)
def test_no_header_is_too_strange_to_be_refused(name: str, text: str) -> None:
    with wired(_RUNNING[0]) as wire:
        answer = wire.ask(command(envelope("kv.dbsize"), [(name, text)]))
    assert answer.status in (400, 401, 429)


_RUNNING: list[Guarded] = []


@pytest.fixture(scope="module", autouse=True)
def _running(server: Guarded) -> Iterator[None]:
    _RUNNING.append(server)
    yield
    _RUNNING.clear()
