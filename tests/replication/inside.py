"""Masters and replicas in this process, whose objects can be looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.transport.sockets import Address, Inside, wired, within
from tests.transport.wire import Answer, Headers, request

PATIENCE_SECS = 10.0


def url(server: Address) -> str:
    """Where others reach a server."""
    return f"http://127.0.0.1:{server.port}"


def replica_of(master: Address, data: Path, *, replication: dict[str, Any] | None = None, **settings: Any) -> Inside:
    """A server that follows another."""
    return Inside(data, replication={"master": url(master), **(replication or {})}, **settings)


def caught_up(replica: Inside, master: Inside) -> None:
    """Wait until a replica has all that its master has, and its master knows it."""

    def look() -> tuple[str, str, int, list[int]]:
        replicas = [other.acked_lsn for other in master.server._replication.node.replicas if url(replica) == other.url]
        return replica.server.phase, link_state(replica), replica.server._journal.written_lsn, replicas

    lsn = master.server._journal.written_lsn
    within(PATIENCE_SECS, look, ("serving", "streaming", lsn, [lsn]))


def link_state(replica: Inside) -> str:
    """connecting, streaming, copying, waiting or failed."""
    return replica.server._replication.link.state


def digest(server: Inside) -> tuple[str, int]:
    """Of the state as its last record has left it, and that record's LSN."""

    def look() -> tuple[str, int]:
        state = server.server._state
        return state.digest(state.time), state.lsn

    return server.run(look)


def role(server: Inside) -> str:
    """master or replica."""
    return server.server._replication.node.role


def get(server: Address, path: str, headers: Headers = ()) -> Answer:
    """The answer to a GET."""
    with wired(server) as wire:
        return wire.ask(request("GET", path, headers=headers))
