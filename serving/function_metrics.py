"""What is counted of functions of on-demand features, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from feature_store.online.read.functions import FunctionThreads


class FunctionMetrics(Collector):
    """Calls that had no value in time, by feature, and functions that are still running."""

    def __init__(self, functions: FunctionThreads) -> None:
        self._functions = functions

    def collect(self) -> Iterator[Metric]:
        """The metrics at the moment."""
        calls = CounterMetricFamily(
            "feature_store_function_timeouts",
            "Calls of functions of on-demand features that were late, or not begun because others were",
            labels=("view", "feature", "reason"),
        )
        for reason, counts in (("late", self._functions.late), ("refused", self._functions.refused)):
            for (view, feature), count in counts.copy().items():
                calls.add_metric((view, feature, reason), count)
        yield calls
        yield GaugeMetricFamily(
            "feature_store_functions_stuck",
            "Functions that are running for longer than they may",
            self._functions.stuck,
        )
