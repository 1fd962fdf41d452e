"""`system.*`: what only the server itself runs."""

from __future__ import annotations

import pytest

from synap.commands.state import Defaults
from synap.engines.queue_config import QueueConfig, RetryPolicy
from synap.engines.streams import Retention
from tests.commands.common import recorded, refused, restarted
from tests.commands.queueing import check_recovery
from tests.support import START, Harness

OTHERS = [
    Defaults(creates_queues=False),
    Defaults(queue=QueueConfig(max_depth=2**63 - 1, retry=RetryPolicy(strategy="fixed", initial_secs=1e-9))),
    Defaults(retention=Retention(max_events=1, max_bytes=2**63 - 1, max_age_secs=9e9)),
]


@pytest.mark.parametrize("command", ["system.defaults", "system.clock", "system.transaction"])
def test_clients_cannot_name_what_only_the_server_runs(harness: Harness, command: str) -> None:
    assert refused(harness, command).code == "UNKNOWN_COMMAND"
    assert command not in harness.dispatcher.bound


@pytest.mark.parametrize("defaults", OTHERS)
def test_defaults_are_part_of_the_state(harness: Harness, defaults: Defaults) -> None:
    before = harness.digest()
    harness.dispatcher.perform("system.defaults", defaults)
    assert (harness.state.defaults, recorded(harness)) == (defaults, ["system.defaults"])
    assert harness.digest() != before
    assert harness.replayed().state.defaults == harness.restored().state.defaults == defaults
    check_recovery(harness)


def test_the_same_defaults_again_leave_no_record(harness: Harness) -> None:
    harness.dispatcher.perform("system.defaults", Defaults())
    assert recorded(harness) == []
    for defaults in (*OTHERS, *OTHERS[-1:]):
        harness.dispatcher.perform("system.defaults", defaults)
    assert len(harness.log.records) == len(OTHERS)
    harness.dispatcher.perform("system.defaults", Defaults())
    assert restarted(harness, START).state.defaults == Defaults()
    check_recovery(harness)


def test_a_journal_that_takes_nothing_leaves_the_defaults_alone(harness: Harness) -> None:
    harness.log.failure = OSError(28, "No space left on device")
    harness.dispatcher.perform("system.defaults", OTHERS[0])
    assert harness.state.defaults == Defaults()
