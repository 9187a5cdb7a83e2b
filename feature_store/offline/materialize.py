"""One run of a group: compute the rows of a span, audit them, and write them in one commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from feature_store.compile.span import Span
from feature_store.compile.spark import compile_spark, events_after
from feature_store.compile.spark_expressions import quote
from feature_store.dtypes import to_micros
from feature_store.duration import DAY
from feature_store.errors import ConflictError
from feature_store.offline.catalog import CATALOG
from feature_store.offline.profile import Profile, profile_rows
from feature_store.offline.sources import InputCounts, open_source
from feature_store.offline.tables import FIRST_TIMESTAMP, ensure_table
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP
from feature_store.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Audit = Callable[[Profile], None]
"""Looks at the rows before they are written; raises to keep them from being written."""


@dataclass(frozen=True)
class Materialization:
    """What one run computed and wrote."""

    group_id: str
    table: str
    snapshot_id: int
    profile: Profile
    inputs: tuple[InputCounts, ...]
    sql: str
    seconds: float


def materialize_span(
    spark: SparkSession,
    settings: Settings,
    catalog: Catalog,
    plan: GroupPlan,
    start: datetime,
    end: datetime,
    audit: Audit | None = None,
) -> Materialization:
    """Computes and writes the rows that the events of `[start, end)` make known: those with start < T <= end.

    Running it again replaces exactly these rows: nothing is duplicated, nothing else is touched.

    Raises:
        InputError: if a source does not fit its definition.
        QualityError: from the audit; the table is then unchanged.
        ConflictError: if another run wrote the same days meanwhile; the table is then as that run left it.
    """
    began = time.monotonic()
    table = ensure_table(catalog, plan.schema)
    span = span_of(table, plan, to_micros(start), to_micros(end))
    with computed_rows(spark, settings, plan, span, audit) as computed:
        _write(spark, table, plan, span, computed.rows)
    table.refresh()
    remember_first(table, plan, span)
    return materialization(plan, table, computed, began)


@dataclass(frozen=True)
class Computed:
    """Rows that Spark has computed, and holds; what they and their inputs look like; the statement."""

    rows: DataFrame
    profile: Profile
    inputs: tuple[InputCounts, ...]
    sql: str


@contextmanager
def computed_rows(
    spark: SparkSession, settings: Settings, plan: GroupPlan, span: Span, audit: Audit | None
) -> Iterator[Computed]:
    """Computes the rows of a span, which Spark holds until the end of the block, and has them looked at.

    Raises:
        InputError: if a source does not fit its definition.
        QualityError: from the audit.
    """
    sql = compile_spark(plan, span)
    after = events_after(plan, span)
    inputs = tuple(open_source(spark, settings, source, plan.keys, after, span.until) for source in plan.sources)
    rows = spark.sql(sql).persist()
    try:
        profile = profile_rows(rows, plan.schema)
        if audit is not None:
            audit(profile)
        yield Computed(rows, profile, inputs, sql)
    finally:
        rows.unpersist()


def materialization(plan: GroupPlan, table: Table, computed: Computed, began: float) -> Materialization:
    """What a run did that began at a reading of the monotonic clock (seconds) and has written its rows."""
    snapshot = table.current_snapshot()
    return Materialization(
        group_id=plan.group.id,
        table=plan.schema.table,
        snapshot_id=snapshot.snapshot_id if snapshot is not None else 0,
        profile=computed.profile,
        inputs=computed.inputs,
        sql=computed.sql,
        seconds=time.monotonic() - began,
    )


def span_of(table: Table, plan: GroupPlan, after: int, until: int) -> Span:
    """The span; `first` if the group's history begins in it, because no earlier partition was ever written."""
    recorded = table.properties.get(FIRST_TIMESTAMP)
    return Span(after, until, first=recorded is None or after + plan.slide <= int(recorded))


def inside(span: Span) -> str:
    """The condition in Spark SQL that a row is one of a span."""
    bounds = f"timestamp_micros({span.after}) AND {FEATURE_TIMESTAMP} <= timestamp_micros({span.until})"
    return f"{FEATURE_TIMESTAMP} > {bounds}"


def remember_first(table: Table, plan: GroupPlan, span: Span) -> None:
    """Notes in the table where the group's history begins, if it begins with this span."""
    first = str(span.after + plan.slide)
    if span.first and table.properties.get(FIRST_TIMESTAMP) != first:
        with table.transaction() as transaction:
            transaction.set_properties({FIRST_TIMESTAMP: first})


def _write(spark: SparkSession, table: Table, plan: GroupPlan, span: Span, rows: DataFrame) -> None:
    """Replaces the days that the span touches by their other rows and the new ones, in one commit.

    Whole days, because Iceberg refuses to overwrite part of a file, and because `overwritePartitions` would leave the
    rows of a day whose new result is empty.
    """
    from pyspark.sql.functions import expr, lit

    name = f"{CATALOG}.{plan.schema.table}"
    first_day = (span.after + plan.slide) // DAY * DAY
    end_day = (span.until // DAY + 1) * DAY
    days = f"{FEATURE_TIMESTAMP} >= timestamp_micros({first_day}) AND {FEATURE_TIMESTAMP} < timestamp_micros({end_day})"
    created = lit(datetime.now(UTC)).cast("timestamp")
    columns = [field.name for field in table.schema().fields]
    present = rows.withColumn(CREATED_TIMESTAMP, created).columns
    written = rows.withColumn(CREATED_TIMESTAMP, created).selectExpr(
        *(quote(c) if c in present else f"NULL AS {quote(c)}" for c in columns)
    )
    if plan.slide < DAY:
        kept = spark.table(name).where(f"{days} AND NOT ({inside(span)})").select(*map(quote, columns))
        written = kept.unionByName(written)
    before = table.current_snapshot()
    writer = written.writeTo(name)
    if before is not None:
        writer = writer.option("isolation-level", "serializable").option(
            "validate-from-snapshot-id", before.snapshot_id
        )
    try:
        writer.overwrite(expr(days))
    except Exception as error:
        if "ValidationException" not in str(error):
            raise
        raise ConflictError(
            f"another run has written the same days of {plan.schema.table} since this one began; nothing was written",
            where=f"group {plan.group.id}",
            remedy="run the partition again",
            code="concurrent-write",
        ) from error
