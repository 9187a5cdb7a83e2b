"""Requests that are turned away so that others are answered, as a metric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from feature_store.errors import FeatureStoreError
from serving.families import Family

_REASONS = ("busy", "rate-limited", "shutting-down")
"""Codes of errors: too many commands wait for Redis; a token asks too often; the server ends."""


class ShedRequests:
    """The counts of one server process."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def note(self, error: FeatureStoreError) -> None:
        """Counts a request that ended so, if it was turned away."""
        if error.code in _REASONS:
            self._counts[error.code] += 1

    def families(self) -> Iterator[Family]:
        """The metric at the moment."""
        yield Family(
            "feature_store_shed_requests",
            "Requests that were turned away: too many commands wait for Redis (busy), a token asks too often, the "
            "server ends",
            "counter",
            ("reason",),
            {(reason,): self._counts[reason] for reason in _REASONS},
        )
