"""What an operation is: a Synap command with its payload, the same in Redis, and what the replies of Redis mean.

Each module of translations has a function a command that draws such an operation:

    @translates("hash.len")
    def len_(draw: Draw) -> Operation:
        key = draw.key("hash")
        return single({"key": key}, ["HLEN", key], lambda length: {"length": length})

Operations are drawn one by one, with Synap one ahead: a draw may look at what type Synap holds at a key. They can be
repeated later without the ones in between, which is how a long failing sequence is made a short one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from synap.clock import Millis
from tests.differential.draw import Draw
from tests.differential.redis_server import Argument
from tests.differential.synap_side import Answer, SynapSide

# Redis's own clock must not matter: all expiry times lie in the year 2100, and time passes by deleting what is due.
EPOCH_MS = 4_102_444_800_000


@dataclass(frozen=True, slots=True)
class After:
    """An argument of a Redis command: the time so many milliseconds after Synap's present one."""

    ms: int

    def at(self, now: Millis) -> int:
        return EPOCH_MS + now + self.ms


Command = Sequence[Argument | After]
Way = Callable[[SynapSide, str, dict[str, Any]], Answer]


@dataclass(frozen=True)
class Operation:
    """One step. `expected` makes of the replies of Redis the payload of Synap's answer."""

    payload: dict[str, Any]
    commands: Callable[[Answer], Sequence[Command]]
    expected: Callable[[Answer, list[Any]], dict[str, Any]]
    way: Way = SynapSide.ask
    name: str = ""

    def ask(self, synap: SynapSide) -> Answer:
        """Let Synap do it."""
        return self.way(synap, self.name, self.payload)

    def argvs(self, answer: Answer) -> list[list[Argument]]:
        """What Redis is to do, after Synap has answered."""
        return [
            [part.at(answer.at_ms) if isinstance(part, After) else part for part in command]
            for command in self.commands(answer)
        ]


def single(payload: dict[str, Any], command: Command, expected: Callable[[Any], dict[str, Any]]) -> Operation:
    """An operation that is one command in Redis."""
    return Operation(payload, lambda _: [command], lambda _, replies: expected(replies[0]))


def several(payload: dict[str, Any], commands: Sequence[Command], expected: Callable[..., dict[str, Any]]) -> Operation:
    """An operation that takes several commands in Redis; `expected` gets a reply for each."""
    return Operation(payload, lambda _: commands, lambda _, replies: expected(*replies))


def following(
    payload: dict[str, Any],
    otherwise: Command,
    commands: Callable[[Any], Sequence[Command]],
    expected: Callable[[Any, list[Any]], dict[str, Any]],
) -> Operation:
    """An operation in which Redis follows a choice that Synap made, or is given `otherwise` where Synap failed."""
    return Operation(
        payload,
        lambda answer: [otherwise] if answer.failure else commands(answer.data),
        lambda answer, replies: expected(answer.data, replies),
    )


def at_once(payload: dict[str, Any], command: Command, expected: Callable[[Any], dict[str, Any]]) -> Operation:
    """A command that would wait, where it must not: in a batch, and in MULTI."""
    commands: list[Command] = [["MULTI"], command, ["EXEC"]]
    return Operation(payload, lambda _: commands, lambda _, replies: expected(replies[2][0]), SynapSide.ask_in_batch)


def paged(payload: dict[str, Any], command: Command, expected: Callable[[Any], dict[str, Any]]) -> Operation:
    """A scan, page by page until the end in Synap and in one go in Redis. `expected` gets what Redis listed."""
    whole = [*command, "COUNT", 1_000_000]
    return Operation(payload, lambda _: [whole], lambda _, replies: expected(replies[0][1]), SynapSide.ask_all_pages)


@dataclass(frozen=True)
class Translation:
    """How a command is drawn, and how often compared with others."""

    name: str
    weight: float
    draw: Callable[[Draw], Operation]

    def __call__(self, draw: Draw) -> Operation:
        return replace(self.draw(draw), name=self.name)


TRANSLATIONS: dict[str, Translation] = {}


def translates(name: str, weight: float = 1.0) -> Callable[[Callable[[Draw], Operation]], Translation]:
    """Register the decorated function as the translation of the command `name`."""

    def register(function: Callable[[Draw], Operation]) -> Translation:
        assert name not in TRANSLATIONS, f"{name} is translated twice"
        TRANSLATIONS[name] = Translation(name, weight, function)
        return TRANSLATIONS[name]

    return register
