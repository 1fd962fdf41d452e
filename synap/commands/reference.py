"""What is said about the commands, made from the table: the listing and docs/commands.md."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import msgspec
import orjson

from synap.commands.table import Command, Table

_HEADER = """# Commands

Generated from the command table by `make docs`; `make check` fails when it is out of date.

Send any of them to `POST /api/v1/command` as `{"command": NAME, "payload": {...}}`. A field marked `?` may be
left out. Times are Unix milliseconds, `ttl` is in seconds.
"""


def describe(table: Table) -> list[dict[str, Any]]:
    """Every public command, as `described`."""
    return list(map(described, table.public()))


@functools.cache
def described(c: Command) -> dict[str, Any]:
    """A command with standalone JSON Schemas. Takes a fraction of a millisecond the first time."""
    return {
        "name": c.name,
        "summary": c.summary,
        "description": inspect.getdoc(c.handler),
        "writes": c.writes,
        "effect": c.has_effect,
        "admin": c.admin,
        "waits": c.waits,
        "attaches": c.attaches,
        "secret": c.is_secret,
        "alone": c.is_alone,
        "keys": list(c.keys),
        "cost": c.cost,
        "since": c.since,
        "routes": [f"{r.method} {r.path}" for r in c.routes],
        "payload": schema(c.payload),
        "result": schema(c.result),
    }


def schema(of: Any) -> dict[str, Any]:
    """The JSON Schema of a payload or result type, with its definitions inside."""
    return msgspec.json.schema(of, schema_hook=custom_schema)


def custom_schema(of: type) -> dict[str, Any]:
    """The schema of what msgspec does not know: a stored value is any JSON."""
    if of is orjson.Fragment:
        return {"description": "any JSON value"}
    raise NotImplementedError(of)


def markdown(table: Table) -> str:
    """The text of docs/commands.md."""
    lines = [_HEADER]
    namespace = ""
    for command in table.public():
        if command.namespace != namespace:
            namespace = command.namespace
            lines.append(f"## {namespace}.*\n")
        lines += _entry(command)
    return "\n".join(lines)


def _entry(command: Command) -> list[str]:
    description = " ".join((inspect.getdoc(command.handler) or "").split())
    facts = [f"cost {command.cost}", f"since {command.since}"]
    facts += ["writes"] * command.writes + ["admin"] * command.admin + ["waits"] * command.waits
    facts += ["WebSocket only"] * command.attaches
    routes = ", ".join(f"`{r.method} {r.path}`" for r in command.routes)
    return [
        f"### {command.name}\n",
        f"{description}\n",
        f"- payload: {_fields(schema(command.payload))}",
        f"- result: {_fields(schema(command.result))}",
        *([f"- route: {routes}"] if routes else []),
        f"- {'; '.join(facts)}\n",
    ]


def _fields(schema: dict[str, Any]) -> str:
    definitions = schema.get("$defs", {})
    return " or ".join(_form(_resolved(form, definitions), definitions) for form in schema.get("anyOf", [schema]))


def _form(form: dict[str, Any], definitions: dict[str, Any]) -> str:
    if form.get("type") == "array":
        return f"`[{', '.join(_type(item, definitions) for item in form.get('prefixItems', []))}]`"
    required = form.get("required", [])
    fields = [
        f"`{name}{'' if name in required else '?'}: {_type(field, definitions)}{_default(field)}`"
        for name, field in form.get("properties", {}).items()
    ]
    return ", ".join(fields) or "none"


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    return "" if default is None else f" = {orjson.dumps(default).decode()}"


def _type(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    field = _resolved(field, definitions)
    if "anyOf" in field:
        return " or ".join(_type(part, definitions) for part in field["anyOf"])
    if "enum" in field:
        return " or ".join(orjson.dumps(value).decode() for value in field["enum"])
    match field.get("type"):
        case "array":
            return f"[{_type(field.get('items', {}), definitions)}]"
        case "object" if "properties" in field:
            return f"{{{', '.join(field['properties'])}}}"
        case "object":
            return f"{{name: {_type(field.get('additionalProperties') or {}, definitions)}}}"
        case None:
            return "json"
        case name:
            return str(name)


def _resolved(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return definitions[reference.rpartition("/")[2]] if reference else schema
