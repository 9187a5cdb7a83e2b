"""Maintenance of an Iceberg table: small files put together, old snapshots expired, files that nothing knows removed.

What must not go stays: the snapshots of tags and branches, those that somebody says he needs, and what a Flink job will
look for. Its committer, when it is restored, walks back from the table's newest snapshot to the last one of its own, to
learn which checkpoints are committed; were one of them gone, it would commit rows a second time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot, ancestors_of

from feature_store.compile.spark_expressions import literal, quote
from feature_store.object_storage import is_in_bucket
from feature_store.offline.catalog import CATALOG
from feature_store.offline.snapshots import FLINK_JOB, FLINK_OPERATOR, summary_entry

if TYPE_CHECKING:
    from pyspark.sql import Row, SparkSession

_LONG_AGO = "1970-01-01 00:00:00"
_CHECKPOINT = timedelta(hours=1)
"""Longer than a Flink checkpoint takes: its files are at most this much older than the commit before it."""


@dataclass(frozen=True)
class Retention:
    """How long what is kept.

    Args:
        snapshots: how many of the newest are kept, however old.
        age: how old others may become.
        orphans: how old a file without owner must be to be removed; a run may be about to commit a younger one.
    """

    snapshots: int = 10
    age: timedelta = timedelta(days=7)
    orphans: timedelta = timedelta(days=3)


@dataclass(frozen=True)
class Size:
    """How large a table is: its data files, their bytes, and the snapshots it remembers."""

    files: int
    bytes: int
    snapshots: int


@dataclass(frozen=True)
class Maintained:
    """What maintenance did to a table.

    Args:
        rewritten: data files that were put together with others.
        contested: data files that were not, because another run replaced them meanwhile.
        orphans: files removed that belonged to no snapshot.
    """

    table: str
    before: Size
    after: Size
    rewritten: int
    contested: int
    orphans: int


def maintain(
    spark: SparkSession,
    catalog: Catalog,
    name: str,
    now: datetime,
    *,
    needed: Collection[int] = (),
    flink_jobs: Collection[str] | None = None,
    retention: Retention | None = None,
) -> Maintained:
    """Maintains a table while others read it and write to it.

    Args:
        name: "namespace.table".
        needed: snapshots to keep, whatever their age.
        flink_jobs: Flink's ids of the jobs that write to the table and may go on; all that ever did unless given.
    """
    retention = retention or Retention()
    table = catalog.load_table(name)
    before = _size(table)
    rewritten, contested = _compact(spark, name)
    table.refresh()
    last_commits = last_flink_commits(table, flink_jobs)
    _expire(spark, table, name, now, expirable(table, now, retention, {*needed, *walked(table, last_commits)}))
    settled = min((_made_at(snapshot) - _CHECKPOINT for snapshot in last_commits), default=now)
    in_bucket = is_in_bucket(table.location())
    orphans = _remove_orphans(spark, name, min(now - retention.orphans, settled), in_bucket=in_bucket)
    return Maintained(name, before, _size(table.refresh()), rewritten, contested, orphans)


def _compact(spark: SparkSession, name: str) -> tuple[int, int]:
    """Puts small files of a partition together, a part of the table in each commit.

    A part that others changed meanwhile waits for the next time. No delete files come of it.
    """
    (done,) = _call(
        spark,
        f"rewrite_data_files(table => {_quoted(name)}, options => map('partial-progress.enabled', 'true', "
        "'partial-progress.max-commits', '10', 'min-input-files', '4'))",
    )
    return done["rewritten_data_files_count"], done["failed_data_files_count"]


def expirable(table: Table, now: datetime, retention: Retention, needed: Collection[int]) -> list[int]:
    """The snapshots that are old, and that neither a tag or branch, nor anybody else needs."""
    kept = {*needed, *(ref.snapshot_id for ref in table.metadata.refs.values())}
    kept |= {snapshot.snapshot_id for snapshot in _line(table)[: retention.snapshots]}
    old = [snapshot for snapshot in table.snapshots() if _made_at(snapshot) < now - retention.age]
    return [snapshot.snapshot_id for snapshot in old if snapshot.snapshot_id not in kept]


def _expire(spark: SparkSession, table: Table, name: str, now: datetime, ids: Collection[int]) -> None:
    """Expires snapshots by their ids: Iceberg's own rule of age knows nothing of those who need one."""
    if ids or _has_old_branch(table, now):
        chosen = f", snapshot_ids => array({', '.join(f'{number}L' for number in ids)})" if ids else ""
        _call(spark, f"expire_snapshots(table => {_quoted(name)}, older_than => TIMESTAMP '{_LONG_AGO}'{chosen})")


def _has_old_branch(table: Table, now: datetime) -> bool:
    """Whether a branch or tag has become older than it may, which Iceberg drops together with snapshots."""
    limits = ((ref.max_ref_age_ms, table.snapshot_by_id(ref.snapshot_id)) for ref in table.metadata.refs.values())
    return any(
        snapshot is not None and limit is not None and _made_at(snapshot) + timedelta(milliseconds=limit) < now
        for limit, snapshot in limits
    )


def last_flink_commits(table: Table, jobs: Collection[str] | None) -> list[Snapshot]:
    """The newest snapshot of each Flink job that may go on.

    Of every job there was, if one has not committed yet: it goes on where another one stopped.
    """
    newest: dict[tuple[str, str | None], Snapshot] = {}
    for snapshot in _line(table):
        job = summary_entry(snapshot, FLINK_JOB)
        if job is not None:
            newest.setdefault((job, summary_entry(snapshot, FLINK_OPERATOR)), snapshot)
    if jobs is None or set(jobs) - {job for job, _ in newest}:
        return list(newest.values())
    return [snapshot for (job, _), snapshot in newest.items() if job in jobs]


def walked(table: Table, commits: Sequence[Snapshot]) -> set[int]:
    """All snapshots from the newest one back to each of some."""
    last = {snapshot.snapshot_id for snapshot in commits}
    found: set[int] = set()
    for snapshot in _line(table):
        if last <= found:
            break
        found.add(snapshot.snapshot_id)
    return found


def _remove_orphans(spark: SparkSession, table: str, before: datetime, *, in_bucket: bool) -> int:
    """Removes files below the table's folder that no snapshot knows.

    In a bucket they are listed by Iceberg, too; Hadoop, which lists folders, knows no buckets.
    """
    arguments = [f"table => {_quoted(table)}", f"older_than => TIMESTAMP '{before:%Y-%m-%d %H:%M:%S}'"]
    if in_bucket:
        arguments.append("prefix_listing => true")
    return len(_call(spark, f"remove_orphan_files({', '.join(arguments)})"))


def _call(spark: SparkSession, procedure: str) -> list[Row]:
    return spark.sql(f"CALL {CATALOG}.system.{procedure}").collect()


def _quoted(name: str) -> str:
    """A table's name as an argument of a procedure, which reads it as SQL would."""
    return literal(".".join(map(quote, name.split("."))))


def _line(table: Table) -> list[Snapshot]:
    """The snapshots that led to what readers see now, the newest first."""
    return list(ancestors_of(table.current_snapshot(), table.metadata))


def _made_at(snapshot: Snapshot) -> datetime:
    return datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC)


def _size(table: Table) -> Size:
    snapshot = table.current_snapshot()
    summary = {} if snapshot is None or snapshot.summary is None else snapshot.summary.additional_properties
    files, size = (int(summary.get(total, 0)) for total in ("total-data-files", "total-files-size"))
    return Size(files, size, len(table.snapshots()))
