"""The memory of a join follows from the number of rows it may have in memory, not from what the table holds."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog

from feature_store.dtypes import FLOAT, INT
from feature_store.offline.tables import arrow_schema, ensure_table
from feature_store.plan.schema import Column, GroupSchema
from tests.unit.pit.pit_cases import group

FEATURES = tuple(Column(f"f{n}", FLOAT) for n in range(12))
SCHEMA = group("wide", keys=(Column("user_id", INT),), features=FEATURES, buckets=1)
BROAD = group("broad", keys=SCHEMA.keys, features=tuple(Column(f"f{n}", FLOAT) for n in range(30)), buckets=4)
FEW = group("few", keys=SCHEMA.keys, features=FEATURES, buckets=1)
ROWS, FEW_ROWS = 1_500_000, 60_000
AT_ONCE = {"_RJEM_MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0", "ARROW_DEFAULT_MEMORY_POOL": "system"}
"""Lets the allocators of Polars and Arrow give memory back at once: what they keep depends on the machine's load."""
JOIN = """
import sys
import pyarrow as pa, numpy as np
from pyiceberg.catalog.sql import SqlCatalog
from feature_store.pit.join import join_labels
from feature_store.pit.planning import current_snapshot_id, open_table, plan_group
from tests.unit.pit.pit_cases import viewed
from tests.unit.pit.test_join_memory import FEW, FEW_ROWS, SCHEMA, peak

folder, rows_at_once = sys.argv[1], int(sys.argv[2])
catalog = SqlCatalog("fs", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
times = pa.array(np.full(5_000, 1_800_000_000_000_000)).cast(pa.timestamp("us", "UTC"))
labels = pa.table({"user_id": pa.array(np.arange(5_000) * 300), "label_timestamp": times})

def joined(schema, rows_at_once):
    table = open_table(catalog, schema)
    plan = plan_group(table, viewed(schema), current_snapshot_id(table), (0, 10**18))
    return join_labels(labels, [plan], None, workers=1, rows_at_once=rows_at_once)

joined(FEW, FEW_ROWS // 5)  # loads what is loaded once
before = peak()
found = joined(SCHEMA, rows_at_once)
assert found.missing["f3"] == 0 and found.features["f3"].to_pylist() == [300.0 * n for n in range(5_000)]
print(peak() - before)
"""


def peak() -> int:
    """The most memory that this process ever had, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def fill(catalog: SqlCatalog, schema: GroupSchema, rows: int) -> None:
    keys = np.arange(rows)
    instant = pa.array(np.full(rows, datetime(2026, 1, 2, tzinfo=UTC).timestamp() * 10**6, np.int64))
    columns = {
        "user_id": pa.array(keys),
        "retracted": pa.nulls(rows, pa.bool_()),
        **dict.fromkeys(("feature_timestamp", "created_timestamp"), instant.cast(pa.timestamp("us", "UTC"))),
        **{feature.name: pa.array(keys.astype(np.float64)) for feature in schema.features},
    }
    names = arrow_schema(schema).names
    ensure_table(catalog, schema).append(pa.table({name: columns[name] for name in names}))


def test_a_day_of_many_rows_is_joined_in_little_memory(tmp_path: Path) -> None:
    """The rows of one day and bucket take 180 MB; a fifteenth of them at once takes far less."""
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    fill(catalog, SCHEMA, ROWS)
    fill(catalog, FEW, FEW_ROWS)

    def grown(rows_at_once: int) -> int:
        command = [sys.executable, "-c", JOIN, str(tmp_path), str(rows_at_once)]
        environment = {**os.environ, **AT_ONCE}
        return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)

    few, all_of_them = grown(100_000), grown(2 * ROWS)
    assert all_of_them > ROWS * 12 * 8
    assert few < all_of_them / 2


DATASET = """
import sys
from pathlib import Path
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from feature_store.pit.dataset import build_in
from tests.unit.pit.pit_cases import view
from tests.unit.pit.test_join_memory import BROAD, LABELS, peak

folder, memory = Path(sys.argv[1]), int(sys.argv[2])
catalog = SqlCatalog("fs", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
(few, labels), reads = [folder / name for name in ("few.parquet", "labels.parquet")], view(BROAD)
build_in(catalog, folder / "training", reads, few, name="x", memory=0)  # loads what is loaded once
before = peak()
dataset = build_in(catalog, folder / "training", reads, labels, name="x", memory=memory)
grown = peak() - before
rows = sum(pq.read_metadata(path).num_rows for path in dataset.path.glob("*.parquet"))
assert (rows, dataset.null_rates["f3"], dataset.explanation.spilled) == (LABELS, 0, True)
print(grown)
"""
LABELS, BOUND = 400_000, 64 << 20


def test_many_labels_are_joined_in_the_memory_that_there_may_be(tmp_path: Path) -> None:
    """The features alone would take 96 MB, and a join in memory takes twice as much."""
    catalog = SqlCatalog("fs", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    fill(catalog, BROAD, FEW_ROWS)
    times = pa.array(np.full(LABELS, 1_800_000_000_000_000)).cast(pa.timestamp("us", "UTC"))
    labels = pa.table({"user_id": pa.array(np.arange(LABELS) % FEW_ROWS), "label_timestamp": times})
    pq.write_table(labels, tmp_path / "labels.parquet", row_group_size=100_000)
    pq.write_table(labels.slice(0, 5_000), tmp_path / "few.parquet")
    command = [sys.executable, "-c", DATASET, str(tmp_path), str(BOUND)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **AT_ONCE})
    assert int(done.stdout) < BOUND < LABELS * len(BROAD.features) * 8
