"""Admission of commands that pick at random: the seed is drawn here, once, and journalled with the payload."""

from __future__ import annotations

import secrets  # noqa: TID251 - for admission
from typing import Annotated, TypeVar

import msgspec

from synap.commands.types import Payload

_SEED_BITS = 53  # what every JSON parser keeps


class Seeded(Payload, kw_only=True):
    """A command that picks at random; `seed` decides what, and is drawn by the server when absent."""

    seed: Annotated[int, msgspec.Meta(ge=0, le=2**_SEED_BITS)] | None = None


P = TypeVar("P", bound=Seeded)


def draw_seed(payload: P, admission: object) -> P | None:
    """The payload with a seed; None when it has one."""
    if payload.seed is not None:
        return None
    payload.seed = secrets.randbits(_SEED_BITS)
    return payload
