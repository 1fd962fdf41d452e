"""Large results: made at once where there is little to tell, in slices (slices.py) where there is much.

All but `drained` make results that have a list in their one field.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TypeVar

import msgspec

from synap.clock import Millis
from synap.commands.slices import PORTION, WHOLE_MAX, Steps, array, elements, portions, sliced
from synap.commands.state import State
from synap.commands.types import Result, Values

T = TypeVar("T")
R = TypeVar("R", bound=Result)
Ranked = list[tuple[Any, int]]

# Names and values take a tenth of what other elements of results take.
_PLAIN_WHOLE_MAX = 20_000
_PLAIN_PORTION = 5_000

_encode = msgspec.json.Encoder().encode


def names_read(result: type[R], names: Sequence[str]) -> R:
    """A list of names."""
    if len(names) <= _PLAIN_WHOLE_MAX:
        return result(names)
    return sliced(result, array(result, map(elements, portions(names, _PLAIN_PORTION))))


def values_read(stored: Sequence[bytes]) -> Values:
    """Values as they are kept."""
    if len(stored) <= _PLAIN_WHOLE_MAX:
        return Values.of(stored)
    return sliced(Values, array(Values, map(b",".join, portions(stored, _PLAIN_PORTION))))


def made(
    result: type[R], items: Sequence[T], make: Callable[[Sequence[T]], Sequence[object]], portion: int = PORTION
) -> R:
    """What `make` makes of items."""
    if len(items) <= WHOLE_MAX:
        return result(make(items))
    return sliced(result, array(result, (elements(make(some)) for some in portions(items, portion))))


def listed(result: type[R], items: Iterator[Any], count: int, weight: int = 1) -> R:
    """About `count` items, each as much work as `weight` elements. In slices each item is made at its turn."""
    if count * weight <= WHOLE_MAX:
        return result(list(items))
    return sliced(result, array(result, map(elements, portions(items, max(PORTION // weight, 1)))))


def ordered(
    result: type[R],
    items: list[T],
    order: Callable[[T], Any],
    row: Callable[[T], Any],
    *,
    is_wanted: Callable[[T], bool] = lambda _: True,
    first: Iterable[Any] = (),
) -> R:
    """`first`, and then a row for each wanted item, sorted by `order`; the sorting is done in slices as well.

    `items` is a copy: some rows of a long listing are made when the state is no longer what it was.
    """
    if len(items) > WHOLE_MAX:
        return sliced(result, _ordering(result, items, order, row, is_wanted, first))
    return result([*first, *map(row, sorted(filter(is_wanted, items), key=order))])


def drained(state: State, result: type[R], make: Callable[[], R], now: Millis) -> R:
    """A result that sweeps the keyspace before it tells of it. In slices it is of the moment when that is done."""
    if state.keyspace.due(now) <= PORTION:
        return make()
    return sliced(result, _draining(state, make, now))


def _ordering(
    result: type[R],
    items: list[T],
    order: Callable[[T], Any],
    row: Callable[[T], Any],
    is_wanted: Callable[[T], bool],
    first: Iterable[Any],
) -> Steps:
    runs: list[Ranked] = []
    for start in range(0, len(items), PORTION):
        portion = enumerate(items[start : start + PORTION], start)
        runs.append(sorted((order(item), at) for at, item in portion if is_wanted(item)))
        yield
    ranked = yield from _merged(runs)
    rows = (elements([row(items[at]) for _, at in some]) for some in portions(ranked))
    return (yield from array(result, chain([elements(list(first))], rows)))


def _merged(runs: list[Ranked]) -> Generator[None, None, Ranked]:
    """Sorted runs as one. Two at a time are sorted together, which takes no more than merging them."""
    while len(runs) > 1:
        longer = []
        for start in range(0, len(runs), 2):
            longer.append(sorted(chain.from_iterable(runs[start : start + 2])))
            yield
        runs = longer
    return runs[0]


def _draining(state: State, make: Callable[[], Any], now: Millis) -> Steps:
    while state.keyspace.sweep(now, PORTION):
        yield
    return _encode(make())
