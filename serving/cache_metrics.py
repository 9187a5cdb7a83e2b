"""What a server remembers, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from feature_store.online.read.cache import ValueCache


class CacheCounts(Collector):
    """Hits, misses and size of a cache."""

    def __init__(self, cache: ValueCache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        found = CounterMetricFamily(
            "feature_store_cache_values",
            "Values of groups that may be remembered which were asked for, by whether they were remembered",
            labels=("result",),
        )
        found.add_metric(("hit",), self._cache.hits)
        found.add_metric(("miss",), self._cache.misses)
        yield found
        yield GaugeMetricFamily("feature_store_cache_size", "Values that are remembered", len(self._cache))
