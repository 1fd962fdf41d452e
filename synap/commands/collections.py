"""What the commands on collections (hash, list, set, ...) have in common: looking up and the statistics of a type."""

from __future__ import annotations

import math
from typing import Annotated, TypeVar, cast

import msgspec

from synap.clock import Millis
from synap.commands.large import drained
from synap.commands.state import State
from synap.commands.table import nothing_yet, unchanged
from synap.commands.types import Key, Payload, Result, check_either
from synap.engines.arrivals import Topic
from synap.engines.collection import Collection

C = TypeVar("C", bound=Collection)
R = TypeVar("R")


class MemberOrMembers(Payload):
    """A command on one member or several."""

    key: Key
    member: str | None = None
    members: list[str] | None = None

    def __post_init__(self) -> None:
        check_either(self.member, self.members, "member or members")

    def names(self) -> list[str]:
        """All members named."""
        return [self.member] if self.member is not None else self.members or []


class Cardinality(Result):
    """Number of members."""

    count: int


class Members(Result):
    """Members of a set."""

    members: list[str]


class Removed(Result):
    """How many were there and are gone."""

    removed: int


class BlockingPop(Payload):
    """A command that takes from the first of several keys that has something. A `timeout` of 0 waits for ever.

    Timeouts are in seconds, decimals allowed, and end at `limits.max_wait_secs` of the server.
    """

    keys: Annotated[list[Key], msgspec.Meta(min_length=1, max_length=10_000)]
    timeout: Annotated[float, msgspec.Meta(ge=0)]

    def nothing_yet(self, result: R, kind: type[Collection]) -> R:
        """The result when no key holds a `kind`: wait for one, and then take from that one alone."""

        def form(topic: Topic) -> BlockingPop:
            _, key = cast(tuple[type, str], topic)
            return BlockingPop(keys=[key], timeout=self.timeout)

        return nothing_yet(result, self.timeout or math.inf, [(kind, key) for key in self.keys], form)


class TypeStats(Result):
    """Keys of one type, what they hold, their memory, and how often each command ran since the server started."""

    total_keys: int
    total_elements: int
    memory_bytes: int
    operations: dict[str, int]


def stats_of(state: State, kind: type[Collection], now: Millis) -> TypeStats:
    """The result of hash.stats, list.stats, ... O(1), but for what is due."""

    def told() -> TypeStats:
        tally = state.keyspace.tally(kind, now)
        return TypeStats(tally.keys, tally.elements, tally.bytes, state.operations(kind.type_name))

    return drained(state, TypeStats, told, now)


def existing_or_new(state: State, key: str, kind: type[C], now: Millis) -> C:
    """The collection at `key`, or an empty one that is not stored yet. Raises WrongType."""
    return state.keyspace.typed(key, kind, now) or kind()


def settled(state: State, key: str, held: Collection, now: Millis, result: R, changed: object) -> R:
    """The result of a write; what it did to a collection is settled, or marked as no change when `changed` is falsy."""
    if not changed:
        return unchanged(result)
    state.keyspace.settle(key, held, now)
    return result
