"""One state, whichever way it came about: live, replayed from the journal, or loaded from a snapshot."""

from __future__ import annotations

from tests.support import Harness


def test_replay_and_snapshot_give_the_digest_of_the_live_state(harness: Harness) -> None:
    harness.call("kv.set", key="a", value=1, ttl=10)
    harness.call("kv.mset", pairs={"b": [1, 2], "c": "text"})
    harness.call("kv.incr", key="a", amount=4)
    harness.clock.advance(11)
    harness.call("kv.append", key="c", value=" more")
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()
    assert harness.restored().digest(harness.clock.now()) == harness.digest()
