"""The command table: every command is declared once, with `@command`, and everything else follows from it.

    @command("kv.set", writes=True, keys=("key",), cost="O(log n) for a new key", routes=("POST /kv/set",), since="0.1")
    def set_(state: State, payload: Set, now: Millis) -> SetResult:
        \"\"\"Store a JSON value under a key.\"\"\"

The first docstring line is the summary; payload and result types come from the annotations. Dispatch,
validation, journalling, REST routes, metrics, OpenAPI and docs/commands.md read this table and nothing else.

What a handler may rely on, and must keep to:

- It gets the state, a validated payload and the time; it does no I/O and knows no clock and no chance.
- It checks first and mutates last: after it raises, nothing has changed.
- A write that found nothing to change returns `unchanged(result)` and leaves no journal record. To forget
  it costs a superfluous record, never a lost one.
- A command that can wait declares `waits` and returns `nothing_yet(...)` when there is nothing for it; it is then
  run again when something may have come. It never knows whether it has waited.
- What needs chance, takes long, must not be journalled as it came, or has to know who asks, declares `admit`
  (admission.py): it turns the payload received into the payload the handler gets, and the journal keeps.
- What subscribes a connection declares `attaches`: its handler also gets the `session` (session.py), which is no state.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, TypeVar, Unpack, get_type_hints

import msgspec

from synap.engines.arrivals import Topic

if typing.TYPE_CHECKING:
    from synap.commands.admission import Admission

Handler = Callable[..., Any]
Scope = Literal["prefix", "scan", "glob", "topic"]
"""How a payload field names many keys at once. Cursors of a "scan" tell keys that only begin as its glob does."""
H = TypeVar("H", bound=Callable[..., Any])
R = TypeVar("R")

PATH_PARAMETER = re.compile(r"{(\w+)}")
_ROUTE = re.compile(r"(?P<method>GET|POST|DELETE) (?P<path>/\S*)(?: \[(?P<array>\w+)\])?")


class Unchanged:
    """Around the result of a write that changed nothing."""

    __slots__ = ("result",)

    def __init__(self, result: Any) -> None:
        self.result = result


def unchanged(result: R) -> R:
    """Mark the result of a write that changed nothing: no journal record is written for it."""
    return typing.cast(R, Unchanged(result))


class NothingYet(Unchanged):
    """Around the result of a blocking command that found nothing: what to answer if nothing comes."""

    __slots__ = ("changed", "for_all", "form", "name", "seconds", "topics")

    def __init__(
        self,
        result: Any,
        seconds: float,
        topics: Iterable[Topic],
        form: Callable[[Topic], Any],
        name: str | None,
        changed: bool,
        for_all: bool,
    ) -> None:
        super().__init__(result)
        self.seconds = seconds
        self.topics = topics
        self.form = form
        self.name = name
        self.changed = changed
        self.for_all = for_all


def nothing_yet(
    result: R,
    seconds: float,
    topics: Iterable[Topic],
    form: Callable[[Topic], Any],
    *,
    name: str | None = None,
    changed: bool = False,
    for_all: bool = False,
) -> R:
    """Mark the result of a command that found nothing and may wait up to `seconds` for one of several topics.

    A topic begins with the class of what will come, and its key or name. `form` gives the payload to try the command
    with, and to journal, once a topic has arrived; `name` says who waits. `changed`: the try left something behind,
    which is journalled now. `for_all`: what comes may be for others in line even when this one finds nothing.
    """
    return typing.cast(R, NothingYet(result, seconds, topics, form, name, changed, for_all))


class NoPayload(msgspec.Struct, forbid_unknown_fields=True):
    """The payload of a command that takes none."""


@dataclass(frozen=True, slots=True)
class Route:
    """A REST route of a command: `GET /kv/get/{key}`."""

    method: str
    path: str
    array_field: str | None = None
    """The payload field that a body which is a bare array stands for."""

    @classmethod
    def parse(cls, text: str) -> Route:
        """From "METHOD /path/{field}", or "METHOD /path/{field} [field]" where the body may be a bare array."""
        match = _ROUTE.fullmatch(text)
        if match is None:
            raise ValueError(f"expected 'GET|POST|DELETE /path', got {text!r}")
        return cls(match["method"], match["path"], match["array"])

    @property
    def parameters(self) -> list[str]:
        """The payload fields taken from the path."""
        return PATH_PARAMETER.findall(self.path)


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table."""

    name: str
    summary: str
    payload: Any
    """What clients send."""
    journalled: Any
    """What the handler gets and the journal keeps; another type only where `admit` makes it."""
    result: Any
    handler: Handler
    cost: str
    since: str
    routes: tuple[Route, ...]
    grows: bool
    """Refused when memory is short: a write that can take more of it."""
    writes: bool = False
    admin: bool = False
    internal: bool = False
    """Only the server itself runs it; clients cannot name it."""
    waits: bool = False
    """May wait for something to come; see `nothing_yet`."""
    attaches: bool = False
    """Changes what the connection it came on is subscribed to; see session.py."""
    creates: bool = False
    """REST answers 201 when the result says `created`, or says nothing of it."""
    has_effect: bool = False
    """Does something without being journalled itself: nothing for those who may only read."""
    is_open: bool = False
    """Needs no permission."""
    is_secret: bool = False
    """Takes or tells a secret: its replies are not kept, so it stands in no batch and takes no idempotency key."""
    at_any_time: bool = False
    """Looks at no data: answered while the server starts, is rebuilt or drains as well."""
    is_alone: bool = False
    """Changes what the commands after it may do: it stands in no batch."""
    trace_in: str = ""
    """The field that carries the trace of the request to whoever gets the message: headers or metadata."""
    keys: tuple[str, ...] = ()
    scopes: dict[str, Scope] = field(default_factory=dict, hash=False)
    """Fields that name many keys at once; all keys when none of them is given."""
    admit: Callable[[Any, Admission], Any] | None = None

    @property
    def namespace(self) -> str:
        """The part before the dot."""
        return self.name.partition(".")[0]

    @property
    def operation(self) -> str:
        """The part after the dot."""
        return self.name.partition(".")[2]


class Table:
    """Commands by name; iterates namespace by namespace, each in the order of declaration."""

    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}
        self._owners: dict[tuple[str, str], str] = {}
        """The command that each route leads to; what its parameters are called makes no difference."""

    def add(self, command: Command) -> None:
        """Add a row; raises ValueError when the name or a route is taken."""
        if command.name in self._commands:
            raise ValueError(f"{command.name} is declared twice")
        places = [(route.method, PATH_PARAMETER.sub("{}", route.path)) for route in command.routes]
        for route, place in zip(command.routes, places, strict=True):
            if owner := self._owners.get(place):
                raise ValueError(f"{command.name}: {route.method} {route.path} belongs to {owner}")
        self._owners.update(dict.fromkeys(places, command.name))
        self._commands[command.name] = command

    def get(self, name: str) -> Command | None:
        """The command called `name`, internal ones included."""
        return self._commands.get(name)

    def public(self) -> list[Command]:
        """What clients may ask for."""
        return [c for c in self if not c.internal]

    def __iter__(self) -> Iterator[Command]:
        return iter(sorted(self._commands.values(), key=lambda command: command.namespace))


TABLE = Table()


class _Traits(TypedDict, total=False):
    """What may be declared of a command beside its name; see Command."""

    writes: bool
    admin: bool
    internal: bool
    waits: bool
    attaches: bool
    creates: bool
    has_effect: bool
    is_open: bool
    is_secret: bool
    at_any_time: bool
    is_alone: bool
    trace_in: str
    keys: tuple[str, ...]
    scopes: dict[str, Scope]
    admit: Callable[[Any, Admission], Any]


def command(
    name: str,
    *,
    cost: str,
    since: str,
    routes: tuple[str, ...] = (),
    payload: Any = None,
    grows: bool | None = None,
    **traits: Unpack[_Traits],
) -> Callable[[H], H]:
    """Declare the decorated handler as the command `name`. Raises ValueError when a part is missing or wrong.

    `payload` is the type clients send, where `admit` makes another one of it for the handler.
    """

    def declare(handler: H) -> H:
        hints = _hints(name, handler, traits.get("attaches", False))
        received = hints["payload"] if payload is None else payload
        summary = (inspect.getdoc(handler) or "").partition("\n")[0]
        if not re.fullmatch(r"[a-z]+\.[a-z0-9_]+", name) or not summary or not cost or not since:
            raise ValueError(f"{name}: a command needs a dotted name, a docstring, a cost and a version")
        parsed = tuple(Route.parse(r) for r in routes)
        named = {p for r in parsed for p in (*r.parameters, r.array_field) if p is not None}
        if missing := {*traits.get("keys", ()), *traits.get("scopes", ()), *named} - payload_fields(received):
            raise ValueError(f"{name}: the payload has no field {sorted(missing)}")
        TABLE.add(
            Command(
                name,
                summary,
                received,
                hints["payload"],
                hints["return"],
                handler,
                cost,
                since,
                parsed,
                grows=traits.get("writes", False) if grows is None else grows,
                **traits,
            )
        )
        return handler

    return declare


def _hints(name: str, handler: Handler, attaches: bool) -> dict[str, Any]:
    """The annotations of a handler."""
    hints = get_type_hints(handler, include_extras=True)
    parameters = list(inspect.signature(handler).parameters)
    expected = ["state", "payload", "now"] + ["session"] * attaches
    if parameters != expected or not {"payload", "return"} <= hints.keys():
        raise ValueError(f"{name}: a handler is (state, payload: Type, now) -> ResultType")
    return hints


def payload_fields(payload: Any) -> set[str]:
    """The field names of a payload type; of its object form where it is a union of forms."""
    return {f.encode_name for form in object_forms(payload) for f in msgspec.structs.fields(form)}


def array_fields(payload: Any) -> set[str]:
    """The fields of a payload type that take a list."""
    return {
        f.encode_name
        for form in object_forms(payload)
        for f in msgspec.structs.fields(form)
        if any(typing.get_origin(part) is list for part in _parts(f.type))
    }


def object_forms(payload: Any) -> list[type[msgspec.Struct]]:
    """The object forms of a payload type, which may be a union of forms."""
    forms = typing.get_args(payload) or (payload,)
    return [f for f in forms if isinstance(f, type) and issubclass(f, msgspec.Struct)]


def _parts(of: Any) -> Iterator[Any]:
    """The members of a union, annotations taken off."""
    if typing.get_origin(of) is typing.Annotated:
        yield from _parts(typing.get_args(of)[0])
    elif typing.get_origin(of) in (typing.Union, types.UnionType):
        for part in typing.get_args(of):
            yield from _parts(part)
    else:
        yield of
