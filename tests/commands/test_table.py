"""The command table: what a declaration must say, and which mistakes stop the program from starting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from synap.clock import Millis
from synap.commands import TABLE
from synap.commands.kv import KeyOrKeys, MultiSetNx
from synap.commands.state import State
from synap.commands.table import NoPayload, Route, Table, array_fields, command, payload_fields
from synap.commands.types import Json, Key, KeyOnly, Success


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    """An empty table that takes the declarations of one test."""
    table = Table()
    monkeypatch.setattr("synap.commands.table.TABLE", table)
    return table


def declare(name: str = "toy.do", **facts: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return command(name, **{"cost": "O(1)", "since": "0.1", **facts})


def on_key(state: State, payload: KeyOnly, now: Millis) -> Success:
    """Do something to a key.

    More about it.
    """
    return Success(success=True)


def test_a_declaration_becomes_a_row_of_the_table(table: Table) -> None:
    declared = declare(writes=True, keys=("key",), routes=("POST /toy/{key}/do", "GET /toy/{key}"))(on_key)
    assert declared is on_key
    row = table.get("toy.do")
    assert row is not None
    assert (row.name, row.namespace, row.operation) == ("toy.do", "toy", "do")
    assert row.summary == "Do something to a key."
    assert (row.payload, row.result, row.handler) == (KeyOnly, Success, on_key)
    assert (row.writes, row.grows, row.admin, row.internal) == (True, True, False, False)
    assert row.routes == (Route("POST", "/toy/{key}/do"), Route("GET", "/toy/{key}"))
    assert row.routes[0].parameters == ["key"]


@pytest.mark.parametrize(
    ("writes", "grows", "expected"), [(True, None, True), (True, False, False), (False, None, False)]
)
def test_a_write_can_take_memory_unless_it_says_otherwise(
    table: Table, writes: bool, grows: bool | None, expected: bool
) -> None:
    declare(writes=writes, grows=grows)(on_key)
    row = table.get("toy.do")
    assert row is not None
    assert row.grows is expected


def test_commands_keep_the_order_of_their_declaration_and_internal_ones_stay_hidden(table: Table) -> None:
    for name in ("toy.c", "toy.a", "toy.b"):
        declare(name, internal=name == "toy.a")(on_key)
    assert [row.name for row in table] == ["toy.c", "toy.a", "toy.b"]
    assert [row.name for row in table.public()] == ["toy.c", "toy.b"]
    assert table.get("toy.a") is not None
    assert table.get("toy.x") is None


def test_a_handler_needs_a_docstring() -> None:
    def silent(state: State, payload: KeyOnly, now: Millis) -> Success:
        return Success(success=True)

    with pytest.raises(ValueError, match=r"toy\.do: a command needs .* a docstring"):
        declare()(silent)


@pytest.mark.parametrize("name", ["do", "toy.", ".do", "Toy.do", "toy.Do", "toy do", "toy.do.more", "toy.dö", ""])
def test_a_command_needs_a_dotted_name(name: str) -> None:
    with pytest.raises(ValueError, match="a dotted name"):
        declare(name)(on_key)


@pytest.mark.parametrize("facts", [{"cost": ""}, {"since": ""}])
def test_a_command_needs_its_cost_and_its_version(facts: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="a cost and a version"):
        declare(**facts)(on_key)


def no_now(state: State, payload: KeyOnly) -> Success:
    """Lack the time."""
    return Success(success=True)


def other_names(store: State, payload: KeyOnly, now: Millis) -> Success:
    """Name the parameters otherwise."""
    return Success(success=True)


def untyped_payload(state: State, payload, now: Millis) -> Success:  # type: ignore[no-untyped-def]
    """Lack the payload's type."""
    return Success(success=True)


def untyped_result(state: State, payload: KeyOnly, now: Millis):  # type: ignore[no-untyped-def]
    """Lack the result's type."""
    return Success(success=True)


@pytest.mark.parametrize("handler", [no_now, other_names, untyped_payload, untyped_result])
def test_a_handler_has_one_shape(handler: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"a handler is \(state, payload: Type, now\) -> ResultType"):
        declare()(handler)


def test_key_fields_must_be_fields_of_the_payload() -> None:
    with pytest.raises(ValueError, match=r"toy\.do: the payload has no field \['keys', 'source'\]"):
        declare(keys=("key", "source", "keys"))(on_key)


def test_path_parameters_must_be_fields_of_the_payload() -> None:
    with pytest.raises(ValueError, match=r"the payload has no field \['name'\]"):
        declare(routes=("GET /toy/{key}/{name}",))(on_key)


@pytest.mark.parametrize("route", ["PATCH /toy", "GET toy", "/toy", "get /toy", ""])
def test_a_route_is_a_known_method_and_a_path(route: str) -> None:
    with pytest.raises(ValueError, match=r"expected 'GET\|POST\|DELETE /path', got"):
        declare(routes=(route,))(on_key)


def test_a_name_is_taken_once() -> None:
    declare()(on_key)
    with pytest.raises(ValueError, match=r"toy\.do is declared twice"):
        declare()(on_key)


def test_a_route_is_taken_once_whatever_its_parameters_are_called() -> None:
    declare("toy.one", routes=("GET /toy/{key}",))(on_key)
    declare("toy.two", routes=("POST /toy/{key}",))(on_key)

    def on_keys(state: State, payload: KeyOrKeys, now: Millis) -> Success:
        """Do something to keys."""
        return Success(success=True)

    with pytest.raises(ValueError, match=r"toy\.three: GET /toy/{keys} belongs to toy\.one"):
        declare("toy.three", routes=("GET /toy/{keys}",))(on_keys)


def test_a_refused_declaration_leaves_no_row(table: Table) -> None:
    with pytest.raises(ValueError, match="has no field"):
        declare(keys=("nope",))(on_key)
    assert list(table) == []


def test_the_fields_of_a_payload_are_those_of_its_object_form() -> None:
    assert payload_fields(NoPayload) == set()
    assert payload_fields(KeyOrKeys) == {"key", "keys"}
    assert payload_fields(MultiSetNx | tuple[Key, Json]) == {"pairs", "key", "value"}
    assert array_fields(KeyOrKeys) == {"keys"}
    assert array_fields(MultiSetNx | tuple[Key, Json]) == {"pairs"}


@pytest.mark.parametrize("row", list(TABLE), ids=lambda row: row.name)
def test_every_command_is_declared_as_the_house_wants_it(row: Any) -> None:
    assert row.summary.endswith(".")
    assert row.cost.startswith("O(")
    assert row.writes or not row.grows
    key_like = {"key", "keys", "source", "destination", "pairs"} & payload_fields(row.payload)
    if row.namespace != "stream":  # the key of an event is none of the keyspace
        assert set(row.keys) >= key_like, "fields that hold keys must be declared as such"
