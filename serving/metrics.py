"""What the server counts, for Prometheus. Counting is a dict and an addition; the rest is done when it is asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from feature_store.online.vectors import OnlineVectors, Status

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class ServingMetrics:
    """The counts of one server process.

    Args:
        is_up: whether Redis can be asked.
        age: seconds since the registry confirmed the definitions; None if it has not.
    """

    def __init__(self, is_up: Callable[[], bool], age: Callable[[], float | None]) -> None:
        self._registry = CollectorRegistry()
        self.seconds: dict[tuple[str, str], Latencies] = {}
        """Per route and target."""
        self.requests: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.values: defaultdict[tuple[str, Status], int] = defaultdict(int)
        self.behind: dict[str, float] = {}
        """Per group, how long before its last request its rows were complete (seconds)."""
        self._is_up = is_up
        self._age = age
        self._registry.register(_Counts(self))

    def add(self, collector: Collector) -> None:
        """Shows what another part of the server counts."""
        self._registry.register(collector)

    def note(self, route: str, target: str, status: int, seconds: float) -> None:
        """Counts a request; `target` is the group or view, empty if none was found."""
        latencies = self.seconds.get((route, target))
        if latencies is None:
            latencies = self.seconds[route, target] = Latencies()
        latencies.counts[bisect_left(_SECONDS, seconds)] += 1
        latencies.total += seconds
        self.requests[route, status] += 1

    def note_vectors(self, vectors: OnlineVectors) -> None:
        """Counts what was found of each entity, by groups."""
        for i, part in enumerate(vectors.groups):
            statuses, group = part.entities.statuses, part.group.id
            present = statuses.count(Status.PRESENT)
            if present:
                self.values[group, Status.PRESENT] += present
            if present != len(statuses):
                for status in statuses:
                    if status is not Status.PRESENT:
                        self.values[group, status] += 1
            complete_at = vectors.complete_at[i]
            if complete_at is not None:
                self.behind[group] = (vectors.instant - complete_at) / 1e6

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Everything, at the moment."""
        return self._registry.collect()

    def gauges(self) -> Iterator[tuple[str, str, float]]:
        """Names, descriptions and values of what is true at the moment."""
        yield "feature_store_redis_up", "Whether Redis can be asked", float(self._is_up())
        age = self._age()
        if age is not None:
            yield "feature_store_definitions_age_seconds", "Since the registry confirmed the definitions", age


@dataclass
class Latencies:
    """How many requests took up to each of `_SECONDS`, and longer than all of them; the sum of their times."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(_SECONDS) + 1))
    total: float = 0.0

    def buckets(self) -> list[tuple[str, float]]:
        """How many took up to each bound, as Prometheus counts: what is below a bound is below all larger ones."""
        bounds = [*map(str, _SECONDS), "+Inf"]
        return [*zip(bounds, map(float, accumulate(self.counts)), strict=True)]


class _Counts(Collector):
    def __init__(self, metrics: ServingMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        seconds = HistogramMetricFamily(
            "feature_store_request_seconds",
            "Time of a request from its first byte to its answer",
            labels=("route", "target"),
        )
        for names, latencies in dict(self._metrics.seconds).items():
            seconds.add_metric(names, latencies.buckets(), latencies.total)
        yield seconds
        requests = CounterMetricFamily("feature_store_requests", "Requests answered", labels=("route", "status"))
        for (route, code), count in dict(self._metrics.requests).items():
            requests.add_metric((route, str(code)), count)
        yield requests
        values = CounterMetricFamily(
            "feature_store_entities", "Entities asked for, by what was found of them", labels=("group", "status")
        )
        for (group, status), count in dict(self._metrics.values).items():
            values.add_metric((group, status), count)
        yield values
        behind = GaugeMetricFamily(
            "feature_store_group_age_seconds", "How old a group's rows were when it was read last", labels=("group",)
        )
        for group, age in dict(self._metrics.behind).items():
            behind.add_metric((group,), age)
        yield behind
        for name, description, number in self._metrics.gauges():
            yield GaugeMetricFamily(name, description, number)
