"""What the kit knows about a command, and how its replies are read."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from synap_sdk._failure import SynapError

R = TypeVar("R")


class ErrorBody(msgspec.Struct, gc=False):
    """The `error` of a reply."""

    code: str
    message: str
    details: dict[str, Any] = {}

    def exception(self) -> SynapError:
        """The error to raise."""
        from synap_sdk.errors import BY_CODE

        known = BY_CODE.get(self.code)
        if known is None:
            return SynapError(self.message, self.details, code=self.code)
        return known(self.message, self.details)


class Entry(msgspec.Struct, Generic[R], gc=False):
    """The outcome of one command of a batch."""

    payload: R | UnsetType = UNSET
    error: ErrorBody | UnsetType = UNSET

    def outcome(self) -> R | SynapError:
        """The result, or the error to raise."""
        if self.payload is not UNSET:
            return self.payload
        if self.error is not UNSET:
            return self.error.exception()
        return SynapError("the server answered neither a result nor an error")


class Command(Generic[R]):
    """One command. `result` is the type its replies are read as; without flags, it is a read."""

    def __init__(
        self,
        name: str,
        result: type[R],
        *,
        writes: bool = False,
        effect: bool = False,
        waits: bool = False,
        attaches: bool = False,
        secret: bool = False,
        alone: bool = False,
        polls: bool = False,
    ) -> None:
        self.name = name
        self.result = result
        self.writes = writes
        self.waits = waits
        self.is_read = not (writes or effect or attaches or alone)
        """It may be repeated, and a replica may answer it."""
        self.takes_key = writes and not secret
        """An idempotency key makes it safe to repeat."""
        self.is_batchable = not (waits or attaches or secret or alone)
        self.polling: Command[R] | None = None
        """The same with a `timeout` of 0, where that means not to wait at all."""
        if polls:
            self.polling = Command(name, result, writes=writes, effect=effect, secret=secret)
        self.opening = b'{"command":%b,"payload":' % msgspec.json.encode(name)

    @cached_property
    def plain(self) -> Command[Any]:
        """The same with plain data as its result."""
        plain: Command[Any] = copy.copy(self)
        for decoder in ("decode", "decode_entry", "decode_entries"):
            plain.__dict__.pop(decoder, None)
        plain.result = Any
        plain.polling = self.polling and self.polling.plain
        return plain

    @cached_property
    def decode(self) -> Any:
        """Reads the payload of a reply."""
        return msgspec.json.Decoder(self.result).decode

    @cached_property
    def decode_entry(self) -> Any:
        """Reads its entry in the reply to a batch."""
        return msgspec.json.Decoder(_entry_of(self.result)).decode

    @cached_property
    def decode_entries(self) -> Any:
        """Reads the entries of a batch in which it is the only command."""
        return msgspec.json.Decoder(_list_of(_entry_of(self.result))).decode


def _entry_of(result: Any) -> Any:
    entry: Any = Entry
    return entry[result]


def _list_of(item: Any) -> Any:
    array: Any = list
    return array[item]


class UnknownToKit(Command[Any]):
    """A command that came after this kit: nothing is supposed about it."""

    def __init__(self, name: str) -> None:
        super().__init__(name, Any, writes=True, alone=True)


decode_raw_entries = msgspec.json.Decoder(list[Raw]).decode
