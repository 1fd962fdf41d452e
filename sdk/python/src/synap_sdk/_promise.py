"""The result of a command that stands in a batch: there once the batch has run."""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec import UNSET, UnsetType

R = TypeVar("R")


class Promise(Generic[R]):
    """What one command of a batch came to."""

    __slots__ = ("_outcome",)

    def __init__(self) -> None:
        self._outcome: R | Exception | UnsetType = UNSET

    def result(self) -> R:
        """The result. Raises the command's error, or RuntimeError before the batch has run."""
        if self._outcome is UNSET:
            raise RuntimeError("the batch has not run yet: leave its block, or call run()")
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def error(self) -> Exception | None:
        """The error that `result` would raise, if it would."""
        return self._outcome if isinstance(self._outcome, Exception) else None

    def _keep(self, outcome: R | Exception) -> None:
        self._outcome = outcome
