"""The rows of an offline table that stand: of each entity and feature_timestamp the row that was created last.

An offline table is a history: a row that was corrected stays, and a newer one stands in its place; a row that should
not have been is taken back by a newer one (`retracted`), and none stands. Whoever wants to know what is true now reads
the standing rows; whoever wants to know what was true at an instant reads those of the rows created up to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pyarrow as pa
from pyiceberg.expressions import And, GreaterThan, LessThanOrEqual

from feature_store.compile.span import Span
from feature_store.compile.spark_expressions import quote
from feature_store.dtypes import from_micros
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, RETRACTED


def key_columns(columns: Sequence[str]) -> list[str]:
    """The keys among the columns of an offline table: those before feature_timestamp (`tables.arrow_schema`)."""
    return list(columns[: columns.index(FEATURE_TIMESTAMP)])


def inside(span: Span) -> str:
    """The condition in Spark SQL that a row is one of a span."""
    bounds = f"timestamp_micros({span.after}) AND {FEATURE_TIMESTAMP} <= timestamp_micros({span.until})"
    return f"{FEATURE_TIMESTAMP} > {bounds}"


def inside_filter(span: Span) -> And:
    """The condition as a filter of pyiceberg."""
    low, high = (from_micros(micros).isoformat() for micros in (span.after, span.until))
    return And(GreaterThan(term=FEATURE_TIMESTAMP, value=low), LessThanOrEqual(term=FEATURE_TIMESTAMP, value=high))


def newest_sql(table: str, keys: Sequence[str], where: str = "TRUE") -> str:
    """Spark SQL: of each entity and feature_timestamp the row that was created last, also if it takes others back.

    Args:
        table: what the rows are read from, as it stands after FROM.
        where: which rows are wanted: a condition on the keys and feature_timestamp, so that it is one on all versions
            of a row.
    """
    return _ranked(table, keys, where, "row_number()")


def standing_sql(table: str, keys: Sequence[str], where: str = "TRUE") -> str:
    """Spark SQL: the standing rows of an offline table; arguments as those of `newest_sql`.

    Rows of one entity and feature_timestamp that were created together are all there: one run computed both, and its
    audit has to see it.
    """
    return f"{_ranked(table, keys, where, 'rank()')} AND NOT coalesce({RETRACTED}, FALSE)"


def _ranked(table: str, keys: Sequence[str], where: str, rank: str) -> str:
    place = ", ".join([*map(quote, keys), FEATURE_TIMESTAMP])
    ranked = f"{rank} OVER (PARTITION BY {place} ORDER BY {CREATED_TIMESTAMP} DESC) AS _rank"
    return f"SELECT * EXCEPT (_rank) FROM (SELECT *, {ranked} FROM {table} WHERE {where}) WHERE _rank = 1"


def standing_rows(rows: pa.Table) -> pa.Table:
    """The standing rows among some rows of an offline table, in their order, without the column `retracted`.

    The table has the keys, feature_timestamp, created_timestamp and `retracted`, and of each entity and
    feature_timestamp all rows or none.
    """
    keys = key_columns(rows.column_names)
    place = [*keys, FEATURE_TIMESTAMP]
    retracted = RETRACTED in rows.column_names  # a snapshot of before tables had it lacks it
    frame = pl.from_arrow(rows.select([*place, CREATED_TIMESTAMP, *([RETRACTED] if retracted else [])]))
    assert isinstance(frame, pl.DataFrame)
    stands = pl.col(CREATED_TIMESTAMP) == pl.col(CREATED_TIMESTAMP).max().over(place)
    if retracted:
        stands &= ~pl.col(RETRACTED).fill_null(value=False)
    found = rows.filter(frame.select(stands).to_series().to_arrow())
    return found.drop_columns([RETRACTED]) if retracted else found
