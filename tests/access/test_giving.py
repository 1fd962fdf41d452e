"""Nobody gives more than they have, not even while a password is hashed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from synap.commands import TABLE
from synap.commands.caller import Caller
from synap.commands.waiting import WouldBlock
from tests.access.helpers import GuardedHarness
from tests.transport.wire import envelope

SECRET = "a secret of at least thirty-two bytes"


@pytest.fixture
def lesser() -> tuple[GuardedHarness, Caller]:
    """A harness with an administrator's accounts, and somebody who may do everything to accounts and little else."""
    harness = GuardedHarness(jwt_secret=SECRET)
    harness.call("auth.create_role", role="more", permissions=["kv.*"])
    harness.call("auth.create_role", role="little", permissions=["kv.get:a*"])
    harness.call("auth.create_user", username="boss", password="p", roles=["admin"])
    harness.call("auth.create_user", username="helper", password="p", roles=["little"])
    return harness, harness.caller(harness.key("auth.*", "kv.get:a*"))


TOO_MUCH: list[tuple[str, dict[str, Any]]] = [
    *(
        ("auth.create_key", {"name": "k", "permissions": [p]})
        for p in ("*", "kv.get", "kv.*", "kv.get:*", "kv.get:b*", "kv.g?t:a*", "[k]v.get:a*", "kv.get:[a]*", "?uth.*")
    ),
    ("auth.create_key", {"name": "k", "roles": ["admin"]}),
    ("auth.create_key", {"name": "k", "roles": ["little", "reader"]}),
    ("auth.create_key", {"name": "k", "roles": ["more"], "permissions": ["auth.me"]}),
    ("auth.create_user", {"username": "new", "password": "p", "roles": ["more"]}),
    ("auth.create_role", {"role": "new", "permissions": ["kv.get:a*", "kv.set"]}),
    ("auth.create_role", {"role": "more", "permissions": ["kv.get:a*"], "replace": True}),
    ("auth.create_role", {"role": "little", "permissions": ["*"], "replace": True}),
    ("auth.delete_role", {"role": "more"}),
    ("auth.grant_role", {"username": "helper", "role": "more"}),
    ("auth.grant_role", {"username": "helper", "role": "admin"}),
    ("auth.grant_role", {"username": "boss", "role": "little"}),
    ("auth.revoke_role", {"username": "boss", "role": "admin"}),
    ("auth.set_password", {"username": "boss", "password": "mine"}),
    ("auth.delete_user", {"username": "boss"}),
    ("auth.disable_user", {"username": "boss"}),
    ("auth.enable_user", {"username": "boss"}),
]


@pytest.mark.parametrize(("name", "payload"), TOO_MUCH, ids=lambda value: value if isinstance(value, str) else None)
def test_nobody_gives_more_than_they_have(lesser: tuple[GuardedHarness, Caller], name: str, payload: Any) -> None:
    harness, who = lesser
    assert harness.code(who, "auth.me") is None  # from now on it is noted that the key is in use
    before = harness.digest()
    assert harness.code(who, name, **payload) == "FORBIDDEN"
    assert harness.digest() == before


def test_nobody_revokes_a_key_that_may_do_more(lesser: tuple[GuardedHarness, Caller]) -> None:
    harness, who = lesser
    for permissions in (["kv.set"], ["*"], ["kv.get:b"]):
        assert harness.code(who, "auth.revoke_key", id=harness.key(*permissions).id) == "FORBIDDEN"
    assert harness.code(who, "auth.revoke_key", id=harness.key("kv.get:ab").id) is None


def test_what_one_has_one_may_give(lesser: tuple[GuardedHarness, Caller]) -> None:
    harness, who = lesser
    assert harness.code(who, "auth.create_key", name="k", permissions=["kv.get:ab*", "auth.create_key"]) is None
    assert harness.code(who, "auth.create_role", role="new", permissions=["auth.me", "kv.get:a"]) is None
    assert harness.code(who, "auth.create_user", username="new", password="p", roles=["little", "new"]) is None
    for name in ("auth.disable_user", "auth.enable_user", "auth.delete_user"):
        assert harness.code(who, name, username="helper") is None


def test_every_command_that_changes_accounts_was_tried() -> None:
    tried = {name for name, _ in TOO_MUCH} | {"auth.revoke_key"}
    assert tried == {c.name for c in TABLE.public() if c.namespace == "auth" and c.writes}


def test_only_users_themselves_change_a_password_without_all_its_permissions() -> None:
    harness = GuardedHarness(jwt_secret=SECRET)
    harness.call("auth.create_role", role="own", permissions=["auth.set_password:ida", "auth.set_password:jan"])
    for name in ("ida", "jan"):
        harness.call("auth.create_user", username=name, password="p", roles=["own", "writer"])
    namesake = harness.key("auth.set_password", name="ida")
    token = jwt.encode({"sub": "ida", "exp": int(time.time()) + 1_000, "permissions": ["auth.set_password"]}, SECRET)
    change = {"username": "ida", "password": "new"}
    assert harness.code(harness.caller(namesake), "auth.set_password", **change) == "FORBIDDEN"
    assert harness.code(harness.caller(harness.bearer(token)), "auth.set_password", **change) == "FORBIDDEN"
    harness.credentials.end_login(harness.credentials.password_check("ida", "p"), "192.0.2.1")
    ida = harness.credentials.by_password("ida", "p")
    assert ida is not None
    harness.call("auth.grant_role", username="jan", role="admin")
    assert harness.code(harness.caller(ida), "auth.set_password", username="jan", password="new") == "FORBIDDEN"
    assert harness.code(harness.caller(ida), "auth.set_password", **change) is None
    assert harness.code(harness.caller(ida), "auth.me") == "UNAUTHORIZED"


class Slow:
    """Work in another thread that takes as long as the test wants."""

    def __init__(self, harness: GuardedHarness) -> None:
        self._begun: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []
        harness.dispatcher.offload = lambda work, done: self._begun.append((work, done))

    def finish(self) -> None:
        for work, done in self._begun:
            done(work())
        self._begun.clear()


def begun(harness: GuardedHarness, who: Caller, name: str, **payload: Any) -> list[Any]:
    """A list that gets the reply to a command that takes long."""
    replies: list[Any] = []
    with pytest.raises(WouldBlock) as raised:
        harness.dispatcher.answer(envelope(name, **payload), caller=who)
    raised.value.wait.begin(lambda reply: replies.append(json.loads(reply.body)))
    return replies


def test_a_role_that_is_made_while_a_password_is_hashed_is_not_given_away(
    lesser: tuple[GuardedHarness, Caller],
) -> None:
    harness, who = lesser
    slow = Slow(harness)
    replies = begun(harness, who, "auth.create_user", username="new", password="p", roles=["soon"])
    harness.call("auth.create_role", role="soon", permissions=["*"])
    slow.finish()
    assert replies[0]["success"] is False
    assert harness.state.accounts.user("new") is None


def test_whoever_gets_more_while_a_password_is_hashed_keeps_theirs(lesser: tuple[GuardedHarness, Caller]) -> None:
    harness, who = lesser
    slow = Slow(harness)
    replies = begun(harness, who, "auth.set_password", username="helper", password="mine")
    harness.call("auth.grant_role", username="helper", role="admin")
    before = harness.state.accounts.user("helper")
    slow.finish()
    assert replies[0]["error"]["code"] == "FORBIDDEN"
    assert harness.state.accounts.user("helper") == before


@pytest.mark.parametrize("is_narrowed", [False, True])
def test_whoever_loses_the_permission_while_a_password_is_hashed_is_refused(is_narrowed: bool) -> None:
    harness = GuardedHarness()
    harness.call("auth.create_role", role="hr", permissions=["auth.create_user"])
    key = harness.key(roles=["hr"])
    slow = Slow(harness)
    replies = begun(harness, harness.caller(key), "auth.create_user", username="new", password="p")
    if is_narrowed:
        harness.call("auth.create_role", role="hr", permissions=["kv.get"], replace=True)
    else:
        harness.call("auth.revoke_key", id=key.id)
    slow.finish()
    assert replies[0]["error"]["code"] == ("FORBIDDEN" if is_narrowed else "UNAUTHORIZED")
    assert harness.state.accounts.user("new") is None
