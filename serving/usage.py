"""Which model reads which view, as requests say it; recorded now and then, off their path."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from feature_store.errors import FeatureStoreError, NotFoundError
from feature_store.registry.records import Kind
from feature_store.registry.store import Registry

FLUSH_SECONDS = 5.0
MOST_MODELS = 10_000
"""Pairs of a model and what it reads that are remembered between two flushes: a caller may say any name."""

_log = logging.getLogger(__name__)


class UsageCounts:
    """Counts reads by models since the last flush."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._counts: Counter[tuple[Kind, str, str]] = Counter()

    def note(self, kind: Kind, used: str, model: str) -> None:
        """Counts one read."""
        key = (kind, used, model)
        if key in self._counts or len(self._counts) < MOST_MODELS:
            self._counts[key] += 1

    async def run(self) -> None:
        """Records the counts, again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Records the counts; what the registry does not take is kept for the next time."""
        counts, self._counts = self._counts, Counter()
        if counts:
            self._counts.update(await asyncio.to_thread(self._record, counts))

    def _record(self, counts: Counter[tuple[Kind, str, str]]) -> Counter[tuple[Kind, str, str]]:
        """Records counts; gives back those that were not recorded."""
        for kind, used, model in [*counts]:
            try:
                self._registry.record_usage(used, model, "serving", kind=kind, times=counts[kind, used, model])
            except NotFoundError:
                pass  # it was forgotten since
            except FeatureStoreError as error:
                _log.warning("usage is kept until the registry answers: %s", error)
                break
            del counts[kind, used, model]
        return counts
