"""The reference: what a group's rows are, by the definition of windows, in plain loops.

Slow on purpose. It knows no tiles, no change points and no lifted queries: for every instant of the grid it computes
every entity anew. Engines are tested against it row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from feature_store.compile.reference_events import Row
from feature_store.compile.reference_expressions import evaluate_or
from feature_store.compile.reference_query import run_query
from feature_store.compile.reference_windows import run_windows
from feature_store.compile.span import Span
from feature_store.plan.nodes import GroupPlan, QueriedRows


def run_reference(plan: GroupPlan, rows: Mapping[str, Sequence[Row]], span: Span) -> list[Row]:
    """The rows of a group in a span.

    Args:
        plan: the group.
        rows: for each source by name, its rows: column to value, timestamps as aware datetimes.
        span: the feature timestamps wanted.

    Returns:
        Rows with the keys, `feature_timestamp` and the features, ordered by time and key.
    """
    span.check(plan.slide)
    if isinstance(plan.rows, QueriedRows):
        found = run_query(plan, plan.rows, {name: list(given) for name, given in rows.items()}, span)
    else:
        found = run_windows(plan, plan.rows, rows[plan.rows.source.name], span)
    for row in found:
        for name, expression in plan.derived:
            row[name] = evaluate_or(None, expression, row)
    return sorted(found, key=lambda row: (row["feature_timestamp"], [str(row[key]) for key in plan.keys]))
