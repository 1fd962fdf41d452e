"""Synap's side of the comparison: a dispatcher in this process, with a clock that is moved by operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

from synap.clock import Millis
from tests.support import START, Harness

PAGES_MAX = 10_000


class _Error(msgspec.Struct):
    code: str
    message: str


class _Reply(msgspec.Struct):
    """A reply, or an entry of a batch."""

    status: str
    payload: Raw = Raw(b"{}")
    error: _Error | None = None


class _BatchReply(msgspec.Struct):
    results: list[_Reply]


_decode_reply = msgspec.json.Decoder(_Reply).decode
_decode_batch = msgspec.json.Decoder(_BatchReply).decode


@dataclass(frozen=True, slots=True)
class Answer:
    """What Synap answered, and when: milliseconds since its clock was started."""

    payload: bytes
    at_ms: Millis
    failure: str | None = None
    message: str = ""

    @property
    def data(self) -> Any:
        """The payload, decoded."""
        return msgspec.json.decode(self.payload)


class SynapSide:
    """Takes commands one by one, in a batch, or page by page."""

    def __init__(self) -> None:
        self._harness = Harness()

    def ask(self, command: str, payload: dict[str, Any]) -> Answer:
        """Run a command."""
        return self._answer(_decode_reply(self._send({"command": command, "payload": payload})))

    def ask_in_batch(self, command: str, payload: dict[str, Any]) -> Answer:
        """Run a command as the only one of a batch, where nothing waits."""
        body = self._send({"type": "batch", "commands": [{"command": command, "payload": payload}]})
        return self._answer(_decode_batch(body).results[0])

    def ask_all_pages(self, command: str, payload: dict[str, Any]) -> Answer:
        """Run a scan to its end. The payload of the answer has what all pages list, under the name of the list."""
        gathered: dict[str, Any] = {}
        asked = payload
        for _ in range(PAGES_MAX):
            answer = self.ask(command, asked)
            if answer.failure:
                return answer
            page = msgspec.json.decode(answer.payload, type=dict[str, Raw])
            cursor, has_more = (msgspec.json.decode(page.pop(name)) for name in ("cursor", "has_more"))
            if has_more != (cursor is not None):
                return Answer(b"{}", answer.at_ms, "INCONSISTENT", f"has_more is {has_more} with cursor {cursor}")
            if not all(_gather(gathered, name, items) for name, items in page.items()):
                return Answer(b"{}", answer.at_ms, "REPEATED", "a page repeats a name of one before")
            if cursor is None:
                return Answer(msgspec.json.encode(gathered), answer.at_ms)
            asked = payload | {"cursor": cursor}
        return Answer(b"{}", answer.at_ms, "ENDLESS", f"still not over after {PAGES_MAX} pages")

    def let_pass(self, _: str, payload: dict[str, Any]) -> Answer:
        """Move the clock on."""
        self._harness.clock.advance(payload["secs"])
        return self._answer(_Reply("success"))

    def type_at(self, key: str) -> str | None:
        """What a key holds at present."""
        return self._harness.state.keyspace.type_at(key, self._harness.clock.wall)

    def _send(self, request: dict[str, Any]) -> bytes:
        return self._harness.dispatcher.answer(msgspec.json.encode(request)).body

    def _answer(self, reply: _Reply) -> Answer:
        at_ms = self._harness.clock.wall - START
        if reply.error is not None:
            return Answer(b"{}", at_ms, reply.error.code, reply.error.message)
        return Answer(bytes(reply.payload), at_ms)


def _gather(gathered: dict[str, Any], name: str, items: Raw) -> bool:
    """Add what a page has; False when it has what another had already."""
    if not bytes(items).startswith(b"{"):
        gathered.setdefault(name, []).extend(msgspec.json.decode(items, type=list[Raw]))
        return True
    page, before = msgspec.json.decode(items, type=dict[str, Raw]), gathered.setdefault(name, {})
    is_new = page.keys().isdisjoint(before)
    before.update(page)
    return is_new
