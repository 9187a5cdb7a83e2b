"""Which events count in the features of a group, as SQL."""

from __future__ import annotations

from collections.abc import Iterable

from feature_store.compile.spark_expressions import spark_sql
from feature_store.plan.expression_nodes import Expression
from feature_store.plan.nodes import WindowedRows


def seen(rows: WindowedRows) -> str:
    """Whether an event counts in a feature."""
    return _in_one_of(aggregate.where for aggregate in rows.aggregates)


def seen_by(rows: WindowedRows, window: int | None) -> str:
    """Whether an event counts in a feature over a window."""
    return _in_one_of(aggregate.where for aggregate in rows.aggregates if aggregate.window == window)


def _in_one_of(conditions: Iterable[Expression | None]) -> str:
    wanted = list(conditions)
    if any(condition is None for condition in wanted):
        return "TRUE"
    return " OR ".join(sorted({spark_sql(condition) for condition in wanted if condition is not None}))
