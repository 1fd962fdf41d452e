"""How scores look in payloads and results: numbers, and strings for the infinities, which JSON has no number for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from synap.commands.large import made
from synap.commands.types import Key, Payload, Result
from synap.engines.sortedsets import Bound, Ranked, SortedSet
from synap.errors import InvalidPayload

Score = float | Literal["+inf", "-inf", "inf"]
ScoreBound = float | str


def shown(score: float) -> float | str:
    """A score as a result tells it."""
    if math.isinf(score):
        return "+inf" if score > 0 else "-inf"
    return score


class Scored(Result):
    """A member with its score; infinities are "+inf" and "-inf"."""

    member: str
    score: float | str


class ScoredMembers(Result):
    """Members with their scores, in the order of the command."""

    members: list[Scored]

    @classmethod
    def of(cls, ranked: Sequence[Ranked]) -> ScoredMembers:
        """From pairs of score and member, the lowest or the highest score first."""
        return cls(_scored(ranked))

    @classmethod
    def read(cls, ranked: Sequence[Ranked]) -> ScoredMembers:
        """`of` for a command that reads: many are made in slices."""
        return made(cls, ranked, _scored)


class ScoreRange(Payload):
    """Scores from `min` to `max`, both included unless written as "(5"; "-inf" and "+inf" are the ends."""

    key: Key
    min: ScoreBound
    max: ScoreBound

    def ranks(self, held: SortedSet) -> tuple[int, int]:
        """The ranks, first and one past the last, of the members in the range. Raises InvalidPayload."""
        return held.ranks_between(_bound(self.min, "min"), _bound(self.max, "max"))


def _scored(ranked: Sequence[Ranked]) -> list[Scored]:
    if ranked and (math.isinf(ranked[0][0]) or math.isinf(ranked[-1][0])):
        return [Scored(member, shown(score)) for score, member in ranked]
    return [Scored(member, score) for score, member in ranked]


def _bound(given: ScoreBound, field: str) -> Bound:
    if not isinstance(given, str):
        return Bound(given)
    try:
        return Bound.parse(given)
    except ValueError as error:
        raise InvalidPayload(f"payload.{field}: {error}", path=f"payload.{field}") from None
