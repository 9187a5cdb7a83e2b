"""What an audit looks at before the rows of a run are published."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyiceberg.table import Table

from feature_store.compile.span import Span
from feature_store.offline.catalog import CATALOG
from feature_store.offline.profile import Profile
from feature_store.offline.sources import InputCounts
from feature_store.offline.standing import inside, inside_filter, standing_sql
from feature_store.offline.tables import FIRST_TIMESTAMP
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Evidence:
    """The rows of a run, what they were computed from, and the partitions before them.

    Args:
        partitions: how many partitions the run computed.
        recent_rows: how many rows stand in each of the partitions before it, the newest first; of those that have any.
        branch: of the table, where the rows are as they will be published.
    """

    profile: Profile
    inputs: tuple[InputCounts, ...]
    partitions: float
    recent_rows: tuple[int, ...] = ()
    branch: str = ""


Audit = Callable[[Evidence], None]
"""Looks at the rows before they are published; raises to keep them from being it."""


def evidence_of(
    spark: SparkSession,
    table: Table,
    plan: GroupPlan,
    span: Span,
    profile: Profile,
    inputs: tuple[InputCounts, ...],
    branch: str,
) -> Evidence:
    """The evidence of a run; the partitions before it are counted only if something is expected of their number."""
    size = plan.group.partition_size
    recent = tuple(_recent_rows(spark, table, plan, span, size)) if plan.group.expect_rows is not None else ()
    return Evidence(profile, inputs, (span.until - span.after) / size, recent, branch)


def _recent_rows(spark: SparkSession, table: Table, plan: GroupPlan, span: Span, size: int) -> Iterator[int]:
    first = table.properties.get(FIRST_TIMESTAMP)
    assert plan.group.expect_rows is not None
    for back in range(plan.group.expect_rows.recent):
        until = span.after - back * size
        if first is None or until - size < int(first):
            return
        if rows := _standing_rows(spark, table, plan, Span(until - size, until)):
            yield rows


def _standing_rows(spark: SparkSession, table: Table, plan: GroupPlan, partition: Span) -> int:
    """How many rows of a partition stand: by the metadata of files where all were created at once, else by Spark."""
    scan = table.scan(inside_filter(partition), selected_fields=(FEATURE_TIMESTAMP,))
    created = table.schema().find_field(CREATED_TIMESTAMP).field_id
    files = [task.file for task in scan.plan_files()]
    bounds = {(bounds or {}).get(created) for file in files for bounds in (file.lower_bounds, file.upper_bounds)}
    if None not in bounds and len(bounds) <= 1:
        return scan.count()
    keys = [key.name for key in plan.schema.keys]
    return spark.sql(standing_sql(f"{CATALOG}.{plan.schema.table}", keys, inside(partition))).count()
