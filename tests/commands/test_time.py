"""Time on the live path: what has expired stays gone, whatever the clock does, and a batch happens at one moment."""

from __future__ import annotations

import json

import pytest

from synap.commands import TABLE
from synap.commands.dispatcher import Dispatcher
from synap.commands.executor import Executor
from synap.commands.gates import Limits
from synap.commands.state import State
from synap.commands.table import Command
from tests.commands.common import batch, recorded, restarted
from tests.payloads.samples import key_places
from tests.support import START, FakeClock, Harness, MemoryLog


def test_a_sweep_frees_what_has_expired_and_records_how_late_it_was(harness: Harness) -> None:
    harness.call("kv.mset", pairs=[{"key": f"k{n}", "value": n, "ttl": 5} for n in range(10)])
    harness.dispatcher.sweep(100)
    assert recorded(harness) == ["kv.mset"]
    harness.clock.advance(5)
    harness.dispatcher.sweep(4)
    assert len(harness.state.keyspace) == 6
    assert restarted(harness, START).call("kv.dbsize") == {"size": 0}
    harness.dispatcher.sweep(100)
    assert len(harness.state.keyspace) == 0
    assert harness.log.records[-1].time == harness.clock.now()
    assert set(recorded(harness)[1:]) == {"system.clock"}
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()


def test_a_sweep_that_finds_nothing_records_nothing(harness: Harness) -> None:
    harness.call("kv.mset", pairs=[{"key": "a", "value": 1, "ttl": 5}, {"key": "b", "value": 1, "ttl": 60}])
    harness.clock.advance(6)
    harness.dispatcher.sweep(100)
    before = recorded(harness)
    for _ in range(5):
        harness.clock.advance(1)
        harness.dispatcher.sweep(100)
    assert recorded(harness) == before


def test_a_clock_set_back_revives_nothing(harness: Harness) -> None:
    harness.call("kv.set", key="a", value=1, ttl=5)
    harness.clock.advance(5)
    assert harness.call("kv.get", key="a")["found"] is False
    harness.clock.wall = START
    harness.call("kv.set", key="b", value=1, ttl=5)
    assert harness.call("kv.get", key="a")["found"] is False
    harness.clock.wall = START + 9_999
    assert harness.call("kv.get", key="b")["found"] is True
    times = [record.time for record in harness.log.records]
    assert times == sorted(times)


def test_a_restart_on_a_slower_clock_goes_on_from_the_newest_record(harness: Harness) -> None:
    harness.call("kv.set", key="a", value=1, ttl=10)
    harness.clock.advance(4)
    harness.call("kv.incr", key="n")
    again = restarted(harness, START - 3_600_000)
    assert again.call("kv.ttl", key="a") == {"found": True, "ttl": 6}


# They look at no keys; what they notice is tested below.
APART = {"queue", "stream", "pubsub", "auth", "replication"}


@pytest.mark.parametrize("form", ["single", "batch", "atomic"])
@pytest.mark.parametrize("command", [c for c in TABLE.public() if c.namespace not in APART], ids=lambda row: row.name)
def test_what_somebody_has_seen_expired_stays_so_after_a_restart_on_a_slower_clock(command: Command, form: str) -> None:
    """Whatever the command may be: it has looked at a key that was due, or could have."""
    for place in key_places(command) or ["{}"]:
        harness = Harness()
        harness.call("kv.set", key="a", value="x", ttl=5)
        harness.clock.advance(6)
        payload = json.loads(place.replace("%s", '"a"'))
        if form == "single":
            harness.send({"command": command.name, "payload": payload})
        else:
            batch(harness, (command.name, payload), atomic=form == "atomic")
        assert restarted(harness, START).digest() == harness.digest()


def test_a_lease_seen_to_have_run_out_stays_so_after_a_restart_on_a_slower_clock(harness: Harness) -> None:
    harness.call("queue.publish", queue="q", message=1)
    harness.call("queue.consume", queue="q", ack_deadline=5)
    harness.clock.advance(6)
    assert harness.call("queue.stats", queue="q")["depth"] == 1
    assert restarted(harness, START).call("queue.stats", queue="q")["depth"] == 1


def test_an_event_seen_to_be_too_old_stays_gone_after_a_restart_on_a_slower_clock(harness: Harness) -> None:
    harness.call("stream.create", room="r", retention={"max_age_secs": 5})
    harness.call("stream.publish", room="r", event_type="x", data=1)
    harness.clock.advance(6)
    assert harness.call("stream.history", room="r")["events"] == []
    assert restarted(harness, START).call("stream.history", room="r")["events"] == []


def test_a_rush_of_expiries_stays_gone_after_a_restart_on_a_slower_clock(harness: Harness) -> None:
    harness.call("kv.mset", pairs=[{"key": f"k{n}", "value": n, "ttl": 5} for n in range(1_000)])
    harness.clock.advance(6)
    assert harness.call("key.type", key="k999") == {"type": "none"}
    assert restarted(harness, START).call("kv.dbsize") == {"size": 0}


def test_everything_in_a_batch_happens_at_one_moment(harness: Harness) -> None:
    source = iter(range(START, START + 1_000_000, 1_000))
    clock = FakeClock()
    clock._source = lambda: next(source) * 1_000_000
    dispatcher = Dispatcher(Executor(TABLE, State()), MemoryLog(), clock, Limits())
    dispatcher.ready()
    entries = [{"command": "kv.set", "payload": {"key": "a", "value": 1, "ttl": 1}}]
    entries += [{"command": "kv.get", "payload": {"key": "a"}}] * 3
    reply = json.loads(dispatcher.answer(json.dumps({"type": "batch", "commands": entries}).encode()).body)
    assert [result["payload"].get("ttl") for result in reply["results"]] == [None, 1, 1, 1]
