"""`replication.*`: who is the master, who follows, and how far. The state's host knows and does it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from synap.clock import Millis
from synap.commands.host import Changed, Replicating, ReplicationStatus, Resync
from synap.commands.state import State
from synap.commands.table import NoPayload, command
from synap.commands.types import Payload
from synap.errors import Unavailable

Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2_048)]


@command(
    "replication.status",
    admin=True,
    at_any_time=True,
    routes=("GET /health/replication",),
    cost="O(replicas)",
    since="0.5",
)
def status(state: State, payload: NoPayload, now: Millis) -> ReplicationStatus:
    """Tell this server's role, and how far its replicas or it itself are behind."""
    return _replicating(state).status()


class Promote(Payload):
    """Payload of replication.promote."""

    force: bool = False


@command("replication.promote", admin=True, has_effect=True, is_alone=True, cost="O(1)", since="0.5")
def promote(state: State, payload: Promote, now: Millis) -> Changed:
    """Make this replica the master: MASTER_ALIVE while its own one answers, which steps down if `force` is set."""
    return _replicating(state).promote(force=payload.force)


@command("replication.resync", admin=True, has_effect=True, is_alone=True, cost="O(n), beside all else", since="0.5")
def resync(state: State, payload: NoPayload, now: Millis) -> Resync:
    """Have this replica copy everything anew from the server it follows. False on a master."""
    return _replicating(state).resync()


class Follow(Payload):
    """Payload of replication.follow; `master` is the URL of another server: http://HOST:PORT."""

    master: Url


@command("replication.follow", admin=True, has_effect=True, is_alone=True, cost="O(1)", since="0.5")
def follow(state: State, payload: Follow, now: Millis) -> Changed:
    """Make this server a replica of another. What only this one has is put aside before it takes the other's data."""
    return _replicating(state).follow(payload.master)


def _replicating(state: State) -> Replicating:
    if state.replicating is None:
        raise Unavailable("there is no server around this state, only a running one replicates")
    return state.replicating
