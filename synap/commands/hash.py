"""`hash.*`: fields with JSON values under one key."""

from __future__ import annotations

import msgspec

from synap.clock import Millis
from synap.commands import paging
from synap.commands.collections import (
    TypeStats,
    existing_or_new,
    settled,
    stats_of,
)
from synap.commands.large import names_read, values_read
from synap.commands.slices import WHOLE_MAX, Steps, portions, sliced
from synap.commands.state import State
from synap.commands.table import NoPayload, command, unchanged
from synap.commands.types import (
    Int64,
    Json,
    Key,
    KeyOnly,
    Length,
    Payload,
    Result,
    Values,
    check_either,
)
from synap.engines import numbers
from synap.engines.collection import FEW
from synap.engines.hashes import Hash

_encode = msgspec.json.Encoder().encode


class Created(Result):
    """Whether the field is new."""

    created: bool


class Field(Payload):
    """A command on one field."""

    key: Key
    field: str


class Fields(Payload):
    """A command on several fields."""

    key: Key
    fields: list[str]


class FieldValue(Payload):
    """Payload of hash.set and hash.setnx."""

    key: Key
    field: str
    value: Json


@command("hash.set", writes=True, keys=("key",), routes=("POST /hash/{key}/set",), cost="O(1)", since="0.2")
def set_(state: State, payload: FieldValue, now: Millis) -> Created:
    """Store a JSON value in a field."""
    fields = existing_or_new(state, payload.key, Hash, now)
    created = fields.set(payload.field, bytes(payload.value))
    state.keyspace.settle(payload.key, fields, now)
    return Created(created)


class Assignment(Payload):
    """A field with its value."""

    field: str
    value: Json


class MultiSet(Payload):
    """Payload of hash.mset: an object with a member for each field, or a list."""

    key: Key
    fields: dict[str, Json] | list[Assignment]


class MultiSetResult(Result):
    """`created` counts the fields that are new."""

    success: bool
    created: int


@command(
    "hash.mset", writes=True, keys=("key",), routes=("POST /hash/{key}/mset [fields]",), cost="O(fields)", since="0.2"
)
def mset(state: State, payload: MultiSet, now: Millis) -> MultiSetResult:
    """Store values in several fields."""
    fields, given = existing_or_new(state, payload.key, Hash, now), payload.fields
    pairs = given.items() if isinstance(given, dict) else [(pair.field, pair.value) for pair in given]
    if len(pairs) <= FEW:
        created = sum([fields.set(field, bytes(value)) for field, value in pairs])
    else:
        created = fields.set_all({field: bytes(value) for field, value in pairs})
    state.keyspace.settle(payload.key, fields, now)
    result: MultiSetResult = MultiSetResult(True, created)
    return result if given else unchanged(result)


@command("hash.setnx", writes=True, keys=("key",), routes=("POST /hash/{key}/setnx",), cost="O(1)", since="0.2")
def setnx(state: State, payload: FieldValue, now: Millis) -> Created:
    """Store a value in a field unless it exists."""
    fields = existing_or_new(state, payload.key, Hash, now)
    if payload.field in fields.fields:
        return unchanged(Created(False))
    fields.set(payload.field, bytes(payload.value))
    state.keyspace.settle(payload.key, fields, now)
    return Created(True)


class GetResult(Result):
    """The value of a field, null when there is none."""

    found: bool
    value: Json | None


@command("hash.get", keys=("key",), routes=("GET /hash/{key}/get/{field}",), cost="O(1)", since="0.2")
def get(state: State, payload: Field, now: Millis) -> GetResult:
    """Read a field."""
    fields = state.keyspace.look(payload.key, Hash, now)
    value = None if fields is None else fields.fields.get(payload.field)
    return GetResult(False, None) if value is None else GetResult(True, Json(value))


@command("hash.mget", keys=("key",), routes=("POST /hash/{key}/mget",), cost="O(fields)", since="0.2")
def mget(state: State, payload: Fields, now: Millis) -> Values:
    """Read several fields."""
    held = _fields(state, payload.key, now)
    return Values.named(map(held.get, payload.fields))


class AllFields(Result):
    """Fields with their values."""

    fields: dict[str, Json]


@command("hash.getall", keys=("key",), routes=("GET /hash/{key}/getall",), cost="O(n)", since="0.2")
def getall(state: State, payload: KeyOnly, now: Millis) -> AllFields:
    """Read all fields, in the order they were first set."""
    held = _fields(state, payload.key, now)
    if len(held) > WHOLE_MAX:
        return sliced(AllFields, _all_fields(list(held), list(held.values())))
    return AllFields({field: Json(value) for field, value in held.items()})


class FieldNames(Result):
    """Names of fields."""

    fields: list[str]


@command("hash.keys", keys=("key",), routes=("GET /hash/{key}/keys",), cost="O(n)", since="0.2")
def keys(state: State, payload: KeyOnly, now: Millis) -> FieldNames:
    """List the fields, in the order they were first set."""
    return names_read(FieldNames, list(_fields(state, payload.key, now)))


@command("hash.vals", keys=("key",), routes=("GET /hash/{key}/vals",), cost="O(n)", since="0.2")
def vals(state: State, payload: KeyOnly, now: Millis) -> Values:
    """List the values of all fields."""
    return values_read(list(_fields(state, payload.key, now).values()))


@command("hash.len", keys=("key",), routes=("GET /hash/{key}/len",), cost="O(1)", since="0.2")
def len_(state: State, payload: KeyOnly, now: Millis) -> Length:
    """Count the fields."""
    return Length(len(_fields(state, payload.key, now)))


class ExistsResult(Result):
    """Whether the field is there."""

    exists: bool


@command("hash.exists", keys=("key",), routes=("GET /hash/{key}/exists/{field}",), cost="O(1)", since="0.2")
def exists(state: State, payload: Field, now: Millis) -> ExistsResult:
    """Tell whether a field exists."""
    return ExistsResult(payload.field in _fields(state, payload.key, now))


class FieldOrFields(Payload):
    """Payload of hash.del."""

    key: Key
    field: str | None = None
    fields: list[str] | None = None

    def __post_init__(self) -> None:
        check_either(self.field, self.fields, "field or fields")

    def names(self) -> list[str]:
        """All fields named."""
        return [self.field] if self.field is not None else self.fields or []


class Deleted(Result):
    """How many fields were there and are gone."""

    deleted: int


@command(
    "hash.del",
    writes=True,
    grows=False,
    keys=("key",),
    routes=("DELETE /hash/{key}/del", "POST /hash/{key}/del"),
    cost="O(fields)",
    since="0.2",
)
def del_(state: State, payload: FieldOrFields, now: Millis) -> Deleted:
    """Delete fields; a hash without any is gone."""
    fields = existing_or_new(state, payload.key, Hash, now)
    deleted = fields.delete_all(payload.names())
    return settled(state, payload.key, fields, now, Deleted(deleted), deleted)


class Increment(Payload):
    """Payload of hash.incrby."""

    key: Key
    field: str
    increment: Int64


class IntegerResult(Result):
    """The value after the change."""

    value: int


@command("hash.incrby", writes=True, keys=("key",), routes=("POST /hash/{key}/incrby",), cost="O(1)", since="0.2")
def incrby(state: State, payload: Increment, now: Millis) -> IntegerResult:
    """Add to an integer; an absent field counts as 0."""
    fields = existing_or_new(state, payload.key, Hash, now)
    value = numbers.add_integer(fields.fields.get(payload.field), payload.increment)
    fields.set(payload.field, b"%d" % value)
    state.keyspace.settle(payload.key, fields, now)
    return IntegerResult(value)


class FloatIncrement(Payload):
    """Payload of hash.incrbyfloat."""

    key: Key
    field: str
    increment: float


class NumberResult(Result):
    """The value after the change."""

    value: Json


@command(
    "hash.incrbyfloat", writes=True, keys=("key",), routes=("POST /hash/{key}/incrbyfloat",), cost="O(1)", since="0.2"
)
def incrbyfloat(state: State, payload: FloatIncrement, now: Millis) -> NumberResult:
    """Add to a number, in decimal arithmetic of 19 digits; an absent field counts as 0."""
    fields = existing_or_new(state, payload.key, Hash, now)
    value = numbers.add_decimal(fields.fields.get(payload.field), payload.increment)
    fields.set(payload.field, value)
    state.keyspace.settle(payload.key, fields, now)
    return NumberResult(Json(value))


class Scan(paging.Page):
    """Payload of hash.scan. `match` is a glob on the fields."""

    key: Key


class ScanResult(Result):
    """A page of fields with their values; `cursor` is null at the end. It may hold fewer than `count`, even none."""

    fields: dict[str, Json]
    cursor: str | None
    has_more: bool


@command("hash.scan", keys=("key",), cost="O(log n + fields looked at); the first one O(n log n)", since="0.2")
def scan(state: State, payload: Scan, now: Millis) -> ScanResult:
    """Page through fields in byte order. A field that is there from first page to last comes exactly once."""
    held = state.keyspace.look(payload.key, Hash, now) or Hash()
    found, cursor = paging.page(payload, held.after)
    return ScanResult({field: Json(held.fields[field]) for field in found}, cursor, cursor is not None)


@command("hash.stats", routes=("GET /hash/stats",), cost="O(1)", since="0.2")
def stats(state: State, payload: NoPayload, now: Millis) -> TypeStats:
    """Describe all hashes together."""
    return stats_of(state, Hash, now)


def _all_fields(names: list[str], values: list[bytes]) -> Steps:
    made = bytearray(b'{"fields":{')
    for some in portions(zip(names, map(Json, values), strict=True)):
        made += _encode(dict(some))[1:-1] + b","
        yield
    made[-1:] = b"}}"
    return bytes(made)


def _fields(state: State, key: str, now: Millis) -> dict[str, bytes]:
    """The fields at a key that a command reads; none when it is absent."""
    held = state.keyspace.look(key, Hash, now)
    return {} if held is None else held.fields
