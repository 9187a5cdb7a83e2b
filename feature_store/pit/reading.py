"""Rows of one group out of its data files: the key and time columns as the kernel wants them, the features as Arrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import FileFormat
from pyiceberg.table import FileScanTask

from feature_store.dtypes import BOOL, TIMESTAMP, arrow_type
from feature_store.pit.kernel import NULL_TIME, CandidateRows
from feature_store.pit.planning import GroupPlan, PlannedFile
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, RETRACTED, GroupSchema

_ROWS_IN_BATCH = 32_000
_BUFFER = 1 << 20


@dataclass(frozen=True)
class GroupRows:
    """Rows of one group, in the order of the files: what the kernel matches, and the feature columns the table has."""

    candidates: CandidateRows
    features: dict[str, pa.Array]


@dataclass(frozen=True)
class KeyShare:
    """The keys whose hash leaves `number` when it is divided by `of`."""

    number: int
    of: int


def share_numbers(keys: Sequence[pa.Array], shares: int) -> NDArray[np.int64]:
    """For each key, given as columns, the number of the share that it is in."""
    frame = pl.DataFrame({str(place): pl.Series(key) for place, key in enumerate(keys)})
    return frame.select(_share_number(frame.columns, shares)).to_series().to_numpy()


def _share_number(keys: Sequence[str], shares: int) -> pl.Expr:
    return (pl.struct(keys).hash(0) % shares).cast(pl.Int64)


def read_rows(plan: GroupPlan, files: Sequence[PlannedFile], share: KeyShare | None = None) -> GroupRows:
    """Reads some of a plan's files; a column that a file lacks is NULL in its rows.

    Args:
        share: the keys whose rows are wanted, all unless given; the others' are never in memory all at once.
    """
    wanted = None
    if share is not None:
        wanted = _share_number([key.name for key in plan.group.keys], share.of) == share.number
    scan = _scan if _is_plain(plan, files) else _scan_by_field_id
    frame = scan(plan, files, wanted).rechunk()
    candidates = CandidateRows(
        keys=tuple(frame[key.name].to_arrow() for key in plan.group.keys),
        feature_times=_micros(frame[FEATURE_TIMESTAMP]),
        created_times=_micros(frame[CREATED_TIMESTAMP]),
        retracted=_retracted(frame),
    )
    names = [feature.name for feature in plan.group.features if feature.name in plan.columns]
    return GroupRows(candidates, {name: frame[name].to_arrow() for name in names})


def _is_plain(plan: GroupPlan, files: Sequence[PlannedFile]) -> bool:
    """Whether the files can be read by column name from the local disk."""
    return plan.same_columns_by_name and all(
        file.path.startswith("/") and file.data.file_format == FileFormat.PARQUET for file in files
    )


def _scan(plan: GroupPlan, files: Sequence[PlannedFile], wanted: pl.Expr | None) -> pl.DataFrame:
    schema = _schema(plan)
    rows = pl.scan_parquet(
        [file.path for file in files],
        schema=schema,
        glob=False,
        hive_partitioning=False,
        missing_columns="insert",
        extra_columns="ignore",
    ).select(schema.names())
    return rows.collect() if wanted is None else pl.concat(_filtered(schema, files, wanted))


def _filtered(schema: pl.Schema, files: Sequence[PlannedFile], wanted: pl.Expr) -> Iterator[pl.DataFrame]:
    """The wanted rows of each file, read in batches: Polars would decode groups of a million rows."""
    yield schema.to_frame()
    for file in files:
        with pq.ParquetFile(file.path, buffer_size=_BUFFER, pre_buffer=False) as source:
            present = [name for name in schema.names() if name in source.schema_arrow.names]
            for batch in source.iter_batches(_ROWS_IN_BATCH, columns=present):
                rows = pl.DataFrame(batch)
                missing = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in present]
                yield rows.with_columns(missing).select(schema.names()).cast(schema).filter(wanted)


def _scan_by_field_id(plan: GroupPlan, files: Sequence[PlannedFile], wanted: pl.Expr | None) -> pl.DataFrame:
    """Iceberg's own way: columns by id, whatever their names and types were in the file, on any storage."""
    scan = ArrowScan(plan.metadata, plan.io, plan.metadata.schema().select(*plan.columns), AlwaysTrue())
    tasks = [FileScanTask(file.data) for file in files]
    if wanted is None:
        return _frame(plan, scan.to_table(tasks))
    return pl.concat([_frame(plan, scan.to_table([task])).filter(wanted) for task in tasks])


def _frame(plan: GroupPlan, table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table.select(list(plan.columns)))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _schema(plan: GroupPlan) -> pl.Schema:
    types = _types(plan.group)
    empty = pl.from_arrow(pa.schema([(name, types[name]) for name in plan.columns]).empty_table())
    assert isinstance(empty, pl.DataFrame)
    return empty.schema


def _types(group: GroupSchema) -> dict[str, pa.DataType]:
    columns = {column.name: arrow_type(column.dtype) for column in (*group.keys, *group.features)}
    columns |= dict.fromkeys((FEATURE_TIMESTAMP, CREATED_TIMESTAMP), arrow_type(TIMESTAMP))
    return columns | {RETRACTED: arrow_type(BOOL)}


def _micros(column: pl.Series) -> NDArray[np.int64]:
    return column.to_physical().fill_null(NULL_TIME).to_numpy()


def _retracted(frame: pl.DataFrame) -> NDArray[np.bool_] | None:
    """Which rows take others back; None if there are none, as in a table from before there were any."""
    if RETRACTED not in frame.columns or not frame[RETRACTED].any():
        return None
    return frame[RETRACTED].fill_null(False).to_numpy()
