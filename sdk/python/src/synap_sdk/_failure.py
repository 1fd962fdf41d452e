"""The errors that are not a code of the server's, and what all errors have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class SynapError(Exception):
    """What the server refused. Subclasses stand for codes; a code that this kit does not know comes as this class."""

    code: ClassVar[str] = ""

    def __init__(self, message: str, details: Mapping[str, Any] | None = None, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, Any] = details or {}
        """What a program needs of it."""
        if code is not None:
            self.code = code  # type: ignore[misc]

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.code else self.message


class SynapConnectionError(SynapError, ConnectionError):
    """The server cannot be reached, or the connection broke."""

    def __init__(self, message: str, *, may_have_happened: bool = False) -> None:
        super().__init__(message)
        self.may_have_happened = may_have_happened
        """The command was sent and nobody knows whether it was done. False: it certainly was not."""


class SynapTimeout(SynapError, TimeoutError):
    """No reply in time. A write may have happened unless `may_have_happened` is false."""

    def __init__(self, message: str, *, may_have_happened: bool = False) -> None:
        super().__init__(message)
        self.may_have_happened = may_have_happened
