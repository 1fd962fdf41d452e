"""What the server says about itself: health, metrics, the command listing, OpenAPI, and the page over it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from prometheus_client.parser import text_string_to_metric_families

import synap
from synap.commands import TABLE
from synap.errors import BY_CODE
from tests.support import ServerProcess
from tests.transport.wire import Answer, chunked, connect, eventually, request

ROUTE = re.compile(r"(GET|POST|DELETE) (/.*)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("pages") / "data") as running:
        yield running


def get(server: ServerProcess, path: str) -> Answer:
    with connect(server) as wire:
        return wire.ask(request("GET", path))


def metrics(server: ServerProcess) -> dict[tuple[str, ...], float]:
    """Every sample, by its name and the values of its labels in order of their names."""
    page = get(server, "/metrics")
    assert page.status == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.body.decode())
        for sample in family.samples
    }


def moved(server: ServerProcess, action: Callable[[], object]) -> dict[tuple[str, ...], float]:
    """How much each sample has changed by an action."""
    before = metrics(server)
    action()
    after = metrics(server)
    changes = {key: value - before.get(key, 0) for key, value in after.items()}
    return {key: change for key, change in changes.items() if change}


# Health


def test_health_describes_the_server(server: ServerProcess) -> None:
    answer = get(server, "/health")
    assert answer.status == 200
    assert answer.json["status"] == "healthy"
    assert answer.json["version"] == synap.__version__
    assert answer.json["role"] == "master"
    assert answer.json["uptime_secs"] >= 0
    assert set(answer.json["components"].values()) == {"operational"}
    assert "kv_store" in answer.json["components"]


def test_ready_says_yes_once_it_serves(server: ServerProcess) -> None:
    answer = get(server, "/ready")
    assert (answer.status, answer.json["ready"]) == (200, True)


# Metrics


def test_metrics_are_prometheus_text_with_the_names_of_the_contract(server: ServerProcess) -> None:
    server.call("kv.get", key="a")
    answer = get(server, "/metrics")
    assert (answer.header("Content-Type") or "").startswith("text/plain; version=0.0.4")
    page = answer.body.decode()
    assert re.search(r"^# TYPE synap_operations_total counter$", page, re.MULTILINE)
    assert re.search(r'^synap_operations_total{component="kv",operation="get"} [\d.e+]+$', page, re.MULTILINE)
    assert re.search(r"^# TYPE synap_memory_bytes gauge$", page, re.MULTILINE)
    assert re.search(r"^synap_memory_bytes [\d.e+]+$", page, re.MULTILINE)


def test_operations_are_counted_whichever_way_they_came(server: ServerProcess) -> None:
    envelope = b'{"command":"kv.incr","payload":{"key":"counted"}}'
    batch = b'{"type":"batch","commands":[%b,%b]}' % (envelope, envelope)

    def ask() -> None:
        with connect(server) as wire:
            for asked in (
                request("POST", "/api/v1/command", envelope),
                chunked("POST", "/api/v1/command", envelope),
                request("POST", "/api/v1/command", batch),
                request("POST", "/kv/incr", b'{"key":"counted"}'),
                request("GET", "/kv/get/counted"),
            ):
                assert wire.ask(asked).status == 200

    changes = moved(server, ask)
    assert changes["synap_operations_total", "kv", "incr"] == 5
    assert changes["synap_operations_total", "kv", "get"] == 1
    assert changes["synap_journal_lsn",] == 5


def test_failures_are_counted_by_operation_and_by_code(server: ServerProcess) -> None:
    server.call("kv.set", key="text", value="x")

    def fail() -> None:
        server.send({"command": "kv.incr", "payload": {"key": "text"}})
        server.send({"command": "kv.incr", "payload": {"kye": "text"}})
        server.send({"command": "kv.nope"})
        server.send(b"nonsense")
        server.http("POST", "/kv/incr", b'{"key":"text"}')
        server.http("GET", "/kv/get/nobody")

    changes = moved(server, fail)
    assert changes["synap_operations_failed_total", "kv", "incr"] == 2
    assert changes["synap_operations_rejected_total", "kv", "incr"] == 1
    assert changes["synap_operations_total", "kv", "incr"] == 2
    assert changes["synap_errors_total", "NOT_A_NUMBER"] == 2
    assert changes["synap_errors_total", "INVALID_PAYLOAD"] == 1
    assert changes["synap_errors_total", "UNKNOWN_COMMAND"] == 1
    assert changes["synap_errors_total", "INVALID_REQUEST"] == 1


def test_memory_and_keys_follow_the_data(server: ServerProcess) -> None:
    changes = moved(server, lambda: server.call("kv.set", key="heavy", value="x" * 1_000_000))
    assert 1_000_000 <= changes["synap_memory_bytes",] < 1_100_000
    assert changes["synap_keys",] == 1
    changes = moved(server, lambda: server.call("kv.del", key="heavy"))
    assert changes["synap_memory_bytes",] <= -1_000_000
    assert changes["synap_keys",] == -1


def test_connections_are_counted_on_both_sides_of_a_hand_over(server: ServerProcess) -> None:
    with connect(server) as lane, connect(server) as handed_over:
        lane.ask(request("POST", "/api/v1/command", b'{"command":"kv.dbsize"}'))
        handed_over.ask(request("GET", "/health"))
        eventually(lambda: metrics(server)["synap_connections",] == 3)  # those of other tests may still be ending


# The listing


def commands(server: ServerProcess) -> list[dict[str, Any]]:
    listed = get(server, "/api/v1/commands").json["commands"]
    assert isinstance(listed, list)
    return listed


def test_every_command_is_listed_and_nothing_internal(server: ServerProcess) -> None:
    assert [command["name"] for command in commands(server)] == [
        command.name for command in TABLE if not command.internal
    ]


def test_every_listed_command_has_its_facts_and_usable_schemas(server: ServerProcess) -> None:
    for command in commands(server):
        assert command["summary"], command["name"]
        assert command["cost"], command["name"]
        assert command["since"], command["name"]
        assert isinstance(command["writes"], bool)
        assert all(ROUTE.fullmatch(route) for route in command["routes"])
        for schema in (command["payload"], command["result"]):
            jsonschema_rs.meta.validate(schema)
            jsonschema_rs.validator_for(schema)  # resolves every reference


def test_the_schemas_accept_what_the_command_accepts(server: ServerProcess) -> None:
    payloads = {command["name"]: jsonschema_rs.validator_for(command["payload"]) for command in commands(server)}
    assert payloads["kv.set"].is_valid({"key": "a", "value": None, "ttl": 1.5})
    assert not payloads["kv.set"].is_valid({"key": "a", "value": 1, "tll": 1})
    assert not payloads["kv.set"].is_valid({"key": "", "value": 1})
    assert payloads["kv.mset"].is_valid({"pairs": {"a": 1}})
    assert payloads["kv.mset"].is_valid({"pairs": [{"key": "a", "value": [1]}]})
    assert payloads["kv.msetnx"].is_valid(["a", {"any": "value"}])
    assert payloads["kv.dbsize"].is_valid({})


def test_results_are_as_their_schemas_say(server: ServerProcess) -> None:
    results = {command["name"]: jsonschema_rs.validator_for(command["result"]) for command in commands(server)}
    for name, payload in (
        ("kv.set", {"key": "a", "value": 1, "get": True}),
        ("kv.get", {"key": "a"}),
        ("kv.get", {"key": "nobody"}),
        ("kv.mget", {"keys": ["a", "nobody"]}),
        ("kv.scan", {}),
        ("kv.stats", {}),
        ("kv.ttl", {"key": "a"}),
        ("key.randomkey", {}),
        ("memory.usage", {"key": "a"}),
        ("admin.digest", {}),
        ("admin.commands", {}),
    ):
        results[name].validate(server.call(name, **payload))


# OpenAPI


@pytest.fixture(scope="module")
def document(server: ServerProcess) -> dict[str, Any]:
    answer = get(server, "/openapi.json")
    assert answer.header("Content-Type") == "application/json; charset=utf-8"
    found = answer.json
    assert isinstance(found, dict)
    return found


def parts(of: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document."""
    if isinstance(of, dict):
        yield of
    for part in of.values() if isinstance(of, dict) else of if isinstance(of, list) else ():
        yield from parts(part)


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    schemathesis.openapi.from_dict(document).validate()


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = {part["$ref"] for part in parts(document) if "$ref" in part}
    assert references
    for reference in references:
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def test_every_schema_is_one(document: dict[str, Any]) -> None:
    schemas = [part["schema"] for part in parts(document) if isinstance(part.get("schema"), dict)]
    assert len(schemas) > len(document["paths"])
    for schema in (*schemas, *document["components"]["schemas"].values()):
        jsonschema_rs.meta.validate(schema)


def test_every_route_is_described_with_its_parameters(server: ServerProcess, document: dict[str, Any]) -> None:
    routes = [ROUTE.fullmatch(route) for command in commands(server) for route in command["routes"]]
    assert routes
    for route in routes:
        assert route is not None
        operation = document["paths"][route[2]][route[1].lower()]
        in_path = {p["name"] for p in operation["parameters"] if p["in"] == "path" and p["required"]}
        assert in_path == set(re.findall(r"{(\w+)}", route[2]))
        assert "200" in operation["responses"]
    for path in ("/api/v1/command", "/health", "/ready", "/metrics"):
        assert path in document["paths"]


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [part["operationId"] for part in parts(document) if "operationId" in part]
    assert len(names) == len(set(names))


def test_the_error_schema_knows_every_code(document: dict[str, Any]) -> None:
    error = document["components"]["schemas"]["Error"]["properties"]["error"]
    assert set(error["properties"]["code"]["enum"]) == set(BY_CODE)


# The page


class Links(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value is not None]


def test_the_page_loads_only_what_this_server_serves(server: ServerProcess) -> None:
    page = get(server, "/docs")
    assert page.status == 200
    assert (page.header("Content-Type") or "").startswith("text/html")
    assert "default-src 'self'" in (page.header("Content-Security-Policy") or "")
    links = Links()
    links.feed(page.body.decode())
    assert {link.rpartition(".")[2] for link in links.found} >= {"js", "css"}
    for link in links.found:
        assert link.startswith("/")
        assert not link.startswith("//")
        asset = get(server, link)
        assert asset.status == 200
        assert asset.body
        kind = {"js": "javascript", "css": "text/css", "png": "image/png"}[link.rpartition(".")[2]]
        assert kind in (asset.header("Content-Type") or "")


def test_the_page_runs_no_script_of_its_own(server: ServerProcess) -> None:
    page = get(server, "/docs").body.decode()
    assert not re.search(r"<script(?![^>]*src=)", page)
    assert "/openapi.json" in get(server, "/docs/start.js").body.decode()


@pytest.mark.parametrize(
    "path", ["/docs/", "/docs/index.html", "/docs/..%2f..%2fetc%2fpasswd", "/docs/swagger-ui.css/x"]
)
def test_nothing_else_lies_under_the_page(server: ServerProcess, path: str) -> None:
    assert get(server, path).status == 404


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/openapi.json", "/docs", "/docs/swagger-ui.css"])
def test_every_page_answers_head(server: ServerProcess, path: str) -> None:
    with connect(server) as wire:
        wire.send(request("HEAD", path))
        answer = wire.answer(to_head=True)
        assert answer.status == 200
        assert int(answer.header("Content-Length") or 0) > 0
        assert wire.ask(request("GET", "/health")).status == 200
