"""REST routes, made from the command table: each is its command with a friendlier address.

Path parameters and query parameters become payload fields, a body's members become the others, and the
result comes back bare. The payload the command sees, and the journal keeps, is put together once as JSON.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from aiohttp import web

from synap.commands.caller import Caller
from synap.commands.envelope import UNREADABLE, check_utf8, invalid_payload, invalid_request
from synap.commands.reply import ACKS, Outcome
from synap.commands.table import PATH_PARAMETER, Command, Route, Table, array_fields
from synap.commands.waiting import WouldBlock
from synap.errors import AckTimeout, DiskFull, InvalidPayload, InvalidRequest, KeyNotFound, SynapError
from synap.transport.app import Door, caller_of, expect, json_response

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class _Created(msgspec.Struct):
    created: bool = True


def add_routes(app: web.Application, table: Table, door: Door) -> None:
    """Add every route of the table, literal paths before patterns."""
    rows = [(route, command) for command in table.public() for route in command.routes]
    for route, command in sorted(rows, key=lambda row: len(row[0].parameters)):
        app.router.add_route(
            route.method, path_pattern(route.path), _handler(route, command, door), expect_handler=expect
        )


def path_pattern(path: str) -> str:
    """A path with parameters as aiohttp wants it; its own pattern takes no braces in a key."""
    return PATH_PARAMETER.sub(r"{\1:[^/]+}", path)


def decoded_query(request: web.Request, form: Any, *, besides: str | None = None) -> bytes:
    """The payload of a GET: path and query but for the field `besides`, texts converted to what the fields want."""
    lists = array_fields(form)
    fields: dict[str, Any] = {}
    for name, value in request.query.items():
        if name == besides:
            continue
        if name in request.match_info:
            raise InvalidPayload(f"payload.{name}: stands in the path already", path=f"payload.{name}")
        if name in lists:
            fields.setdefault(name, []).append(value)
        elif name in fields:
            raise InvalidPayload(f"payload.{name}: given twice", path=f"payload.{name}")
        else:
            fields[name] = value
    fields |= request.match_info
    try:
        return _encode(msgspec.convert(fields, form, strict=False))
    except msgspec.ValidationError as error:
        raise invalid_payload(error, form) from None


def _handler(route: Route, command: Command, door: Door) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        caller = caller_of(request)
        door.dispatcher.enter(caller, command)
        _check_address(request)
        if route.method == "GET":
            payload = decoded_query(request, command.payload)
        else:
            payload = _from_body(request, await door.body(request), route.array_field)
        outcome = await _outcome(request, command.name, payload, door, caller)
        try:
            await door.committer.reach(outcome.ack, outcome.lsn)
        except (AckTimeout, DiskFull):
            if outcome.wrote:
                raise
        if outcome.missing and route.method == "GET":
            raise KeyNotFound(f"there is nothing at {request.path[:200]}")
        headers = {"X-Synap-Ack": ACKS[outcome.ack], "X-Synap-LSN": str(outcome.lsn)} if outcome.wrote else None
        return json_response(outcome.payload, 201 if command.creates and _created(outcome) else 200, headers)

    return handle


def _created(outcome: Outcome) -> bool:
    return msgspec.json.decode(outcome.payload, type=_Created).created


async def _outcome(request: web.Request, command: str, payload: bytes, door: Door, caller: Caller) -> Outcome:
    key, ack = request.headers.get("Idempotency-Key"), request.headers.get("X-Synap-Ack")
    try:
        return door.dispatcher.call(command, payload, key, ack, caller)
    except WouldBlock as blocked:
        outcome: Outcome | SynapError = await door.waited(request, blocked.wait)
        if isinstance(outcome, SynapError):
            raise outcome from None
        return outcome


def _check_address(request: web.Request) -> None:
    try:
        unquote_to_bytes(request.raw_path).decode()
    except UnicodeDecodeError:
        raise InvalidRequest("the address is not UTF-8") from None


def _from_body(request: web.Request, body: bytes, array_field: str | None) -> bytes:
    """The payload of a POST or DELETE: the path and the members of the body, values byte for byte."""
    for name in request.query:
        raise InvalidPayload(f"payload.{name[:100]}: stands in the query; it belongs into the body", path="payload")
    parameters = {name: msgspec.Raw(_encode(value)) for name, value in request.match_info.items()}
    if not body:
        return _encode(parameters)
    check_utf8(body)
    if not parameters:
        return body
    try:
        if array_field is not None and body.lstrip().startswith(b"["):
            _decode_array(body)
            return _encode(parameters | {array_field: msgspec.Raw(body)})
        fields = _decode_object(body)
    except msgspec.ValidationError as error:
        raise invalid_payload(error, dict) from None
    except UNREADABLE as error:
        raise invalid_request(error, dict) from None
    for name in parameters.keys() & fields.keys():
        raise InvalidPayload(f"payload.{name}: stands in the path already", path=f"payload.{name}")
    return _encode(parameters | fields)
