"""Cache-aside: look into the cache, else ask the slow source and keep its answer for a while."""

from __future__ import annotations

import os
import time
from typing import Any
from uuid import uuid4

from synap_sdk import Synap

URL = os.environ.get("SYNAP_URL", "http://127.0.0.1:15500")
PREFIX = f"cache-{uuid4().hex[:8]}"
TTL_SECS = 1.0
asked: list[str] = []


def from_database(user: str) -> dict[str, Any]:
    """The slow source."""
    asked.append(user)
    return {"name": user.title(), "read_at": time.time()}


def user_of(synap: Synap, user: str) -> Any:
    """A user, at most a second old."""
    key = f"{PREFIX}:{user}"
    cached = synap.kv.get(key)
    if cached.found:
        return cached.value
    fresh = from_database(user)
    synap.kv.set(key, fresh, ttl=TTL_SECS)
    return fresh


with Synap(URL) as synap:
    assert user_of(synap, "ann") == user_of(synap, "ann"), "the second one comes from the cache"
    assert asked == ["ann"]
    time.sleep(TTL_SECS + 0.1)
    print(user_of(synap, "ann"))
    assert asked == ["ann", "ann"], "it had expired"
