"""Replies remembered by idempotency key: for how long, for whom, and what they take."""

from __future__ import annotations

import pytest

from synap.engines.idempotency import LIFETIME_MS, IdempotencyTable
from synap.errors import IdempotencyConflict

NOW = 1_000_000


def remembering(*keys: str) -> IdempotencyTable:
    table = IdempotencyTable()
    for position, key in enumerate(keys):
        table.remember(key, b"print", b"reply to " + key.encode(), NOW + position)
    return table


def test_a_remembered_reply_is_found_by_the_same_request() -> None:
    table = remembering("a", "b")
    assert table.find("a", b"print", NOW) == b"reply to a"
    assert table.find("b", b"print", NOW) == b"reply to b"
    assert table.find("c", b"print", NOW) is None


def test_another_request_under_the_same_key_is_a_conflict_that_names_the_key() -> None:
    with pytest.raises(IdempotencyConflict, match="'a' was used for another request") as raised:
        remembering("a").find("a", b"other print", NOW)
    assert raised.value.details == {"idempotency_key": "a"}


def test_a_reply_is_remembered_for_24_hours_from_the_first_request() -> None:
    table = remembering("a")
    assert LIFETIME_MS == 24 * 3600 * 1000
    assert table.find("a", b"print", NOW + LIFETIME_MS - 1) == b"reply to a"
    assert table.find("a", b"print", NOW + LIFETIME_MS) is None


def test_a_key_is_free_for_another_request_once_forgotten() -> None:
    table = remembering("a")
    assert table.find("a", b"other print", NOW + LIFETIME_MS) is None


def test_a_sweep_forgets_only_what_is_due() -> None:
    table = remembering("a", "b", "c")
    table.sweep(NOW + LIFETIME_MS + 1)
    assert len(table) == 1
    assert table.find("c", b"print", NOW) == b"reply to c"


def test_a_limited_sweep_leaves_the_rest_and_nobody_can_tell() -> None:
    table, now = remembering("a", "b", "c"), NOW + LIFETIME_MS + 5
    assert table.sweep(now, 2) == 2
    assert len(table) == 1
    assert table.find("c", b"other print", now) is None
    assert [table.sweep(now, 2), table.sweep(now, 2)] == [1, 0]


def test_memory_is_counted_and_all_given_back() -> None:
    table = remembering("a", "b")
    assert table.used_bytes > 2 * len(b"reply to a")
    table.sweep(NOW + LIFETIME_MS + 1)
    assert (len(table), table.used_bytes) == (0, 0)


def test_remembering_under_the_same_key_again_replaces_the_entry() -> None:
    table = remembering("a")
    once = table.used_bytes
    table.remember("a", b"print", b"reply to a", NOW)
    assert (len(table), table.used_bytes) == (1, once)


def test_a_loaded_table_is_the_same() -> None:
    table, loaded = remembering("a", "b", "c"), IdempotencyTable()
    chunks = list(table.dump(2))
    assert [len(chunk) for chunk in chunks] == [2, 1]
    for chunk in chunks:
        loaded.load(chunk)
    assert list(loaded.canonical(NOW)) == list(table.canonical(NOW))
    assert loaded.used_bytes == table.used_bytes
    assert loaded.find("b", b"print", NOW) == b"reply to b"


def test_the_canonical_form_holds_only_what_is_still_remembered() -> None:
    table = remembering("a", "b")
    assert [row[0] for row in table.canonical(NOW + LIFETIME_MS)] == ["b"]
