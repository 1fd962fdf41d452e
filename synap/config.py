"""Settings: defaults, then the TOML file, then SYNAP_<SECTION>_<KEY>, then flags. The last one wins.

`load` returns the settings with where each came from, and refuses what it does not know: a misspelt key
must not leave a default in force unnoticed.
"""

from __future__ import annotations

import ipaddress
import math
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

MIB = 1024 * 1024

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Secret = Annotated[str, msgspec.Meta(extra={"secret": True})]
"""A text that nobody is shown."""

MASK = "********"
_URL = re.compile(r"https?://(?:[^\s/?#@]+@)?[^\s/?#@]+/?")
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^\s/?#@A-Z]+")


class _Section(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    pass


class Server(_Section, frozen=True):
    """Where to listen and where the data lives. Port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: Port = 15_500
    data: str = "./synap-data"
    tls_cert: str = ""
    """PEM file with the certificate and those that lead to a known one; read again on SIGHUP. Empty: no TLS."""
    tls_key: str = ""
    """PEM file with the certificate's private key."""
    cors_origins: list[str] = []
    """Web pages that may use the server beside its own: "https://app.example"; "*" for all."""


class Journal(_Section, frozen=True):
    """When the journal is forced to disk, and how large its pieces are."""

    fsync: Literal["always", "everysec", "never"] = "everysec"
    segment_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 64 * MIB
    snapshot_every_bytes: NotNegative = 256 * MIB
    """Journal written since the last snapshot that starts the next one; 0 makes none."""


class Memory(_Section, frozen=True):
    """How much the data may take (0: no bound) and what to give up when it is reached."""

    limit_bytes: NotNegative = 0
    policy: Literal["noeviction", "allkeys-lru", "volatile-lru", "volatile-ttl"] = "noeviction"


class Limits(_Section, frozen=True):
    """Bounds on what one client may ask for."""

    max_body_bytes: Positive = 32 * MIB
    max_batch: Positive = 10_000
    max_key_bytes: Positive = 65_536
    max_connections: Positive = 10_000
    max_wait_secs: Seconds = 3_600.0
    """How long a blocking command may wait."""
    read_timeout_secs: Seconds = 30.0
    """How long a request may take to arrive once it has begun."""
    idle_timeout_secs: Seconds = 300.0
    """How long a connection may stay open between requests."""
    outbox_messages: Positive = 10_000
    """How many pub/sub messages may wait for a client that reads too slowly."""
    outbox_bytes: Positive = 16 * MIB


class Queues(_Section, frozen=True):
    """What new queues are like, unless they say otherwise."""

    auto_create: bool = True
    """Publishing to a queue that is not there creates it."""
    max_depth: NotNegative = 0
    """0: no limit."""
    ack_deadline_secs: Seconds = 30.0
    max_retries: NotNegative = 3
    """0: no limit."""
    message_ttl_secs: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """0: messages live until they are acknowledged."""
    dead_letter: bool = True


class Streams(_Section, frozen=True):
    """How long new rooms keep their events, in each partition; 0: for ever."""

    max_events: NotNegative = 0
    max_bytes: NotNegative = 0
    max_age_secs: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class Pubsub(_Section, frozen=True):
    """What is remembered for clients that come back, and what happens to slow ones."""

    history: NotNegative = 256
    """Messages a topic; in memory only."""
    policy: Literal["drop_oldest", "drop_newest", "disconnect"] = "drop_oldest"


class Auth(_Section, frozen=True):
    """Who may do what. Users, roles and API keys are made with `auth.*`; what stands here is there from the start.

    Permissions are `command-pattern[:key-pattern]`: "kv.get:user:*".
    """

    enabled: bool = False
    root_username: Annotated[str, msgspec.Meta(min_length=1)] = "root"
    root_password: Secret = ""
    """As it is, or as an argon2 hash. Empty: there is no root."""
    jwt_secret: Secret = ""
    """Of HS256 tokens; tokens from `auth.login` are signed with it. Empty: these are good until the next start."""
    jwt_public_key: str = ""
    """Of RS256 or ES256 tokens: PEM, or the path of a file with it."""
    jwt_algorithms: list[Literal["HS256", "RS256", "ES256"]] = []
    """Which of those that the keys are for; empty: all of them."""
    anonymous_permissions: list[str] = []
    """What everybody may do without a credential."""
    token_ttl_secs: Seconds = 43_200.0
    """How long a token from `auth.login` is good."""


class RateLimit(_Section, frozen=True):
    """How much one client may ask for. Every command counts, those of a batch as well."""

    enabled: bool = False
    requests_per_second: Annotated[float, msgspec.Meta(gt=0, le=1e9)] = 1_000.0
    burst: Positive = 2_000
    """How many may come at once after a pause."""
    per: Literal["credential", "address"] = "credential"
    """By what to tell clients apart; those without a credential always by their address."""


class Replication(_Section, frozen=True):
    """Which server to follow, and how far writes must be before they are answered."""

    master: str = ""
    """URL of the server to follow: http://HOST:PORT, with NAME:PASSWORD@ before the host where it wants them. A role
    that was decided on while the same master stood here (promote, follow) stays."""
    secret: Secret = ""
    """What servers show each other; the same on all of them. Empty: whoever may use admin commands may follow."""
    advertise: str = ""
    """URL at which the others reach this server. Empty: made of server.host, or the machine's name, and server.port."""
    tls_ca: str = ""
    """PEM file with the certificates to trust on servers that are followed over https. Empty: those of the system."""
    min_replicas_to_ack: Annotated[int, msgspec.Meta(ge=0, le=16)] = 0
    """How many replicas must have a write in their journals before it is answered."""
    ack_timeout_ms: Annotated[int, msgspec.Meta(ge=1)] = 5_000
    """How long to wait for them; then the answer is ACK_TIMEOUT."""
    ready_max_lag_ms: NotNegative = 0
    """A replica that is further behind is not ready (GET /ready); 0: it always is."""
    keep_bytes: NotNegative = 1024 * MIB
    """Journal kept for replicas that are behind, beyond the newest snapshot."""


class Log(_Section, frozen=True):
    """How much to log, and whether for people or for machines."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    slow_ms: Annotated[float, msgspec.Meta(ge=0)] = 100.0
    """Commands that take longer are kept for `admin.slowlog`; 0: none."""


class Settings(_Section, frozen=True):
    """Everything that can be set."""

    server: Server = Server()
    journal: Journal = Journal()
    memory: Memory = Memory()
    limits: Limits = Limits()
    auth: Auth = Auth()
    rate_limit: RateLimit = RateLimit()
    queues: Queues = Queues()
    streams: Streams = Streams()
    pubsub: Pubsub = Pubsub()
    replication: Replication = Replication()
    log: Log = Log()


class BadSetting(Exception):
    """A setting that cannot be used; the message names where it stands, the key and the reason."""


class UnusableSetting(Exception):
    """A setting that is well formed and yet cannot be used; the message says why, `key` which one it is."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


@dataclass(frozen=True)
class Loaded:
    """The effective settings, and for each "section.key" where its value came from, as far as that is known."""

    settings: Settings
    origins: dict[str, str]


def load(file: Path | None, environment: Mapping[str, str], flags: Mapping[str, Any]) -> Loaded:
    """Merge all sources. `flags` maps "section.key" to values, None for flags not given. Raises BadSetting."""
    given: dict[str, _Given] = {}
    if file is not None:
        given |= _from_file(file)
    given |= _from_environment(environment)
    for key, value in flags.items():
        if value is not None:
            given[key] = _Given(value, _FLAGS.get(key, "--" + key.partition(".")[2]), from_text=True)
    loaded = _build(given)
    _check_server(loaded)
    _check_replication(loaded)
    return loaded


def is_server_url(url: str) -> bool:
    """Whether `url` could be that of a server: http://HOST:PORT, with a credential or without."""
    try:
        parts = urlsplit(url)
        return bool(_URL.fullmatch(url) and parts.hostname and parts.port != 0)
    except ValueError:
        return False


def masked(url: str) -> str:
    """A URL as it may be shown: the credential it may hold is a mask."""
    credential, at, host = url.rpartition("@")
    scheme, separator, _ = credential.partition("://")
    return f"{scheme + separator if separator else ''}{MASK}@{host}" if at else url


def is_loopback(host: str) -> bool:
    """Whether `host` can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Shown(NamedTuple):
    """A setting as it may be shown: a secret that is set is a mask."""

    key: str
    value: Any
    origin: str


def shown(loaded: Loaded) -> Iterator[Shown]:
    """Every setting as it may be shown, by "section.key" in the order of declaration."""
    for section, form in _SECTIONS.items():
        values = getattr(loaded.settings, section)
        for field in msgspec.structs.fields(form):
            key, value = f"{section}.{field.name}", msgspec.to_builtins(getattr(values, field.name))
            if isinstance(value, str) and "://" in value:
                value = masked(value)
            yield Shown(key, MASK if value and _is_secret(field.type) else value, loaded.origins.get(key, "given"))


def _check_server(loaded: Loaded) -> None:
    server = loaded.settings.server
    for key, needed in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
        if getattr(server, key) and not getattr(server, needed):
            raise BadSetting(f"{loaded.origins[f'server.{key}']}: server.{key}: expected server.{needed} beside it")
    for origin in server.cors_origins:
        if not _ORIGIN.fullmatch(origin):
            raise BadSetting(
                f"{loaded.origins['server.cors_origins']}: server.cors_origins: expected origins as browsers name them,"
                f' https://app.example, or "*" for all, got {origin!r}'
            )


def _check_replication(loaded: Loaded) -> None:
    for key in ("master", "advertise"):
        url, origin = getattr(loaded.settings.replication, key), loaded.origins[f"replication.{key}"]
        if url and not is_server_url(url):
            flag = "" if origin == "--replica-of" else f"replication.{key}: "
            raise BadSetting(f"{origin}: {flag}expected http://HOST:PORT, got {masked(url)!r}")
    secret, origin = loaded.settings.replication.secret, loaded.origins["replication.secret"]
    if not (secret.isascii() and secret.isprintable()):
        raise BadSetting(f"{origin}: replication.secret: expected what fits in a header: printable ASCII")


def _is_secret(of: Any) -> bool:
    kind = msgspec.inspect.type_info(of)
    return isinstance(kind, msgspec.inspect.Metadata) and bool((kind.extra or {}).get("secret"))


class _Given(NamedTuple):
    value: Any
    origin: str
    from_text: bool
    """A text that stands for a value of another type."""


_SECTIONS: dict[str, Any] = {field.name: field.type for field in msgspec.structs.fields(Settings)}
_FLAGS = {"log.format": "--log-format", "replication.master": "--replica-of"}


def _from_file(file: Path) -> dict[str, _Given]:
    try:
        document = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSetting(f"{file}: {error}") from None
    given: dict[str, _Given] = {}
    for section, values in document.items():
        if not isinstance(values, dict):
            raise BadSetting(f"{file}: {section}: expected a [section], got a value")
        if section not in _SECTIONS:
            raise BadSetting(f"{file}: [{section}]: unknown section; known are {', '.join(_SECTIONS)}")
        given |= {f"{section}.{key}": _Given(value, str(file), from_text=False) for key, value in values.items()}
    return given


def _from_environment(environment: Mapping[str, str]) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    for variable, value in environment.items():
        for section in _SECTIONS:
            prefix = f"SYNAP_{section.upper()}_"
            if variable.startswith(prefix):
                given[f"{section}.{variable.removeprefix(prefix).lower()}"] = _Given(value, variable, from_text=True)
    return given


def _build(given: Mapping[str, _Given]) -> Loaded:
    types = {section: {f.name: f.type for f in msgspec.structs.fields(form)} for section, form in _SECTIONS.items()}
    origins = {f"{section}.{key}": "default" for section, fields in types.items() for key in fields}
    values: dict[str, dict[str, Any]] = {section: {} for section in _SECTIONS}
    for key, setting in given.items():
        section, _, name = key.partition(".")
        if name not in types[section]:
            raise BadSetting(f"{setting.origin}: {key}: unknown key; [{section}] has {', '.join(types[section])}")
        try:
            raw = setting.value
            if setting.from_text and isinstance(raw, str) and typing.get_origin(types[section][name]) is list:
                raw = [part.strip() for part in raw.split(",") if part.strip()]
            value = msgspec.convert(raw, types[section][name], strict=not setting.from_text)
        except msgspec.ValidationError as error:
            raise BadSetting(f"{setting.origin}: {key}: {str(error)[:1].lower()}{str(error)[1:]}") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise BadSetting(f"{setting.origin}: {key}: expected a finite number, got {value}")
        values[section][name] = value
        origins[key] = setting.origin
    return Loaded(Settings(**{section: _SECTIONS[section](**fields) for section, fields in values.items()}), origins)
