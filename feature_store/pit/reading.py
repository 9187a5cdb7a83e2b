"""Rows of one group out of its data files: the key and time columns as the kernel wants them, the features as Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import FileFormat
from pyiceberg.table import FileScanTask

from feature_store.dtypes import BOOL, TIMESTAMP, arrow_type
from feature_store.pit.kernel import NULL_TIME, CandidateRows
from feature_store.pit.planning import GroupPlan, PlannedFile
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, RETRACTED, GroupSchema


@dataclass(frozen=True)
class GroupRows:
    """Rows of one group, in the order of the files: what the kernel matches, and the feature columns the table has."""

    candidates: CandidateRows
    features: dict[str, pa.Array]


def read_rows(plan: GroupPlan, files: Sequence[PlannedFile]) -> GroupRows:
    """Reads some of a plan's files; a column that a file lacks is NULL in its rows."""
    frame = _scan(plan, files) if _is_plain(plan, files) else _scan_by_field_id(plan, files)
    frame = frame.rechunk()
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


def _scan(plan: GroupPlan, files: Sequence[PlannedFile]) -> pl.DataFrame:
    schema = _schema(plan)
    return (
        pl.scan_parquet(
            [file.path for file in files],
            schema=schema,
            glob=False,
            hive_partitioning=False,
            missing_columns="insert",
            extra_columns="ignore",
        )
        .select(schema.names())
        .collect()
    )


def _scan_by_field_id(plan: GroupPlan, files: Sequence[PlannedFile]) -> pl.DataFrame:
    """Iceberg's own way: columns by id, whatever their names and types were in the file, on any storage."""
    projection = plan.metadata.schema().select(*plan.columns)
    tasks = [FileScanTask(file.data) for file in files]
    table = ArrowScan(plan.metadata, plan.io, projection, AlwaysTrue()).to_table(tasks)
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
