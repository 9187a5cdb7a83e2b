"""The life of a batch group that Spark computes: fewer sequences, as each of its runs takes seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from feature_store.dtypes import from_micros, to_micros
from feature_store.duration import DAY
from feature_store.offline.materialize import materialize_span
from feature_store.plan.nodes import GroupPlan
from feature_store.settings import Settings
from tests.simulation.batch_life import DAYS, BatchLife
from tests.simulation.group_store import GroupStore

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class SparkLife(BatchLife):
    """Spark creates rows by the clock of this machine, which is the clock here: the days are past, no step moves it."""

    begins = to_micros(datetime.now(UTC)) // DAY * DAY - (DAYS + 3) * DAY
    ttl = "20d"
    time_passes = None  # type: ignore[assignment]

    def _advance(self, minutes: int) -> None:
        self.store.now = to_micros(datetime.now(UTC))


def by_spark(
    spark: SparkSession, settings: Settings, store: GroupStore, plan: GroupPlan, after: int, until: int
) -> None:
    """Computes the rows with `after < T <= until` as a run of the product does."""
    materialize_span(spark, settings, store.services.catalog, plan, from_micros(after), from_micros(until))
