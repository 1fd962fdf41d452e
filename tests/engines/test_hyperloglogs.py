"""HyperLogLogs: a good estimate, and the same sketch for the same elements whatever way they came."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap.engines.hyperloglogs import HyperLogLog


def of(elements: Iterable[str]) -> HyperLogLog:
    made = HyperLogLog()
    made.add(elements)
    return made


def numbered(first: int, count: int) -> list[str]:
    return [f"element-{number}" for number in range(first, first + count)]


def test_a_million_elements_are_counted_to_within_one_percent() -> None:
    assert abs(of(numbered(0, 1_000_000)).count() - 1_000_000) <= 10_000


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 100, 1_000])
def test_few_elements_are_counted_exactly(count: int) -> None:
    assert of(numbered(0, count)).count() == count


@pytest.mark.parametrize("count", [12_288, 12_289, 20_000, 60_000, 200_000, 300_000, 400_000])
def test_the_error_stays_small_where_the_way_of_counting_changes(count: int) -> None:
    assert abs(of(numbered(0, count)).count() / count - 1) <= 0.01


def test_strings_of_every_kind_are_elements_of_their_own() -> None:
    elements = ["", "\0", "\0" * 8, ":", "a", "a\0", "a\0b", "é", "e\u0301", "\U0001f511", "x" * 100_000, "0", "00"]
    sketch = HyperLogLog()
    assert [sketch.add([element]) for element in elements] == [True] * len(elements)
    assert sketch.count() == len(elements)
    assert not sketch.add(elements)


def test_adding_nothing_changes_nothing() -> None:
    sketch = HyperLogLog()
    assert not sketch.add([])
    assert (sketch.count(), len(sketch)) == (0, 1)


def test_what_changes_no_estimate_may_still_be_a_change() -> None:
    """With few registers in use the estimate only looks at how many are empty."""
    sketch = of(numbered(0, 13_000))
    silent = 0
    for number in range(13_000, 18_000):
        count, before = sketch.count(), sketch.dump()
        assert sketch.add([f"element-{number}"]) == (sketch.dump() != before)
        silent += sketch.count() == count and sketch.dump() != before
    assert silent > 0


def test_a_union_counts_common_elements_once() -> None:
    united = HyperLogLog.union([of(numbered(0, 700)), of(numbered(500, 500)), HyperLogLog()])
    assert united.count() == 1_000


@pytest.mark.parametrize("count", [0, 5, 100, 13_000])
def test_a_copy_and_a_union_share_nothing_with_where_they_came_from(count: int) -> None:
    sketch = of(numbered(0, count))
    dumped = sketch.dump()
    for other in (sketch.copy(), HyperLogLog.union([sketch]), HyperLogLog.load(dumped)):
        assert other.dump() == dumped
        assert other.add(["another"])
        assert sketch.dump() == dumped


sizes = st.one_of(st.integers(0, 40), st.sampled_from([97, 3_000, 12_200, 12_288, 12_289, 13_000]))
runs = st.builds(numbered, st.integers(0, 7_000), sizes)
additions = st.tuples(st.just("add"), runs)
merges = st.tuples(st.just("merge"), runs)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(additions, merges), max_size=8), st.integers(0, 1_000))
def test_the_same_elements_make_the_same_sketch_in_any_order_with_any_merges_and_reloads(
    steps: list[tuple[str, list[str]]], seed: int
) -> None:
    live, reloaded, seen, random = HyperLogLog(), HyperLogLog(), set[str](), Random(seed)
    for step, elements in steps:
        seen.update(elements)
        random.shuffle(elements)
        if step == "add":
            before = live.dump()
            assert live.add(elements) == reloaded.add(elements) == (live.dump() != before)
        else:
            live = HyperLogLog.union([live, of(elements)])
            reloaded = HyperLogLog.union([of(reversed(elements)), reloaded])
        reloaded = HyperLogLog.load(reloaded.dump())
        assert reloaded.dump() == live.dump()
        assert reloaded.count() == live.count()
    expected = of(sorted(seen))
    assert live.dump() == expected.dump()
    assert live.count() == expected.count()


def test_the_bytes_of_few_elements_are_the_same_on_every_machine() -> None:
    assert HyperLogLog().dump().hex() == "02010711030c0004"
    assert of(["a", "b", "c"]).dump().hex() == "0201071103080304eb799b05574da007c685fe0b"
    assert of(numbered(0, 9)).dump().hex() == (
        "03010711050800050900000084b52104fcc34704d0728d050c212c06a5d53a06ff176507a9e8ba0ac2acd50a8df73e0d"
    )


@pytest.mark.parametrize(
    ("count", "length", "estimate", "digest"),
    [
        (7, 36, 7, "17f9d5036742a694"),
        (8, 44, 8, "938ddf36f07b986e"),
        (12_288, 49_164, 12_288, "a762de3cafa7b5f7"),
        (12_289, 98_345, 12_302, "849fae78672998c2"),
        (100_000, 98_345, 100_204, "f8dab273829078cc"),
    ],
)
def test_the_bytes_of_many_elements_are_the_same_on_every_machine(
    count: int, length: int, estimate: int, digest: str
) -> None:
    sketch = of(numbered(0, count))
    dumped = sketch.dump()
    assert (len(dumped), sketch.count()) == (length, estimate)
    assert hashlib.blake2b(dumped, digest_size=8).hexdigest() == digest


def test_nothing_but_a_hyperloglog_needs_the_library() -> None:
    script = "import sys, synap.commands; sys.exit('datasketches' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


_GROWTH = """
import gc, sys
from synap.engines.hyperloglogs import HyperLogLog

def resident():
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096

sketches, elements = int(sys.argv[1]), int(sys.argv[2])
held = [HyperLogLog()] * sketches
held[0].add([str(number) for number in range(elements)])
before = resident()
for at in range(sketches):
    held[at] = HyperLogLog()
    held[at].add([str(number) for number in range(elements)])
print(sum(sketch.used_bytes() for sketch in held), resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell a process its size")
@pytest.mark.parametrize(
    ("sketches", "elements"), [(40_000, 0), (40_000, 5), (40_000, 20), (10_000, 100), (800, 3_500), (300, 8_000)]
)
def test_counted_memory_is_within_a_fifth_of_the_growth_of_the_process(sketches: int, elements: int) -> None:
    arguments = [sys.executable, "-c", _GROWTH, str(sketches), str(elements)]
    counted, grown = map(int, subprocess.run(arguments, check=True, capture_output=True).stdout.split())
    assert 0.8 <= counted / grown <= 1.2, f"counted {counted}, grown {grown}"
