"""`key.*`: keys of any type, regardless of what they hold."""

from __future__ import annotations

from synap.clock import Millis
from synap.commands.chance import Seeded, draw_seed
from synap.commands.state import State
from synap.commands.table import command, unchanged
from synap.commands.types import Key, KeyOnly, Payload, Result, Success
from synap.engines.keyspace import Value
from synap.errors import KeyNotFound


class TypeResult(Result):
    """ "none", or string, hash, list, set, sortedset."""

    type: str


@command("key.type", keys=("key",), routes=("GET /key/{key}/type",), cost="O(1)", since="0.1")
def type_(state: State, payload: KeyOnly, now: Millis) -> TypeResult:
    """Tell what type a key holds."""
    return TypeResult(type=state.keyspace.type_at(payload.key, now) or "none")


class ExistsResult(Result):
    """Whether the key is there."""

    exists: bool


@command("key.exists", keys=("key",), routes=("GET /key/{key}/exists",), cost="O(1)", since="0.1")
def exists(state: State, payload: KeyOnly, now: Millis) -> ExistsResult:
    """Tell whether a key exists."""
    return ExistsResult(exists=state.keyspace.seen(payload.key, now))


class Rename(Payload):
    """Payload of key.rename and key.renamenx."""

    source: Key
    destination: Key


@command(
    "key.rename",
    writes=True,
    grows=False,
    keys=("source", "destination"),
    routes=("POST /key/{source}/rename",),
    cost="O(log n)",
    since="0.1",
)
def rename(state: State, payload: Rename, now: Millis) -> Success:
    """Rename a key, with its expiry, over whatever the destination held."""
    _source(state, payload.source, now)
    if payload.source == payload.destination:
        return unchanged(Success(success=True))
    _move(state, payload, now)
    return Success(success=True)


@command(
    "key.renamenx",
    writes=True,
    grows=False,
    keys=("source", "destination"),
    routes=("POST /key/{source}/renamenx",),
    cost="O(log n)",
    since="0.1",
)
def renamenx(state: State, payload: Rename, now: Millis) -> Success:
    """Rename a key, with its expiry, unless the destination exists."""
    _source(state, payload.source, now)
    if state.keyspace.get(payload.destination, now) is not None:
        return unchanged(Success(success=False))
    _move(state, payload, now)
    return Success(success=True)


class Copy(Payload):
    """Payload of key.copy."""

    source: Key
    destination: Key
    replace: bool = False


@command(
    "key.copy",
    writes=True,
    keys=("source", "destination"),
    routes=("POST /key/{source}/copy",),
    cost="O(size of the value)",
    since="0.1",
)
def copy(state: State, payload: Copy, now: Millis) -> Success:
    """Copy a key, with its expiry; false when there is no source, or a destination and `replace` is not set."""
    keyspace = state.keyspace
    value = keyspace.get(payload.source, now)
    if value is None or payload.source == payload.destination:
        return unchanged(Success(success=False))
    if keyspace.get(payload.destination, now) is not None and not payload.replace:
        return unchanged(Success(success=False))
    keyspace.put(payload.destination, keyspace.copy_value(value), now, keyspace.expires.get(payload.source))
    return Success(success=True)


class RandomKey(Seeded):
    """Payload of key.randomkey."""


class RandomKeyResult(Result):
    """A key, or null when there are none."""

    key: str | None


@command("key.randomkey", routes=("GET /key/randomkey",), admit=draw_seed, cost="O(log n)", since="0.1")
def randomkey(state: State, payload: RandomKey, now: Millis) -> RandomKeyResult:
    """Return some key, each with the same chance."""
    return RandomKeyResult(key=state.keyspace.key_at(payload.seed or 0, now))


def _source(state: State, key: str, now: Millis) -> Value:
    value = state.keyspace.get(key, now)
    if value is None:
        raise KeyNotFound(f"there is no key {key[:100]!r}", key=key)
    return value


def _move(state: State, payload: Rename, now: Millis) -> None:
    keyspace = state.keyspace
    value, expires_at = keyspace.get(payload.source, now), keyspace.expires.get(payload.source)
    keyspace.remove(payload.source)
    keyspace.put(payload.destination, value, now, expires_at)
