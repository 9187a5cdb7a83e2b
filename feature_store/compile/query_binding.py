"""The binding of a query to its sources by DuckDB, which runs it in the reference: names, types, groups.

Spark would refuse such a query when it runs; this refuses it in `fs plan`. Dagster, which loads the definitions in each
of its processes, does without: DuckDB takes a while to import.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache

import duckdb
import pyarrow as pa
import sqlglot
from sqlglot import expressions as exp

from feature_store.dtypes import arrow_type
from feature_store.errors import DefinitionErrors
from feature_store.plan.clock import AS_OF
from feature_store.plan.nodes import GroupPlan, QueriedRows
from feature_store.plan.problems import Problem

_ANY_INSTANT = datetime(2026, 1, 1, tzinfo=UTC)


def check_queries(plans: Iterable[GroupPlan]) -> None:
    """Refuses queries that are of the right form but mean nothing.

    Raises:
        DefinitionErrors: for each query with an ambiguous column, one that is neither grouped by nor aggregated, or
            types that do not go together.
    """
    errors = [problem.error_in(plan.group) for plan in plans for problem in _problems(plan)]
    if errors:
        raise DefinitionErrors(errors)


def _problems(plan: GroupPlan) -> Iterator[Problem]:
    rows = plan.rows
    if not isinstance(rows, QueriedRows):
        return
    with _database().cursor() as connection:
        for source in rows.sources:
            types = pa.schema([(name, arrow_type(dtype)) for name, dtype in source.schema.items()])
            connection.register(source.name, types.empty_table())
        try:
            connection.sql(text_at(sqlglot.parse_one(rows.query, read="spark"), _ANY_INSTANT))
        except duckdb.Error as error:
            yield Problem("query", f"the query cannot be run: {_first_line(error)}", "correct the query", "query")


@cache
def _database() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def text_at(query: exp.Expr, instant: datetime) -> str:
    """The query in the SQL of DuckDB, with an instant for `as_of`."""
    literal = exp.cast(exp.Literal.string(instant.isoformat()), "TIMESTAMPTZ")

    def with_instant(node: exp.Expr) -> exp.Expr:
        is_instant = isinstance(node, exp.Column) and node.name.lower() == AS_OF and not node.table
        return literal.copy() if is_instant else node

    return in_duckdb(query.transform(with_instant))


def in_duckdb(query: exp.Expr) -> str:
    """A query in the SQL of DuckDB; `unix_seconds` rounds down, as in Spark (sqlglot's translation would not)."""

    def rounded_down(node: exp.Expr) -> exp.Expr:
        if not isinstance(node, exp.UnixSeconds):
            return node
        seconds = exp.Div(this=exp.UnixMicros(this=node.this), expression=exp.Literal.number("1000000.0"))
        return exp.cast(exp.Floor(this=seconds), "BIGINT")

    return query.transform(rounded_down).sql(dialect="duckdb")


def _first_line(error: duckdb.Error) -> str:
    return str(error).strip().partition("\n")[0]
