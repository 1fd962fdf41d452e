"""Bad input by the thousand: schemathesis at every route, and hypothesis at the dispatcher behind every door."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import hypothesis.strategies as st
import msgspec.msgpack
import pytest
import schemathesis
from hypothesis import HealthCheck, assume, example, given, seed, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from synap.commands import TABLE, reference
from synap.commands.table import payload_fields
from synap.commands.waiting import WouldBlock
from tests.access.helpers import ROOT, ROOT_PASSWORD
from tests.support import Harness, ServerProcess

SEED = 20_260_501

bounded = partial(settings, deadline=None, database=None, suppress_health_check=list(HealthCheck))

# Every route, as the document describes it

ROUTES = [(command, route) for command in TABLE.public() for route in command.routes]
OPERATIONS = [
    *("POST /api/v1/command", "GET /health", "GET /ready", "GET /metrics", "GET /docs", "GET /openapi.json"),
    *(f"{route.method} {route.path}" for _, route in ROUTES),
]
FOR_EVERYBODY = {"/health", "/ready", "/openapi.json", "/docs"}
WITH_FIELDS = [
    "POST /api/v1/command",
    *(f"{r.method} {r.path}" for c, r in ROUTES if payload_fields(c.payload) - set(r.parameters)),
]
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance, content_type_conformance]


# Who asks how often: everybody of an open server; of one where one has to log in, root, and nobody in particular.
ASKING = {"open": 15, "root": 6, "nobody": 3}
GUARDED = {
    "SYNAP_AUTH_ENABLED": "true",
    "SYNAP_AUTH_ROOT_PASSWORD": ROOT_PASSWORD,
    "SYNAP_RATE_LIMIT_ENABLED": "true",
    "SYNAP_RATE_LIMIT_REQUESTS_PER_SECOND": "100000",
    "SYNAP_RATE_LIMIT_BURST": "100000",
}
# There would be nobody left to ask, or nobody who takes a write.
NOT_ASKED_FOR = ("admin.shutdown", "replication.follow")
# There are none, so that the server says so, with a status of 504.
REPLICAS = "replicated"


class Asking(NamedTuple):
    """A server, what it says about itself, and who asks."""

    server: ServerProcess
    document: BaseSchema
    headers: dict[str, str]
    examples: int

    def check(self, operation: str, **generation: Any) -> None:
        """Ask for an operation again and again; it must answer as the document says, and the server go on."""
        described = self.document.find_operation_by_label(operation)
        assert described is not None, f"{operation} is not in the document"
        print(f"seed {SEED}")

        @seed(SEED)
        @bounded(max_examples=self.examples)
        @given(described.as_strategy(**generation))
        def check(case: Case[Any]) -> None:
            asked = json.dumps([case.body, dict(case.headers or {})], default=str)
            assume(not any(word in asked for word in (*NOT_ASKED_FOR, REPLICAS)))
            case.validate_response(case.call(headers=self.headers), checks=CHECKS)

        check()
        assert self.server.http("GET", "/kv/keys", headers=dict([ROOT]))[0] == 200


@pytest.fixture(scope="module", params=ASKING)
def asking(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    brief = {"SYNAP_LIMITS_MAX_WAIT_SECS": "0.01"}
    env = brief if request.param == "open" else brief | GUARDED
    with ServerProcess(tmp_path_factory.mktemp("fuzz") / "data", env=env) as running:
        document = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
        headers = dict([ROOT]) if request.param == "root" else {}
        yield Asking(running, document, headers, ASKING[request.param])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_route_answers_as_its_document_says(asking: Asking, operation: str) -> None:
    asking.check(operation)


@pytest.mark.parametrize("operation", WITH_FIELDS)
def test_every_route_refuses_as_its_document_says(asking: Asking, operation: str) -> None:
    asking.check(operation, generation_mode=GenerationMode.NEGATIVE)


def test_the_document_says_how_to_log_in_and_who_is_turned_away(asking: Asking) -> None:
    document = asking.document.raw_schema
    kinds = {(scheme["type"], scheme.get("scheme")) for scheme in document["components"]["securitySchemes"].values()}
    assert kinds == {("apiKey", None), ("http", "bearer"), ("http", "basic")}
    for path, operations in document["paths"].items():
        if path not in FOR_EVERYBODY:
            for method, described in operations.items():
                assert {"401", "403", "429"} <= described["responses"].keys(), f"{method} {path}"


# The dispatcher, at first hand

NUMBERS = (
    st.integers(-(2**70), 2**70)
    | st.sampled_from([0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**400])
    | st.floats(allow_nan=False, allow_infinity=False)
)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
)
HUNDREDS = 300


def mostly(likely: st.SearchStrategy[Any], rarely: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda chance: likely if chance else rarely)


KEYS = mostly(st.sampled_from("abc"), st.sampled_from(["\0", "🎉", "k" * 70_000]) | st.text(min_size=1, max_size=5))


def of_schema(schema: dict[str, Any], definitions: dict[str, Any], name: str = "") -> st.SearchStrategy[Any]:
    """Values a schema allows, as far as the payload types of commands go, with now and then one it does not."""
    if "$ref" in schema:
        return of_schema(definitions[schema["$ref"].rpartition("/")[2]], definitions, name)
    if "anyOf" in schema:
        return st.one_of([of_schema(part, definitions, name) for part in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object" if "properties" in schema:
            fields = {field: of_schema(part, definitions, field) for field, part in schema["properties"].items()}
            required = set(schema.get("required", ()))
            return st.fixed_dictionaries(
                {field: part for field, part in fields.items() if field in required},
                optional={field: part for field, part in fields.items() if field not in required},
            )
        case "object":
            return st.dictionaries(KEYS, of_schema(schema.get("additionalProperties") or {}, definitions), max_size=4)
        case "array" if "prefixItems" in schema:
            return st.tuples(*[of_schema(item, definitions, "key") for item in schema["prefixItems"]]).map(list)
        case "array":
            return st.lists(of_schema(schema.get("items", {}), definitions, name), max_size=4)
        case "integer":
            lowest, highest = schema.get("minimum", -(2**63)), schema.get("maximum", 2**63 - 1)
            small = st.integers(max(lowest, -3), min(highest, 3))
            return mostly(small, NUMBERS | st.integers(lowest, highest))
        case "number":
            return mostly(st.floats(-10, 10) | st.integers(-10, 10), NUMBERS)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "string":
            return KEYS if name in ("key", "keys", "source", "destination") else st.text(max_size=20)
        case _:
            return VALUES


def of_command(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Requests for one command, most of them valid."""
    command = TABLE.get(name)
    assert command is not None
    schema = reference.schema(command.payload)
    payload = mostly(of_schema(schema, schema.get("$defs", {})), VALUES)
    return st.fixed_dictionaries(
        {"command": st.just(name), "payload": payload},
        optional={
            "request_id": st.text(max_size=5),
            "idempotency_key": mostly(st.none(), st.sampled_from(["once", "twice", ""])),
            "ack": mostly(st.none() | st.just("synced"), st.just("nonsense")),
            "type": mostly(st.none() | st.just("request"), st.just("batch")),
        },
    )


NAMES = [command.name for command in TABLE.public()]
REQUESTS = st.sampled_from(NAMES).flatmap(of_command)
BATCHES = st.fixed_dictionaries(
    {"type": st.just("batch"), "commands": st.lists(REQUESTS | VALUES, max_size=6)},
    optional={
        "atomic": st.booleans(),
        "idempotency_key": st.sampled_from(["once", "twice"]),
        "request_id": st.text(max_size=5),
    },
)
BODIES = mostly(REQUESTS | BATCHES, VALUES).map(lambda body: json.dumps(body, ensure_ascii=False).encode())

TOKENS = b'" \\ { } [ ] , : - 0 \xff \x00 \\u0000 \\ud800 1e999 NaN null \xef\xbb\xbf "type":"batch",'.split()
PIECES = st.binary(max_size=6) | st.sampled_from([*TOKENS, b" ", b"[" * 600, b'{"a":' * 600])


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid body with pieces cut out, put in and repeated."""
    body = draw(BODIES)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 30)))
        piece = draw(PIECES | st.just(body[start:end] * 2))
        body = body[:start] + piece + body[end:]
    return body


def no_constant(name: str) -> float:
    raise AssertionError(f"{name} is not JSON")


def checked(body: bytes) -> Any:
    """A reply, which must be JSON in UTF-8 as the contract shapes it."""
    reply = json.loads(body.decode("utf-8"), parse_constant=no_constant)
    assert reply["type"] in ("response", "batch_response")
    assert isinstance(reply["request_id"], str)
    results = [reply] if reply["type"] == "response" else reply["results"]
    for result in results:
        assert result["status"] in ("success", "error")
        if result["status"] == "error":
            assert result["error"]["code"] != "INTERNAL_ERROR", result
    return reply


def check_sound(harness: Harness) -> None:
    """The next request works, and the journal tells the same story as the state."""
    assert checked(harness.answer(b'{"command":"kv.dbsize"}').body)["status"] == "success"
    assert harness.replayed().digest(harness.clock.now()) == harness.digest()


@seed(SEED)
@bounded(max_examples=HUNDREDS)
@given(st.lists(st.binary(max_size=200) | BODIES | mutated(), min_size=1, max_size=6))
@example([b""])
@example([b'{"command":"kv.set","payload":{"key":"a","value":"\\ud800"}}'])
@example([b'{"command":"kv.incrbyfloat","payload":{"key":"a","amount":1e308}}'] * 2)
@example([b'{"command":"kv.get","payload":{"key":"\\ud83d"}}'])
@example([b'{"type":"batch","type":"request","command":"kv.dbsize"}'])
@example([b'{"command":"kv.dbsize","payload":{"a":1,"a":2}}'])
def test_no_body_upsets_the_dispatcher(bodies: list[bytes]) -> None:
    harness = Harness()
    for body in bodies:
        checked(harness.answer(body).body)
    check_sound(harness)


@seed(SEED)
@bounded(max_examples=HUNDREDS)
@given(st.sampled_from(NAMES), st.data())
def test_no_payload_upsets_its_command(name: str, data: st.DataObject) -> None:
    harness = Harness()
    seeded = data.draw(st.lists(REQUESTS, max_size=3))
    for request in [*seeded, *data.draw(st.lists(of_command(name), min_size=1, max_size=4))]:
        checked(harness.answer(json.dumps(request).encode()).body)
    check_sound(harness)


@seed(SEED)
@bounded(max_examples=HUNDREDS // 2)
@given(BODIES, st.text(max_size=300), st.text(max_size=10) | st.sampled_from(["written", "synced"]))
@example(b'{"command":"kv.set","payload":{"key":"a","value":1}}', "\udcff", "written")
@example(b'{"command":"kv.set","payload":{"key":"a","value":1}}', "once", "\udcff")
def test_no_header_upsets_the_dispatcher(body: bytes, idempotency_key: str, ack: str) -> None:
    harness = Harness()
    for _ in range(2):
        checked(harness.answer(body, idempotency_key, ack).body)
    check_sound(harness)


PACKABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4) | st.integers(0, 9), inner, max_size=4)
    ),
)


@seed(SEED)
@bounded(max_examples=HUNDREDS // 2)
@given(st.lists(st.binary(max_size=100) | REQUESTS | BATCHES | PACKABLE, min_size=1, max_size=4))
@example([{"command": "kv.set", "payload": {"key": "a", "value": float("inf")}}])
@example([b"\x91" * 5_000])
def test_no_messagepack_upsets_the_dispatcher(requests: list[Any]) -> None:
    harness = Harness()
    for request in requests:
        try:
            body = request if isinstance(request, bytes) else msgspec.msgpack.encode(request)
        except (OverflowError, UnicodeEncodeError):
            continue
        try:
            answer = harness.dispatcher.answer_packed(body)
        except WouldBlock as blocked:
            answer = blocked.wait.give_up()
        reply = msgspec.msgpack.decode(answer.body)
        assert reply.get("error", {}).get("code") != "INTERNAL_ERROR", reply
    check_sound(harness)


@seed(SEED)
@bounded(max_examples=HUNDREDS // 4)
@given(st.lists(BODIES | mutated(), min_size=1, max_size=4), REQUESTS)
def test_whatever_json_stored_messagepack_can_read(bodies: list[bytes], request: dict[str, Any]) -> None:
    harness = Harness()
    for body in bodies:
        checked(harness.answer(body).body)
    keys = harness.call("kv.keys")["keys"]
    for asked in ({"command": "kv.mget", "payload": {"keys": keys or ["a"]}}, {"command": "kv.keys"}):
        reply = msgspec.msgpack.decode(harness.dispatcher.answer_packed(msgspec.msgpack.encode(asked)).body)
        assert reply["status"] == "success", reply
