"""Windowed groups in the reference: for every instant and entity, look at all events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from feature_store.compile.reference_events import Row, clean_events
from feature_store.compile.reference_expressions import checked_int, evaluate, finite_or_none, ordered
from feature_store.compile.span import Span
from feature_store.dtypes import INT, from_micros, to_micros
from feature_store.plan.nodes import Aggregate, GroupPlan, WindowedRows


def run_windows(plan: GroupPlan, windowed: WindowedRows, rows: Sequence[Row], span: Span) -> list[Row]:
    """The rows of a windowed group in a span."""
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
            return min(values, key=ordered, default=None)
        case "max":
            return max(values, key=ordered, default=None)
        case "last":
            latest = max(events, key=lambda event: (event["_at"], ordered(event[column])), default=None)
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
    ranked = sorted(weights, key=lambda value: (-weights[value], ordered(value)))
    return ranked[: aggregate.k] or None
