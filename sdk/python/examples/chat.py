"""A chat room: everybody in it gets every message, and who comes late reads what was said before."""

from __future__ import annotations

import asyncio
import os
from uuid import uuid4

from synap_sdk import AsyncSynap

URL = os.environ.get("SYNAP_URL", "http://127.0.0.1:15500")
ROOM = f"chat-{uuid4().hex[:8]}"


async def listen(synap: AsyncSynap, name: str, count: int) -> list[str]:
    """Read the room from its beginning."""
    heard = []
    async for event in synap.stream.subscribe(ROOM, replay=True, create=True):
        heard.append(f"{event.data['from']}: {event.data['text']}")
        print(f"[{name}] {heard[-1]}")
        if len(heard) == count:
            break
    return heard


async def main() -> None:
    async with AsyncSynap(URL) as synap:
        listening = asyncio.create_task(listen(synap, "ann", 3))
        for name, text in (("ann", "hello"), ("bob", "hi ann"), ("ann", "how are you?")):
            await synap.stream.publish(ROOM, "said", {"from": name, "text": text})
        assert await listening == await listen(synap, "late", 3)


asyncio.run(main())
