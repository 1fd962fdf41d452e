"""`kv.*` on the keyspace as a whole: scanning, counting, flushing, evicting."""

from __future__ import annotations

from typing import Annotated

import msgspec

from synap.clock import Millis
from synap.commands import paging
from synap.commands.kv import Deleted, KeysOnly, delete
from synap.commands.state import TYPE_NAMES, State
from synap.commands.table import NoPayload, command, unchanged
from synap.commands.types import Payload, Result
from synap.engines import glob
from synap.errors import InvalidPayload


class Scan(paging.Page):
    """Payload of kv.scan. `type` is as key.type names it."""

    prefix: str | None = None
    type: Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(TYPE_NAMES)})] | None = None


class ScanResult(Result):
    """A page of keys; `cursor` is null at the end. A page may hold fewer keys than `count`, even none."""

    keys: list[str]
    cursor: str | None
    has_more: bool


@command(
    "kv.scan",
    scopes={"prefix": "prefix", "match": "scan"},
    routes=("GET /kv/scan",),
    cost="O(log n + keys looked at)",
    since="0.1",
)
def scan(state: State, payload: Scan, now: Millis) -> ScanResult:
    """Page through keys in key order. A key that is there from first page to last comes exactly once."""
    keyspace, wanted = state.keyspace, payload.type
    if wanted is not None and wanted not in TYPE_NAMES:
        raise InvalidPayload(
            f"payload.type: expected one of {', '.join(TYPE_NAMES)}, got {wanted[:40]!r}", path="payload.type"
        )

    def is_wanted(key: str) -> bool:
        return wanted is None or keyspace.type_at(key, now) == wanted

    found, cursor = paging.page(
        payload, lambda after, prefix: keyspace.keys(now, after=after, prefix=prefix), payload.prefix or "", is_wanted
    )
    return ScanResult(keys=found, cursor=cursor, has_more=cursor is not None)


class Match(Payload):
    """Payload of kv.keys; a glob."""

    match: str = "*"


class KeysResult(Result):
    """Keys in key order."""

    keys: list[str]
    count: int


@command("kv.keys", scopes={"match": "glob"}, routes=("GET /kv/keys",), cost="O(n); prefer kv.scan", since="0.1")
def keys(state: State, payload: Match, now: Millis) -> KeysResult:
    """List all keys that match a glob."""
    candidates = state.keyspace.keys(now, prefix=glob.literal_prefix(payload.match))
    found = [key for key in candidates if paging.matches(key, payload.match)]
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
