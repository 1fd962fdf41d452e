"""What the tests of collections against a naive twin share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from synap.engines import collection, hashes, lists, sets, sortedsets
from synap.engines.collection import Collection

C = TypeVar("C", bound=Collection)

# In UTF-16, and as escaped JSON, U+FFFF would come after the astral ones.
NAMES = ["", "a", "aa", "ab", "b", "B", "a\0", "é", "éa", "\uffff", "\U0001f600", "\U0001f600a", "10", "9"]
# A fresh string each time, as every request brings its own: strings remember that they were encoded.
names = st.sampled_from(NAMES).map(lambda name: name.encode().decode())
chances = st.integers(0, 2**64 - 1)

MACHINE_SETTINGS = settings(max_examples=100, stateful_step_count=50, deadline=None)


class Machine(RuleBasedStateMachine):
    """A collection beside its twin. Where one takes another form as it grows large, it mostly does so early here."""

    def __init__(self) -> None:
        super().__init__()
        self._patch = pytest.MonkeyPatch()

    @initialize(small=st.sampled_from([0, 3, 64]))
    def be_small_up_to(self, small: int) -> None:
        for module, limit in _LIMITS_OF_SMALL_ONES:
            self._patch.setattr(module, limit, small)

    def empty(self) -> None:
        """Take everything out at the end of a run; what is left then must be that of a new one."""
        raise NotImplementedError

    def teardown(self) -> None:
        try:
            self.empty()
        finally:
            self._patch.undo()


_LIMITS_OF_SMALL_ONES = [
    (collection, "_FEW_NAMES"),
    (collection, "FEW"),
    (hashes, "FEW"),
    (lists, "FEW"),
    (sets, "FEW"),
    (sortedsets, "FEW"),
    (hashes, "_RECORD_FIELDS_MAX"),
    (lists, "_SHORT_MAX"),
    (sortedsets, "_SHORT_MAX"),
]


def in_byte_order(given: Any, after: str | None = None, prefix: str = "") -> list[str]:
    """The names that `after` of a collection should give."""
    chosen = (n for n in given if n.startswith(prefix) and (after is None or n.encode() > after.encode()))
    return sorted(chosen, key=str.encode)


def reloaded(collection: C) -> C:
    """The collection as a snapshot brings it back."""
    packed = msgspec.msgpack.encode(collection.dump())
    return type(collection).load(msgspec.msgpack.decode(packed))


def check_bookkeeping(collection: C, container_bytes: Callable[[C], int]) -> None:
    """The content must come back from a snapshot, and count for as much then; containers may keep some slack."""
    again = reloaded(collection)
    assert msgspec.msgpack.encode(again.dump()) == msgspec.msgpack.encode(collection.dump())
    assert len(again) == len(collection)
    assert collection.used_bytes() - container_bytes(collection) == again.used_bytes() - container_bytes(again)


def chi_square(observed: Iterable[int]) -> float:
    """How far counts are from being all alike."""
    counts = list(observed)
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)
