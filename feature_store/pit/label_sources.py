"""Where label rows come from: tables in memory, files, tables of the catalog; all of them as Arrow tables in a row.

Nothing here decides a value: types are those of the source, and a file without types (CSV) is read as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import pyarrow as pa
from pyiceberg.catalog import Catalog

from feature_store.dtypes import TIMESTAMP, DType
from feature_store.errors import InputError
from feature_store.pit.label_files import LabelFiles, open_files
from feature_store.pit.label_tables import open_label_table
from feature_store.pit.semantics import LABEL_TIMESTAMP
from feature_store.plan.schema import ViewSchema

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


class SparkFrame(Protocol):
    """A Spark DataFrame, of whichever kind of session."""

    def toArrow(self) -> pa.Table:  # noqa: N802 - Spark's name
        """All rows."""


LabelSource: TypeAlias = (
    "pl.DataFrame | pd.DataFrame | SparkFrame | pa.Table | pa.RecordBatchReader | LabelFiles | str | Path"
    " | Sequence[dict[str, Any]]"
)
"""A table in memory, rows as dicts, the path or glob of Parquet or CSV files, or "namespace.table" in Iceberg."""

ADD_ZONE = "make it UTC: pandas .dt.tz_localize('UTC'), Polars .dt.replace_time_zone('UTC'), Python tzinfo=UTC"
_TABLE = re.compile(r"\w+(\.\w+)+")
_FORMS = (
    "give a Polars, pandas or Spark DataFrame, a pyarrow Table, a list of dicts, the path or glob of Parquet or CSV "
    "files, or the name of an Iceberg table"
)


@dataclass(frozen=True)
class LabelTable:
    """A table or view of PostgreSQL whose rows are the labels.

    Attributes:
        table: "database.schema.table".
        server: `postgresql://user:password@host:port`; the feature store's own unless given.
    """

    table: str
    server: str = ""


@dataclass(frozen=True)
class LabelQuery:
    """A SELECT of DuckDB's SQL whose rows are the labels.

    It sees its tables and nothing else: no file, no other database, no setting. Only an ORDER BY makes it give the same
    order again. Its times are UTC; a column that it gives without a time zone is refused as from any source.

    Attributes:
        tables: by the name that the query has for it, a source of labels: a DataFrame, files, a table.
    """

    sql: str
    tables: Mapping[str, LabelSource | LabelTable]


@dataclass(frozen=True)
class RawLabels:
    """Label rows as the source has them: tables of one schema, each read when it is asked for."""

    schema: pa.Schema
    tables: Iterator[pa.Table]


def raw_labels(source: LabelSource, view: ViewSchema, catalog: Catalog | None) -> RawLabels:
    """The rows of a source, in its order.

    Args:
        catalog: has the Iceberg tables; None where there are none.

    Raises:
        InputError: if it cannot be read.
    """
    if isinstance(source, str | Path):
        if isinstance(source, str) and names_table(source):
            return RawLabels(*open_label_table(source, catalog))
        source = LabelFiles(source)
    if isinstance(source, LabelFiles):
        return RawLabels(*open_files(source, needed_types(view)))
    if isinstance(source, pa.RecordBatchReader):
        return RawLabels(source.schema, (pa.Table.from_batches([batch]) for batch in source))
    table = _in_memory(source, view)
    return RawLabels(table.schema, iter([table]))


def names_table(text: str) -> bool:
    """Whether a text names an Iceberg table, and not files."""
    return _TABLE.fullmatch(text) is not None and not Path(text).suffix.endswith((".parquet", ".csv"))


def joined_by(view: ViewSchema) -> list[str]:
    """The columns that labels are joined by."""
    return [*(key.name for key in view.keys), LABEL_TIMESTAMP]


def needed_columns(view: ViewSchema) -> list[str]:
    """The columns that labels need to have."""
    return list(dict.fromkeys([*joined_by(view), *(value.name for value in view.request)]))


def needed_types(view: ViewSchema) -> dict[str, DType]:
    """The types of these columns."""
    return {column.name: column.dtype for column in (*view.keys, *view.request)} | {LABEL_TIMESTAMP: TIMESTAMP}


def _in_memory(source: object, view: ViewSchema) -> pa.Table:
    frame: Any = source
    if isinstance(source, pa.Table):
        return source
    if isinstance(source, list | tuple):
        return _from_rows(source, view)
    if _is_frame_of("pandas", source):
        return _from_pandas(frame, view)
    if _is_frame_of("polars", source):
        return frame.to_arrow()
    if _is_frame_of("pyspark", source):
        return frame.toArrow()
    raise InputError(
        f"labels cannot be read from {type(source).__name__}", where="labels", remedy=_FORMS, code="unreadable-labels"
    )


def _is_frame_of(library: str, source: object) -> bool:
    """Whether it is a DataFrame of a library, without importing one that may not be in use."""
    return type(source).__module__.partition(".")[0] == library and type(source).__name__ == "DataFrame"


def _from_rows(rows: Sequence[dict[str, Any]], view: ViewSchema) -> pa.Table:
    """Rows as columns; no rows at all are read as none of the columns that are needed."""
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InputError(
                f"it is a {type(row).__name__}, not a dict", where=f"labels row {number}", code="unreadable-labels"
            )
    names = list(dict.fromkeys(name for row in rows for name in row)) or needed_columns(view)
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        _check_zones(name, values)
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
            raise InputError(
                f"its values have no common type: {error}", where=f"labels column {name!r}", code="wrong-type"
            ) from error
    return pa.table(columns)


def _from_pandas(frame: pd.DataFrame, view: ViewSchema) -> pa.Table:
    for name in needed_columns(view):
        # An object column may hold naive and aware datetimes side by side; Arrow would take the naive ones for UTC.
        if name in frame.columns and frame[name].ndim == 1 and frame[name].dtype == object:
            _check_zones(name, frame[name].tolist())
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
        raise InputError(f"the DataFrame cannot be read: {error}", where="labels", code="unreadable-labels") from error


def _check_zones(name: str, values: Iterable[object]) -> None:
    naive = [number for number, value in enumerate(values) if isinstance(value, datetime) and value.tzinfo is None]
    if naive:
        raise InputError(
            f"{len(naive)} timestamps have no time zone, the first in row {naive[0]}",
            where=f"labels column {name!r}",
            remedy=ADD_ZONE,
            code="naive-timestamp",
        )
