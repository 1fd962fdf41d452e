"""Messages come out as they went in, and nothing else is taken."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap.journal.record import Record, encode
from synap.replication.terms import Term
from synap.replication.wire import (
    Ack,
    Greeting,
    Heartbeat,
    Message,
    NotUnderstood,
    Publication,
    Records,
    Welcome,
    pack,
    records_behind,
    unpack,
)

WELCOME = Welcome(
    node="n1",
    accepted=True,
    epoch=2,
    terms=(Term(1, "a", 1), Term(2, "b", 11)),
    oldest_lsn=5,
    last_lsn=20,
    master="http://127.0.0.1:15500",
)
MESSAGES: list[Message] = [
    WELCOME,
    Heartbeat(lsn=20, siblings=("http://127.0.0.1:15501",), master=None),
    Publication("a.b", b'{"x":1}', b"\x00\xff"),
    Ack(2**62),
    Records(b""),
]


def journalled(lsns: Iterable[int]) -> bytes:
    return encode([(lsn, 1_000 + lsn, b"kv.set", b'{"n":%d}' % lsn) for lsn in lsns])


@pytest.mark.parametrize("message", [*MESSAGES, Records(journalled(range(1, 4)))], ids=lambda m: type(m).__name__)
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    assert unpack(pack(message)) == message


@given(st.binary(max_size=60))
def test_bytes_that_are_no_message_are_not_understood(data: bytes) -> None:
    try:
        message = unpack(data)
    except NotUnderstood:
        return
    assert isinstance(message, Records) == (data[:1] == b"R")


@pytest.mark.parametrize("message", MESSAGES[:4], ids=lambda m: type(m).__name__)
def test_a_message_cut_short_is_not_understood(message: Message) -> None:
    data = pack(message)
    for size in range(len(data)):
        with pytest.raises(NotUnderstood):
            unpack(data[:size])


def test_an_id_that_could_not_stand_in_a_files_name_is_not_understood() -> None:
    with pytest.raises(NotUnderstood, match=r"terms"):
        unpack(pack(msgspec.structs.replace(WELCOME, terms=(Term(1, "../a", 1),))))


def test_a_greeting_goes_as_the_query_of_a_url() -> None:
    greeting = Greeting(node="n2", from_lsn=21, history="b", epoch=2, lineage="a", url="http://127.0.0.1:15501")
    query = {name: str(value) for name, value in msgspec.to_builtins(greeting).items()}
    assert query["from"] == "21"
    assert msgspec.convert(query, Greeting, strict=False) == greeting


@given(st.integers(0, 10**6), st.integers(0, 6))
def test_records_that_follow_without_a_gap_are_taken(last: int, count: int) -> None:
    lsns = range(last + 1, last + 1 + count)
    found = records_behind(journalled(lsns), last)
    assert found == [Record(lsn, 1_000 + lsn, "kv.set", b'{"n":%d}' % lsn) for lsn in lsns]


@pytest.mark.parametrize("lsns", [[6], [4], [5, 7], [5, 5], [5, 6, 4]])
def test_records_out_of_order_are_not(lsns: list[int]) -> None:
    with pytest.raises(NotUnderstood, match="expected record"):
        records_behind(journalled(lsns), 4)


def test_of_records_cut_short_anywhere_none_is_taken() -> None:
    data = journalled(range(5, 8))
    ends = {len(journalled(range(5, end))) for end in (5, 6, 7)}
    for size in range(len(data)):
        if size in ends:
            assert len(records_behind(data[:size], 4)) < 3
        else:
            with pytest.raises(NotUnderstood, match="damaged"):
                records_behind(data[:size], 4)


@given(st.data())
def test_a_bit_that_has_changed_is_noticed(data: st.DataObject) -> None:
    damaged = bytearray(journalled(range(5, 8)))
    bit = data.draw(st.integers(0, len(damaged) * 8 - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NotUnderstood):
        records_behind(bytes(damaged), 4)


def test_a_name_that_is_no_text_is_not_understood() -> None:
    with pytest.raises(NotUnderstood, match="record 5 is damaged"):
        records_behind(encode([(5, 1, b"\xff", b"")]), 4)
