"""Columns of a table as a stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from feature_store.offline.scanning import column_batches

FILES, ROWS = 12, 100_000


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """A table of some files, each with the numbers of its own hundred thousand."""
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    catalog.create_namespace("events")
    table = catalog.create_table("events.log", pa.schema([("n", pa.int64()), ("text", pa.string())]))
    for file in range(FILES):
        numbers = pa.array(np.arange(file * ROWS, (file + 1) * ROWS))
        table.append(pa.table({"n": numbers, "text": pa.array(["x"] * ROWS)}))
    return table


def test_all_rows_come_and_only_a_file_is_in_memory(table: Table) -> None:
    before, most, seen = pa.total_allocated_bytes(), 0, 0
    total = 0
    for batch in column_batches(table, ("n",)):
        assert batch.schema.names == ["n"]
        seen += batch.num_rows
        total += int(batch["n"].to_numpy().sum())
        most = max(most, pa.total_allocated_bytes() - before)
    assert (seen, total) == (FILES * ROWS, FILES * ROWS * (FILES * ROWS - 1) // 2)
    assert most < FILES * ROWS * 8 / 2


def test_a_snapshot_is_read_as_it_was(table: Table) -> None:
    first = min(table.snapshots(), key=lambda snapshot: snapshot.sequence_number or 0)
    assert sum(batch.num_rows for batch in column_batches(table, ("text",), first.snapshot_id)) == ROWS
