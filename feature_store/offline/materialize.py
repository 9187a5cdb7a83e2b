"""One run of a group: compute the rows of a span, write them to a branch, audit them there, and publish them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table, Transaction

from feature_store.compile.span import Span
from feature_store.compile.spark import compile_spark, rows_after
from feature_store.compile.spark_expressions import quote
from feature_store.compile.spark_sliding import compile_tiles, is_slid
from feature_store.dtypes import to_micros
from feature_store.offline.arrivals.kinds import arrived_since
from feature_store.offline.audit import Audit, evidence_of
from feature_store.offline.beginning import former_beginnings, note_beginning, note_former_beginnings, span_of
from feature_store.offline.computed import note_computed
from feature_store.offline.history import Consistency, all_missing
from feature_store.offline.late import Bounds, noted, read_sources
from feature_store.offline.profile import Profile, profile_rows
from feature_store.offline.queried import queried_rows
from feature_store.offline.shared_tiles import SharedTiles, Tiles
from feature_store.offline.sliding import SLID_FROM, slid_rows
from feature_store.offline.sources import InputCounts, open_sources
from feature_store.offline.staging import publish, rows_of, stage, staged_rows
from feature_store.offline.tables import ensure_table
from feature_store.plan.nodes import GroupPlan, QueriedRows
from feature_store.plan.schema import FEATURE_TIMESTAMP
from feature_store.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

PREVIEWED = 5


@dataclass(frozen=True)
class Materialization:
    """What one run computed and wrote.

    Args:
        consistency: the computed rows against those that stood before.
        late: the spans before its own that rows which came since the last run touch; they are to be computed again.
        unknown: the sources of which that cannot be told, or not of all rows: docs/language.md, Late rows.
        shared: the groups of the same run that were computed from the same tiles.
    """

    group_id: str
    table: str
    snapshot_id: int
    profile: Profile
    consistency: Consistency
    inputs: tuple[InputCounts, ...]
    sql: str
    seconds: float
    late: tuple[Bounds, ...] = ()
    unknown: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()


def materialize_span(
    spark: SparkSession,
    settings: Settings,
    catalog: Catalog,
    plan: GroupPlan,
    start: datetime,
    end: datetime,
    audit: Audit | None = None,
    shared: SharedTiles | None = None,
) -> Materialization:
    """Computes the rows that the events of `[start, end)` make known, those with start < T <= end; they then stand.

    Running it again adds what comes out different, newer than what it replaces, and takes back what is gone; nothing
    else is touched. Spans in any order give the standing rows of one run over all of them.

    Args:
        shared: the tiles that the group has in common with others of the same run, if there are such.

    Raises:
        InputError: if a source does not fit its definition.
        QualityError: from the audit; the rows are then on a branch of the table and nowhere else.
        ConflictError: if other runs publish to the table faster than this one can.
    """
    began = time.monotonic()
    table = ensure_table(catalog, plan.schema)
    span = span_of(table, plan, to_micros(start), to_micros(end))
    arrivals = partial(arrived_since, spark, settings, plan, span)
    reading = read_sources(catalog, table, plan, span, arrivals)
    with (
        nullcontext() if shared is None else shared.of(plan, span, reading) as tiles,
        compute_rows(spark, settings, plan, span, reading.snapshots, tiles) as computed,
    ):
        staged = stage(table, plan, span, computed.rows)
    profile = profile_rows(staged_rows(spark, plan, span, staged), plan)
    if audit is not None:
        audit(evidence_of(spark, table, plan, span, profile, computed.inputs, staged.branch))

    def note(transaction: Transaction) -> None:
        note_former_beginnings(transaction, plan, span)
        note_beginning(transaction, plan, span)
        note_computed(transaction, span)
        transaction.set_properties(noted(transaction.table_metadata.properties, reading, span))

    snapshot = publish(spark, table, plan, span, staged, note)
    for former in sorted(former_beginnings(table.properties)):
        _take_back(spark, settings, table, plan, Span(former - plan.slide, former))
    return Materialization(
        group_id=plan.group.id,
        table=plan.schema.table,
        snapshot_id=snapshot,
        profile=profile,
        consistency=staged.found or all_missing(plan.schema, profile.rows),
        inputs=computed.inputs,
        sql=computed.sql,
        seconds=time.monotonic() - began,
        late=reading.late or (),
        unknown=reading.unknown,
        shared=computed.shared,
    )


@dataclass(frozen=True)
class Computed:
    """Rows that Spark is to compute, what they are computed from, the statement, and who shares their tiles."""

    rows: DataFrame
    inputs: tuple[InputCounts, ...]
    sql: str
    shared: tuple[str, ...] = ()


@contextmanager
def compute_rows(
    spark: SparkSession,
    settings: Settings,
    plan: GroupPlan,
    span: Span,
    snapshots: Mapping[str, int],
    tiles: Tiles | None = None,
) -> Iterator[Computed]:
    """The rows of a span, which Spark computes when they are used, inside the context.

    Args:
        snapshots: by source, of those that are Iceberg tables, the snapshot to read; the newest unless given.
        tiles: the group's tiles, if they are there already.

    Raises:
        InputError: if a source does not fit its definition.
    """
    if tiles is None:
        inputs, own = open_sources(spark, settings, plan, rows_after(plan, span), span.until, snapshots), None
    else:
        inputs, own = tiles.inputs, tiles.own
    with _compute(spark, plan, span, inputs, own) as computed:
        if tiles is not None:
            computed = replace(computed, sql=f"{tiles.made_by};\n\n{computed.sql}", shared=tiles.others)
        yield computed


@contextmanager
def _compute(
    spark: SparkSession, plan: GroupPlan, span: Span, inputs: tuple[InputCounts, ...], tiles: str | None = None
) -> Iterator[Computed]:
    """The rows of a span: of a query in parts, else by the kernel if there is enough to do, else in SQL alone."""
    source_rows = sum(source.rows for source in inputs)
    if isinstance(plan.rows, QueriedRows):
        with queried_rows(spark, plan, span, source_rows) as rows:
            yield Computed(rows, inputs, compile_spark(plan, span))
    elif is_slid(plan, span) and source_rows >= SLID_FROM:
        yield Computed(slid_rows(spark, plan, span, tiles), inputs, compile_tiles(plan, span, tiles))
    else:
        sql = compile_spark(plan, span, tiles)
        yield Computed(spark.sql(sql), inputs, sql)


def preview_rows(
    spark: SparkSession, plan: GroupPlan, done: Materialization, start: datetime, end: datetime
) -> list[dict[str, Any]]:
    """A few of the rows that a run from `start` to `end` left in the table, to look at."""
    if not done.profile.rows:
        return []
    rows = rows_of(spark, plan, Span(to_micros(start), to_micros(end)), done.snapshot_id)
    found: list[dict[str, Any]] = rows.limit(PREVIEWED).toArrow().to_pylist()
    return found


def _take_back(spark: SparkSession, settings: Settings, table: Table, plan: GroupPlan, span: Span) -> None:
    """Takes the rows of a former beginning back that are none of changes; the others stay as they were judged."""
    keys = [*plan.keys, FEATURE_TIMESTAMP]
    now = table.current_snapshot()
    assert now is not None
    with compute_rows(spark, settings, plan, span, {}) as computed:
        changed = computed.rows.select(*map(quote, keys))
        staged = stage(table, plan, span, rows_of(spark, plan, span, now.snapshot_id).join(changed, keys, "left_semi"))
    publish(spark, table, plan, span, staged, lambda transaction: note_former_beginnings(transaction, plan, span))
