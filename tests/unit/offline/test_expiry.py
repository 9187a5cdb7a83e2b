"""Which snapshots may be expired (tables in a one-file catalog): never one that somebody will look for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from feature_store.offline.maintenance import (
    Retention,
    expirable,
    last_flink_commits,
    walked,
)
from feature_store.offline.refs import drop_tag, tag_snapshot
from tests.unit.offline.flink_commits import flink_summary, found_by_flink

NOTHING_STAYS = Retention(snapshots=1, age=timedelta(0))
LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    catalog.create_namespace("features")
    return catalog.create_table("features.kept", pa.schema([("n", pa.int64())]))


def commits(table: Table, job: str, checkpoints: Sequence[int], operator: str = "op") -> None:
    """Appends of Flink, or of batch if there is no job."""
    for checkpoint in checkpoints:
        summary = flink_summary(job, checkpoint, operator) if job else {}
        table.append(pa.table({"n": [checkpoint]}), snapshot_properties=summary)


def expire(table: Table, jobs: Sequence[str] | None = None, needed: Sequence[int] = ()) -> None:
    kept = {*needed, *walked(table, last_flink_commits(table, jobs))}
    table.maintenance.expire_snapshots().by_ids(expirable(table, LATER, NOTHING_STAYS, kept)).commit()
    table.refresh()


def ids(table: Table) -> list[int]:
    return [snapshot.snapshot_id for snapshot in table.snapshots()]


def test_only_the_newest_stays_where_nobody_needs_another(table: Table) -> None:
    commits(table, "", range(5))
    newest = ids(table)[-1]
    expire(table)
    assert ids(table) == [newest]


def test_the_young_and_the_last_stay(table: Table) -> None:
    commits(table, "", range(5))
    assert expirable(table, datetime.now(UTC), Retention(snapshots=1), ()) == []
    assert expirable(table, LATER, Retention(snapshots=3, age=timedelta(0)), ()) == ids(table)[:2]
    assert expirable(table, LATER, Retention(snapshots=9, age=timedelta(0)), ()) == []


def test_tags_and_what_is_needed_stay(table: Table) -> None:
    commits(table, "", range(5))
    tagged, needed, newest = ids(table)[1], ids(table)[3], ids(table)[4]
    tag_snapshot(table, tagged, "training-churn")
    expire(table, needed=[needed])
    assert ids(table) == [tagged, needed, newest]
    assert table.scan(snapshot_id=tagged).to_arrow().num_rows == 2
    drop_tag(table, "training-churn")
    expire(table)
    assert ids(table) == [newest]


def test_flink_finds_the_last_checkpoint_of_every_job(table: Table) -> None:
    commits(table, "stopped", [1, 2, 3])
    commits(table, "", range(2))
    commits(table, "running", [7, 8], operator="first")
    commits(table, "running", [7], operator="second")
    commits(table, "", range(2))
    expire(table)
    assert found_by_flink(table, "stopped") == 3
    assert (found_by_flink(table, "running", "first"), found_by_flink(table, "running", "second")) == (8, 7)
    assert len(ids(table)) == 8


def test_a_job_that_cannot_go_on_is_not_waited_for(table: Table) -> None:
    commits(table, "old", [1, 2])
    commits(table, "running", [1, 2])
    commits(table, "", range(2))
    expire(table, jobs=["running", "restarted"])  # where the second goes on, nobody knows before it commits
    assert (found_by_flink(table, "old"), found_by_flink(table, "running")) == (2, 2)
    expire(table, jobs=["running"])
    assert (found_by_flink(table, "old"), found_by_flink(table, "running")) == (None, 2)
    expire(table, jobs=[])
    assert len(ids(table)) == 1
