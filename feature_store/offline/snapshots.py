"""Arrivals in an Iceberg table: the rows of the files that its snapshots have added or removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyiceberg.catalog import Catalog
from pyiceberg.conversions import from_bytes
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import DataFile, ManifestContent, ManifestEntryStatus, ManifestFile
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.snapshots import Operation, Snapshot, ancestors_of
from pyiceberg.types import TimestampType, TimestamptzType

from feature_store.dsl.source import BatchSource
from feature_store.offline.arrivals.arrivals import NO_TIMES, Arrivals, Cursor, instants

FLINK_JOB, FLINK_OPERATOR = "flink.job-id", "flink.operator-id"
"""Keys of the summary of a snapshot that Flink made."""
EMPTY = 0
"""The cursor of a table that nothing was written to: no snapshot has this id."""


def source_tables(
    catalog: Catalog, sources: Iterable[BatchSource]
) -> Iterator[tuple[str, tuple[Table, Snapshot | None]]]:
    """By source, of those that are Iceberg tables, the table and its newest snapshot; None: nothing was written yet."""
    for source in sources:
        if source.table is None:
            continue
        try:
            table = catalog.load_table(source.table)
        except (NoSuchTableError, NoSuchNamespaceError):
            continue  # reading it will say so
        yield source.name, (table, table.current_snapshot())


def arrived_by(
    table: Table, now: Snapshot | None, column: str, since: Cursor | None, before: int, commits_of: str = ""
) -> Arrivals:
    """The event times of rows that came into a table, or went, between the snapshot of a cursor and another one.

    In a group's table, corrections and retractions are rows that came.

    Not complete if the snapshot is gone, or rows were deleted by delete files.

    Args:
        before: only event times before this instant (microseconds) are wanted.
        commits_of: only snapshots whose summary has this entry count; all unless given.
    """
    cursor = cursor_of(now)
    files = changed_files(table, now, since, commits_of) if isinstance(since, int) else None
    if files is None:
        return Arrivals(cursor, NO_TIMES, complete=False)
    return Arrivals(cursor, instants(_times(table, column, files, before)))


def changed_files(table: Table, now: Snapshot | None, since: int, commits_of: str = "") -> list[DataFile] | None:
    """The files that snapshots after one (EMPTY: from the first on) and up to another have added or removed.

    None if the first is gone, or rows were deleted by delete files.

    Args:
        commits_of: only snapshots whose summary has this entry count; all unless given.
    """
    files: list[DataFile] = []
    snapshot: Snapshot | None = None
    for snapshot in ancestors_of(now, table.metadata):
        if snapshot.snapshot_id == since:
            return files
        if snapshot.summary is not None and snapshot.summary.operation == Operation.REPLACE:
            continue  # it changed no row
        if commits_of and summary_entry(snapshot, commits_of) is None:
            continue
        for manifest in snapshot.manifests(table.io):
            if manifest.added_snapshot_id != snapshot.snapshot_id:
                continue
            if manifest.content == ManifestContent.DELETES:
                return None
            files += _changed_files(table, manifest)
    from_the_first = snapshot is None or snapshot.parent_snapshot_id is None
    return files if since == EMPTY and from_the_first else None


def cursor_of(snapshot: Snapshot | None) -> int:
    """The cursor of a table whose newest snapshot this is."""
    return EMPTY if snapshot is None else snapshot.snapshot_id


def summary_entry(snapshot: Snapshot, name: str) -> str | None:
    """What the summary of a snapshot says under a name; `in` says of every name that it is there."""
    return None if snapshot.summary is None else snapshot.summary.get(name)


def time_bounds(table: Table, file: DataFile, column: str) -> tuple[int, int] | None:
    """The least and greatest instant (microseconds) of a column in a file; None if its metadata do not say."""
    field = table.schema().find_field(column)
    low, high = ((bounds or {}).get(field.field_id) for bounds in (file.lower_bounds, file.upper_bounds))
    if low is None or high is None or not isinstance(field.field_type, TimestampType | TimestamptzType):
        return None
    return int(from_bytes(field.field_type, low)), int(from_bytes(field.field_type, high))


def _times(table: Table, column: str, files: Iterable[DataFile], before: int) -> NDArray[np.int64]:
    wanted = [file for file in files if (bounds := time_bounds(table, file, column)) is None or bounds[0] < before]
    scan = ArrowScan(table.metadata, table.io, table.schema().select(column), AlwaysTrue())
    rows = scan.to_table([FileScanTask(file) for file in wanted])
    times = np.unique(pc.drop_null(rows[column]).cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy())
    return times[times < before]


def _changed_files(table: Table, manifest: ManifestFile) -> Iterator[DataFile]:
    """The files that the snapshot of a manifest added or removed."""
    for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False):
        if entry.status != ManifestEntryStatus.EXISTING:
            yield entry.data_file
