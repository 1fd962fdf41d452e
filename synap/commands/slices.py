"""Results that take long to make, made in slices: about a millisecond a tick, and others have their turn in between.

A read whose result is large returns `sliced(ItsResult, steps)`. `steps` is a generator: it yields between portions of
its work and returns the payload as JSON. What it needs of the state it copies when the handler runs, at the speed of C,
so that the result is of one moment; a handler that does not says so. In a batch all slices are done at once.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

import msgspec

R = TypeVar("R")
T = TypeVar("T")
Steps = Generator[None, None, bytes]

WHOLE_MAX = 2_000
"""Up to so many elements a result is made whole."""
PORTION = 250
"""Elements between two yields."""

_encode = msgspec.json.Encoder().encode


class Sliced:
    """A result that is being made."""

    __slots__ = ("payload", "secs", "steps")

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.payload: bytes | BaseException | None = None
        """What came of it, once it is there."""
        self.secs = 0.0
        """How long it was worked on, for who keeps account of that."""

    def step(self) -> bool:
        """Do a portion; says whether that was the last."""
        try:
            next(self.steps)
        except StopIteration as end:
            self.payload = end.value
        except Exception as error:
            self.payload = error
        return self.payload is not None

    def finish(self) -> bytes:
        """The payload as JSON; what is still to do is done now. Raises what the work raises."""
        while self.payload is None:
            self.step()
        if isinstance(self.payload, BaseException):
            raise self.payload
        return self.payload


def sliced(result: type[R], steps: Steps) -> R:
    """What a handler returns when `steps` make its result."""
    return cast(R, Sliced(steps))


def array(result: type[Any], pieces: Iterable[bytes], rest: bytes = b"") -> Steps:
    """The steps to a result whose first field is an array, from what each step adds to it; `rest` comes behind."""
    made = bytearray(b'{"%b":[' % result.__struct_fields__[0].encode())
    for piece in pieces:
        if piece:
            made += piece
            made += b","
        yield
    if made.endswith(b","):
        made.pop()
    made += b"]%b}" % rest
    return bytes(made)


def elements(some: Sequence[object]) -> bytes:
    """JSON of items as they stand in an array."""
    return _encode(some)[1:-1]


def portions(items: Iterable[T], size: int = PORTION) -> Iterator[list[T]]:
    """The items, so many at a time."""
    items = iter(items)
    while some := list(islice(items, size)):
        yield some
