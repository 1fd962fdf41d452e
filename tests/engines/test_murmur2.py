"""The hash that chooses partitions: it must be Kafka's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap.engines.murmur2 import murmur2

# From UtilsTest.testMurmur2 of Apache Kafka's clients.
KAFKAS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("data", KAFKAS)
def test_it_is_the_hash_of_kafkas_clients(data: bytes) -> None:
    assert murmur2(data) == KAFKAS[data]


@given(st.binary(max_size=40))
def test_it_is_a_signed_32_bit_number(data: bytes) -> None:
    assert -(2**31) <= murmur2(data) < 2**31


def test_every_byte_counts() -> None:
    for length in range(1, 9):
        data = bytes(range(200, 200 + length))
        changed = [data[:at] + b"\0" + data[at + 1 :] for at in range(length)]
        assert len({murmur2(each) for each in [data, *changed]}) == length + 1


def test_the_empty_key_has_a_hash() -> None:
    assert murmur2(b"") == 275646681
