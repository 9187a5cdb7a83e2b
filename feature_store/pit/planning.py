"""Which files of a group's table a join has to read: pinned to a snapshot, pruned by day, known by bucket."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
from pyiceberg.expressions import And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual, Reference
from pyiceberg.expressions.literals import LongLiteral
from pyiceberg.expressions.visitors import expression_evaluator, inclusive_projection, manifest_evaluator
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, DataFileContent, ManifestFile
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.transforms import BucketTransform, DayTransform
from pyiceberg.typedef import Record
from pyiceberg.types import LongType, PrimitiveType, StringType, TimestamptzType

from feature_store.dtypes import BOOL, TIMESTAMP, DType, arrow_type
from feature_store.errors import ConflictError, NotFoundError
from feature_store.offline.refs import snapshot_of
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, RETRACTED, Column, GroupSchema, ViewedSchema

_BUCKETED_TYPES: dict[str, PrimitiveType] = {"STRING": StringType(), "INT": LongType(), "TIMESTAMP": TimestamptzType()}


@dataclass(frozen=True)
class PlannedFile:
    """One data file: `bucket` is its part of the keys when they are split by `buckets` (1: not split).

    `day` is the one that the feature timestamps of all its rows are in, in days since 1970; None: of any.
    """

    data: DataFile
    bucket: int
    buckets: int
    day: int | None = None

    @property
    def path(self) -> str:
        """Where it is; without scheme if it is local (Spark writes file:/x, pyiceberg file:///x)."""
        return re.sub(r"^file:/+", "/", self.data.file_path)

    @property
    def rows(self) -> int:
        return int(self.data.record_count)


@dataclass(frozen=True)
class Whole:
    """All that a table has at a snapshot: its files, their bytes, and the first day of a row, in days since 1970.

    The day is None where there are no rows, or files are not split by day.
    """

    files: int
    size: int
    first_day: int | None

    @classmethod
    def of(cls, table: Table, snapshot: Snapshot | None) -> Whole:
        if snapshot is None:
            return cls(0, 0, None)
        summary = {} if snapshot.summary is None else snapshot.summary.additional_properties
        days = [_first_day(table, manifest) for manifest in snapshot.manifests(table.io)]
        return cls(
            files=int(summary.get("total-data-files", 0)),
            size=int(summary.get("total-files-size", 0)),
            first_day=None if None in days else min((day for day in days if day is not None), default=None),
        )


def _first_day(table: Table, manifest: ManifestFile) -> int | None:
    """The first day that a file of a manifest is of."""
    time = table.schema().find_field(FEATURE_TIMESTAMP).field_id
    spec = table.specs()[manifest.partition_spec_id]
    for field, summary in zip(spec.fields, manifest.partitions or (), strict=False):
        if field.source_id == time and isinstance(field.transform, DayTransform) and summary.lower_bound is not None:
            return int.from_bytes(summary.lower_bound, "little", signed=True)
    return None


@dataclass(frozen=True)
class GroupPlan:
    """What to read of one group in one role of a view.

    Attributes:
        snapshot_id: the snapshot read; None for a table that nothing was written to.
        files: in a fixed order, so that equal rows keep their order.
        buckets: into how many parts all these files are split by key: the greatest common divisor of theirs, since a
            key of bucket b of 32 is in bucket b % 8 of 8; 1 if they are not split.
        columns: the columns the table has of those the join reads: keys, the two timestamps, retracted, features.
        whole: what the table has at the snapshot.
        same_columns_by_name: whether every file has these columns under these names and types, or lacks them.
    """

    viewed: ViewedSchema
    snapshot_id: int | None
    files: tuple[PlannedFile, ...]
    buckets: int
    columns: tuple[str, ...]
    same_columns_by_name: bool
    metadata: TableMetadata
    io: FileIO
    whole: Whole

    @property
    def group(self) -> GroupSchema:
        """The group as its table has it, with the features to read."""
        return self.viewed.group

    @property
    def bucket_key(self) -> Column:
        """The column of the labels whose value decides the bucket."""
        return self.viewed.keys[0]

    def size(self, files: Sequence[PlannedFile]) -> int:
        """Bytes of the columns read in some files, as they are stored."""
        fields = [self.metadata.schema().find_field(name).field_id for name in self.columns]
        return sum((file.data.column_sizes or {}).get(field, 0) for file in files for field in fields)

    @property
    def rows(self) -> int:
        """Rows in the files: the greatest number of rows that can be read."""
        return sum(file.rows for file in self.files)


def open_table(catalog: Catalog, group: GroupSchema) -> Table:
    """The offline table of a group.

    Raises:
        NotFoundError: if there is none.
    """
    try:
        return catalog.load_table(group.table)
    except (NoSuchTableError, NoSuchNamespaceError) as error:
        raise NotFoundError(
            f"the offline table {group.table} does not exist",
            where=f"group {group.id}",
            remedy="materialize the group first",
            code="not-materialized",
        ) from error


def current_snapshot_id(table: Table) -> int | None:
    """The snapshot that readers see now; None if nothing was written yet."""
    snapshot = table.current_snapshot()
    return None if snapshot is None else int(snapshot.snapshot_id)


def plan_group(
    table: Table, viewed: ViewedSchema, snapshot_id: int | None, label_times: tuple[int, int] | None
) -> GroupPlan:
    """The files of one group of a view that can hold rows for the labels.

    Args:
        snapshot_id: the snapshot to read; None reads the table as it was before anything was written.
        label_times: the first and the last label_timestamp, in microseconds; None for no labels.

    Raises:
        NotFoundError: if the snapshot is gone.
        ConflictError: if the table does not fit the group, or rows were deleted by delete files.
    """
    group = viewed.group
    columns = _columns(table.schema(), group)
    snapshot = snapshot_of(table, snapshot_id, f"group {group.id}")
    files: tuple[PlannedFile, ...] = ()
    if snapshot is not None and label_times is not None:
        files = _files(table, group, snapshot, label_times)
    return GroupPlan(
        viewed=viewed,
        snapshot_id=snapshot_id,
        files=files,
        buckets=gcd(*(file.buckets for file in files)) or 1,
        columns=columns,
        same_columns_by_name=_is_stable(table, columns),
        metadata=table.metadata,
        io=table.io,
        whole=Whole.of(table, snapshot),
    )


def bucket_numbers(keys: pa.ChunkedArray, dtype: DType, buckets: int) -> pa.Array:
    """The bucket of each key as Iceberg numbers it: int32, NULL for NULL."""
    transform = BucketTransform(buckets).pyarrow_transform(_BUCKETED_TYPES[dtype.kind])
    return pa.concat_arrays([pa.array([], pa.int32()), *(_array(transform(chunk)) for chunk in keys.chunks)])


def _array(result: pa.Array | pa.ChunkedArray) -> pa.Array:
    return pc.cast(result.combine_chunks() if isinstance(result, pa.ChunkedArray) else result, pa.int32())


def _columns(schema: Schema, group: GroupSchema) -> tuple[str, ...]:
    """The columns to read: keys, timestamps, retracted, features; without those that the table does not have yet."""
    present = {field.name: field for field in schema.as_arrow()}
    required = {key.name: key.dtype for key in group.keys}
    required |= dict.fromkeys((FEATURE_TIMESTAMP, CREATED_TIMESTAMP), TIMESTAMP)
    wanted = required | {RETRACTED: BOOL} | {feature.name: feature.dtype for feature in group.features}
    for name, dtype in wanted.items():
        if name in required and name not in present:
            raise ConflictError(
                f"{group.table} has no column {name!r}",
                where=f"group {group.id}",
                remedy="materialize the group anew",
                code="missing-columns",
            )
        if name in present and not _same_type(present[name].type, arrow_type(dtype)):
            raise ConflictError(
                f"column {name!r} of {group.table} is {present[name].type}, the definition says {dtype}",
                where=f"group {group.id}",
                remedy="a change of type needs a new version of the group",
                code="type-change",
            )
    return tuple(name for name in wanted if name in present)


def _same_type(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Equal but for what may differ between writers: the size of offsets and the names of list elements."""
    if pa.types.is_list(wanted):
        is_list = pa.types.is_list(found) or pa.types.is_large_list(found)
        return is_list and _same_type(found.value_type, wanted.value_type)
    return bool(found == wanted or (pa.types.is_large_string(found) and pa.types.is_string(wanted)))


def _files(
    table: Table, group: GroupSchema, snapshot: Snapshot, label_times: tuple[int, int]
) -> tuple[PlannedFile, ...]:
    """The data files of the days that can matter, by path.

    The partitions are pruned by pyiceberg's evaluators; `scan().plan_files()` would also evaluate the statistics of
    every single file, which takes three times as long and leaves out next to nothing of a table partitioned by day.
    """
    needed = _needed_times(group, *label_times)
    specs = {spec_id: _SpecFilter.of(spec, table.schema(), needed) for spec_id, spec in table.specs().items()}
    key = table.schema().find_field(group.keys[0].name).field_id
    time = table.schema().find_field(FEATURE_TIMESTAMP).field_id
    files = []
    for manifest in snapshot.manifests(table.io):
        spec = specs[manifest.partition_spec_id]
        if not spec.may_hold(manifest):
            continue
        entries = [e for e in manifest.fetch_manifest_entry(table.io) if spec.is_needed(e.data_file.partition)]
        if any(entry.data_file.content != DataFileContent.DATA for entry in entries):
            raise _has_delete_files(group)
        for entry in entries:
            bucket, buckets = _bucket(spec.spec, entry.data_file, key)
            if bucket is not None:  # a file of NULL keys holds nothing that a label could find
                files.append(PlannedFile(entry.data_file, bucket, buckets, _day(spec.spec, entry.data_file, time)))
    return tuple(sorted(files, key=lambda file: file.data.file_path))


def _needed_times(group: GroupSchema, first: int, last: int) -> BooleanExpression:
    time = Reference(FEATURE_TIMESTAMP)
    available = LessThanOrEqual(term=time, value=LongLiteral(last - group.availability_delay))
    if group.ttl is None:
        return available
    return And(available, GreaterThanOrEqual(term=time, value=LongLiteral(first - group.ttl)))


@dataclass(frozen=True)
class _SpecFilter:
    """Which manifests and which partitions, written with one partition spec, can hold needed rows."""

    spec: PartitionSpec
    may_hold: Callable[[ManifestFile], bool]
    is_needed: Callable[[Record], bool]

    @classmethod
    def of(cls, spec: PartitionSpec, schema: Schema, needed: BooleanExpression) -> _SpecFilter:
        projected = inclusive_projection(schema, spec)(needed)
        partition = Schema(*spec.partition_type(schema).fields)
        return cls(spec, manifest_evaluator(spec, schema, projected), expression_evaluator(partition, projected, True))


def _has_delete_files(group: GroupSchema) -> ConflictError:
    return ConflictError(
        f"rows of {group.table} were deleted by delete files, which the join does not read",
        where=f"group {group.id}",
        remedy="write with copy-on-write, and run Iceberg's rewrite_data_files with delete-file-threshold 1 once",
        code="delete-files",
    )


def _bucket(spec: PartitionSpec, file: DataFile, key_field: int) -> tuple[int | None, int]:
    """The bucket of a file (None: of NULL keys) and how many there are; 0 of 1 if the spec does not split by key."""
    for position, field in enumerate(spec.fields):
        if field.source_id == key_field and isinstance(field.transform, BucketTransform):
            return file.partition[position], field.transform.num_buckets
    return 0, 1


def _day(spec: PartitionSpec, file: DataFile, time_field: int) -> int | None:
    """The day of a file; none if the spec does not split by it, or the rows have no time."""
    for position, field in enumerate(spec.fields):
        if field.source_id == time_field and isinstance(field.transform, DayTransform):
            day: int | None = file.partition[position]
            return day
    return None


def _is_stable(table: Table, columns: Sequence[str]) -> bool:
    """Whether no schema of the table ever gave these columns another name or type, or these names to others."""
    now = {name: table.schema().find_field(name) for name in columns}
    names = {field.field_id: name for name, field in now.items()}
    for schema in table.schemas().values():
        for field in schema.fields:
            today = now.get(field.name)
            if names.get(field.field_id, field.name) != field.name:
                return False
            if today is not None and (today.field_id, today.field_type) != (field.field_id, field.field_type):
                return False
    return True
