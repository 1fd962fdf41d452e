"""What the audit log tells, how much of it, and that no secret is told there or anywhere else."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import orjson
import pytest

from synap.commands import TABLE
from synap.commands.audit import DENIALS_BURST, DENIALS_PER_SEC
from tests.access.helpers import ROOT, ROOT_PASSWORD, Guarded, GuardedHarness, Header, basic, bearer
from tests.payloads.samples import samples
from tests.transport.sockets import connected, wired
from tests.transport.wire import Answer, command, envelope, request

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACE = ("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01")
JWT_SECRET = "the secret that tokens are signed with"


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG):
        yield


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Guarded]:
    with Guarded(tmp_path / "data", auth={"jwt_secret": JWT_SECRET}, log={"slow_ms": 0.000_001}) as running:
        yield running


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, dict[str, Any]]]:
    """The lines of the audit log: level and fields."""
    found = [record for record in caplog.records if record.name == "synap.audit"]
    return [(record.levelname, record.__dict__["fields"]) for record in found]


def last(caplog: pytest.LogCaptureFixture) -> tuple[str, dict[str, Any]]:
    level, fields = lines(caplog)[-1]
    return level, {name: value for name, value in fields.items() if name != "client"}


def ask(server: Guarded, asked: str, /, *headers: Header, **payload: Any) -> Answer:
    with wired(server) as wire:
        return wire.ask(command(envelope(asked, **payload), headers))


# Lines


def test_every_login_leaves_a_line(server: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("anna", "ben"):
        server.admin("auth.create_user", username=name, password="right")
    ask(server, "auth.login", TRACE, username="anna", password="right")
    assert last(caplog) == ("INFO", {"event": "login", "outcome": "success", "username": "anna", "trace_id": TRACE_ID})
    assert lines(caplog)[-1][1]["client"].startswith("127.0.0.1:")
    ask(server, "auth.me", basic("ben", "right"))
    assert last(caplog)[1] == {"event": "login", "outcome": "success", "username": "ben"}
    ask(server, "auth.login", username="anna", password="wrong")
    assert ("WARNING", {"event": "login", "outcome": "failure", "username": "anna"}) in [
        (level, {k: v for k, v in fields.items() if k != "client"}) for level, fields in lines(caplog)[-2:]
    ]
    for _ in range(10):
        ask(server, "auth.me", basic("anna", "wrong"))
    outcomes = [fields["outcome"] for _, fields in lines(caplog) if fields["event"] == "login"]
    assert outcomes[-10:] == ["failure"] * 9 + ["throttled"]


def test_every_denial_leaves_a_line(server: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    key = server.key("kv.get", name="reporting")
    ask(server, "kv.set", key.header, TRACE, key="a", value=1)
    assert last(caplog) == (
        "WARNING",
        {
            "event": "denied",
            "user": "reporting",
            "trace_id": TRACE_ID,
            "code": "FORBIDDEN",
            "command": "kv.set",
            "reason": "this needs the permission kv.set",
        },
    )
    ask(server, "kv.set", key="a", value=1)
    level, fields = last(caplog)
    assert (level, fields["code"], fields["command"], "user" in fields) == ("WARNING", "UNAUTHORIZED", "kv.set", False)
    with wired(server) as wire:
        wire.ask(request("GET", "/metrics", headers=[key.header]))
    assert (last(caplog)[1]["code"], last(caplog)[1]["user"]) == ("FORBIDDEN", "reporting")
    with connected(server, path=f"/api/v1/ws?token={key.secret}") as socket:
        socket.reply(socket.begin("kv.flushdb"))
    assert (last(caplog)[1]["command"], last(caplog)[1]["user"]) == ("kv.flushdb", "reporting")


CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("auth.create_role", {"role": "r", "permissions": ["kv.get"]}, "r"),
    ("auth.create_user", {"username": "u", "password": "p"}, "u"),
    ("auth.grant_role", {"username": "u", "role": "r"}, "u"),
    ("auth.revoke_role", {"username": "u", "role": "r"}, "u"),
    ("auth.disable_user", {"username": "u"}, "u"),
    ("auth.enable_user", {"username": "u"}, "u"),
    ("auth.set_password", {"username": "u", "password": "q"}, "u"),
    ("auth.delete_user", {"username": "u"}, "u"),
    ("auth.delete_role", {"role": "r"}, "r"),
    ("auth.create_key", {"name": "k", "permissions": ["kv.get"]}, "k"),
]


def test_every_change_of_accounts_leaves_a_line(server: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    made = {}
    for name, payload, subject in CHANGES:
        made = server.admin(name, **payload)
        assert last(caplog) == ("INFO", {"event": name, "user": "root", "subject": subject})
    server.admin("auth.revoke_key", id=made["id"])
    assert last(caplog)[1] == {"event": "auth.revoke_key", "user": "root", "subject": made["id"]}
    tried = {name for name, _, _ in CHANGES} | {"auth.revoke_key"}
    assert tried == {c.name for c in TABLE.public() if c.namespace == "auth" and c.writes}


def test_what_changes_nothing_leaves_no_line(server: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    server.admin("auth.create_user", username="u", password="p")
    before = len(lines(caplog))
    server.admin("auth.enable_user", username="u")
    server.admin("auth.list_users")
    server.admin("kv.set", key="a", value=1)
    server.code(ROOT, "auth.create_user", username="u", password="p")
    assert len(lines(caplog)) == before


# How many


def test_denials_are_all_counted_and_not_all_told(caplog: pytest.LogCaptureFixture) -> None:
    harness = GuardedHarness()
    who = harness.caller(harness.key("kv.get"))
    for _ in range(3 * DENIALS_BURST):
        harness.code(who, "kv.set", key="a", value=1)
    assert len(lines(caplog)) - 1 == DENIALS_BURST  # one was of the key
    harness.clock.advance(2)
    for _ in range(DENIALS_BURST):
        harness.code(who, "kv.set", key="a", value=1)
    told = [fields for _, fields in lines(caplog)[1 + DENIALS_BURST :]]
    assert len(told) == 2 * DENIALS_PER_SEC
    assert [fields.get("left_out") for fields in told] == [2 * DENIALS_BURST] + [None] * (len(told) - 1)
    assert harness.credentials.audit.counts["denied", "FORBIDDEN"] == 4 * DENIALS_BURST


def test_failed_logins_are_all_counted_and_not_all_told(caplog: pytest.LogCaptureFixture) -> None:
    harness = GuardedHarness()
    tries = 3 * DENIALS_BURST
    for n in range(tries):
        nobody = harness.caller(harness.credentials.nobody, f"192.0.{n // 200}.{n % 200}")
        harness.code(nobody, "auth.login", username=f"user{n}", password="x")
    assert len(lines(caplog)) == DENIALS_BURST
    counts = harness.credentials.audit.counts
    assert (counts["login", "failure"], counts["denied", "UNAUTHORIZED"]) == (tries, tries)


def test_the_counts_are_among_the_metrics(server: Guarded) -> None:
    ask(server, "kv.dbsize")
    with wired(server) as wire:
        text = wire.ask(request("GET", "/metrics", headers=[ROOT])).body.decode()
    counted = [line for line in text.splitlines() if line.startswith("synap_denials") and "UNAUTHORIZED" in line]
    assert [line.split()[-1] for line in counted] in (["1"], ["1.0"])


# Secrets


LOGINS: list[dict[str, Any]] = [
    {"username": "anna", "password": "s3cret-0"},
    {"username": "anna", "password": "s3cret-1"},
    {"username": "a:b", "password": "s3cret-2"},
    {"username": "ben", "password": "s3cret-3" + "x" * 2_000},
    {"username": "ben", "password": ["s3cret-4"]},
    {"username": "ben", "password": "s3cret-5", "roles": ["ghosts"]},
    {"username": "ben", "pasword": "s3cret-6"},
    {"username": "ben", "password": {"s3cret-7": 1}},
]


def test_no_secret_is_kept_or_told_anywhere(server: Guarded, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    told: list[bytes] = []

    def send(asked: str, /, *headers: Header, **payload: Any) -> Any:
        answer = ask(server, asked, *headers, **payload)
        told.append(answer.body)
        return answer.json

    secrets = [ROOT_PASSWORD, JWT_SECRET]
    for number, payload in enumerate(LOGINS):
        secrets.append(f"s3cret-{number}")
        for name in ("auth.create_user", "auth.set_password", "auth.login"):
            send(name, ROOT, **payload)
            send(name, **payload)
    made = ask(server, "auth.create_key", ROOT, name="k", permissions=["*"]).payload
    token = ask(server, "auth.login", username="anna", password="s3cret-0").json
    secrets += [made["key"], "synap_wrong-key", "wrong.token.x"]
    if token["success"]:
        secrets.append(token["payload"]["token"])
    signed = jwt.encode({"sub": "a", "exp": 1}, JWT_SECRET)
    secrets.append(signed)
    headers = [
        ("X-API-Key", "synap_wrong-key"),
        bearer("synap_wrong-key"),
        bearer("wrong.token.x"),
        bearer(signed),
        ("X-API-Key", made["key"]),
        ("Authorization", "s3cret-8"),
        ("Authorization", "Basic s3cret-8"),
    ]
    secrets.append("s3cret-8")
    for header in headers:
        send("kv.nonsense", header)
        send("kv.get", header, key=1)
        with wired(server) as wire:
            told.append(wire.ask(request("GET", f"/kv/scan?token={made['key']}", headers=[header])).body)
    for name in ("admin.config", "admin.slowlog", "admin.clients", "admin.stats", "auth.list_keys", "auth.list_users"):
        send(name, ROOT)
    with wired(server) as wire:
        told.append(wire.ask(request("GET", "/metrics", headers=[ROOT])).body)
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file())
    logged = "\n".join(f"{r.getMessage()} {r.__dict__.get('fields')} {r.exc_text}" for r in caplog.records)
    for secret in secrets:
        assert secret.encode() not in kept, secret
        assert secret not in logged, secret
        assert not [body for body in told if secret.encode() in body], secret


def test_commands_with_secrets_stand_in_no_batch_and_take_no_idempotency_key(server: Guarded) -> None:
    secret = {c.name: c for c in TABLE.public() if c.is_secret}
    assert set(secret) == {"auth.create_key", "auth.create_user", "auth.login", "auth.set_password"}
    for name, of in secret.items():
        entry = {"command": name, "payload": samples(of)[0]}
        for atomic in (False, True):
            batch = server_reply(server, {"type": "batch", "commands": [entry], "atomic": atomic})
            assert batch["results"][0]["error"]["code"] == "INVALID_REQUEST"
        if name != "auth.login":  # no write: the key of one that reads means nothing
            reply = server_reply(server, {**entry, "idempotency_key": "once"})
            assert reply["error"]["code"] == "INVALID_REQUEST", name


def server_reply(server: Guarded, body: Any, *headers: Header) -> Any:
    with wired(server) as wire:
        return wire.ask(command(orjson.dumps(body), headers or [ROOT])).json


# Idempotency keys


def test_a_reply_remembered_for_one_credential_is_not_told_to_another(server: Guarded) -> None:
    server.admin("kv.set", key="a", value="something secret")
    one, other = server.key("kv.*"), server.key("kv.*")
    asked = {"command": "kv.getset", "payload": {"key": "a", "value": 1}, "idempotency_key": "same"}
    first = server_reply(server, asked, one.header)
    assert first["payload"]["value"] == "something secret"
    assert server_reply(server, asked, one.header)["payload"] == first["payload"]
    for headers in ([other.header], [ROOT], [("X-Unknown", "x")]):
        assert "something secret" not in json.dumps(server_reply(server, asked, *headers))


def test_nobody_learns_without_a_credential_which_idempotency_keys_there_are(server: Guarded) -> None:
    asked = {"command": "kv.set", "payload": {"key": "a", "value": 1}, "idempotency_key": "in use"}
    server_reply(server, asked)
    for key in ("in use", "not in use"):
        code = server_reply(server, {**asked, "idempotency_key": key}, ("X-Unknown", "x"))["error"]["code"]
        assert code == "UNAUTHORIZED"


def test_whoever_may_not_ask_learns_nothing_from_an_idempotency_key(server: Guarded) -> None:
    asked = {"command": "kv.set", "payload": {"key": "a", "value": 1}, "idempotency_key": "in use"}
    server_reply(server, asked)
    assert server_reply(server, asked, server.key("kv.get").header)["error"]["code"] == "FORBIDDEN"
