"""`sortedset.*`: strings with a score, in the order of the scores."""

from __future__ import annotations

import math
from typing import Annotated, cast

import msgspec

from synap.clock import Millis
from synap.commands import paging
from synap.commands.collections import (
    BlockingPop,
    Cardinality,
    MemberOrMembers,
    Removed,
    TypeStats,
    existing_or_new,
    settled,
    stats_of,
)
from synap.commands.scores import Score, Scored, ScoredMembers, ScoreRange, shown
from synap.commands.state import State
from synap.commands.table import NoPayload, command
from synap.commands.types import UNSET, Int64, Key, KeyOnly, Payload, PopCount, Result, Unset, check_either
from synap.engines.collection import FEW, span
from synap.engines.sortedsets import SortedSet
from synap.errors import InvalidPayload


class GivenScore(Payload):
    """A member and the score to give it."""

    member: str
    score: Score


class Add(Payload):
    """Payload of sortedset.zadd.

    `nx` only adds, `xx` only changes, `gt` and `lt` change only to a greater or smaller score; `ch` counts changed
    members too; `incr` adds to the score of a single member.
    """

    key: Key
    member: str | None = None
    score: Score | None = None
    members: Annotated[list[GivenScore], msgspec.Meta(min_length=1)] | None = None
    nx: bool = False
    xx: bool = False
    gt: bool = False
    lt: bool = False
    ch: bool = False
    incr: bool = False

    def __post_init__(self) -> None:
        if (self.member is None) != (self.score is None):
            raise ValueError("expected member and score together")
        check_either(self.member, self.members, "member and score or members")
        if self.nx + self.xx > 1 or self.nx + self.gt + self.lt > 1:
            raise ValueError("nx, xx and gt, lt: nx excludes the others, gt and lt exclude each other")
        if self.incr and self.members is not None and len(self.members) != 1:
            raise ValueError("incr: expected a single member")

    def pairs(self) -> list[tuple[str, float]]:
        """All members given with their scores."""
        if self.member is not None and self.score is not None:
            return [(self.member, float(self.score))]
        return [(given.member, float(given.score)) for given in self.members or ()]

    @property
    def has_options(self) -> bool:
        """Whether it is not simply to give members their scores."""
        return self.nx or self.xx or self.gt or self.lt or self.ch or self.incr

    def skips(self, old: float | None) -> bool:
        """Whether a member with score `old`, None for an absent one, is not to be touched."""
        return self.xx if old is None else self.nx

    def admits(self, old: float, new: float) -> bool:
        """Whether a score may change from `old` to `new`."""
        return not ((self.gt and new <= old) or (self.lt and new >= old))


class AddResult(Result):
    """`added` counts new members, with `ch` changed ones too; with `incr`, `score` is the new score.

    That is null when the options did not let it change.
    """

    added: int
    score: float | str | Unset | None = UNSET


@command(
    "sortedset.zadd",
    writes=True,
    keys=("key",),
    routes=("POST /sortedset/{key}/zadd",),
    cost="O(members x log n)",
    since="0.2",
)
def zadd(state: State, payload: Add, now: Millis) -> AddResult:
    """Add members, or change their scores."""
    held = existing_or_new(state, payload.key, SortedSet, now)
    if payload.members is not None and len(payload.members) > FEW:
        added, changed = _add_many(held, payload)
        return settled(
            state, payload.key, held, now, AddResult(added + changed if payload.ch else added), added + changed
        )
    added = changed = 0
    final: float | None = None
    for member, score in payload.pairs():
        old = held.scores.get(member)
        if payload.skips(old):
            continue
        new = _sum(old, score, "score") if payload.incr and old is not None else score
        if old is not None and not payload.admits(old, new):
            continue
        final = new
        if old is None or new != old:
            held.put(member, new)
            added += old is None
            changed += old is not None
    result: AddResult = AddResult(added + changed if payload.ch else added)
    if payload.incr:
        result.score = None if final is None else shown(final)
    return settled(state, payload.key, held, now, result, added + changed)


@command(
    "sortedset.zrem",
    writes=True,
    grows=False,
    keys=("key",),
    routes=("POST /sortedset/{key}/zrem",),
    cost="O(members x log n)",
    since="0.2",
)
def zrem(state: State, payload: MemberOrMembers, now: Millis) -> Removed:
    """Remove members; a sorted set without any is gone."""
    held = existing_or_new(state, payload.key, SortedSet, now)
    removed = held.remove_all(payload.names())
    return settled(state, payload.key, held, now, Removed(removed), removed)


class Member(Payload):
    """A command on one member."""

    key: Key
    member: str


class ScoreResult(Result):
    """The score of a member, null when it is not there."""

    found: bool
    score: float | str | None


@command("sortedset.zscore", keys=("key",), routes=("GET /sortedset/{key}/zscore/{member}",), cost="O(1)", since="0.2")
def zscore(state: State, payload: Member, now: Millis) -> ScoreResult:
    """Read the score of a member."""
    score = _looked_at(state, payload.key, now).scores.get(payload.member)
    return ScoreResult(False, None) if score is None else ScoreResult(True, shown(score))


class SeveralMembers(Payload):
    """Payload of sortedset.zmscore."""

    key: Key
    members: list[str]


class ScoresResult(Result):
    """A score for each member asked for, null where there is none."""

    scores: list[float | str | None]


@command("sortedset.zmscore", keys=("key",), routes=("POST /sortedset/{key}/zmscore",), cost="O(members)", since="0.2")
def zmscore(state: State, payload: SeveralMembers, now: Millis) -> ScoresResult:
    """Read the scores of several members."""
    scores = list(map(_looked_at(state, payload.key, now).scores.get, payload.members))
    if math.inf in scores or -math.inf in scores:
        return ScoresResult([None if score is None else shown(score) for score in scores])
    return ScoresResult(cast("list[float | str | None]", scores))


@command("sortedset.zcard", keys=("key",), routes=("GET /sortedset/{key}/zcard",), cost="O(1)", since="0.2")
def zcard(state: State, payload: KeyOnly, now: Millis) -> Cardinality:
    """Count the members."""
    return Cardinality(len(_looked_at(state, payload.key, now)))


@command("sortedset.zcount", keys=("key",), routes=("GET /sortedset/{key}/zcount",), cost="O(log n)", since="0.2")
def zcount(state: State, payload: ScoreRange, now: Millis) -> Cardinality:
    """Count the members with scores in a range."""
    start, stop = payload.ranks(_looked_at(state, payload.key, now))
    return Cardinality(stop - start)


class Increment(Payload):
    """Payload of sortedset.zincrby."""

    key: Key
    member: str
    increment: Score


class NewScore(Result):
    """The score after the change."""

    score: float | str


@command(
    "sortedset.zincrby",
    writes=True,
    keys=("key",),
    routes=("POST /sortedset/{key}/zincrby",),
    cost="O(log n)",
    since="0.2",
)
def zincrby(state: State, payload: Increment, now: Millis) -> NewScore:
    """Add to the score of a member; an absent one counts as 0."""
    held = existing_or_new(state, payload.key, SortedSet, now)
    old, increment = held.scores.get(payload.member), float(payload.increment)
    new = increment if old is None else _sum(old, increment, "increment")
    if new != old:
        held.put(payload.member, new)
    return settled(state, payload.key, held, now, NewScore(shown(new)), new != old)


class RankResult(Result):
    """How many members come before it, and its score; null when it is not there."""

    rank: int | None
    score: float | str | None


@command(
    "sortedset.zrank", keys=("key",), routes=("GET /sortedset/{key}/zrank/{member}",), cost="O(log n)", since="0.2"
)
def zrank(state: State, payload: Member, now: Millis) -> RankResult:
    """Tell the place of a member, the lowest score first."""
    held = _looked_at(state, payload.key, now)
    rank = held.rank(payload.member)
    return RankResult(None, None) if rank is None else RankResult(rank, shown(held.scores[payload.member]))


@command(
    "sortedset.zrevrank",
    keys=("key",),
    routes=("GET /sortedset/{key}/zrevrank/{member}",),
    cost="O(log n)",
    since="0.2",
)
def zrevrank(state: State, payload: Member, now: Millis) -> RankResult:
    """Tell the place of a member, the highest score first."""
    held = _looked_at(state, payload.key, now)
    rank = held.rank(payload.member)
    if rank is None:
        return RankResult(None, None)
    return RankResult(len(held) - 1 - rank, shown(held.scores[payload.member]))


class Range(Payload):
    """First and last rank, negatives from the end."""

    key: Key
    start: Int64 = 0
    stop: Int64 = -1


@command(
    "sortedset.zrange", keys=("key",), routes=("GET /sortedset/{key}/zrange",), cost="O(log n + result)", since="0.2"
)
def zrange(state: State, payload: Range, now: Millis) -> ScoredMembers:
    """List the members between two ranks, the lowest score first."""
    held = _looked_at(state, payload.key, now)
    return ScoredMembers.read(held.ranked(*span(payload.start, payload.stop, len(held))))


@command(
    "sortedset.zrevrange",
    keys=("key",),
    routes=("GET /sortedset/{key}/zrevrange",),
    cost="O(log n + result)",
    since="0.2",
)
def zrevrange(state: State, payload: Range, now: Millis) -> ScoredMembers:
    """List the members between two ranks, the highest score first."""
    held = _looked_at(state, payload.key, now)
    start, stop = span(payload.start, payload.stop, len(held))
    return ScoredMembers.read(held.ranked(len(held) - stop, len(held) - start)[::-1])


class PagedScoreRange(ScoreRange):
    """A range of scores, of which `offset` members are left out and `count` given; all when it is absent."""

    offset: Int64 = 0
    count: Int64 | None = None


@command(
    "sortedset.zrangebyscore",
    keys=("key",),
    routes=("GET /sortedset/{key}/zrangebyscore",),
    cost="O(log n + result)",
    since="0.2",
)
def zrangebyscore(state: State, payload: PagedScoreRange, now: Millis) -> ScoredMembers:
    """List the members with scores in a range, the lowest first."""
    held = _looked_at(state, payload.key, now)
    start, stop = payload.ranks(held)
    first, past = _paged(payload, stop - start)
    return ScoredMembers.read(held.ranked(start + first, start + past))


@command(
    "sortedset.zrevrangebyscore",
    keys=("key",),
    routes=("GET /sortedset/{key}/zrevrangebyscore",),
    cost="O(log n + result)",
    since="0.2",
)
def zrevrangebyscore(state: State, payload: PagedScoreRange, now: Millis) -> ScoredMembers:
    """List the members with scores in a range, the highest first."""
    held = _looked_at(state, payload.key, now)
    start, stop = payload.ranks(held)
    first, past = _paged(payload, stop - start)
    return ScoredMembers.read(held.ranked(stop - past, stop - first)[::-1])


class Pop(Payload):
    """Payload of sortedset.zpopmin and zpopmax."""

    key: Key
    count: PopCount = 1


@command(
    "sortedset.zpopmin",
    writes=True,
    grows=False,
    keys=("key",),
    routes=("POST /sortedset/{key}/zpopmin",),
    cost="O(count x log n)",
    since="0.2",
)
def zpopmin(state: State, payload: Pop, now: Millis) -> ScoredMembers:
    """Take out the members with the lowest scores."""
    return _pop(state, payload, now, highest=False)


@command(
    "sortedset.zpopmax",
    writes=True,
    grows=False,
    keys=("key",),
    routes=("POST /sortedset/{key}/zpopmax",),
    cost="O(count x log n)",
    since="0.2",
)
def zpopmax(state: State, payload: Pop, now: Millis) -> ScoredMembers:
    """Take out the members with the highest scores."""
    return _pop(state, payload, now, highest=True)


class BlockingPopResult(Result):
    """A member, its score and the sorted set it came from; all null when nothing came in time."""

    key: str | None
    member: str | None
    score: float | str | None


@command(
    "sortedset.bzpopmin",
    writes=True,
    grows=False,
    waits=True,
    keys=("keys",),
    routes=("POST /sortedset/bzpopmin",),
    cost="O(keys + log n)",
    since="0.2",
)
def bzpopmin(state: State, payload: BlockingPop, now: Millis) -> BlockingPopResult:
    """Take the lowest member of the first sorted set that has any; wait for one when none has."""
    return _blocking_pop(state, payload, now, highest=False)


@command(
    "sortedset.bzpopmax",
    writes=True,
    grows=False,
    waits=True,
    keys=("keys",),
    routes=("POST /sortedset/bzpopmax",),
    cost="O(keys + log n)",
    since="0.2",
)
def bzpopmax(state: State, payload: BlockingPop, now: Millis) -> BlockingPopResult:
    """Take the highest member of the first sorted set that has any; wait for one when none has."""
    return _blocking_pop(state, payload, now, highest=True)


class RankRange(Payload):
    """Payload of sortedset.zremrangebyrank: first and last rank, negatives from the end."""

    key: Key
    start: Int64
    stop: Int64


@command(
    "sortedset.zremrangebyrank",
    writes=True,
    grows=False,
    keys=("key",),
    routes=("POST /sortedset/{key}/zremrangebyrank",),
    cost="O(log n + removed)",
    since="0.2",
)
def zremrangebyrank(state: State, payload: RankRange, now: Millis) -> Removed:
    """Remove the members between two ranks, both included."""
    held = existing_or_new(state, payload.key, SortedSet, now)
    removed = held.remove_ranks(*span(payload.start, payload.stop, len(held)))
    return settled(state, payload.key, held, now, Removed(removed), removed)


@command(
    "sortedset.zremrangebyscore",
    writes=True,
    grows=False,
    keys=("key",),
    routes=("POST /sortedset/{key}/zremrangebyscore",),
    cost="O(log n + removed)",
    since="0.2",
)
def zremrangebyscore(state: State, payload: ScoreRange, now: Millis) -> Removed:
    """Remove the members with scores in a range."""
    held = existing_or_new(state, payload.key, SortedSet, now)
    removed = held.remove_ranks(*payload.ranks(held))
    return settled(state, payload.key, held, now, Removed(removed), removed)


class Scan(paging.Page):
    """Payload of sortedset.zscan. `match` is a glob on the members."""

    key: Key


class ScanResult(Result):
    """A page of members with their scores; `cursor` is null at the end. It may hold fewer than `count`, even none."""

    members: list[Scored]
    cursor: str | None
    has_more: bool


@command("sortedset.zscan", keys=("key",), cost="O(log n + members looked at); the first one O(n log n)", since="0.2")
def zscan(state: State, payload: Scan, now: Millis) -> ScanResult:
    """Page through members in byte order. A member that is there from first page to last comes exactly once."""
    held = _looked_at(state, payload.key, now)
    found, cursor = paging.page(payload, held.after)
    return ScanResult([Scored(m, shown(held.scores[m])) for m in found], cursor, cursor is not None)


@command("sortedset.stats", routes=("GET /sortedset/stats",), cost="O(1)", since="0.2")
def stats(state: State, payload: NoPayload, now: Millis) -> TypeStats:
    """Describe all sorted sets together."""
    return stats_of(state, SortedSet, now)


def _add_many(held: SortedSet, payload: Add) -> tuple[int, int]:
    """Do what zadd does for many members; says how many are new, and how many had another score."""
    if not payload.has_options:
        return held.put_all(dict(payload.pairs()))
    changes: dict[str, float] = {}
    added = changed = 0
    for member, score in payload.pairs():
        old = changes.get(member, held.scores.get(member))
        if payload.skips(old) or (old is not None and (score == old or not payload.admits(old, score))):
            continue
        changes[member] = score
        added += old is None
        changed += old is not None
    held.put_all(changes)
    return added, changed


def _looked_at(state: State, key: str, now: Millis) -> SortedSet:
    """The sorted set at a key that a command reads; an empty one when it is absent."""
    return state.keyspace.look(key, SortedSet, now) or SortedSet()


def _sum(score: float, increment: float, field: str) -> float:
    total = score + increment
    if math.isnan(total):
        raise InvalidPayload(f"payload.{field}: the score would not be a number", path=f"payload.{field}")
    return total


def _paged(payload: PagedScoreRange, length: int) -> tuple[int, int]:
    """The part of `length` members that offset and count ask for; as in Redis, none from a negative offset on."""
    if payload.offset < 0:
        return length, length
    first = min(payload.offset, length)
    return first, length if payload.count is None or payload.count < 0 else min(first + payload.count, length)


def _pop(state: State, payload: Pop, now: Millis, *, highest: bool) -> ScoredMembers:
    held = existing_or_new(state, payload.key, SortedSet, now)
    popped = held.pop(payload.count, highest=highest)
    return settled(state, payload.key, held, now, ScoredMembers.of(popped), popped)


def _blocking_pop(state: State, payload: BlockingPop, now: Millis, *, highest: bool) -> BlockingPopResult:
    for key in payload.keys:
        held = state.keyspace.typed(key, SortedSet, now)
        if held is not None:
            ((score, member),) = held.pop(1, highest=highest)
            state.keyspace.settle(key, held, now)
            return BlockingPopResult(key, member, shown(score))
    return payload.nothing_yet(BlockingPopResult(None, None, None), SortedSet)
