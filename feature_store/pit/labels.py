"""Label rows: what a training set starts from. Read from what users have, checked before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog

from feature_store.dtypes import FLOAT, TIMESTAMP, DType, arrow_type, to_micros
from feature_store.errors import InputError
from feature_store.pit.label_sources import ADD_ZONE, LabelSource, joined_by, needed_columns, raw_labels
from feature_store.pit.semantics import LABEL_TIMESTAMP
from feature_store.plan.schema import Column, ViewSchema

_INSTANT = arrow_type(TIMESTAMP)
_PIECE = 1_000_000
_YEARS = to_micros(datetime.min.replace(tzinfo=UTC)), to_micros(datetime.max.replace(tzinfo=UTC))


@dataclass(frozen=True)
class LabelStream:
    """Label rows as the join takes them, each table read and checked when it is asked for.

    Attributes:
        schema: all columns of the source; keys and request values have the type of the view's, label_timestamp is UTC
            in microseconds and never NULL, text is plain text (no categories).
        tables: the rows, in the order of the source. They are the same whatever they were handed in as.
    """

    schema: pa.Schema
    tables: Iterator[pa.Table]


def open_labels(source: LabelSource, view: ViewSchema, catalog: Catalog | None = None) -> LabelStream:
    """The label rows of a source, checked against the view they are to be joined with.

    Args:
        catalog: has the Iceberg tables that a source may name.

    Raises:
        InputError: if a column is missing, of the wrong type, or named as a feature is; the error names it. What
            depends on the rows is found when they are read.
    """
    raw = raw_labels(source, view, catalog)
    schema = _checked(raw.schema.empty_table(), view).schema
    return LabelStream(schema, (_checked(table, view).cast(schema) for table in raw.tables))


def _checked(table: pa.Table, view: ViewSchema) -> pa.Table:
    doubled = [name for name, count in Counter(table.column_names).items() if count > 1]
    if doubled:
        raise InputError(
            "more than one column has this name", where=f"labels column {doubled[0]!r}", code="name-collision"
        )
    table = pa.table({name: _plain(table[name]) for name in table.column_names})
    _check_names(table, view)
    for key in view.keys:
        table = _with_column(table, key.name, _key_column(table[key.name], key))
    for value in view.request:
        table = _with_column(table, value.name, _request_column(table[value.name], value))
    return _with_column(table, LABEL_TIMESTAMP, _label_timestamps(table[LABEL_TIMESTAMP]))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without what differs between libraries: categories, and how long a text column may be."""
    if pa.types.is_dictionary(column.type):
        column = pa.chunked_array([chunk.dictionary_decode() for chunk in column.chunks], column.type.value_type)
    if not _is_text(column.type):
        return column
    # In pieces, because one array of plain text holds no more than 2 GiB.
    pieces = (chunk[start : start + _PIECE] for chunk in column.chunks for start in range(0, len(chunk), _PIECE))
    return pa.chunked_array([piece.cast(pa.string()) for piece in pieces], pa.string())


def _check_names(table: pa.Table, view: ViewSchema) -> None:
    missing = [name for name in needed_columns(view) if name not in table.column_names]
    if missing:
        raise InputError(
            f"missing from the labels, which have {', '.join(table.column_names) or 'no columns'}",
            where=f"labels column{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))}",
            remedy=f"view {view.id} is joined by {', '.join(joined_by(view))}"
            + (f"; its on-demand features read {', '.join(v.name for v in view.request)}" if view.request else ""),
            code="missing-column",
        )
    clash = [feature.name for feature in view.outputs if feature.name in table.column_names]
    if clash:
        raise InputError(
            f"named as a feature of view {view.id} is",
            where=f"labels column{'s' * (len(clash) > 1)} {', '.join(map(repr, clash))}",
            remedy="rename or drop it in the labels",
            code="name-collision",
        )


def _key_column(column: pa.ChunkedArray, key: Column) -> pa.ChunkedArray:
    return _typed(column, key, "key")


def _request_column(column: pa.ChunkedArray, value: Column) -> pa.ChunkedArray:
    """A request value's column; where FLOAT is asked for, whole numbers do, as they do in a request."""
    if value.dtype == FLOAT and pa.types.is_integer(column.type):
        return column.cast(pa.float64(), safe=False)  # beyond 2**53 the nearest one, as float() gives it
    return _typed(column, value, "request value")


def _typed(column: pa.ChunkedArray, wanted: Column, what: str) -> pa.ChunkedArray:
    where = f"labels column {wanted.name!r}"
    if pa.types.is_null(column.type):
        return column.cast(arrow_type(wanted.dtype))
    if wanted.dtype == TIMESTAMP:
        return _instants(column, where)
    if not _holds(column.type, wanted.dtype):
        raise InputError(
            f"it is {column.type}, but the {what} {wanted.name!r} is {wanted.dtype}",
            where=where,
            remedy=f"cast it to {wanted.dtype} (whole numbers with NULLs: pandas .astype('Int64'))",
            code="wrong-type",
        )
    try:
        return column.cast(arrow_type(wanted.dtype))
    except pa.ArrowInvalid as error:
        raise InputError(f"a value does not fit {wanted.dtype}: {error}", where=where, code="wrong-type") from error


def _holds(found: pa.DataType, wanted: DType) -> bool:
    if wanted.kind == "STRING":
        return _is_text(found)
    if wanted.kind == "BOOL":
        return bool(pa.types.is_boolean(found))
    if wanted.kind == "FLOAT":
        return bool(pa.types.is_floating(found))
    return bool(pa.types.is_integer(found))


def _label_timestamps(column: pa.ChunkedArray) -> pa.ChunkedArray:
    where = f"labels column {LABEL_TIMESTAMP!r}"
    if column.null_count:
        raise InputError(
            f"{column.null_count} of {len(column)} rows are NULL",
            where=where,
            remedy="drop these rows or fill them",
            code="null-timestamp",
        )
    return column.cast(_INSTANT) if pa.types.is_null(column.type) else _instants(column, where)


def _instants(column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """UTC instants in microseconds of a timestamp column with a time zone, in any unit."""
    if not pa.types.is_timestamp(column.type):
        raise InputError(
            f"it is {column.type}, not a timestamp with a time zone", where=where, remedy=ADD_ZONE, code="wrong-type"
        )
    if column.type.tz is None:
        raise InputError(
            f"it is {column.type}: the timestamps have no time zone",
            where=where,
            remedy=ADD_ZONE,
            code="naive-timestamp",
        )
    try:
        instants = column.cast(_INSTANT)
    except pa.ArrowInvalid as error:
        raise InputError(
            f"a timestamp is not a whole number of microseconds: {error}",
            where=where,
            remedy="round it: pandas .dt.floor('us'), Polars .dt.cast_time_unit('us')",
            code="finer-than-microseconds",
        ) from error
    bounds = pc.min_max(instants.cast(pa.int64()))
    if bounds["min"].is_valid and not _YEARS[0] <= bounds["min"].as_py() <= bounds["max"].as_py() <= _YEARS[1]:
        raise InputError("a timestamp lies outside the years 1 to 9999", where=where, code="out-of-range")
    return instants


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype))


def _with_column(table: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)
