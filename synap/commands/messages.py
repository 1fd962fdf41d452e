"""What the commands on queues have in common: the messages they take and give, and looking queues up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec

from synap.clock import Millis
from synap.commands.state import State
from synap.commands.types import UNSET, Json, Key, Payload, Result, Unset
from synap.engines.queue_message import NO_HEADERS, Message
from synap.engines.queues import Queue
from synap.errors import MessageNotFound, QueueNotFound

QueueName = Key
MessageId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Headers = dict[str, Json]

NULL = Json(b"null")
D = TypeVar("D")
_encode = msgspec.json.Encoder().encode


class QueueOnly(Payload):
    """A command on one queue."""

    queue: QueueName


class Body(Payload):
    """A command that brings a message: any JSON, or bytes as base64."""

    message: Json | Unset = UNSET
    message_base64: bytes | Unset = UNSET

    def __post_init__(self) -> None:
        if (self.message is UNSET) == (self.message_base64 is UNSET):
            raise ValueError("expected either message or message_base64")

    def content(self) -> tuple[bytes, bool]:
        """The bytes to keep, and whether they are JSON."""
        if self.message_base64 is not UNSET:
            return self.message_base64, False
        return bytes(self.message), True  # type: ignore[arg-type]


class Delivery(Result):
    """A message. `retry_count` counts failed deliveries; `delivery` numbers this one, 0 before the first; `deadline` is
    when its lease is over, null unless it is leased.

    A message of bytes is null, and stands in `message_base64`.
    """

    message_id: str
    message: Json
    priority: int
    retry_count: int
    headers: Json
    seq: int
    published_at: int
    delivery: int
    deadline: int | None
    message_base64: bytes | Unset = UNSET


def described(queue: Queue, message: Message, form: Callable[..., D] = Delivery) -> D:  # type: ignore[assignment]
    """A message as clients see it, in a form that begins with the fields of a `Delivery`."""
    return form(
        queue.message_id(message),
        Json(message.body) if message.is_json else NULL,
        message.priority,
        message.retry_count,
        Json(message.headers),
        message.seq,
        message.published_at,
        message.deliveries,
        message.due if message.state == "leased" else None,
        UNSET if message.is_json else message.body,
    )


def encoded_headers(headers: Headers) -> bytes:
    """Headers as they are kept."""
    return _encode(headers) if headers else NO_HEADERS


def existing_queue(state: State, name: str, now: Millis) -> Queue:
    """The queue called `name`. Raises QueueNotFound."""
    queue = state.queues.find(name, now)
    if queue is None:
        raise queue_not_found(name)
    return queue


def queue_not_found(name: str) -> QueueNotFound:
    """The error for a queue that is not there."""
    return QueueNotFound(f"there is no queue {name[:100]!r}", queue=name)


def message_not_found(queue: Queue, message_id: str) -> MessageNotFound:
    """The error for a message that is unknown or no longer leased."""
    return MessageNotFound(
        f"queue {queue.name[:100]!r} has no message {message_id[:100]!r} in flight: it is unknown, done with, or its"
        " lease is over",
        queue=queue.name,
        message_id=message_id,
    )
