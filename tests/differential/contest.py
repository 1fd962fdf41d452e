"""Runs the same operations through Synap and through Redis, and finds the first one where they part.

Synap goes ahead by a round of operations, then Redis gets all of them at once; a draw can look at the state of
Synap, and a choice that Synap has made by chance can be followed. After each round all keys are compared. Once they
have parted, operations are left out as long as they still part, and what remains is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import msgspec
from redis.exceptions import ResponseError

from tests.differential import bitmaps, expectation, hashes, hyperloglogs, keys, lists, sets, sortedsets, strings
from tests.differential.draw import ALL_KEYS, TTLS, Draw
from tests.differential.redis_server import RedisServer
from tests.differential.synap_side import Answer, SynapSide
from tests.differential.translation import Operation, Translation

ROUND = 100
SHORTENING_SECS_MAX = 30
_TOLD_OPERATIONS_MAX = 60
_TOLD_CHARACTERS_MAX = 1_000
_TIME_PASSES, _IN_BATCH = 0.01, 0.1
_PASSING_SECS = [0.25, 0.5, 1, 5, *TTLS]

# What Redis says, and the codes Synap may say it with. Redis has one message for a stored number that is too large
# and for what is no number at all.
_CODES = {
    "WRONGTYPE": {"WRONG_TYPE"},
    "no such key": {"KEY_NOT_FOUND"},
    "index out of range": {"OUT_OF_RANGE"},
    "value is not an integer or out of range": {"NOT_A_NUMBER", "OUT_OF_RANGE"},
    "hash value is not an integer": {"NOT_A_NUMBER", "OUT_OF_RANGE"},
    "value is not a valid float": {"NOT_A_NUMBER"},
    "hash value is not a float": {"NOT_A_NUMBER"},
    "increment or decrement would overflow": {"OUT_OF_RANGE"},
    "increment would produce NaN or Infinity": {"OUT_OF_RANGE"},
    "resulting score is not a number (NaN)": {"INVALID_PAYLOAD"},
    "invalid longitude,latitude pair": {"INVALID_PAYLOAD"},
    "could not decode requested zset member": {"INVALID_PAYLOAD"},
}

_CONTENTS: dict[str, Callable[[str], Operation]] = {
    "string": strings.get_at,
    "hash": hashes.content_at,
    "list": lists.content_at,
    "set": sets.content_at,
    "sortedset": sortedsets.content_at,
    "bitmap": bitmaps.content_at,
    "hyperloglog": hyperloglogs.content_at,
}


@dataclass(frozen=True)
class Parting:
    """The operation at which Synap and Redis part, the ones before it, and how they part."""

    before: Sequence[Operation]
    last: Operation
    how: str


class Contest:
    """Draws operations and has both sides do them."""

    def __init__(self, redis: RedisServer, translations: Iterable[Translation], seed: int) -> None:
        self._redis = redis
        self._translations = list(translations)
        self._weights = [translation.weight for translation in self._translations]
        self._rng = Random(seed)
        self._seed = seed

    def run(self, count: int) -> None:
        """Run `count` operations. Raises AssertionError with a short way to reproduce it when the two part."""
        parting = self._find(count)
        if parting is not None:
            shortest = self._shortened(parting)
            raise AssertionError(_told(shortest, len(parting.before), self._seed, count))

    def _find(self, count: int) -> Parting | None:
        synap, history = self._fresh(), list[Operation]()
        draw = Draw(self._rng, synap)
        for start in range(0, count, ROUND):
            turns = []
            for _ in range(min(ROUND, count - start)):
                operation = self._drawn(draw)
                turns.append((operation, operation.ask(synap)))
            parting = self._settle(history, turns) or self._compare_states(synap, history)
            if parting is not None:
                return parting
        return None

    def _drawn(self, draw: Draw) -> Operation:
        if draw.chance(_TIME_PASSES):
            return keys.time_passes(draw.pick(_PASSING_SECS))
        operation = self._rng.choices(self._translations, self._weights)[0](draw)
        is_batched = operation.way == SynapSide.ask and draw.chance(_IN_BATCH)
        return replace(operation, way=SynapSide.ask_in_batch) if is_batched else operation

    def _fresh(self) -> SynapSide:
        self._redis.execute([["FLUSHALL"]])
        return SynapSide()

    def _settle(self, history: list[Operation], turns: list[tuple[Operation, Answer]]) -> Parting | None:
        """Have Redis do what Synap has done, and compare. The operations are added to the history."""
        argvs = [operation.argvs(answer) for operation, answer in turns]
        replies = iter(self._redis.execute([argv for group in argvs for argv in group]))
        for (operation, answer), group in zip(turns, argvs, strict=True):
            how = _difference(operation, answer, [next(replies) for _ in group])
            if how is not None:
                return Parting(history, operation, how)
            history.append(operation)
        return None

    def _compare_states(self, synap: SynapSide, history: list[Operation]) -> Parting | None:
        looks = [keys.all_keys()]
        for key in ALL_KEYS:
            looks += [keys.type_at(key), keys.ttl_at(key)]
            held = synap.type_at(key)
            if held is not None:
                looks.append(_CONTENTS[held](key))
        return self._settle(list(history), [(look, look.ask(synap)) for look in looks])

    def _shortened(self, parting: Parting) -> Parting:
        """Leave out ever smaller parts of what came before, as long as the two still part."""
        deadline = time.monotonic() + SHORTENING_SECS_MAX
        size = max(len(parting.before) // 2, 1)
        while True:
            at = 0
            while at < len(parting.before) and time.monotonic() < deadline:
                before = [*parting.before[:at], *parting.before[at + size :]]
                shorter = self._repeated([*before, parting.last])
                if shorter is None:
                    at += size
                else:
                    parting = shorter
            if size == 1:
                return parting
            size //= 2

    def _repeated(self, operations: list[Operation]) -> Parting | None:
        synap = self._fresh()
        return self._settle([], [(operation, operation.ask(synap)) for operation in operations])


def _difference(operation: Operation, answer: Answer, replies: list[Any]) -> str | None:
    refusal = _refusal(replies)
    if refusal is None and answer.failure is None:
        return expectation.difference(operation.expected(answer, replies), answer.payload)
    if refusal is None:
        return f"Redis answers {replies!r:.500}, Synap refuses with {answer.failure}: {answer.message}"
    codes = next((codes for start, codes in _CODES.items() if refusal.startswith(start)), set[str]())
    if answer.failure is None:
        return f"Redis refuses with {refusal!r}, Synap answers {answer.payload.decode():.500}"
    if answer.failure in codes:
        return None
    return f"Redis refuses with {refusal!r}, Synap with {answer.failure}: {answer.message}"


def _refusal(replies: list[Any]) -> str | None:
    """The first error among replies, which may be those in the reply of EXEC."""
    for reply in replies:
        found = _refusal(reply) if isinstance(reply, list) else None
        if isinstance(reply, ResponseError):
            return str(reply)
        if found is not None:
            return found
    return None


def _told(parting: Parting, length: int, seed: int, count: int) -> str:
    shown = [_line(operation) for operation in (*parting.before, parting.last)]
    omitted = len(shown) - _TOLD_OPERATIONS_MAX
    if omitted > 0:
        shown = [f"  ... {omitted} more before", *shown[-_TOLD_OPERATIONS_MAX:]]
    lines = "\n".join(shown)
    return (
        f"Synap and Redis part: {parting.how}\n{lines}\n"
        f"Shortened from {length + 1} operations;"
        f" again with SYNAP_DIFFERENTIAL_SEED={seed} SYNAP_DIFFERENTIAL_OPS={count}"
    )


def _line(operation: Operation) -> str:
    payload = msgspec.json.encode(operation.payload).decode()
    commands = operation.commands(Answer(b"{}", 0, "not asked"))
    redis = "; ".join(_shell(command) for command in commands)
    return f"  {operation.name} {payload:.{_TOLD_CHARACTERS_MAX}}   # Redis: {redis:.{_TOLD_CHARACTERS_MAX}}"


def _shell(command: Sequence[Any]) -> str:
    return " ".join(part.decode(errors="replace") if isinstance(part, bytes) else str(part) for part in command)
