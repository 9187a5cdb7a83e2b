"""Columns of an Iceberg table as a stream: no more than one of its files is in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import Table


def column_batches(table: Table, columns: Sequence[str], snapshot: int | None = None) -> Iterator[pa.RecordBatch]:
    """Some columns of a snapshot (the newest unless given), file by file.

    pyiceberg's own stream of batches reads all files at once, as fast as its threads go, whoever takes the batches.
    """
    scan = table.scan(selected_fields=tuple(columns), snapshot_id=snapshot)
    for task in scan.plan_files():
        reader = ArrowScan(table.metadata, table.io, scan.projection(), AlwaysTrue())
        yield from (batch for batch in reader.to_record_batches([task]) if batch.num_rows)
