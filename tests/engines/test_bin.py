"""The bin: large values are freed a portion at a time, what lives on elsewhere stays as it is."""

from __future__ import annotations

import weakref
from collections import OrderedDict, deque
from typing import Any

import pytest

from synap.engines.arrivals import Arrivals
from synap.engines.bin import PORTION, WORTH_THROWING, Bin
from synap.engines.collection import Collection
from synap.engines.hashes import Hash
from synap.engines.keyspace import Keyspace
from synap.engines.lists import List
from synap.engines.queue_config import QueueConfig
from synap.engines.queues import Queues
from synap.engines.sets import Set
from synap.engines.sortedsets import SortedSet
from synap.engines.streams import Retention, Streams

NOW = 1_000_000
MANY = 20 * PORTION


class Element:
    """Something that tells when it is freed; as hashable as a name."""

    alive = 0

    def __init__(self) -> None:
        Element.alive += 1

    def __del__(self) -> None:
        Element.alive -= 1


def emptied() -> Bin:
    made = Bin()
    made.is_emptied = True
    return made


def free(waste: Bin) -> list[int]:
    """Free everything; how many elements each portion has freed."""
    portions = []
    while waste:
        before = Element.alive
        waste.free()
        portions.append(before - Element.alive)
    return portions


def elements(count: int = MANY) -> list[Element]:
    return [Element() for _ in range(count)]


def nested() -> list[Any]:
    return [elements(PORTION) for _ in range(20)]


@pytest.mark.parametrize(
    "make",
    [
        elements,
        nested,
        lambda: deque(elements()),
        lambda: dict.fromkeys(elements()),
        lambda: dict(enumerate(elements())),
        lambda: OrderedDict(enumerate(elements())),
        lambda: dict(enumerate(nested())),
    ],
)
def test_a_container_is_freed_in_portions_and_wholly(make: Any) -> None:
    waste, value = emptied(), make()
    assert Element.alive == MANY
    waste.throw(value, MANY)
    del value
    portions = free(waste)
    assert (sum(portions), Element.alive) == (MANY, 0)
    assert max(portions) <= PORTION


def test_what_somebody_else_holds_stays_as_it_is() -> None:
    waste, held = emptied(), list(range(MANY))
    waste.throw(held, MANY)
    waste.throw([held], MANY)
    free(waste)
    assert held == list(range(MANY))


def test_what_is_small_or_where_nobody_empties_the_bin_goes_at_once() -> None:
    small, idle = emptied(), Bin()
    small.throw(list(range(WORTH_THROWING - 1)), WORTH_THROWING - 1)
    idle.throw(list(range(MANY)), MANY)
    assert (bool(small), bool(idle)) == (False, False)


def collections() -> list[Collection]:
    """One of each type, with many names that nobody else has, and in order."""
    names = [f"name {number}" for number in range(MANY)]
    table, queue, members, ranked = Hash(), List(), Set.of(names), SortedSet.of(dict.fromkeys(names, 1.0))
    for name in names:
        table.set(name, b"1")
    queue.push([b"1"] * MANY, left=False)
    return [table, queue, members, ranked]


@pytest.mark.parametrize("value", collections(), ids=lambda value: value.type_name)
def test_a_collection_that_is_deleted_goes_through_the_bin(value: Collection) -> None:
    waste = emptied()
    keyspace = Keyspace([Hash, List, Set, SortedSet], waste=waste)
    keyspace.put("key", value.copy(), NOW)
    held = keyspace.peek("key", NOW)
    assert held is not None
    dumped, content = value.dump(), held.dump()
    keyspace.remove("key")
    assert waste
    assert content == dumped
    del held, content
    assert len(free(waste)) > MANY // PORTION


def test_a_key_that_was_renamed_keeps_its_elements() -> None:
    waste = emptied()
    keyspace = Keyspace([Set], waste=waste)
    keyspace.put("old", Set.of(map(str, range(MANY))), NOW)
    value = keyspace.peek("old", NOW)
    keyspace.remove("old")
    keyspace.put("new", value, NOW)
    del value
    free(waste)
    moved = keyspace.peek("new", NOW)
    assert moved is not None
    assert len(moved) == MANY
    assert list(moved.members) == list(map(str, range(MANY)))


def test_a_flushed_keyspace_is_freed_in_the_background_and_at_once_as_good_as_new() -> None:
    waste = emptied()
    keyspace = Keyspace([Set], waste=waste)
    keyspace.build_index()
    for number in range(MANY):
        keyspace.put(f"key {number}", b"1", NOW, NOW + 1_000 + number % 7)
    assert keyspace.flush(NOW) == MANY
    keyspace.put("key 1", b"2", NOW, NOW + 5)
    assert (len(keyspace), list(keyspace.keys(NOW)), keyspace.next_due) == (1, ["key 1"], NOW + 5)
    assert len(free(waste)) > MANY // PORTION
    assert (list(keyspace.keys(NOW)), keyspace.get("key 1", NOW)) == (["key 1"], b"2")
    assert keyspace.sweep(NOW + 2_000) == 1


def test_a_queue_and_a_room_that_are_deleted_leave_nothing_behind() -> None:
    waste = emptied()
    queues, streams = Queues(Arrivals(), waste), Streams(Arrivals(), waste)
    queue, stream = queues.create("q", QueueConfig()), streams.create("r", 1, Retention())
    for number in range(MANY):
        queue.publish(b"1", is_json=True, priority=number % 3, headers=b"{}", now=NOW, ttl_ms=5)
        stream.append(0, "event", b"x" * 2_000, now=NOW)
    gone = weakref.ref(queue)
    del queue, stream
    queues.remove("q")
    streams.remove("r")
    assert gone() is None
    assert waste
    free(waste)
    assert (queues.used_bytes, queues.next_due, queues.advance(NOW + 10)) == (0, float("inf"), 0)
    assert streams.used_bytes == 0
