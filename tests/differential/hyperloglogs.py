"""`hyperloglog.*`: estimates, and by another hash than Redis has; so compared with a tolerance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.differential.draw import Draw
from tests.differential.expectation import ANYTHING, Close
from tests.differential.keys import named
from tests.differential.synap_side import Answer, SynapSide
from tests.differential.translation import Command, Operation, single, translates

_RELATIVE_TOLERANCE = 0.03
"""Between two estimates whose standard errors are about 0.6 % each at so many elements as are drawn here."""
_ABSOLUTE_TOLERANCE = 3.0
_ELEMENTS = 3_000
_MANY = 400


def content_at(key: str) -> Operation:
    """Count the elements."""
    return named("hyperloglog.pfcount", single({"key": key}, ["PFCOUNT", key], _counted))


def _add_twice(synap: SynapSide, command: str, payload: dict[str, Any]) -> Answer:
    """What was counted before changes nothing."""
    answer = synap.ask(command, payload)
    is_wrong = answer.failure is None and synap.ask(command, payload).data != {"changed": False}
    return replace(answer, failure="COUNTED_TWICE") if is_wrong else answer


@translates("hyperloglog.pfadd", weight=4)
def pfadd(draw: Draw) -> Operation:
    """Whether a new element changes anything is up to the hash, which is another one in Redis."""
    key, span = draw.key("hyperloglog"), draw.pick([10, 100, _ELEMENTS])
    start, count = draw.rng.randrange(span), draw.pick([0, 1, 1, 2, 10, _MANY])
    elements = [f"é{number % span}" for number in range(start, start + count)]
    payload = {"key": key, "element": elements[0]} if len(elements) == 1 else {"key": key, "elements": elements}
    commands: list[Command] = [["EXISTS", key], ["PFADD", key, *elements]]

    def expected(_: Answer, replies: list[Any]) -> dict[str, Any]:
        is_new = not replies[0]
        return {"changed": is_new if is_new or not elements else ANYTHING}

    return Operation(payload, lambda _: commands, expected, _add_twice)


@translates("hyperloglog.pfcount", weight=2)
def pfcount(draw: Draw) -> Operation:
    keys = draw.keys("hyperloglog", most=3)
    payload = {"key": keys[0]} if len(keys) == 1 else {"keys": keys}
    return single(payload, ["PFCOUNT", *keys], _counted)


@translates("hyperloglog.pfmerge")
def pfmerge(draw: Draw) -> Operation:
    destination, sources = draw.key("hyperloglog"), draw.keys("hyperloglog", most=3)
    payload = {"destination": destination, "sources": sources}
    return single(payload, ["PFMERGE", destination, *sources], lambda _: {"success": True})


def _counted(count: int) -> dict[str, Any]:
    return {"count": Close(count, _RELATIVE_TOLERANCE, _ABSOLUTE_TOLERANCE)}
