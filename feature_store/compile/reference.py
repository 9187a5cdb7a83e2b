"""The reference: what a group's rows are, by the definition of windows, in plain loops.

Slow on purpose. It knows no tiles and no change points: for every instant of the grid and every entity it looks at all
events. Engines are tested against it row by row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cmp_to_key
from typing import Any

from feature_store.compile.reference_expressions import checked_int, evaluate, finite_or_none
from feature_store.compile.span import Span
from feature_store.dsl.source import BatchSource
from feature_store.dtypes import FLOAT, INT, from_micros, to_micros
from feature_store.plan.nodes import Aggregate, GroupPlan, QueriedRows, WindowedRows

Row = dict[str, Any]


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
        from feature_store.compile.reference_query import run_query

        found = run_query(plan, plan.rows, {name: list(given) for name, given in rows.items()}, span)
    else:
        found = _run_windows(plan, plan.rows, rows[plan.rows.source.name], span)
    for row in found:
        for name, expression in plan.derived:
            row[name] = evaluate(expression, row)
    return sorted(found, key=lambda row: (row["feature_timestamp"], [str(row[key]) for key in plan.keys]))


def clean_events(source: BatchSource, rows: Iterable[Row]) -> list[Row]:
    """The rows of a source that count: with an event time, one of each event id, FLOATs finite or NULL."""
    events: list[Row] = []
    for given in rows:
        row = {name: given.get(name) for name in source.schema}
        for name, dtype in source.schema.items():
            value = row[name]
            if dtype == FLOAT and value is not None:
                row[name] = finite_or_none(float(value))
        if row[source.event_timestamp] is not None:
            events.append(row)
    if source.event_id is None:
        return events
    by_id: dict[Any, Row] = {}
    unidentified = []
    for row in sorted(events, key=lambda row: row[source.event_timestamp]):
        if row[source.event_id] is None:
            unidentified.append(row)
        else:
            by_id.setdefault(row[source.event_id], row)
    return [*by_id.values(), *unidentified]


def _run_windows(plan: GroupPlan, windowed: WindowedRows, rows: Sequence[Row], span: Span) -> list[Row]:
    by_entity: dict[Any, list[Row]] = defaultdict(list)
    for row in clean_events(windowed.source, rows):
        for name, expression in windowed.computed:
            row[name] = evaluate(expression, row)
        key = row[plan.keys[0]]
        if key is not None and (windowed.where is None or evaluate(windowed.where, row) is True):
            row["_at"] = to_micros(row[windowed.source.event_timestamp])
            by_entity[key].append(row)
    found = []
    for key, events in by_entity.items():
        for at in range(span.after + plan.slide, span.until + 1, plan.slide):
            if _is_due(plan, windowed, events, at, span):
                row = {plan.keys[0]: key, "feature_timestamp": from_micros(at)}
                row |= {a.name: _value(a, _in_window(a, events, at)) for a in windowed.aggregates}
                found.append(row)
    return found


def _is_due(plan: GroupPlan, windowed: WindowedRows, events: list[Row], at: int, span: Span) -> bool:
    """Whether an entity gets a row at T: an event entered or left since the last T, or history begins, or snapshot."""
    if plan.group.emits == "snapshot":
        return any(_in_window_of(a, None, event, at) for a in windowed.aggregates for event in events)
    begins = span.first and at == span.after + plan.slide
    for aggregate in windowed.aggregates:
        for event in events:
            now = _in_window_of(aggregate, aggregate.window, event, at)
            before = _in_window_of(aggregate, aggregate.window, event, at - plan.slide)
            if now != before or (begins and now):
                return True
    return False


def _in_window(aggregate: Aggregate, events: list[Row], at: int) -> list[Row]:
    return [event for event in events if _in_window_of(aggregate, aggregate.window, event, at)]


def _in_window_of(aggregate: Aggregate, window: int | None, event: Row, at: int) -> bool:
    if event["_at"] >= at or (window is not None and event["_at"] < at - window):
        return False
    return aggregate.where is None or evaluate(aggregate.where, event) is True


def _value(aggregate: Aggregate, events: list[Row]) -> Any:
    if aggregate.function == "count" and aggregate.column is None:
        return len(events)
    assert aggregate.column is not None
    column = aggregate.column
    events = [event for event in events if event[column] is not None]
    values = [event[column] for event in events]
    match aggregate.function:
        case "count":
            return len(values)
        case "count_distinct":
            return len(set(values))
        case "sum":
            return checked_int(sum(values)) if aggregate.dtype == INT else finite_or_none(sum(values, 0.0))
        case "mean":
            return finite_or_none(sum(map(float, values)) / len(values)) if values else None
        case "min":
            return min(values, key=_ordered, default=None)
        case "max":
            return max(values, key=_ordered, default=None)
        case "last":
            latest = max(events, key=lambda event: (event["_at"], _ordered(event[column])), default=None)
            return latest[column] if latest is not None else None
        case _:
            return _top_k(aggregate, events)


def _top_k(aggregate: Aggregate, events: list[Row]) -> list[Any] | None:
    weights: dict[Any, Any] = {}
    for event in events:
        weight = 1 if aggregate.by is None else event[aggregate.by]
        if weight is not None:
            value = event[aggregate.column or ""]
            weights[value] = weights.get(value, 0) + weight
    ranked = sorted(weights, key=cmp_to_key(lambda a, b: _rank(weights[a], _ordered(a), weights[b], _ordered(b))))
    return ranked[: aggregate.k] or None


def _rank(weight: Any, value: Any, other_weight: Any, other_value: Any) -> int:
    if weight != other_weight:
        return -1 if weight > other_weight else 1
    return -1 if value < other_value else 1


def _ordered(value: Any) -> Any:
    """Strings compare by their UTF-8 bytes."""
    return value.encode() if isinstance(value, str) else value
