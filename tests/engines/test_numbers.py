"""Arithmetic on stored JSON numbers: limits of 64 bits, and decimals as Redis prints them."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap.engines.numbers import INT64_MAX, INT64_MIN, add_decimal, add_integer
from synap.errors import NotANumber, OutOfRange


@pytest.mark.parametrize(
    ("stored", "amount", "total"),
    [
        (None, 1, 1),
        (None, INT64_MIN, INT64_MIN),
        (b"0", 0, 0),
        (b"-0", 5, 5),
        (b"41", 1, 42),
        (b"-5", -3, -8),
        (b"9223372036854775806", 1, INT64_MAX),
        (b"-9223372036854775807", -1, INT64_MIN),
        (b"-9223372036854775808", INT64_MAX, -1),
    ],
)
def test_integers_add_up_to_the_edges_of_64_bits(stored: bytes | None, amount: int, total: int) -> None:
    assert add_integer(stored, amount) == total


@pytest.mark.parametrize(
    ("stored", "amount"),
    [
        (b"9223372036854775807", 1),
        (b"-9223372036854775808", -1),
        (b"9223372036854775808", -1),
        (b"-9223372036854775809", 1),
        (b"123456789012345678901234567890", 0),
        (b"9" * 5_000, 0),
        (None, INT64_MAX + 1),
    ],
)
def test_an_integer_or_sum_beyond_64_bits_is_out_of_range(stored: bytes | None, amount: int) -> None:
    with pytest.raises(OutOfRange):
        add_integer(stored, amount)


@pytest.mark.parametrize(
    "stored",
    [b'"5"', b"1.0", b"1e2", b"null", b"true", b"[1]", b'{"a":1}', b'""', b"1.5", b'"' + b"\xc3\xa9" * 50 + b'"'],
)
def test_adding_an_integer_to_anything_else_says_what_was_there(stored: bytes) -> None:
    with pytest.raises(NotANumber, match="expected an integer to add to, got"):
        add_integer(stored, 1)


@settings(deadline=None)
@given(st.integers(INT64_MIN, INT64_MAX), st.integers(INT64_MIN, INT64_MAX))
def test_any_two_integers_add_or_are_refused(stored: int, amount: int) -> None:
    if INT64_MIN <= stored + amount <= INT64_MAX:
        assert add_integer(b"%d" % stored, amount) == stored + amount
    else:
        with pytest.raises(OutOfRange):
            add_integer(b"%d" % stored, amount)


@pytest.mark.parametrize(
    ("stored", "amount", "total"),
    [
        (None, 10.5, b"10.5"),
        (None, 3.0, b"3"),
        (None, -0.0, b"0"),
        (b"10.5", 0.1, b"10.6"),
        (b"0.1", 0.2, b"0.3"),
        (b"3.0", 0.0, b"3"),
        (b"1.50", 1.5, b"3"),
        (b"5.0e3", 200.0, b"5200"),
        (b"1", 1.23, b"2.23"),
        (b"3.14", -3.14, b"0"),
        (b"-0.5", 0.25, b"-0.25"),
        (b"1.5", -2.0, b"-0.5"),
        (b"100", 900.0, b"1000"),
        (b"17.000", 0.0, b"17"),
        (b"0.001", 0.0001, b"0.0011"),
        (b"1e5", 0.0, b"100000"),
        (b"1", 1e-16, b"1.0000000000000001"),
        (None, 1e20, b"100000000000000000000"),
    ],
)
def test_decimals_come_out_as_redis_prints_them(stored: bytes | None, amount: float, total: bytes) -> None:
    assert add_decimal(stored, amount) == total


@pytest.mark.parametrize("stored", [INT64_MAX - 1, INT64_MIN, 9_007_199_254_740_993, 123_456_789_012_345_678])
def test_a_64_bit_integer_loses_no_digit(stored: int) -> None:
    assert add_decimal(b"%d" % stored, 1.0) == b"%d" % (stored + 1)


@pytest.mark.parametrize("stored", [b'"1.5"', b"null", b"[1.5]", b"true", b'"inf"'])
def test_adding_a_decimal_to_anything_but_a_number_is_refused(stored: bytes) -> None:
    with pytest.raises(NotANumber, match="expected a number to add to, got"):
        add_decimal(stored, 1.0)


@pytest.mark.parametrize("stored", [b"1e309", b"-1e309", b"9" * 400, b"1e999999", b"1e9999999999999999999"])
def test_a_stored_number_beyond_64_bit_floats_is_out_of_range(stored: bytes) -> None:
    with pytest.raises(OutOfRange):
        add_decimal(stored, 1.0)


def test_a_sum_beyond_64_bit_floats_is_out_of_range() -> None:
    with pytest.raises(OutOfRange):
        add_decimal(b"1.7e308", 1.7e308)


@pytest.mark.parametrize("stored", [b"1e-400", b"1e-999999", b"1e-9999999999999999999", b"0e99999999999999999999"])
def test_a_stored_number_too_small_to_matter_counts_as_zero(stored: bytes) -> None:
    assert add_decimal(stored, 1.5) == b"1.5"


SHORT_DECIMALS = st.decimals(-99_999, 99_999, places=6)


@settings(deadline=None)
@given(SHORT_DECIMALS, SHORT_DECIMALS)
def test_short_decimals_add_exactly(stored: Decimal, amount: Decimal) -> None:
    total = add_decimal(format(stored, "f").encode(), float(amount))
    assert Decimal(total.decode()) == stored + amount
    assert b"e" not in total.lower()
    assert not (b"." in total and total.endswith(b"0"))


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None)
@given(FLOATS, FLOATS)
def test_any_sum_is_json_and_close_to_the_sum_of_floats(stored: float, amount: float) -> None:
    try:
        total = add_decimal(json.dumps(stored).encode(), amount)
    except OutOfRange:
        assert abs(stored + amount) > 1e308
        return
    lost_at_most = max(abs(stored), abs(amount)) * 1e-15 + 1e-17
    assert float(json.loads(total)) == pytest.approx(stored + amount, rel=1e-9, abs=lost_at_most)
    assert add_decimal(total, 0.0) == total
