"""What goes over a connection, without the connection: requests as text, replies matched to what was asked.

Calls that are made together travel together: what may share a frame goes out as one batch, in the order of the calls.
Each keeps its own idempotency key, acknowledgement, result and error. What waits, subscribes or tells a secret travels
alone. Nothing here does I/O or knows the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from synap_sdk._command import Command, ErrorBody, decode_raw_entries
from synap_sdk._failure import SynapError
from synap_sdk._promise import Promise

PIPELINE_COMMANDS_MAX = 200
"""In one frame of calls that happened to be made together: more would keep other clients waiting."""
PIPELINE_BYTES_MAX = 1024 * 1024

encode = msgspec.json.Encoder().encode
_NO_DETAILS: dict[str, Any] = {}


class Call:
    """A command on its way. `body` is its envelope without request id and closing brace."""

    __slots__ = ("attempts", "body", "command", "deadline", "future", "has_key", "hops", "link")

    def __init__(self, command: Command[Any], body: bytes, has_key: bool, deadline: float | None, future: Any) -> None:
        self.command = command
        self.body = body
        self.has_key = has_key
        self.deadline = deadline
        """On the clock of whoever waits; None: no limit."""
        self.future = future
        self.attempts = 0
        self.hops = 0
        self.link: Any = None

    @property
    def may_repeat(self) -> bool:
        """Whether sending it twice does no more than sending it once."""
        return self.has_key or self.command.is_read

    @property
    def is_batchable(self) -> bool:
        """Whether it may share a frame with others."""
        return self.command.is_batchable

    def frame(self, request_id: bytes) -> bytes:
        """The request, where it travels alone."""
        return b'%b,"request_id":"%b"}' % (self.body, request_id)

    def read(self, reply: Reply) -> Any:
        """The outcome that a reply tells: a result, or an exception to raise."""
        if reply.error is not UNSET:
            return reply.error.exception()
        try:
            return self.command.decode(reply.payload)
        except msgspec.MsgspecError as error:
            return unreadable(error)


class BatchCall(Call):
    """A batch that the caller put together; its outcome is a list of outcomes."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[Part], atomic: bool, key: str | None, ack: str | None) -> None:
        opening = b'{"type":"batch","atomic":%b%b,"commands":[' % (b"true" if atomic else b"false", extras(key, ack))
        body = opening + b",".join([part.body for part in parts]) + b"]"
        super().__init__(BATCH, body, key is not None, None, None)
        self.parts = parts

    @property
    def may_repeat(self) -> bool:
        """A batch of reads, or one under a key."""
        return self.has_key or all(part.command.is_read for part in self.parts)

    def read(self, reply: Reply) -> Any:
        """The outcomes, or the exception that befell the whole batch."""
        if reply.error is not UNSET:
            return reply.error.exception()
        try:
            return outcomes([part.command for part in self.parts], reply.results)
        except (msgspec.MsgspecError, ValueError) as error:
            return unreadable(error)


class Part:
    """A command inside a batch."""

    __slots__ = ("body", "command", "promise")

    def __init__(self, command: Command[Any], payload: Any) -> None:
        self.command = command
        self.body = b"%b%b}" % (command.opening, encode(payload))
        self.promise: Promise[Any] = Promise()


class Reply(msgspec.Struct, gc=False):
    """Any frame the server sends; what is pushed has neither payload nor error."""

    type: str = ""
    request_id: str = ""
    payload: Raw = Raw(b"")
    error: ErrorBody | UnsetType = UNSET
    results: Raw = Raw(b"")


read_reply = msgspec.json.Decoder(Reply).decode
BATCH: Command[Any] = Command("batch", list, writes=True, alone=True)


def body_of(command: Command[Any], payload: Any, key: str | None, ack: str | None) -> bytes:
    """The envelope of a command, without request id and closing brace. Raises for what cannot be JSON."""
    if key is None and ack is None:
        return command.opening + encode(payload)
    return b"%b%b%b" % (command.opening, encode(payload), extras(key, ack))


def extras(key: str | None, ack: str | None) -> bytes:
    """Idempotency key and acknowledgement, as they stand in an envelope."""
    text = b""
    if key is not None:
        text += b',"idempotency_key":%b' % encode(key)
    if ack is not None:
        text += b',"ack":%b' % encode(ack)
    return text


def outcomes(commands: Sequence[Command[Any]], results: Raw) -> list[Any]:
    """The outcome of each command of a batch. Raises ValueError unless there is one for each."""
    first = commands[0] if commands else None
    if first is not None and all(command is first for command in commands):
        found = [entry.outcome() for entry in first.decode_entries(results)]
    else:
        entries = decode_raw_entries(results)
        found = [command.decode_entry(raw).outcome() for command, raw in zip(commands, entries, strict=True)]
    if len(found) != len(commands):
        raise ValueError(f"expected {len(commands)} results, got {len(found)}")
    return found


def unreadable(error: Exception) -> SynapError:
    """What to raise for a reply that is not as it should be."""
    return SynapError(f"the server's reply cannot be read: {error}")


def groups(calls: Iterable[Call]) -> Iterator[list[Call]]:
    """Calls in their order, those that may share a frame together."""
    together: list[Call] = []
    size = 0
    for call in calls:
        is_full = len(together) >= PIPELINE_COMMANDS_MAX or size > PIPELINE_BYTES_MAX
        if together and (is_full or not call.is_batchable):
            yield together
            together, size = [], 0
        if call.is_batchable:
            together.append(call)
            size += len(call.body)
        else:
            yield [call]
    if together:
        yield together


class Exchange:
    """What is on its way on one connection."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._asked: dict[str, Call | list[Call]] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def frame(self, calls: list[Call]) -> bytes:
        """The request for calls that travel together, or for one alone."""
        request_id = str(next(self._numbers))
        if len(calls) == 1:
            self._asked[request_id] = calls[0]
            return calls[0].frame(request_id.encode())
        self._asked[request_id] = calls
        entries = b"},".join([call.body for call in calls])
        return b'{"type":"batch","request_id":"%b","commands":[%b}]}' % (request_id.encode(), entries)

    def receive(self, frame: bytes) -> tuple[Sequence[tuple[Call, Any]], Reply | None]:
        """The calls that a frame answers with their outcomes, or the frame itself if it answers none.

        Raises msgspec.MsgspecError for what is no frame of this protocol.
        """
        reply = read_reply(frame)
        asked = self._asked.pop(reply.request_id, None)
        if asked is None:
            return (), reply
        if not isinstance(asked, list):
            return ((asked, asked.read(reply)),), None
        if reply.error is not UNSET:
            error = reply.error
            return [(call, error.exception()) for call in asked], None
        try:
            found = outcomes([call.command for call in asked], reply.results)
        except (msgspec.MsgspecError, ValueError) as failure:
            return [(call, unreadable(failure)) for call in asked], None
        return list(zip(asked, found, strict=True)), None

    def in_flight(self) -> list[Call]:
        """The calls that have been sent and not been answered."""
        return [call for asked in self._asked.values() for call in (asked if isinstance(asked, list) else [asked])]

    def lost(self) -> list[Call]:
        """The connection is gone: the calls that will not be answered on it any more."""
        calls = self.in_flight()
        self._asked.clear()
        return calls
