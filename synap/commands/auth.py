"""`auth.*`: logging in, and who one is. Accounts are in auth_users.py, auth_keys.py and auth_roles.py.

What is journalled holds no secret: passwords and keys become hashes on their way in (admission.py).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from synap.clock import Millis
from synap.commands.admission import Admission, Later
from synap.commands.credentials import USERNAME_CHARS_MAX
from synap.commands.gates import unauthorized
from synap.commands.state import State
from synap.commands.table import NoPayload, command, unchanged
from synap.commands.types import Payload, Result, Success
from synap.errors import RateLimitExceeded, Unauthorized

Username = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=USERNAME_CHARS_MAX,
        pattern=r"^[^\x00-\x1f\x7f:]+$",
        description="1 to 128 characters, none of them a colon or a control character",
    ),
]
Password = Annotated[str, msgspec.Meta(min_length=1, max_length=1_024)]


class Login(Payload):
    """Payload of auth.login."""

    username: Username
    password: Password


class Token(Result):
    """A token to send as `Authorization: Bearer`, and when it expires (Unix ms)."""

    token: str
    expires_at: int


def _verify(payload: Login, admission: Admission) -> Later:
    _, caller, now, credentials = admission
    try:
        credentials.begin_login(payload.username, caller.address, now)
    except RateLimitExceeded:
        credentials.audit.login(payload.username, "throttled", caller, now)
        raise
    check = credentials.password_check(payload.username, payload.password)

    def then(is_right: bool, now: Millis) -> Token:
        if not is_right or credentials.end_login(check, caller.address) is None:
            credentials.fail_login(payload.username, caller.address, now)
            credentials.audit.login(payload.username, "failure", caller, now)
            raise Unauthorized("wrong username or password")
        credentials.audit.login(payload.username, "success", caller, now)
        credentials.on_use("user", payload.username)
        return Token(*credentials.issue_token(payload.username, now))

    return Later(check.run, then)


@command(
    "auth.login",
    is_open=True,
    is_secret=True,
    payload=Login,
    admit=_verify,
    routes=("POST /auth/login",),
    cost="O(1), some 50 ms of it in another thread",
    since="0.4",
)
def login(state: State, payload: Token, now: Millis) -> Token:
    """Get a token for a username and a password. Failed attempts are slowed down."""
    return payload


class Me(Result):
    """Who asks: `kind` is key, user, token, root or anonymous."""

    name: str
    kind: str
    roles: list[str]
    permissions: list[str]


def _who_asks(payload: NoPayload, admission: Admission) -> Me:
    identity = admission.caller.identity
    if identity is None:
        return Me("anonymous", "anonymous", [], ["*"])
    grant = identity.grant
    if grant.kind == "nobody":
        raise unauthorized(command="auth.me")
    return Me(grant.name, grant.kind, list(grant.roles), [str(permission) for permission in grant.permissions])


@command(
    "auth.me", is_open=True, payload=NoPayload, admit=_who_asks, routes=("GET /auth/me",), cost="O(1)", since="0.4"
)
def me(state: State, payload: Me, now: Millis) -> Me:
    """Tell who asks and what they may do, those permissions included that come with roles."""
    return payload


class Seen(Payload):
    """What the journal keeps of a credential being used."""

    kind: Literal["user", "key"]
    name: str


@command("auth.seen", writes=True, grows=False, internal=True, cost="O(1)", since="0.4")
def seen(state: State, payload: Seen, now: Millis) -> Success:
    """Note that a user has logged in, or that a key is in use."""
    was_noted = state.accounts.seen(payload.kind, payload.name, now)
    return Success(True) if was_noted else unchanged(Success(False))
