"""Draws keys, values and options from small pools, so that operations meet each other's traces."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

from msgspec import Raw

from tests.differential.synap_side import SynapSide

T = TypeVar("T")

# A key's family says what a string there is in Redis; a collection may be at any key.
VALUE_KEYS = [f"key:{number}" for number in range(14)] + ["é", "\U0001f511 [*]?\\"]
"""A string is the JSON text of its value."""
TEXT_KEYS = ["text:1", "text:2"]
"""A string is a JSON string in Synap and its characters, as UTF-32, in Redis: a character has a fixed width there."""
BITMAP_KEYS = ["bits:1", "bits:2", "bits:3"]
HYPERLOGLOG_KEYS = ["count:1", "count:2", "count:3"]
GEO_KEYS = ["geo:1", "geo:2", "geo:3"]
"""The scores of a sorted set are geohashes."""
FAMILIES = [VALUE_KEYS, TEXT_KEYS, BITMAP_KEYS, HYPERLOGLOG_KEYS, GEO_KEYS]
ALL_KEYS = [key for family in FAMILIES for key in family]

# Keys that are made by the commands of a kind, and those that they are used on at all.
_HOMES = {"text": TEXT_KEYS, "bitmap": BITMAP_KEYS, "hyperloglog": HYPERLOGLOG_KEYS, "geo": GEO_KEYS}
_RANGES = _HOMES | {"string": VALUE_KEYS, "sortedset": [key for key in ALL_KEYS if key not in GEO_KEYS]}
_TYPES = {"text": "string", "geo": "sortedset"}

# No two of them are equal as JSON values without having the same text: Redis can only compare the text.
VALUES = [
    b"0",
    b"1",
    b"7",
    b"-3",
    b"42",
    b"1e3",
    b"1.10",
    b"2.50",
    b"-2.25",
    b"0.5",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9223372036854775808",
    b"12345678901234567890123",
    b"null",
    b"true",
    b"false",
    b'""',
    b'"text"',
    b'"7"',
    b'"\\u00e9\\/\\ud83d\\udd11"',
    '"ü\U0001f511"'.encode(),
    b"[]",
    b"{}",
    b"[1, [ 2 ],{}]",
    b'{"b":1, "a" : [ ]}',
    b'"%b"' % (b"x" * 300),
]
SMALL_NUMBERS = [b"0", b"1", b"7", b"-3", b"42"]
NAMES = ["", "a", "b", "c", "B", "ab", "a b", "10", "9", "é", "\U0001f511", "\uffff", "a\0b", "*", "[a-c]", "x" * 100]
"""Members and fields. In the order of UTF-16 the astral one would come before the last of the plane below it."""
CROWD = [f"m{number}" for number in range(300)]
GLOBS = [
    "*",
    "a*",
    "a?",
    "?b",
    "*b",
    "[a-c]",
    "[^a]*",
    "\\*",
    "x*x",
    "*é*",
    "key:?",
    "*:1",
    "\\[a-c\\]",
    "[]",
    "[b",
    "a[^",
    "",
]
TEXTS = ["", "x", "abc", "é\U0001f511", 'quote " and \\', "\0", "y" * 50]
TTLS = [0.5, 1, 2, 10.25, 1000, 86_400]
# Without -(2**63): Redis refuses to subtract it.
AMOUNTS = [1, -1, 2, 3, 10, -100, 2**31, 2**63 - 1, -(2**63) + 1]
EXTREMES = [2**31, -(2**31), 2**63 - 1, -(2**63)]

_AT_ITS_TYPE, _ABSENT = 0.78, 0.93


class Draw:
    """Chance, and what it needs to know about the state to draw operations that find something."""

    def __init__(self, rng: Random, synap: SynapSide) -> None:
        self.rng = rng
        self.synap = synap

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def pick(self, pool: Sequence[T]) -> T:
        return self.rng.choice(pool)

    def some(self, pool: Sequence[T], most: int = 4) -> list[T]:
        """One or more, perhaps the same one twice."""
        return self.rng.choices(pool, k=self.rng.randint(1, most))

    def different(self, pool: Sequence[T], most: int = 4) -> list[T]:
        """One or more, all different."""
        return self.rng.sample(pool, self.rng.randint(1, most))

    def between(self, low: int, high: int) -> int:
        """A number from a range, seldom one from the ends of what 64 bits hold."""
        return self.pick(EXTREMES) if self.chance(0.05) else self.rng.randint(low, high)

    def flags(self, *names: str, probability: float = 0.3) -> dict[str, bool]:
        """Any of the flags, set."""
        return {name: True for name in names if self.chance(probability)}

    def key(self, *kinds: str) -> str:
        """A key that mostly holds one of these types, sometimes nothing or another type.

        "text" are the strings of the text keys, "string" those of the others; "geo" are the sorted sets of the geo
        keys, "sortedset" those of the others.
        """
        kind = self.pick(kinds)
        home, usable = _HOMES.get(kind, VALUE_KEYS), _RANGES.get(kind, ALL_KEYS)
        wanted = self.rng.random()
        candidates: list[str] = []
        if wanted < _AT_ITS_TYPE:
            candidates = [key for key in usable if self.synap.type_at(key) == _TYPES.get(kind, kind)]
        elif wanted < _ABSENT:
            candidates = [key for key in home if self.synap.type_at(key) is None]
        return self.pick(candidates or usable)

    def keys(self, *kinds: str, most: int = 4) -> list[str]:
        """One or more keys, perhaps the same one twice."""
        return [self.key(*kinds) for _ in range(self.rng.randint(1, most))]

    def any_key(self) -> str:
        return self.pick(ALL_KEYS)

    def any_value_key(self) -> str:
        """A key at which a string may be stored with `kv.set`, whatever it holds now."""
        return self.pick([*VALUE_KEYS, *TEXT_KEYS])

    def relatives(self) -> tuple[str, str]:
        """Two keys between which a value may move: of one family."""
        family = self.pick([VALUE_KEYS, VALUE_KEYS, *FAMILIES])
        return self.pick(family), self.pick(family)

    def different_relatives(self) -> tuple[str, str]:
        """Two different keys of one family."""
        while True:
            first, second = self.relatives()
            if first != second:
                return first, second

    def json(self) -> Raw:
        """A JSON value."""
        return Raw(self.pick(SMALL_NUMBERS if self.chance(0.4) else VALUES))

    def name(self) -> str:
        """A member or a field."""
        return self.pick(CROWD if self.chance(0.1) else NAMES)

    def names(self, most: int = 4) -> list[str]:
        """One or more members or fields; seldom so many that Redis goes over to another data structure."""
        return self.some(CROWD, len(CROWD)) if self.chance(0.02) else self.some(NAMES, most)

    def index(self) -> int:
        """An index in a small collection, sometimes outside."""
        reach = self.pick([9, 9, 9, 9, 300])
        return self.between(-reach, reach)

    def count(self) -> int:
        """How many to take: mostly few."""
        return self.pick([0, 1, 1, 2, 3, 5, 100, 2**63 - 1])

    def amount(self) -> int:
        """What to add to an integer."""
        return self.rng.randint(-5, 5) if self.chance(0.8) else self.pick(AMOUNTS)

    def page(self) -> dict[str, Any]:
        """How a scan goes through a collection."""
        match = {"match": self.pick(GLOBS)} if self.chance(0.5) else {}
        return {"count": self.pick([1, 2, 3, 100, 10_000]), **match}
