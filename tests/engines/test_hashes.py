"""Hashes against a naive twin: a dict."""

from __future__ import annotations

import sys

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from synap.engines.collection import text_bytes
from synap.engines.hashes import Hash
from tests.engines.twins import MACHINE_SETTINGS, Machine, check_bookkeeping, in_byte_order, names, reloaded

VALUES = st.sampled_from([b"1", b"-1.50", b"null", b'"text"', b'"%b"' % (b"x" * 100), '"é"'.encode()])


def filled(**fields: bytes) -> Hash:
    made = Hash()
    for field, value in fields.items():
        made.set(field, value)
    return made


def fields_bytes(of: Hash) -> int:
    """What depends on the past: the slack of the dict, and names, which count where they were first held."""
    assert 0 <= of._names_bytes <= sum(map(text_bytes, of.fields))
    return sys.getsizeof(of.fields) + of._names_bytes


def test_a_field_keeps_its_place_when_it_is_set_again_and_loses_it_when_it_was_deleted() -> None:
    held = filled(a=b"1", b=b"2", c=b"3")
    assert not held.set("a", b"4")
    assert list(held.fields.items()) == [("a", b"4"), ("b", b"2"), ("c", b"3")]
    held.delete("a")
    assert held.set("a", b"5")
    assert list(held.fields) == ["b", "c", "a"]
    assert list(reloaded(held).fields) == ["b", "c", "a"]


def test_a_longer_value_counts_for_more_and_a_deleted_field_for_nothing() -> None:
    held = filled(a=b"1", b=b"2")
    before = held.used_bytes()
    held.set("a", b"1" * 1_001)
    assert held.used_bytes() == before + 1_000
    held.delete("a")
    assert held.used_bytes() < before


def test_a_copy_goes_its_own_way() -> None:
    held = filled(a=b"1", b=b"2")
    copied = held.copy()
    copied.set("a", b"changed")
    copied.delete("b")
    assert held.fields == {"a": b"1", "b": b"2"}
    assert list(held.after(None, "")) == ["a", "b"]


class AgainstTwin(Machine):
    def __init__(self) -> None:
        super().__init__()
        self.held = Hash()
        self.twin: dict[str, bytes] = {}

    @rule(field=names, value=VALUES)
    def set_field(self, field: str, value: bytes) -> None:
        assert self.held.set(field, value) == (field not in self.twin)
        self.twin[field] = value

    @rule(field=names)
    def delete(self, field: str) -> None:
        assert self.held.delete(field) == (self.twin.pop(field, None) is not None)

    @rule(fields=st.dictionaries(names, VALUES))
    def set_all(self, fields: dict[str, bytes]) -> None:
        assert self.held.set_all(fields) == len(fields.keys() - self.twin.keys())
        self.twin |= fields

    @rule(fields=st.lists(names))
    def delete_all(self, fields: list[str]) -> None:
        doomed = set(fields) & self.twin.keys()
        assert self.held.delete_all(fields) == len(doomed)
        for field in doomed:
            del self.twin[field]

    @rule(after=st.none() | names, prefix=names)
    def page(self, after: str | None, prefix: str) -> None:
        assert list(self.held.after(after, prefix)) == in_byte_order(self.twin, after, prefix)
        assert list(self.held.after(None, "")) == in_byte_order(self.twin)

    @rule()
    def restart(self) -> None:
        self.held = reloaded(self.held)

    @rule()
    def go_on_with_a_copy(self) -> None:
        original, self.held = self.held, self.held.copy()
        for field in list(original.fields):
            original.delete(field)

    @invariant()
    def holds_what_the_twin_holds(self) -> None:
        assert list(self.held.fields.items()) == list(self.twin.items())
        assert len(self.held) == len(self.twin)
        check_bookkeeping(self.held, fields_bytes)

    def empty(self) -> None:
        for field in self.twin:
            self.held.delete(field)
        assert self.held.used_bytes() - fields_bytes(self.held) == Hash().used_bytes() - fields_bytes(Hash())


TestAgainstTwin = AgainstTwin.TestCase
TestAgainstTwin.settings = MACHINE_SETTINGS
