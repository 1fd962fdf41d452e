"""`kv.*` on the keyspace as a whole: scanning, counting, flushing, evicting."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated

import msgspec

from synap.clock import Millis
from synap.commands import large, paging, slices
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
        there = keyspace.type_at(key, now)
        return there is not None and wanted in (None, there)

    def names(after: str | None, prefix: str) -> Iterator[str]:
        return keyspace.held(after=after, prefix=prefix)

    found, cursor = paging.page(payload, names, payload.prefix or "", is_wanted)
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
    """List all keys that match a glob.

    Where there are many, this takes several turns of the server: keys that come or go meanwhile may be told or not.
    """
    if len(state.keyspace) > slices.WHOLE_MAX:
        return slices.sliced(KeysResult, _listing(state, payload.match, now))
    candidates = state.keyspace.keys(now, prefix=glob.literal_prefix(payload.match))
    found = [key for key in candidates if paging.matches(key, payload.match)]
    return KeysResult(keys=found, count=len(found))


def _listing(state: State, match: str, now: Millis) -> slices.Steps:
    found: list[str] = []
    names: list[str] = []
    is_first = True
    while is_first or len(names) == slices.PORTION:
        after, is_first = names[-1] if names else None, False
        names = list(islice(state.keyspace.keys(now, after=after, prefix=glob.literal_prefix(match)), slices.PORTION))
        found += [key for key in names if paging.matches(key, match)]
        yield
    told = map(slices.elements, slices.portions(found))
    return (yield from slices.array(KeysResult, told, b',"count":%d' % len(found)))


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


@command("kv.flushdb", writes=True, grows=False, admin=True, cost="O(1)", since="0.1")
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
    return large.drained(state, Stats, lambda: _stats(state, now), now)


def _stats(state: State, now: Millis) -> Stats:
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
