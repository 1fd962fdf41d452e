"""Strategies for the payloads of all commands: random, four of five or more valid, and soon in each other's way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from itertools import chain
from typing import Any

import msgspec
import orjson
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from msgspec import inspect

from synap.commands import TABLE
from synap.commands.admission import Admission
from synap.commands.caller import SERVER
from synap.commands.credentials import Credentials
from synap.commands.state import State
from synap.commands.table import Command
from tests.payloads import pools, samples
from tests.payloads.pools import Pools
from tests.payloads.samples import Form
from tests.support import START, Harness

Strategy = st.SearchStrategy[Any]

# Commands that are rare in life are rare here, too, or no sequence would ever get anywhere.
RARE = {"kv.flushdb", "queue.delete", "queue.purge", "stream.delete", "auth.create_user", "auth.set_password"}

# What works on keys of any type, or on strings.
_GENERAL = {"kv", "key", "memory"}
_TRIES = 3
_LENGTH_MAX = 4


def payloads(command: Command, prefix: str = "", ttls: tuple[float, ...] = pools.TTLS) -> Strategy:
    """Payloads of a command as data that orjson encodes; all keys begin with `prefix`."""
    form, always = inspect.type_info(command.payload), _drawn_at_admission(command)
    derived = [_Derived(Pools(keys, ttls), always) for keys in _neighbourhoods(command.namespace, prefix)]
    return st.one_of([each.strategy(form) for each in derived])


def _neighbourhoods(namespace: str, prefix: str) -> list[tuple[str, ...]]:
    """Keys for one payload: some where a type is mostly alone, so that it gets somewhere, or those of all types."""
    types = {command.namespace for command in TABLE.public() if command.keys} - _GENERAL
    homes = {name: (f"{prefix}{name}", f"{prefix}{name}2") for name in sorted(types)}
    shared = tuple(prefix + key for key in pools.KEYS)
    if namespace in homes:
        return [homes[namespace], homes[namespace], shared]
    return [shared, shared, tuple(chain(*homes.values()))]


def _drawn_at_admission(command: Command) -> frozenset[str]:
    """Fields the server draws where a client leaves them out: a test that leaves them out cannot be repeated."""
    if command.admit is None or command.journalled is not command.payload:
        return frozenset()
    payload = msgspec.convert(samples.samples(command)[0], command.payload)
    before = msgspec.structs.asdict(payload)
    state = State()
    admitted = command.admit(payload, Admission(state, SERVER, START, Credentials(state.accounts)))
    after = msgspec.structs.asdict(payload if admitted is None else admitted)
    return frozenset(name for name, value in after.items() if value != before[name])


class _Derived:
    """Strategies by type and name of a field."""

    def __init__(self, of: Pools, always: frozenset[str]) -> None:
        self._pools = of
        self._always = always

    def strategy(self, node: inspect.Type, field: str = "") -> Strategy:
        """Values for the field `field`; never null."""
        match node:
            case inspect.Metadata() if node == samples.KEY:
                return _one_of(self._pools.keys)
            case inspect.Metadata():
                listed = pools.listed(node)
                return _one_of(listed) if listed else self.strategy(node.type, field)
            case inspect.UnionType():
                parts = [part for part in node.types if not isinstance(part, inspect.NoneType)]
                return st.one_of([self.strategy(part, field) for part in parts])
            case inspect.StructType():
                return self._objects(node)
            case inspect.ListType():
                items, longest = self.strategy(node.item_type, field), min(node.max_length or _LENGTH_MAX, _LENGTH_MAX)
                return st.lists(items, min_size=node.min_length or 0, max_size=longest)
            case inspect.DictType():
                names, values = self.strategy(node.key_type, field), self.strategy(node.value_type, field)
                return st.dictionaries(names, values, min_size=node.min_length or 0, max_size=_LENGTH_MAX)
            case inspect.TupleType():
                return st.tuples(*[self.strategy(item, field) for item in node.item_types]).map(list)
            case _:
                return self._scalars(node, field)

    def _scalars(self, node: inspect.Type, field: str) -> Strategy:
        match node:
            case inspect.LiteralType():
                return _one_of(node.values)
            case inspect.IntType() | inspect.FloatType():
                return _one_of(self._pools.numbers(node, field))
            case inspect.StrType():
                return _one_of(pools.texts(node, field))
            case inspect.BoolType():
                return st.booleans()
            case inspect.RawType() | inspect.AnyType():
                return _one_of(pools.FRAGMENTS)
            case inspect.BytesType():
                return _one_of(pools.BASE64)
            case _:
                raise TypeError(f"{field}: teach tests/payloads what a {node} may be")

    def _objects(self, struct: inspect.StructType) -> Strategy:
        """Objects of every form, half of them of one with the fewest fields."""
        always = self._always & {field.encode_name for field in struct.fields}
        allowed = [form for form in samples.forms(struct.cls) if always <= set(form.names)]
        fewest = [form for form in allowed if len(form.names) == len(allowed[0].names)]
        values = {field.encode_name: self.strategy(field.type, field.encode_name) for field in struct.fields}

        @cache
        def objects(form: Form) -> Strategy:
            chosen = {name: st.just(value) for name, value in form.choices}
            return st.fixed_dictionaries({name: chosen.get(name, values[name]) for name in form.names})

        drawn = st.one_of(st.sampled_from(fewest), st.sampled_from(allowed)).flatmap(objects)
        return _mostly_valid(drawn, struct.cls) if hasattr(struct.cls, "__post_init__") else drawn


def _one_of(pool: Sequence[Any]) -> Strategy:
    """Something from a pool, more often than not what stands first, so that commands find what others have left."""
    return st.one_of(st.just(pool[0]), st.sampled_from(pool))


@st.composite
def _mostly_valid(draw: st.DrawFn, drawn: Strategy, struct: type) -> Any:
    """Forms say which fields go together, not which values do: this takes what is refused only after several tries."""
    for _ in range(_TRIES):
        found = draw(drawn)
        if samples.is_valid(struct, found):
            break
    return found


PAYLOADS = {command.name: payloads(command) for command in TABLE.public()}
WRITES = {command.name: PAYLOADS[command.name] for command in TABLE.public() if command.writes}
READS = {name: drawn for name, drawn in PAYLOADS.items() if name not in WRITES}
NAMESPACES = sorted({name.partition(".")[0] for name in WRITES})


def _makes_something(command: Command) -> bool:
    """Whether a command finds something to do where there is nothing yet."""
    harness = Harness()
    for sample in samples.samples(command):
        harness.answer(orjson.dumps({"command": command.name, "payload": sample}))
    return harness.state.used_bytes > 0


MAKERS = [command.name for command in TABLE.public() if command.writes and _makes_something(command)]


@cache
def entry(name: str) -> Strategy:
    """A command with its payload, as it stands in a request or a batch."""
    return st.fixed_dictionaries({"command": st.just(name), "payload": PAYLOADS[name]})


@cache
def commands(namespace: str) -> Strategy:
    """A command with its payload, mostly a write of one namespace.

    Reads are drawn, too: they may be the first to notice that something has expired, and that is journalled.
    """
    return st.one_of([st.sampled_from(names) for names in choices(namespace, PAYLOADS)]).flatmap(entry)


def choices(namespace: str, of: Collection[str]) -> list[list[str]]:
    """Lists to choose a name from: four of five are of writes of the namespace, half of them such as make something."""
    focus = [name for name in WRITES if name in of and name.startswith(f"{namespace}.") and name not in RARE]
    makers = [name for name in MAKERS if name in focus] or [name for name in MAKERS if name in of]
    return [makers, makers, focus, focus, list(of)]


def drawn(strategy: Strategy, count: int, seed_: int) -> list[Any]:
    """Up to `count` values for where hypothesis does not run the test, the same for the same seed."""
    found: list[Any] = []

    @seed(seed_)
    @settings(max_examples=count, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(strategy)
    def draw(value: Any) -> None:
        found.append(value)

    draw()
    return found
