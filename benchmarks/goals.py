"""Goals: the bound a figure has to keep, and whether it does. Parts state them, the report lists them first."""

from __future__ import annotations

from dataclasses import dataclass

WHOLE_FROM = 1_000


@dataclass(frozen=True)
class Goal:
    """A bound on one figure: it is to be `least` or more, or `most` or less. `unit` is written behind the numbers."""

    name: str
    got: float
    least: float | None = None
    most: float | None = None
    unit: str = "x"

    @property
    def is_met(self) -> bool:
        """Whether the bound is kept, by the figure as it was measured, not as it is shown."""
        return (self.least is None or self.got >= self.least) and (self.most is None or self.got <= self.most)

    @property
    def wanted(self) -> str:
        """The bound as people read it."""
        bounds = ((">=", self.least), ("<=", self.most))
        return " and ".join(f"{sign} {bound:,g}{self.unit}" for sign, bound in bounds if bound is not None)

    @property
    def found(self) -> str:
        """The figure as people read it."""
        return f"{self.got:,.0f}{self.unit}" if self.got >= WHOLE_FROM else f"{self.got:.3g}{self.unit}"

    @property
    def verdict(self) -> str:
        """In a word."""
        return "met" if self.is_met else "missed"

    @property
    def cell(self) -> str:
        """What a table says beside what was measured."""
        return f"{self.found}, {self.verdict}"
