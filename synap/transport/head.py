"""Request heads the command lane may serve; httptools does the parsing and refuses what is malformed."""

from __future__ import annotations

from collections.abc import Callable

import httptools

from synap.commands.caller import Caller, Identity
from synap.commands.dispatcher import Dispatcher
from synap.commands.reply import Reply
from synap.commands.trace import parse
from synap.transport.guard import STRANGER_BODY_BYTES_MAX, Guard, Unverified, is_stranger

COMMAND_PATH = b"/api/v1/command"
JSON_TYPE = "application/json; charset=utf-8"
PACKED_TYPE = "application/msgpack"

HEAD_END = b"\r\n\r\n"
_REQUEST_LINE = b"POST " + COMMAND_PATH + b" HTTP/1.1\r\n"
_SINGLE_HEADERS = (
    b"host",
    b"content-length",
    b"content-type",
    b"idempotency-key",
    b"x-synap-ack",
    b"x-api-key",
    b"authorization",
    b"traceparent",
)
_UNUSUAL_HEADERS = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"content-encoding", b"trailer", b"origin"))
_LENGTH_DIGITS_MAX = 12
# Longer heads are for aiohttp to take or to refuse, so that its limits hold on every connection.
_HEADERS_MAX = 64
_VALUE_BYTES_MAX = 4 * 1024
REMEMBERED_BYTES_MAX = 2 * 1024


class Head:
    """What is needed of a request's head."""

    __slots__ = (
        "ack",
        "answer",
        "body_bytes",
        "comes_again",
        "idempotency_key",
        "identity",
        "raw",
        "raw_bytes",
        "trace",
    )

    def __init__(
        self,
        raw: bytes,
        body_bytes: int,
        answer: Callable[[bytes, str | None, str | None, Caller], Reply],
        headers: dict[bytes, bytes],
        identity: Identity | None,
    ) -> None:
        self.raw = raw
        self.raw_bytes = len(raw)
        self.body_bytes = body_bytes
        self.answer = answer
        """What answers a body under this head."""
        self.idempotency_key = _text(headers, b"idempotency-key")
        self.ack = _text(headers, b"x-synap-ack")
        self.identity = identity
        """Whom its credential stands for."""
        self.trace = parse(_text(headers, b"traceparent"))
        # With a password, another user may stand behind it tomorrow.
        has_password = (_text(headers, b"authorization") or "").lower().startswith("basic")
        is_usual = len(raw) <= REMEMBERED_BYTES_MAX and self.trace is None and not has_password
        self.comes_again = is_usual and (identity is None or identity.is_good)
        """Whether it is worth remembering: not if it is long, tells a trace, or a credential that is none."""


def may_become_head(data: bytes, at: int) -> bool:
    """Whether an incomplete head at `at` can still become one that the lane may serve."""
    return data.startswith(_REQUEST_LINE, at) or _REQUEST_LINE.startswith(data[at : at + len(_REQUEST_LINE)])


def parse_head(raw: bytes, dispatcher: Dispatcher, guard: Guard, max_body_bytes: int) -> Head | None:
    """A request head, empty line included; None unless it is one the lane may serve."""
    if not raw.startswith(_REQUEST_LINE) or not raw.isascii():
        return None
    collected = _Collected()
    try:
        httptools.HttpRequestParser(collected).feed_data(raw)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return None
    headers = dict(collected.headers)
    names = [name for name, _ in collected.headers]
    length = headers.get(b"content-length", b"")
    unusual = (
        len(names) > _HEADERS_MAX
        or max(map(len, headers.values()), default=0) > _VALUE_BYTES_MAX
        or collected.url != COMMAND_PATH
        or b"host" not in headers
        or not _UNUSUAL_HEADERS.isdisjoint(headers)
        or any(names.count(name) > 1 for name in _SINGLE_HEADERS)
        or headers.get(b"connection", b"keep-alive").lower() != b"keep-alive"
        or not (length.isdigit() and len(length) <= _LENGTH_DIGITS_MAX and int(length) <= max_body_bytes)
    )
    if unusual:
        return None
    try:
        identity = guard.identify(_text(headers, b"x-api-key"), _text(headers, b"authorization"))
    except Unverified:
        return None
    if int(length) > STRANGER_BODY_BYTES_MAX and is_stranger(identity):
        return None
    content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode()
    answer = dispatcher.answer_packed if content_type == PACKED_TYPE else dispatcher.answer
    return Head(raw, int(length), answer, headers, identity)


def _text(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode()


class _Collected:
    """Takes httptools' callbacks for one head."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))
