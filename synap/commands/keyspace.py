"""`kv.*` on the keyspace as a whole: scanning, counting, flushing, evicting."""

from __future__ import annotations

import base64
import binascii
from itertools import islice
from typing import Literal

from synap.clock import Millis
from synap.commands.kv import Deleted, KeysOnly, delete
from synap.commands.state import State
from synap.commands.table import NoPayload, command, unchanged
from synap.commands.types import Count, Payload, Result
from synap.engines import glob
from synap.errors import InvalidPayload

# A page with a rare match must not walk the whole keyspace: it ends after looking at this many keys.
SCAN_EXAMINED_PER_PAGE_MIN = 1_000
SCAN_EXAMINED_PER_KEY = 10

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
    deleted = delete(state, payload.keys, now)
    state.keyspace.evicted += deleted.deleted
    return deleted


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
