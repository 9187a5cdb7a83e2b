"""Arrivals in an Iceberg table: the rows of the files that its snapshots have added or removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import DataFile, ManifestContent, ManifestEntryStatus, ManifestFile
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.snapshots import Operation, Snapshot, ancestors_of

from feature_store.dsl.source import BatchSource
from feature_store.offline.arrivals import NO_TIMES, Arrivals, Cursor


def source_tables(catalog: Catalog, sources: Iterable[BatchSource]) -> Iterator[tuple[str, tuple[Table, Snapshot]]]:
    """By source, of those that are Iceberg tables, the table and its newest snapshot."""
    for source in sources:
        if source.table is None:
            continue
        try:
            table = catalog.load_table(source.table)
        except (NoSuchTableError, NoSuchNamespaceError):
            continue  # reading it will say so
        snapshot = table.current_snapshot()
        if snapshot is not None:
            yield source.name, (table, snapshot)


def arrived_by(table: Table, now: Snapshot, column: str, since: Cursor | None) -> Arrivals:
    """The event times of rows that came into a table, or went, between the snapshot of a cursor and another one.

    Not complete if the snapshot is gone, or rows were deleted by delete files.
    """
    files: list[DataFile] = []
    for snapshot in ancestors_of(now, table.metadata) if since is not None else ():
        if snapshot.snapshot_id == since:
            return Arrivals(now.snapshot_id, _times(table, column, files))
        if snapshot.summary is not None and snapshot.summary.operation == Operation.REPLACE:
            continue  # it changed no row
        for manifest in snapshot.manifests(table.io):
            if manifest.added_snapshot_id != snapshot.snapshot_id:
                continue
            if manifest.content == ManifestContent.DELETES:
                return Arrivals(now.snapshot_id, NO_TIMES, complete=False)
            files += _changed_files(table, manifest)
    return Arrivals(now.snapshot_id, NO_TIMES, complete=False)


def _times(table: Table, column: str, files: Iterable[DataFile]) -> NDArray[np.int64]:
    scan = ArrowScan(table.metadata, table.io, table.schema().select(column), AlwaysTrue())
    rows = scan.to_table([FileScanTask(file) for file in files])
    times = pc.drop_null(rows[column]).cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    return np.unique(times.to_numpy())


def _changed_files(table: Table, manifest: ManifestFile) -> Iterator[DataFile]:
    """The files that the snapshot of a manifest added or removed."""
    for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False):
        if entry.status != ManifestEntryStatus.EXISTING:
            yield entry.data_file
