"""What command tests share: a second type of value, errors as values, batches, and a restart on another clock."""

from __future__ import annotations

from typing import Any

import pytest

from synap.clock import Millis
from synap.errors import SynapError
from tests.engines.pile import Pile
from tests.support import Harness


def put_pile(harness: Harness, key: str, *items: int) -> None:
    """Give `key` a value that is not a string; needs the `piles` fixture's harness."""
    harness.state.keyspace.put(key, Pile(list(items)), harness.clock.now())


def refused(harness: Harness, command: str, /, **payload: Any) -> SynapError:
    """The error that the command answers with."""
    with pytest.raises(SynapError) as raised:
        harness.call(command, **payload)
    return raised.value


def batch(harness: Harness, *commands: tuple[str, dict[str, Any]] | dict[str, Any], **fields: Any) -> list[Any]:
    """The results of a batch of (command, payload) pairs or ready entries."""
    entries = [{"command": c[0], "payload": c[1]} if isinstance(c, tuple) else c for c in commands]
    results = harness.send({"type": "batch", "commands": entries, **fields})["results"]
    assert isinstance(results, list)
    return results


def recorded(harness: Harness) -> list[str]:
    """The commands in the journal."""
    return [record.command for record in harness.log.records]


def restarted(harness: Harness, wall: Millis) -> Harness:
    """Another server that has replayed the journal of `harness`, on a machine whose clock says `wall`."""
    again = Harness()
    again.clock.wall = wall
    for record in harness.log.records:
        again.executor.apply(record)
    again.dispatcher.ready()
    return again
