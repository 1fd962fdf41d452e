"""How long a key may be, wherever a command of the table takes one."""

from __future__ import annotations

import json
from itertools import product

import pytest

from synap.commands import TABLE
from synap.commands.gates import Limits
from synap.commands.table import Command
from synap.engines.topic_trie import NAME_BYTES_MAX
from synap.errors import PayloadTooLarge
from tests.commands.common import recorded, refused
from tests.payloads.samples import key_places
from tests.support import Harness

LONG = "x" * 65_537
ALLOWED = ["x" * 65_536, "é" * 32_768, "😀" * 16_384]
TOO_LONG = [LONG, "é" * 32_769, "😀" * 16_384 + "x"]


@pytest.mark.parametrize("command", [c for c in TABLE.public() if c.keys], ids=lambda command: command.name)
def test_a_key_beyond_64_kib_is_refused_wherever_a_command_takes_one(harness: Harness, command: Command) -> None:
    limits = (65_536, NAME_BYTES_MAX) if command.namespace == "pubsub" else (65_536,)
    for place, key in product(key_places(command), TOO_LONG):
        for text in (json.dumps(key), json.dumps(key, ensure_ascii=False)):
            body = f'{{"command":"{command.name}","payload":{place.replace("%s", text)}}}'
            reply = harness.answer(body.encode())
            error = json.loads(reply.body)["error"]
            assert (reply.status, error["code"]) == (413, "PAYLOAD_TOO_LARGE"), place
            assert error["details"]["limit"] in limits, place
            assert len(reply.body) < 500
    assert recorded(harness) == []


@pytest.mark.parametrize("key", ALLOWED)
def test_a_key_of_64_kib_is_allowed(harness: Harness, key: str) -> None:
    harness.call("kv.set", key=key, value=1)
    assert harness.call("kv.get", key=key)["value"] == 1
    assert harness.call("kv.mget", keys=[key] * 3) == {"values": [1, 1, 1]}


def test_the_limit_of_keys_can_be_set_and_does_not_bind_values() -> None:
    harness = Harness(Limits(max_key_bytes=4))
    harness.call("kv.set", key="éé", value="x" * 10_000)
    error = refused(harness, "kv.set", key="ééx", value=1)
    assert isinstance(error, PayloadTooLarge)
    assert error.message == "expected a key of at most 4 bytes, got 5"
