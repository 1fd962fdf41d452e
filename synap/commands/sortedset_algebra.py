"""`sortedset.*` over several keys: unions, intersections and differences, stored."""

from __future__ import annotations

from typing import Literal

from synap.clock import Millis
from synap.commands.collections import Cardinality
from synap.commands.scores import Score
from synap.commands.state import State
from synap.commands.table import command, unchanged
from synap.commands.types import Key, Keys, Payload
from synap.engines import sortedsets
from synap.engines.sets import Set
from synap.engines.sortedsets import AGGREGATES, Scores, SortedSet


class Combine(Payload):
    """Payload of the storing commands. The keys may hold sorted sets, or sets, whose members count as of score 1.

    Scores are multiplied by the weight of their key; `aggregate` says what becomes of the scores of one member.
    """

    destination: Key
    keys: Keys
    weights: list[Score] | None = None
    aggregate: Literal["sum", "min", "max"] = "sum"

    def __post_init__(self) -> None:
        if self.weights is not None and len(self.weights) != len(self.keys):
            raise ValueError(f"weights: expected one for each of {len(self.keys)} keys, got {len(self.weights)}")


class Difference(Payload):
    """Payload of sortedset.zdiffstore. The keys may hold sorted sets, or sets, whose members count as of score 1."""

    destination: Key
    keys: Keys


@command(
    "sortedset.zunionstore",
    writes=True,
    keys=("destination", "keys"),
    routes=("POST /sortedset/{destination}/zunionstore",),
    cost="O(members of all x log n)",
    since="0.2",
)
def zunionstore(state: State, payload: Combine, now: Millis) -> Cardinality:
    """Store the members that any of the keys has, over whatever the destination held."""
    inputs = _weighted(state, payload, now)
    return _store(state, payload.destination, sortedsets.union(inputs, AGGREGATES[payload.aggregate]), now)


@command(
    "sortedset.zinterstore",
    writes=True,
    keys=("destination", "keys"),
    routes=("POST /sortedset/{destination}/zinterstore",),
    cost="O(smallest x keys + result x log n)",
    since="0.2",
)
def zinterstore(state: State, payload: Combine, now: Millis) -> Cardinality:
    """Store the members that all keys have, over whatever the destination held."""
    inputs = _weighted(state, payload, now)
    return _store(state, payload.destination, sortedsets.intersection(inputs, AGGREGATES[payload.aggregate]), now)


@command(
    "sortedset.zdiffstore",
    writes=True,
    keys=("destination", "keys"),
    routes=("POST /sortedset/{destination}/zdiffstore",),
    cost="O(members of the first x keys + result x log n)",
    since="0.2",
)
def zdiffstore(state: State, payload: Difference, now: Millis) -> Cardinality:
    """Store the members of the first key that no other has, over whatever the destination held."""
    first, *others = _inputs(state, payload.keys, now)
    return _store(state, payload.destination, sortedsets.difference(first, others), now)


def _inputs(state: State, keys: list[str], now: Millis) -> list[Scores]:
    """The scores at each key, of a set 1 for each member. Raises WrongType."""
    found = {key: _scores(state, key, now) for key in dict.fromkeys(keys)}
    return [found[key] for key in keys]


def _scores(state: State, key: str, now: Millis) -> Scores:
    held = state.keyspace.read(key, now)
    if type(held) is Set:
        return dict.fromkeys(held.members, 1.0)
    if held is not None and type(held) is not SortedSet:
        raise state.keyspace.wrong_type(key, SortedSet, held)
    return {} if held is None else held.scores


def _weighted(state: State, payload: Combine, now: Millis) -> list[tuple[Scores, float]]:
    weights = [1.0] * len(payload.keys) if payload.weights is None else list(map(float, payload.weights))
    return list(zip(_inputs(state, payload.keys, now), weights, strict=True))


def _store(state: State, destination: str, scores: Scores, now: Millis) -> Cardinality:
    if scores:
        state.keyspace.put(destination, SortedSet.of(scores), now)
    elif not state.keyspace.discard(destination, now):
        return unchanged(Cardinality(0))
    return Cardinality(len(scores))
