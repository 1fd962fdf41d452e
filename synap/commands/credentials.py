"""Credentials: what proves who somebody is, and what that allows. Secrets are known here and nowhere else.

    API key       `synap_` and 32 random bytes; looked up by its SHA-256
    JWT           HS256, RS256 or ES256, each with its own key: the algorithm is never the token's choice
    token         from auth.login: a JWT of ours, which stands for a user as that is now
    password      argon2; verified in another thread, and remembered for Basic as a keyed hash until it changes

Whatever a credential stands for is looked up in the accounts, which commands of `auth` change; the root user and
anonymous permissions come from the settings. pyjwt and argon2-cffi do the cryptography.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import argon2
from cachetools import LRUCache

from synap.clock import Millis
from synap.commands.audit import Audit
from synap.commands.caller import NOBODY, Grant, Identity
from synap.commands.permissions import Permission
from synap.commands.roles import builtin
from synap.config import Auth, RateLimit, UnusableSetting
from synap.engines.accounts import Accounts, ApiKey, User
from synap.engines.token_bucket import TokenBucket
from synap.errors import CredentialExpired, RateLimitExceeded, SynapError, Unauthorized

API_KEY_MARK = "synap_"
_KEY_RANDOM_BYTES = 32
_ISSUER = "synap"
_TOKEN_CHARS_MAX = 8_192
_CLAIM_BYTES_MAX = 1_024
_TIME_SECS_MAX = 9_000_000_000
_KEY_ID_MARK = "key "
_SECRET_BYTES_MIN = 32

NO_AUTH, NO_LIMIT = Auth(), RateLimit()

IDENTITIES_MAX = 10_000
BUCKETS_MAX = 100_000
PASSWORDS_MAX = 1_000
USERNAME_CHARS_MAX = 128

# Failed logins: a few at once, then one in a while; for each address, and for each name from wherever.
_LOGIN_RATE_PER_SEC = 0.1
_LOGINS_OF_ADDRESS = 10
_LOGINS_OF_NAME = 20


class Credentials:
    """The credentials of one server. Raises UnusableSetting for keys that cannot be used."""

    def __init__(
        self,
        accounts: Accounts,
        auth: Auth = NO_AUTH,
        rate_limit: RateLimit = NO_LIMIT,
        hasher: argon2.PasswordHasher | None = None,
    ) -> None:
        if auth.enabled:
            # Loading it takes 20 ms: now, not in front of the first token; and never where nobody has to log in.
            import jwt  # noqa: F401
        self.is_required = auth.enabled
        """Whether anybody has to log in at all."""
        self.on_use: Callable[[Literal["user", "key"], str], None] = lambda kind, name: None
        """Told that a user has logged in and, about once a minute, that an API key (by id) is in use."""
        self._accounts = accounts
        self._auth = auth
        self._rate_limit = rate_limit
        self.audit = Audit()
        self._hasher = hasher or argon2.PasswordHasher()
        self._login_secret = auth.jwt_secret.encode() or secrets.token_bytes(32)
        self._token_keys = _token_keys(auth)
        self._anonymous = _settings_permissions(auth.anonymous_permissions)
        self._process_secret = secrets.token_bytes(32)
        self._identities: LRUCache[bytes, Identity] = LRUCache(IDENTITIES_MAX)
        self._passwords: LRUCache[bytes, str] = LRUCache(PASSWORDS_MAX)
        """The hash that each name with a password, by its keyed hash, has been verified against."""
        self._buckets: LRUCache[str, TokenBucket] = LRUCache(BUCKETS_MAX)
        self._failures: LRUCache[str, TokenBucket] = LRUCache(BUCKETS_MAX)
        self._at_home: LRUCache[tuple[str, str], None] = LRUCache(IDENTITIES_MAX)
        """Who has logged in from where: what others do elsewhere must not lock them out."""
        self.nobody = Identity(accounts, self._nobody)
        """Of whoever has no credential."""

    # Identities

    def by_api_key(self, key: str) -> Identity:
        """Whom an API key stands for."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        return self._remembered(digest, partial(self._key_grant, digest))

    def by_bearer(self, token: str, now: Millis) -> Identity:
        """Whom a bearer token stands for: an API key, or a JWT."""
        if token.startswith(API_KEY_MARK):
            return self.by_api_key(token)
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        known = self._identities.get(digest)
        if known is not None:
            return known
        try:
            claims = self._claims(token, now)
        except Unauthorized as refusal:
            return self.refused(refusal)
        if claims.get("iss") == _ISSUER:
            return self._remembered(digest, partial(self._login_grant, claims))
        return self._remembered(digest, partial(self._token_grant, claims, digest))

    def by_password(self, username: str, password: str) -> Identity | None:
        """Whom a name with its password stands for; None while they are not verified."""
        seal = self._seal(username, password)
        verified = self._passwords.get(seal)
        if verified is None or verified != self._password_hash(username):
            return None
        name = hmac.digest(seal, verified.encode(), "sha256")
        return self._remembered(name, partial(self._user_grant, username, verified))

    def refused(self, refusal: SynapError) -> Identity:
        """The identity of a credential that is none."""

        def look_up() -> Grant:
            raise refusal

        return Identity(self._accounts, look_up)

    def bucket(self, identity: Identity | None, address: str) -> TokenBucket | None:
        """What somebody may still ask for; None: as much as they like."""
        limit = self._rate_limit
        if not limit.enabled:
            return None
        name = f"address {address}"
        if limit.per == "credential" and identity is not None and identity.grant.id:
            name = identity.grant.id
        return _bucket(self._buckets, name, limit.requests_per_second, limit.burst)

    @property
    def warnings(self) -> list[str]:
        """What an operator should know about the settings."""
        auth, found = self._auth, []
        if not auth.enabled:
            return []
        if not (auth.root_password or self._token_keys) and self._accounts.is_empty:
            found.append("nobody can log in: there is no user, and no auth.root_password, jwt_secret or jwt_public_key")
        if 0 < len(auth.jwt_secret.encode()) < _SECRET_BYTES_MIN:
            found.append(f"auth.jwt_secret is shorter than {_SECRET_BYTES_MIN} bytes and could be guessed")
        return found

    @property
    def burst(self) -> int:
        """How many requests may come at once."""
        return self._rate_limit.burst

    # Passwords

    def hash_password(self, password: str) -> str:
        """The hash to keep. Takes long."""
        return self._hasher.hash(password)

    def begin_login(self, username: str, address: str, now: Millis) -> None:
        """Begin an attempt to log in. Raises Unauthorized, RateLimitExceeded after too many that have failed."""
        if len(username) > USERNAME_CHARS_MAX:
            raise Unauthorized("wrong username or password")
        for bucket in self._failure_buckets(username, address):
            wait_ms = bucket.wait_ms(now)
            if wait_ms:
                secs = -(-wait_ms // 1000)
                raise RateLimitExceeded(f"too many failed logins; try again in {secs} seconds", retry_after_secs=secs)

    def fail_login(self, username: str, address: str, now: Millis) -> None:
        """An attempt has failed. Those that were on their way with it count as well: they may leave a debt."""
        for bucket in self._failure_buckets(username, address):
            if not bucket.take(now):
                bucket.charge(1)

    def password_check(self, username: str, password: str) -> PasswordCheck:
        """Verifies a password."""
        return PasswordCheck(self, username, password, self._password_hash(username))

    def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether a password has this hash. Takes long, and as long where there is none."""
        is_plain = password_hash is not None and not password_hash.startswith("$argon2")
        try:
            self._hasher.verify(self._unknown_hash if is_plain else password_hash or self._unknown_hash, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            is_right = False
        else:
            is_right = password_hash is not None
        return hmac.compare_digest((password_hash or "").encode(), password.encode()) if is_plain else is_right

    def end_login(self, check: PasswordCheck, address: str) -> Identity | None:
        """Somebody has logged in: forget their attempts, and remember that the password is right.

        None when it has been changed, or the user has gone, while it was verified.
        """
        username = check.username
        if check.password_hash is None or check.password_hash != self._password_hash(username):
            return None
        self._passwords[self._seal(username, check.password)] = check.password_hash
        self._failures.pop(f"address {address}", None)
        self._failures.pop(f"user {username}", None)
        self._at_home[username, address] = None
        return self.by_password(username, check.password)

    # Making credentials

    @staticmethod
    def new_api_key() -> tuple[str, bytes]:
        """A new API key and its digest."""
        key = API_KEY_MARK + secrets.token_urlsafe(_KEY_RANDOM_BYTES)
        return key, hashlib.sha256(key.encode()).digest()

    def issue_token(self, username: str, now: Millis) -> tuple[str, Millis]:
        """A token for a user who has logged in, and when it expires (Unix ms)."""
        import jwt

        expires_at = now + round(self._auth.token_ttl_secs * 1000)
        claims: dict[str, Any] = {
            "iss": _ISSUER,
            "sub": username,
            "iat": now // 1000,
            "exp": expires_at // 1000,
            "gen": self._generation(username),
            "jti": secrets.token_hex(8),
        }
        return jwt.encode(claims, self._login_secret, algorithm="HS256"), claims["exp"] * 1000

    def permissions_of(self, roles: Iterable[str]) -> tuple[Permission, ...]:
        """What roles allow; those that do not exist allow nothing."""
        texts = [t for role in roles for t in builtin().get(role) or self._accounts.role(role) or ()]
        return tuple(Permission.parse(text) for text in texts)

    def is_root(self, username: str) -> bool:
        """Whether this is the user that the settings name."""
        return bool(self._auth.root_password) and username == self._auth.root_username

    # What credentials stand for

    def _nobody(self) -> Grant:
        return Grant("anonymous", "anonymous", "", permissions=self._anonymous) if self._anonymous else NOBODY

    def _key_grant(self, digest: bytes) -> Grant:
        key = self._accounts.key_by_digest(digest)
        if key is None:
            raise Unauthorized("the API key is not, or no longer, known")
        return self._grant_of_key(key)

    def _grant_of_key(self, key: ApiKey) -> Grant:
        own = tuple(Permission.parse(text) for text in key.permissions)
        return Grant(
            key.name,
            "key",
            _KEY_ID_MARK + key.id,
            tuple(key.roles),
            own + self.permissions_of(key.roles),
            key.expires_at if key.expires_at is not None else float("inf"),
            tuple(ipaddress.ip_network(text, strict=False) for text in key.allowed_ips),
        )

    def _user_grant(self, username: str, password_hash: str, expires_at: Millis | float = float("inf")) -> Grant:
        if self.is_root(username):
            return Grant(username, "root", f"user {username}", ("admin",), self.permissions_of(["admin"]), expires_at)
        user = self._accounts.user(username)
        if user is None or not user.enabled or user.password_hash != password_hash:
            raise Unauthorized("the user is gone or disabled, or has another password now")
        return self._grant_of_user(user, expires_at)

    def _grant_of_user(self, user: User, expires_at: Millis | float) -> Grant:
        permissions = self.permissions_of(user.roles)
        return Grant(user.username, "user", f"user {user.username}", tuple(user.roles), permissions, expires_at)

    def _login_grant(self, claims: dict[str, Any]) -> Grant:
        username = str(claims["sub"])
        if claims.get("gen") != self._generation(username):
            raise Unauthorized("the token is of a user who is gone, or has another password now")
        return self._user_grant(username, self._password_hash(username) or "", int(claims["exp"]) * 1000)

    def _token_grant(self, claims: dict[str, Any], digest: bytes) -> Grant:
        roles, own = (_texts(claims, name) for name in ("roles", "permissions"))
        try:
            permissions = tuple(Permission.parse(text) for text in own)
        except ValueError as error:
            raise Unauthorized(f"the token's permissions: {error}") from None
        name = str(claims["sub"])
        return Grant(
            name,
            "token",
            f"token {name}",
            tuple(roles),
            permissions + self.permissions_of(roles),
            int(claims["exp"]) * 1000,
        )

    def _claims(self, token: str, now: Millis) -> dict[str, Any]:
        """What a token says, if it is signed with one of our keys and good now. Raises Unauthorized."""
        import jwt

        try:
            if len(token) > _TOKEN_CHARS_MAX:
                raise jwt.InvalidTokenError(f"longer than {_TOKEN_CHARS_MAX} characters")
            algorithm = str(jwt.get_unverified_header(token).get("alg"))
            if algorithm not in self._token_keys and algorithm != "HS256":
                raise jwt.InvalidAlgorithmError(f"algorithm {algorithm[:20]!r} is not accepted")
            key = self._token_keys.get(algorithm, self._login_secret)
            # Times are compared below with the one clock that never runs backwards.
            unchecked = dict.fromkeys(("verify_aud", "verify_exp", "verify_nbf", "verify_iat"), False)
            options: Any = {"require": ["exp", "sub"], **unchecked}
            claims: dict[str, Any] = jwt.decode(token, key, algorithms=[algorithm], options=options)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError) as error:
            raise Unauthorized(f"the token is not good: {str(error)[:200]}") from None
        ours = claims.get("iss") == _ISSUER
        if (algorithm not in self._token_keys and not ours) or (ours and algorithm != "HS256"):
            raise Unauthorized("the token is not good: it is of nobody known here")
        _check_times(claims, now)
        _check_text(claims["sub"])
        return claims

    def _password_hash(self, username: str) -> str | None:
        """What to verify a password against; of root it may be the password itself."""
        if self.is_root(username):
            return self._auth.root_password
        user = self._accounts.user(username)
        return user.password_hash if user is not None and user.enabled else None

    def _generation(self, username: str) -> int | str | None:
        """Which passwords tokens must have been issued under."""
        if self.is_root(username):
            return hmac.new(self._login_secret, self._auth.root_password.encode(), hashlib.sha256).hexdigest()[:16]
        user = self._accounts.user(username)
        return None if user is None else user.generation

    def _failure_buckets(self, username: str, address: str) -> list[TokenBucket]:
        """What failed logins of a name, and from an address, are counted with."""
        buckets = [_bucket(self._failures, f"address {address}", _LOGIN_RATE_PER_SEC, _LOGINS_OF_ADDRESS)]
        if (username, address) not in self._at_home:
            buckets.append(_bucket(self._failures, f"user {username}", _LOGIN_RATE_PER_SEC, _LOGINS_OF_NAME))
        return buckets

    def _seal(self, username: str, password: str) -> bytes:
        text = f"{username}\0{password}".encode("utf-8", "surrogateescape")
        return hmac.digest(self._process_secret, text, "sha256")

    def _remembered(self, name: bytes, look_up: Callable[[], Grant]) -> Identity:
        identity = self._identities.get(name)
        if identity is None:
            identity = Identity(self._accounts, look_up, self._used)
            if identity.is_good:
                self._identities[name] = identity
        return identity

    def _used(self, grant: Grant) -> None:
        if grant.kind == "key":
            self.on_use("key", grant.id.removeprefix(_KEY_ID_MARK))

    @cached_property
    def _unknown_hash(self) -> str:
        """What passwords of unknown users are verified against."""
        return self._hasher.hash(secrets.token_hex(16))


class PasswordCheck:
    """One password on its way to be verified."""

    def __init__(self, credentials: Credentials, username: str, password: str, password_hash: str | None) -> None:
        self.username = username
        self.password = password
        self.password_hash = password_hash
        self._credentials = credentials

    def run(self) -> bool:
        """Whether it is right. Takes long; may be done in another thread."""
        return self._credentials.verify(self.password_hash, self.password)


def _token_keys(auth: Auth) -> dict[str, Any]:
    """The key of each algorithm that tokens of others may be signed with."""
    keys: dict[str, Any] = {}
    if auth.jwt_secret:
        keys["HS256"] = auth.jwt_secret.encode()
    if auth.jwt_public_key:
        algorithm, key = _public_key(auth.jwt_public_key)
        keys[algorithm] = key
    if missing := set(auth.jwt_algorithms) - keys.keys():
        raise UnusableSetting("auth.jwt_algorithms", f"there is no key for {', '.join(sorted(missing))}")
    return {a: key for a, key in keys.items() if not auth.jwt_algorithms or a in auth.jwt_algorithms}


def _public_key(text: str) -> tuple[str, Any]:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        pem = text.encode() if text.lstrip().startswith("-----BEGIN") else Path(text).read_bytes()
        key = load_pem_public_key(pem)
    except (OSError, ValueError) as error:
        raise UnusableSetting(
            "auth.jwt_public_key", f"expected a public key as PEM, or the path of one: {error}"
        ) from None
    if isinstance(key, rsa.RSAPublicKey):
        return "RS256", key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return "ES256", key
    raise UnusableSetting("auth.jwt_public_key", "expected an RSA key, or one on the curve P-256")


def _settings_permissions(texts: list[str]) -> tuple[Permission, ...]:
    try:
        return tuple(Permission.parse(text) for text in texts)
    except ValueError as error:
        raise UnusableSetting("auth.anonymous_permissions", str(error)) from None


def _texts(claims: dict[str, Any], name: str) -> list[str]:
    """A claim that is a list of texts. Raises Unauthorized."""
    value = claims.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Unauthorized(f"the token is not good: {name} is not a list of texts")
    for item in value:
        _check_text(item)
    return value


def _check_text(text: str) -> None:
    """Raise Unauthorized for what cannot be told to anybody: it may be longer, or no Unicode."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise Unauthorized("the token is not good: it is not Unicode") from None
    if size > _CLAIM_BYTES_MAX:
        raise Unauthorized(f"the token is not good: a text in it is longer than {_CLAIM_BYTES_MAX} bytes")


def _check_times(claims: dict[str, Any], now: Millis) -> None:
    """Raise Unauthorized for a token that is not good yet, or no more."""
    times = {name: claims.get(name, 0) for name in ("exp", "nbf")}
    for name, at in times.items():
        if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at <= _TIME_SECS_MAX:
            raise Unauthorized(f"the token is not good: {name} is not a time in seconds")
    if times["nbf"] * 1000 > now:
        raise Unauthorized("the token is not good yet")
    if times["exp"] * 1000 <= now:
        raise CredentialExpired("the token has expired")


def _bucket(buckets: LRUCache[str, TokenBucket], name: str, rate: float, burst: int) -> TokenBucket:
    bucket = buckets.get(name)
    if bucket is None:
        bucket = buckets[name] = TokenBucket(rate, burst)
    return bucket
