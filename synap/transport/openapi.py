"""/openapi.json, made from the command table: the command endpoint, every REST route, the pages of the server."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from synap import __version__
from synap.commands.envelope import IDEMPOTENCY_KEY_CHARS_MAX
from synap.commands.reference import custom_schema
from synap.commands.reply import ACK_PATTERN
from synap.commands.table import Command, Route, Table, object_forms
from synap.errors import BY_CODE

_COMPONENTS = "#/components/schemas/{name}"
_JSON = "application/json"
_TURNED_AWAY = (400, 401, 403, 429)


def document(table: Table) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    paths: dict[str, Any] = {"/api/v1/command": {"post": _command_endpoint(table.public())}, **_server_pages()}
    schemas = _Schemas(table.public())
    for command in table.public():
        for route in command.routes:
            paths.setdefault(route.path, {})[route.method.lower()] = _operation(command, route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Synap",
            "version": __version__,
            "description": "Every command goes through `POST /api/v1/command`; other routes are short forms of some.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": _error_schema(), **schemas.components},
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer", "description": "an API key, or a token"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
        "security": [{}, {"key": []}, {"bearer": []}, {"basic": []}],
    }


class _Schemas:
    """The schemas of all payload and result types. Made in one go: only so can types of one name be told apart."""

    def __init__(self, commands: list[Command]) -> None:
        types = list({of: None for c in commands for of in (c.payload, c.result, *object_forms(c.payload))})
        schemas, self.components = msgspec.json.schema_components(
            types, schema_hook=custom_schema, ref_template=_COMPONENTS
        )
        self._schemas = dict(zip(types, schemas, strict=True))

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema of a type; a reference where it has a name."""
        schema: dict[str, Any] = self._schemas[kind]
        return schema

    def shape(self, form: type) -> dict[str, Any]:
        """The schema of a form itself."""
        shape: dict[str, Any] = self.components[self.of(form)["$ref"].rpartition("/")[2]]
        return shape


def _operation(command: Command, route: Route, schemas: _Schemas) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: set[str] = set()
    for form in object_forms(command.payload):
        shape = schemas.shape(form)
        properties |= shape["properties"]
        required |= set(shape.get("required", ()))
    in_path = route.parameters
    parameters = [_parameter(name, properties[name], "path", required=True) for name in in_path]
    rest = {name: schema for name, schema in properties.items() if name not in in_path}
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()} {command.name}",
        "tags": [command.namespace],
        "summary": command.summary,
        "description": inspect.getdoc(command.handler),
        "parameters": parameters,
        "responses": _responses(schemas.of(command.result), may_miss=route.method == "GET"),
    }
    if command.creates:
        operation["responses"]["201"] = {**operation["responses"]["200"], "description": "it was not there before"}
    if route.method == "GET":
        parameters += [_parameter(n, s, "query", required=n in required) for n, s in rest.items()]
    elif in_path and rest:
        needed = sorted(required & rest.keys())
        body = {"type": "object", "properties": rest, "required": needed, "additionalProperties": False}
        if route.array_field is not None:
            body = {"anyOf": [body, *_array_forms(rest[route.array_field])]}
        operation["requestBody"] = _body(body, required=bool(needed))
    elif not in_path:
        operation["requestBody"] = _body(schemas.of(command.payload), required=True)
    return operation


def _array_forms(field: dict[str, Any]) -> list[dict[str, Any]]:
    return [form for form in field.get("anyOf", [field]) if form.get("type") == "array"]


def _parameter(name: str, schema: dict[str, Any], where: str, *, required: bool) -> dict[str, Any]:
    return {"name": name, "in": where, "required": required, "schema": schema}


def _body(schema: dict[str, Any], *, required: bool) -> dict[str, Any]:
    return {"required": required, "content": {_JSON: {"schema": schema}}}


def _responses(result: dict[str, Any], *, may_miss: bool) -> dict[str, Any]:
    statuses = sorted({error.status for error in BY_CODE.values()} | ({404} if may_miss else set()))
    return {"200": {"description": "the result", "content": {_JSON: {"schema": result}}}, **_refusals(*statuses)}


def _refusals(*statuses: int) -> dict[str, Any]:
    error = {"content": {_JSON: {"schema": {"$ref": _COMPONENTS.format(name="Error")}}}}
    return {
        str(status): {"description": ", ".join(c for c, e in BY_CODE.items() if e.status == status), **error}
        for status in statuses
    }


def _command_endpoint(commands: list[Command]) -> dict[str, Any]:
    request = {
        "type": "object",
        "required": ["command"],
        "additionalProperties": False,
        "properties": {
            "command": {"enum": [c.name for c in commands]},
            "payload": {"description": "the command's payload, see GET /api/v1/commands"},
            "request_id": {"type": ["string", "null"]},
            "type": {"enum": ["request", None]},
            "version": {"type": ["string", "null"]},
            "idempotency_key": {"type": ["string", "null"], "minLength": 1, "maxLength": IDEMPOTENCY_KEY_CHARS_MAX},
            "ack": {"type": ["string", "null"], "pattern": ACK_PATTERN},
        },
    }
    batch = {
        "type": "object",
        "required": ["type", "commands"],
        "properties": {
            "type": {"const": "batch"},
            "commands": {"type": "array", "items": request},
            "atomic": {"type": "boolean", "default": False},
        },
    }
    return {
        "operationId": "command",
        "tags": ["commands"],
        "summary": "Run a command, or a batch of them.",
        "parameters": [
            _parameter("Idempotency-Key", {"type": "string"}, "header", required=False),
            _parameter("X-Synap-Ack", {"type": "string", "pattern": ACK_PATTERN}, "header", required=False),
        ],
        "requestBody": {
            "required": True,
            "content": {
                _JSON: {
                    "schema": {"anyOf": [request, batch]},
                    "example": {"command": "kv.set", "payload": {"key": "greeting", "value": "hello"}},
                }
            },
        },
        "responses": _responses({"type": "object"}, may_miss=True),
    }


def _server_pages() -> dict[str, Any]:
    def page(summary: str, content: str, *more: int, refusals: tuple[int, ...] = ()) -> dict[str, Any]:
        responses = {str(s): {"description": "", "content": {content: {}}} for s in (200, *more)} | _refusals(*refusals)
        operation = {"tags": ["server"], "summary": summary, "responses": responses}
        return {"get": operation if refusals else operation | {"security": []}}

    return {
        "/health": page("Whether the process works.", _JSON),
        "/ready": page("Whether it takes requests: 503 while it recovers or drains.", _JSON, 503),
        "/metrics": page(
            "Metrics for Prometheus. Needs the permission admin.metrics.", "text/plain", refusals=(401, 403, 429)
        ),
        "/openapi.json": page("This document.", _JSON),
        "/api/v1/ws": page(
            "Every command, and what is pushed to subscribers, on a WebSocket.", _JSON, 101, refusals=_TURNED_AWAY
        ),
        "/stream/{room}/events": _events("Events of a room.", ("room", "path"), "from_offset", "replay", "partition"),
        "/pubsub/events": _events("Messages to topics.", ("topics", "query")),
        "/docs": page("This document, to read and to try.", "text/html"),
    }


def _events(summary: str, needed: tuple[str, str], *optional: str) -> dict[str, Any]:
    """A route that answers with server-sent events."""
    text = {"type": "string"}
    parameters = [_parameter(needed[0], text, needed[1], required=True)]
    parameters += [_parameter(name, text, "query", required=False) for name in optional]
    parameters.append(_parameter("Last-Event-ID", text, "header", required=False))
    found = {"200": {"description": "until either end has enough", "content": {"text/event-stream": {}}}}
    responses = found | _refusals(*_TURNED_AWAY, 404, 422, 503)
    return {"get": {"tags": ["server"], "summary": summary, "parameters": parameters, "responses": responses}}


def _error_schema() -> dict[str, Any]:
    error = {
        "type": "object",
        "required": ["code", "message", "details"],
        "properties": {
            "code": {"enum": sorted(BY_CODE)},
            "message": {"type": "string"},
            "details": {"type": "object"},
        },
    }
    return {
        "type": "object",
        "required": ["status", "error"],
        "properties": {"status": {"const": "error"}, "error": error},
    }
