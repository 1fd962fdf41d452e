"""What is offered at the prompt."""

from __future__ import annotations

import msgspec
import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from synap.commands import TABLE
from synap.commands.reference import describe
from synap.tools.completion import CommandCompleter
from synap.tools.reference import Reference


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.read(msgspec.json.encode({"commands": describe(TABLE)}))


@pytest.fixture(scope="module")
def completer(reference: Reference) -> CommandCompleter:
    completer = CommandCompleter()
    completer.reference = reference
    return completer


def offered(completer: CommandCompleter, text: str) -> dict[str, str]:
    """What the text may become, with what is said about it."""
    found = completer.get_completions(Document(text), CompleteEvent())
    return {text[: len(text) + each.start_position] + each.text: each.display_meta_text for each in found}


def test_namespaces_come_first_and_commands_behind_the_dot(completer: CommandCompleter) -> None:
    assert set(offered(completer, "h")) == {"help", "hash.", "hyperloglog."}
    assert "kv.set" in offered(completer, "kv.")
    assert set(offered(completer, "kv.ttl")) == {"kv.ttl"}
    assert offered(completer, "memory.")["memory.usage"]
    assert offered(completer, "mem") == {"memory.": "1 command"}


def test_help_takes_commands(completer: CommandCompleter) -> None:
    assert set(offered(completer, "help key.rename")) == {"help key.rename", "help key.renamenx"}


def test_fields_come_with_type_and_meaning_the_required_ones_first(completer: CommandCompleter) -> None:
    fields = offered(completer, "queue.publish ")
    assert next(iter(fields)) == "queue.publish queue="
    assert fields["queue.publish priority="] == "integer, optional, = 5, 9 comes first"


def test_a_field_that_is_given_is_not_offered_again(completer: CommandCompleter) -> None:
    assert "kv.set key=a key=" not in offered(completer, "kv.set key=a ")
    assert set(offered(completer, "kv.set key=a k")) == {"kv.set key=a keep_ttl="}


def test_values_are_offered_where_they_are_few(completer: CommandCompleter) -> None:
    assert set(offered(completer, "kv.set nx=")) == {"kv.set nx=true", "kv.set nx=false"}
    assert set(offered(completer, "pubsub.subscribe policy=drop_n")) == {"pubsub.subscribe policy=drop_newest"}
    assert not offered(completer, "kv.set key=")


def test_nothing_is_offered_inside_json_or_for_what_is_not_known(completer: CommandCompleter) -> None:
    assert not offered(completer, 'kv.set {"ke')
    assert not offered(completer, "no.such ")


def test_the_reference_knows_what_subscribes_and_what_is_secret(reference: Reference) -> None:
    for listed in describe(TABLE):
        assert reference.attaches(listed["name"]) == listed["attaches"]
        assert reference.may_be_written_down(listed["name"]) != listed["secret"]
    assert not reference.may_be_written_down("auth.logn")


def test_without_a_listing_names_must_do() -> None:
    assert Reference().attaches("stream.subscribe")
    assert not Reference().attaches("kv.get")
    assert not Reference().may_be_written_down("kv.get")


def test_every_field_of_every_command_is_understood(reference: Reference) -> None:
    for entry in reference.entries.values():
        assert all(field.type for field in (*entry.fields, *entry.result)), entry.name
