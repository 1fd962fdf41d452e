"""`auth.*` for roles: names for permissions. The built-in ones are not part of the state (roles.py)."""

from __future__ import annotations

from operator import itemgetter
from typing import Annotated

import msgspec

from synap.clock import Millis
from synap.commands.admission import Admission
from synap.commands.auth_giving import Permissions, RoleName, check_may_give, check_permissions
from synap.commands.large import ordered
from synap.commands.permissions import Permission
from synap.commands.roles import builtin
from synap.commands.state import State
from synap.commands.table import NoPayload, command, unchanged
from synap.commands.types import Payload, Result
from synap.errors import Forbidden, RoleExists


class CreateRole(Payload):
    """Payload of auth.create_role; `replace` gives a role that is there these permissions instead of its own."""

    role: RoleName
    permissions: Annotated[Permissions, msgspec.Meta(min_length=1)]
    replace: bool = False

    def __post_init__(self) -> None:
        check_permissions(self.permissions)


class RoleResult(Result):
    """A role and what it allows."""

    role: str
    permissions: list[str]


def _may_change_role(payload: CreateRole | RoleOnly, admission: Admission) -> None:
    needed = list(admission.credentials.permissions_of([payload.role]))
    if isinstance(payload, CreateRole):
        needed += [Permission.parse(text) for text in payload.permissions]
    check_may_give(admission, needed)


@command(
    "auth.create_role",
    writes=True,
    admin=True,
    creates=True,
    keys=("role",),
    admit=_may_change_role,
    routes=("POST /auth/roles",),
    cost="O(permissions)",
    since="0.4",
)
def create_role(state: State, payload: CreateRole, now: Millis) -> RoleResult:
    """Make a role: a name for permissions."""
    if payload.role in builtin():
        raise RoleExists(f"the role {payload.role} is built in", role=payload.role)
    is_new = state.accounts.create_role(payload.role, payload.permissions, replace=payload.replace)
    result = RoleResult(payload.role, list(state.accounts.role(payload.role) or ()))
    return result if is_new else unchanged(result)


class RoleOnly(Payload):
    """A command on one role."""

    role: RoleName


class RoleDeleted(Result):
    """The role is gone."""

    deleted: bool


@command(
    "auth.delete_role",
    writes=True,
    grows=False,
    admin=True,
    keys=("role",),
    admit=_may_change_role,
    routes=("DELETE /auth/roles/{role}",),
    cost="O(users + keys)",
    since="0.4",
)
def delete_role(state: State, payload: RoleOnly, now: Millis) -> RoleDeleted:
    """Remove a role, from all who have it as well."""
    if payload.role in builtin():
        raise Forbidden(f"the role {payload.role} is built in", role=payload.role)
    state.accounts.delete_role(payload.role)
    return RoleDeleted(True)


class RoleListed(RoleResult):
    """A role, what it allows, and whether it is built in."""

    builtin: bool


class RoleList(Result):
    """The built-in roles, then the others by name."""

    roles: list[RoleListed]


@command("auth.list_roles", admin=True, routes=("GET /auth/roles",), cost="O(n log n)", since="0.4")
def list_roles(state: State, payload: NoPayload, now: Millis) -> RoleList:
    """List all roles."""
    fixed = [RoleListed(role, list(permissions), True) for role, permissions in builtin().items()]
    return ordered(RoleList, state.accounts.roles(), itemgetter(0), _listed, first=fixed)


def _listed(role: tuple[str, list[str]]) -> RoleListed:
    name, permissions = role
    return RoleListed(name, permissions, False)
