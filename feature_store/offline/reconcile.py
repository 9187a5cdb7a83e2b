"""Batch over a streaming group: recompute a span from the event log, compare it with what is there, correct it.

The same run backfills (nothing is there yet) and reconciles (the stream wrote it). Rows are only ever added: a row that
was wrong stays, with its older created_timestamp, because it is what serving had; and an append cannot collide with
the stream's own commits.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pyiceberg.catalog import Catalog

from feature_store.compile.spark import compile_spark, events_after
from feature_store.compile.spark_expressions import quote
from feature_store.dtypes import FLOAT, DType, to_micros
from feature_store.offline.catalog import CATALOG
from feature_store.offline.materialize import Audit, Materialization, remember_first, span_of
from feature_store.offline.profile import profile_rows
from feature_store.offline.sources import open_source
from feature_store.offline.tables import ensure_table
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, GroupSchema
from feature_store.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

TOLERANCE = 1e-9
"""How far two floats may be apart, relative to the greater: engines add in different orders."""


@dataclass(frozen=True)
class Consistency:
    """Batch against what was stored, row for row (entity and feature timestamp).

    Args:
        batch: rows that batch computes.
        stored: rows that were there, each in its newest form.
        missing: rows of batch that were not there.
        extra: rows that were there and are none of batch's.
        mismatched: rows of both with another value in at least one feature.
        by_feature: for each feature, in how many rows of both its value differed.
        corrected: rows that were added.
    """

    batch: int
    stored: int
    missing: int
    extra: int
    mismatched: int
    by_feature: dict[str, int]
    corrected: int

    @property
    def rate(self) -> float:
        """Share of all rows that were right: 1 is perfect."""
        rows = self.batch + self.extra
        return 1.0 - (self.missing + self.extra + self.mismatched) / rows if rows else 1.0


def reconcile_span(
    spark: SparkSession,
    settings: Settings,
    catalog: Catalog,
    plan: GroupPlan,
    start: datetime,
    end: datetime,
    audit: Audit | None = None,
) -> tuple[Materialization, Consistency]:
    """Makes the rows that the events of `[start, end)` make known what batch says they are, by adding rows.

    Running it again adds nothing.

    Raises:
        InputError: if the event log does not fit its definition.
        QualityError: from the audit; nothing is added then.
    """
    began = time.monotonic()
    table = ensure_table(catalog, plan.schema)
    span = span_of(table, plan, to_micros(start), to_micros(end))
    sql = compile_spark(plan, span)
    inputs = tuple(
        open_source(spark, settings, s, plan.keys, events_after(plan, span), span.until) for s in plan.sources
    )
    rows = spark.sql(sql).persist()
    try:
        profile = profile_rows(rows, plan.schema)
        if audit is not None:
            audit(profile)
        stored = _stored(spark, plan.schema, span.after, span.until)
        compared = _compare(plan.schema, rows, stored).persist()
        found = _count(plan.schema, compared)
        if found.corrected:
            _append(plan.schema, compared, [field.name for field in table.schema().fields])
        compared.unpersist()
    finally:
        rows.unpersist()
    table.refresh()
    remember_first(table, plan, span)
    snapshot = table.current_snapshot()
    done = Materialization(
        group_id=plan.group.id,
        table=plan.schema.table,
        snapshot_id=snapshot.snapshot_id if snapshot is not None else 0,
        profile=profile,
        inputs=inputs,
        sql=sql,
        seconds=time.monotonic() - began,
    )
    return done, found


def _stored(spark: SparkSession, schema: GroupSchema, after: int, until: int) -> DataFrame:
    """What is there in a span: of each entity and feature timestamp the newest row."""
    keys = ", ".join(quote(key.name) for key in schema.keys)
    return spark.sql(
        f"SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY {keys}, {FEATURE_TIMESTAMP} "
        f"ORDER BY {CREATED_TIMESTAMP} DESC) AS copy FROM {CATALOG}.{schema.table} "
        f"WHERE {FEATURE_TIMESTAMP} > timestamp_micros({after}) AND {FEATURE_TIMESTAMP} <= timestamp_micros({until})) "
        "WHERE copy = 1"
    )


def _compare(schema: GroupSchema, batch: DataFrame, stored: DataFrame) -> DataFrame:
    """Every row of either: the right values under the features' names, and what is wrong with the stored ones.

    The right values of an extra row are those of the batch row before it, which hold until the next; they are unknown
    (`known` is false) where the span has none.
    """
    keys = [quote(key.name) for key in schema.keys]
    same_row = " AND ".join(f"b.{name} = s.{name}" for name in (*keys, FEATURE_TIMESTAMP))
    names = [quote(feature.name) for feature in schema.features]
    held = f"last(b_row, TRUE) OVER (PARTITION BY {', '.join(keys)} ORDER BY {FEATURE_TIMESTAMP}) AS held"
    row = f"struct({', '.join(f'b.{name}' for name in names)})"
    spark = batch.sparkSession
    joined = spark.sql(
        f"SELECT {', '.join(f'coalesce(b.{n}, s.{n}) AS {n}' for n in (*keys, FEATURE_TIMESTAMP))}, "
        f"b.{FEATURE_TIMESTAMP} IS NOT NULL AS in_batch, s.{FEATURE_TIMESTAMP} IS NOT NULL AS in_stored, "
        f"CASE WHEN b.{FEATURE_TIMESTAMP} IS NOT NULL THEN {row} END AS b_row, "
        f"struct({', '.join(f's.{name}' for name in names)}) AS s_row "
        f"FROM {{batch}} b FULL OUTER JOIN {{stored}} s ON {same_row}",
        batch=batch,
        stored=stored,
    )
    with_held = joined.selectExpr("*", held)
    differences = [
        f"in_stored AND held IS NOT NULL AND NOT {_equal(f.dtype, f'held.{name}', f's_row.{name}')} AS differs_{i}"
        for i, (f, name) in enumerate(zip(schema.features, names, strict=True))
    ]
    values = [f"held.{name} AS {name}" for name in names]
    return with_held.selectExpr(
        *keys, FEATURE_TIMESTAMP, "in_batch", "in_stored", "held IS NOT NULL AS known", *values, *differences
    )


def _count(schema: GroupSchema, compared: DataFrame) -> Consistency:
    differs = _any_differs(schema)
    wanted = [
        "count_if(in_batch) AS batch",
        "count_if(in_stored) AS stored",
        "count_if(in_batch AND NOT in_stored) AS missing",
        "count_if(in_stored AND NOT in_batch) AS extra",
        f"count_if(in_batch AND in_stored AND ({differs})) AS mismatched",
        f"count_if({_wrong(schema)}) AS corrected",
        *(f"count_if(in_batch AND differs_{i}) AS d{i}" for i in range(len(schema.features))),
    ]
    counts = compared.selectExpr(*wanted).first()
    assert counts is not None
    by_feature = {feature.name: counts[f"d{i}"] for i, feature in enumerate(schema.features)}
    names = ("batch", "stored", "missing", "extra", "mismatched", "corrected")
    return Consistency(by_feature=by_feature, **{name: counts[name] for name in names})


def _append(schema: GroupSchema, compared: DataFrame, columns: Iterable[str]) -> None:
    now = to_micros(datetime.now(UTC))
    present = {key.name for key in schema.keys} | {FEATURE_TIMESTAMP} | {f.name for f in schema.features}
    values = {name: quote(name) if name in present else "NULL" for name in columns}
    values[CREATED_TIMESTAMP] = f"timestamp_micros({now})"
    wrong = compared.where(_wrong(schema))
    wrong.selectExpr(*(f"{value} AS {quote(name)}" for name, value in values.items())).writeTo(
        f"{CATALOG}.{schema.table}"
    ).append()


def _wrong(schema: GroupSchema) -> str:
    """Rows to add: those that are missing, and those whose stored values are not the right ones."""
    return f"known AND (NOT in_stored OR {_any_differs(schema)})"


def _any_differs(schema: GroupSchema) -> str:
    return "(" + " OR ".join(f"differs_{i}" for i in range(len(schema.features))) + ")"


def _equal(dtype: DType, left: str, right: str) -> str:
    if dtype == FLOAT:
        return f"({left} <=> {right} OR coalesce({_near(left, right)}, FALSE))"
    if dtype.item == FLOAT:
        pairs = f"zip_with({left}, {right}, (a, b) -> a <=> b OR coalesce({_near('a', 'b')}, FALSE))"
        return f"({left} <=> {right} OR coalesce(size({left}) = size({right}) AND forall({pairs}, x -> x), FALSE))"
    return f"({left} <=> {right})"


def _near(left: str, right: str) -> str:
    return f"abs({left} - {right}) <= {TOLERANCE}D * greatest(abs({left}), abs({right}))"
