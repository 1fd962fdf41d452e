"""Where two journals part is found from their terms alone, and it is where their records part."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap.replication.terms import Term, Terms, begun, common_lsn, is_prefix, lineage_of, supersedes, term_at, up_to

A, B, C = Term(1, "a", 1), Term(2, "b", 11), Term(2, "c", 11)


@dataclass
class Journal:
    """What a node has; `is_master` while the newest term is its own."""

    terms: Terms
    records: list[int]
    is_master: bool


class Family:
    """Journals that have grown out of one, in all the ways that nodes allow."""

    def __init__(self) -> None:
        self.journals = [Journal(begun((), 0, 1, "t0"), [], is_master=True)]
        self._count = 0

    def grow(self, how: str, at: int, amount: int) -> None:
        journal = self.journals[at % len(self.journals)]
        match how:
            case "write" if journal.is_master:
                for _ in range(amount):
                    self._count += 1
                    journal.records.append(self._count)
            case "begin":
                self._count += 1
                epoch = journal.terms[-1].epoch + amount % 2
                journal.terms = begun(journal.terms, len(journal.records), epoch, f"t{self._count}")
                journal.is_master = True
            case "copy":  # a replica that has got so far, and knows what is still to come
                self.journals.append(Journal(journal.terms, journal.records[:amount], is_master=False))


@st.composite
def families(draw: st.DrawFn) -> Family:
    family = Family()
    step = st.tuples(st.sampled_from(["write", "begin", "copy"]), st.integers(0, 7), st.integers(0, 6))
    for how, at, amount in draw(st.lists(step, min_size=3, max_size=25)):
        family.grow(how, at, amount)
    return family


def shared(one: Journal, other: Journal) -> int:
    """How many records two journals begin with alike."""
    pairs = zip(one.records, other.records, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


@given(families())
def test_a_journal_parts_from_a_masters_where_their_records_part(family: Family) -> None:
    for mine in family.journals:
        for master in (journal for journal in family.journals if journal.is_master):
            assert common_lsn(mine.terms, len(mine.records), master.terms) == shared(mine, master)


@given(families())
def test_a_journal_is_a_beginning_of_a_masters_if_all_its_records_are_there(family: Family) -> None:
    for mine in family.journals:
        for master in (journal for journal in family.journals if journal.is_master):
            last = len(mine.records)
            term = term_at(mine.terms, last)
            is_there = is_prefix(master.terms, last, term.id if term is not None else "")
            assert is_there == (shared(mine, master) == last)


@given(families())
def test_what_is_shared_with_a_replica_is_at_least_what_it_has_itself(family: Family) -> None:
    for mine in family.journals:
        for other in family.journals:
            assert common_lsn(mine.terms, len(mine.records), other.terms) >= shared(mine, other)


@given(families(), st.integers(0, 40))
def test_a_history_that_was_cut_off_is_that_of_the_records_left(family: Family, last: int) -> None:
    for journal in family.journals:
        last = min(last, len(journal.records))
        cut = up_to(journal.terms, last)
        assert cut == journal.terms[: len(cut)]
        assert [term_at(cut, lsn) for lsn in range(1, last + 1)] == [
            term_at(journal.terms, lsn) for lsn in range(1, last + 1)
        ]
        assert begun(cut, last, 9, "new") == begun(journal.terms, last, 9, "new")


def test_the_newest_term_of_who_is_followed_has_no_end_yet() -> None:
    assert common_lsn((A,), 100, (A,)) == 100
    assert is_prefix((A,), 100, "a")


def test_an_older_term_ends_where_the_next_begins() -> None:
    assert common_lsn((A,), 100, (A, B)) == 10
    assert common_lsn((A, B), 15, (A,)) == 10
    assert not is_prefix((A, B), 11, "a")
    assert is_prefix((A, B), 10, "a")


def test_terms_of_the_same_epoch_are_told_apart_by_their_ids() -> None:
    assert common_lsn((A, B), 15, (A, C)) == 10
    assert not is_prefix((A, C), 15, "b")


def test_a_term_of_which_there_are_no_records_yet_does_not_part_journals() -> None:
    assert common_lsn((A, B), 10, (A, C)) == 10


def test_journals_of_different_lineages_share_nothing() -> None:
    strange = (Term(1, "z", 1),)
    assert lineage_of((A, B)) == "a"
    assert lineage_of(strange) == "z"
    assert common_lsn((A, B), 15, strange) == 0
    assert not is_prefix(strange, 15, "b")


def test_an_empty_journal_is_a_beginning_of_any_other() -> None:
    assert lineage_of(()) == ""
    assert is_prefix((A, B), 0, "")
    assert is_prefix((), 0, "")
    assert common_lsn((), 0, (A, B)) == 0


def test_records_of_no_known_term_are_shared_with_nobody() -> None:
    assert common_lsn((), 5, (A,)) == 0
    assert not is_prefix((A,), 5, "")


def test_the_first_term_of_all_covers_what_was_there_before() -> None:
    assert begun((), 7, 1, "a") == (A,)
    assert begun((A,), 10, 2, "b") == (A, B)


def test_a_term_without_records_gives_way_to_the_next() -> None:
    assert begun((A, B), 10, 2, "c") == (A, C)


@pytest.mark.parametrize(("lsn", "term"), [(0, None), (1, A), (10, A), (11, B), (1_000, B)])
def test_a_record_belongs_to_the_last_term_begun_before_it(lsn: int, term: Term | None) -> None:
    assert term_at((A, B), lsn) == term


terms = st.builds(Term, st.integers(0, 3), st.sampled_from("abc"), st.just(1))


@given(terms, terms)
def test_of_two_masters_exactly_one_is_right(one: Term, other: Term) -> None:
    assert supersedes(one, other) + supersedes(other, one) == (one != other)


def test_the_greater_epoch_is_right_whatever_the_ids() -> None:
    assert supersedes(Term(2, "a", 1), Term(1, "z", 1))
    assert supersedes(Term(2, "b", 1), Term(2, "a", 9))
