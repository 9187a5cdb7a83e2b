"""Label rows in a table of PostgreSQL: copied as text, so that no driver decides what a value is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg2
from psycopg2 import extensions, sql

from feature_store.dtypes import BOOL, FLOAT, INT, STRING, TIMESTAMP, DType
from feature_store.errors import InputError
from feature_store.pit.label_files import LabelFiles
from feature_store.pit.label_sources import LabelQuery, LabelTable
from feature_store.pit.scratch import Scratch
from feature_store.settings import database_url

_EXACT = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'; SET LOCAL extra_float_digits = 1"
_TYPES = {
    "bool": BOOL,
    "int2": INT,
    "int4": INT,
    "int8": INT,
    "float4": FLOAT,
    "float8": FLOAT,
    "numeric": FLOAT,
    "text": STRING,
    "varchar": STRING,
    "bpchar": STRING,
    "timestamptz": TIMESTAMP,
}


def without_postgres(source: LabelQuery | LabelTable, server: str, scratch: Scratch) -> LabelFiles | LabelQuery:
    """A table of PostgreSQL, or those of a query, copied to scratch files.

    Args:
        server: of the feature store.

    Raises:
        InputError: if a table cannot be read, or a column is of a type that labels cannot have.
    """
    if isinstance(source, LabelTable):
        return _copied(source, server, scratch.folder() / "labels.csv")
    tables = {
        name: _copied(table, server, scratch.folder() / f"labels-{number}.csv")
        if isinstance(table, LabelTable)
        else table
        for number, (name, table) in enumerate(source.tables.items())
    }
    return replace(source, tables=tables)


def _copied(table: LabelTable, server: str, path: Path) -> LabelFiles:
    """The rows of a table in a CSV file: as the table has them at one instant, in its own order.

    A numeric becomes the nearest FLOAT.

    """
    with _opened(table, server) as (cursor, source, types):
        columns = sql.SQL(", ").join(_as_text(column, dtype) for column, dtype in types.items())
        with path.open("wb") as file:
            rows = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT csv, HEADER)").format(columns, source)
            cursor.copy_expert(rows, file)
    return LabelFiles(path, types)


def look_at(table: LabelTable, server: str) -> tuple[dict[str, DType], bool]:
    """The types of the columns of a table, and whether it has rows.

    Args:
        server: of the feature store.

    Raises:
        InputError: if it cannot be read, or a column is of a type that labels cannot have.
    """
    with _opened(table, server) as (cursor, source, types):
        cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(source))
        (has_rows,) = cursor.fetchone() or (False,)
        return types, bool(has_rows)


@contextmanager
def _opened(table: LabelTable, server: str) -> Iterator[tuple[extensions.cursor, sql.Composable, dict[str, DType]]]:
    """A cursor that sees a table as it is at one instant, the table's name, and the types of its columns."""
    where = f"labels {table.table}"
    database, _, name = table.table.partition(".")
    url = database_url(table.server or server, database, "postgresql")
    try:
        with closing(psycopg2.connect(url, connect_timeout=5)) as connection:
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
            with connection.cursor() as cursor:
                cursor.execute(_EXACT)
                source = sql.SQL(".").join(map(sql.Identifier, name.split(".")))
                cursor.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(source))
                yield cursor, source, _types(cursor, where)
    except psycopg2.Error as error:
        raise InputError(
            str(error).strip().partition("\n")[0],
            where=where,
            remedy="see whether the server answers, and name a table as 'database.schema.table'",
            code="unreadable-labels",
        ) from error


def _types(cursor: extensions.cursor, where: str) -> dict[str, DType]:
    """The types of the columns of a query that was just run."""
    found = [(column.name, column.type_code) for column in cursor.description or ()]
    cursor.execute("SELECT oid, typname FROM pg_type WHERE oid = ANY(%s)", ([code for _, code in found],))
    names = dict(cursor.fetchall())
    types = {}
    for column, code in found:
        if names[code] not in _TYPES:
            raise InputError(
                f"it is {names[code]}, which labels cannot have"
                + (": it has no time zone" if names[code] == "timestamp" else ""),
                where=f"{where}, column {column!r}",
                remedy=f"name a view that casts it to one of {', '.join(_TYPES)}, or leaves it out",
                code="wrong-type",
            )
        types[column] = _TYPES[names[code]]
    return types


def _as_text(column: str, dtype: DType) -> sql.Composable:
    """A column as the reader of CSV files reads it."""
    name = sql.Identifier(column)
    if dtype == BOOL:
        return sql.SQL("CASE {0} WHEN true THEN 'true' WHEN false THEN 'false' END AS {0}").format(name)
    return name
