"""Which keys to give up when memory is short: the policies Redis users know, exact instead of sampled."""

from __future__ import annotations

from collections.abc import Iterator

from synap.clock import Millis
from synap.engines.keyspace import Keyspace


def prepare(keyspace: Keyspace, policy: str) -> None:
    """Let `keyspace` keep what `policy` will ask for. Call before serving; again, it forgets what was kept so far."""
    if policy in ("allkeys-lru", "volatile-lru"):
        keyspace.track_recency(volatile_only=policy == "volatile-lru")


def victims(keyspace: Keyspace, policy: str, excess_bytes: int, now: Millis, limit: int | None = None) -> list[str]:
    """Keys whose removal frees at least `excess_bytes`, or all the policy may remove, at most `limit`.

    O(k log n) for k victims.
    """
    chosen: list[str] = []
    for key in _candidates(keyspace, policy):
        if excess_bytes <= 0 or len(chosen) == limit:
            break
        value = keyspace.peek(key, now)
        if value is not None:
            chosen.append(key)
            excess_bytes -= keyspace.entry_bytes(key, value)
    return chosen


def _candidates(keyspace: Keyspace, policy: str) -> Iterator[str]:
    if policy in ("allkeys-lru", "volatile-lru"):
        return keyspace.least_recent()
    if policy == "volatile-ttl":
        return keyspace.soonest_to_expire()
    return iter(())
