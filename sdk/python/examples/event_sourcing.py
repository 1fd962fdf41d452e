"""Event sourcing: an account is the sum of what happened to it; replaying the events gives its state at any time."""

from __future__ import annotations

import os
from uuid import uuid4

from synap_sdk import Synap
from synap_sdk.results import StreamEvent

URL = os.environ.get("SYNAP_URL", "http://127.0.0.1:15500")
ROOM = f"account-{uuid4().hex[:8]}"


def apply(balance: int, event: StreamEvent) -> int:
    """The balance after an event."""
    sign = {"deposited": 1, "withdrawn": -1}[event.event_type]
    return balance + sign * int(event.data["amount"])


def replay(synap: Synap, up_to: int | None = None) -> int:
    """The balance, or what it was behind the event at offset `up_to`."""
    balance, offset = 0, 0
    while True:
        page = synap.stream.history(ROOM, from_offset=offset, limit=2)
        for event in page.events:
            balance = apply(balance, event)
            if event.offset == up_to:
                return balance
        if not page.events or page.next_offset is None:
            return balance
        offset = page.next_offset


with Synap(URL) as synap:
    for number, (kind, amount) in enumerate([("deposited", 100), ("withdrawn", 30), ("deposited", 5)]):
        # The key makes the write safe to repeat: whatever happens on the way, it is in the stream once.
        synap.stream.publish(ROOM, kind, {"amount": amount}, idempotency_key=f"{ROOM}-{number}")
    print("now:", replay(synap), "after two events:", replay(synap, up_to=1))
    assert (replay(synap), replay(synap, up_to=1)) == (75, 70)
