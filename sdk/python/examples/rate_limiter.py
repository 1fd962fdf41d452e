"""A rate limiter: at most so many requests of a user in a window of time, counted by any number of programs."""

from __future__ import annotations

import asyncio
import os
import time
from uuid import uuid4

from synap_sdk import AsyncSynap

URL = os.environ.get("SYNAP_URL", "http://127.0.0.1:15500")
PREFIX = f"limit-{uuid4().hex[:8]}"
WINDOW_SECS = 60
REQUESTS_MAX = 5


async def is_allowed(synap: AsyncSynap, user: str) -> bool:
    """Count a request, and say whether it may pass."""
    key = f"{PREFIX}:{user}:{int(time.time()) // WINDOW_SECS}"
    async with synap.batch() as batch:
        counted = batch.kv.incr(key)
        batch.kv.expire(key, 2 * WINDOW_SECS)
    return counted.result().value <= REQUESTS_MAX


async def main() -> None:
    async with AsyncSynap(URL) as synap:
        if time.time() % WINDOW_SECS > WINDOW_SECS - 5:
            await asyncio.sleep(6)  # the next window: this one is nearly over
        allowed = await asyncio.gather(*[is_allowed(synap, "ann") for _ in range(8)])
        print("ann:", allowed)
        assert sum(allowed) == REQUESTS_MAX
        assert await is_allowed(synap, "bob"), "everybody has a limit of their own"


asyncio.run(main())
