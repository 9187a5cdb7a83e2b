"""Labels as references: what they are at the moment, what reads them, and rows staged for whoever works."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError
from pyiceberg.io import load_file_io

from feature_store.dtypes import DType, parse_dtype
from feature_store.errors import InputError, StackError
from feature_store.pit.content_hash import content_hash
from feature_store.pit.label_files import LabelFiles
from feature_store.pit.label_sources import LabelQuery, LabelSource, LabelTable, names_table
from feature_store.pit.labels import open_labels
from feature_store.pit.time_range import TimeRange
from feature_store.plan.schema import ViewSchema
from feature_store.training_jobs.request import (
    DatasetLabels,
    FileLabels,
    GivenLabels,
    Labels,
    PostgresLabels,
    QueryLabels,
    SpanLabels,
    StagedLabels,
    TableLabels,
)

STAGED = "training-labels"
"""The folder of the warehouse with the rows that came with requests."""
_ROWS_AT_ONCE = 1 << 16
AnyLabels: TypeAlias = "LabelSource | LabelTable | LabelQuery | TimeRange"


def label_source(labels: Labels, catalog: Catalog) -> AnyLabels:
    """What a join reads the labels of a reference from.

    Raises:
        InputError: if a type, or the times of a span, make no sense.
        StackError: if staged rows are gone.
    """
    match labels:
        case FileLabels():
            return LabelFiles(labels.path, {name: _dtype(name, text) for name, text in labels.types.items()})
        case TableLabels():
            return labels.table
        case PostgresLabels():
            return LabelTable(labels.table)
        case QueryLabels():
            return LabelQuery(labels.sql, {name: _table(table, catalog) for name, table in labels.tables.items()})
        case SpanLabels():
            return TimeRange(labels.start, labels.end)
        case StagedLabels():
            return _staged(labels, catalog)
        case GivenLabels() | DatasetLabels():
            raise AssertionError("whoever has the rows gives them, or the dataset that they are of")


def reference_of(source: object) -> Labels | None:
    """The reference of labels that a program names; None if they are rows in its memory, or need its password."""
    match source:
        case TimeRange():
            return SpanLabels(source.start, source.end)
        case LabelTable():
            return None if source.server else PostgresLabels(source.table)
        case LabelFiles():
            return FileLabels(str(Path(source.path).absolute()), {n: str(dtype) for n, dtype in source.types.items()})
        case Path():
            return FileLabels(str(source.absolute()))
        case str():
            return TableLabels(source) if names_table(source) else FileLabels(str(Path(source).absolute()))
        case LabelQuery():
            tables = {name: reference_of(table) for name, table in source.tables.items()}
            named = {n: t for n, t in tables.items() if isinstance(t, FileLabels | TableLabels | PostgresLabels)}
            return QueryLabels(source.sql, named) if len(named) == len(tables) else None
        case _:
            return None


def state_of(labels: Labels, catalog: Catalog) -> str | None:
    """A text that is another one when the labels are others; None if nothing tells that but the rows themselves.

    Raises:
        InputError: if there is no such table.
    """
    match labels:
        case FileLabels():
            found = [(str(path), path.stat()) for path in _paths(labels.path)]
            sizes = [f"{path} {stat.st_size} {stat.st_mtime_ns}" for path, stat in found]
            return _digest(repr(sorted(labels.types.items())), *sizes)
        case TableLabels():
            return f"{labels.table} {_snapshot(labels.table, catalog)}"
        case QueryLabels():
            states = {name: state_of(table, catalog) for name, table in sorted(labels.tables.items())}
            known = [f"{name} {state}" for name, state in states.items() if state is not None]
            return _digest(labels.sql, *known) if len(known) == len(states) else None
        case SpanLabels():
            return f"{labels.start.isoformat()} {labels.end.isoformat()}"
        case StagedLabels() | GivenLabels() | DatasetLabels():
            return labels.hash
        case PostgresLabels():
            return None


def rows_of(source: LabelSource, view: ViewSchema) -> pa.Table:
    """Labels in memory as one table, checked as a join would.

    Raises:
        InputError: if they do not fit the view.
    """
    stream = open_labels(source, view)
    return pa.concat_tables([stream.schema.empty_table(), *stream.tables])


def stage_rows(rows: pa.Table, catalog: Catalog, warehouse: str, job_id: str) -> StagedLabels:
    """Writes rows to the warehouse, for the worker of a job.

    Raises:
        InputError: if Parquet has not the type of a column.
    """
    location = f"{warehouse.rstrip('/')}/{STAGED}/{job_id}.parquet"
    try:
        with _io(catalog, location).new_output(location).create(overwrite=True) as file:
            pq.write_table(rows, file)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"the rows cannot be kept: {error}",
            where="labels",
            remedy="give columns of numbers, texts, instants, and lists of these",
            code="unreadable-labels",
        ) from error
    return StagedLabels(location, content_hash(rows))


def drop_staged(labels: Labels, catalog: Catalog) -> None:
    """Removes staged rows; whether they are still there does not matter."""
    if isinstance(labels, StagedLabels):
        try:
            _io(catalog, labels.location).delete(labels.location)
        except FileNotFoundError:
            return


def _staged(labels: StagedLabels, catalog: Catalog) -> pa.RecordBatchReader:
    try:
        file = pq.ParquetFile(_io(catalog, labels.location).new_input(labels.location).open())
    except FileNotFoundError:
        raise StackError(
            "the rows that came with the request are gone",
            where=labels.location,
            remedy="ask again, with the rows",
            code="staged-labels",
        ) from None
    return pa.RecordBatchReader.from_batches(file.schema_arrow, _batches(file))


def _batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    with file:
        yield from file.iter_batches(_ROWS_AT_ONCE)


def _table(table: FileLabels | TableLabels | PostgresLabels, catalog: Catalog) -> Any:
    return label_source(table, catalog)


def _paths(path: str) -> list[Path]:
    """The files that a path or glob names; none if it is not one."""
    named = Path(path)
    if named.is_file():
        return [named]
    start = Path(named.anchor)
    return sorted(each for each in start.glob(str(named.relative_to(start))) if each.is_file()) if named.name else []


def _snapshot(table: str, catalog: Catalog) -> int | None:
    try:
        current = catalog.load_table(table).current_snapshot()
    except (NoSuchTableError, NoSuchNamespaceError, ValueError):
        raise InputError(
            "the catalog has no such table",
            where=f"labels {table}",
            remedy="name an Iceberg table as 'namespace.table'",
            code="unreadable-labels",
        ) from None
    return None if current is None else current.snapshot_id


def _dtype(column: str, text: str) -> DType:
    try:
        return parse_dtype(text)
    except ValueError as error:
        raise InputError(
            f"its type is not one: {error}",
            where=f"labels column {column!r}",
            remedy="write one of STRING, INT, FLOAT, BOOL, TIMESTAMP",
            code="wrong-type",
        ) from None


def _io(catalog: Catalog, location: str) -> Any:
    return load_file_io(catalog.properties, location)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
