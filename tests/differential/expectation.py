"""What Synap must answer, built from what Redis answered, and where an answer differs from it.

An expectation is plain data as it would be in the JSON of the answer, with these in places where equality is not
the point: a `msgspec.Raw` is a JSON value that must have been kept text for text, and an `Expected` decides itself.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

encode = msgspec.json.encode
decode = msgspec.json.decode

_SURE_DIGITS = 17
_ROUNDING = 1e-14

_list_of_raw = msgspec.json.Decoder(list[Raw]).decode
_dict_of_raw = msgspec.json.Decoder(dict[str, Raw]).decode


class Expected(ABC):
    """Decides whether a value of the answer is right."""

    @abstractmethod
    def difference(self, actual: bytes) -> str | None:
        """What is wrong with `actual`, which is JSON; None when nothing is."""


@dataclass(frozen=True)
class Unordered(Expected):
    """The items in any order."""

    items: list[Any]

    def difference(self, actual: bytes) -> str | None:
        wanted = sorted(map(encode, self.items))
        given = sorted(map(bytes, _list_of_raw(actual)))
        return None if wanted == given else f"expected in any order {_shown(wanted)}, got {_shown(given)}"


@dataclass(frozen=True)
class Close(Expected):
    """A number, with a tolerance."""

    number: float
    relative: float = 0.0
    absolute: float = 0.0

    def accepts(self, given: Any) -> bool:
        """Whether a number is close enough."""
        is_number = isinstance(given, int | float) and not isinstance(given, bool)
        return is_number and math.isclose(self.number, given, rel_tol=self.relative, abs_tol=self.absolute)

    def difference(self, actual: bytes) -> str | None:
        return None if self.accepts(decode(actual)) else f"expected about {self.number}, got {_text(actual)}"


@dataclass(frozen=True)
class Sum(Expected):
    """A number calculated in decimals in Synap and in 80-bit floats in Redis: equal, or nearly so if it is a long one.

    Redis makes 1001.09999999999999998 of 1.1 and 1000.
    """

    text: bytes

    def difference(self, actual: bytes) -> str | None:
        if actual == self.text:
            return None
        if len(self.text) > _SURE_DIGITS and Close(float(self.text), _ROUNDING, _ROUNDING).accepts(decode(actual)):
            return None
        return f"expected {_text(self.text)}, got {_text(actual)}"


@dataclass(frozen=True)
class Score(Expected):
    """The score of a member of a sorted set, from its text in Redis."""

    text: bytes

    def difference(self, actual: bytes) -> str | None:
        given, wanted = decode(actual), float(self.text)
        shown = {math.inf: "+inf", -math.inf: "-inf"}.get(wanted, wanted)
        right = isinstance(given, str) == isinstance(shown, str) and given == shown and given is not True
        return None if right else f"expected the score {shown!r}, got {_text(actual)}"


@dataclass(frozen=True)
class Satisfies(Expected):
    """Whatever passes a test."""

    test: Callable[[Any], bool]
    wanted: str

    def difference(self, actual: bytes) -> str | None:
        return None if self.test(decode(actual)) else f"expected {self.wanted}, got {_text(actual)}"


ANYTHING = Satisfies(lambda _: True, "anything")


def difference(expected: Any, answer: bytes) -> str | None:
    """The first place where the payload of an answer is not as expected, and how; None when it is as expected.

    Members that are null and not expected at all are optional ones that are absent.
    """
    members = _dict_of_raw(answer)
    optional = {name for name, value in members.items() if name not in expected and bytes(value) == b"null"}
    return _of_dict(expected, {name: value for name, value in members.items() if name not in optional}, "payload")


def _difference(expected: Any, actual: bytes, path: str) -> str | None:
    if isinstance(expected, Expected):
        found = expected.difference(actual)
        return f"{path}: {found}" if found else None
    if isinstance(expected, dict) and actual.startswith(b"{"):
        return _of_dict(expected, _dict_of_raw(actual), path)
    if isinstance(expected, list) and actual.startswith(b"["):
        return _of_list(expected, _list_of_raw(actual), path)
    same = encode(expected) == actual
    if not same and not isinstance(expected, Raw):
        given = decode(actual)
        same = type(expected) is type(given) and bool(expected == given)
    return None if same else f"{path}: expected {_text(encode(expected))}, got {_text(actual)}"


def _of_dict(expected: dict[str, Any], actual: dict[str, Raw], path: str) -> str | None:
    if expected.keys() != actual.keys():
        missing, extra = expected.keys() - actual.keys(), actual.keys() - expected.keys()
        return f"{path}: missing {sorted(missing)}, unexpected {sorted(extra)}"
    return _first(_difference(expected[name], bytes(actual[name]), f"{path}.{name}") for name in expected)


def _of_list(expected: list[Any], actual: list[Raw], path: str) -> str | None:
    if len(expected) != len(actual):
        given = _shown([*map(bytes, actual)])
        return f"{path}: expected {len(expected)} items, {expected!r:.300}, got {len(actual)}, {given}"
    pairs = zip(expected, actual, strict=True)
    return _first(_difference(item, bytes(given), f"{path}[{at}]") for at, (item, given) in enumerate(pairs))


def _first(found: Iterable[str | None]) -> str | None:
    return next(filter(None, found), None)


def _shown(items: list[bytes]) -> str:
    return _text(b"[%b]" % b", ".join(items))


def _text(json: bytes) -> str:
    return json.decode(errors="replace")[:500]
