"""The history of a journal: who wrote which records.

A *term* is what one master writes from the moment it begins to act as one: a node that is promoted, or starts as a
master, begins a new term behind its last record. Within a term LSNs are given out by one process only, so two
journals that both hold record n of a term hold the same records up to n. That is all it takes to find where two
journals part (Kafka's leader epochs do the same, KIP-101).

The *epoch* of a term is a number that grows with every promotion; among masters the one with the greater
(epoch, id) is right. The id of the very first term names the lineage: journals of different lineages have nothing in
common, and their epochs cannot be compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec

from synap.journal.record import Lsn

Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-z]{1,64}\Z")]
"""Random, and never used again; it stands in names of files as well."""


Epoch = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class Term(msgspec.Struct, frozen=True, array_like=True):
    """What one master has written, from record `first_lsn` on."""

    epoch: Epoch
    id: Id
    first_lsn: Lsn


Terms = tuple[Term, ...]
"""Oldest first; each ends where the next begins."""


def lineage_of(terms: Terms) -> str:
    """What all journals that have grown out of the same one share; empty for one that has not begun."""
    return terms[0].id if terms else ""


def term_at(terms: Terms, lsn: Lsn) -> Term | None:
    """The term in which a record was written."""
    return next((term for term in reversed(terms) if term.first_lsn <= lsn), None)


def up_to(terms: Terms, last_lsn: Lsn) -> Terms:
    """The history of a journal that ends, or is cut off, behind `last_lsn`. Its lineage stays even of an empty one."""
    return terms[:1] + tuple(term for term in terms[1:] if term.first_lsn <= last_lsn)


def begun(terms: Terms, last_lsn: Lsn, epoch: int, term_id: str) -> Terms:
    """The history of a journal that ends with `last_lsn`, and a new term behind that. The first term of all covers
    whatever was written before there were any.
    """
    kept = up_to(terms, last_lsn)
    return (*kept, Term(epoch, term_id, last_lsn + 1 if kept else 1))


def common_lsn(mine: Terms, my_last: Lsn, theirs: Terms) -> Lsn:
    """The last record that a journal ending with `my_last` shares with one that is followed.

    The newest term of theirs counts as if it never ended: what is missing there of it is still on its way to them.
    """
    common = 0
    for index, (own, other) in enumerate(zip(mine, theirs, strict=False)):
        if own != other:
            break
        common = int(min(_end(mine, index, my_last), _end(theirs, index, math.inf)))
    return min(common, my_last)


def is_prefix(terms: Terms, last_lsn: Lsn, term_id: str) -> bool:
    """Whether a journal that ends with record `last_lsn`, written in the term `term_id`, is a beginning of the one with
    these terms, or of what that will be: its newest term has no end yet.
    """
    if last_lsn == 0:
        return True
    for index, term in enumerate(terms):
        if term.id == term_id:
            return term.first_lsn <= last_lsn <= _end(terms, index, math.inf)
    return False


def supersedes(one: Term, other: Term) -> bool:
    """Whether, of two masters, the one whose newest term is `one` is right."""
    return (one.epoch, one.id) > (other.epoch, other.id)


def _end(terms: Sequence[Term], index: int, last: float) -> float:
    if index + 1 < len(terms):
        return min(terms[index + 1].first_lsn - 1, last)
    return last
