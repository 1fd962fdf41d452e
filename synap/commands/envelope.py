"""The JSON around a command: decoding requests, encoding replies, and errors that say where the mistake is.

    {"command": "kv.set", "payload": {...}}                       one command
    {"type": "batch", "commands": [{...}, {...}]}                  many, answered in order

Payloads and values stay the raw bytes of the request. msgspec checks the JSON grammar of everything it
passes over, but neither UTF-8 nor a nesting limit of our own: `check_utf8` and `check_nesting` add these.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Annotated, Any, Literal

import msgspec
import orjson

from synap.commands.table import payload_fields
from synap.errors import BY_CODE, InvalidPayload, InvalidRequest, SynapError

NESTING_LEVELS_MAX = 512
SHALLOW_BYTES = 2 * NESTING_LEVELS_MAX
"""JSON of at most this length cannot nest too deep."""
IDEMPOTENCY_KEY_CHARS_MAX = 255
HINTS_MAX = 10
"""Failures of one batch for which it is looked up what may have been meant."""
NAME_CHARS_MAX = 100
"""So much of an unknown name is told and compared."""
_HINTS_KEPT = 1_000

EMPTY_OBJECT = msgspec.Raw(b"{}")

IdempotencyKey = Annotated[str, msgspec.Meta(min_length=1, max_length=IDEMPOTENCY_KEY_CHARS_MAX)]


class Entry(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One command, alone or in a batch."""

    command: str
    payload: msgspec.Raw = EMPTY_OBJECT
    request_id: str | None = None
    type: Literal["request"] | None = None
    version: str | None = None
    idempotency_key: IdempotencyKey | None = None
    ack: str | None = None


class Batch(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="batch", gc=False):
    """Many commands that nobody else's command comes between."""

    commands: list[msgspec.Raw]
    request_id: str | None = None
    version: str | None = None
    atomic: bool = False
    idempotency_key: IdempotencyKey | None = None
    ack: str | None = None


class _Kind(msgspec.Struct, gc=False):
    type: msgspec.Raw = msgspec.Raw(b"null")
    request_id: msgspec.Raw = msgspec.Raw(b"null")


UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What decoders raise for a body that is not what it should be."""

decode_entry: Callable[[bytes], Entry] = msgspec.json.Decoder(Entry).decode
_decode_batch: Callable[[bytes], Batch] = msgspec.json.Decoder(Batch).decode
_decode_kind: Callable[[bytes], _Kind] = msgspec.json.Decoder(_Kind).decode

_VALIDATION = re.compile(r"(?P<what>.*?)(?: - at (?:`key` in )?`(?P<path>[^`]*)`)?", re.DOTALL)
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING_FIELD = re.compile(r"Object missing required field `(.*)`", re.DOTALL)

_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""How the depth changes at each bracket, as signed bytes."""
_NO_STRUCTURE = bytes(b for b in range(256) if b not in b'[]{}"')
_DEPTH_BLOCK = 256
_EXPLAINED_CHARS_MAX = 2_000


def check_utf8(body: bytes) -> None:
    """Raise InvalidRequest when the body is not UTF-8."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        wrong = body[error.start]
        raise InvalidRequest(f"the body is not UTF-8: byte {error.start} is 0x{wrong:02x}") from None


def decode_other(body: bytes, entry_error: Exception) -> Batch:
    """The batch in a body that `decode_entry` has refused with `entry_error`. Raises InvalidRequest."""
    try:
        return _decode_batch(body)
    except UNREADABLE as error:
        if isinstance(error, RecursionError):
            raise too_deep() from None
        if _is_batch(body):
            raise invalid_request(error, Batch) from None
    raise invalid_request(entry_error, Entry)


def decode_single(body: bytes, *, hints: bool) -> Entry:
    """One command of a batch. Raises InvalidRequest."""
    try:
        return decode_entry(body)
    except UNREADABLE as error:
        raise invalid_request(error, Entry, hints=hints) from None


def _is_batch(body: bytes) -> bool:
    try:
        return bytes(_decode_kind(body).type) == b'"batch"'
    except UNREADABLE:
        return False


def request_id_of(body: bytes) -> str | None:
    """The request id of a body that could not be decoded, when it can be made out all the same."""
    try:
        return msgspec.json.decode(_decode_kind(body).request_id, type=str)
    except UNREADABLE:
        return None


def check_idempotency_key(key: str) -> None:
    """Raise InvalidRequest for a key, as it came in a header, that none in an envelope could be."""
    if not 1 <= len(key) <= IDEMPOTENCY_KEY_CHARS_MAX:
        raise InvalidRequest(
            f"expected an idempotency key of 1 to {IDEMPOTENCY_KEY_CHARS_MAX} characters, got {len(key)}"
        )
    try:
        key.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("the idempotency key is not UTF-8") from None


def check_nesting(raw: bytes) -> None:
    """Raise InvalidRequest when `raw`, well-formed JSON, nests deeper than the limit."""
    if raw.count(b"[") + raw.count(b"{") <= NESTING_LEVELS_MAX:
        return
    steps = _steps(raw)
    depth = 0
    for start in range(0, len(steps), _DEPTH_BLOCK):
        block = steps[start : start + _DEPTH_BLOCK]
        opened = block.count(1)
        if depth + opened > NESTING_LEVELS_MAX:
            depths = accumulate(memoryview(block).cast("b"), initial=depth)
            if max(depths) > NESTING_LEVELS_MAX:
                raise too_deep()
        depth += 2 * opened - len(block)


def _steps(raw: bytes) -> bytes:
    """A step for each bracket of well-formed JSON outside its strings."""
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    # A pair of quotes with nothing in between can go: whatever comes behind is inside a string, or not, as before.
    rest = raw.translate(_STEPS, _NO_STRUCTURE).replace(b'""', b"")
    return b"".join(rest.split(b'"')[::2]) if b'"' in rest else rest


def invalid_request(error: Exception, form: Any, *, hints: bool = True) -> InvalidRequest:
    """What was wrong with an envelope; with `hints`, also what may have been meant."""
    if isinstance(error, RecursionError):
        return too_deep()
    if isinstance(error, UnicodeDecodeError):
        return InvalidRequest("the body is not UTF-8")
    if isinstance(error, msgspec.ValidationError):
        path, message, details = _explain(error, form, root="", hints=hints)
        return InvalidRequest(f"{path}: {message}" if path else message, **details)
    return InvalidRequest(f"the body is not a JSON envelope: {str(error)[:200]}")


def invalid_payload(error: msgspec.ValidationError, form: Any, *, hints: bool = True) -> InvalidPayload:
    """What was wrong with a payload; `details.path` names the place. With `hints`, also what may have been meant."""
    path, message, details = _explain(error, form, root="payload", hints=hints)
    return InvalidPayload(f"{path}: {message}", path=path, **details)


@functools.lru_cache(maxsize=_HINTS_KEPT)
def nearest(name: str, known: frozenset[str]) -> str | None:
    """The known name most like `name`, which should not be long, if any other is like it. Takes up to half a ms."""
    matches = difflib.get_close_matches(name, known - {name}, n=1)
    return matches[0] if matches else None


def too_deep() -> InvalidRequest:
    """The refusal of a body past the nesting limit."""
    return InvalidRequest(f"the body is nested deeper than {NESTING_LEVELS_MAX} levels")


def _explain(error: msgspec.ValidationError, form: Any, *, root: str, hints: bool) -> tuple[str, str, dict[str, Any]]:
    text = str(error)
    if len(text) > 2 * _EXPLAINED_CHARS_MAX:  # it quotes what the client has sent; what is told is at both ends
        text = text[:_EXPLAINED_CHARS_MAX] + text[-_EXPLAINED_CHARS_MAX:]
    match = _VALIDATION.fullmatch(text)
    what, path = (match["what"], match["path"] or "") if match else (text, "")
    path = (root + path.removeprefix("$")).removeprefix(".")
    inside = f"{path}." if path else ""
    if unknown := _UNKNOWN_FIELD.fullmatch(what):
        name = unknown[1][:200]
        suggestion = nearest(name[:NAME_CHARS_MAX], _all_fields(form)) if hints else None
        hint = f"; did you mean {suggestion!r}?" if suggestion else ""
        return f"{inside}{name}", f"unknown field{hint}", {"suggestion": suggestion}
    if missing := _MISSING_FIELD.fullmatch(what):
        return f"{inside}{missing[1]}", "required, but missing", {}
    message = what.replace("`", "")
    return path, message[:1].lower() + message[1:], {}


@functools.cache
def _all_fields(form: Any) -> frozenset[str]:
    """Field names of a payload type and of the types its fields are made of."""
    fields: set[str] = set()
    pending: list[Any] = [form]
    while pending:
        current = pending.pop()
        pending.extend(getattr(current, "__args__", ()))
        if isinstance(current, type) and issubclass(current, msgspec.Struct) and (names := payload_fields(current)):
            fields |= names
            pending.extend(f.type for f in msgspec.structs.fields(current))
    return frozenset(fields)


class ReplyTemplates:
    """Replies are put together from bytes: the payload is encoded already, the rest is constant.

    A request without an id gets the server's prefix and a number. Prefix and ack hold no percent sign.
    """

    def __init__(self, id_prefix: bytes, acks: Sequence[bytes]) -> None:
        self._numbered_id = b'"%b-%%d"' % id_prefix
        opening = b'{"type":"response","request_id":%b,"status":"success","success":true,'
        numbered = opening % self._numbered_id
        self.read = numbered + b'"payload":%b}'
        """Takes the request's number and the payload."""
        self.write = [numbered + b'"ack":"%b","lsn":%%d,"payload":%%b}' % ack for ack in acks]
        """For each ack; takes the request's number, the LSN and the payload."""
        self.read_named = opening + b'"payload":%b}'
        """Takes the request id as JSON and the payload."""
        self.write_named = [opening + b'"ack":"' + ack + b'","lsn":%d,"payload":%b}' for ack in acks]
        """For each ack; takes the request id as JSON, the LSN and the payload."""

    def request_id(self, number: int) -> bytes:
        """The id of request `number`, as JSON."""
        return self._numbered_id % number


def failure(error: SynapError, request_id: bytes) -> bytes:
    """The reply to a request that failed. `request_id` is JSON."""
    return b'{"type":"response","request_id":%b,"status":"error","success":false,"error":%b}' % (
        request_id,
        orjson.dumps(error.as_dict()),
    )


def batch_response(results: bytes, request_id: bytes, ack: str | None, lsn: int) -> bytes:
    """The reply to a batch; `results` holds the encoded entries with commas, `ack` is set when it may have written."""
    durability = b"" if ack is None else b',"ack":"%b","lsn":%d' % (ack.encode(), lsn)
    return b'{"type":"batch_response","request_id":%b%b,"results":[%b]}' % (request_id, durability, results)


def entry_success(payload: bytes) -> bytes:
    """The result of one command of a batch."""
    return b'{"status":"success","payload":%b}' % payload


def entry_failure(error: SynapError) -> bytes:
    """The result of one command of a batch that failed."""
    return b'{"status":"error","error":%b}' % orjson.dumps(error.as_dict())


def payload_of_entry(entry: bytes) -> bytes:
    """The payload inside an `entry_success`; raises the error inside an `entry_failure`."""
    result = msgspec.json.decode(entry, type=_Result)
    if result.error is not None:
        raise BY_CODE[result.error["code"]](result.error["message"], **result.error["details"])
    return bytes(result.payload)


class _Result(msgspec.Struct):
    status: str
    payload: msgspec.Raw = EMPTY_OBJECT
    error: dict[str, Any] | None = None
