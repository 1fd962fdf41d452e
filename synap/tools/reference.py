"""What a server says about its commands, made ready for completion and help."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

Schema = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A field of a payload or a result."""

    name: str
    type: str
    is_required: bool = True
    default: str | None = None
    """As JSON; None where there is none worth telling."""
    description: str = ""
    choices: tuple[str, ...] = ()
    """All the values it takes, where these are few."""


@dataclass(frozen=True)
class Entry:
    """A command."""

    name: str
    summary: str
    description: str = ""
    cost: str = ""
    since: str = ""
    writes: bool = False
    admin: bool = False
    attaches: bool = False
    """It begins or ends a subscription."""
    is_secret: bool = False
    """What is typed for it is written down nowhere."""
    fields: tuple[Field, ...] = ()
    result: tuple[Field, ...] = ()

    @property
    def namespace(self) -> str:
        """What stands before the dot."""
        return self.name.partition(".")[0]


class _Listed(msgspec.Struct):
    name: str
    summary: str
    payload: Schema
    result: Schema
    description: str = ""
    cost: str = ""
    since: str = ""
    writes: bool = False
    admin: bool = False
    attaches: bool = False
    secret: bool = False


class _Listing(msgspec.Struct):
    commands: list[_Listed]


@dataclass(frozen=True)
class Reference:
    """All commands by name. Without a listing it is empty."""

    entries: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def read(cls, listing: bytes) -> Reference:
        """Understand what GET /api/v1/commands answers. Raises msgspec.DecodeError."""
        listed = msgspec.json.decode(listing, type=_Listing).commands
        return cls({each.name: _entry(each) for each in listed})

    def namespaces(self) -> dict[str, list[Entry]]:
        """The commands of each namespace."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries.values():
            found.setdefault(entry.namespace, []).append(entry)
        return found

    def attaches(self, command: str) -> bool:
        """Whether the command needs a WebSocket; judged by its name where nothing is known of it."""
        entry = self.entries.get(command)
        return command.endswith("subscribe") if entry is None else entry.attaches

    def may_be_written_down(self, command: str) -> bool:
        """Whether a line with this command holds no secret, as far as is known."""
        entry = self.entries.get(command)
        return entry is not None and not entry.is_secret


def _entry(listed: _Listed) -> Entry:
    return Entry(
        name=listed.name,
        summary=listed.summary,
        description=listed.description,
        cost=listed.cost,
        since=listed.since,
        writes=listed.writes,
        admin=listed.admin,
        attaches=listed.attaches,
        is_secret=listed.secret,
        fields=tuple(sorted(_fields(listed.payload), key=lambda field: not field.is_required)),
        result=tuple(_fields(listed.result)),
    )


def _fields(schema: Schema) -> Iterator[Field]:
    """The fields of all forms that are objects; one that only some forms have is not required."""
    definitions = schema.get("$defs", {})
    forms = [_resolved(form, definitions) for form in schema.get("anyOf", [schema])]
    forms = [_resolved(form, definitions) for form in forms if "properties" in form]
    needed = [set(form.get("required", ())) for form in forms]
    seen: dict[str, Schema] = {}
    for form in forms:
        seen = {**form["properties"], **seen}
    for name, described in seen.items():
        found = _resolved(described, definitions)
        default = found.get("default")
        yield Field(
            name=name,
            type=_type(found, definitions),
            is_required=all(name in names for names in needed),
            default=None if default is None else json.dumps(default),
            description=found.get("description", "") if "$ref" not in described else "",
            choices=tuple(_choices(found, definitions)),
        )


def _choices(schema: Schema, definitions: Schema) -> Iterable[str]:
    if schema.get("type") == "boolean":
        return ("true", "false")
    if "anyOf" in schema:
        return [choice for part in schema["anyOf"] for choice in _choices(_resolved(part, definitions), definitions)]
    return [str(value) for value in schema.get("enum", ())]


def _type(schema: Schema, definitions: Schema) -> str:
    schema = _resolved(schema, definitions)
    if "anyOf" in schema:
        return " or ".join(_type(part, definitions) for part in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(map(json.dumps, schema["enum"]))
    match schema.get("type"):
        case "array":
            return f"[{_type(schema.get('items') or {}, definitions)}]"
        case "object" if "properties" in schema:
            required = schema.get("required", ())
            return f"{{{', '.join(f'{name}' if name in required else f'{name}?' for name in schema['properties'])}}}"
        case "object":
            return f"{{name: {_type(schema.get('additionalProperties') or {}, definitions)}}}"
        case None:
            return "json"
        case name:
            return str(name)


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    while "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    return schema
