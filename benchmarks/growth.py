"""How costs grow: curves over the number of items, the exponent between their points, and what to call that.

A cost is that of one operation or one item: of n commands, a flat one costs n times as much as of one. An exponent
of 0 between two sizes means that the cost stays, 1 that it doubles with the items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import log

FLAT, N_LOG_N = "flat", "n log n"


@dataclass(frozen=True)
class Curve:
    """What was found at each size, the smallest first: costs, rates (`per_sec`), or costs of all items together."""

    name: str
    points: dict[int, float]
    per_sec: bool = False
    of_all_items: bool = False
    noise: float = 0.2
    """A cost has grown when it is more than this share above what it should be."""

    @property
    def costs(self) -> dict[int, float]:
        """What one operation, or one item, costs at each size."""
        if self.per_sec:
            return {size: 1 / rate for size, rate in self.points.items()}
        if self.of_all_items:
            return {size: cost / size for size, cost in self.points.items()}
        return self.points

    def exponents(self) -> dict[int, float]:
        """The exponent between each size and the one before it."""
        found = {}
        for (smaller, before), (larger, after) in pairwise(self.costs.items()):
            found[larger] = log(after / before) / log(larger / smaller)
        return found

    def verdict(self) -> str:
        """Flat, n log n, or where it bends: the first size that costs more than n log n allows.

        A size is held against all smaller ones, so that many small steps do not pass for none.
        """
        if self._first_above(_flat) is None:
            return FLAT
        bend = self._first_above(_n_log_n)
        return N_LOG_N if bend is None else f"bends at {bend:,}"

    def _first_above(self, allowed: Callable[[int, int], float]) -> int | None:
        costs = self.costs
        for size, cost in costs.items():
            smaller = [other for other in costs if other < size]
            if any(cost > costs[other] * allowed(other, size) * (1 + self.noise) for other in smaller):
                return size
        return None


def _flat(smaller: int, larger: int) -> float:
    return 1.0


def _n_log_n(smaller: int, larger: int) -> float:
    return log(larger) / log(smaller)
