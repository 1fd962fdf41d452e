"""Accounts: users, roles and API keys, and a number that changes whenever a credential may have come to allow else.

1. Passwords and keys are here as hashes only, and a row never shows its hash: a traceback must not leak it.
2. A row is never changed, only replaced, so whoever holds one may compare.
3. A user's generation is a number no user of this server ever had. It changes with the password, and a user made anew
   under an old name has another one: what was issued to an earlier generation is void.
4. A role that is deleted is taken from all who have it: a later one of the same name gives nothing to former holders.
5. Keys that have expired stay listed until they are revoked.

Which roles and permissions there can be, the built-in roles among them, is for the callers to know. Costs: O(1), but
deleting a role and listing go through everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Any, ClassVar, Literal

import msgspec

from synap.clock import Millis
from synap.engines.chunks import chunked
from synap.engines.collection import json_bytes, text_bytes
from synap.errors import KeyNotFound, RoleExists, RoleNotFound, UserExists, UserNotFound

# Measured on CPython 3.11.
_USER_BYTES = 310
_KEY_BYTES = 520
_ROLE_BYTES = 150
_ITEM_BYTES = 8

Row = tuple[Any, ...]


class _Secretive(msgspec.Struct, frozen=True):
    """A row whose hash does not show."""

    hash_field: ClassVar[str]

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name != self.hash_field)
        return f"{type(self).__name__}({', '.join(shown)})"


class User(_Secretive, frozen=True):
    """Somebody who logs in with a password."""

    hash_field = "password_hash"

    username: str
    password_hash: str
    roles: list[str]
    """In the order they were granted."""
    created_at: Millis
    enabled: bool = True
    last_login_at: Millis | None = None
    generation: int = 0
    """Tokens of another one are void."""


class ApiKey(_Secretive, frozen=True):
    """A credential without a person."""

    hash_field = "digest"

    id: str
    name: str
    digest: bytes
    """SHA-256 of the key."""
    roles: list[str]
    permissions: list[str]
    """Beside those of its roles."""
    created_at: Millis
    expires_at: Millis | None = None
    allowed_ips: list[str] = []
    """Addresses and networks it may be used from; none: from anywhere."""
    last_used_at: Millis | None = None


class Accounts:
    """Users by name, API keys by id and by digest, roles by name."""

    def __init__(self) -> None:
        self.revision = 0
        """Changes with everything that can alter what a credential may do. No part of the state."""
        self.used_bytes = 0
        self._users: dict[str, User] = {}
        self._keys: dict[str, ApiKey] = {}
        self._ids: dict[bytes, str] = {}
        """The id of each key by its digest."""
        self._roles: dict[str, list[str]] = {}
        self._last_number = 0

    @property
    def is_empty(self) -> bool:
        """There is no user, no key and no role."""
        return not (self._users or self._keys or self._roles)

    # Users

    def user(self, username: str) -> User | None:
        """The user of that name."""
        return self._users.get(username)

    def users(self) -> list[User]:
        """All users, in no particular order."""
        return list(self._users.values())

    def create_user(self, username: str, password_hash: str, roles: list[str], now: Millis) -> User:
        """Add a user. Raises UserExists."""
        if username in self._users:
            raise UserExists(f"there is a user {username[:100]!r} already", username=username)
        user = User(username, password_hash, list(dict.fromkeys(roles)), now, generation=self._next_number())
        self._put_user(user)
        return user

    def delete_user(self, username: str) -> None:
        """Remove a user. Raises UserNotFound."""
        self._existing_user(username)
        self._drop_user(username)

    def enable(self, username: str, enabled: bool) -> bool:
        """Let a user in, or no longer; whether that is new. Raises UserNotFound."""
        user = self._existing_user(username)
        if user.enabled == enabled:
            return False
        self._put_user(msgspec.structs.replace(user, enabled=enabled))
        return True

    def set_password(self, username: str, password_hash: str) -> None:
        """Replace the password and begin another generation. Raises UserNotFound."""
        user = self._existing_user(username)
        generation = self._next_number()
        self._put_user(msgspec.structs.replace(user, password_hash=password_hash, generation=generation))

    def grant(self, username: str, role: str) -> bool:
        """Give a user a role; whether that is new. Raises UserNotFound."""
        user = self._existing_user(username)
        if role in user.roles:
            return False
        self._put_user(msgspec.structs.replace(user, roles=[*user.roles, role]))
        return True

    def revoke(self, username: str, role: str) -> bool:
        """Take a role from a user; whether it was there. Raises UserNotFound."""
        user = self._existing_user(username)
        if role not in user.roles:
            return False
        self._put_user(msgspec.structs.replace(user, roles=_without(user.roles, role)))
        return True

    # API keys

    def key(self, key_id: str) -> ApiKey | None:
        """The key with that id."""
        return self._keys.get(key_id)

    def key_by_digest(self, digest: bytes) -> ApiKey | None:
        """The key that has this SHA-256."""
        key_id = self._ids.get(digest)
        return None if key_id is None else self._keys[key_id]

    def api_keys(self) -> list[ApiKey]:
        """All keys, in no particular order."""
        return list(self._keys.values())

    def next_key_id(self) -> str:
        """An id that no key has had."""
        return f"key_{self._next_number()}"

    def create_key(self, key: ApiKey) -> None:
        """Add a key. Raises ValueError when its id or digest is taken: they are drawn so that this cannot be."""
        if key.id in self._keys or key.digest in self._ids:
            raise ValueError(f"the API key {key.id[:100]!r} is there already")
        self._put_key(key)

    def revoke_key(self, key_id: str) -> None:
        """Remove a key. Raises KeyNotFound."""
        if key_id not in self._keys:
            raise KeyNotFound(f"there is no API key {key_id[:100]!r}", id=key_id)
        self._drop_key(key_id)

    # Roles

    def role(self, name: str) -> list[str] | None:
        """The permissions of a role."""
        return self._roles.get(name)

    def roles(self) -> list[tuple[str, list[str]]]:
        """All roles with their permissions, in no particular order."""
        return list(self._roles.items())

    def create_role(self, name: str, permissions: list[str], *, replace: bool = False) -> bool:
        """Add a role, or replace its permissions; False when it has just these. Raises RoleExists."""
        known = self._roles.get(name)
        if known is not None:
            if set(known) == set(permissions):
                return False
            if not replace:
                raise RoleExists(
                    f"there is a role {name[:100]!r} with other permissions", role=name, permissions=list(known)
                )
            self._drop_role(name)
        self._put_role(name, list(dict.fromkeys(permissions)))
        return True

    def delete_role(self, name: str) -> None:
        """Remove a role, and take it from all who have it. Raises RoleNotFound."""
        if name not in self._roles:
            raise RoleNotFound(f"there is no role {name[:100]!r}", role=name)
        self._drop_role(name)
        for user in [user for user in self._users.values() if name in user.roles]:
            self._put_user(msgspec.structs.replace(user, roles=_without(user.roles, name)))
        for key in [key for key in self._keys.values() if name in key.roles]:
            self._put_key(msgspec.structs.replace(key, roles=_without(key.roles, name)))

    # Use

    def seen(self, kind: Literal["user", "key"], name: str, at: Millis) -> bool:
        """Note when a user (by name) logged in or a key (by id) was used. False: it is gone, or was seen later."""
        if kind == "user":
            user = self._users.get(name)
            if user is None or at <= (user.last_login_at or 0):
                return False
            self._users[name] = msgspec.structs.replace(user, last_login_at=at)
        else:
            key = self._keys.get(name)
            if key is None or at <= (key.last_used_at or 0):
                return False
            self._keys[name] = msgspec.structs.replace(key, last_used_at=at)
        return True

    # A part of the state

    def clear(self) -> None:
        """Forget everything: as before the first record. What a credential allowed, it does not allow any more."""
        for rows in (self._users, self._keys, self._ids, self._roles):
            rows.clear()
        self._last_number = 0
        self.used_bytes = 0
        self.revision += 1

    def dump(self, chunk_rows: int) -> Iterator[list[Any]]:
        """The content in chunks of up to `chunk_rows` rows."""
        return chunked(self._rows(), chunk_rows)

    def load(self, rows: list[Any]) -> None:
        """Add the rows of one chunk of `dump`."""
        for kind, *row in rows:
            if kind == "number":
                (self._last_number,) = row
            elif kind == "user":
                self._put_user(User(*row))
            elif kind == "key":
                self._put_key(ApiKey(*row))
            elif kind == "role":
                self._put_role(*row)
            else:
                raise LookupError(f"this version knows no part of accounts called {kind!r}")

    def canonical(self, now: Millis) -> Iterator[Any]:
        """The content as data, in an order that depends on nothing else."""
        for row, _ in self._rows():
            yield row

    def _rows(self) -> Iterator[tuple[Row, int]]:
        """Rows of a dump, and about how much memory each takes."""
        if self._last_number:
            yield ("number", self._last_number), 0
        for name, permissions in sorted(self._roles.items()):
            yield ("role", name, permissions), _role_bytes(name, permissions)
        for _, user in sorted(self._users.items()):
            yield ("user", *msgspec.structs.astuple(user)), _user_bytes(user)
        for key in sorted(self._keys.values(), key=attrgetter("created_at", "id")):
            yield ("key", *msgspec.structs.astuple(key)), _key_bytes(key)

    # Every change goes through these, which keep the books.

    def _existing_user(self, username: str) -> User:
        user = self._users.get(username)
        if user is None:
            raise UserNotFound(f"there is no user {username[:100]!r}", username=username)
        return user

    def _next_number(self) -> int:
        self._last_number += 1
        return self._last_number

    def _put_user(self, user: User) -> None:
        if user.username in self._users:
            self._drop_user(user.username)
        self._users[user.username] = user
        self._count(_user_bytes(user))

    def _drop_user(self, username: str) -> None:
        self._count(-_user_bytes(self._users.pop(username)))

    def _put_key(self, key: ApiKey) -> None:
        if key.id in self._keys:
            self._drop_key(key.id)
        self._keys[key.id] = key
        self._ids[key.digest] = key.id
        self._count(_key_bytes(key))

    def _drop_key(self, key_id: str) -> None:
        key = self._keys.pop(key_id)
        del self._ids[key.digest]
        self._count(-_key_bytes(key))

    def _put_role(self, name: str, permissions: list[str]) -> None:
        self._roles[name] = permissions
        self._count(_role_bytes(name, permissions))

    def _drop_role(self, name: str) -> None:
        self._count(-_role_bytes(name, self._roles.pop(name)))

    def _count(self, grown_bytes: int) -> None:
        self.used_bytes += grown_bytes
        self.revision += 1


def _without(roles: list[str], role: str) -> list[str]:
    return [other for other in roles if other != role]


def _user_bytes(user: User) -> int:
    return _USER_BYTES + text_bytes(user.username) + text_bytes(user.password_hash) + _items_bytes(user.roles)


def _key_bytes(key: ApiKey) -> int:
    items = [*key.roles, *key.permissions, *key.allowed_ips]
    return _KEY_BYTES + text_bytes(key.id) + text_bytes(key.name) + json_bytes(key.digest) + _items_bytes(items)


def _role_bytes(name: str, permissions: list[str]) -> int:
    return _ROLE_BYTES + text_bytes(name) + _items_bytes(permissions)


def _items_bytes(items: list[str]) -> int:
    return sum(_ITEM_BYTES + text_bytes(item) for item in items)
