"""What a server remembers, as metrics."""

from __future__ import annotations

from collections.abc import Iterator

from feature_store.online.read.cache import ValueCache
from serving.families import Family


class CacheMetrics:
    """Hits, misses and size of a cache."""

    def __init__(self, cache: ValueCache) -> None:
        self._cache = cache

    def families(self) -> Iterator[Family]:
        """The metrics at the moment."""
        yield Family(
            "feature_store_cache_values",
            "Values of groups that may be remembered which were asked for, by whether they were remembered",
            "counter",
            ("result",),
            {("hit",): self._cache.hits, ("miss",): self._cache.misses},
        )
        yield Family("feature_store_cache_size", "Values that are remembered", "total", (), {(): len(self._cache)})
