"""The settings of a queue: how long a message rests before each retry, and what is refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap.engines.queue_config import QueueConfig, RetryPolicy, Strategy


def delays(policy: RetryPolicy, *retries: int) -> list[int]:
    return [policy.delay_ms(retry) for retry in retries]


def test_the_defaults_are_those_of_the_contract() -> None:
    assert msgspec.to_builtins(QueueConfig()) == {
        "max_depth": None,
        "ack_deadline_secs": 30,
        "max_retries": 3,
        "retry": {"strategy": "exponential", "initial_secs": 0, "max_secs": 60, "multiplier": 2},
        "message_ttl_secs": None,
        "dead_letter": True,
    }


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("fixed", [1500, 1500, 1500, 1500]),
        ("linear", [1500, 3000, 4500, 6000]),
        ("exponential", [1500, 3000, 6000, 12_000]),
    ],
)
def test_a_rest_grows_as_the_strategy_says(strategy: Strategy, expected: list[int]) -> None:
    assert delays(RetryPolicy(strategy=strategy, initial_secs=1.5), 1, 2, 3, 4) == expected


@pytest.mark.parametrize("strategy", ["fixed", "linear", "exponential"])
def test_a_rest_is_never_above_the_maximum(strategy: Strategy) -> None:
    assert delays(RetryPolicy(strategy=strategy, initial_secs=7, max_secs=5), 1, 2, 10**6) == [5000] * 3


@pytest.mark.parametrize("strategy", ["fixed", "linear", "exponential"])
def test_without_an_initial_rest_there_is_none(strategy: Strategy) -> None:
    assert delays(RetryPolicy(strategy=strategy, multiplier=10**6), 1, 2, 10**6) == [0] * 3


def test_a_multiplier_of_one_keeps_the_rest_as_it_is() -> None:
    assert delays(RetryPolicy(initial_secs=2, multiplier=1), 1, 2, 10**6) == [2000] * 3


@given(multiplier=st.floats(1, 10), retry=st.integers(1, 40), initial=st.floats(0.001, 100))
def test_an_exponential_rest_is_the_power_to_the_millisecond(multiplier: float, retry: int, initial: float) -> None:
    policy = RetryPolicy(initial_secs=initial, multiplier=multiplier, max_secs=9e9)
    exact = min(initial * multiplier ** (retry - 1), 9e9) * 1000
    assert policy.delay_ms(retry) == pytest.approx(exact, rel=1e-12, abs=0.501)


@pytest.mark.parametrize(("secs", "expected"), [(None, None), (60, 60_000), (0.25, 250), (0.000_1, 1)])
def test_a_time_to_live_is_at_least_a_millisecond(secs: float | None, expected: int | None) -> None:
    assert QueueConfig(message_ttl_secs=secs).message_ttl_ms == expected


@pytest.mark.parametrize(
    "given",
    [
        '{"max_depth": 0}',
        '{"ack_deadline_secs": 0}',
        '{"ack_deadline_secs": 1e300}',
        '{"max_retries": -1}',
        '{"message_ttl_secs": 0}',
        '{"retry": {"strategy": "random"}}',
        '{"retry": {"initial_secs": -1}}',
        '{"retry": {"max_secs": 1e300}}',
        '{"retry": {"multiplier": 0.5}}',
        '{"retry": {"jitter": 1}}',
        '{"depth": 1}',
    ],
)
def test_what_makes_no_sense_is_refused(given: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(given, type=QueueConfig)


def test_whole_numbers_are_as_good_as_decimals() -> None:
    decoded = msgspec.json.decode('{"ack_deadline_secs": 30, "retry": {"initial_secs": 0}}', type=QueueConfig)
    assert decoded == QueueConfig()
