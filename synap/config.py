"""Settings: defaults, then the TOML file, then SYNAP_<SECTION>_<KEY>, then flags. The last one wins.

`load` returns the settings with where each came from, and refuses what it does not know: a misspelt key
must not leave a default in force unnoticed.
"""

from __future__ import annotations

import ipaddress
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

MIB = 1024 * 1024

Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class _Section(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    pass


class Server(_Section, frozen=True):
    """Where to listen and where the data lives. Port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: Port = 15_500
    data: str = "./synap-data"


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


class Log(_Section, frozen=True):
    """How much to log, and whether for people or for machines."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(_Section, frozen=True):
    """Everything that can be set."""

    server: Server = Server()
    journal: Journal = Journal()
    memory: Memory = Memory()
    limits: Limits = Limits()
    queues: Queues = Queues()
    streams: Streams = Streams()
    pubsub: Pubsub = Pubsub()
    log: Log = Log()


class BadSetting(Exception):
    """A setting that cannot be used; the message names where it stands, the key and the reason."""


@dataclass(frozen=True)
class Loaded:
    """The effective settings, and for each "section.key" where its value came from."""

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
    return _build(given)


def is_loopback(host: str) -> bool:
    """Whether `host` can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Given(NamedTuple):
    value: Any
    origin: str
    from_text: bool
    """A text that stands for a value of another type."""


_SECTIONS: dict[str, Any] = {field.name: field.type for field in msgspec.structs.fields(Settings)}
_FLAGS = {"log.format": "--log-format"}


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
            value = msgspec.convert(setting.value, types[section][name], strict=not setting.from_text)
        except msgspec.ValidationError as error:
            raise BadSetting(f"{setting.origin}: {key}: {str(error)[:1].lower()}{str(error)[1:]}") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise BadSetting(f"{setting.origin}: {key}: expected a finite number, got {value}")
        values[section][name] = value
        origins[key] = setting.origin
    return Loaded(Settings(**{section: _SECTIONS[section](**fields) for section, fields in values.items()}), origins)
