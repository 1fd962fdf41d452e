"""The TypeScript kit's generated half: one module a namespace, the error classes, and what the runtime must know.

`files` returns them by path. They hold types and one-line methods; everything that does something is written by hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap

import orjson

from sdk.generate.model import (
    Array,
    Definition,
    Failure,
    Field,
    Json,
    Literals,
    Map,
    Method,
    Model,
    Namespace,
    Null,
    OneOf,
    Plain,
    Ref,
    Type,
    camel,
)

FOLDER = "src/generated"
LINE_CHARS_MAX = 120

_HEADER = "// Generated from the command table by `python -m sdk.generate`. Do not edit.\n\n"
_PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}
# What a client adds to a value is an object, whatever the value is.
_ANNOTATIONS = frozenset(("headers", "metadata"))
# Numbers that the server keeps as they were written: to it, any JSON.
_NUMBERS = frozenset(("KvIncrbyfloatResult", "HashIncrbyfloatResult"))
# In the order of the bits, which src/flags.ts names.
_FLAGS = ("writes", "effect", "waits", "attaches", "secret", "alone", "admin")


def files(model: Model) -> dict[str, str]:
    """The text of every generated file, by its path in the package."""
    texts = {f"{namespace.name}.ts": _Module(namespace).text() for namespace in model.namespaces}
    texts["errors.ts"] = _errors(model.failures)
    texts["commands.ts"] = _commands(model.methods)
    texts["namespaces.ts"] = _namespaces(model.namespaces)
    return {f"{FOLDER}/{name}": _HEADER + text for name, text in texts.items()}


class _Module:
    """The types and the commands of one namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._generic: set[str] = set()
        for definition in namespace.outputs.values():
            if namespace.name != "admin" and any(self._holds_value(definition, field) for field in definition.fields):
                self._generic.add(definition.name)

    def text(self) -> str:
        """The whole file but for its header."""
        parts: list[str] = []
        for method in self._namespace.methods:
            if method.parameters:
                note = method.payload_doc or f"Payload of {method.command}."
                parts.append(_interface(_payload(method), note, (self._input(p) for p in method.parameters)))
        for definition in self._namespace.inputs.values():
            fields = (self._input(field) for field in definition.fields)
            parts.append(_interface(self._input_name(definition.name), definition.doc, fields))
        for definition in self._namespace.outputs.values():
            fields = (self._output(definition, field) for field in definition.fields)
            name = f"{definition.name}<T = Json>" if definition.name in self._generic else definition.name
            parts.append(_interface(name, definition.doc, fields))
        body = "\n".join([*parts, self._class()])
        used = [name for name in ("CallOptions", "Caller", "Json", "JsonInput") if _mentions(body, name)]
        return f'import type {{ {", ".join(used)} }} from "../types.js";\n\n{body}'

    def _class(self) -> str:
        lines = [f"/** The commands `{self._namespace.name}.*`. */", f"export class {_class_name(self._namespace)} {{"]
        lines += ["  protected readonly caller: Caller;", ""]
        lines += ["  constructor(caller: Caller) {", "    this.caller = caller;", "  }"]
        for method in self._namespace.methods:
            if "attaches" not in method.flags:
                lines += ["", *self._method(method)]
        return "\n".join([*lines, "}", ""])

    def _method(self, method: Method) -> list[str]:
        is_generic = method.result in self._generic
        result = f"{method.result}<T>" if is_generic else method.result
        type_parameter = "<T = Json>" if is_generic else ""
        parameters, payload = "options?: CallOptions", "{}"
        if method.parameters:
            default = "" if any(parameter.required for parameter in method.parameters) else " = {}"
            parameters, payload = f"payload: {_payload(method)}{default}, {parameters}", "payload"
        facts = [f"Cost {method.cost}.", f"Since {method.since}."]
        facts += ["Needs a permission for administrators."] * ("admin" in method.flags)
        opening = f"  {method.operation}{type_parameter}({parameters}): Promise<{result}> {{"
        if len(opening) > LINE_CHARS_MAX:
            inner = parameters.replace(", options", ",\n    options")
            opening = f"  {method.operation}{type_parameter}(\n    {inner},\n  ): Promise<{result}> {{"
        return [
            *_doc(f"{method.doc}\n\n{' '.join(facts)}", "  "),
            opening,
            f'    return this.caller.call("{method.command}", {payload}, options);',
            "  }",
        ]

    def _input(self, field: Field) -> list[str]:
        notes = [field.note] if field.note else []
        if field.has_default and field.default is not None:
            notes.append(f"{orjson.dumps(field.default).decode()} when left out")
        mark = "" if field.required else "?"
        # A field may be set to undefined, which leaves it out.
        maybe = "" if field.required else " | undefined"
        # What is bounded needs no more than a number has.
        big = " | bigint" if Plain("integer") in _parts(field.type) and "at most" not in field.note else ""
        declared = f"  readonly {field.name}{mark}: {self._input_type(field.type)}{big}{maybe};"
        return [*_doc("; ".join(notes), "  "), declared]

    def _output(self, definition: Definition, field: Field) -> list[str]:
        mark = "" if field.required or field.has_default else "?"
        if definition.name in _NUMBERS:
            text = "number"
        elif field.name in _ANNOTATIONS and isinstance(field.type, Json):
            text = "Record<string, Json>" + " | null" * field.type.or_null
        else:
            text = self._output_type(field.type)
        return [*_doc(field.note, "  "), f"  {field.name}{mark}: {text};"]

    def _input_type(self, of: Type) -> str:
        match of:
            case Json():
                return "JsonInput"
            case Map(value):
                return f"{{ readonly [name: string]: {self._input_type(value)} }}"
            case Array(item):
                return f"readonly {_in_brackets(self._input_type(item))}[]"
            case OneOf(parts):
                return " | ".join(dict.fromkeys(self._input_type(part) for part in parts))
            case Ref(name):
                return self._input_name(name)
        return _common(of)

    def _output_type(self, of: Type) -> str:
        match of:
            case Json(or_null):
                value = "Json" if self._namespace.name == "admin" else "T"
                return f"{value} | null" if or_null else value
            case Map(value):
                return f"Record<string, {self._output_type(value)}>"
            case Array(item):
                return f"{_in_brackets(self._output_type(item))}[]"
            case OneOf(parts):
                return " | ".join(dict.fromkeys(self._output_type(part) for part in parts))
            case Ref(name):
                return f"{name}<T>" if name in self._generic else name
        return _common(of)

    def _input_name(self, name: str) -> str:
        """Inputs that share their name with an output are told apart by their own."""
        return f"{name}Input" if name in self._namespace.outputs else name

    def _holds_value(self, definition: Definition, field: Field) -> bool:
        return definition.name not in _NUMBERS and field.name not in _ANNOTATIONS and self._is_value(field.type)

    def _is_value(self, of: Type) -> bool:
        match of:
            case Json():
                return True
            case Array(inner) | Map(inner):
                return self._is_value(inner)
            case OneOf(parts):
                return any(self._is_value(part) for part in parts)
            case Ref(name):
                return name in self._generic
        return False


def _common(of: Type) -> str:
    match of:
        case Null():
            return "null"
        case Plain(name):
            return _PLAIN[name]
        case Literals(values):
            return " | ".join(f'"{value}"' for value in values)
    raise TypeError(f"no TypeScript type for {of}")


def _parts(of: Type) -> tuple[Type, ...]:
    return of.parts if isinstance(of, OneOf) else (of,)


def _in_brackets(text: str) -> str:
    return f"({text})" if " | " in text else text


def _payload(method: Method) -> str:
    return f"{camel(method.namespace)}{camel(method.operation)}Payload"


def _class_name(namespace: Namespace) -> str:
    return f"{camel(namespace.name)}Commands"


def _mentions(text: str, name: str) -> bool:
    return any(f"{before}{name}{after}" in text for before in " (<" for after in " ;,>)[")


def _interface(name: str, doc: str, fields: Iterable[list[str]]) -> str:
    lines = [*_doc(doc, ""), f"export interface {name} {{"]
    for field in fields:
        lines += field
    return "\n".join([*lines, "}", ""])


def _doc(text: str, indent: str) -> list[str]:
    """A comment of some paragraphs."""
    text = text.strip().replace("*/", "* /")
    if not text:
        return []
    width = LINE_CHARS_MAX - len(indent) - 3
    if "\n" not in text and len(text) + 7 + len(indent) <= LINE_CHARS_MAX:
        return [f"{indent}/** {text} */"]
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        lines += ["", *wrap(" ".join(paragraph.split()), width, break_on_hyphens=False)]
    return [f"{indent}/**", *(f"{indent} * {line}".rstrip() for line in lines[1:]), f"{indent} */"]


def _errors(failures: tuple[Failure, ...]) -> str:
    parts = ['import { SynapError } from "../base-error.js";\n']
    for failure in failures:
        name = _error_name(failure)
        parts.append(
            "\n".join(
                [
                    *_doc(failure.doc, ""),
                    f"export class {name} extends SynapError {{",
                    f'  override readonly code: string = "{failure.code}";',
                    f'  override readonly name: string = "{name}";',
                    "}",
                    "",
                ]
            )
        )
    entries = "".join(f"  {failure.code}: {_error_name(failure)},\n" for failure in failures)
    doc = "/** The class of every code that a server answers. */\n"
    parts.append(f"{doc}export const ERRORS: Readonly<Record<string, typeof SynapError>> = {{\n{entries}}};\n")
    return "\n".join(parts)


def _error_name(failure: Failure) -> str:
    return failure.name if failure.name.endswith("Error") else f"{failure.name}Error"


def _commands(methods: tuple[Method, ...]) -> str:
    lines = ["/** Every command with its flags: the sum of the values in flags.ts. */"]
    lines.append("export const COMMANDS: Readonly<Record<string, number>> = {")
    for method in methods:
        bits = sum(1 << bit for bit, flag in enumerate(_FLAGS) if flag in method.flags)
        lines.append(f'  "{method.command}": {bits},')
    return "\n".join([*lines, "};", ""])


def _namespaces(namespaces: tuple[Namespace, ...]) -> str:
    imports = "".join(f'import {{ {_class_name(n)} }} from "./{n.name}.js";\n' for n in namespaces)
    fields = "".join(f"  readonly {n.name}: {_class_name(n)};\n" for n in namespaces)
    made = "".join(f"    this.{n.name} = new {_class_name(n)}(caller);\n" for n in namespaces)
    types = "".join(f'export * from "./{n.name}.js";\n' for n in namespaces)
    return (
        f'import type {{ Caller }} from "../types.js";\n{imports}\n{types}\n'
        "/** All commands, grouped as their names are. */\n"
        f"export class Namespaces {{\n{fields}\n  constructor(caller: Caller) {{\n{made}  }}\n}}\n"
    )
