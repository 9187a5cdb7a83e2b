"""Windowed groups in the reference: for every instant and entity, look at all events."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from feature_store.compile.distinct_sketch import HASHES, SHARE_OF_HASHES, hash_of
from feature_store.compile.reference_events import Row, clean_events
from feature_store.compile.reference_expressions import (
    OVERFLOWED,
    IntOverflowError,
    evaluate,
    evaluate_or,
    finite_or_none,
    int_or_none,
    ordered,
)
from feature_store.compile.span import Span
from feature_store.dtypes import INT, from_micros, to_micros
from feature_store.plan.nodes import Aggregate, GroupPlan, WindowedRows


def run_windows(plan: GroupPlan, windowed: WindowedRows, rows: Sequence[Row], span: Span) -> list[Row]:
    """The rows of a windowed group in a span."""
    by_entity: dict[Any, list[Row]] = defaultdict(list)
    for row in counted_events(plan, windowed, rows)[0]:
        row["_at"] = to_micros(row[windowed.source.event_timestamp])
        by_entity[tuple(row[name] for name in plan.keys)].append(row)
    found = []
    for key, events in by_entity.items():
        for at in range(span.after + plan.slide, span.until + 1, plan.slide):
            if _is_due(plan, windowed, events, at, span):
                row = {**dict(zip(plan.keys, key, strict=True)), "feature_timestamp": from_micros(at)}
                row |= {a.name: _value(a, _in_window(a, events, at)) for a in windowed.aggregates}
                found.append(row)
    return found


def counted_events(plan: GroupPlan, windowed: WindowedRows, rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The rows that count, with their computed columns, and those that are left out because something overflows.

    First `where` is computed; of a row for which it holds also each condition and input of the aggregates.
    """
    counted, left_out = [], []
    for row in clean_events(windowed.source, rows, plan.keys):
        if None in [row[name] for name in plan.keys]:
            continue
        for name, expression in windowed.computed:
            row[name] = evaluate_or(OVERFLOWED, expression, row)
        try:
            counts = windowed.where is None or evaluate(windowed.where, row) is True
            if counts:
                _check_inputs(windowed, row)
                counted.append(row)
        except IntOverflowError:
            left_out.append(row)
    return counted, left_out


def _check_inputs(windowed: WindowedRows, row: Row) -> None:
    """Raises if a condition or an input of the aggregates overflows."""
    for aggregate in windowed.aggregates:
        if aggregate.where is not None:
            evaluate(aggregate.where, row)
        if OVERFLOWED in [row[name] for name in (aggregate.column, aggregate.by) if name is not None]:
            raise IntOverflowError(f"an input of {aggregate.name} does not fit 64 bits")


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
    """The events that count at T: of a session from the latest one, if it is in `[T - gap, T)`, back to the first."""
    if not aggregate.session:
        return [event for event in events if _in_window_of(aggregate, aggregate.window, event, at)]
    assert aggregate.window is not None
    before = [event for event in events if _in_window_of(aggregate, None, event, at)]
    going_on: list[Row] = []
    begins = at
    for event in sorted(before, key=lambda event: -event["_at"]):
        if begins - event["_at"] > aggregate.window:
            break
        begins = event["_at"]
        going_on.append(event)
    return going_on


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
    if aggregate.function == "top_k":
        return _top_k(aggregate, events)
    events.sort(key=lambda event: (event["_at"], ordered(event[column])))
    return _OF_VALUES[aggregate.function](aggregate, [event[column] for event in events])


# of the values that are not NULL, in order of their times and then of the values
_OF_VALUES: dict[str, Callable[[Aggregate, list[Any]], Any]] = {
    "count": lambda _, values: len(values),
    "count_distinct": lambda _, values: len(set(values)),
    "approx_count_distinct": lambda _, values: _estimate(sorted({hash_of(value) for value in values})),
    "sum": lambda a, values: int_or_none(sum(values)) if a.dtype == INT else finite_or_none(sum(values, 0.0)),
    "mean": lambda _, values: finite_or_none(sum(map(float, values)) / len(values)) if values else None,
    "stddev": lambda _, values: _stddev([float(value) for value in values]),
    "variance": lambda _, values: _variance([float(value) for value in values]),
    "percentile": lambda a, values: _percentile(a.q, sorted(map(float, values))) if values else None,
    "collect_set": lambda _, values: sorted(set(values), key=ordered) or None,
    "min": lambda _, values: min(values, key=ordered, default=None),
    "max": lambda _, values: max(values, key=ordered, default=None),
    "first": lambda _, values: values[0] if values else None,
    "last": lambda _, values: values[-1] if values else None,
    "first_n": lambda a, values: values[: a.k] or None,
    "last_n": lambda a, values: values[::-1][: a.k] or None,
}


def _stddev(values: list[float]) -> float | None:
    variance = _variance(values)
    return None if variance is None else math.sqrt(variance)


def _variance(values: list[float]) -> float | None:
    """By the definition, in two passes; NULL where a square leaves the range of FLOAT."""
    if len(values) < 2:
        return None
    try:
        mean = math.fsum(values) / len(values)
        return finite_or_none(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    except OverflowError:
        return None


def _percentile(q: float | None, values: list[float]) -> float | None:
    """Linear between the two values beside the place q of the way through them."""
    assert q is not None
    place = q * (len(values) - 1)
    low, high = values[math.floor(place)], values[math.ceil(place)]
    return finite_or_none(low + (high - low) * (place - math.floor(place)))


def _estimate(hashes: list[int]) -> int:
    return len(hashes) if len(hashes) < HASHES else math.floor(SHARE_OF_HASHES / hashes[HASHES - 1])


def _top_k(aggregate: Aggregate, events: list[Row]) -> list[Any] | None:
    weights: dict[Any, Any] = {}
    for event in events:
        weight = 1 if aggregate.by is None else event[aggregate.by]
        if weight is not None:
            value = event[aggregate.column or ""]
            weights[value] = weights.get(value, 0) + weight
    ranked = sorted(weights, key=lambda value: (-weights[value], ordered(value)))
    return ranked[: aggregate.k] or None
