"""`set.*`: unordered collections of strings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from synap.clock import Millis
from synap.commands import paging
from synap.commands.chance import Seeded, draw_seed
from synap.commands.collections import (
    Cardinality,
    MemberOrMembers,
    Members,
    Removed,
    TypeStats,
    existing_or_new,
    settled,
    stats_of,
)
from synap.commands.large import names_read
from synap.commands.slices import array, elements, portions, sliced
from synap.commands.state import State
from synap.commands.table import NoPayload, command, unchanged
from synap.commands.types import Int64, Key, KeyOnly, Keys, Payload, PopCount, Result
from synap.engines import sets
from synap.engines.chance import Chance
from synap.engines.sets import Set
from synap.errors import OutOfRange

# A sample with repeats may be longer than the set: it is bounded so that one request cannot ask for a gigabyte.
PICKS_MAX = 1_000_000

# Up to so many members looked at, sets are combined at once.
_WHOLE_MAX = 50_000
# A member is looked up in the time in which so many are copied.
_COPIES_PER_LOOKUP = 5

Combine = Callable[[Sequence[sets.Members]], sets.Members]


class Added(Result):
    """How many members are new."""

    added: int


@command("set.add", writes=True, keys=("key",), routes=("POST /set/{key}/add",), cost="O(members)", since="0.2")
def add(state: State, payload: MemberOrMembers, now: Millis) -> Added:
    """Add members."""
    held = existing_or_new(state, payload.key, Set, now)
    added = held.add_all(payload.names())
    return settled(state, payload.key, held, now, Added(added), added)


@command(
    "set.rem",
    writes=True,
    grows=False,
    keys=("key",),
    routes=("POST /set/{key}/rem",),
    cost="O(members)",
    since="0.2",
)
def rem(state: State, payload: MemberOrMembers, now: Millis) -> Removed:
    """Remove members; a set without any is gone."""
    held = existing_or_new(state, payload.key, Set, now)
    removed = held.remove_all(payload.names())
    return settled(state, payload.key, held, now, Removed(removed), removed)


class IsMemberResult(Result):
    """`is_member` for a single member asked for, `results` for several; the other one is null."""

    is_member: bool | None
    results: list[bool] | None


@command("set.ismember", keys=("key",), routes=("POST /set/{key}/ismember",), cost="O(members)", since="0.2")
def ismember(state: State, payload: MemberOrMembers, now: Millis) -> IsMemberResult:
    """Tell whether members are in the set."""
    held = _members(state, payload.key, now)
    if payload.member is not None:
        return IsMemberResult(payload.member in held, None)
    return IsMemberResult(None, list(map(held.__contains__, payload.names())))


@command("set.members", keys=("key",), routes=("GET /set/{key}/members",), cost="O(n)", since="0.2")
def members(state: State, payload: KeyOnly, now: Millis) -> Members:
    """List all members, in the order they were added."""
    return names_read(Members, list(_members(state, payload.key, now)))


@command("set.card", keys=("key",), routes=("GET /set/{key}/card",), cost="O(1)", since="0.2")
def card(state: State, payload: KeyOnly, now: Millis) -> Cardinality:
    """Count the members."""
    return Cardinality(len(_members(state, payload.key, now)))


class Pop(Seeded):
    """Payload of set.pop."""

    key: Key
    count: PopCount = 1


@command(
    "set.pop",
    writes=True,
    grows=False,
    keys=("key",),
    routes=("POST /set/{key}/pop",),
    admit=draw_seed,
    cost="O(count log n); the first one O(n log n)",
    since="0.2",
)
def pop(state: State, payload: Pop, now: Millis) -> Members:
    """Take out members at random."""
    held = existing_or_new(state, payload.key, Set, now)
    popped = held.pop(payload.count, Chance(payload.seed or 0))
    return settled(state, payload.key, held, now, Members(popped), popped)


class RandomMember(Seeded):
    """Payload of set.randmember; a negative `count` allows repeats."""

    key: Key
    count: Int64 = 1


@command(
    "set.randmember",
    keys=("key",),
    routes=("GET /set/{key}/randmember",),
    admit=draw_seed,
    cost="O(count log n); the first one O(n log n)",
    since="0.2",
)
def randmember(state: State, payload: RandomMember, now: Millis) -> Members:
    """Pick members at random and leave them in: different ones, or any number with a negative `count`."""
    held, chance = state.keyspace.look(payload.key, Set, now), Chance(payload.seed or 0)
    if held is None:
        return Members([])
    if payload.count >= 0:
        return Members(held.sample(payload.count, chance))
    if payload.count < -PICKS_MAX:
        raise OutOfRange(f"expected a count of at least -{PICKS_MAX}, got {payload.count}", limit=-PICKS_MAX)
    return Members(held.picks(-payload.count, chance))


class Move(Payload):
    """Payload of set.move."""

    source: Key
    destination: Key
    member: str


class Moved(Result):
    """Whether the member was there."""

    moved: bool


@command(
    "set.move",
    writes=True,
    keys=("source", "destination"),
    routes=("POST /set/{source}/move/{destination}",),
    cost="O(1)",
    since="0.2",
)
def move(state: State, payload: Move, now: Millis) -> Moved:
    """Move a member from one set to another."""
    keyspace = state.keyspace
    source = keyspace.typed(payload.source, Set, now)
    if source is None:
        return unchanged(Moved(False))
    destination = existing_or_new(state, payload.destination, Set, now)
    if payload.member not in source.members:
        return unchanged(Moved(False))
    if source is destination:
        return unchanged(Moved(True))
    source.remove(payload.member)
    keyspace.settle(payload.source, source, now)
    destination.add(payload.member)
    keyspace.settle(payload.destination, destination, now)
    return Moved(True)


class Sets(Payload):
    """A command on several sets; an absent one counts as empty."""

    keys: Keys


@command("set.inter", keys=("keys",), routes=("POST /set/inter",), cost="O(smallest x sets)", since="0.2")
def inter(state: State, payload: Sets, now: Millis) -> Members:
    """List the members that all sets have."""
    found, others = sets.smallest_first(_all(state, payload.keys, now))
    return _filtered(found, others, sets.intersection)


@command("set.union", keys=("keys",), routes=("POST /set/union",), cost="O(members of all)", since="0.2")
def union(state: State, payload: Sets, now: Millis) -> Members:
    """List the members that any of the sets has."""
    together = sets.different(_all(state, payload.keys, now))
    if sum(map(len, together)) <= _WHOLE_MAX:
        return Members(list(sets.union(together)))
    return sliced(Members, array(Members, _union(list(map(list, together)))))


@command("set.diff", keys=("keys",), routes=("POST /set/diff",), cost="O(members of the first x sets)", since="0.2")
def diff(state: State, payload: Sets, now: Millis) -> Members:
    """List the members of the first set that no other has."""
    found, *others = _all(state, payload.keys, now)
    return _filtered(found, sets.different(others), sets.difference)


class StoreSets(Payload):
    """Payload of set.interstore, unionstore and diffstore."""

    destination: Key
    keys: Keys


@command("set.interstore", writes=True, keys=("destination", "keys"), cost="O(smallest x sets)", since="0.2")
def interstore(state: State, payload: StoreSets, now: Millis) -> Cardinality:
    """Store the members that all sets have, over whatever the destination held."""
    return _store(state, payload, sets.intersection, now)


@command("set.unionstore", writes=True, keys=("destination", "keys"), cost="O(members of all)", since="0.2")
def unionstore(state: State, payload: StoreSets, now: Millis) -> Cardinality:
    """Store the members that any of the sets has, over whatever the destination held."""
    return _store(state, payload, sets.union, now)


@command("set.diffstore", writes=True, keys=("destination", "keys"), cost="O(members of the first x sets)", since="0.2")
def diffstore(state: State, payload: StoreSets, now: Millis) -> Cardinality:
    """Store the members of the first set that no other has, over whatever the destination held."""
    return _store(state, payload, sets.difference, now)


class Scan(paging.Page):
    """Payload of set.scan. `match` is a glob on the members."""

    key: Key


class ScanResult(Result):
    """A page of members; `cursor` is null at the end. It may hold fewer than `count`, even none."""

    members: list[str]
    cursor: str | None
    has_more: bool


@command("set.scan", keys=("key",), cost="O(log n + members looked at); the first one O(n log n)", since="0.2")
def scan(state: State, payload: Scan, now: Millis) -> ScanResult:
    """Page through members in byte order. A member that is there from first page to last comes exactly once."""
    held = state.keyspace.look(payload.key, Set, now) or Set()
    found, cursor = paging.page(payload, held.after)
    return ScanResult(found, cursor, cursor is not None)


@command("set.stats", routes=("GET /set/stats",), cost="O(1)", since="0.2")
def stats(state: State, payload: NoPayload, now: Millis) -> TypeStats:
    """Describe all sets together."""
    return stats_of(state, Set, now)


def _members(state: State, key: str, now: Millis) -> sets.Members:
    held = state.keyspace.look(key, Set, now)
    return {} if held is None else held.members


def _filtered(found: sets.Members, others: Sequence[sets.Members], combine: Combine) -> Members:
    """The members that some set and the others combine to; those of the first are gone through in slices if many."""
    looked_up = len(found) * len(others)
    if looked_up <= _WHOLE_MAX or looked_up <= sum(map(len, others)) // _COPIES_PER_LOOKUP:
        return Members(list(combine([found, *others])))
    copies = [other.copy() for other in others]
    pieces = (elements(list(combine([dict.fromkeys(some), *copies]))) for some in portions(list(found)))
    return sliced(Members, array(Members, pieces))


def _union(together: list[list[str]]) -> Iterator[bytes]:
    """The members that any of some sets has, piece by piece."""
    seen: sets.Members = {}
    for some in portions(chain.from_iterable(together)):
        new = sets.difference([dict.fromkeys(some), seen])
        seen |= new
        yield elements(list(new))


def _all(state: State, keys: list[str], now: Millis) -> list[sets.Members]:
    return [_members(state, key, now) for key in keys]


def _store(state: State, payload: StoreSets, combine: Combine, now: Millis) -> Cardinality:
    result = combine(_all(state, payload.keys, now))
    if result:
        state.keyspace.put(payload.destination, Set.of(result), now)
    elif not state.keyspace.discard(payload.destination, now):
        return unchanged(Cardinality(0))
    return Cardinality(len(result))
