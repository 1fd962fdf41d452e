"""A journal written by any released version loads for ever, into the very same state."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from synap.commands import TABLE
from synap.commands.executor import Executor
from synap.commands.state import State
from synap.journal.recovery import recover

GOLDEN = Path(__file__).parent / "golden"
CONTENTS = {
    "0.1.0": "dc91753ae4520d4ca16d12636bcde13af98c5fd704dee04dc5f1dc3826da14c5",
    "0.2.0": "6474c8cceed4e5bf4fd21e1b380537af4d838685105feb30a5425d7278f07a7c",
}


def content(executor: Executor) -> str:
    """A hash of what is stored, of the same form for ever (unlike the digest, which grows with the state)."""
    state = executor.state
    rows = [*state.keyspace.canonical(state.time), *state.idempotency.canonical(state.time)]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def recovered(directory: Path) -> Executor:
    executor = Executor(TABLE, State())
    for _ in recover(directory, executor):
        pass
    return executor


@pytest.mark.parametrize("version", CONTENTS)
@pytest.mark.parametrize("kind", ["journal", "snapshot"])
def test_a_released_version_is_read_into_the_state_it_had(version: str, kind: str, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    shutil.copytree(GOLDEN / version / kind, directory)
    executor = recovered(directory)
    assert content(executor) == CONTENTS[version]


def test_every_release_has_a_golden_journal() -> None:
    assert {path.name for path in GOLDEN.iterdir() if path.name[0].isdigit()} == CONTENTS.keys()
