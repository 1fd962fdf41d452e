"""/metrics: what the server already counts, read at the moment somebody asks, in Prometheus's text form.

Clients can make any number of queues, rooms and groups. Of each only the largest are shown one by one, and a gauge says
how many are left out; totals count all.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Protocol, TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from synap.clock import Millis
from synap.commands.dispatcher import Dispatcher
from synap.commands.state import State
from synap.engines.queues import Queue
from synap.engines.streams import Stream
from synap.journal.log import FileJournal
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


class _Named(Protocol):
    name: str


N = TypeVar("N", bound=_Named)


class Metrics(Collector):
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
    ) -> None:
        self._dispatcher = dispatcher
        self._state = state
        self._journal = journal
        self._lane = lane
        self._live = live
        self._overview = overview
        self._snapshots = snapshots
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """The page."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """All metrics with their current values."""
        now = self._live.now()
        yield from self._operations()
        yield from self._durations()
        yield from self._guarding()
        yield from self._data()
        yield from self._queues(now)
        yield from self._streams(now)
        yield from self._pubsub()
        yield from self._connections()
        yield from self._durability()
        yield from self._replication()
        yield GaugeMetricFamily("synap_uptime_seconds", "Since the server was started", self._overview.uptime_secs)

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

    def _queues(self, now: Millis) -> Iterator[Metric]:
        queues = self._state.queues
        found = [queue for name in queues.names() if (queue := queues.find(name, now)) is not None]
        yield GaugeMetricFamily("synap_queues", "Queues", len(found))
        messages = GaugeMetricFamily("synap_queue_messages", "Messages in all queues", labels=["state"])
        for stage in ("depth", "delayed", "in_flight", "dlq_depth"):
            messages.add_metric([stage], sum(getattr(queue, stage) for queue in found))
        yield messages
        shown = _largest(found, lambda queue: queue.depth + queue.in_flight)

        def age_secs(queue: Queue) -> float:
            oldest_at = queue.oldest_ready_at()
            return 0.0 if oldest_at is None else (now - oldest_at) / 1000

        yield _gauges("synap_queue_depth", "Messages that are ready", shown, lambda queue: queue.depth)
        yield _gauges("synap_queue_in_flight", "Messages that are leased", shown, lambda queue: queue.in_flight)
        yield _gauges("synap_queue_oldest_message_age_seconds", "Of the messages that are ready", shown, age_secs)
        yield GaugeMetricFamily("synap_queues_not_shown", "Queues too small to be shown", len(found) - len(shown))

    def _streams(self, now: Millis) -> Iterator[Metric]:
        streams, line = self._state.streams, self._state.line
        found = [stream for name in streams.names() if (stream := streams.find(name)) is not None]
        yield GaugeMetricFamily("synap_streams", "Rooms", len(found))

        def events(stream: Stream) -> int:
            return sum(log.count(now) for log in stream.partitions)

        def size_bytes(stream: Stream) -> int:
            return sum(log.size_bytes(now) for log in stream.partitions)

        def subscribers(stream: Stream) -> int:
            return len(line.watchers((Stream, stream.name)))

        shown = _largest(found, events)
        yield _gauges("synap_room_events", "Events kept", shown, events, "room")
        yield _gauges("synap_room_bytes", "Bytes of the events kept", shown, size_bytes, "room")
        yield _gauges("synap_room_subscribers", "Live subscriptions", shown, subscribers, "room")
        yield GaugeMetricFamily("synap_rooms_not_shown", "Rooms too small to be shown", len(found) - len(shown))
        yield from self._groups(found, now)

    def _groups(self, streams: list[Stream], now: Millis) -> Iterator[Metric]:
        lags = [(stream.lag(group, now), stream.name, group) for stream in streams for group in stream.group_names()]
        shown = heapq.nlargest(SHOWN_MAX, lags)
        lag = GaugeMetricFamily("synap_group_lag", "Events that a group has not read", labels=("room", "group"))
        for count, room, group in shown:
            lag.add_metric([room, group], count)
        yield lag
        yield GaugeMetricFamily(
            "synap_groups_not_shown", "Groups that lag too little to be shown", len(lags) - len(shown)
        )

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


def _counts(name: str, help_text: str, label: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


def _largest(found: list[N], size: Callable[[N], int]) -> list[N]:
    return heapq.nlargest(SHOWN_MAX, found, size)


def _gauges(name: str, help_text: str, shown: Sequence[N], value: Callable[[N], float], label: str = "queue") -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=[label])
    for each in shown:
        family.add_metric([each.name], value(each))
    return family
