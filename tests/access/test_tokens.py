"""Tokens of others: those signed with the right key are good, and nothing else that looks like one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from synap.commands import TABLE
from synap.commands.caller import Identity
from synap.commands.credentials import Credentials
from synap.config import Auth, UnusableSetting
from synap.engines.accounts import Accounts
from synap.errors import Unauthorized
from tests.access.helpers import Guarded, GuardedHarness, bearer
from tests.transport.sockets import wired
from tests.transport.wire import command, envelope

SECRET = "a secret of at least thirty-two bytes"
LATER_SECS = 10_000
RSA = rsa.generate_private_key(65_537, 2_048)
OTHER_RSA = rsa.generate_private_key(65_537, 2_048)
EC = ec.generate_private_key(ec.SECP256R1())
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def private_pem(key: Private) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: Private) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def claims(**changed: Any) -> dict[str, Any]:
    """Claims of an administrator, some of them changed; None takes one away."""
    given = {"sub": "somebody", "exp": int(time.time()) + LATER_SECS, "roles": ["admin"], **changed}
    return {name: value for name, value in given.items() if value is not None}


def checked(harness: GuardedHarness, identity: Identity) -> Identity:
    """The identity, if it is good. Raises SynapError."""
    identity.check(harness.clock.now())
    return identity


def signed(header: bytes, body: bytes, secret: str = SECRET) -> str:
    """A token that no library would make, signed with HS256."""
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, body))
    mac = hmac.digest(secret.encode(), text, hashlib.sha256)
    return (text + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", RSA), ("ES256", EC)])
def test_a_token_signed_with_the_private_key_is_good(algorithm: str, key: Private) -> None:
    harness = GuardedHarness(jwt_public_key=public_pem(key))
    token = jwt.encode(claims(permissions=["kv.get:a*"]), private_pem(key), algorithm=algorithm)
    identity = checked(harness, harness.bearer(token))
    assert (identity.grant.name, identity.grant.kind, identity.grant.roles) == ("somebody", "token", ("admin",))
    assert {str(p) for p in identity.grant.permissions} == {"kv.get:a*", "*"}


def test_a_token_signed_with_the_secret_is_good() -> None:
    harness = GuardedHarness(jwt_secret=SECRET)
    checked(harness, harness.bearer(jwt.encode(claims(), SECRET)))
    checked(harness, harness.bearer(jwt.encode(claims(aud="x", iss="y", jti="z"), SECRET)))


BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "no exp": {"exp": None},
    "no sub": {"sub": None},
    "expired": {"exp": int(time.time()) - 1},
    "not yet good": {"nbf": int(time.time()) + LATER_SECS},
    "exp is no number": {"exp": "soon"},
    "exp is a list": {"exp": [1]},
    "sub is a number": {"sub": 7},
    "sub is a list": {"sub": ["root"]},
    "roles is a text": {"roles": "admin"},
    "roles holds a number": {"roles": ["admin", 1]},
    "roles is an object": {"roles": {"admin": True}},
    "permissions is a text": {"permissions": "*"},
    "a permission without a command": {"permissions": [":key"]},
    "an empty permission": {"permissions": [""]},
    "a permission with an empty key": {"permissions": ["kv.get:"]},
    "a permission far too long": {"permissions": ["x" * 2_000]},
    "ours, without a generation": {"iss": "synap", "sub": "alice"},
    "ours, of another generation": {"iss": "synap", "sub": "alice", "gen": 99},
    "ours, of nobody": {"iss": "synap", "sub": "nobody", "gen": None},
    "ours, of root": {"iss": "synap", "sub": "root", "gen": 1},
}


@pytest.mark.parametrize("changed", BAD_CLAIMS.values(), ids=BAD_CLAIMS.keys())
def test_a_token_with_wrong_claims_is_none(changed: dict[str, Any]) -> None:
    harness = GuardedHarness(jwt_secret=SECRET)
    harness.call("auth.create_user", username="alice", password="p", roles=["admin"])
    with pytest.raises(Unauthorized):
        checked(harness, harness.bearer(signed(b'{"alg":"HS256"}', json.dumps(claims(**changed)).encode())))


BAD_BODIES = [
    b"",
    b"null",
    b"[]",
    b"7",
    b'"admin"',
    b"{",
    b"\xff",
    b"[" * 5_000,
    b'{"sub":"a","roles":["admin"],"exp":1e999}',
    b'{"sub":"a","roles":["admin"],"exp":NaN}',
    b'{"sub":"a","roles":["admin"],"exp":Infinity}',
    b'{"sub":"a","roles":["admin"],"exp":null}',
    b'{"sub":"a","roles":["admin"],"exp":%b}' % (b"9" * 5_000),
    b'{"sub":"a","roles":null,"exp":99999999999}',
    b'{"sub":"a","roles":["admin"],"exp":99999999999,"exp":1}',
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
def test_a_well_signed_token_of_nonsense_is_none(body: bytes) -> None:
    harness = GuardedHarness(jwt_secret=SECRET)
    with pytest.raises(Unauthorized):
        checked(harness, harness.bearer(signed(b'{"alg":"HS256","typ":"JWT"}', body)))


def test_a_token_far_too_long_is_none() -> None:
    harness = GuardedHarness(jwt_secret=SECRET)
    with pytest.raises(Unauthorized):
        checked(harness, harness.bearer(jwt.encode(claims(padding="x" * 10_000), SECRET)))


HEADERS: dict[str, bytes] = {
    "alg none": b'{"alg":"none"}',
    "alg None": b'{"alg":"None"}',
    "no alg": b"{}",
    "alg null": b'{"alg":null}',
    "alg a list": b'{"alg":["HS256"]}',
    "HS384": b'{"alg":"HS384"}',
    "HS512": b'{"alg":"HS512"}',
    "lower case": b'{"alg":"hs256"}',
    "RS256": b'{"alg":"RS256"}',
    "ES256": b'{"alg":"ES256"}',
    "crit": b'{"alg":"HS256","crit":["exp"],"exp":1}',
    "unknown crit": b'{"alg":"HS256","crit":["x"],"x":1}',
    "b64 false": b'{"alg":"HS256","b64":false,"crit":["b64"]}',
    "kid a number": b'{"alg":"HS256","kid":7}',
    "not an object": b'"HS256"',
    "nonsense": b"\xff\xfe",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_a_token_with_a_strange_header_is_none_even_if_it_is_well_signed(header: bytes) -> None:
    harness = GuardedHarness(jwt_secret=SECRET, jwt_public_key=public_pem(RSA))
    token = signed(header, json.dumps(claims()).encode())
    for attempt in (token, token.rpartition(".")[0] + "."):
        with pytest.raises(Unauthorized):
            checked(harness, harness.bearer(attempt))


def test_where_a_token_says_its_key_is_nobody_looks() -> None:
    harness = GuardedHarness(jwt_public_key=public_pem(RSA))
    own_key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_RSA.public_key()))
    for tricks in ({"kid": "../../dev/null"}, {"jku": "http://127.0.0.1:1/"}, {"jwk": own_key}, {"x5u": "http://x/"}):
        good = jwt.encode(claims(), private_pem(RSA), algorithm="RS256", headers=tricks)
        checked(harness, harness.bearer(good))
        with pytest.raises(Unauthorized):
            bad = jwt.encode(claims(), private_pem(OTHER_RSA), algorithm="RS256", headers=tricks)
            checked(harness, harness.bearer(bad))


@pytest.mark.parametrize("key", [RSA, EC], ids=["RS256", "ES256"])
def test_the_public_key_is_no_secret_to_sign_with(key: Private) -> None:
    pem = public_pem(key)
    for jwt_secret in ("", SECRET):
        harness = GuardedHarness(jwt_public_key=pem, jwt_secret=jwt_secret)
        for secret in (pem, pem.strip(), ""):
            for iss in (None, "synap"):
                body = json.dumps(claims(iss=iss, sub="root")).encode()
                with pytest.raises(Unauthorized):
                    checked(harness, harness.bearer(signed(b'{"alg":"HS256"}', body, secret)))


def test_an_issuer_with_a_public_key_cannot_speak_for_users_of_this_server() -> None:
    harness = GuardedHarness(jwt_public_key=public_pem(RSA))
    harness.call("auth.create_user", username="alice", password="p", roles=["admin"])
    generation = harness.state.accounts.user("alice").generation  # type: ignore[union-attr]
    token = jwt.encode(claims(iss="synap", sub="alice", gen=generation), private_pem(RSA), algorithm="RS256")
    with pytest.raises(Unauthorized):
        checked(harness, harness.bearer(token))


def test_only_algorithms_that_are_listed_are_taken() -> None:
    pem = public_pem(RSA)
    harness = GuardedHarness(jwt_secret=SECRET, jwt_public_key=pem, jwt_algorithms=["RS256"])
    checked(harness, harness.bearer(jwt.encode(claims(), private_pem(RSA), algorithm="RS256")))
    with pytest.raises(Unauthorized):
        checked(harness, harness.bearer(jwt.encode(claims(), SECRET)))
    for settings in (Auth(jwt_algorithms=["HS256"]), Auth(jwt_public_key=pem, jwt_algorithms=["ES256"])):
        with pytest.raises(UnusableSetting) as raised:
            Credentials(Accounts(), settings)
        assert raised.value.key == "auth.jwt_algorithms"


def test_a_token_with_neither_roles_nor_permissions_may_only_ask_who_it_is() -> None:
    harness = GuardedHarness(jwt_secret=SECRET)
    who = harness.caller(harness.bearer(jwt.encode(claims(roles=None), SECRET)))
    assert harness.code(who, "auth.me") is None
    for asked in TABLE.public():
        if not asked.is_open:
            assert harness.code(who, asked.name) == "FORBIDDEN"


def test_a_role_that_there_is_not_allows_nothing() -> None:
    harness = GuardedHarness(jwt_secret=SECRET)
    who = harness.caller(harness.bearer(jwt.encode(claims(roles=["ghosts", "", "*"]), SECRET)))
    assert harness.code(who, "kv.dbsize") == "FORBIDDEN"


def test_a_token_that_was_early_is_good_when_its_time_has_come(tmp_path: Path) -> None:
    with Guarded(tmp_path / "data", auth={"jwt_secret": SECRET}) as server, wired(server) as wire:
        token = jwt.encode(claims(nbf=int(time.time()) + 2), SECRET)
        asked = command(envelope("kv.dbsize"), [bearer(token)])
        assert wire.ask(asked).status == 401
        deadline = time.monotonic() + 5
        while wire.ask(asked).status == 401:
            assert time.monotonic() < deadline, "the connection remembers that it was too early"
            time.sleep(0.1)
