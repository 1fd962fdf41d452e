"""The keyspace against a naive twin: a plain dict whose expiries are checked one by one."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from synap.engines.keyspace import Keyspace
from tests.engines.pile import Pile
from tests.engines.test_keyspace import NOW, expiry_of

NAMES = ["", "a", "aa", "ab", "b", "é", "\uffff", "\U0001f600"]
KEYS = st.sampled_from(NAMES[1:])
TTLS = st.integers(1, 40)


@dataclass
class Twin:
    """What the twin knows of one key; a list of numbers stands for a pile."""

    value: bytes | list[int]
    at: int | None


class AgainstTwin(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.keyspace = Keyspace((Pile,))
        self.twin: dict[str, Twin] = {}
        self.now = NOW
        self.expired = 0

    def put(self, key: str, value: bytes | list[int], at: int | None, keep: bool = False) -> None:
        held = Pile(list(value)) if isinstance(value, list) else value
        self.keyspace.put(key, held, self.now, at, keep_expiry=keep)
        old = self.twin.get(key)
        self.twin[key] = Twin(value, old.at if keep and at is None and old else at)

    def shown(self, key: str) -> bytes | list[int] | None:
        value = self.keyspace.peek(key, self.now)
        return list(value.items) if isinstance(value, Pile) else value

    @rule(step=st.integers(1, 30))
    def advance(self, step: int) -> None:
        self.now += step
        due = [key for key, twin in self.twin.items() if twin.at is not None and twin.at <= self.now]
        for key in due:
            del self.twin[key]
        self.expired += len(due)

    @rule(key=KEYS, value=st.binary(max_size=8), ttl=st.none() | TTLS, keep=st.booleans())
    def put_string(self, key: str, value: bytes, ttl: int | None, keep: bool) -> None:
        self.put(key, value, None if ttl is None else self.now + ttl, keep)

    @rule(key=KEYS, value=st.lists(st.integers(0, 9), max_size=3), ttl=st.none() | TTLS)
    def put_pile(self, key: str, value: list[int], ttl: int | None) -> None:
        self.put(key, value, None if ttl is None else self.now + ttl)

    @rule(key=KEYS, item=st.integers(0, 9))
    def grow_pile(self, key: str, item: int) -> None:
        value = self.keyspace.get(key, self.now)
        if isinstance(value, Pile):
            value.items.append(item)
            self.keyspace.settle(key, value, self.now)
            held = self.twin[key].value
            assert isinstance(held, list)
            held.append(item)

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        assert (self.keyspace.get(key, self.now) is not None) == (key in self.twin)

    @rule(key=KEYS)
    def discard(self, key: str) -> None:
        assert self.keyspace.discard(key, self.now) == (self.twin.pop(key, None) is not None)

    @rule(key=KEYS, ttl=TTLS)
    def expire(self, key: str, ttl: int) -> None:
        if self.keyspace.get(key, self.now) is not None:
            self.keyspace.set_expiry(key, self.now + ttl)
            self.twin[key].at = self.now + ttl

    @rule(key=KEYS)
    def persist(self, key: str) -> None:
        if self.keyspace.get(key, self.now) is not None:
            assert self.keyspace.clear_expiry(key) == (self.twin[key].at is not None)
            self.twin[key].at = None

    @rule(source=KEYS, destination=KEYS)
    def rename(self, source: str, destination: str) -> None:
        value = self.keyspace.get(source, self.now)
        if value is not None:
            at = expiry_of(self.keyspace, source, self.now)
            self.keyspace.remove(source)
            self.keyspace.put(destination, value, self.now, at)
            self.twin[destination] = self.twin.pop(source)

    @rule(limit=st.none() | st.integers(0, 3))
    def sweep(self, limit: int | None) -> None:
        swept = self.keyspace.sweep(self.now, limit)
        assert limit is None or swept <= limit

    @rule(prefix=st.sampled_from(NAMES), after=st.none() | st.sampled_from(NAMES))
    def scan(self, prefix: str, after: str | None) -> None:
        expected = sorted(k for k in self.twin if k.startswith(prefix) and (after is None or k > after))
        assert list(self.keyspace.keys(self.now, prefix=prefix, after=after)) == expected

    @rule()
    def size(self) -> None:
        assert self.keyspace.size(self.now) == len(self.twin)
        assert self.keyspace.expiring(self.now) == sum(twin.at is not None for twin in self.twin.values())

    @rule()
    def count_types(self) -> None:
        piles = sum(isinstance(twin.value, list) for twin in self.twin.values())
        assert self.keyspace.counts_by_type(self.now) == {"string": len(self.twin) - piles, "pile": piles}

    @precondition(lambda self: len(self.twin) > 5)
    @rule()
    def flush(self) -> None:
        assert self.keyspace.flush(self.now) == len(self.twin)
        self.twin.clear()

    @rule()
    def reload(self) -> None:
        self.keyspace.sweep(self.now)
        loaded = Keyspace((Pile,))
        for rows in self.keyspace.dump(2):
            loaded.load(rows)
        loaded.expired = self.keyspace.expired
        self.keyspace = loaded

    @invariant()
    def shows_what_the_twin_holds(self) -> None:
        for key in NAMES:
            twin = self.twin.get(key)
            assert self.shown(key) == (None if twin is None else twin.value)
        rows = {key: (value, at) for key, _, value, at in self.keyspace.canonical(self.now)}
        assert rows == {key: (twin.value, twin.at) for key, twin in self.twin.items()}

    def teardown(self) -> None:
        self.keyspace.sweep(self.now)
        assert self.keyspace.expired == self.expired
        piles = [twin.value for twin in self.twin.values() if isinstance(twin.value, list)]
        tally = self.keyspace.tally(Pile, self.now)
        assert (tally.keys, tally.elements) == (len(piles), sum(map(len, piles)))
        values = {key: self.keyspace.peek(key, self.now) for key in self.twin}
        assert self.keyspace.used_bytes == sum(self.keyspace.entry_bytes(k, v) for k, v in values.items())
        for key in values:
            self.keyspace.remove(key)
        assert self.keyspace.used_bytes == 0


TestAgainstTwin = AgainstTwin.TestCase
TestAgainstTwin.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
