"""`auth.*` for users. The password becomes an argon2 hash on its way in, in another thread."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from synap.clock import Millis
from synap.commands.admission import Admission, Later
from synap.commands.auth import Password, Username
from synap.commands.auth_giving import RoleName, Roles, check_may_give, check_roles
from synap.commands.large import ordered
from synap.commands.state import State
from synap.commands.table import NoPayload, command, unchanged
from synap.commands.types import Payload, Result, Success
from synap.engines.accounts import User
from synap.errors import UserExists


class CreateUser(Payload):
    """Payload of auth.create_user."""

    username: Username
    password: Password
    roles: Roles = []


class NewUser(Payload):
    """What the journal keeps of auth.create_user."""

    username: Username
    password_hash: str
    roles: Roles


class UserRoles(Result):
    """A user, and the roles given to them."""

    username: str
    roles: list[str]


def _hash_of_new(payload: CreateUser, admission: Admission) -> Later:
    def check() -> None:
        check_may_give(admission, admission.credentials.permissions_of(payload.roles))
        if admission.credentials.is_root(payload.username):
            raise UserExists("the settings name this user already", username=payload.username)

    def kept(password_hash: str) -> NewUser:
        return NewUser(username=payload.username, password_hash=password_hash, roles=payload.roles)

    return _hashing(payload.password, admission, check, kept)


@command(
    "auth.create_user",
    writes=True,
    admin=True,
    is_secret=True,
    creates=True,
    keys=("username",),
    payload=CreateUser,
    admit=_hash_of_new,
    routes=("POST /auth/users",),
    cost="O(1), some 50 ms of it in another thread",
    since="0.4",
)
def create_user(state: State, payload: NewUser, now: Millis) -> UserRoles:
    """Make a user who logs in with a password, of which only the argon2 hash is kept."""
    check_roles(state, payload.roles)
    user = state.accounts.create_user(payload.username, payload.password_hash, payload.roles, now)
    return UserRoles(user.username, user.roles)


class UserOnly(Payload):
    """A command on one user."""

    username: Username


def _may_change_user(payload: UserOnly | UserRole, admission: Admission) -> None:
    user = admission.state.accounts.user(payload.username)
    roles = list(user.roles) if user is not None else []
    if isinstance(payload, UserRole):
        roles.append(payload.role)
    check_may_give(admission, admission.credentials.permissions_of(roles))


@command(
    "auth.delete_user",
    writes=True,
    grows=False,
    admin=True,
    keys=("username",),
    admit=_may_change_user,
    routes=("DELETE /auth/users/{username}",),
    cost="O(1)",
    since="0.4",
)
def delete_user(state: State, payload: UserOnly, now: Millis) -> Success:
    """Remove a user. Their tokens and open connections end."""
    state.accounts.delete_user(payload.username)
    return Success(True)


@command(
    "auth.enable_user",
    writes=True,
    grows=False,
    admin=True,
    keys=("username",),
    admit=_may_change_user,
    cost="O(1)",
    since="0.4",
)
def enable_user(state: State, payload: UserOnly, now: Millis) -> Success:
    """Let a user in again."""
    return Success(True) if state.accounts.enable(payload.username, True) else unchanged(Success(True))


@command(
    "auth.disable_user",
    writes=True,
    grows=False,
    admin=True,
    keys=("username",),
    admit=_may_change_user,
    cost="O(1)",
    since="0.4",
)
def disable_user(state: State, payload: UserOnly, now: Millis) -> Success:
    """Let a user in no more. Their tokens and open connections end, until they are enabled again."""
    return Success(True) if state.accounts.enable(payload.username, False) else unchanged(Success(True))


class SetPassword(Payload):
    """Payload of auth.set_password."""

    username: Username
    password: Password


class NewPassword(Payload):
    """What the journal keeps of auth.set_password."""

    username: Username
    password_hash: str


def _hash_of_changed(payload: SetPassword, admission: Admission) -> Later:
    def check() -> None:
        identity = admission.caller.identity
        is_own = identity is not None and identity.grant.kind == "user" and identity.grant.name == payload.username
        if not is_own:
            _may_change_user(UserOnly(username=payload.username), admission)

    def kept(password_hash: str) -> NewPassword:
        return NewPassword(username=payload.username, password_hash=password_hash)

    return _hashing(payload.password, admission, check, kept)


@command(
    "auth.set_password",
    writes=True,
    grows=False,
    admin=True,
    is_secret=True,
    keys=("username",),
    payload=SetPassword,
    admit=_hash_of_changed,
    cost="O(1), some 50 ms of it in another thread",
    since="0.4",
)
def set_password(state: State, payload: NewPassword, now: Millis) -> Success:
    """Replace a password. Tokens from before end."""
    state.accounts.set_password(payload.username, payload.password_hash)
    return Success(True)


class UserRole(Payload):
    """A user and a role."""

    username: Username
    role: RoleName


class RolesResult(Result):
    """The roles of the user after the command."""

    roles: list[str]


@command(
    "auth.grant_role",
    writes=True,
    admin=True,
    keys=("username",),
    admit=_may_change_user,
    cost="O(roles)",
    since="0.4",
)
def grant_role(state: State, payload: UserRole, now: Millis) -> RolesResult:
    """Give a user a role."""
    check_roles(state, [payload.role])
    granted = state.accounts.grant(payload.username, payload.role)
    return _roles_of(state, payload.username) if granted else unchanged(_roles_of(state, payload.username))


@command(
    "auth.revoke_role",
    writes=True,
    grows=False,
    admin=True,
    keys=("username",),
    admit=_may_change_user,
    cost="O(roles)",
    since="0.4",
)
def revoke_role(state: State, payload: UserRole, now: Millis) -> RolesResult:
    """Take a role from a user; it holds from their next command on."""
    revoked = state.accounts.revoke(payload.username, payload.role)
    return _roles_of(state, payload.username) if revoked else unchanged(_roles_of(state, payload.username))


class UserListed(Result):
    """A user; `last_login_at` (Unix ms) is null before the first login."""

    username: str
    roles: list[str]
    enabled: bool
    created_at: int
    last_login_at: int | None


class Users(Result):
    """Users by name. The one that the settings name is not among them."""

    users: list[UserListed]


@command("auth.list_users", admin=True, routes=("GET /auth/users",), cost="O(n log n)", since="0.4")
def list_users(state: State, payload: NoPayload, now: Millis) -> Users:
    """List all users."""
    return ordered(Users, state.accounts.users(), attrgetter("username"), _listed)


def _listed(user: User) -> UserListed:
    return UserListed(user.username, user.roles, user.enabled, user.created_at, user.last_login_at)


def _roles_of(state: State, username: str) -> RolesResult:
    user = state.accounts.user(username)
    return RolesResult([] if user is None else user.roles)


def _hashing(password: str, admission: Admission, check: Callable[[], None], kept: Callable[[str], Payload]) -> Later:
    """Work that makes the hash of a password, and then the payload to keep; `check` is made before and after.

    Roles, and who has them, may change while it is done.
    """

    def then(password_hash: str, now: Millis) -> Payload:
        check()
        return kept(password_hash)

    check()
    return Later(lambda: admission.credentials.hash_password(password), then)
