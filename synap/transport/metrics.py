"""/metrics: what the server already counts, read at the moment somebody asks, in Prometheus's text form."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from synap.commands.dispatcher import Dispatcher
from synap.commands.state import State
from synap.journal.log import FileJournal
from synap.transport.lane import Lane
from synap.transport.live import Live

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """Everything exported. Names are part of the contract."""

    def __init__(self, dispatcher: Dispatcher, state: State, journal: FileJournal, lane: Lane, live: Live) -> None:
        self._dispatcher = dispatcher
        self._state = state
        self._journal = journal
        self._lane = lane
        self._live = live
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def render(self) -> bytes:
        """The page."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """All metrics with their current values."""
        yield from self._operations()
        yield from self._data()
        yield from self._queues_and_streams()
        yield from self._pubsub()
        yield from self._durability()
        yield GaugeMetricFamily("synap_connections", "Open connections", self._lane.open_count)

    def _operations(self) -> Iterator[Metric]:
        total = CounterMetricFamily("synap_operations", "Total operations by type", labels=["component", "operation"])
        failed = CounterMetricFamily(
            "synap_operations_failed", "Operations that ran and failed", labels=["component", "operation"]
        )
        rejected = CounterMetricFamily(
            "synap_operations_rejected", "Operations refused before they ran", labels=["component", "operation"]
        )
        for bound in self._dispatcher.bound.values():
            labels = [bound.command.namespace, bound.command.operation]
            total.add_metric(labels, bound.succeeded + bound.failed)
            failed.add_metric(labels, bound.failed)
            rejected.add_metric(labels, bound.rejected)
        yield from (total, failed, rejected)
        errors = CounterMetricFamily("synap_errors", "Error replies by code", labels=["code"])
        for code, count in sorted(self._dispatcher.errors_by_code.items()):
            errors.add_metric([code], count)
        yield errors

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

    def _queues_and_streams(self) -> Iterator[Metric]:
        queues, streams = self._state.queues, self._state.streams
        yield GaugeMetricFamily("synap_queues", "Queues", len(queues.names()))
        yield GaugeMetricFamily("synap_streams", "Rooms", len(streams.names()))
        yield GaugeMetricFamily("synap_waiting_commands", "Blocking commands that wait", len(self._dispatcher.line))
        messages = GaugeMetricFamily("synap_queue_messages", "Messages in all queues", labels=["state"])
        found = [queue for name in queues.names() if (queue := queues.find(name, self._live.now())) is not None]
        for stage in ("depth", "delayed", "in_flight", "dlq_depth"):
            messages.add_metric([stage], sum(getattr(queue, stage) for queue in found))
        yield messages

    def _pubsub(self) -> Iterator[Metric]:
        pubsub = self._state.pubsub
        yield GaugeMetricFamily("synap_push_connections", "WebSockets and event sources", len(self._live.clients))
        waiting = sum(len(client.outbox) for client in self._live.clients)
        yield GaugeMetricFamily("synap_outbox_messages", "Messages that wait for slow clients", waiting)
        for name, help_text, value in (
            ("synap_pubsub_published", "Messages published", pubsub.published_total),
            ("synap_pubsub_delivered", "Messages handed to subscribers", pubsub.delivered_total),
            ("synap_pubsub_dropped", "Messages dropped because a subscriber was too slow", pubsub.dropped_total),
        ):
            yield CounterMetricFamily(name, help_text, value)

    def _durability(self) -> Iterator[Metric]:
        journal = self._journal
        yield GaugeMetricFamily("synap_journal_lsn", "Sequence number of the last change", journal.last_lsn)
        yield GaugeMetricFamily("synap_journal_synced_lsn", "Last change forced to disk", journal.synced_lsn)
        yield GaugeMetricFamily(
            "synap_journal_failing", "1 while the journal takes no writes", journal.failure is not None
        )
        yield GaugeMetricFamily("synap_journal_bytes", "Size of the journal's segments on disk", journal.size_bytes())
        yield CounterMetricFamily("synap_journal_written_bytes", "Bytes written to the journal", journal.bytes_written)
