"""What two looks at a server's metrics, one after the other, tell: counts, and rates by their difference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[str, list[tuple[dict[str, str], float]]]


@dataclass(frozen=True)
class Look:
    """The metrics at a moment, in seconds of any clock, and what replication.status and admin.stats answered.

    Either is None for somebody who may not ask that.
    """

    at: float
    samples: Samples
    status: dict[str, Any] | None = None
    stats: dict[str, Any] | None = None

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples with these labels; 0 where there are none."""
        return sum(value for given, value in self.samples.get(name, ()) if labels.items() <= given.items())

    def has(self, name: str) -> bool:
        """Whether the server tells it."""
        return bool(self.samples.get(name))

    def labelled(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The samples by the values of these labels."""
        return {tuple(given[label] for label in labels): value for given, value in self.samples.get(name, ())}


@dataclass(frozen=True)
class Namespace:
    """What became of the commands of a namespace between two looks."""

    name: str
    per_sec: float
    failed_per_sec: float
    """Rejected ones included."""
    p99_secs: float
    """The upper end of the bucket it is in; infinite above the last."""


def read_samples(page: bytes) -> Samples:
    """What stands in Prometheus's text form. Raises ValueError."""
    samples: Samples = defaultdict(list)
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            samples[sample.name].append((sample.labels, sample.value))
    return dict(samples)


class Difference:
    """What happened from one look to the next."""

    def __init__(self, before: Look | None, after: Look) -> None:
        """`before` None, or of a server that has started anew since: nothing is known to have happened."""
        self._after = after
        is_same = before is not None and before.value("synap_uptime_seconds") <= after.value("synap_uptime_seconds")
        self._before = before if is_same and before is not None else after
        self._secs = after.at - self._before.at

    def per_sec(self, name: str, **labels: str) -> float:
        """How fast a counter went up."""
        return self._grown(name, **labels) / self._secs if self._secs > 0 else 0.0

    def mean(self, total: str, count: str) -> float:
        """How much of `total` there was for each of `count`."""
        times = self._grown(count)
        return self._grown(total) / times if times > 0 else 0.0

    def namespaces(self) -> Iterator[Namespace]:
        """All in which anything happened, the busiest first."""
        names = {labels["component"] for labels, _ in self._after.samples.get("synap_operations_total", ())}
        found = [self._namespace(name) for name in names]
        busy = (each for each in found if each.per_sec or each.failed_per_sec)
        yield from sorted(busy, key=lambda each: (-each.per_sec, each.name))

    def _namespace(self, name: str) -> Namespace:
        failed = ("synap_operations_failed_total", "synap_operations_rejected_total")
        return Namespace(
            name=name,
            per_sec=self.per_sec("synap_operations_total", component=name),
            failed_per_sec=sum(self.per_sec(counter, component=name) for counter in failed),
            p99_secs=self._quantile(0.99, "synap_command_duration_seconds_bucket", component=name),
        )

    def _quantile(self, share: float, name: str, **labels: str) -> float:
        counts = self._buckets(self._after, name, labels)
        for bound, count in self._buckets(self._before, name, labels).items():
            if self._before is not self._after:
                counts[bound] -= count
        total = max(counts.values(), default=0.0)
        if self._before is self._after or total <= 0:
            return 0.0
        return min((bound for bound, count in counts.items() if count >= share * total), default=0.0)

    @staticmethod
    def _buckets(look: Look, name: str, labels: dict[str, str]) -> defaultdict[float, float]:
        counts: defaultdict[float, float] = defaultdict(float)
        for given, value in look.samples.get(name, ()):
            if labels.items() <= given.items():
                counts[float(given["le"])] += value
        return counts

    def _grown(self, name: str, **labels: str) -> float:
        return self._after.value(name, **labels) - self._before.value(name, **labels)
