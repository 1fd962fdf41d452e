"""The token bucket: what it admits, how debts are paid, and that it never drifts."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap.clock import Millis
from synap.engines.token_bucket import TokenBucket

NOW = 1_700_000_000_000
RATES = st.one_of(
    st.integers(1, 10**6),
    st.sampled_from([0.1, 0.3, 1 / 3, 2.5, 33.3, 1e-05, 999.999]),
    st.floats(1e-6, 1e6, allow_nan=False),
)
STEPS = st.lists(st.tuples(st.integers(0, 3_000), st.integers(1, 6)), max_size=60)


def taken(bucket: TokenBucket, now: int, times: int) -> int:
    """How many of so many requests at one moment are let in."""
    return sum(bucket.take(now) for _ in range(times))


def remaining(bucket: TokenBucket, now: Millis) -> int:
    return bucket.standing(now)[0]


def full_at(bucket: TokenBucket, now: Millis) -> Millis:
    return bucket.standing(now)[1]


def test_a_full_bucket_lets_in_a_burst_and_no_more() -> None:
    assert taken(TokenBucket(10, 5), NOW, 9) == 5


def test_tokens_come_back_at_the_rate() -> None:
    bucket = TokenBucket(10, 5)
    taken(bucket, NOW, 5)
    assert [taken(bucket, NOW + ms, 9) for ms in (99, 100, 199, 200, 500)] == [0, 1, 0, 1, 3]


def test_no_more_than_a_burst_is_saved_up() -> None:
    bucket = TokenBucket(10, 5)
    taken(bucket, NOW, 5)
    assert taken(bucket, NOW + 3_600_000, 9) == 5


def test_a_refused_request_costs_nothing() -> None:
    bucket = TokenBucket(10, 1)
    assert taken(bucket, NOW, 1_000) == 1
    assert bucket.take(NOW + 100)


def test_one_token_admits_a_batch_which_is_paid_for_afterwards() -> None:
    bucket = TokenBucket(10, 5)
    assert bucket.take(NOW, 15)
    assert (remaining(bucket, NOW), bucket.wait_ms(NOW)) == (0, 1_100)
    assert not bucket.take(NOW + 1_099)
    assert bucket.take(NOW + 1_100)


def test_the_rest_of_a_batch_is_charged_without_asking() -> None:
    asked, charged = TokenBucket(10, 5), TokenBucket(10, 5)
    assert asked.take(NOW, 15)
    assert charged.take(NOW)
    charged.charge(14)
    assert full_at(charged, NOW) == full_at(asked, NOW)


def test_a_bucket_tells_what_is_there_and_when_it_will_be_full() -> None:
    bucket = TokenBucket(10, 5)
    assert (remaining(bucket, NOW), bucket.wait_ms(NOW), full_at(bucket, NOW)) == (5, 0, NOW)
    taken(bucket, NOW, 3)
    assert (remaining(bucket, NOW), bucket.wait_ms(NOW), full_at(bucket, NOW)) == (2, 0, NOW + 300)
    assert (remaining(bucket, NOW + 99), remaining(bucket, NOW + 100)) == (2, 3)
    assert (remaining(bucket, NOW + 300), full_at(bucket, NOW + 400)) == (5, NOW + 400)


def test_a_rate_is_the_decimal_number_it_is_written_as() -> None:
    bucket = TokenBucket(0.1, 1)
    assert bucket.take(NOW)
    assert (bucket.wait_ms(NOW), full_at(bucket, NOW)) == (10_000, NOW + 10_000)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (float("nan"), 1), (float("inf"), 1), (1, 0)])
def test_a_bucket_that_never_fills_or_holds_nothing_is_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="expected a rate above 0 and a burst of at least 1"):
        TokenBucket(rate, burst)


class Ledger:
    """The bucket as it is described: tokens as a fraction that grows with time and is capped."""

    def __init__(self, rate: float, burst: int) -> None:
        self.per_ms, self.burst = Fraction(repr(rate)) / 1000, burst
        self.tokens, self.at = Fraction(burst), NOW

    def take(self, now: int, tokens: int) -> bool:
        self.tokens = min(self.tokens + (now - self.at) * self.per_ms, Fraction(self.burst))
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= tokens
        return True


@settings(max_examples=300, deadline=None)
@given(RATES, st.integers(1, 20), STEPS)
def test_a_bucket_does_what_exact_fractions_do(rate: float, burst: int, steps: list[tuple[int, int]]) -> None:
    bucket, ledger, now = TokenBucket(rate, burst), Ledger(rate, burst), NOW
    for passed, tokens in steps:
        now += passed
        assert bucket.take(now, tokens) is ledger.take(now, tokens)
        assert remaining(bucket, now) == max(ledger.tokens // 1, 0)


@settings(max_examples=300, deadline=None)
@given(RATES, st.integers(1, 20), STEPS)
def test_never_more_is_admitted_than_the_burst_and_what_came_in_that_time(
    rate: float, burst: int, steps: list[tuple[int, int]]
) -> None:
    bucket, now, admitted, most = TokenBucket(rate, burst), NOW, 0, 1
    for passed, tokens in steps:
        now += passed
        if bucket.take(now, tokens):
            admitted, most = admitted + tokens, max(most, tokens)
        # The last one let in may have left a debt.
        assert admitted <= burst + Fraction(repr(rate)) / 1000 * (now - NOW) + (most - 1)


@settings(max_examples=300, deadline=None)
@given(RATES, st.integers(1, 20), STEPS)
def test_after_the_wait_a_request_is_let_in_and_not_a_moment_before(
    rate: float, burst: int, steps: list[tuple[int, int]]
) -> None:
    bucket, now = TokenBucket(rate, burst), NOW
    for passed, tokens in steps:
        now += passed
        bucket.take(now, tokens)
    wait_ms = bucket.wait_ms(now)
    assert wait_ms == 0 or not bucket.take(now + wait_ms - 1)
    assert bucket.take(now + wait_ms)


@settings(max_examples=100, deadline=None)
@given(RATES, st.integers(1, 20), STEPS)
def test_a_bucket_is_full_when_it_said_and_not_before(rate: float, burst: int, steps: list[tuple[int, int]]) -> None:
    bucket, now = TokenBucket(rate, burst), NOW
    for passed, tokens in steps:
        now += passed
        bucket.take(now, tokens)
    full = full_at(bucket, now)
    assert remaining(bucket, full) == burst
    assert full == now or remaining(bucket, full - 1) < burst


@pytest.mark.parametrize("rate", [7, 0.7, 1 / 3])
def test_a_bucket_that_is_asked_all_the_time_admits_exactly_its_rate(rate: float) -> None:
    bucket, ms = TokenBucket(rate, 2), 300_000
    admitted = sum(bucket.take(NOW + at) for at in range(ms + 1))
    # The second token of the burst goes a millisecond after the first.
    assert admitted == (2 + Fraction(repr(rate)) * ms / 1000) // 1
