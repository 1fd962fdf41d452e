"""`auth.*` for API keys. A key is drawn on the way in and told once; only its SHA-256 is kept."""

from __future__ import annotations

import ipaddress
import math
from operator import attrgetter
from typing import Annotated

import msgspec

from synap.clock import Millis
from synap.commands.admission import Admission, Revealing
from synap.commands.auth_giving import Permissions, Roles, check_may_give, check_permissions, check_roles
from synap.commands.caller import Caller, Network
from synap.commands.large import ordered
from synap.commands.permissions import Permission
from synap.commands.state import State
from synap.commands.table import NoPayload, command
from synap.commands.types import Payload, Result
from synap.engines.accounts import ApiKey
from synap.errors import Forbidden

KeyName = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
At = Annotated[int, msgspec.Meta(ge=0, le=9_000_000_000_000, description="Unix milliseconds")]


class CreateKey(Payload):
    """Payload of auth.create_key: roles, permissions, or both. `allowed_ips` holds addresses and networks (CIDR)."""

    name: KeyName
    roles: Roles = []
    permissions: Permissions = []
    expires_at: At | None = None
    allowed_ips: Annotated[list[str], msgspec.Meta(max_length=100)] = []

    def __post_init__(self) -> None:
        check_permissions(self.permissions)
        for text in self.allowed_ips:
            ipaddress.ip_network(text, strict=False)


class NewKey(Payload):
    """What the journal keeps of auth.create_key."""

    digest: bytes
    name: KeyName
    roles: Roles
    permissions: Permissions
    expires_at: At | None
    allowed_ips: list[str]


class KeyCreated(Result):
    """The new key, which nobody will be told again."""

    id: str
    name: str
    key: str
    expires_at: int | None


def _draw_key(payload: CreateKey, admission: Admission) -> Revealing:
    own = [Permission.parse(text) for text in payload.permissions]
    check_may_give(admission, [*own, *admission.credentials.permissions_of(payload.roles)])
    _check_bounds(payload, admission.caller)
    key, digest = admission.credentials.new_api_key()
    kept = NewKey(
        digest=digest,
        name=payload.name,
        roles=payload.roles,
        permissions=payload.permissions,
        expires_at=payload.expires_at,
        allowed_ips=payload.allowed_ips,
    )

    def reveal(result: KeyCreated) -> KeyCreated:
        return msgspec.structs.replace(result, key=key)

    return Revealing(kept, reveal)


@command(
    "auth.create_key",
    writes=True,
    admin=True,
    is_secret=True,
    creates=True,
    keys=("name",),
    payload=CreateKey,
    admit=_draw_key,
    routes=("POST /auth/keys",),
    cost="O(1)",
    since="0.4",
)
def create_key(state: State, payload: NewKey, now: Millis) -> KeyCreated:
    """Make an API key. It is shown once; only its SHA-256 is kept."""
    check_roles(state, payload.roles)
    key_id = state.accounts.next_key_id()
    state.accounts.create_key(
        ApiKey(
            key_id,
            payload.name,
            payload.digest,
            payload.roles,
            payload.permissions,
            now,
            payload.expires_at,
            payload.allowed_ips,
        )
    )
    return KeyCreated(key_id, payload.name, "", payload.expires_at)


def _check_bounds(payload: CreateKey, caller: Caller) -> None:
    """Raise Forbidden for a key that is good for longer, or in more places, than the key that makes it."""
    if caller.identity is None or caller.identity.grant.kind != "key":
        return
    grant = caller.identity.grant
    if (math.inf if payload.expires_at is None else payload.expires_at) > grant.expires_at:
        raise Forbidden("nobody gives more than they have: expected expires_at as of the key that asks, or before")
    networks = [ipaddress.ip_network(text, strict=False) for text in payload.allowed_ips]
    if grant.networks and not (networks and all(_is_within(network, grant.networks) for network in networks)):
        raise Forbidden("nobody gives more than they have: expected allowed_ips within those of the key that asks")


def _is_within(network: Network, networks: tuple[Network, ...]) -> bool:
    same = [other for other in networks if other.version == network.version]
    return any(network.subnet_of(other) for other in same)  # type: ignore[arg-type]


class KeyId(Payload):
    """A command on one API key."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class Revoked(Result):
    """The key is no longer good."""

    revoked: bool


def _may_change_key(payload: KeyId, admission: Admission) -> None:
    key = admission.state.accounts.key(payload.id)
    if key is not None:
        own = [Permission.parse(text) for text in key.permissions]
        check_may_give(admission, [*own, *admission.credentials.permissions_of(key.roles)])


@command(
    "auth.revoke_key",
    writes=True,
    grows=False,
    admin=True,
    keys=("id",),
    admit=_may_change_key,
    routes=("DELETE /auth/keys/{id}",),
    cost="O(1)",
    since="0.4",
)
def revoke_key(state: State, payload: KeyId, now: Millis) -> Revoked:
    """Make an API key useless, on open connections too."""
    state.accounts.revoke_key(payload.id)
    return Revoked(True)


class KeyListed(Result):
    """An API key without the key; `last_used_at` (Unix ms) is known to the minute."""

    id: str
    name: str
    roles: list[str]
    permissions: list[str]
    created_at: int
    expires_at: int | None
    allowed_ips: list[str]
    last_used_at: int | None


class Keys(Result):
    """API keys, oldest first, those expired included."""

    keys: list[KeyListed]


@command("auth.list_keys", admin=True, routes=("GET /auth/keys",), cost="O(n log n)", since="0.4")
def list_keys(state: State, payload: NoPayload, now: Millis) -> Keys:
    """List all API keys, never the keys themselves."""
    return ordered(Keys, state.accounts.api_keys(), attrgetter("created_at", "id"), _listed)


def _listed(key: ApiKey) -> KeyListed:
    return KeyListed(
        key.id,
        key.name,
        key.roles,
        key.permissions,
        key.created_at,
        key.expires_at,
        key.allowed_ips,
        key.last_used_at,
    )
