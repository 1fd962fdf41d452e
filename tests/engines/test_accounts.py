"""Accounts: what can be changed and what that does, what never comes back, and that nothing secret shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from synap.engines.accounts import Accounts, ApiKey
from synap.errors import KeyNotFound, RoleExists, RoleNotFound, SynapError, UserExists, UserNotFound

NOW = 1_700_000_000_000
HASH, ANOTHER_HASH = "scrypt$a-hash", "scrypt$another"
DIGEST = b"\x01" * 32


@pytest.fixture
def accounts() -> Accounts:
    return Accounts()


def api_key(name: str = "k1", digest: bytes = DIGEST, **fields: Any) -> ApiKey:
    """A key that is called what its id is."""
    return msgspec.structs.replace(ApiKey(name, name, digest, [], [], NOW), **fields)


def populated() -> Accounts:
    """Some of everything, none of it in order."""
    accounts = Accounts()
    accounts.create_role("tellers", ["kv.get:account:*"])
    accounts.create_role("auditors", ["kv.get", "kv.scan"])
    accounts.create_user("zoe", HASH, ["tellers", "reader"], NOW)
    accounts.create_user("amy", HASH, [], NOW + 1)
    accounts.enable("amy", False)
    accounts.set_password("zoe", ANOTHER_HASH)
    accounts.seen("user", "zoe", NOW + 5)
    accounts.create_key(api_key("k2", b"\x02" * 32, roles=["tellers"], expires_at=NOW + 9, allowed_ips=["10.0.0.0/8"]))
    accounts.create_key(api_key("k1", b"\x01" * 32, permissions=["queue.*:tasks"], created_at=NOW - 1))
    accounts.seen("key", "k1", NOW + 6)
    return accounts


def copied(accounts: Accounts, chunk_rows: int = 2) -> Accounts:
    """Accounts that were loaded from what a snapshot holds."""
    loaded = Accounts()
    for chunk in accounts.dump(chunk_rows):
        loaded.load(msgspec.msgpack.decode(msgspec.msgpack.encode(chunk)))
    return loaded


# Users


def test_a_user_is_enabled_and_has_never_logged_in(accounts: Accounts) -> None:
    user = accounts.create_user("amy", HASH, ["reader", "writer", "reader"], NOW)
    assert accounts.user("amy") is user
    assert (user.roles, user.created_at, user.enabled, user.last_login_at) == (["reader", "writer"], NOW, True, None)


def test_a_name_is_taken_once(accounts: Accounts) -> None:
    user = accounts.create_user("amy", HASH, [], NOW)
    with pytest.raises(UserExists, match="there is a user 'amy' already"):
        accounts.create_user("amy", "other", ["admin"], NOW)
    assert accounts.users() == [user]


def test_a_user_who_is_deleted_is_gone(accounts: Accounts) -> None:
    accounts.create_user("amy", HASH, [], NOW)
    accounts.delete_user("amy")
    assert (accounts.user("amy"), accounts.users(), accounts.is_empty) == (None, [], True)


def test_enabling_and_disabling_say_whether_that_is_new(accounts: Accounts) -> None:
    accounts.create_user("amy", HASH, [], NOW)
    assert [accounts.enable("amy", enabled) for enabled in (True, False, False, True)] == [False, True, False, True]


def test_roles_are_granted_and_revoked_once(accounts: Accounts) -> None:
    accounts.create_user("amy", HASH, ["reader"], NOW)
    assert [accounts.grant("amy", role) for role in ("writer", "reader", "writer")] == [True, False, False]
    assert accounts.users()[0].roles == ["reader", "writer"]
    assert [accounts.revoke("amy", role) for role in ("reader", "reader")] == [True, False]
    assert accounts.users()[0].roles == ["writer"]


def test_a_new_password_begins_another_generation(accounts: Accounts) -> None:
    before = accounts.create_user("amy", HASH, ["reader"], NOW)
    accounts.set_password("amy", ANOTHER_HASH)
    after = accounts.users()[0]
    assert after.password_hash == ANOTHER_HASH
    assert after.generation > before.generation
    assert msgspec.structs.replace(after, password_hash=HASH, generation=before.generation) == before


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_user_made_anew_under_an_old_name_is_of_another_generation(accounts: Accounts, is_restarted: bool) -> None:
    before = accounts.create_user("amy", HASH, [], NOW)
    accounts.delete_user("amy")
    if is_restarted:
        accounts = copied(accounts)
    assert accounts.create_user("amy", HASH, [], NOW).generation > before.generation


NEEDS_USER: list[Callable[[Accounts], Any]] = [
    lambda accounts: accounts.delete_user("amy"),
    lambda accounts: accounts.enable("amy", True),
    lambda accounts: accounts.set_password("amy", HASH),
    lambda accounts: accounts.grant("amy", "reader"),
    lambda accounts: accounts.revoke("amy", "reader"),
]


@pytest.mark.parametrize("change", NEEDS_USER)
def test_what_changes_a_user_needs_one(accounts: Accounts, change: Callable[[Accounts], Any]) -> None:
    with pytest.raises(UserNotFound, match="there is no user 'amy'") as raised:
        change(accounts)
    assert raised.value.details == {"username": "amy"}
    assert (accounts.revision, list(accounts.canonical(NOW))) == (0, [])


# API keys


def test_a_key_is_found_by_its_id_and_by_its_digest(accounts: Accounts) -> None:
    key = api_key()
    accounts.create_key(key)
    assert accounts.key("k1") is accounts.key_by_digest(DIGEST) is key
    assert (accounts.key("k2"), accounts.key_by_digest(b"\x02" * 32)) == (None, None)


def test_a_revoked_key_is_found_no_more(accounts: Accounts) -> None:
    accounts.create_key(api_key())
    accounts.revoke_key("k1")
    assert (accounts.key("k1"), accounts.key_by_digest(DIGEST), accounts.api_keys()) == (None, None, [])
    with pytest.raises(KeyNotFound, match="there is no API key 'k1'"):
        accounts.revoke_key("k1")


@pytest.mark.parametrize("other", [api_key("k2"), api_key(digest=b"\x02" * 32)])
def test_neither_an_id_nor_a_digest_is_given_twice(accounts: Accounts, other: ApiKey) -> None:
    key = api_key()
    accounts.create_key(key)
    with pytest.raises(ValueError, match="is there already"):
        accounts.create_key(other)
    assert (accounts.api_keys(), accounts.key_by_digest(other.digest)) == (
        [key],
        key if other.digest == DIGEST else None,
    )


# Roles


def test_a_role_is_a_name_for_permissions(accounts: Accounts) -> None:
    assert accounts.create_role("tellers", ["kv.get", "kv.set:a:*", "kv.get"])
    accounts.create_role("auditors", ["kv.scan"])
    assert accounts.role("tellers") == ["kv.get", "kv.set:a:*"]
    assert accounts.role("nobody") is None
    assert dict(accounts.roles()) == {"auditors": ["kv.scan"], "tellers": ["kv.get", "kv.set:a:*"]}


def test_a_role_that_is_there_with_the_same_permissions_stays_as_it_is(accounts: Accounts) -> None:
    accounts.create_role("tellers", ["kv.get", "kv.set"])
    revision = accounts.revision
    assert not accounts.create_role("tellers", ["kv.set", "kv.get"])
    assert not accounts.create_role("tellers", ["kv.get", "kv.set"], replace=True)
    assert (accounts.role("tellers"), accounts.revision) == (["kv.get", "kv.set"], revision)


def test_other_permissions_need_to_be_meant(accounts: Accounts) -> None:
    accounts.create_role("tellers", ["kv.get"])
    with pytest.raises(RoleExists, match="there is a role 'tellers' with other permissions") as raised:
        accounts.create_role("tellers", ["kv.*"])
    assert raised.value.details == {"role": "tellers", "permissions": ["kv.get"]}
    assert accounts.role("tellers") == ["kv.get"]
    assert accounts.create_role("tellers", ["kv.*"], replace=True)
    assert accounts.role("tellers") == ["kv.*"]


def test_a_deleted_role_is_taken_from_everybody_for_good() -> None:
    accounts = populated()
    accounts.delete_role("tellers")
    accounts.create_role("tellers", ["*"])
    assert {user.username: user.roles for user in accounts.users()} == {"amy": [], "zoe": ["reader"]}
    assert [key.roles for key in accounts.api_keys()] == [[], []]
    assert accounts.key_by_digest(b"\x02" * 32) is accounts.key("k2")


def test_a_role_that_is_not_there_cannot_be_deleted(accounts: Accounts) -> None:
    with pytest.raises(RoleNotFound, match="there is no role 'tellers'"):
        accounts.delete_role("tellers")


# Use


def test_when_somebody_was_seen_goes_forward_only() -> None:
    accounts = populated()
    for kind, name in (("user", "zoe"), ("key", "k1")):
        assert [accounts.seen(kind, name, NOW + at) for at in (9, 9, 8, 10)] == [True, False, False, True]  # type: ignore[arg-type]
    user, key = accounts.user("zoe"), accounts.key("k1")
    assert user is not None and key is not None
    assert (user.last_login_at, key.last_used_at) == (NOW + 10, NOW + 10)
    assert accounts.key_by_digest(b"\x01" * 32) is key


def test_somebody_who_is_gone_is_not_seen(accounts: Accounts) -> None:
    assert not accounts.seen("user", "amy", NOW)
    assert not accounts.seen("key", "k1", NOW)
    assert accounts.is_empty


# What credentials may do


CHANGES: list[Callable[[Accounts], Any]] = [
    lambda accounts: accounts.create_user("bob", HASH, [], NOW),
    lambda accounts: accounts.delete_user("zoe"),
    lambda accounts: accounts.enable("zoe", False),
    lambda accounts: accounts.set_password("zoe", HASH),
    lambda accounts: accounts.grant("zoe", "writer"),
    lambda accounts: accounts.revoke("zoe", "reader"),
    lambda accounts: accounts.create_key(api_key("k3", b"\x03" * 32)),
    lambda accounts: accounts.revoke_key("k1"),
    lambda accounts: accounts.create_role("clerks", ["kv.get"]),
    lambda accounts: accounts.create_role("tellers", ["kv.get"], replace=True),
    lambda accounts: accounts.delete_role("auditors"),
    lambda accounts: accounts.load([("role", "clerks", [])]),
]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_can_alter_what_a_credential_may_do_counts_as_a_revision(change: Callable[[Accounts], Any]) -> None:
    accounts = populated()
    before = accounts.revision
    change(accounts)
    assert accounts.revision > before


SAME: list[Callable[[Accounts], Any]] = [
    lambda accounts: accounts.seen("user", "zoe", NOW + 100),
    lambda accounts: accounts.seen("key", "k1", NOW + 100),
    lambda accounts: accounts.enable("zoe", True),
    lambda accounts: accounts.grant("zoe", "reader"),
    lambda accounts: accounts.revoke("zoe", "writer"),
]


@pytest.mark.parametrize("no_change", SAME)
def test_nobody_is_looked_up_anew_for_nothing(no_change: Callable[[Accounts], Any]) -> None:
    accounts = populated()
    before = accounts.revision
    no_change(accounts)
    assert accounts.revision == before


REFUSED: list[Callable[[Accounts], Any]] = [
    lambda accounts: accounts.create_user("zoe", HASH, ["admin"], NOW),
    lambda accounts: accounts.create_role("tellers", ["*"]),
    lambda accounts: accounts.set_password("bob", HASH),
    lambda accounts: accounts.revoke_key("k3"),
    lambda accounts: accounts.delete_role("clerks"),
]


@pytest.mark.parametrize("refused", REFUSED)
def test_a_refused_change_has_changed_nothing(refused: Callable[[Accounts], Any]) -> None:
    accounts, before = populated(), populated()
    with pytest.raises(SynapError):
        refused(accounts)
    assert (list(accounts.canonical(NOW)), accounts.revision) == (list(before.canonical(NOW)), before.revision)


def test_neither_hashes_nor_digests_show() -> None:
    accounts = populated()
    shown = repr([*accounts.users(), *accounts.api_keys()])
    assert "zoe" in shown and "queue.*:tasks" in shown
    assert "scrypt" not in shown and "x01" not in shown and "x02" not in shown


# A part of the state


@pytest.mark.parametrize("chunk_rows", [1, 3, 100])
def test_loaded_accounts_are_the_same(chunk_rows: int) -> None:
    accounts = populated()
    loaded = copied(accounts, chunk_rows)
    assert list(loaded.canonical(NOW)) == list(accounts.canonical(NOW))
    assert loaded.key_by_digest(DIGEST) == accounts.key("k1")
    assert loaded.used_bytes == accounts.used_bytes


def test_accounts_that_hold_nothing_take_no_room_in_a_snapshot(accounts: Accounts) -> None:
    assert (list(accounts.dump(10)), accounts.used_bytes, accounts.is_empty) == ([], 0, True)


def test_the_canonical_form_depends_on_the_content_alone() -> None:
    first, second = Accounts(), Accounts()
    names = ["amy", "bob", "zoe"]
    for accounts, order in ((first, names), (second, names[::-1])):
        for name in order:
            accounts.create_role(name, ["kv.get"])
            accounts.create_key(api_key(name, name.encode()))
    assert list(first.canonical(NOW)) == list(second.canonical(NOW))


def test_rows_of_an_unknown_kind_are_refused(accounts: Accounts) -> None:
    with pytest.raises(LookupError, match="this version knows no part of accounts called 'realm'"):
        accounts.load([("realm", "x")])


def test_memory_is_counted_and_all_given_back() -> None:
    accounts = populated()
    before = accounts.used_bytes
    assert before > 4 * 150
    accounts.grant("zoe", "writer")
    accounts.create_role("tellers", ["kv.*", "kv.set"], replace=True)
    assert accounts.used_bytes > before
    for user in accounts.users():
        accounts.delete_user(user.username)
    for key in accounts.api_keys():
        accounts.revoke_key(key.id)
    for role, _ in accounts.roles():
        accounts.delete_role(role)
    assert (accounts.used_bytes, accounts.is_empty) == (0, True)
