"""A join says what it reads of how much, where it joins, and what is odd about the labels."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from feature_store.dtypes import FLOAT, INT
from feature_store.duration import DAY
from feature_store.offline.tables import ensure_table
from feature_store.pit.dataset import TrainingDataset, build_in
from feature_store.pit.explanation import JoinExplanation
from feature_store.pit.semantics import Row
from feature_store.plan.schema import Column, GroupSchema, ViewSchema
from tests.unit.pit.pit_cases import group, label, row, rows_table, view

WIDE = group(ttl=2 * DAY, buckets=4, features=(Column("orders_value", INT), Column("orders_more", FLOAT)))
NARROW = group(ttl=2 * DAY, buckets=4)
EMPTY = group("visits")


@pytest.fixture
def catalog(tmp_path: Path) -> SqlCatalog:
    """Ten days of forty users, two values each; and a table of nothing."""
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    rows = [row(day * DAY, day, user=f"u{n}") | {"orders_more": 0.5} for day in range(10) for n in range(40)]
    ensure_table(catalog, WIDE).append(rows_table(WIDE, rows))
    ensure_table(catalog, EMPTY)
    return catalog


def explained(catalog: SqlCatalog, folder: Path, reads: ViewSchema, labels: list[Row]) -> JoinExplanation:
    told: list[JoinExplanation] = []
    dataset = build_in(catalog, folder / "training", reads, labels, name="x", explained=told.append)
    assert told == [dataset.explanation]
    return dataset.explanation


def test_files_that_are_read_of_all_there_are(catalog: SqlCatalog, tmp_path: Path) -> None:
    """Of ten days the three that a ttl of two days needs; of four buckets that of one user."""
    everybody = [label(5 * DAY, user=f"u{n}") for n in range(40)]
    reads, empty = explained(catalog, tmp_path, view(NARROW, EMPTY), everybody).groups
    assert (reads.files, reads.of_files, reads.rows) == (12, 40, 120)
    assert "orders_more" not in reads.columns
    assert 0 < reads.size < reads.of_size / 2
    assert (empty.snapshot, empty.files, empty.of_files) == (None, 0, 0)
    (one,) = explained(catalog, tmp_path, view(NARROW), everybody[:1]).groups
    assert (one.files, one.of_files) == (3, 40)
    assert one.size < reads.size
    (both,) = explained(catalog, tmp_path, view(WIDE), everybody).groups
    assert both.size > reads.size


def test_the_text_of_an_explanation(catalog: SqlCatalog, tmp_path: Path) -> None:
    text = str(explained(catalog, tmp_path, view(NARROW, EMPTY), [label(5 * DAY, user="u1"), label(6 * DAY)]))
    lines = text.splitlines()
    assert lines[0] == "ranking@1: 2 labels from 2025-03-06 12:00 to 2025-03-07 12:00 UTC"
    assert "of 40 files" in lines[1]
    assert lines[2] == "  visits@1: nothing was written to it yet"
    assert lines[3].startswith(
        "engine native: in memory, since the result takes 0.0 MB and the join may take 4,295.0 MB"
    )
    assert lines[4].startswith("warning: group visits@1: nothing was written")


def dataset_of(
    catalog: SqlCatalog, folder: Path, schema: GroupSchema, labels: list[Row], memory: int
) -> TrainingDataset:
    return build_in(catalog, folder / "training", view(schema), labels, name="x", memory=memory)


@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_labels_before_all_rows_and_in_the_future_are_counted(catalog: SqlCatalog, tmp_path: Path, memory: int) -> None:
    """Day by day: a label at the first midnight of the first day may find a row."""
    future = int((datetime(9000, 1, 1, tzinfo=UTC) - datetime(2025, 3, 1, 12, tzinfo=UTC)).total_seconds()) * 10**6
    labels = [label(micros) for micros in (-DAY, -DAY // 2 - 1, -DAY // 2, 0, future)]

    def dataset_of(labels: list[Row]) -> TrainingDataset:
        return build_in(catalog, tmp_path / "training", view(NARROW), labels, name="x", memory=memory)

    dataset = dataset_of(labels)
    assert dataset.warnings == (
        "group orders@1: 2 of 5 labels are before its first rows, which are of 2025-03-01",
        "1 of 5 labels are in the future: what will be known by then is not known yet",
    )
    assert "2 of 5 labels are before its first rows" in (dataset.path / "manifest.json").read_text()
    assert dataset_of(labels[2:4]).warnings == ()
