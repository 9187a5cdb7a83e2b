"""What serving is compared with: the values of features in training."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import FileScanTask

from feature_store.dtypes import arrow_type, to_micros
from feature_store.errors import InputError, NotFoundError
from feature_store.offline.standing import standing_rows
from feature_store.pit.planning import GroupPlan, PlannedFile, current_snapshot_id, open_table, plan_group
from feature_store.plan.schema import FEATURE_TIMESTAMP, Column, ViewedSchema, ViewSchema

MOST_ROWS = 100_000
"""Rows of one group, or of a training dataset, that are looked at."""


@dataclass(frozen=True)
class Baseline:
    """The values of a view's stored features in training, defaults filled in.

    Attributes:
        source: what they were read from, in words.
        has_absent: whether there are rows for entities without a value, as a training dataset has; rows of the offline
            store always are of an entity that has one.
        values: by what the view calls a feature.
        size, whole: bytes that were read as they are stored, and bytes of all that was there to be read.
    """

    source: str
    has_absent: bool
    values: dict[str, pa.Array]
    size: int
    whole: int


def offline_baseline(catalog: Catalog, view: ViewSchema, now: datetime, days: int, seed: int = 0) -> Baseline:
    """A sample of the rows of each group of the last days: whole partitions, in random order, until there are enough.

    Raises:
        NotFoundError: if a group was never materialized.
        ConflictError: if a table does not fit its group's definition.
    """
    values: dict[str, pa.Array] = {}
    size = whole = 0
    for viewed in view.groups:
        plan = _plan(catalog, viewed, now, days)
        files = _sampled_files(plan.files, random.Random(seed))
        rows = _recent_rows(plan, files, now - timedelta(days=days), now)
        for stored, feature in zip(viewed.group.features, viewed.features, strict=True):
            values[feature.name] = _with_default(rows, stored)
        size, whole = size + plan.size(files), whole + plan.whole.size
    return Baseline(f"rows of the offline store, last {days} days", False, values, size, whole)


def dataset_baseline(view: ViewSchema, folder: Path, seed: int = 0) -> Baseline:
    """A sample of the rows of a training dataset: whole row groups, in random order, until there are enough.

    Raises:
        NotFoundError: if the folder has no rows.
        InputError: if the dataset lacks a feature of the view.
    """
    files = [pq.ParquetFile(path) for path in sorted(folder.glob("*.parquet"))]
    if not files:
        raise NotFoundError(
            "no training dataset is here", where=str(folder), remedy="name the folder of a dataset", code="skew-dataset"
        )
    names = [feature.name for feature in view.features]
    lacking = [name for name in names if name not in files[0].schema_arrow.names]
    if lacking:
        raise InputError(
            f"the dataset has no {', '.join(lacking)}",
            where=str(folder),
            remedy=f"name a dataset of view {view.id}",
            code="skew-dataset",
        )
    pieces = [(file, number) for file in files for number in range(file.num_row_groups)]
    random.Random(seed).shuffle(pieces)
    tables: list[pa.Table] = []
    rows = size = 0
    for file, number in pieces:
        if rows < MOST_ROWS:
            tables.append(file.read_row_group(number, names))
            rows, size = rows + tables[-1].num_rows, size + file.metadata.row_group(number).total_byte_size
    table = pa.concat_tables(tables).combine_chunks()
    values = {f.name: _array(table[f.name].cast(arrow_type(f.dtype))) for f in view.features}
    return Baseline(f"training dataset {folder.name}", True, values, size, sum(_size(file) for file in files))


def _plan(catalog: Catalog, viewed: ViewedSchema, now: datetime, days: int) -> GroupPlan:
    """The files that have rows of the last days."""
    recent = replace(viewed.group, ttl=to_micros(now) - to_micros(now - timedelta(days=days)), availability_delay=0)
    table = open_table(catalog, viewed.group)
    instant = to_micros(now)
    return plan_group(table, replace(viewed, group=recent), current_snapshot_id(table), (instant, instant))


def _sampled_files(files: Sequence[PlannedFile], draw: random.Random) -> list[PlannedFile]:
    """Files with enough rows; of a day and bucket all, since a row may be corrected in another of its files."""
    partitions: dict[tuple[int | None, int], list[PlannedFile]] = defaultdict(list)
    for file in files:
        partitions[file.day, file.bucket].append(file)
    order = list(partitions.values())
    draw.shuffle(order)
    return list(_until_enough(order))


def _until_enough(partitions: Sequence[Sequence[PlannedFile]]) -> Iterator[PlannedFile]:
    rows = 0
    for files in partitions:
        if rows >= MOST_ROWS:
            return
        rows += sum(file.rows for file in files)
        yield from files


def _recent_rows(plan: GroupPlan, files: Sequence[PlannedFile], after: datetime, until: datetime) -> pa.Table:
    """The standing rows in some files whose feature_timestamp lies in a span."""
    scan = ArrowScan(plan.metadata, plan.io, plan.metadata.schema().select(*plan.columns), AlwaysTrue())
    rows = standing_rows(scan.to_table([FileScanTask(file.data) for file in files]).select(list(plan.columns)))
    times = rows[FEATURE_TIMESTAMP]
    return rows.filter(pc.and_(pc.greater(times, after), pc.less_equal(times, until)))


def _with_default(rows: pa.Table, feature: Column) -> pa.Array:
    """The values of a feature as readers get them; a table that has no such column yet has NULL in all rows."""
    kind = arrow_type(feature.dtype)
    if feature.name not in rows.column_names:
        values = pa.nulls(rows.num_rows, kind)
    else:
        values = _array(rows[feature.name].cast(kind))
    if feature.default is None or not values.null_count:
        return values
    default = pa.array([feature.default], kind)  # Arrow's fill_null takes no lists
    return pa.concat_arrays([values, default]).take(
        pc.if_else(pc.is_valid(values), pa.array(range(len(values))), len(values))
    )


def _array(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _size(file: pq.ParquetFile) -> int:
    return sum(file.metadata.row_group(number).total_byte_size for number in range(file.num_row_groups))
