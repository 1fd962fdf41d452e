"""`hyperloglog.*`: counting distinct elements without keeping them, to within 1 %."""

from __future__ import annotations

from collections.abc import Iterable

from synap.clock import Millis
from synap.commands.collections import TypeStats, stats_of
from synap.commands.kv import KeyOrKeys
from synap.commands.state import State
from synap.commands.table import NoPayload, command, unchanged
from synap.commands.types import Key, Payload, Result, Success, check_either
from synap.engines.hyperloglogs import HyperLogLog


class Add(Payload):
    """Payload of hyperloglog.pfadd. Without any elements it only makes the key."""

    key: Key
    element: str | None = None
    elements: list[str] | None = None

    def __post_init__(self) -> None:
        check_either(self.element, self.elements, "element or elements")

    def all(self) -> list[str]:
        """All elements given."""
        return [self.element] if self.element is not None else self.elements or []


class Changed(Result):
    """Whether the key is new or what it counts has changed."""

    changed: bool


@command(
    "hyperloglog.pfadd",
    writes=True,
    keys=("key",),
    routes=("POST /hyperloglog/{key}/pfadd",),
    cost="O(elements)",
    since="0.2",
)
def pfadd(state: State, payload: Add, now: Millis) -> Changed:
    """Count elements in; those that were counted before change nothing."""
    held = state.keyspace.typed(payload.key, HyperLogLog, now)
    counted = held or HyperLogLog()
    if not counted.add(payload.all()) and held is not None:
        return unchanged(Changed(False))
    state.keyspace.settle(payload.key, counted, now)
    return Changed(True)


class CountResult(Result):
    """The estimated number of distinct elements."""

    count: int


@command(
    "hyperloglog.pfcount",
    keys=("key", "keys"),
    routes=("GET /hyperloglog/{key}/pfcount", "POST /hyperloglog/pfcount"),
    cost="O(1); O(keys) for several, under 1 ms each",
    since="0.2",
)
def pfcount(state: State, payload: KeyOrKeys, now: Millis) -> CountResult:
    """Estimate how many distinct elements were added to a key, or to several taken together."""
    parts = _found(state.keyspace.look(key, HyperLogLog, now) for key in dict.fromkeys(payload.names()))
    if not parts:
        return CountResult(0)
    counted = parts[0] if len(parts) == 1 else HyperLogLog.union(parts)
    return CountResult(counted.count())


class Merge(Payload):
    """Payload of hyperloglog.pfmerge."""

    destination: Key
    sources: list[Key]


@command(
    "hyperloglog.pfmerge",
    writes=True,
    keys=("destination", "sources"),
    routes=("POST /hyperloglog/{destination}/pfmerge",),
    cost="O(sources), under 1 ms each",
    since="0.2",
)
def pfmerge(state: State, payload: Merge, now: Millis) -> Success:
    """Count into the destination all that the sources have counted. Its expiry stays."""
    keyspace = state.keyspace
    held = keyspace.typed(payload.destination, HyperLogLog, now)
    sources = _found(keyspace.typed(key, HyperLogLog, now) for key in dict.fromkeys(payload.sources))
    merged = HyperLogLog.union(sources if held is None else [held, *sources])
    if held is not None and merged.dump() == held.dump():
        return unchanged(Success(True))
    keyspace.settle(payload.destination, merged, now)
    return Success(True)


@command("hyperloglog.stats", routes=("GET /hyperloglog/stats",), cost="O(1)", since="0.2")
def stats(state: State, payload: NoPayload, now: Millis) -> TypeStats:
    """Describe all HyperLogLogs together."""
    return stats_of(state, HyperLogLog, now)


def _found(looked_up: Iterable[HyperLogLog | None]) -> list[HyperLogLog]:
    """Those that are there."""
    return [held for held in looked_up if held is not None]
