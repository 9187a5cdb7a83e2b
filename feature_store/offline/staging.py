"""Write, audit, publish: the rows of a run are written to a branch of their own, looked at, and become the table's.

Publishing is one small commit: `main` moves to the branch's snapshot, if it is where it was when the branch began. Had
another run published meanwhile, the rows are written once more, to a branch of what is there now: nobody's are lost.
A branch that is not published stays to be looked at, until maintenance expires it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table, Transaction
from pyiceberg.table.update.snapshot import ManageSnapshots

from feature_store.compile.span import Span
from feature_store.compile.spark_expressions import quote
from feature_store.dtypes import from_micros
from feature_store.duration import DAY, MILLISECOND
from feature_store.errors import ConflictError
from feature_store.offline.catalog import CATALOG
from feature_store.offline.refs import commit
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.schema import FEATURE_TIMESTAMP

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

UNPUBLISHED_FOR_MS = 7 * DAY // MILLISECOND
"""How long (milliseconds) a branch stays that was not published, at least."""
_ATTEMPTS = 40


@dataclass(frozen=True)
class Staged:
    """Rows of a span on a branch: its snapshot, and that of `main` which it began at."""

    branch: str
    snapshot: int
    base: int


def inside(span: Span) -> str:
    """The condition in Spark SQL that a row is one of a span."""
    bounds = f"timestamp_micros({span.after}) AND {FEATURE_TIMESTAMP} <= timestamp_micros({span.until})"
    return f"{FEATURE_TIMESTAMP} > {bounds}"


def stage(spark: SparkSession, table: Table, plan: GroupPlan, span: Span, rows: DataFrame) -> Staged:
    """Writes the rows of a span to a new branch of the table; they have all its columns."""
    name = f"audit-{from_micros(span.after):%Y%m%dT%H}-{from_micros(span.until):%Y%m%dT%H}-{uuid.uuid4().hex[:8]}"
    return _stage(spark, table, plan, span, rows, name)


def rows_of(spark: SparkSession, plan: GroupPlan, span: Span, snapshot: int) -> DataFrame:
    """The rows of a span as a snapshot of the table has them."""
    return spark.sql(f"SELECT * FROM {CATALOG}.{plan.schema.table} VERSION AS OF {snapshot}").where(inside(span))


def publish(
    spark: SparkSession,
    table: Table,
    plan: GroupPlan,
    span: Span,
    staged: Staged,
    note: Callable[[Transaction], None],
) -> int:
    """Makes staged rows the table's, drops their branch, and notes what the run wants noted, all in one commit.

    Returns:
        The snapshot that has them.

    Raises:
        ConflictError: if others publish to the table faster than this can.
    """
    for _ in range(_ATTEMPTS):
        if table.metadata.current_snapshot_id != staged.base:
            rows = rows_of(spark, plan, span, staged.snapshot)
            staged = _stage(spark, table, plan, span, rows, staged.branch)
            continue  # `main` may have moved again while they were written
        try:
            with table.transaction() as transaction:
                _move_main(transaction, staged)
                note(transaction)
        except CommitFailedException:
            table.refresh()
        else:
            return staged.snapshot
    raise ConflictError(
        f"others commit to {plan.schema.table} all the time: {_ATTEMPTS} attempts to publish failed",
        where=f"group {plan.group.id}",
        remedy="run the partition again",
        code="concurrent-write",
    )


def _stage(spark: SparkSession, table: Table, plan: GroupPlan, span: Span, rows: DataFrame, branch: str) -> Staged:
    """Replaces the days that the span touches by their other rows and the new ones, on a branch of `main` as it is.

    Whole days, because Iceberg refuses to overwrite part of a file, and because `overwritePartitions` would leave the
    rows of a day whose new result is empty.
    """
    from pyspark.sql.functions import expr

    base = _begin_branch(table, branch)
    name = f"{CATALOG}.{plan.schema.table}.`branch_{branch}`"
    first_day = (span.after + plan.slide) // DAY * DAY
    end_day = (span.until // DAY + 1) * DAY
    days = f"{FEATURE_TIMESTAMP} >= timestamp_micros({first_day}) AND {FEATURE_TIMESTAMP} < timestamp_micros({end_day})"
    columns = [quote(field.name) for field in table.schema().fields]
    written = rows.select(*columns)
    if plan.slide < DAY:
        kept = spark.table(name).where(f"{days} AND NOT ({inside(span)})").select(*columns)
        written = kept.unionByName(written)
    try:
        written.writeTo(name).overwrite(expr(days))
    except Exception:
        commit(table.refresh(), lambda transaction: _drop_branch(transaction, branch))
        raise
    table.refresh()
    return Staged(branch, table.metadata.refs[branch].snapshot_id, base)


def _begin_branch(table: Table, branch: str) -> int:
    """Lets a branch begin at the newest snapshot, again if it began at another one; gives that snapshot."""
    if table.current_snapshot() is None:  # a branch needs one to begin at
        empty: pa.Table = table.schema().as_arrow().empty_table()
        table.append(empty)
    base = table.current_snapshot()
    assert base is not None
    begun, now = base.snapshot_id, int(time.time() * 1000)
    age = now - base.timestamp_ms + UNPUBLISHED_FOR_MS  # a branch is as old as its snapshot, which may be long ago

    def begin(transaction: Transaction) -> None:
        ManageSnapshots(transaction).create_branch(begun, branch, max_ref_age_ms=age).commit()

    commit(table, begin)
    return begun


def _move_main(transaction: Transaction, staged: Staged) -> None:
    ManageSnapshots(transaction).set_current_snapshot(staged.snapshot).remove_branch(staged.branch).commit()


def _drop_branch(transaction: Transaction, branch: str) -> None:
    ManageSnapshots(transaction).remove_branch(branch).commit()
