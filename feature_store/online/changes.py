"""Which data files of an Iceberg table hold rows that are not online yet, in units small enough for memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue, EqualTo, GreaterThan
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import DataFile, ManifestContent, ManifestFile
from pyiceberg.table import FileScanTask, Table
from pyiceberg.transforms import BucketTransform
from pyiceberg.types import BooleanType, TimestamptzType

from feature_store.dtypes import from_micros
from feature_store.errors import InputError
from feature_store.plan.schema import FEATURE_TIMESTAMP, RETRACTED

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Unit:
    """Files of one hash bucket: all rows of an entity, of those looked at, are in one unit."""

    added: tuple[DataFile, ...] = ()
    removed: tuple[DataFile, ...] = ()
    everything: Callable[[], tuple[DataFile, ...]] = tuple
    """All files of the bucket in the new snapshot, for the rare rows that need them."""


def whole_table(table: Table, snapshot: int) -> Iterator[Unit]:
    """Every file of a snapshot, as added.

    Raises:
        InputError: if the snapshot has delete files.
    """
    by_bucket = _by_bucket(table, _live_files(table, _manifests(table, snapshot)))
    for files in by_bucket.values():
        yield Unit(added=tuple(files), everything=lambda files=files: tuple(files))  # type: ignore[misc]


def changed_files(table: Table, old: int, new: int, held_after: int | None) -> Iterator[Unit]:
    """The files that differ between two snapshots.

    Only the manifests that differ are read, so the cost follows the size of the change and not of the table.

    Args:
        held_after: if given, files of the new snapshot with feature timestamps (microseconds) after it count as added.

    Raises:
        InputError: if the new snapshot has delete files.
    """
    before = {manifest.manifest_path: manifest for manifest in _manifests(table, old, refuse_deletes=False)}
    after = {manifest.manifest_path: manifest for manifest in _manifests(table, new)}
    was = {f.file_path: f for f in _live_files(table, [m for path, m in before.items() if path not in after])}
    now = {f.file_path: f for f in _live_files(table, [m for path, m in after.items() if path not in before])}
    added = {path: file for path, file in now.items() if path not in was}
    removed = [file for path, file in was.items() if path not in now]
    if held_after is not None:
        scan = table.scan(
            GreaterThan(term=FEATURE_TIMESTAMP, value=from_micros(held_after).isoformat()), snapshot_id=new
        )
        added |= {task.file.file_path: task.file for task in scan.plan_files()}
    touched = _by_bucket(table, [*added.values(), *removed])
    removed_paths = {file.file_path for file in removed}
    for bucket, files in touched.items():
        yield Unit(
            added=tuple(file for file in files if file.file_path not in removed_paths),
            removed=tuple(file for file in files if file.file_path in removed_paths),
            everything=lambda bucket=bucket: _bucket_of(table, new, bucket),  # type: ignore[misc]
        )


def read_files(
    table: Table,
    files: Collection[DataFile],
    columns: Sequence[str],
    times_only: Sequence[str],
    alive_after: int | None,
    rows_at_once: int,
) -> Iterator[tuple[pa.Table, int | None]]:
    """The rows of some files, newest files first, and with them what the feature timestamps (microseconds) of all that
    follow do not exceed; None at the end.

    Args:
        columns: the columns to read.
        times_only: the columns to read of files whose rows are all dead.
        alive_after: rows with a smaller feature timestamp (microseconds) are dead; None if none is.
        rows_at_once: as many, or the rows of one file, are read at once.
    """
    newest = {file.file_path: _newest_timestamp(table, file) for file in files}
    ordered = sorted(files, key=lambda file: newest[file.file_path], reverse=True)
    dead = [file for file in ordered if alive_after is not None and newest[file.file_path] < alive_after]
    alive = ordered[: len(ordered) - len(dead)]
    chunks = [(chunk, columns) for chunk in _chunks(alive, rows_at_once)]
    chunks += [(chunk, times_only) for chunk in _chunks(dead, rows_at_once)]
    rest = [newest[chunk[0].file_path] for chunk, _ in chunks[1:]]
    for (chunk, names), bound in zip(chunks, [*rest, None], strict=False):
        scan = ArrowScan(table.metadata, table.io, table.schema().select(*names), AlwaysTrue())
        yield scan.to_table([FileScanTask(file) for file in chunk]), bound


def read_retractions(
    table: Table, files: Collection[DataFile], columns: Sequence[str], rows_at_once: int
) -> Iterator[pa.Table]:
    """Some columns of the retracted rows of some files. Files that by their statistics have none are not opened."""
    if RETRACTED not in table.schema().column_names:
        return
    found = [file for file in files if _may_retract(table, file)]
    scan = ArrowScan(table.metadata, table.io, table.schema().select(*columns), EqualTo(term=RETRACTED, value=True))
    for chunk in _chunks(found, rows_at_once):
        yield scan.to_table([FileScanTask(file) for file in chunk])


def _manifests(table: Table, snapshot_id: int, refuse_deletes: bool = True) -> list[ManifestFile]:
    snapshot = table.snapshot_by_id(snapshot_id)
    assert snapshot is not None
    manifests = snapshot.manifests(table.io)
    deletes = [m for m in manifests if m.content == ManifestContent.DELETES]
    if refuse_deletes and any((m.added_files_count or 0) + (m.existing_files_count or 0) for m in deletes):
        raise InputError(
            f"snapshot {snapshot_id} has delete files",
            where=f"table {'.'.join(table.name())}",
            remedy="rewrite its data files and keep the table copy-on-write (write.delete.mode=copy-on-write)",
            code="delete-files",
        )
    return [m for m in manifests if m.content == ManifestContent.DATA]


def _live_files(table: Table, manifests: Iterable[ManifestFile]) -> list[DataFile]:
    return [entry.data_file for m in manifests for entry in m.fetch_manifest_entry(table.io, discard_deleted=True)]


def _by_bucket(table: Table, files: Iterable[DataFile]) -> dict[int | None, list[DataFile]]:
    """Files by the hash bucket of their entities; all under None if the table was not always bucketed as now."""
    files = list(files)
    spec = table.spec()
    position = next((i for i, field in enumerate(spec.fields) if isinstance(field.transform, BucketTransform)), None)
    if position is None or any(file.spec_id != spec.spec_id for file in files):
        return {None: files} if files else {}
    buckets: dict[int | None, list[DataFile]] = {}
    for file in files:
        buckets.setdefault(file.partition[position], []).append(file)
    return buckets


def _bucket_of(table: Table, snapshot: int, bucket: int | None) -> tuple[DataFile, ...]:
    files = _live_files(table, _manifests(table, snapshot))
    by_bucket = _by_bucket(table, files)
    return tuple(files if bucket is None or None in by_bucket else by_bucket.get(bucket, ()))


def _newest_timestamp(table: Table, file: DataFile) -> int:
    """Upper bound of the file's feature timestamps (microseconds); the end of time if the file does not say."""
    field = table.schema().find_field(FEATURE_TIMESTAMP)
    bound = (file.upper_bounds or {}).get(field.field_id)
    return 2**63 - 1 if bound is None else int(from_bytes(TimestamptzType(), bound))


def _may_retract(table: Table, file: DataFile) -> bool:
    field = table.schema().find_field(RETRACTED).field_id
    counted = file.value_counts or {}
    if counted and field not in counted:  # written before tables had the column
        return False
    largest = (file.upper_bounds or {}).get(field)
    if largest is not None:
        return bool(from_bytes(BooleanType(), largest))
    return (file.null_value_counts or {}).get(field) != file.record_count


def _chunks(files: Iterable[DataFile], rows_at_once: int) -> Iterator[list[DataFile]]:
    chunk: list[DataFile] = []
    rows = 0
    for file in files:
        if chunk and rows + file.record_count > rows_at_once:
            yield chunk
            chunk, rows = [], 0
        chunk.append(file)
        rows += file.record_count
    if chunk:
        yield chunk
