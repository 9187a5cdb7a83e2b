"""Label rows as the result of a query over other sources of labels, run by DuckDB in its own small world."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa
from pyiceberg.catalog import Catalog

from feature_store.errors import InputError
from feature_store.pit.label_sources import LabelQuery, LabelSource, LabelTable, raw_labels
from feature_store.pit.scratch import Scratch
from feature_store.plan.schema import ViewSchema

_ROWS_AT_ONCE = 1 << 16


def run_query(
    query: LabelQuery, view: ViewSchema, catalog: Catalog, scratch: Scratch, memory: int
) -> pa.RecordBatchReader:
    """The rows of a query, read as they are asked for.

    Args:
        scratch: has what does not fit in memory.
        memory: bytes that the query may take.

    Raises:
        InputError: if a table cannot be read, or if the query is not a single SELECT over its tables.
    """
    database = duckdb.connect(
        config={
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "memory_limit": f"{max(memory >> 20, 64)}MB",
            "temp_directory": str(scratch.folder()),
        }
    )
    try:
        database.execute("SET TimeZone = 'UTC'")
        for name, source in query.tables.items():
            assert not isinstance(source, LabelTable), "it was copied"
            _add(database, name, source, view, catalog)
        database.execute("SET enable_external_access = false")
        database.execute("SET lock_configuration = true")
        rows = _selected(database, query.sql)
    except BaseException:
        database.close()
        raise
    return pa.RecordBatchReader.from_batches(rows.schema, _batches(database, rows))


def _add(
    database: duckdb.DuckDBPyConnection, name: str, source: LabelSource, view: ViewSchema, catalog: Catalog
) -> None:
    """Copies a source to a table: a query may read it more than once, and a source is read once."""
    raw = raw_labels(source, view, catalog)
    batches = (batch for table in raw.tables for batch in table.cast(raw.schema).to_batches())
    database.register("source", pa.RecordBatchReader.from_batches(raw.schema, batches))
    quoted = name.replace('"', '""')
    try:
        database.execute(f'CREATE TABLE main."{quoted}" AS SELECT * FROM source')
    except duckdb.Error as error:
        raise _refused(f"table {name!r} cannot be read: {_first_line(error)}") from error
    database.unregister("source")


def _selected(database: duckdb.DuckDBPyConnection, sql: str) -> pa.RecordBatchReader:
    try:
        statements = database.extract_statements(sql)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise _refused("it is not a single SELECT")
        return database.sql(sql).to_arrow_reader(_ROWS_AT_ONCE)
    except duckdb.Error as error:
        raise _refused(_first_line(error)) from error


def _batches(database: duckdb.DuckDBPyConnection, rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    try:
        yield from rows
    except (duckdb.Error, pa.ArrowInvalid, OSError) as error:
        raise _refused(_first_line(error)) from error
    finally:
        database.close()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _refused(message: str) -> InputError:
    return InputError(
        message,
        where="labels, query",
        remedy="write one SELECT of DuckDB's SQL over the tables that are given with it",
        code="label-query",
    )
