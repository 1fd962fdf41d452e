"""A journal written by any released version loads for ever, into the very same state."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from synap.clock import Millis
from synap.commands import TABLE
from synap.commands.events import existing_room
from synap.commands.executor import Executor
from synap.commands.messages import existing_queue
from synap.commands.state import State
from synap.engines.queues import Queue
from synap.engines.streams import Stream
from synap.journal import segment
from synap.journal.recovery import recover

GOLDEN = Path(__file__).parent / "golden"
CONTENTS = {
    "0.1.0": "dc91753ae4520d4ca16d12636bcde13af98c5fd704dee04dc5f1dc3826da14c5",
    "0.2.0": "6474c8cceed4e5bf4fd21e1b380537af4d838685105feb30a5425d7278f07a7c",
    "0.3.0": "e2a727a21164ed0a8510ea1944f456546b1665166ea52d5337cbd0c901ede34f",
    "0.4.0": "d04d5dd7d09fa7dee07a753f50a2cd65494bc969ce5ae7614b2df3604c159d70",
    "0.5.0": "51dbafd1c76025aa84c0b07825ee84eb1b5e1fea8fad80a1f950e06fbbd036c4",
}


NOT_IN_JOURNAL = {"0.1.0": {"kv.flushdb", "kv.evict"}}

# What queues and retention were like in 0.3.0, and how many fields messages and events had.
COUNTERS = ("published_total", "consumed_total", "acked_total", "nacked_total", "dead_lettered_total")
CONFIG = ("max_depth", "ack_deadline_secs", "max_retries", "message_ttl_secs", "dead_letter")
RETRY = ("strategy", "initial_secs", "max_secs", "multiplier")
RETENTION = ("max_events", "max_bytes", "max_age_secs")
MESSAGE_FIELDS, EVENT_FIELDS = 11, 8


def content(executor: Executor) -> str:
    """A hash of what is stored, of the same form for ever (unlike the digest, which grows with the state)."""
    state = executor.state
    rows = [*state.keyspace.canonical(state.time), *state.idempotency.canonical(state.time)]
    rows += [row for name in state.queues.names() for row in queue_rows(existing_queue(state, name, state.time))]
    rows += [row for name in state.streams.names() for row in stream_rows(existing_room(state, name), state.time)]
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def queue_rows(queue: Queue) -> Iterator[Any]:
    """A queue, its messages and the duplicates it recognises."""
    for (kind, serial, *fields), _ in queue.rows():
        if kind == "queue":
            name, _, last_seq, _ = fields
            yield name, serial, last_seq, picked(queue, COUNTERS)
            yield picked(queue.config, CONFIG), picked(queue.config.retry, RETRY)
        else:
            yield kind, fields[:MESSAGE_FIELDS]


def stream_rows(stream: Stream, now: Millis) -> Iterator[Any]:
    """A room, its events and its groups."""
    yield stream.name, stream.serial, stream.keyless_total, picked(stream.retention, RETENTION)
    for log in stream.partitions:
        events = map(msgspec.structs.astuple, log.read(0, 10_000, now))
        yield log.oldest(now), log.next_offset, [event[:EVENT_FIELDS] for event in events]
    for group in stream.group_names():
        yield group, stream.committed(group)


def picked(thing: object, names: tuple[str, ...]) -> list[Any]:
    return [getattr(thing, name) for name in names]


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


@pytest.mark.parametrize("version", CONTENTS)
def test_a_golden_journal_has_every_write_that_was_new_in_its_release(version: str) -> None:
    written = b"".join(path.read_bytes() for path in segment.list_segments(GOLDEN / version / "journal"))
    new = {command.name for command in TABLE if command.writes and version == f"{command.since}.0"}
    assert {name for name in new if name.encode() not in written} == NOT_IN_JOURNAL.get(version, set())
