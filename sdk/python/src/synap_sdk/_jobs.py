"""What handlers of a worker may raise, and when leases are extended."""

from __future__ import annotations

import logging

log = logging.getLogger("synap_sdk.worker")
LEASE_SECS = 30.0
"""How long a message is a worker's alone unless it extends the lease, which it does at half time."""
DRAIN_SECS = 30.0


class RetryLater(Exception):
    """Raised by a handler: the message is to come again, after `delay_secs` or as the queue's retry policy says."""

    def __init__(self, delay_secs: float | None = None) -> None:
        super().__init__(delay_secs)
        self.delay_secs = delay_secs


class Reject(Exception):
    """Raised by a handler: the message is not to come again; it becomes a dead letter where the queue has these."""
