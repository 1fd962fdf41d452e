"""What is counted for collections, beside what the process grows by, and that it is all given back.

Each case is a process of its own, see growth.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from synap.engines.keyspace import Keyspace
from synap.engines.sets import Set
from tests.engines.growth import STAGES, STATM

ROOT = Path(__file__).parents[2]
NOW = 1
SMALL, PAGE, LARGE = "20000 3", "10000 30", "1 300000"
CASES = [f"{shape} {width}" for shape, width in [(SMALL, 8), (SMALL, 100), (PAGE, 8), (LARGE, 8), (LARGE, 100)]]


@pytest.mark.skipif(not STATM.exists(), reason="the system does not tell a process its size")
@pytest.mark.parametrize("keys_elements_width", CASES)
@pytest.mark.parametrize("kind", ["hash", "list", "set", "sortedset"])
def test_counted_memory_is_within_a_fifth_of_the_growth_of_the_process(kind: str, keys_elements_width: str) -> None:
    arguments = [kind, *keys_elements_width.split()]
    command = [sys.executable, "-m", "tests.engines.growth", *arguments]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    stages = [json.loads(line) for line in output.splitlines()]
    assert [stage["stage"] for stage in stages] == list(STAGES)
    for stage in stages:
        assert 0.8 <= stage["counted"] / stage["grown"] <= 1.2, stages


@pytest.mark.parametrize("name", ["name", "Straße", "日本語", "\U0001f600"])
def test_a_key_and_its_members_are_given_back_whole_although_they_were_sent(name: str) -> None:
    keyspace = Keyspace([Set])
    key, other = name + "1", name + "2"
    keyspace.settle(key, Set.of([name + "a", name + "b"]), NOW)
    keyspace.put(other, b"1", NOW, expires_at=NOW + 1)
    before = keyspace.used_bytes
    msgspec.json.encode(list(keyspace.canonical(NOW)))
    held = keyspace.typed(key, Set, NOW)
    assert held is not None
    keyspace.settle(key, held, NOW)
    assert keyspace.used_bytes == before
    for member in list(held.members):
        held.remove(member)
        keyspace.settle(key, held, NOW)
    keyspace.sweep(NOW + 1)
    assert keyspace.used_bytes == 0
