"""The command table as the kits need it: namespaces with methods, their parameters, and the types these are made of.

Built from what `GET /api/v1/commands` answers, so that a kit knows nothing that a client could not be told. Types are
plain data without a language; naming follows one rule for all kits:

- the result of `kv.set` is `KvSetResult`;
- any other definition is named after its namespace: `Gap` in `stream.*` is `StreamGap`, `QueueOptions` in `queue.*`
  stays as it is. What only payloads hold is an input, what results hold is an output.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

from synap.commands import TABLE
from synap.commands.reference import describe
from synap.errors import BY_CODE

Primitive: TypeAlias = Literal["string", "integer", "number", "boolean"]


@dataclass(frozen=True)
class Json:
    """Any JSON value, null included."""

    or_null: bool = False
    """Null may also stand for no value."""


@dataclass(frozen=True)
class Null:
    """Only null; always a part of a `OneOf`."""


@dataclass(frozen=True)
class Plain:
    """A string, integer, number or boolean. Integers are of 64 bits where nothing else is said."""

    name: Primitive


@dataclass(frozen=True)
class Literals:
    """One of a few strings."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Array:
    """A list of values of one type."""

    item: Type


@dataclass(frozen=True)
class Map:
    """An object with any member names and values of one type."""

    value: Type


@dataclass(frozen=True)
class OneOf:
    """A value of one of several types; null comes last."""

    parts: tuple[Type, ...]


@dataclass(frozen=True)
class Ref:
    """A definition of the namespace, by its kit name."""

    name: str


Type: TypeAlias = Json | Null | Plain | Literals | Array | Map | OneOf | Ref

_NOTHING: Any = object()


@dataclass(frozen=True)
class Field:
    """A parameter of a method, or a field of a definition."""

    name: str
    type: Type
    required: bool
    default: Any = _NOTHING
    """What the server takes when the field is left out; see `has_default`."""
    note: str = ""
    """Unit and limits: "seconds, decimals allowed; more than 0"."""

    @property
    def has_default(self) -> bool:
        """Without it, leaving the field out means something that no value does (or, in a result, it may be absent)."""
        return self.default is not _NOTHING


@dataclass(frozen=True)
class Definition:
    """An object with named fields."""

    name: str
    doc: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Method:
    """One command. `result` names one of the namespace's outputs."""

    command: str
    namespace: str
    operation: str
    summary: str
    doc: str
    payload_doc: str
    parameters: tuple[Field, ...]
    """Required ones first, and among these what the command acts on: a key, a queue, a room."""
    result: str
    cost: str
    since: str
    flags: frozenset[str]
    """Of: writes, effect, admin, waits, attaches, secret, alone."""

    @property
    def writes(self) -> bool:
        """Whether it may change the state, so that only an idempotency key lets it be repeated."""
        return "writes" in self.flags

    @property
    def is_batchable(self) -> bool:
        """Whether it means the same inside a batch as outside of it."""
        return not self.flags & {"waits", "attaches", "secret", "alone"}

    def has_parameter(self, name: str) -> bool:
        """Whether there is a parameter of that name."""
        return any(parameter.name == name for parameter in self.parameters)

    @property
    def takes_key(self) -> bool:
        """Whether an idempotency key has an effect on it."""
        return self.writes and "secret" not in self.flags


@dataclass
class Namespace:
    """The commands with one prefix."""

    name: str
    methods: list[Method] = field(default_factory=list)
    inputs: dict[str, Definition] = field(default_factory=dict)
    """Objects inside payloads, by kit name; what a definition refers to comes before it."""
    outputs: dict[str, Definition] = field(default_factory=dict)
    """Results and the objects inside them."""


@dataclass(frozen=True)
class Failure:
    """An error code. `name` is the code in camel case: KEY_NOT_FOUND is KeyNotFound."""

    code: str
    name: str
    status: int
    doc: str


@dataclass(frozen=True)
class Model:
    """All that kits are generated from."""

    namespaces: tuple[Namespace, ...]
    failures: tuple[Failure, ...]

    @cached_property
    def methods(self) -> tuple[Method, ...]:
        """All commands."""
        return tuple(method for namespace in self.namespaces for method in namespace.methods)


def build() -> Model:
    """The model of this server's commands."""
    return Model(from_listing(describe(TABLE)), failures())


def from_listing(commands: list[dict[str, Any]]) -> tuple[Namespace, ...]:
    """The namespaces in the answer to `GET /api/v1/commands`, in the order of their first commands."""
    namespaces: dict[str, Namespace] = {}
    for entry in commands:
        name = entry["name"].partition(".")[0]
        namespace = namespaces.setdefault(name, Namespace(name))
        namespace.methods.append(_method(entry, namespace))
    return tuple(namespaces.values())


def failures() -> tuple[Failure, ...]:
    """Every error code."""
    return tuple(
        Failure(code, camel(code.lower()), error.status, inspect.getdoc(error) or "") for code, error in BY_CODE.items()
    )


def camel(name: str) -> str:
    """`dlq_replay` as `DlqReplay`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


_FLAGS = ("writes", "effect", "admin", "waits", "attaches", "secret", "alone")


def _method(entry: dict[str, Any], namespace: Namespace) -> Method:
    _, _, operation = entry["name"].partition(".")
    payload, payload_scope = _object(entry["payload"], _Scope(namespace.name, namespace.inputs))
    result, result_scope = _object(entry["result"], _Scope(namespace.name, namespace.outputs))
    name = f"{camel(namespace.name)}{camel(operation)}Result"
    result_scope.add(Definition(name, _text(result), tuple(result_scope.fields(result))))
    parameters = sorted(payload_scope.fields(payload), key=lambda of: (not of.required, of.name not in entry["keys"]))
    return Method(
        command=entry["name"],
        namespace=namespace.name,
        operation=operation,
        summary=entry["summary"],
        doc=entry["description"] or "",
        payload_doc=_text(payload),
        parameters=tuple(parameters),
        result=name,
        cost=entry["cost"],
        since=entry["since"],
        flags=frozenset(flag for flag in _FLAGS if entry[flag]),
    )


class _Scope:
    """Definitions of a namespace, and those of the schema being read."""

    def __init__(self, namespace: str, definitions: dict[str, Definition]) -> None:
        self.schemas: dict[str, Any] = {}
        self._prefix = camel(namespace)
        self._definitions = definitions

    def add(self, definition: Definition) -> None:
        """Raises ValueError when another definition has the name."""
        if self._definitions.setdefault(definition.name, definition) != definition:
            raise ValueError(f"{definition.name} would name two different definitions; rename one of their types")

    def fields(self, schema: dict[str, Any]) -> Iterator[Field]:
        """The fields of an object's schema."""
        required = schema.get("required", [])
        for name, of in schema.get("properties", {}).items():
            yield Field(name, self.type(of), name in required, of.get("default", _NOTHING), _note(of))

    def type(self, schema: dict[str, Any]) -> Type:
        """The type that a schema describes."""
        if "$ref" in schema:
            return self._reference(schema["$ref"].rpartition("/")[2])
        if "anyOf" in schema:
            return _one_of([self.type(part) for part in schema["anyOf"]])
        if "enum" in schema:
            return Literals(tuple(schema["enum"]))
        match schema.get("type"):
            case None:
                return Json()
            case "null":
                return Null()
            case "array":
                return Array(self.type(schema.get("items", {})))
            case "object":
                values = schema.get("additionalProperties")
                return Map(self.type(values if isinstance(values, dict) else {}))
            case "string" | "integer" | "number" | "boolean" as name:
                return Plain(name)
            case other:
                raise ValueError(f"no kit knows the type {other!r}")

    def _reference(self, title: str) -> Ref:
        schema = self.schemas[title]
        name = title if title.startswith(self._prefix) else self._prefix + title
        self.add(Definition(name, _text(schema), tuple(self.fields(schema))))
        return Ref(name)


def _object(schema: dict[str, Any], scope: _Scope) -> tuple[dict[str, Any], _Scope]:
    """The form of a payload or result that is an object: kits offer no other."""
    scope.schemas = schema.get("$defs", {})
    for form in schema.get("anyOf", [schema]):
        form = scope.schemas[form["$ref"].rpartition("/")[2]] if "$ref" in form else form
        if form.get("type") == "object":
            return form, scope
    raise ValueError(f"expected an object among the forms of {schema}")


def _one_of(parts: list[Type]) -> Type:
    if any(isinstance(part, Json) for part in parts):
        return Json(or_null=True)
    distinct = list(dict.fromkeys(parts))
    distinct.sort(key=lambda part: isinstance(part, Null))
    return distinct[0] if len(distinct) == 1 else OneOf(tuple(distinct))


def _text(schema: dict[str, Any]) -> str:
    """A description in paragraphs, without the line breaks of its source."""
    paragraphs = schema.get("description", "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


_LIMITS = {
    "exclusiveMinimum": "more than {}",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
}
_BEYOND = 9_000_000_000
"""Limits past it only say that the number has 64 bits."""


def _note(schema: dict[str, Any]) -> str:
    """What a schema says about its values beyond their type."""
    notes: list[str] = []
    for form in [schema, *schema.get("anyOf", [])]:
        described = form.get("description")
        notes += [described] if described else []
        for keyword, text in _LIMITS.items():
            limit = form.get(keyword)
            is_said = keyword == "minLength" and limit == 1
            if limit is not None and not is_said and abs(limit) < _BEYOND:
                notes.append(text.format(limit))
    return "; ".join(dict.fromkeys(notes))
