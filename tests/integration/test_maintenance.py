"""Maintenance of real tables: what it puts together, expires and removes, and above all what it leaves alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import ManifestContent
from pyiceberg.table import Table

from feature_store.offline.maintenance import Maintained, Retention, maintain
from feature_store.offline.refs import tag_snapshot
from feature_store.offline.tables import ensure_table
from feature_store.online.connection import connect
from feature_store.online.materialize import materialize
from feature_store.online.progress import load_progress
from feature_store.pit.semantics import Row
from feature_store.plan.schema import GroupSchema
from feature_store.settings import Settings
from tests.unit.offline.flink_commits import CHECKPOINT, flink_summary, found_by_flink
from tests.unit.pit.pit_cases import group, row, rows_table

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_versions = count(5000)
NOTHING_STAYS = Retention(snapshots=1, age=timedelta(0))
Upkeep = Callable[..., Maintained]


@pytest.fixture
def schema() -> GroupSchema:
    """A group with a table that no other test has."""
    return replace(group("kept", buckets=2), version=next(_versions))


@pytest.fixture
def keep_up(spark: SparkSession, catalog: Catalog, schema: GroupSchema) -> Upkeep:
    """Maintains the table, as if nothing were young."""

    def run(**more: object) -> Maintained:
        arguments = {"retention": NOTHING_STAYS, **more}
        return maintain(spark, catalog, schema.table, datetime.now(UTC), **arguments)  # type: ignore[arg-type]

    return run


def filled(catalog: Catalog, schema: GroupSchema, commits: int, **properties: str) -> Table:
    """The table after some small commits of one day."""
    table = ensure_table(catalog, schema)
    for n in range(commits):
        table.append(rows_table(schema, [row(n, n, user=f"user_{n % 3}", name="kept")]), snapshot_properties=properties)
    return table


def ids(table: Table) -> list[int]:
    return [snapshot.snapshot_id for snapshot in sorted(table.snapshots(), key=lambda s: s.sequence_number or 0)]


def values(table: Table) -> list[str]:
    return sorted(str(one) for one in table.refresh().scan().to_arrow().to_pylist())


def delete_files(table: Table) -> int:
    snapshot = table.refresh().current_snapshot()
    assert snapshot is not None
    return sum(manifest.content == ManifestContent.DELETES for manifest in snapshot.manifests(table.io))


def test_small_files_are_put_together_and_old_snapshots_go(
    catalog: Catalog, schema: GroupSchema, keep_up: Upkeep
) -> None:
    table = filled(catalog, schema, 12)
    before = values(table)
    done = keep_up()
    assert values(table) == before
    assert (done.before.files, done.before.snapshots) == (12, 12)
    assert done.after.files <= 2  # one for each bucket
    assert done.after.snapshots <= 2  # what was made while it ran is young
    assert done.rewritten == 12
    assert done.after.bytes < done.before.bytes
    assert delete_files(table) == 0
    assert keep_up().rewritten == 0


def test_young_snapshots_and_the_last_ones_stay(catalog: Catalog, schema: GroupSchema, keep_up: Upkeep) -> None:
    table = filled(catalog, schema, 3)
    assert keep_up(retention=Retention()).after.snapshots == 3
    assert keep_up(retention=Retention(snapshots=2, age=timedelta(0))).after.snapshots == 2
    assert set(ids(table.refresh())) <= set(ids(table))


def test_tagged_snapshots_can_still_be_read(catalog: Catalog, schema: GroupSchema, keep_up: Upkeep) -> None:
    table = filled(catalog, schema, 8)
    tagged = ids(table)[3]
    tag_snapshot(table, tagged, "training-churn")
    keep_up()
    keep_up()
    assert table.refresh().metadata.refs["training-churn"].snapshot_id == tagged
    assert len(table.scan(snapshot_id=tagged).to_arrow()) == 4
    assert len(ids(table)) == 2


def test_what_somebody_needs_stays(catalog: Catalog, schema: GroupSchema, keep_up: Upkeep) -> None:
    table = filled(catalog, schema, 6)
    needed = ids(table)[1]
    keep_up(needed=[needed])
    assert needed in ids(table.refresh())
    assert len(table.scan(snapshot_id=needed).to_arrow()) == 2


def flink_commits(catalog: Catalog, schema: GroupSchema, job: str, checkpoints: Sequence[int]) -> Table:
    table = ensure_table(catalog, schema)
    for checkpoint in checkpoints:
        table = filled(catalog, schema, 1, **flink_summary(job, checkpoint))
    return table


def test_flink_finds_its_last_checkpoint(catalog: Catalog, schema: GroupSchema, keep_up: Upkeep) -> None:
    """Also that of a job which is stopped, behind commits of batch, of another job and of maintenance itself."""
    filled(catalog, schema, 2)
    flink_commits(catalog, schema, "stopped", [1, 2, 3])
    filled(catalog, schema, 3)
    table = flink_commits(catalog, schema, "running", [7, 8])
    for _ in range(2):
        done = keep_up()
        assert (found_by_flink(table, "stopped"), found_by_flink(table, "running")) == (3, 8)
        assert done.orphans == 0
    assert done.after.snapshots < done.before.snapshots + 2
    oldest = table.snapshots()[0]
    assert oldest.summary is not None
    assert oldest.summary[CHECKPOINT] == "3"


def test_a_job_that_never_goes_on_is_not_waited_for(catalog: Catalog, schema: GroupSchema, keep_up: Upkeep) -> None:
    flink_commits(catalog, schema, "old", [1, 2])
    table = flink_commits(catalog, schema, "running", [1, 2, 3, 4])
    keep_up(flink_jobs=["restarted"])  # it has not committed yet, so nobody knows where it goes on
    assert found_by_flink(table, "old") == 2
    keep_up(flink_jobs=["running"])
    assert (found_by_flink(table, "old"), found_by_flink(table, "running")) == (None, 4)


def test_orphans_are_removed_unless_they_may_be_committed_yet(
    catalog: Catalog, schema: GroupSchema, keep_up: Upkeep
) -> None:
    table = filled(catalog, schema, 2)
    folder = Path(table.location().removeprefix("file:")) / "data"
    young, old = folder / "young.parquet", folder / "old.parquet"
    for file, days in ((young, 2), (old, 4)):
        file.write_bytes(b"left by a run that failed")
        then = (datetime.now(UTC) - timedelta(days=days)).timestamp()
        os.utime(file, (then, then))
    before = values(table)
    assert keep_up().orphans == 1
    assert (young.exists(), old.exists()) == (True, False)
    assert values(table) == before


def append(catalog: Catalog, schema: GroupSchema, one: Row) -> None:
    """As a writer does that is patient with others."""
    for _ in range(20):
        with suppress(CommitFailedException):
            catalog.load_table(schema.table).append(rows_table(schema, [one]))
            return
    raise AssertionError("others commit all the time")


def test_writers_at_the_same_time_lose_nothing(catalog: Catalog, schema: GroupSchema, keep_up: Upkeep) -> None:
    table = filled(catalog, schema, 10)

    with ThreadPoolExecutor(1) as pool:
        upkeep = pool.submit(keep_up, retention=Retention(snapshots=3, age=timedelta(0)))
        for n in range(20):
            append(catalog, schema, row(1000 + n, n, user=f"late_{n}", name="kept"))
        upkeep.result()
    rows = table.refresh().scan().to_arrow().to_pylist()
    assert len(rows) == 30
    assert {f"late_{n}" for n in range(20)} <= {one["user_id"] for one in rows}
    assert delete_files(table) == 0


def test_online_goes_on_from_its_snapshot_or_reads_everything(
    stack: Settings, catalog: Catalog, schema: GroupSchema, keep_up: Upkeep
) -> None:
    table = filled(catalog, schema, 5)
    with connect(stack.redis_url) as redis:
        assert materialize(catalog, redis, schema).full
        filled(catalog, schema, 5)
        progress = load_progress(redis, schema)
        assert progress is not None
        keep_up(needed=[progress.snapshot])
        spared = materialize(catalog, redis, schema)
        assert (spared.full, spared.from_snapshot) == (False, progress.snapshot)
        filled(catalog, schema, 5)
        keep_up()
        assert spared.to_snapshot not in ids(table.refresh())
        assert materialize(catalog, redis, schema).full
