"""Rates from two looks at the metrics."""

from __future__ import annotations

import math

import pytest

from synap.tools.figures import Difference, Look, read_samples


def look(at: float, *, uptime: float, sets: int = 0, failed: int = 0, fast: int = 0, slow: int = 0) -> Look:
    name = "synap_command_duration_seconds_bucket"
    labels = 'component="kv",operation="set"'
    page = f"""# TYPE synap_operations counter
synap_operations_total{{{labels}}} {sets}
synap_operations_total{{component="kv",operation="get"}} 5
synap_operations_total{{component="queue",operation="ack"}} 7
# TYPE synap_operations_failed counter
synap_operations_failed_total{{{labels}}} {failed}
# TYPE synap_operations_rejected counter
synap_operations_rejected_total{{{labels}}} {failed}
# TYPE synap_command_duration_seconds histogram
{name}{{{labels},le="0.001"}} {fast}
{name}{{{labels},le="0.5"}} {fast + slow}
{name}{{{labels},le="+Inf"}} {fast + slow}
# TYPE synap_uptime_seconds gauge
synap_uptime_seconds {uptime}
"""
    return Look(at, read_samples(page.encode()))


def test_counters_become_rates_of_the_namespaces_that_did_something() -> None:
    change = Difference(look(10, uptime=1, sets=100, failed=1), look(12, uptime=3, sets=300, failed=2))
    (kv,) = change.namespaces()
    assert (kv.name, kv.per_sec, kv.failed_per_sec) == ("kv", 100, 1)
    assert change.per_sec("synap_operations_total", operation="get") == 0


@pytest.mark.parametrize(("fast", "slow", "p99"), [(99, 1, 0.001), (98, 2, 0.5), (0, 5, 0.5)])
def test_p99_is_of_what_ran_in_between(fast: int, slow: int, p99: float) -> None:
    before = look(0, uptime=1, fast=10, slow=10_000)
    change = Difference(before, look(1, uptime=2, sets=1, fast=10 + fast, slow=10_000 + slow))
    (kv,) = change.namespaces()
    assert kv.p99_secs == p99
    assert not math.isinf(kv.p99_secs)


def test_after_a_restart_nothing_is_known_to_have_happened() -> None:
    change = Difference(look(10, uptime=100, sets=5_000), look(11, uptime=1, sets=10))
    assert not list(change.namespaces())
    assert change.per_sec("synap_operations_total") == 0


def test_the_first_look_tells_no_rates() -> None:
    change = Difference(None, look(10, uptime=100, sets=5_000, fast=4))
    assert not list(change.namespaces())
    assert change.mean("synap_operations_total", "synap_operations_total") == 0
