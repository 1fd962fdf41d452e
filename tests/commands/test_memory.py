"""`memory.*`: what keys cost."""

from __future__ import annotations

import pytest

from synap.commands.memory import human
from tests.commands.common import put_pile
from tests.support import Harness


def usage(harness: Harness, key: str) -> int:
    size = harness.call("memory.usage", key=key)["bytes"]
    assert isinstance(size, int)
    return size


def test_a_missing_key_takes_nothing(harness: Harness) -> None:
    assert harness.call("memory.usage", key="k") == {"bytes": 0, "human": "0B"}
    harness.call("kv.set", key="k", value=1, ttl=1)
    harness.clock.advance(1)
    assert harness.call("memory.usage", key="k") == {"bytes": 0, "human": "0B"}


def test_usage_grows_with_key_value_and_ttl(harness: Harness) -> None:
    harness.call("kv.mset", pairs={"k": "v", "k" * 101: "v", "v": "v" * 101})
    assert usage(harness, "k" * 101) == usage(harness, "v") == usage(harness, "k") + 100
    before = usage(harness, "k")
    harness.call("kv.expire", key="k", ttl=10)
    assert usage(harness, "k") > before
    harness.call("kv.persist", key="k")
    assert usage(harness, "k") == before


def test_the_usages_of_all_keys_add_up_to_the_memory_of_the_keyspace(piles: Harness) -> None:
    piles.call("kv.mset", pairs=[{"key": "a", "value": 1}, {"key": "é", "value": "x" * 999, "ttl": 5}])
    put_pile(piles, "pile", 1, 2, 3)
    assert sum(usage(piles, key) for key in ("a", "é", "pile")) == piles.call("kv.stats")["memory_bytes"]


def test_usage_is_told_for_people_too(harness: Harness) -> None:
    harness.call("kv.set", key="k", value="x" * 2048)
    reply = harness.call("memory.usage", key="k")
    assert reply["human"] == human(reply["bytes"])
    assert reply["human"].endswith("KiB")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (1, "1B"),
        (512, "512B"),
        (1023, "1023B"),
        (1024, "1KiB"),
        (1536, "1.5KiB"),
        (10 * 1024, "10KiB"),
        (1024**2, "1MiB"),
        (1024**2 * 5 // 2, "2.5MiB"),
        (1024**3, "1GiB"),
        (1024**4, "1TiB"),
        (1024**5, "1024TiB"),
    ],
)
def test_sizes_for_people_have_binary_units_and_at_most_one_decimal(size: int, text: str) -> None:
    assert human(size) == text
