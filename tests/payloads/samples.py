"""The smallest valid payloads of any command: between them every field, every form of a union, every way to name a key.

They answer questions about the command table without chance. Which fields go together is found by trying: the payload
types say it in their forms and in `__post_init__`, and nobody has to say it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain, combinations, product
from typing import Any

import msgspec
import orjson
from msgspec import inspect

from synap.commands.table import Command
from synap.commands.types import Key
from tests.payloads import pools
from tests.payloads.pools import Pools

KEY = inspect.type_info(Key)
SAMPLE_KEY = "a sample key"
_POOLS = Pools(keys=(SAMPLE_KEY,))


@dataclass(frozen=True)
class Form:
    """Fields of a struct that may be given together, and what those with a choice of few values then are."""

    names: tuple[str, ...]
    choices: tuple[tuple[str, Any], ...]


@cache
def samples(command: Command) -> list[Any]:
    """Payloads that the command takes, the one with the fewest fields first."""
    return _samples(inspect.type_info(command.payload))


def key_places(command: Command) -> list[str]:
    """Payloads as JSON in which one key is replaced by %s, for every place that may hold one."""
    mark, places = f'"{SAMPLE_KEY}"', dict[str, None]()
    for sample in samples(command):
        parts = orjson.dumps(sample).decode().split(mark)
        for at in range(1, len(parts)):
            places[mark.join(parts[:at]) + "%s" + mark.join(parts[at:])] = None
    return list(places)


def is_valid(payload_type: Any, payload: Any) -> bool:
    """Whether `payload`, which may hold orjson fragments, is one of this type."""
    try:
        _decoder(payload_type).decode(orjson.dumps(payload))
    except msgspec.ValidationError:
        return False
    return True


@cache
def forms(of: type[msgspec.Struct]) -> list[Form]:
    """The forms of a struct that its `__post_init__` does not refuse, those with the fewest fields first."""
    struct = inspect.type_info(of)
    assert isinstance(struct, inspect.StructType)
    required = [field.encode_name for field in struct.fields if field.required]
    optional = [field.encode_name for field in struct.fields if not field.required]
    subsets = chain.from_iterable(combinations(optional, count) for count in range(len(optional) + 1))
    return [form for subset in subsets for form in _forms_with(struct, (*required, *subset))]


@cache
def _decoder(payload_type: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(payload_type)


def _forms_with(struct: inspect.StructType, names: tuple[str, ...]) -> list[Form]:
    options = {f.encode_name: c for f in struct.fields if f.encode_name in names and (c := _choices(f.type))}
    combined = [tuple(zip(options, chosen, strict=True)) for chosen in product(*options.values())]
    candidates = [Form(names, choices) for choices in combined]
    return [form for form in candidates if next(_objects(struct, form), None) is not None]


def _choices(node: inspect.Type) -> list[Any]:
    """The values of a type that lists them, beside null; none for any other."""
    match node:
        case inspect.LiteralType() | inspect.UnionType(types=(inspect.LiteralType(), inspect.NoneType())):
            return _samples(node)
        case _:
            return []


def _objects(struct: inspect.StructType, form: Form) -> Iterator[dict[str, Any]]:
    """Valid objects of a form: with the first sample of each field, then with one other at a time."""
    given = [field for field in struct.fields if field.encode_name in form.names]
    values = {field.encode_name: _samples(field.type, field.encode_name) for field in given}
    values |= {name: [chosen] for name, chosen in form.choices}
    first = {name: found[0] for name, found in values.items()}
    others = ({**first, name: value} for name, found in values.items() for value in found[1:])
    return (candidate for candidate in chain([first], others) if is_valid(struct.cls, candidate))


def _samples(node: inspect.Type, field: str = "") -> list[Any]:
    """At least one value of the type of a field; none for null."""
    match node:
        case inspect.Metadata() if node == KEY:
            return list(_POOLS.keys)
        case inspect.Metadata():
            return pools.listed(node)[:1] or _samples(node.type, field)
        case inspect.UnionType():
            return [sample for part in node.types for sample in _samples(part, field)]
        case inspect.StructType():
            return _of_struct(node)
        case inspect.ListType():
            return [[sample, sample] for sample in _samples(node.item_type, field)]
        case inspect.DictType():
            names, values = _samples(node.key_type, field), _samples(node.value_type, field)
            return [{name: value} for name in names for value in values]
        case inspect.TupleType():
            return [[_samples(item, field)[0] for item in node.item_types]]
        case _:
            return _scalars(node, field)


def _scalars(node: inspect.Type, field: str) -> list[Any]:
    match node:
        case inspect.NoneType():
            return []
        case inspect.LiteralType():
            return list(node.values)
        case inspect.IntType() | inspect.FloatType():
            return _POOLS.numbers(node, field)[:1]
        case inspect.StrType():
            return pools.texts(node, field)[:1]
        case inspect.BoolType():
            return [True]
        case inspect.RawType() | inspect.AnyType():
            return [1]
        case inspect.BytesType():
            return pools.BASE64[:1]
        case _:
            raise TypeError(f"{field}: teach tests/payloads what a {node} may be")


def _of_struct(struct: inspect.StructType) -> list[Any]:
    """The objects with the fewest fields, and for every optional field those with the fewest beside it."""
    allowed = forms(struct.cls)
    chosen = dict.fromkeys(allowed[:1])
    for field in struct.fields:
        chosen |= dict.fromkeys([form for form in allowed if field.encode_name in form.names][:1])
    return [found for form in chosen for found in _objects(struct, form)]
