"""What is counted of functions of on-demand features, as metrics."""

from __future__ import annotations

from collections.abc import Iterator

from feature_store.online.read.functions import FunctionThreads
from serving.families import Family


class FunctionMetrics:
    """Calls that had no value in time, by feature, and functions that are still running."""

    def __init__(self, functions: FunctionThreads) -> None:
        self._functions = functions

    def families(self) -> Iterator[Family]:
        """The metrics at the moment."""
        reasons = (("late", self._functions.late), ("refused", self._functions.refused))
        yield Family(
            "feature_store_function_timeouts",
            "Calls of functions of on-demand features that were late, or not begun because others were",
            "counter",
            ("view", "feature", "reason"),
            {
                (view, feature, reason): count
                for reason, counts in reasons
                for (view, feature), count in counts.copy().items()
            },
        )
        yield Family(
            "feature_store_functions_stuck",
            "Functions that are running for longer than they may",
            "total",
            (),
            {(): self._functions.stuck},
        )
