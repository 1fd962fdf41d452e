"""`list.*`: ordered JSON values with cheap ends."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from synap.clock import Millis
from synap.commands.collections import BlockingPop, Removed, TypeStats, existing_or_new, settled, stats_of
from synap.commands.large import values_read
from synap.commands.state import State
from synap.commands.table import NoPayload, command, unchanged
from synap.commands.types import (
    UNSET,
    Int64,
    Json,
    Key,
    KeyOnly,
    Length,
    Payload,
    PopCount,
    Result,
    Success,
    Unset,
    Values,
    check_either,
)
from synap.engines.collection import span
from synap.engines.lists import List
from synap.errors import KeyNotFound, OutOfRange

End = Literal["left", "right"]


class Push(Payload):
    """Payload of the pushing commands."""

    key: Key
    value: Json | Unset = UNSET
    values: Annotated[list[Json], msgspec.Meta(min_length=1)] | None = None

    def __post_init__(self) -> None:
        check_either(self.value, self.values, "value or values")

    def copied(self) -> list[bytes]:
        """The values, copied out of the request."""
        return [bytes(self.value)] if self.value is not UNSET else list(map(bytes, self.values or ()))


@command("list.lpush", writes=True, keys=("key",), routes=("POST /list/{key}/lpush",), cost="O(values)", since="0.2")
def lpush(state: State, payload: Push, now: Millis) -> Length:
    """Add values at the left end, one after the other."""
    return _push(state, payload, now, left=True)


@command("list.rpush", writes=True, keys=("key",), routes=("POST /list/{key}/rpush",), cost="O(values)", since="0.2")
def rpush(state: State, payload: Push, now: Millis) -> Length:
    """Add values at the right end."""
    return _push(state, payload, now, left=False)


@command("list.lpushx", writes=True, keys=("key",), routes=("POST /list/{key}/lpushx",), cost="O(values)", since="0.2")
def lpushx(state: State, payload: Push, now: Millis) -> Length:
    """Add values at the left end of a list that exists; length 0 when there is none."""
    return _push(state, payload, now, left=True, only_existing=True)


@command("list.rpushx", writes=True, keys=("key",), routes=("POST /list/{key}/rpushx",), cost="O(values)", since="0.2")
def rpushx(state: State, payload: Push, now: Millis) -> Length:
    """Add values at the right end of a list that exists; length 0 when there is none."""
    return _push(state, payload, now, left=False, only_existing=True)


class Pop(Payload):
    """Payload of list.lpop and list.rpop."""

    key: Key
    count: PopCount = 1


@command(
    "list.lpop",
    writes=True,
    grows=False,
    keys=("key",),
    routes=("POST /list/{key}/lpop",),
    cost="O(count)",
    since="0.2",
)
def lpop(state: State, payload: Pop, now: Millis) -> Values:
    """Take values from the left end, the first one first."""
    return _pop(state, payload, now, left=True)


@command(
    "list.rpop",
    writes=True,
    grows=False,
    keys=("key",),
    routes=("POST /list/{key}/rpop",),
    cost="O(count)",
    since="0.2",
)
def rpop(state: State, payload: Pop, now: Millis) -> Values:
    """Take values from the right end, the last one first."""
    return _pop(state, payload, now, left=False)


class BlockingPopResult(Result):
    """A value and the list it came from; both null when nothing came in time."""

    key: str | None
    value: Json | None


@command(
    "list.blpop",
    writes=True,
    grows=False,
    waits=True,
    keys=("keys",),
    routes=("POST /list/blpop",),
    cost="O(keys)",
    since="0.2",
)
def blpop(state: State, payload: BlockingPop, now: Millis) -> BlockingPopResult:
    """Take the first value of the first list that has any; wait for one when none has."""
    return _blocking_pop(state, payload, now, left=True)


@command(
    "list.brpop",
    writes=True,
    grows=False,
    waits=True,
    keys=("keys",),
    routes=("POST /list/brpop",),
    cost="O(keys)",
    since="0.2",
)
def brpop(state: State, payload: BlockingPop, now: Millis) -> BlockingPopResult:
    """Take the last value of the first list that has any; wait for one when none has."""
    return _blocking_pop(state, payload, now, left=False)


class Range(Payload):
    """Payload of list.range: first and last index, negatives from the end."""

    key: Key
    start: Int64 = 0
    stop: Int64 = -1


@command("list.range", keys=("key",), routes=("GET /list/{key}/range",), cost="O(start + result)", since="0.2")
def range_(state: State, payload: Range, now: Millis) -> Values:
    """Read the values between two indexes, both included."""
    held = _looked_at(state, payload.key, now)
    return values_read(held.between(*span(payload.start, payload.stop, len(held))))


@command("list.len", keys=("key",), routes=("GET /list/{key}/len",), cost="O(1)", since="0.2")
def len_(state: State, payload: KeyOnly, now: Millis) -> Length:
    """Count the values."""
    return Length(len(_looked_at(state, payload.key, now)))


class Index(Payload):
    """Payload of list.index; a negative index counts from the end."""

    key: Key
    index: Int64


class IndexResult(Result):
    """The value at an index, null when there is none."""

    found: bool
    value: Json | None


@command("list.index", keys=("key",), routes=("GET /list/{key}/index/{index}",), cost="O(1) near the ends", since="0.2")
def index(state: State, payload: Index, now: Millis) -> IndexResult:
    """Read the value at an index."""
    value = _looked_at(state, payload.key, now).at(payload.index)
    return IndexResult(False, None) if value is None else IndexResult(True, Json(value))


class SetIndex(Payload):
    """Payload of list.set."""

    key: Key
    index: Int64
    value: Json


@command(
    "list.set", writes=True, keys=("key",), routes=("POST /list/{key}/set",), cost="O(1) near the ends", since="0.2"
)
def set_(state: State, payload: SetIndex, now: Millis) -> Success:
    """Replace the value at an index."""
    held = state.keyspace.typed(payload.key, List, now)
    if held is None:
        raise KeyNotFound(f"there is no list {payload.key[:100]!r}", key=payload.key)
    if held.at(payload.index) is None:
        raise OutOfRange(f"there is no index {payload.index} in a list of {len(held)}", length=len(held))
    held.replace(payload.index, bytes(payload.value))
    state.keyspace.settle(payload.key, held, now)
    return Success(True)


class Trim(Payload):
    """Payload of list.trim: first and last index to keep, negatives from the end."""

    key: Key
    start: Int64
    stop: Int64


@command(
    "list.trim",
    writes=True,
    grows=False,
    keys=("key",),
    routes=("POST /list/{key}/trim",),
    cost="O(removed)",
    since="0.2",
)
def trim(state: State, payload: Trim, now: Millis) -> Length:
    """Keep only the values between two indexes, both included."""
    held = existing_or_new(state, payload.key, List, now)
    start, stop = span(payload.start, payload.stop, len(held))
    if stop - start == len(held):
        return unchanged(Length(len(held)))
    held.keep(start, stop)
    state.keyspace.settle(payload.key, held, now)
    return Length(len(held))


class Remove(Payload):
    """Payload of list.rem: up to `count` from the left, from the right when negative, all when 0."""

    key: Key
    value: Json
    count: Int64 = 0


@command(
    "list.rem", writes=True, grows=False, keys=("key",), routes=("POST /list/{key}/rem",), cost="O(n)", since="0.2"
)
def rem(state: State, payload: Remove, now: Millis) -> Removed:
    """Remove values equal to one, compared as JSON values."""
    held = existing_or_new(state, payload.key, List, now)
    removed = held.remove(bytes(payload.value), payload.count)
    return settled(state, payload.key, held, now, Removed(removed), removed)


class Insert(Payload):
    """Payload of list.insert."""

    key: Key
    position: Literal["before", "after"]
    pivot: Json
    value: Json


@command("list.insert", writes=True, keys=("key",), routes=("POST /list/{key}/insert",), cost="O(n)", since="0.2")
def insert(state: State, payload: Insert, now: Millis) -> Length:
    """Insert a value next to the first one equal to `pivot`; length -1 when there is none, 0 without a list."""
    held = state.keyspace.typed(payload.key, List, now)
    if held is None:
        return unchanged(Length(0))
    if not held.insert(bytes(payload.pivot), bytes(payload.value), after=payload.position == "after"):
        return unchanged(Length(-1))
    state.keyspace.settle(payload.key, held, now)
    return Length(len(held))


class Position(Payload):
    """Payload of list.pos: begin with the `rank`-th match, from the end when negative; `count` 0 means all."""

    key: Key
    value: Json
    rank: Int64 = 1
    count: PopCount | None = None

    def __post_init__(self) -> None:
        if self.rank == 0:
            raise ValueError("rank: expected 1 for the first match, -1 for the last one, ..., got 0")


class PositionResult(Result):
    """`index` of the match, null when there is none; with `count`, `indexes` instead."""

    index: int | None = None
    indexes: list[int] | None = None


@command("list.pos", keys=("key",), cost="O(n)", since="0.2")
def pos(state: State, payload: Position, now: Millis) -> PositionResult:
    """Find values equal to one, compared as JSON values."""
    held = _looked_at(state, payload.key, now)
    wanted = 1 if payload.count is None else payload.count
    found = held.positions(bytes(payload.value), payload.rank, wanted)
    if payload.count is not None:
        return PositionResult(indexes=found)
    return PositionResult(index=found[0] if found else None)


class Move(Payload):
    """Payload of list.move."""

    source: Key
    destination: Key
    from_: End = msgspec.field(name="from", default="right")
    to: End = "left"


class Moved(Result):
    """The value moved, null when there was none."""

    value: Json | None


@command("list.move", writes=True, keys=("source", "destination"), cost="O(1)", since="0.2")
def move(state: State, payload: Move, now: Millis) -> Moved:
    """Take a value from an end of one list and add it at an end of another, or of the same one."""
    return _move(state, payload.source, payload.destination, now, payload.from_ == "left", payload.to == "left")


class RightToLeft(Payload):
    """Payload of list.rpoplpush."""

    source: Key
    destination: Key


@command(
    "list.rpoplpush",
    writes=True,
    keys=("source", "destination"),
    routes=("POST /list/{source}/rpoplpush/{destination}",),
    cost="O(1)",
    since="0.2",
)
def rpoplpush(state: State, payload: RightToLeft, now: Millis) -> Moved:
    """Take the last value of one list and add it at the left end of another."""
    return _move(state, payload.source, payload.destination, now, False, True)


@command("list.stats", routes=("GET /list/stats",), cost="O(1)", since="0.2")
def stats(state: State, payload: NoPayload, now: Millis) -> TypeStats:
    """Describe all lists together."""
    return stats_of(state, List, now)


def _push(state: State, payload: Push, now: Millis, *, left: bool, only_existing: bool = False) -> Length:
    held = existing_or_new(state, payload.key, List, now)
    if only_existing and not held:
        return unchanged(Length(0))
    held.push(payload.copied(), left=left)
    length = len(held)
    state.keyspace.settle(payload.key, held, now)
    return Length(length)


def _pop(state: State, payload: Pop, now: Millis, *, left: bool) -> Values:
    held = existing_or_new(state, payload.key, List, now)
    popped = held.pop(payload.count, left=left)
    return settled(state, payload.key, held, now, Values.of(popped), popped)


def _blocking_pop(state: State, payload: BlockingPop, now: Millis, *, left: bool) -> BlockingPopResult:
    for key in payload.keys:
        held = state.keyspace.typed(key, List, now)
        if held is not None:
            (value,) = held.pop(1, left=left)
            state.keyspace.settle(key, held, now)
            return BlockingPopResult(key, Json(value))
    return payload.nothing_yet(BlockingPopResult(None, None), List)


def _move(state: State, source: str, destination: str, now: Millis, from_left: bool, to_left: bool) -> Moved:
    taken_from = state.keyspace.typed(source, List, now)
    if taken_from is None:
        return unchanged(Moved(None))
    given_to = existing_or_new(state, destination, List, now)
    values = taken_from.pop(1, left=from_left)
    given_to.push(values, left=to_left)
    state.keyspace.settle(source, taken_from, now)
    state.keyspace.settle(destination, given_to, now)
    return Moved(Json(values[0]))


def _looked_at(state: State, key: str, now: Millis) -> List:
    """The list at a key that a command reads; an empty one when it is absent."""
    return state.keyspace.look(key, List, now) or List()
