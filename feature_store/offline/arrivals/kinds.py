"""How arrivals of a source without snapshots are found: by what kind of source it is, and what it declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_store.compile.span import Span
from feature_store.dsl.source import BatchSource
from feature_store.offline.arrivals.arrivals import Arrivals, Cursor
from feature_store.offline.arrivals.files import arrived_by_files
from feature_store.offline.arrivals.fingerprints import arrived_by_fingerprints
from feature_store.offline.arrivals.transactions import arrived_by_transactions
from feature_store.offline.sources import typed_columns
from feature_store.plan.nodes import GroupPlan
from feature_store.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def arrived_since(
    spark: SparkSession, settings: Settings, plan: GroupPlan, span: Span, source: BatchSource, since: Cursor | None
) -> Arrivals:
    """What has come into files or a Postgres table since a cursor, before a run of a span reads them.

    Raises:
        InputError: if the source is not there, or does not fit its definition.
    """
    size = plan.group.partition_size
    if source.look_back is not None:
        return arrived_by_fingerprints(spark, settings, span.until, source, since)
    if source.jdbc is None:
        return arrived_by_files(spark, settings, size, source, since)
    typed_columns(spark, settings, source, [source.event_timestamp])  # says what is wrong with it
    return arrived_by_transactions(settings, size, source, since)
