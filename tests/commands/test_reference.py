"""What is said about the commands, made from the table: the listing and the reference page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from synap.commands import TABLE
from synap.commands.__main__ import main
from synap.commands.reference import describe, markdown

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
LISTED = {entry["name"]: entry for entry in describe(TABLE)}


def test_every_public_command_is_described_and_no_other() -> None:
    assert list(LISTED) == [command.name for command in TABLE.public()]
    assert "kv.evict" not in LISTED


@pytest.mark.parametrize("name", LISTED)
def test_a_description_says_everything_and_is_plain_json(name: str) -> None:
    entry, row = LISTED[name], TABLE.get(name)
    assert row is not None
    assert entry["description"].startswith(entry["summary"])
    assert (entry["writes"], entry["admin"], entry["cost"]) == (row.writes, row.admin, row.cost)
    assert entry["keys"] == list(row.keys)
    assert entry["routes"] == [f"{route.method} {route.path}" for route in row.routes]
    assert msgspec.json.decode(msgspec.json.encode(entry)) == entry


def references(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        found = {schema["$ref"]} if "$ref" in schema else set[str]()
        return found.union(*(references(part) for part in schema.values()))
    return set().union(*(references(part) for part in schema)) if isinstance(schema, list) else set()


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("part", ["payload", "result"])
def test_every_schema_stands_on_its_own(name: str, part: str) -> None:
    schema = LISTED[name][part]
    definitions = {f"#/$defs/{definition}" for definition in schema.get("$defs", {})}
    assert references(schema) <= definitions


def test_a_payload_schema_tells_fields_defaults_and_bounds() -> None:
    schema = LISTED["kv.set"]["payload"]["$defs"]["Set"]
    assert schema["required"] == ["key", "value"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["nx"] == {"type": "boolean", "default": False}
    assert schema["properties"]["key"]["minLength"] == 1


def test_the_page_has_a_section_for_every_public_command() -> None:
    page = markdown(TABLE)
    headings = [line.removeprefix("### ") for line in page.splitlines() if line.startswith("### ")]
    assert headings == list(LISTED)
    for entry in LISTED.values():
        assert entry["summary"] in page
        assert all(f"`{route}`" in page for route in entry["routes"])


def test_the_page_shows_fields_with_types_and_defaults() -> None:
    section = markdown(TABLE).partition("### kv.set\n")[2].partition("### ")[0]
    assert "- payload: `key: string`, `value: json`, `ttl?: number or null`, `nx?: boolean = false`" in section
    assert "- route: `POST /kv/set`" in section
    assert section.rstrip().endswith("; since 0.1; writes")


def test_the_page_in_docs_is_up_to_date() -> None:
    assert main(["--check", str(PAGE)]) == 0, "run `make docs`"


def test_the_check_finds_a_missing_and_a_stale_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "commands.md"
    assert main(["--check", str(page)]) == 1
    assert main([str(page)]) == 0
    assert main(["--check", str(page)]) == 0
    page.write_text(page.read_text() + "more")
    assert main(["--check", str(page)]) == 1
    assert f"{page} is out of date; run `make docs`" in capsys.readouterr().err
