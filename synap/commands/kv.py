"""`kv.*`: JSON values under keys, counters, text, and the keyspace as a whole."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from itertools import islice
from typing import Annotated, Literal

import msgspec

from synap.clock import Millis
from synap.commands.state import State
from synap.commands.table import NoPayload, command, unchanged
from synap.commands.types import Count, Int64, Json, Key, Keys, Payload, Result, Ttl, expires_at, seconds_left
from synap.engines import glob, numbers, strings
from synap.errors import InvalidPayload, PayloadTooLarge

# A page with a rare match must not walk the whole keyspace: it ends after looking at this many keys.
SCAN_EXAMINED_PER_PAGE_MIN = 1_000
SCAN_EXAMINED_PER_KEY = 10
# One kv.mget may name the same large value any number of times.
VALUES_BYTES_MAX = 256 * 1024 * 1024


class KeyOnly(Payload):
    """A command on one key."""

    key: Key


class KeyOrKeys(Payload):
    """A command on one key or several."""

    key: Key | None = None
    keys: Keys | None = None

    def __post_init__(self) -> None:
        if (self.key is None) == (self.keys is None):
            raise ValueError("expected either key or keys")

    def names(self) -> list[str]:
        """All keys named."""
        return [self.key] if self.key is not None else self.keys or []


class Success(Result):
    """Whether the command found what it needed."""

    success: bool


class Deleted(Result):
    """How many keys were there and are gone."""

    deleted: int


class Length(Result):
    """Characters in the string now."""

    length: int


class Set(Payload):
    """Payload of kv.set."""

    key: Key
    value: Json
    ttl: Ttl | None = None
    nx: bool = False
    xx: bool = False
    get: bool = False
    keep_ttl: bool = False


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
        if payload.nx and payload.xx:
            raise InvalidPayload("payload: nx and xx exclude each other", path="payload.nx")
        old = keyspace.typed(key, bytes, now) if payload.get else keyspace.get(key, now)
        previous = _stored(old) if payload.get else None
        if (payload.nx and old is not None) or (payload.xx and old is None):
            return unchanged(SetResult(key, False, previous))
    if payload.ttl is not None:
        if payload.keep_ttl:
            raise InvalidPayload("payload: ttl and keep_ttl exclude each other", path="payload.keep_ttl")
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
    return _delete(state, payload.names(), now)


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
    """Add to a number, in decimal arithmetic of 17 digits; an absent key counts as 0. The expiry stays."""
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


TypeName = Literal["string", "hash", "list", "set", "sortedset"]


class Scan(Payload):
    """Payload of kv.scan. `match` is a glob; `cursor` is the one of the page before."""

    prefix: str | None = None
    match: str | None = None
    type: TypeName | None = None
    cursor: str | None = None
    count: Count = 100


class ScanResult(Result):
    """A page of keys; `cursor` is null at the end. A page may hold fewer keys than `count`, even none."""

    keys: list[str]
    cursor: str | None
    has_more: bool


@command("kv.scan", routes=("GET /kv/scan",), cost="O(log n + keys looked at)", since="0.1")
def scan(state: State, payload: Scan, now: Millis) -> ScanResult:
    """Page through keys in key order. A key that is there from first page to last comes exactly once."""
    keyspace, found = state.keyspace, list[str]()
    last = None if payload.cursor is None else _decode_cursor(payload.cursor)
    prefix = _narrowed(payload.prefix or "", payload.match)
    if prefix is None:
        return ScanResult(keys=[], cursor=None, has_more=False)
    keys = keyspace.keys(now, after=last, prefix=prefix)
    for key in islice(keys, max(SCAN_EXAMINED_PER_PAGE_MIN, payload.count * SCAN_EXAMINED_PER_KEY)):
        last = key
        if _matches(key, payload.match) and payload.type in (None, keyspace.type_at(key, now)):
            found.append(key)
            if len(found) == payload.count:
                break
    has_more = last is not None and next(keys, None) is not None
    return ScanResult(keys=found, cursor=_encode_cursor(last) if has_more and last else None, has_more=has_more)


class Match(Payload):
    """Payload of kv.keys; a glob."""

    match: str = "*"


class KeysResult(Result):
    """Keys in key order."""

    keys: list[str]
    count: int


@command("kv.keys", routes=("GET /kv/keys",), cost="O(n); prefer kv.scan", since="0.1")
def keys(state: State, payload: Match, now: Millis) -> KeysResult:
    """List all keys that match a glob."""
    candidates = state.keyspace.keys(now, prefix=glob.literal_prefix(payload.match))
    found = [key for key in candidates if _matches(key, payload.match)]
    return KeysResult(keys=found, count=len(found))


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


class Values(Result):
    """A value for each key asked for, null where there is none or it is of another type."""

    values: list[Json | None]


@command("kv.mget", keys=("keys",), routes=("POST /kv/mget",), cost="O(k)", since="0.1")
def mget(state: State, payload: MultiGet, now: Millis) -> Values:
    """Read several keys at once."""
    values = [state.keyspace.read(key, now) for key in payload.keys]
    if sum(len(value) for value in values if type(value) is bytes) > VALUES_BYTES_MAX:
        raise PayloadTooLarge(f"the values are longer than {VALUES_BYTES_MAX} bytes together", limit=VALUES_BYTES_MAX)
    return Values(values=[Json(value) if type(value) is bytes else None for value in values])


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
    return _delete(state, payload.keys, now)


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


class Size(Result):
    """Number of keys."""

    size: int


@command("kv.dbsize", cost="O(1)", since="0.1")
def dbsize(state: State, payload: NoPayload, now: Millis) -> Size:
    """Count the keys."""
    return Size(size=state.keyspace.size(now))


class Flushed(Result):
    """Number of keys removed."""

    flushed: int


@command("kv.flushdb", writes=True, grows=False, admin=True, cost="O(n)", since="0.1")
def flushdb(state: State, payload: NoPayload, now: Millis) -> Flushed:
    """Delete every key of every type."""
    flushed = state.keyspace.flush(now)
    result: Flushed = Flushed(flushed=flushed)
    return result if flushed else unchanged(result)


class Stats(Result):
    """`hits` and `misses` count since the start of the server, `evicted` and `expired` over its whole history."""

    total_keys: int
    by_type: dict[str, int]
    expiring: int
    memory_bytes: int
    hits: int
    misses: int
    evicted: int
    expired: int


@command("kv.stats", routes=("GET /kv/stats",), cost="O(1)", since="0.1")
def stats(state: State, payload: NoPayload, now: Millis) -> Stats:
    """Describe the keyspace."""
    keyspace = state.keyspace
    return Stats(
        total_keys=keyspace.size(now),
        by_type=keyspace.counts_by_type(now),
        expiring=keyspace.expiring(now),
        memory_bytes=keyspace.used_bytes,
        hits=keyspace.hits,
        misses=keyspace.misses,
        evicted=keyspace.evicted,
        expired=keyspace.expired,
    )


@command("kv.evict", writes=True, grows=False, internal=True, keys=("keys",), cost="O(k log n)", since="0.1")
def evict(state: State, payload: KeysOnly, now: Millis) -> Deleted:
    """Remove keys to make room, as chosen by the memory policy."""
    deleted = _delete(state, payload.keys, now)
    state.keyspace.evicted += deleted.deleted
    return deleted


def _add(state: State, key: str, amount: int, now: Millis) -> IntegerResult:
    keyspace = state.keyspace
    value = numbers.add_integer(keyspace.typed(key, bytes, now), amount)
    keyspace.put(key, b"%d" % value, now, keep_expiry=True)
    return IntegerResult(value=value)


def _delete(state: State, names: Iterable[str], now: Millis) -> Deleted:
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


def _matches(key: str, match: str | None) -> bool:
    return match is None or match == "*" or glob.compiled(match).fullmatch(key) is not None


def _narrowed(prefix: str, match: str | None) -> str | None:
    """The longest text that both demand at the beginning of a key; None when they contradict each other."""
    literal = "" if match is None else glob.literal_prefix(match)
    shorter, longer = sorted((prefix, literal), key=len)
    return longer if longer.startswith(shorter) else None


def _encode_cursor(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _decode_cursor(cursor: str) -> str:
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidPayload("payload.cursor: expected the cursor of the page before", path="payload.cursor") from None
