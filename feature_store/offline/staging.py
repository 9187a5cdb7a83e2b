"""Write, audit, publish: the rows that a run adds are written to a branch, looked at there, and become the table's.

Publishing is one small commit: `main` moves to the branch's snapshot, if it is where it was when the branch began. Had
others committed meanwhile, but nothing in the span, the same files are added to what there is now. Else the rows of the
span are compared with those of `main` once more, on a new branch: nobody's rows are lost, and none is written twice.
A branch that is not published stays to be looked at, until maintenance expires it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table, Transaction
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update.snapshot import ManageSnapshots

from feature_store.compile.span import Span
from feature_store.dtypes import from_micros
from feature_store.duration import DAY, MILLISECOND
from feature_store.errors import ConflictError
from feature_store.offline.catalog import CATALOG
from feature_store.offline.history import Consistency, additions, compare, count, first_rows
from feature_store.offline.refs import commit, commit_once
from feature_store.offline.snapshots import changed_files, time_bounds
from feature_store.offline.standing import inside, inside_filter, standing_sql
from feature_store.plan.nodes import GroupPlan
from feature_store.plan.schema import FEATURE_TIMESTAMP

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

UNPUBLISHED_FOR_MS = 7 * DAY // MILLISECOND
"""How long (milliseconds) a branch stays that was not published, at least."""
_ATTEMPTS = 40


@dataclass(frozen=True)
class Staged:
    """The rows of a span on a branch.

    Args:
        snapshot: of the branch; what it adds to `base` is what the run adds.
        base: the snapshot of `main` which the branch began at.
        found: the computed rows against those that stood at `base`; None if the span had no rows there.
    """

    branch: str
    snapshot: int
    base: int
    found: Consistency | None


def stage(table: Table, plan: GroupPlan, span: Span, rows: DataFrame) -> Staged:
    """Writes to a new branch of the table what makes some rows the standing ones of a span."""
    name = f"audit-{from_micros(span.after):%Y%m%dT%H}-{from_micros(span.until):%Y%m%dT%H}-{uuid.uuid4().hex[:8]}"
    return _stage(table, plan, span, rows, name)


def rows_of(spark: SparkSession, plan: GroupPlan, span: Span, snapshot: int) -> DataFrame:
    """The standing rows of a span as a snapshot of the table has them."""
    keys = [key.name for key in plan.schema.keys]
    return spark.sql(standing_sql(f"{CATALOG}.{plan.schema.table} VERSION AS OF {snapshot}", keys, inside(span)))


def staged_rows(spark: SparkSession, plan: GroupPlan, span: Span, staged: Staged) -> DataFrame:
    """The standing rows of a span on a branch."""
    if staged.found is not None:
        return rows_of(spark, plan, span, staged.snapshot)
    return spark.sql(f"SELECT * FROM {CATALOG}.{plan.schema.table} VERSION AS OF {staged.snapshot}").where(inside(span))


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
        now = table.current_snapshot()
        assert now is not None
        moved = now.snapshot_id != staged.base
        if moved and _touched(table, staged.base, now, span):
            staged = _stage(table, plan, span, rows_of(spark, plan, span, staged.snapshot), staged.branch)
            continue  # `main` may have moved again while they were written
        before = table.metadata_location
        try:
            with commit_once(table) as transaction:
                if moved:
                    _add_files(transaction, table, staged)
                else:
                    ManageSnapshots(transaction).set_current_snapshot(staged.snapshot).commit()
                _drop_branch(transaction, staged.branch)
                note(transaction)
        except CommitFailedException:
            table.refresh()
        except ValueError:  # so pyiceberg calls it if another branch has got a snapshot meanwhile
            if table.refresh().metadata_location == before:
                raise
        else:
            return table.metadata.refs[MAIN_BRANCH].snapshot_id
    raise ConflictError(
        f"others commit to {plan.schema.table} all the time: {_ATTEMPTS} attempts to publish failed",
        where=f"group {plan.group.id}",
        remedy="run the partition again",
        code="concurrent-write",
    )


def _stage(table: Table, plan: GroupPlan, span: Span, rows: DataFrame, branch: str) -> Staged:
    base = _begin_branch(table, branch)
    name = f"{CATALOG}.{plan.schema.table}.`branch_{branch}`"
    columns = [field.name for field in table.schema().fields]
    found = None
    try:
        if _may_have_rows(table, base, span):
            compared = compare(plan.schema, rows, name, inside(span)).persist()
            try:
                found = count(plan.schema, compared)
                additions(plan.schema, compared, columns).writeTo(name).append()
            finally:
                compared.unpersist()
        else:  # the usual case: nothing to compare with
            first_rows(plan.schema, rows, columns).writeTo(name).append()
    except Exception:
        with suppress(Exception):  # the warehouse may be what failed; the branch expires
            commit(table.refresh(), lambda transaction: _drop_branch(transaction, branch))
        raise
    table.refresh()
    return Staged(branch, table.metadata.refs[branch].snapshot_id, base, found)


def _may_have_rows(table: Table, snapshot: int, span: Span) -> bool:
    """Whether a snapshot has files with rows of a span, by their bounds: false is certain."""
    return any(True for _ in table.scan(inside_filter(span), snapshot_id=snapshot).plan_files())


def _touched(table: Table, base: int, now: Snapshot, span: Span) -> bool:
    """Whether rows of a span were committed between two snapshots, as far as the bounds of files tell."""
    files = changed_files(table, now, base)
    if files is None:
        return True
    bounds = [time_bounds(table, file, FEATURE_TIMESTAMP) for file in files]
    return any(each is None or (each[0] <= span.until and each[1] > span.after) for each in bounds)


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


def _add_files(transaction: Transaction, table: Table, staged: Staged) -> None:
    """Adds the branch's files to what `main` is now, as Iceberg's cherry-picking does, and noted as such."""
    picked = table.snapshot_by_id(staged.snapshot)
    assert picked is not None
    update = transaction.update_snapshot(snapshot_properties={"source-snapshot-id": str(staged.snapshot)})
    with update.fast_append() as append:
        for file in changed_files(table, picked, staged.base) or ():
            append.append_data_file(file)


def _drop_branch(transaction: Transaction, branch: str) -> None:
    ManageSnapshots(transaction).remove_branch(branch).commit()
