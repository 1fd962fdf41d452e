"""`kv.*` on single keys and sets of them: JSON values, counters, text, expiry. See keyspace.py for the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import msgspec

from synap.clock import Millis
from synap.commands.state import State
from synap.commands.table import command, unchanged
from synap.commands.types import (
    Int64,
    Json,
    Key,
    KeyOnly,
    Keys,
    Length,
    Payload,
    Result,
    Success,
    Ttl,
    Values,
    check_either,
    expires_at,
    seconds_left,
)
from synap.engines import numbers, strings


class KeyOrKeys(Payload):
    """A command on one key or several."""

    key: Key | None = None
    keys: Keys | None = None

    def __post_init__(self) -> None:
        check_either(self.key, self.keys, "key or keys")

    def names(self) -> list[str]:
        """All keys named."""
        return [self.key] if self.key is not None else self.keys or []


class Deleted(Result):
    """How many keys were there and are gone."""

    deleted: int


class Set(Payload):
    """Payload of kv.set."""

    key: Key
    value: Json
    ttl: Ttl | None = None
    nx: bool = False
    xx: bool = False
    get: bool = False
    keep_ttl: bool = False

    def __post_init__(self) -> None:
        if self.nx and self.xx:
            raise ValueError("nx and xx exclude each other")
        if self.keep_ttl and self.ttl is not None:
            raise ValueError("ttl and keep_ttl exclude each other")


class SetResult(Result):
    """`previous` is the old value when `get` asked for it."""

    key: str
    success: bool
    previous: Json | None


@command(
    "kv.set", writes=True, keys=("key",), routes=("POST /kv/set",), cost="O(1); O(log n) for a new key", since="0.1"
)
def set_(state: State, payload: Set, now: Millis) -> SetResult:
    """Store a JSON value under a key, replacing what was there.

    `ttl` lets it expire; without `ttl` or `keep_ttl` an earlier expiry is dropped. `nx` sets only an
    absent key, `xx` only a present one; unmet, `success` is false.
    """
    keyspace, key, previous, expiry = state.keyspace, payload.key, None, None
    if payload.nx or payload.xx or payload.get:
        old = keyspace.typed(key, bytes, now) if payload.get else keyspace.get(key, now)
        previous = _stored(old) if payload.get else None
        if (payload.nx and old is not None) or (payload.xx and old is None):
            return unchanged(SetResult(key, False, previous))
    if payload.ttl is not None:
        expiry = expires_at(payload.ttl, now)
    keyspace.put(key, bytes(payload.value), now, expiry, payload.keep_ttl)
    return SetResult(key, True, previous)


class GetResult(Result):
    """`ttl` is in whole seconds, rounded up; null without expiry."""

    found: bool
    value: Json | None
    ttl: int | None


@command("kv.get", keys=("key",), routes=("GET /kv/get/{key}",), cost="O(1)", since="0.1")
def get(state: State, payload: KeyOnly, now: Millis) -> GetResult:
    """Read the value of a key."""
    keyspace, key = state.keyspace, payload.key
    value = keyspace.read(key, now)
    if value is None:
        return GetResult(found=False, value=None, ttl=None)
    if type(value) is not bytes:
        raise keyspace.wrong_type(key, bytes, value)
    at = keyspace.expires.get(key)
    return GetResult(True, Json(value), None if at is None else seconds_left(at, now))


@command(
    "kv.del",
    writes=True,
    grows=False,
    keys=("key", "keys"),
    routes=("DELETE /kv/del/{key}",),
    cost="O(k log n)",
    since="0.1",
)
def del_(state: State, payload: KeyOrKeys, now: Millis) -> Deleted:
    """Delete keys of any type."""
    return delete(state, payload.names(), now)


class ExistsResult(Result):
    """`exists` when all of them do; `count` counts a key as often as it was named."""

    exists: bool
    count: int


@command("kv.exists", keys=("key", "keys"), cost="O(k)", since="0.1")
def exists(state: State, payload: KeyOrKeys, now: Millis) -> ExistsResult:
    """Tell whether keys of any type exist."""
    names = payload.names()
    count = sum(state.keyspace.seen(key, now) for key in names)
    return ExistsResult(exists=count == len(names), count=count)


class Increment(Payload):
    """Payload of kv.incr and kv.decr."""

    key: Key
    amount: Int64 = 1


class IntegerResult(Result):
    """The value after the change."""

    value: int


@command("kv.incr", writes=True, keys=("key",), routes=("POST /kv/incr",), cost="O(1)", since="0.1")
def incr(state: State, payload: Increment, now: Millis) -> IntegerResult:
    """Add to an integer; an absent key counts as 0. The expiry stays."""
    return _add(state, payload.key, payload.amount, now)


@command("kv.decr", writes=True, keys=("key",), routes=("POST /kv/decr",), cost="O(1)", since="0.1")
def decr(state: State, payload: Increment, now: Millis) -> IntegerResult:
    """Subtract from an integer; an absent key counts as 0. The expiry stays."""
    return _add(state, payload.key, -payload.amount, now)


class FloatIncrement(Payload):
    """Payload of kv.incrbyfloat."""

    key: Key
    amount: float


class NumberResult(Result):
    """The value after the change."""

    value: Json


@command("kv.incrbyfloat", writes=True, keys=("key",), cost="O(1)", since="0.1")
def incrbyfloat(state: State, payload: FloatIncrement, now: Millis) -> NumberResult:
    """Add to a number, in decimal arithmetic of 19 digits; an absent key counts as 0. The expiry stays."""
    keyspace, key = state.keyspace, payload.key
    value = numbers.add_decimal(keyspace.typed(key, bytes, now), payload.amount)
    keyspace.put(key, value, now, keep_expiry=True)
    return NumberResult(value=Json(value))


class Expire(Payload):
    """Payload of kv.expire; a `ttl` of 0 or less deletes the key."""

    key: Key
    ttl: Annotated[float, msgspec.Meta(ge=-9_000_000_000, le=9_000_000_000, description="seconds, decimals allowed")]


@command(
    "kv.expire", writes=True, grows=False, keys=("key",), routes=("POST /kv/expire",), cost="O(log n)", since="0.1"
)
def expire(state: State, payload: Expire, now: Millis) -> Success:
    """Let a key of any type expire after `ttl` seconds."""
    keyspace, key = state.keyspace, payload.key
    if keyspace.get(key, now) is None:
        return unchanged(Success(success=False))
    at = expires_at(payload.ttl, now)
    if at <= now:
        keyspace.remove(key)
    else:
        keyspace.set_expiry(key, at)
    return Success(success=True)


@command("kv.persist", writes=True, grows=False, keys=("key",), cost="O(1)", since="0.1")
def persist(state: State, payload: KeyOnly, now: Millis) -> Success:
    """Drop the expiry of a key; false when there is no key or no expiry."""
    keyspace, key = state.keyspace, payload.key
    if keyspace.get(key, now) is None or not keyspace.clear_expiry(key):
        return unchanged(Success(success=False))
    return Success(success=True)


class TtlResult(Result):
    """`ttl` is in whole seconds, rounded up; null without expiry."""

    found: bool
    ttl: int | None


@command("kv.ttl", keys=("key",), routes=("GET /kv/{key}/ttl",), cost="O(1)", since="0.1")
def ttl(state: State, payload: KeyOnly, now: Millis) -> TtlResult:
    """Tell how long a key of any type will live."""
    found = state.keyspace.seen(payload.key, now)
    at = state.keyspace.expires.get(payload.key) if found else None
    return TtlResult(found=found, ttl=None if at is None else seconds_left(at, now))


class Pair(Payload):
    """A key with its value."""

    key: Key
    value: Json
    ttl: Ttl | None = None


class MultiSet(Payload):
    """Payload of kv.mset: a list of pairs, or an object with a member for each key."""

    pairs: list[Pair] | dict[Key, Json]


class Counted(Result):
    """How many were set."""

    success: bool
    count: int


@command("kv.mset", writes=True, keys=("pairs",), routes=("POST /kv/mset",), cost="O(k log n)", since="0.1")
def mset(state: State, payload: MultiSet, now: Millis) -> Counted:
    """Set several keys at once."""
    result: Counted = Counted(success=True, count=len(payload.pairs))
    if not payload.pairs:
        return unchanged(result)
    _put_all(state, payload.pairs, now)
    return result


class MultiGet(Payload):
    """Payload of kv.mget."""

    keys: list[Key]


@command("kv.mget", keys=("keys",), routes=("POST /kv/mget",), cost="O(k)", since="0.1")
def mget(state: State, payload: MultiGet, now: Millis) -> Values:
    """Read several keys at once."""
    values = (state.keyspace.read(key, now) for key in payload.keys)
    return Values.named(value if type(value) is bytes else None for value in values)


class MultiSetNx(Payload):
    """Payload of kv.msetnx: pairs as for kv.mset, or a single key with its value."""

    pairs: list[Pair] | dict[Key, Json] | None = None
    key: Key | None = None
    value: Json | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        single = (self.key is not None, self.value is not msgspec.UNSET)
        if single != ((True, True) if self.pairs is None else (False, False)):
            raise ValueError("expected either pairs or key and value")


@command("kv.msetnx", writes=True, keys=("pairs", "key"), routes=("POST /kv/msetnx",), cost="O(k log n)", since="0.1")
def msetnx(state: State, payload: MultiSetNx | tuple[Key, Json], now: Millis) -> Success:
    """Set several keys if none of them exists: all or nothing."""
    if isinstance(payload, tuple):
        pairs: list[Pair] | dict[str, Json] = {payload[0]: payload[1]}
    elif payload.key is not None and payload.value is not msgspec.UNSET:
        pairs = {payload.key: payload.value}
    else:
        pairs = payload.pairs or {}
    names = pairs if isinstance(pairs, dict) else [pair.key for pair in pairs]
    if any(state.keyspace.get(key, now) is not None for key in names):
        return unchanged(Success(success=False))
    if not pairs:
        return unchanged(Success(success=True))
    _put_all(state, pairs, now)
    return Success(success=True)


class KeysOnly(Payload):
    """A command on several keys."""

    keys: list[Key]


@command("kv.mdel", writes=True, grows=False, keys=("keys",), cost="O(k log n)", since="0.1")
def mdel(state: State, payload: KeysOnly, now: Millis) -> Deleted:
    """Delete several keys of any type."""
    return delete(state, payload.keys, now)


class Append(Payload):
    """Payload of kv.append."""

    key: Key
    value: str


@command("kv.append", writes=True, keys=("key",), routes=("POST /kv/{key}/append",), cost="O(length)", since="0.1")
def append(state: State, payload: Append, now: Millis) -> Length:
    """Append text to a string; an absent key counts as empty. The expiry stays."""
    keyspace, key = state.keyspace, payload.key
    value, length = strings.appended(keyspace.typed(key, bytes, now), payload.value, key)
    keyspace.put(key, value, now, keep_expiry=True)
    return Length(length=length)


class GetRange(Payload):
    """Payload of kv.getrange: first and last character, negatives from the end."""

    key: Key
    start: Int64
    end: Int64


class Text(Result):
    """Part of a string."""

    value: str


@command("kv.getrange", keys=("key",), routes=("GET /kv/{key}/getrange",), cost="O(length)", since="0.1")
def getrange(state: State, payload: GetRange, now: Millis) -> Text:
    """Read part of a string by character positions, both ends included."""
    stored = _read_text(state, payload.key, now)
    return Text(value=strings.substring(stored, payload.start, payload.end, payload.key))


class SetRange(Payload):
    """Payload of kv.setrange; `offset` in characters."""

    key: Key
    offset: Annotated[int, msgspec.Meta(ge=0, le=strings.MAX_VALUE_BYTES)]
    value: str


@command("kv.setrange", writes=True, keys=("key",), routes=("POST /kv/{key}/setrange",), cost="O(length)", since="0.1")
def setrange(state: State, payload: SetRange, now: Millis) -> Length:
    """Write text over part of a string, padding it with NUL characters up to `offset`. The expiry stays."""
    keyspace, key = state.keyspace, payload.key
    stored = keyspace.typed(key, bytes, now)
    if not payload.value:
        return unchanged(Length(length=len(strings.text(stored, key))))
    value, length = strings.overwritten(stored, payload.offset, payload.value, key)
    keyspace.put(key, value, now, keep_expiry=True)
    return Length(length=length)


@command("kv.strlen", keys=("key",), routes=("GET /kv/{key}/strlen",), cost="O(length)", since="0.1")
def strlen(state: State, payload: KeyOnly, now: Millis) -> Length:
    """Count the characters of a string; 0 for an absent key."""
    return Length(length=len(strings.text(_read_text(state, payload.key, now), payload.key)))


class GetSet(Payload):
    """Payload of kv.getset."""

    key: Key
    value: Json


class OldValue(Result):
    """The value before the change, null when there was none."""

    value: Json | None


@command("kv.getset", writes=True, keys=("key",), routes=("POST /kv/{key}/getset",), cost="O(1)", since="0.1")
def getset(state: State, payload: GetSet, now: Millis) -> OldValue:
    """Store a value and return the one it replaces. An expiry is dropped."""
    keyspace, key = state.keyspace, payload.key
    old = keyspace.typed(key, bytes, now)
    keyspace.put(key, bytes(payload.value), now)
    return OldValue(value=_stored(old))


@command("kv.getdel", writes=True, grows=False, keys=("key",), cost="O(log n)", since="0.1")
def getdel(state: State, payload: KeyOnly, now: Millis) -> OldValue:
    """Return a value and delete its key."""
    keyspace, key = state.keyspace, payload.key
    old = keyspace.typed(key, bytes, now)
    if old is None:
        return unchanged(OldValue(value=None))
    keyspace.remove(key)
    return OldValue(value=_stored(old))


def _add(state: State, key: str, amount: int, now: Millis) -> IntegerResult:
    keyspace = state.keyspace
    value = numbers.add_integer(keyspace.typed(key, bytes, now), amount)
    keyspace.put(key, b"%d" % value, now, keep_expiry=True)
    return IntegerResult(value=value)


def delete(state: State, names: Iterable[str], now: Millis) -> Deleted:
    """Delete keys of any type."""
    deleted = sum(state.keyspace.discard(key, now) for key in names)
    result: Deleted = Deleted(deleted=deleted)
    return result if deleted else unchanged(result)


def _put_all(state: State, pairs: list[Pair] | dict[str, Json], now: Millis) -> None:
    put = state.keyspace.put
    if isinstance(pairs, dict):
        for key, value in pairs.items():
            put(key, bytes(value), now)
    else:
        for pair in pairs:
            put(pair.key, bytes(pair.value), now, None if pair.ttl is None else expires_at(pair.ttl, now))


def _read_text(state: State, key: str, now: Millis) -> bytes | None:
    value = state.keyspace.read(key, now)
    if value is not None and type(value) is not bytes:
        raise state.keyspace.wrong_type(key, bytes, value)
    return value


def _stored(value: bytes | None) -> Json | None:
    return None if value is None else Json(value)
