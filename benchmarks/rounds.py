"""Fair comparison on a noisy machine: contenders take turns, and only medians and ratios are told.

In each round every contender is loaded once (A B C, A B C, ...), so that what slows the machine down for a
while slows all of them. A ratio is taken within a round, and the median of these is what counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from benchmarks.load import Sample

WARM_UP_SECS = 1
CLIENT_IS_LIMIT = 0.9
QUIET_CPUS_MAX = 0.2


@dataclass(frozen=True)
class Plan:
    """How much to measure. `say` tells a person what is going on."""

    say: Callable[[str], None]
    rounds: int = 3
    round_secs: int = 3
    short_round_secs: int = 2
    """For parts with many contenders."""
    brief_rounds: int = 5
    brief_round_secs: int = 1
    """For parts with very many, whose ratios are the better for more rounds."""
    keys: int = 1_000_000
    """Keys in memory, and records to recover."""
    starts: int = 3
    fast_starts: int = 7
    """Of programs that are there at once."""


@dataclass
class Contender:
    """Somebody to measure: `drive` loads it for some seconds."""

    name: str
    drive: Callable[[int], Sample]
    samples: list[Sample] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Commands per second of every round."""
        return [sample.commands_per_sec for sample in self.samples]

    @property
    def server_cpu_us(self) -> float:
        """CPU time of the server per command."""
        return median(sample.server_cpu_us for sample in self.samples)

    @property
    def client_busy(self) -> float:
        """Share of the time the client was computing."""
        return median(sample.client_busy for sample in self.samples)

    def times(self, other: Contender) -> float:
        """How many times as fast as `other` it is."""
        return median(ours / theirs for ours, theirs in zip(self.rates, other.rates, strict=True))


def caveats(contenders: list[Contender]) -> tuple[str, ...]:
    """What to know before believing the rates: who was limited by its client, and who else used the machine."""
    others_cpus = [sample.others_cpus for contender in contenders for sample in contender.samples]
    limited = [contender.name for contender in contenders if contender.client_busy >= CLIENT_IS_LIMIT]
    notes = (f"{name}: its client was the limit, the server may be able to do more" for name in limited)
    return (*notes, disturbance(others_cpus, "round"))


def disturbance(others_cpus: list[float], occasion: str) -> str:
    """How much of the machine was not ours to measure with. It slows those most that use more than one CPU."""
    middle, worst = median(others_cpus), max(others_cpus)
    advice = "" if worst <= QUIET_CPUS_MAX else ": TOO DISTURBED TO QUOTE, run it again on a quiet machine"
    taken = f"{middle:.1f} of {os.cpu_count()} CPUs in the median {occasion}, {worst:.1f} in the worst"
    return f"other programs took {taken}{advice}"


def take_turns(part: str, contenders: list[Contender], plan: Plan, round_secs: int, rounds: int | None = None) -> None:
    """Load every contender in every round, after a warm-up that does not count."""
    rounds = rounds or plan.rounds
    for contender in contenders:
        plan.say(f"{part}: warming up {contender.name}")
        contender.drive(WARM_UP_SECS)
    for number in range(1, rounds + 1):
        for contender in contenders:
            plan.say(f"{part}: round {number} of {rounds}, {contender.name}")
            contender.samples.append(contender.drive(round_secs))
