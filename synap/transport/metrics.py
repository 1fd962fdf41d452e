"""/metrics: what the server already counts, read at the moment somebody asks, in Prometheus's text form.

Clients can make any number of queues, rooms and groups. Of each only the largest are shown one by one, and a gauge says
how many are left out; totals count all. They are gone through in portions, with a turn for everybody else in between,
so a page is not of one moment.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Generic, Protocol, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from synap.clock import Millis
from synap.commands.dispatcher import Dispatcher
from synap.commands.state import State
from synap.engines.queues import Queue
from synap.engines.streams import Stream
from synap.journal.log import FileJournal
from synap.stalls import BOUNDS_SECS, Stalls
from synap.transport.lane import Lane
from synap.transport.live import Live
from synap.transport.overview import Overview, Snapshots

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SHOWN_MAX = 1_000
"""Queues, rooms and groups that are shown one by one, of each."""

# Powers of two, from about a microsecond to 16 seconds.
_EXPONENTS = range(-20, 5)
_BOUNDS = [repr(2.0**i) for i in _EXPONENTS]
_OPERATION = ("component", "operation")

# Queues, rooms or groups that are looked at in one go.
_PORTION = 500
_STAGES = ("depth", "delayed", "in_flight", "dlq_depth")


class _Named(Protocol):
    name: str


N = TypeVar("N", bound=_Named)
T = TypeVar("T")


class Metrics:
    """Everything exported. Names are part of the contract."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        state: State,
        journal: FileJournal,
        lane: Lane,
        live: Live,
        overview: Overview,
        snapshots: Snapshots,
        stalls: Stalls,
    ) -> None:
        self._dispatcher = dispatcher
        self._state = state
        self._journal = journal
        self._lane = lane
        self._live = live
        self._overview = overview
        self._snapshots = snapshots
        self._stalls = stalls
        self._process = ProcessCollector(registry=None)
        self._rendering: asyncio.Task[bytes] | None = None

    async def page(self) -> bytes:
        """The page. Whoever asks while one is made gets that."""
        if self._rendering is None or self._rendering.done():
            self._rendering = asyncio.create_task(self._render())
        return await asyncio.shield(self._rendering)

    async def _render(self) -> bytes:
        families = [family async for family in self._collect()]
        return await asyncio.to_thread(self._text, families)

    def _text(self, families: list[Metric]) -> bytes:
        registry = CollectorRegistry()
        registry.register(_Collected([*families, *self._process.collect()]))
        return generate_latest(registry)

    async def _collect(self) -> AsyncIterator[Metric]:
        """All metrics with their current values; everybody else has a turn after each."""
        queues, rooms, groups = await self._survey_queues(), _Survey[Stream](), _Survey[tuple[str, str]]()
        await self._survey_rooms(rooms, groups)
        for families in (
            self._operations(),
            self._durations(),
            self._guarding(),
            self._data(),
            self._queues(queues),
            self._streams(rooms),
            self._groups(groups),
            self._pubsub(),
            self._connections(),
            self._durability(),
            self._replication(),
            self._loop(),
        ):
            for family in families:
                yield family
                await asyncio.sleep(0)

    def _loop(self) -> Iterator[Metric]:
        stalls = self._stalls
        yield GaugeMetricFamily(
            "synap_event_loop_stall_seconds_max",
            "The longest the event loop was busy at a stretch in the last minute",
            stalls.longest(),
        )
        busy = HistogramMetricFamily(
            "synap_event_loop_busy_seconds", "How long the event loop was busy at a stretch: everybody else had to wait"
        )
        bounds = [*map(repr, BOUNDS_SECS), "+Inf"]
        busy.add_metric([], list(zip(bounds, accumulate(stalls.counts), strict=True)), stalls.total_secs)
        yield busy
        yield GaugeMetricFamily("synap_uptime_seconds", "Since the server was started", self._overview.uptime_secs)

    def _now(self) -> Millis:
        """The moment of this tick, which ends."""
        self._live.committer.schedule()
        return self._live.now()

    # Commands

    def _operations(self) -> Iterator[Metric]:
        total = CounterMetricFamily("synap_operations", "Total operations by type", labels=_OPERATION)
        failed = CounterMetricFamily("synap_operations_failed", "Operations that ran and failed", labels=_OPERATION)
        rejected = CounterMetricFamily(
            "synap_operations_rejected", "Operations refused before they ran", labels=_OPERATION
        )
        for bound in self._dispatcher.bound.values():
            labels = [bound.command.namespace, bound.command.operation]
            total.add_metric(labels, bound.succeeded + bound.failed)
            failed.add_metric(labels, bound.failed)
            rejected.add_metric(labels, bound.rejected)
        yield from (total, failed, rejected)
        yield _counts("synap_errors", "Error replies by code", "code", self._dispatcher.errors_by_code)
        slow = self._dispatcher.slowlog.total
        yield CounterMetricFamily("synap_slow_commands", "Commands that took longer than log.slow_ms", slow)
        yield GaugeMetricFamily("synap_waiting_commands", "Blocking commands that wait", len(self._dispatcher.line))

    def _durations(self) -> Iterator[Metric]:
        durations = HistogramMetricFamily(
            "synap_command_duration_seconds", "How long commands ran, without decoding and journal", labels=_OPERATION
        )
        for bound in self._dispatcher.bound.values():
            half = len(bound.latencies) // 2  # where those below a second begin
            counts = list(accumulate(bound.latencies[half:] + bound.latencies[:half]))
            if counts[-1]:
                labels = [bound.command.namespace, bound.command.operation]
                buckets = [*zip(_BOUNDS, counts[half + _EXPONENTS.start :], strict=False), ("+Inf", counts[-1])]
                durations.add_metric(labels, buckets, bound.seconds)
        yield durations

    def _guarding(self) -> Iterator[Metric]:
        counts = self._dispatcher.audit.counts
        for event, name, help_text, label in (
            ("denied", "synap_denials", "Requests turned away, by the code of the error", "code"),
            ("login", "synap_logins", "Logins by outcome", "outcome"),
            ("changed", "synap_account_changes", "Changes of accounts by command", "command"),
        ):
            yield _counts(name, help_text, label, {what: n for (kind, what), n in counts.items() if kind == event})

    # Data

    def _data(self) -> Iterator[Metric]:
        keyspace = self._state.keyspace
        yield GaugeMetricFamily("synap_memory_bytes", "Memory usage in bytes", self._state.used_bytes)
        yield GaugeMetricFamily("synap_keys", "Keys, those due but not yet removed included", len(keyspace))
        for name, help_text, value in (
            ("synap_keyspace_hits", "Reads that found their key", keyspace.hits),
            ("synap_keyspace_misses", "Reads that found no key", keyspace.misses),
            ("synap_keys_expired", "Keys removed because their time was over", keyspace.expired),
            ("synap_keys_evicted", "Keys removed to make room", keyspace.evicted),
        ):
            yield CounterMetricFamily(name, help_text, value)

    async def _survey_queues(self) -> _Survey[Queue]:
        queues, survey = self._state.queues, _Survey[Queue]()
        async for names in _portions(queues.names()):
            now = self._now()
            found = [queue for name in names if (queue := queues.find(name, now)) is not None]
            survey.add([(queue.depth + queue.in_flight, queue) for queue in found])
            for stage in _STAGES:
                survey.totals[stage] += sum(getattr(queue, stage) for queue in found)
        return survey

    def _queues(self, survey: _Survey[Queue]) -> Iterator[Metric]:
        now, shown = self._now(), survey.largest
        yield GaugeMetricFamily("synap_queues", "Queues", survey.count)
        messages = GaugeMetricFamily("synap_queue_messages", "Messages in all queues", labels=["state"])
        for stage in _STAGES:
            messages.add_metric([stage], survey.totals[stage])
        yield messages

        def age_secs(queue: Queue) -> float:
            oldest_at = queue.oldest_ready_at()
            return 0.0 if oldest_at is None else max(now - oldest_at, 0) / 1000

        yield _gauges("synap_queue_depth", "Messages that are ready", shown, lambda queue: queue.depth)
        yield _gauges("synap_queue_in_flight", "Messages that are leased", shown, lambda queue: queue.in_flight)
        yield _gauges("synap_queue_oldest_message_age_seconds", "Of the messages that are ready", shown, age_secs)
        yield GaugeMetricFamily("synap_queues_not_shown", "Queues too small to be shown", survey.not_shown)

    async def _survey_rooms(self, rooms: _Survey[Stream], groups: _Survey[tuple[str, str]]) -> None:
        streams = self._state.streams
        async for names in _portions(streams.names()):
            now = self._now()
            found = [stream for name in names if (stream := streams.find(name)) is not None]
            rooms.add([(_events(stream, now), stream) for stream in found])
            for stream in found:
                async for portion in _portions(stream.group_names()):
                    groups.add([(stream.lag(group, now), (stream.name, group)) for group in portion])

    def _streams(self, survey: _Survey[Stream]) -> Iterator[Metric]:
        now, line, shown = self._now(), self._state.line, survey.largest

        def size_bytes(stream: Stream) -> int:
            return sum(log.size_bytes(now) for log in stream.partitions)

        def subscribers(stream: Stream) -> int:
            return len(line.watchers((Stream, stream.name)))

        yield GaugeMetricFamily("synap_streams", "Rooms", survey.count)
        yield _gauges("synap_room_events", "Events kept", shown, lambda stream: _events(stream, now), "room")
        yield _gauges("synap_room_bytes", "Bytes of the events kept", shown, size_bytes, "room")
        yield _gauges("synap_room_subscribers", "Live subscriptions", shown, subscribers, "room")
        yield GaugeMetricFamily("synap_rooms_not_shown", "Rooms too small to be shown", survey.not_shown)

    def _groups(self, survey: _Survey[tuple[str, str]]) -> Iterator[Metric]:
        lag = GaugeMetricFamily("synap_group_lag", "Events that a group has not read", labels=("room", "group"))
        for count, names in survey.ranked:
            lag.add_metric(names, count)
        yield lag
        yield GaugeMetricFamily("synap_groups_not_shown", "Groups that lag too little to be shown", survey.not_shown)

    # Connections

    def _pubsub(self) -> Iterator[Metric]:
        pubsub = self._state.pubsub
        waiting = sum(len(client.outbox) for client in self._live.clients)
        yield GaugeMetricFamily("synap_outbox_messages", "Messages that wait for slow clients", waiting)
        for name, help_text, value in (
            ("synap_pubsub_published", "Messages published", pubsub.published_total),
            ("synap_pubsub_delivered", "Messages handed to subscribers", pubsub.delivered_total),
            ("synap_pubsub_dropped", "Messages dropped because a subscriber was too slow", pubsub.dropped_total),
        ):
            yield CounterMetricFamily(name, help_text, value)

    def _connections(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("synap_connections", "Open connections", self._lane.open_count)
        yield GaugeMetricFamily("synap_push_connections", "WebSockets and event sources", len(self._live.clients))
        by_transport = GaugeMetricFamily(
            "synap_connections_by_transport", "Open connections by what they speak", labels=["transport"]
        )
        counts = Counter(peer.transport for peer in self._lane.peers.values())
        for transport in ("http", "websocket", "sse"):
            by_transport.add_metric([transport], counts[transport])
        yield by_transport

    # Replication

    def _replication(self) -> Iterator[Metric]:
        status = self._overview.status()
        yield GaugeMetricFamily("synap_replication_epoch", "Promotions in this history", status.epoch)
        yield GaugeMetricFamily("synap_replication_is_master", "1 where writes are taken", status.role == "master")
        lag = GaugeMetricFamily("synap_replication_lag_ms", "How far each replica is behind", labels=["replica"])
        ops = GaugeMetricFamily("synap_replication_lag_ops", "Changes it has not confirmed", labels=["replica"])
        for replica in status.replicas:
            lag.add_metric([replica.id], replica.lag_ms)
            ops.add_metric([replica.id], replica.lag_ops)
        yield lag
        yield ops
        dropped = self._overview.published_dropped
        yield CounterMetricFamily(
            "synap_replication_pubsub_dropped", "Messages that a slow replica was not sent", dropped
        )
        if status.master is not None:
            connected = status.master.connected
            yield GaugeMetricFamily("synap_replication_connected", "1 while records come in", connected)
            if status.master.lag_ms is not None:
                behind = status.master.lag_ms
                yield GaugeMetricFamily("synap_replication_behind_ms", "How far this replica is behind", behind)

    # What survives

    def _durability(self) -> Iterator[Metric]:
        journal, snapshots = self._journal, self._snapshots
        yield GaugeMetricFamily("synap_journal_lsn", "Sequence number of the last change", journal.last_lsn)
        yield GaugeMetricFamily("synap_journal_synced_lsn", "Last change forced to disk", journal.synced_lsn)
        yield GaugeMetricFamily(
            "synap_journal_failing", "1 while the journal takes no writes", journal.failure is not None
        )
        yield GaugeMetricFamily("synap_journal_bytes", "Size of the journal's segments on disk", journal.size_bytes())
        yield CounterMetricFamily("synap_journal_written_bytes", "Bytes written to the journal", journal.bytes_written)
        committer = self._live.committer
        yield CounterMetricFamily("synap_journal_fsyncs", "Times the journal was forced to disk", committer.syncs)
        yield CounterMetricFamily("synap_journal_fsync_seconds", "Time that took", committer.sync_secs)
        yield GaugeMetricFamily("synap_journal_last_fsync_seconds", "The last one", committer.last_sync_secs)
        if snapshots.last_at is not None:
            at_secs = snapshots.last_at / 1000
            yield GaugeMetricFamily("synap_snapshot_timestamp_seconds", "When the newest snapshot was made", at_secs)
        if snapshots.last_secs is not None:
            secs = snapshots.last_secs
            yield GaugeMetricFamily("synap_snapshot_duration_seconds", "How long the newest snapshot took", secs)
        yield CounterMetricFamily("synap_snapshot_failures", "Snapshots that could not be made", snapshots.failures)


class _Collected(Collector):
    """Metrics with the values they had."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


class _Survey(Generic[T]):
    """How many there are, and which of them are the largest."""

    def __init__(self) -> None:
        self.count = 0
        self.totals: Counter[str] = Counter()
        self.ranked: list[tuple[int, T]] = []
        """The largest, each behind its size; of equal ones those that came first."""

    def add(self, found: list[tuple[int, T]]) -> None:
        """Some more, each behind its size."""
        self.count += len(found)
        self.ranked = heapq.nlargest(SHOWN_MAX, [*self.ranked, *found], itemgetter(0))

    @property
    def largest(self) -> list[T]:
        return [each for _, each in self.ranked]

    @property
    def not_shown(self) -> int:
        return self.count - len(self.ranked)


async def _portions(items: list[T]) -> AsyncIterator[list[T]]:
    """Portions of a list; everybody else has a turn after each."""
    for start in range(0, len(items), _PORTION):
        yield items[start : start + _PORTION]
        await asyncio.sleep(0)


def _events(stream: Stream, now: Millis) -> int:
    return sum(log.count(now) for log in stream.partitions)


def _counts(name: str, help_text: str, label: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


def _gauges(name: str, help_text: str, shown: Sequence[N], value: Callable[[N], float], label: str = "queue") -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=[label])
    for each in shown:
        family.add_metric([each.name], value(each))
    return family
