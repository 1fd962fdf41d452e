"""Who may give what: nobody gives more than they have.

Whoever makes or changes an account needs all the permissions that it has or gets; else somebody who may make keys
could make one that may do everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from synap.commands.admission import Admission
from synap.commands.permissions import Permission
from synap.commands.roles import builtin
from synap.commands.state import State
from synap.errors import Forbidden, RoleNotFound

RoleName = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")]
PermissionText = Annotated[str, msgspec.Meta(min_length=1, description="command-pattern[:key-pattern]")]
Roles = Annotated[list[RoleName], msgspec.Meta(max_length=100)]
Permissions = Annotated[list[PermissionText], msgspec.Meta(max_length=1_000)]


def check_permissions(texts: Iterable[str]) -> None:
    """Raise ValueError for a text that is no permission."""
    for text in texts:
        Permission.parse(text)


def check_roles(state: State, roles: Iterable[str]) -> None:
    """Raise RoleNotFound for a role that there is not."""
    for role in roles:
        if role not in builtin() and state.accounts.role(role) is None:
            raise RoleNotFound(f"there is no role {role!r}", role=role)


def check_may_give(admission: Admission, permissions: Iterable[Permission]) -> None:
    """Raise Forbidden unless the caller has all these permissions."""
    identity = admission.caller.identity
    if identity is None:
        return
    for permission in permissions:
        if not any(own.covers(permission) for own in identity.grant.permissions):
            raise Forbidden(
                f"nobody gives more than they have: this needs the permission {permission}",
                permission=str(permission),
            )
