"""Query groups in the reference: the user's own query, not lifted, run once for every instant on DuckDB."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import sqlglot

from feature_store.compile.query_binding import text_at
from feature_store.compile.reference_events import Row, clean_events
from feature_store.compile.reference_expressions import evaluate_or, ordered
from feature_store.compile.span import Span
from feature_store.dsl.source import BatchSource
from feature_store.dtypes import arrow_type, from_micros
from feature_store.plan.expression_nodes import Expression
from feature_store.plan.nodes import GroupPlan, QueriedRows


def run_query(plan: GroupPlan, queried: QueriedRows, rows: dict[str, list[Row]], span: Span) -> list[Row]:
    """The query's rows at every instant of the span, from the rows before that instant."""
    query = sqlglot.parse_one(queried.query, read="spark")
    found: list[Row] = []
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for at in range(span.after + plan.slide, span.until + 1, plan.slide):
            instant = from_micros(at)
            for source in queried.sources:
                known = [r for r in clean_events(source, rows[source.name]) if r[source.event_timestamp] < instant]
                known = _states(source, known, queried.deletions.get(source.name))
                connection.register(source.name, _table(source, known))
            for row in connection.sql(text_at(query, instant)).to_arrow_table().to_pylist():
                keys = {key: row[key] for key in plan.keys}
                if None not in keys.values():
                    features = {feature.name: row[feature.name] for feature in plan.group.features}
                    found.append({**keys, "feature_timestamp": instant, **features})
    return found


def _states(source: BatchSource, known: list[Row], deletion: Expression | None) -> list[Row]:
    """What a query sees of the rows before its instant: all of them, or of states the newest ones."""
    if source.copies:
        newest_copy = max((row[source.event_timestamp] for row in known), default=None)
        return [row for row in known if row[source.event_timestamp] == newest_copy]
    if not source.changes_of:
        return known
    assert source.event_id is not None
    time, number = source.event_timestamp, source.event_id
    newest: dict[tuple[Any, ...], Row] = {}
    for row in known:
        key = tuple(row[name] for name in source.changes_of)
        if None in key or row[number] is None:
            continue
        before = newest.get(key)
        if before is None or (row[time], ordered(row[number])) > (before[time], ordered(before[number])):
            newest[key] = row
    return [row for row in newest.values() if deletion is None or evaluate_or(None, deletion, row) is not True]


def _table(source: BatchSource, rows: list[Row]) -> pa.Table:
    types = pa.schema([(name, arrow_type(dtype)) for name, dtype in source.schema.items()])
    return pa.Table.from_pylist(rows, schema=types)
