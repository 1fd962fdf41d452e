"""Who sees all of a simulated world at once, and says when something is so that must never be.

Every record that clients write carries a number of its own, so that "the same record" is a question of one integer.
"""

from __future__ import annotations

from collections.abc import Iterable

from synap.replication.standing import Standing
from synap.replication.terms import Term, Terms, lineage_of, up_to
from synap.replication.wire import Claim, Welcome


class Violated(AssertionError):
    """Something is so that must never be."""


class Witness:
    """Remembers what was written in which term, and what clients were told."""

    def __init__(self) -> None:
        self.acknowledged: dict[int, int] = {}
        """How many replicas each acknowledged write was said to be on."""
        self._holders: dict[int, set[str]] = {}
        self._terms: dict[str, Term] = {}
        self._written: dict[str, list[int]] = {}

    def begins(self, term: Term, covered: list[int]) -> None:
        """A node begins to act as master; `covered` are records of old that its very first term takes in."""
        require(term.id not in self._terms, f"{term} was there before")
        self._terms[term.id] = term
        self._written[term.id] = list(covered)

    def writes(self, term: Term, lsn: int, write: int) -> None:
        """A master appends a record."""
        self._knows(term)
        written = self._written[term.id]
        require(lsn == term.first_lsn + len(written), f"record {lsn} of {term} leaves a gap or is another's")
        written.append(write)

    def receives(self, name: str, writes: Iterable[int]) -> None:
        """A node has these records now."""
        for write in writes:
            self._holders.setdefault(write, set()).add(name)

    def acknowledges(self, name: str, write: int, acks: int) -> None:
        """A master tells a client that so many replicas have what it wrote."""
        others = self._holders.get(write, set()) - {name}
        require(
            len(others) >= acks, f"write {write} is said to be on {acks} replicas, and was on {sorted(others)} only"
        )
        self.acknowledged[write] = acks

    def saves(self, before: Standing, after: Standing, *, begins_anew: bool) -> None:
        """A node promises something new."""
        for earlier, later in zip(after.terms, after.terms[1:], strict=False):
            is_first = earlier == after.terms[0]  # it stays although nothing was written in it
            in_order = earlier.first_lsn < later.first_lsn or (is_first and earlier.first_lsn == later.first_lsn)
            require(in_order, f"terms out of order: {after.terms}")
            require(earlier.epoch <= later.epoch, f"epochs out of order: {after.terms}")
        if after.role == "master" and before.role == "replica":
            require(after.epoch > before.epoch, f"promoted in epoch {after.epoch} after {before.epoch}")
        if after.role == "replica":
            for term in after.terms:
                self._knows(term)
        is_same = before.lineage == after.lineage != ""
        if is_same and not begins_anew:
            require(after.epoch >= before.epoch, f"epoch {before.epoch} was promised, now it is {after.epoch}")

    def holds(self, terms: Terms, writes: list[int], from_lsn: int = 1) -> None:
        """A node holds these records from LSN 1 on, and says of those from `from_lsn` on that they are of its terms."""
        end = len(writes)
        for term in reversed(terms):
            if term.first_lsn <= end:
                begin = max(term.first_lsn, from_lsn)
                known = self._written[term.id][begin - term.first_lsn : end + 1 - term.first_lsn]
                require(writes[begin - 1 : end] == known, f"records {begin} to {end} are not those of {term}")
                end = begin - 1
            if end < from_lsn:
                break

    def believes(self, standing: Standing, welcome: Welcome) -> None:
        """A node does what a welcome leads to."""
        is_kin = standing.lineage == lineage_of(welcome.terms) != ""
        is_over = is_kin and welcome.epoch < standing.epoch
        require(not is_over, f"epoch {standing.epoch} believes {welcome.epoch} once more")

    def gives_up(self, mine: Terms, last_lsn: int, welcome: Welcome) -> None:
        """A node puts records aside because of this welcome: then there must be others in their place, or there will
        be. That who is followed does not have them yet is no reason.
        """
        mine, theirs = up_to(mine, last_lsn), welcome.terms
        is_behind = len(theirs) < len(mine) and mine[: len(theirs)] == theirs
        require(
            not is_behind or welcome.last_lsn >= mine[len(theirs)].first_lsn,
            f"records up to {last_lsn} of {mine} are given up for {theirs} up to {welcome.last_lsn}",
        )

    def meets(self, own: Claim, other: Claim) -> None:
        """A node that says `own` of itself has heard that another says `other`."""
        if own.lineage == other.lineage and own.role == other.role == "master":
            require((own.epoch, own.term) >= (other.epoch, other.term), f"{own} has heard of {other} and goes on")

    def survive(self, writes: list[int], failures: int) -> None:
        """In the end this is the history, after so many failures."""
        lost = [write for write, acks in self.acknowledged.items() if acks >= failures and write not in writes]
        require(not lost, f"writes {lost} were on enough replicas for {failures} failures, and are lost")

    def accounted_for(self, writes: Iterable[int]) -> None:
        """These are all records that are left anywhere, also among what was put aside."""
        lost = self.acknowledged.keys() - set(writes)
        require(not lost, f"writes {sorted(lost)} were acknowledged and are nowhere any more")

    def _knows(self, term: Term) -> None:
        require(self._terms.get(term.id) == term, f"{term} is known as {self._terms.get(term.id)}")


def require(condition: bool, message: str) -> None:
    """Raises Violated."""
    if not condition:
        raise Violated(message)
