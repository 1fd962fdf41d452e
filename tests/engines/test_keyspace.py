"""The keyspace: one ordered map with expiry, counted in bytes."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap.engines.chunks import CHUNK_BYTES
from synap.engines.keyspace import Keyspace, Tally
from synap.errors import WrongType
from tests.engines.pile import Pile

NOW = 1_000_000


def expiry_of(keyspace: Keyspace, key: str, now: int = NOW) -> int | None:
    at: int | None = next(row[3] for row in keyspace.canonical(now) if row[0] == key)
    return at


def filled(**values: bytes) -> Keyspace:
    keyspace = Keyspace((Pile,))
    for key, value in values.items():
        keyspace.put(key, value, NOW)
    return keyspace


def test_a_key_lives_until_the_millisecond_of_its_expiry() -> None:
    keyspace = Keyspace()
    keyspace.put("a", b"1", NOW, NOW + 10)
    assert keyspace.get("a", NOW + 9) == b"1"
    assert keyspace.get("a", NOW + 10) is None


def test_peeking_at_a_due_key_leaves_it_for_the_sweep() -> None:
    keyspace = Keyspace()
    keyspace.put("a", b"1", NOW, NOW + 10)
    assert keyspace.peek("a", NOW + 10) is None
    assert (len(keyspace), keyspace.expired) == (1, 0)
    assert keyspace.sweep(NOW + 10) == 1
    assert (len(keyspace), keyspace.expired) == (0, 1)


def test_storing_drops_the_expiry_unless_told_to_keep_it() -> None:
    keyspace = Keyspace()
    keyspace.put("a", b"1", NOW, NOW + 10)
    keyspace.put("a", b"2", NOW, keep_expiry=True)
    assert expiry_of(keyspace, "a") == NOW + 10
    keyspace.put("a", b"3", NOW)
    assert expiry_of(keyspace, "a") is None
    assert keyspace.get("a", NOW + 10) == b"3"


def test_a_key_that_was_due_does_not_pass_its_expiry_on() -> None:
    keyspace = Keyspace()
    keyspace.put("a", b"1", NOW, NOW + 10)
    keyspace.put("a", b"2", NOW + 10, keep_expiry=True)
    assert expiry_of(keyspace, "a", NOW + 10) is None
    assert keyspace.expired == 1


def test_a_removed_key_does_not_pass_its_expiry_on() -> None:
    keyspace = Keyspace()
    keyspace.put("a", b"1", NOW, NOW + 10)
    keyspace.remove("a")
    keyspace.put("a", b"2", NOW)
    assert keyspace.sweep(NOW + 10) == 0
    assert keyspace.get("a", NOW + 10) == b"2"


def test_discard_says_whether_the_key_was_alive() -> None:
    keyspace = filled(a=b"1")
    keyspace.put("due", b"1", NOW, NOW + 1)
    assert keyspace.discard("a", NOW + 1)
    assert not keyspace.discard("due", NOW + 1)
    assert not keyspace.discard("missing", NOW + 1)


def test_clearing_an_expiry_says_whether_there_was_one() -> None:
    keyspace = filled(a=b"1")
    keyspace.put("b", b"1", NOW, NOW + 10)
    assert keyspace.clear_expiry("b")
    assert not keyspace.clear_expiry("b")
    assert not keyspace.clear_expiry("a")


def test_reads_count_hits_and_misses_and_plain_lookups_do_not() -> None:
    keyspace = filled(a=b"1")
    keyspace.put("due", b"1", NOW, NOW + 1)
    keyspace.read("a", NOW + 1)
    keyspace.read("due", NOW + 1)
    keyspace.read("missing", NOW + 1)
    keyspace.get("a", NOW + 1)
    assert (keyspace.hits, keyspace.misses) == (1, 2)


def test_another_type_than_expected_is_refused_with_both_names() -> None:
    keyspace = filled(text=b'"x"')
    keyspace.put("pile", Pile([1]), NOW)
    assert isinstance(keyspace.typed("pile", Pile, NOW), Pile)
    with pytest.raises(WrongType) as raised:
        keyspace.typed("pile", bytes, NOW)
    assert raised.value.details == {"key": "pile", "expected": "string", "actual": "pile"}
    with pytest.raises(WrongType) as raised:
        keyspace.typed("text", Pile, NOW)
    assert raised.value.details == {"key": "text", "expected": "pile", "actual": "string"}


def test_types_are_counted_as_keys_come_change_and_go() -> None:
    keyspace = filled(a=b"1", b=b"2")
    keyspace.put("b", Pile([]), NOW)
    keyspace.put("c", Pile([]), NOW, NOW + 1)
    assert keyspace.counts_by_type(NOW) == {"string": 1, "pile": 2}
    assert keyspace.counts_by_type(NOW + 1) == {"string": 1, "pile": 1}
    keyspace.remove("a")
    assert keyspace.counts_by_type(NOW + 1) == {"string": 0, "pile": 1}
    keyspace.flush(NOW + 1)
    assert keyspace.counts_by_type(NOW + 1) == {"string": 0, "pile": 0}


def test_type_at_knows_no_dead_key() -> None:
    keyspace = filled(a=b"1")
    keyspace.put("b", Pile([]), NOW, NOW + 1)
    assert [keyspace.type_at(key, NOW) for key in "abc"] == ["string", "pile", None]
    assert keyspace.type_at("b", NOW + 1) is None


def test_a_copied_value_shares_nothing_mutable() -> None:
    keyspace, pile = Keyspace((Pile,)), Pile([1])
    keyspace.copy_value(pile).items.append(2)
    assert pile.items == [1]


def test_a_flush_counts_only_live_keys_and_leaves_nothing() -> None:
    keyspace = filled(a=b"1", b=b"2")
    keyspace.put("due", b"3", NOW, NOW + 1)
    assert keyspace.flush(NOW + 1) == 2
    assert (keyspace.size(NOW + 1), keyspace.used_bytes, list(keyspace.keys(NOW + 1))) == (0, 0, [])
    assert keyspace.sweep(NOW + 100) == 0


def test_a_sweep_stops_at_its_limit_and_takes_the_earliest_first() -> None:
    keyspace = Keyspace()
    for number in range(10):
        keyspace.put(f"k{number}", b"1", NOW, NOW + 10 - number)
    assert keyspace.sweep(NOW + 20, limit=3) == 3
    assert len(keyspace) == 7
    assert keyspace.peek("k6", NOW) == b"1"
    assert keyspace.peek("k7", NOW) is None


def test_a_renewed_expiry_replaces_the_earlier_one_in_both_directions() -> None:
    keyspace = filled(a=b"1", b=b"1")
    keyspace.set_expiry("a", NOW + 10)
    keyspace.set_expiry("a", NOW + 20)
    keyspace.set_expiry("b", NOW + 20)
    keyspace.set_expiry("b", NOW + 10)
    assert keyspace.sweep(NOW + 15) == 1
    assert keyspace.get("a", NOW + 15) == b"1"
    assert keyspace.sweep(NOW + 20) == 1


def test_renewing_one_expiry_for_ever_takes_no_memory() -> None:
    keyspace = filled(session=b"1")
    keyspace.set_expiry("session", NOW)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for step in range(100_000):
            keyspace.set_expiry("session", NOW + step)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 500_000
    assert list(keyspace.soonest_to_expire()) == ["session"]


def test_expiries_set_and_dropped_for_ever_take_no_memory() -> None:
    keyspace = Keyspace()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for step in range(50_000):
            keyspace.put("lock", b"1", NOW, NOW + step + 1)
            keyspace.remove("lock")
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 500_000
    assert keyspace.used_bytes == 0


def test_key_at_reaches_every_live_key_and_wraps_around() -> None:
    keyspace = filled(b=b"1", a=b"1", c=b"1")
    keyspace.put("due", b"1", NOW, NOW + 1)
    assert [keyspace.key_at(position, NOW + 1) for position in range(3)] == ["a", "b", "c"]
    assert keyspace.key_at(3, NOW + 1) in ("a", "b", "c")
    assert keyspace.key_at(3, NOW) == "due"
    assert Keyspace().key_at(0, NOW) is None


def test_keys_begin_after_the_last_one_seen_even_when_it_is_gone() -> None:
    keyspace = filled(a=b"1", c=b"1", d=b"1")
    assert list(keyspace.keys(NOW, after="a")) == ["c", "d"]
    assert list(keyspace.keys(NOW, after="b")) == ["c", "d"]
    assert list(keyspace.keys(NOW, after="d")) == []


def test_keys_added_and_removed_after_the_first_scan_keep_their_order() -> None:
    keyspace = filled(b=b"1")
    assert list(keyspace.keys(NOW)) == ["b"]
    keyspace.put("c", b"1", NOW)
    keyspace.put("a", b"1", NOW)
    keyspace.remove("b")
    assert list(keyspace.keys(NOW)) == ["a", "c"]


NAMES = st.text(alphabet="ab\x00é\uffff\U0001f600", max_size=4)


@settings(deadline=None)
@given(st.sets(NAMES), NAMES, st.none() | NAMES)
def test_keys_come_complete_in_the_order_of_their_utf8_bytes(names: set[str], prefix: str, after: str | None) -> None:
    keyspace = Keyspace()
    for name in sorted(names, key=hash):
        keyspace.put(name, b"1", NOW)
    expected = sorted(
        (n for n in names if n.startswith(prefix) and (after is None or n.encode() > after.encode())),
        key=lambda n: n.encode(),
    )
    assert list(keyspace.keys(NOW, after=after, prefix=prefix)) == expected


Writes = list[tuple[str, bytes, int | None]]
WRITES: st.SearchStrategy[Writes] = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.binary(max_size=20), st.none() | st.integers(1, 50)), max_size=20
)


def written(writes: Writes) -> Keyspace:
    keyspace = Keyspace()
    for key, value, ttl in writes:
        keyspace.put(key, value, NOW, None if ttl is None else NOW + ttl)
    return keyspace


def observed(keyspace: Keyspace, now: int) -> list[Any]:
    return [
        list(keyspace.canonical(now)),
        keyspace.size(now),
        keyspace.counts_by_type(now),
        keyspace.expiring(now),
        keyspace.expired,
        keyspace.used_bytes,
    ]


@settings(deadline=None)
@given(WRITES, st.integers(0, 60), st.integers(0, 60), st.none() | st.integers(0, 3))
def test_sweeping_twice_shows_what_sweeping_once_shows(writes: Writes, one: int, other: int, limit: int | None) -> None:
    once, twice = written(writes), written(writes)
    earlier, later = sorted((NOW + one, NOW + other))
    twice.sweep(earlier, limit)
    twice.sweep(later)
    assert observed(twice, later) == observed(once, later)


@settings(deadline=None)
@given(WRITES, st.randoms(use_true_random=False))
def test_memory_is_counted_by_content_not_by_history(writes: Writes, random: Any) -> None:
    last = list({key: (key, value, ttl) for key, value, ttl in writes}.values())
    random.shuffle(last)
    keyspace = written(writes)
    assert keyspace.used_bytes == written(last).used_bytes
    random.shuffle(last)
    for key, _, _ in last:
        keyspace.remove(key)
    assert keyspace.used_bytes == 0


@pytest.mark.parametrize("volatile_only", [False, True])
@settings(deadline=None)
@given(writes=WRITES)
def test_memory_is_all_given_back_where_recency_is_tracked(writes: Writes, volatile_only: bool) -> None:
    keyspace = Keyspace()
    keyspace.track_recency(volatile_only=volatile_only)
    for key, value, ttl in writes:
        keyspace.put(key, value, NOW, None if ttl is None else NOW + ttl)
        keyspace.get(key, NOW)
    for key in list(keyspace.keys(NOW)):
        keyspace.remove(key)
    assert keyspace.used_bytes == 0
    assert list(keyspace.least_recent()) == []


def test_a_value_that_grows_in_place_is_counted() -> None:
    keyspace, pile = Keyspace((Pile,)), Pile([])
    keyspace.put("pile", pile, NOW)
    before = keyspace.used_bytes
    pile.items += [1, 2, 3]
    keyspace.settle("pile", pile, NOW)
    assert keyspace.used_bytes == before + 24 == keyspace.entry_bytes("pile", pile)
    assert keyspace.tally(Pile, NOW) == Tally(keys=1, elements=3, bytes=124)
    keyspace.remove("pile")
    assert keyspace.used_bytes == 0
    assert keyspace.tally(Pile, NOW) == Tally()


def test_a_new_collection_is_stored_and_an_emptied_one_is_removed_with_its_expiry() -> None:
    keyspace, pile = Keyspace((Pile,)), Pile([])
    keyspace.settle("pile", pile, NOW)
    assert len(keyspace) == 0
    pile.items.append(1)
    keyspace.settle("pile", pile, NOW)
    assert keyspace.get("pile", NOW) is pile
    keyspace.set_expiry("pile", NOW + 5)
    pile.items.append(2)
    keyspace.settle("pile", pile, NOW)
    assert keyspace.expires == {"pile": NOW + 5}
    pile.items.clear()
    keyspace.settle("pile", pile, NOW)
    assert (len(keyspace), keyspace.expires, keyspace.used_bytes) == (0, {}, 0)


def test_what_is_awaited_is_noted_when_it_comes_and_nothing_else() -> None:
    keyspace = filled(text=b"1")
    keyspace.arrivals.awaited = {(Pile, "a"), (Pile, "text"), (Pile, "b")}
    keyspace.settle("a", Pile([1]), NOW)
    keyspace.put("b", b"no pile", NOW)
    keyspace.settle("other", Pile([1]), NOW)
    keyspace.put("text", Pile([1]), NOW)
    assert list(keyspace.arrivals.arrived) == [(Pile, "a"), (Pile, "text")]


@settings(deadline=None)
@given(WRITES, st.integers(1, 5))
def test_a_keyspace_loaded_from_its_chunks_is_the_same(writes: Writes, chunk_keys: int) -> None:
    keyspace, loaded = written(writes), Keyspace()
    for chunk in keyspace.dump(chunk_keys):
        assert 1 <= len(chunk) <= chunk_keys
        loaded.load(chunk)
    assert observed(loaded, NOW) == observed(keyspace, NOW)


def test_large_values_end_a_chunk_early() -> None:
    keyspace = filled(a=bytes(CHUNK_BYTES // 2), b=bytes(CHUNK_BYTES // 2), c=b"1", d=b"2")
    assert [[key for _, key, _, _ in rows] for rows in keyspace.dump(100)] == [["a", "b"], ["c", "d"]]


_GROWTH = """
import gc, sys
from synap.engines.chunks import CHUNK_BYTES
from synap.engines.keyspace import Keyspace, Tally

def resident():
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096

keyspace, expires = Keyspace(), sys.argv[1] == "expiring"
keyspace.build_index()
before = resident()
for number in range(200_000):
    keyspace.put(f"key:{number:08}", b'"value-%d"' % number, 1, 10**12 + number if expires else None)
print(keyspace.used_bytes, resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell a process its size")
@pytest.mark.parametrize("keys", ["lasting", "expiring"])
def test_counted_memory_is_within_a_fifth_of_the_growth_of_the_process(keys: str) -> None:
    output = subprocess.run([sys.executable, "-c", _GROWTH, keys], check=True, capture_output=True).stdout
    counted, grown = map(int, output.split())
    assert 0.8 <= counted / grown <= 1.2, f"counted {counted}, grown {grown}"
