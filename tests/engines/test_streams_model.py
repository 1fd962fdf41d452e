"""Streams against a naive twin, and against themselves: swept and reloaded at any moment, they must stay the same."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from synap.engines import partition as module
from synap.engines.arrivals import Arrivals
from synap.engines.murmur2 import murmur2
from synap.engines.streams import Retention, Stream, Streams
from tests.engines.test_streams import NOW, digest, reloaded

NAMES = st.sampled_from(["a", "b", "é"])
GROUPS = st.sampled_from(["g", "h"])
RETENTIONS = st.builds(
    Retention,
    max_events=st.none() | st.integers(1, 6),
    max_bytes=st.none() | st.integers(1, 60),
    max_age_secs=st.none() | st.integers(1, 50).map(lambda ms: ms / 1000),
)


@dataclass
class Log:
    """All events ever as (time, value), and how many of them are gone."""

    events: list[tuple[int, bytes]] = field(default_factory=list)
    gone: int = 0


@dataclass
class Twin:
    """What the twin knows of one stream."""

    serial: int
    retention: Retention
    logs: list[Log]
    keyless: int = 0
    groups: dict[str, list[int]] = field(default_factory=dict)

    def remove(self, now: int) -> None:
        for log in self.logs:
            while log.gone < len(log.events) and self.is_excess(log.events[log.gone :], now):
                log.gone += 1

    def is_excess(self, kept: list[tuple[int, bytes]], now: int) -> bool:
        retention = self.retention
        return (
            (retention.max_events is not None and len(kept) > retention.max_events)
            or (retention.max_bytes is not None and len(kept) > 1 and size(kept) > retention.max_bytes)
            or (retention.max_age_ms is not None and kept[0][0] + retention.max_age_ms <= now)
        )


def size(events: list[tuple[int, bytes]]) -> int:
    return sum(len("type") + len(value) for _, value in events)


class AgainstTwin(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._patch = pytest.MonkeyPatch()
        self.streams = Streams(Arrivals())
        self.undisturbed = Streams(Arrivals())
        """Is given the same calls, but never swept or reloaded."""
        self.twins: dict[str, Twin] = {}
        self.serial = 0
        self.now = NOW

    def teardown(self) -> None:
        for name in self.streams.names():
            self.streams.remove(name)
        try:
            assert self.streams.used_bytes == 0
        finally:
            self._patch.undo()

    @initialize(events=st.sampled_from([1, 3, 4_096]), cut=st.sampled_from([1, 4_096]))
    def have_small_segments(self, events: int, cut: int) -> None:
        self._patch.setattr(module, "SEGMENT_EVENTS", events)
        self._patch.setattr(module, "_CUT_BYTES_MIN", cut)

    def both(self, name: str) -> list[Stream]:
        found = [streams.find(name) for streams in (self.streams, self.undisturbed)]
        return [stream for stream in found if stream is not None]

    @rule(name=NAMES, partitions=st.integers(1, 3), retention=RETENTIONS)
    def create(self, name: str, partitions: int, retention: Retention) -> None:
        if name not in self.twins:
            self.serial += 1
            for streams in (self.streams, self.undisturbed):
                assert streams.create(name, partitions, retention).serial == self.serial
            self.twins[name] = Twin(self.serial, retention, [Log() for _ in range(partitions)])

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        if self.twins.pop(name, None) is not None:
            self.streams.remove(name)
            self.undisturbed.remove(name)

    @rule(name=NAMES, key=st.none() | st.binary(max_size=5), value=st.binary(max_size=20), times=st.integers(1, 4))
    def publish(self, name: str, key: bytes | None, value: bytes, times: int) -> None:
        if name not in self.twins:
            return
        twin = self.twins[name]
        for _ in range(times):
            index = (twin.keyless if key is None else murmur2(key) & 0x7FFFFFFF) % len(twin.logs)
            for stream in self.both(name):
                assert stream.partition_for(key) == index
                offset = stream.append(index, "type", value, key=key, now=self.now)
                assert offset == len(twin.logs[index].events)
            twin.keyless += key is None
            twin.logs[index].events.append((self.now, value + (key or b"")))
            twin.remove(self.now)

    @rule(name=NAMES, retention=RETENTIONS)
    def set_retention(self, name: str, retention: Retention) -> None:
        for stream in self.both(name):
            stream.set_retention(retention, self.now)
            self.twins[name].retention = retention
            self.twins[name].remove(self.now)

    @rule(name=NAMES, group=GROUPS, offset=st.integers(0, 20), partition=st.integers(0, 2))
    def commit(self, name: str, group: str, offset: int, partition: int) -> None:
        if name in self.twins:
            twin = self.twins[name]
            index = partition % len(twin.logs)
            for stream in self.both(name):
                stream.commit(group, index, offset)
            twin.groups.setdefault(group, [0] * len(twin.logs))[index] = offset

    @rule(name=NAMES, group=GROUPS)
    def remove_group(self, name: str, group: str) -> None:
        if name in self.twins:
            known = self.twins[name].groups.pop(group, None) is not None
            assert [stream.remove_group(group) for stream in self.both(name)] == [known] * 2

    @rule(step=st.integers(1, 40))
    def advance(self, step: int) -> None:
        self.now += step
        for twin in self.twins.values():
            twin.remove(self.now)

    @rule(limit=st.integers(1, 3))
    def sweep(self, limit: int) -> None:
        assert self.streams.sweep(self.now, limit) <= limit

    @rule()
    def sweep_all(self) -> None:
        """Afterwards nothing is left that is too old."""
        self.streams.sweep(self.now, 10_000)
        for name in self.streams.names():
            for log in self.both(name)[0].partitions:
                ages_at = log.ages_at()
                assert ages_at is None or ages_at > self.now

    @rule(chunk_rows=st.integers(1, 5))
    def reload(self, chunk_rows: int) -> None:
        self.streams = reloaded(self.streams, chunk_rows)

    @invariant()
    def agree(self) -> None:
        assert self.streams.names() == sorted(self.twins)
        for name, twin in self.twins.items():
            for stream in self.both(name):
                self.compare(stream, twin)

    def compare(self, stream: Stream, twin: Twin) -> None:
        assert (stream.serial, stream.retention, stream.keyless_total) == (twin.serial, twin.retention, twin.keyless)
        assert stream.published_total == sum(len(log.events) for log in twin.logs)
        for log, other in zip(stream.partitions, twin.logs, strict=True):
            kept = other.events[other.gone :]
            events = log.read(0, 1_000, self.now)
            assert [event.offset for event in events] == list(range(other.gone, len(other.events)))
            assert [(event.timestamp_ns // 1_000_000, event.value + (event.key or b"")) for event in events] == kept
            assert (log.count(self.now), log.size_bytes(self.now)) == (len(kept), size(kept))
        assert stream.group_names() == sorted(twin.groups)
        for group, offsets in twin.groups.items():
            assert stream.committed(group) == offsets
            unread = [
                [at for at in range(log.gone, len(log.events)) if at >= offset]
                for log, offset in zip(twin.logs, offsets, strict=True)
            ]
            assert stream.lag(group, self.now) == sum(map(len, unread))

    @invariant()
    def sweeps_and_restarts_change_nothing(self) -> None:
        assert digest(self.streams, self.now) == digest(self.undisturbed, self.now)


AgainstTwin.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestAgainstTwin = AgainstTwin.TestCase
