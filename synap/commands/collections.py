"""What the commands on collections (hash, list, set, ...) have in common: looking up and the statistics of a type."""

from __future__ import annotations

from typing import TypeVar

from synap.clock import Millis
from synap.commands.state import State
from synap.commands.types import Result
from synap.engines.collection import Collection

C = TypeVar("C", bound=Collection)


class TypeStats(Result):
    """Keys of one type, what they hold, their memory, and how often each command ran since the server started."""

    total_keys: int
    total_elements: int
    memory_bytes: int
    operations: dict[str, int]


def stats_of(state: State, kind: type[Collection], now: Millis) -> TypeStats:
    """The result of hash.stats, list.stats, ... O(1)."""
    tally = state.keyspace.tally(kind, now)
    operations = state.operations(kind.type_name)
    return TypeStats(tally.keys, tally.elements, tally.bytes, operations)


def existing_or_new(state: State, key: str, kind: type[C], now: Millis) -> C:
    """The collection at `key`, or an empty one that is not stored yet. Raises WrongType."""
    return state.keyspace.typed(key, kind, now) or kind()
