"""Chance from a seed: the same picks on every machine and under every version of Python.

The generator is SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). The seed comes
with the payload, where admission has put it.
"""

from __future__ import annotations

_MASK = 2**64 - 1
_GAMMA = 0x9E3779B97F4A7C15


class Chance:
    """A stream of random numbers."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def below(self, bound: int) -> int:
        """A number from 0 to `bound` - 1, each with the same chance (for any bound far below 2**64)."""
        self._state = mixed = (self._state + _GAMMA) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return (mixed ^ (mixed >> 31)) % bound

    def distinct(self, count: int, bound: int) -> list[int]:
        """`count` different numbers below `bound`, at most all of them. O(count).

        Robert Floyd's algorithm (Bentley: Programming Pearls, a sample of brilliance, 1987).
        """
        chosen: dict[int, None] = {}
        for top in range(bound - count, bound):
            number = self.below(top + 1)
            chosen[top if number in chosen else number] = None
        return list(chosen)
