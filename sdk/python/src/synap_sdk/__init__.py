"""Synap from Python: `Synap` for threads, `AsyncSynap` for asyncio, with the same methods."""

from synap_sdk import errors, inputs, results
from synap_sdk._feeds import Message, Missed, MissedEvents, SubscriptionEnded
from synap_sdk._jobs import Reject, RetryLater
from synap_sdk._promise import Promise
from synap_sdk.aio import AsyncBatch, AsyncSynap
from synap_sdk.blocking import Batch, Synap
from synap_sdk.errors import SynapConnectionError, SynapError, SynapTimeout

__version__ = "0.5.0"

__all__ = [
    "AsyncBatch",
    "AsyncSynap",
    "Batch",
    "Message",
    "Missed",
    "MissedEvents",
    "Promise",
    "Reject",
    "RetryLater",
    "SubscriptionEnded",
    "Synap",
    "SynapConnectionError",
    "SynapError",
    "SynapTimeout",
    "errors",
    "inputs",
    "results",
]
