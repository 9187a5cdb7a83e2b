"""Batch over a streaming group: recompute a span from the event log, compare it with what is there, correct it.

The same run backfills (nothing is there yet) and reconciles (the stream wrote it). Rows are only ever added: a row that
was wrong stays, with its older created_timestamp, because it is what serving had; and an append cannot collide with
the stream's own commits. For the same reason two runs at once do no harm: both may add a row, but never another one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pyiceberg.catalog import Catalog

from feature_store.compile.span import Span
from feature_store.compile.spark_expressions import quote
from feature_store.dtypes import FLOAT, DType, to_micros
from feature_store.errors import ConflictError
from feature_store.offline.audit import Audit, evidence_of
from feature_store.offline.beginning import note_beginning, span_of
from feature_store.offline.catalog import CATALOG
from feature_store.offline.materialize import Materialization, compute_rows, materialization
from feature_store.offline.profile import profile_rows
from feature_store.offline.refs import commit
from feature_store.offline.staging import inside
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
        corrected: rows that were added: those missing, and the right values of those that were wrong. An extra row
            whose values are those that batch has standing there is right, and needs none; what should stand there is
            unknown, and nothing is added, where its entity has no earlier row at all.
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
        return self._share(self.missing + self.extra + self.mismatched)

    @property
    def rates(self) -> dict[str, float]:
        """For each feature the share of all rows that were there with its right value."""
        return {name: self._share(self.missing + self.extra + count) for name, count in self.by_feature.items()}

    def _share(self, wrong: int) -> float:
        rows = self.batch + self.extra
        return 1.0 - wrong / rows if rows else 1.0


def settled_at(plan: GroupPlan, end: datetime) -> datetime:
    """When all events before `end` and the rows they change have been committed, by the clock: events come out of order
    and late, and logs and groups are committed at intervals."""
    assert plan.stream is not None
    wait = plan.stream.out_of_orderness_size + plan.stream.lateness_size + plan.group.commit_size
    return end + timedelta(microseconds=wait)


def reconcile_span(
    spark: SparkSession,
    settings: Settings,
    catalog: Catalog,
    plan: GroupPlan,
    start: datetime,
    end: datetime,
    audit: Audit | None = None,
    *,
    now: datetime | None = None,
) -> tuple[Materialization, Consistency]:
    """Makes the rows that the events of `[start, end)` make known what batch says they are, by adding rows.

    Running it again adds nothing.

    Args:
        audit: looks at batch's rows before any is added.
        now: refuse a span that is not settled by then, for what the log does not have yet would be taken back from the
            stream's rows. Without it the span is computed from what the log has: a backfill that was asked for.

    Raises:
        ConflictError: if the span is not settled yet.
        InputError: if the event log does not fit its definition.
        QualityError: from the audit; nothing is added then.
    """
    began = time.monotonic()
    if now is not None and now < settled_at(plan, end):
        raise ConflictError(
            f"events before {end:%Y-%m-%d %H:%M} can still arrive until {settled_at(plan, end):%Y-%m-%d %H:%M:%S} UTC",
            where=f"group {plan.group.id}",
            remedy="reconcile it then; to compute it from what is there, backfill the offline asset",
            code="unsettled",
        )
    table = ensure_table(catalog, plan.schema)
    span = span_of(table, plan, to_micros(start), to_micros(end))
    computed = compute_rows(spark, settings, plan, span, {})
    rows = computed.rows.persist()
    try:
        profile = profile_rows(rows, plan)
        if audit is not None:
            audit(evidence_of(table, plan, span, profile, computed.inputs))
        columns = [field.name for field in table.schema().fields]
        if _has_rows(spark, plan.schema, span):
            found = _correct(plan.schema, rows, span, columns)
        else:  # a backfill as a rule
            found = _all_missing(plan.schema, profile.rows)
            if found.corrected:
                _append(plan.schema, rows, columns, "timestamp_micros({now})")
    finally:
        rows.unpersist()
    table.refresh()
    commit(table, lambda transaction: note_beginning(transaction, plan, span))
    snapshot = table.current_snapshot()
    written = snapshot.snapshot_id if snapshot is not None else 0
    return materialization(plan, written, profile, computed, began), found


def _has_rows(spark: SparkSession, schema: GroupSchema, span: Span) -> bool:
    """Whether any row of a span is stored."""
    return not spark.sql(f"SELECT 1 FROM {CATALOG}.{schema.table} WHERE {inside(span)} LIMIT 1").isEmpty()


def _all_missing(schema: GroupSchema, rows: int) -> Consistency:
    by_feature = {feature.name: 0 for feature in schema.features}
    return Consistency(rows, 0, missing=rows, extra=0, mismatched=0, by_feature=by_feature, corrected=rows)


def _correct(schema: GroupSchema, batch: DataFrame, span: Span, columns: Iterable[str]) -> Consistency:
    """Compares the batch's rows with what is stored, and adds what is missing or wrong."""
    compared = _compare(schema, batch, span).persist()
    if compared.where("NOT known").limit(1).count():
        standing = _standing(schema, compared.where("NOT known"), span.after)
        compared.unpersist()
        compared = _compare(schema, batch, span, standing).persist()
    try:
        found = _count(schema, compared)
        if found.corrected:
            newer = "greatest(timestamp_micros({now}), stored_at + INTERVAL 1 MICROSECOND)"  # whatever other clocks say
            _append(schema, compared.where(_wrong(schema)), columns, newer)
    finally:
        compared.unpersist()
    return found


def _stored(schema: GroupSchema, where: str) -> str:
    """What is there: of each entity and feature timestamp the newest row."""
    keys = ", ".join(quote(key.name) for key in schema.keys)
    return (
        f"SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY {keys}, {FEATURE_TIMESTAMP} "
        f"ORDER BY {CREATED_TIMESTAMP} DESC) AS copy FROM {CATALOG}.{schema.table} WHERE {where}) WHERE copy = 1"
    )


def _standing(schema: GroupSchema, entities: DataFrame, after: int) -> DataFrame:
    """Of some entities the values that stand when a span begins: those of the newest row before it."""
    keys = [f"o.{quote(key.name)}" for key in schema.keys]
    row = f"struct({', '.join(f'o.{quote(feature.name)}' for feature in schema.features)})"
    same = " AND ".join(f"o.{quote(key.name)} = e.{quote(key.name)}" for key in schema.keys)
    return entities.sparkSession.sql(
        f"SELECT {', '.join(keys)}, max_by({row}, o.{FEATURE_TIMESTAMP}) AS standing_row "
        f"FROM ({_stored(schema, f'{FEATURE_TIMESTAMP} <= timestamp_micros({after})')}) o "
        f"SEMI JOIN {{entities}} e ON {same} GROUP BY {', '.join(keys)}",
        entities=entities,
    )


def _compare(schema: GroupSchema, batch: DataFrame, span: Span, standing: DataFrame | None = None) -> DataFrame:
    """Every row of either: the right values under the features' names, and what is wrong with the stored ones.

    The right values of an extra row are those of the batch row before it, which hold until the next. Where the span has
    none they are those that were `standing` when it began, and unknown (`known` is false) without.
    """
    spark = batch.sparkSession
    stored = spark.sql(_stored(schema, inside(span)))
    keys = [quote(key.name) for key in schema.keys]
    same_row = " AND ".join(f"b.{name} = s.{name}" for name in (*keys, FEATURE_TIMESTAMP))
    names = [quote(feature.name) for feature in schema.features]
    row = f"struct({', '.join(f'b.{name}' for name in names)})"
    joined = spark.sql(
        f"SELECT {', '.join(f'coalesce(b.{n}, s.{n}) AS {n}' for n in (*keys, FEATURE_TIMESTAMP))}, "
        f"b.{FEATURE_TIMESTAMP} IS NOT NULL AS in_batch, s.{FEATURE_TIMESTAMP} IS NOT NULL AS in_stored, "
        f"s.{CREATED_TIMESTAMP} AS stored_at, CASE WHEN b.{FEATURE_TIMESTAMP} IS NOT NULL THEN {row} END AS b_row, "
        f"struct({', '.join(f's.{name}' for name in names)}) AS s_row "
        f"FROM {{batch}} b FULL OUTER JOIN {{stored}} s ON {same_row}",
        batch=batch,
        stored=stored,
    )
    held = f"last(b_row, TRUE) OVER (PARTITION BY {', '.join(keys)} ORDER BY {FEATURE_TIMESTAMP})"
    if standing is not None:
        joined = joined.join(standing, [key.name for key in schema.keys], "left")
        held = f"coalesce({held}, standing_row)"
    differences = [
        f"in_stored AND held IS NOT NULL AND NOT {_equal(f.dtype, f'held.{name}', f's_row.{name}')} AS differs_{i}"
        for i, (f, name) in enumerate(zip(schema.features, names, strict=True))
    ]
    values = [f"held.{name} AS {name}" for name in names]
    known = ["in_batch", "in_stored", "stored_at", "held IS NOT NULL AS known"]
    return joined.selectExpr("*", f"{held} AS held").selectExpr(*keys, FEATURE_TIMESTAMP, *known, *values, *differences)


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


def _append(schema: GroupSchema, rows: DataFrame, columns: Iterable[str], created: str) -> None:
    """Adds rows; `created` is their created timestamp in SQL, with {now} for this moment."""
    present = {key.name for key in schema.keys} | {FEATURE_TIMESTAMP} | {f.name for f in schema.features}
    values = {name: quote(name) if name in present else "NULL" for name in columns}
    values[CREATED_TIMESTAMP] = created.format(now=to_micros(datetime.now(UTC)))
    rows.selectExpr(*(f"{value} AS {quote(name)}" for name, value in values.items())).writeTo(
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
