"""Chance: the same picks for ever, and fair ones."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap.engines.chance import Chance
from tests.engines.twins import chances, chi_square

# Of 9 degrees of freedom, passed by one in a thousand.
CHI_SQUARE_MAX = 27.9


@pytest.mark.parametrize(
    ("seed", "numbers"),
    [
        (0, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]),
        (1_234_567, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]),
    ],
)
def test_the_numbers_are_those_published_for_splitmix64(seed: int, numbers: list[int]) -> None:
    chance = Chance(seed)
    assert [chance.below(2**64) for _ in numbers] == numbers


def test_journals_of_today_give_the_same_picks_for_ever() -> None:
    chance = Chance(42)
    assert [chance.below(10) for _ in range(10)] == [3, 1, 8, 4, 0, 2, 5, 8, 5, 4]
    assert chance.distinct(5, 10) == [5, 6, 7, 1, 9]


@given(chances, st.integers(1, 60), st.integers(0, 60))
def test_distinct_numbers_are_different_and_below_the_bound(seed: int, bound: int, count: int) -> None:
    count = min(count, bound)
    numbers = Chance(seed).distinct(count, bound)
    assert len(numbers) == len(set(numbers)) == count
    assert all(0 <= number < bound for number in numbers)


def test_seeds_count_modulo_64_bits() -> None:
    assert Chance(-1).below(1_000) == Chance(2**64 - 1).below(1_000)


def test_every_number_has_the_same_chance() -> None:
    chance = Chance(2_024)
    assert chi_square(Counter(chance.below(10) for _ in range(20_000)).values()) < CHI_SQUARE_MAX
    first = Counter(Chance(seed).below(10) for seed in range(20_000))
    assert chi_square(first.values()) < CHI_SQUARE_MAX, "seeds next to each other"


def test_every_choice_of_distinct_numbers_has_the_same_chance() -> None:
    found = Counter(tuple(sorted(Chance(seed).distinct(3, 5))) for seed in range(10_000))
    assert set(found) == set(combinations(range(5), 3))
    assert chi_square(found.values()) < CHI_SQUARE_MAX
