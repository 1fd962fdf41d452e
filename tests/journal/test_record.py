"""The bytes of one record: what goes in comes out, and nothing else passes for a record."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap.journal.record import BODY_BYTES_MAX, FRAME, BadRecord, Record, decode, encode

RECORD = encode([(7, 1_700_000_000_123, b"kv.set", b'{"key":"a","value":1.10}')])

u64 = st.integers(0, 2**64 - 1)


@given(lsn=u64, time=u64, name=st.text(min_size=1, max_size=60), payload=st.binary(max_size=300))
def test_a_record_comes_back_as_it_was(lsn: int, time: int, name: str, payload: bytes) -> None:
    data = encode([(lsn, time, name.encode(), payload)])
    record, end = decode(data, 0)
    assert (record.lsn, record.time, record.command, record.payload) == (lsn, time, name, payload)
    assert end == len(data)


def test_records_follow_each_other() -> None:
    data = b"junk" + encode([(7, 4, b"echo", b"[]"), (8, 5, b"echo", b"{}")])
    first, end = decode(data, 4)
    assert first.lsn == 7
    record, end = decode(data, end)
    assert (record.lsn, end) == (8, len(data))


def test_the_layout_on_disk_does_not_change() -> None:
    data = encode([(0x0102, 0x0304, b"a.b", b"{}")])
    assert data.hex() == (
        "16000000"  # length of the body
        "875ec276"  # CRC-32 of the body
        "0201000000000000"  # LSN
        "0403000000000000"  # time
        "03"  # length of the name
        "612e62"  # name
        "7b7d"  # payload
    )


@pytest.mark.parametrize("kept", range(len(RECORD)))
def test_a_record_cut_off_anywhere_is_bad(kept: int) -> None:
    with pytest.raises(BadRecord) as bad:
        decode(RECORD[:kept], 0)
    assert bad.value.offset == 0
    assert "the file ends inside a record" in bad.value.reason


def test_a_record_with_any_bit_flipped_is_bad() -> None:
    for position in range(len(RECORD) * 8):
        data = bytearray(RECORD)
        data[position // 8] ^= 1 << position % 8
        with pytest.raises(BadRecord):
            decode(bytes(data), 0)


@pytest.mark.parametrize("length", [0, 1, 17, BODY_BYTES_MAX + 1, 2**32 - 1])
def test_a_length_that_no_record_has_is_told(length: int) -> None:
    data = FRAME.pack(length, 0) + bytes(100)
    with pytest.raises(BadRecord, match=f"a record cannot be {length} bytes long"):
        decode(data, 0)


def test_zeros_are_no_record() -> None:
    with pytest.raises(BadRecord):
        decode(bytes(4096), 0)


def test_the_offset_of_a_bad_record_is_told() -> None:
    with pytest.raises(BadRecord) as bad:
        decode(RECORD + bytes(50), len(RECORD))
    assert bad.value.offset == len(RECORD)


def test_a_payload_may_be_empty_but_a_name_may_not() -> None:
    assert decode(encode([(1, 1, b"a", b"")]), 0)[0] == Record(1, 1, "a", b"")
    nameless = struct.pack("<QQB", 1, 1, 0)
    with pytest.raises(BadRecord):
        decode(FRAME.pack(len(nameless), 0) + nameless, 0)
