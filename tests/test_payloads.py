"""The payloads that other tests draw are derived for every command, mostly valid, and get somewhere."""

from __future__ import annotations

import random

import orjson
import pytest

from synap.commands import TABLE
from synap.commands.table import Command, payload_fields
from tests.payloads.improviser import Improviser, repertoire
from tests.payloads.samples import is_valid, key_places, samples
from tests.payloads.strategies import WRITES, drawn, entry
from tests.support import Harness

SEED = 20_260_502
DRAWN = 25
VALID_SHARE = 0.8
SEQUENCES_MAX = 4_000
SEQUENCES_ABOUT_ALL = 150
"""After so many, only what has not changed anything yet is of interest, and what belongs to it."""
SEQUENCE_LENGTH = 150

every_command = pytest.mark.parametrize("command", TABLE.public(), ids=lambda command: command.name)


@every_command
def test_samples_are_valid_and_have_every_field(command: Command) -> None:
    found = samples(command)
    assert found
    assert [sample for sample in found if not is_valid(command.payload, sample)] == []


@every_command
def test_a_command_declares_keys_exactly_where_its_payload_has_them(command: Command) -> None:
    if command.namespace == "auth":  # names of accounts are no keys of the keyspace, and shorter
        named = payload_fields(command.payload) & {"username", "role", "id", "name"}
        assert bool(named) is bool(command.keys) or command.is_open
    else:
        assert bool(key_places(command)) is bool(command.keys)


@every_command
def test_most_of_the_payloads_drawn_for_a_command_are_valid(command: Command) -> None:
    found = drawn(entry(command.name), DRAWN, SEED)
    valid = [given for given in found if is_valid(command.payload, given["payload"])]
    assert len(valid) >= VALID_SHARE * len(found), f"seed {SEED}"


def test_every_write_finds_something_to_change_sooner_or_later() -> None:
    """Else its payloads are of no use, and what other tests say of every command would not be true of this one."""
    print(f"seed {SEED}")
    rng, known = random.Random(SEED), repertoire(TABLE.public(), SEED)
    improviser, idle = Improviser(known), set(WRITES)
    for number in range(SEQUENCES_MAX):
        if number == SEQUENCES_ABOUT_ALL:
            namespaces = {name.partition(".")[0] for name in idle}
            improviser = Improviser({n: given for n, given in known.items() if n.partition(".")[0] in namespaces})
        harness = Harness()
        for _ in range(SEQUENCE_LENGTH):
            harness.answer(orjson.dumps(improviser.next(rng)))
        idle -= {record.command for record in harness.log.records}
        if not idle:
            break
    assert idle == set()
