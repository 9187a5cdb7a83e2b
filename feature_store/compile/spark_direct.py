"""The direct plan: every aggregate of each instant straight from the events in its window, without tiles.

A span of few instants, such as the partition of one more day, looks at each event a few times at most. One GROUP BY
does then what the change-point plan does with three shuffles and a frame over every point of the longest window. An
event is read once for each instant that it counts at, so tiles win where instants are many: `DIRECT_INSTANTS` is where
`benchmarks/batch` saw the two meet.
"""

from __future__ import annotations

from feature_store.compile.span import Span
from feature_store.compile.spark_aggregates import Lowered, lower_aggregates, partials_of
from feature_store.compile.spark_counting import seen, seen_by
from feature_store.compile.spark_expressions import quote
from feature_store.compile.sql_layout import CommonTable, listed
from feature_store.plan.nodes import GroupPlan, WindowedRows

DIRECT_INSTANTS = 4
"""The greatest number of instants that are computed directly."""


def is_direct(plan: GroupPlan, rows: WindowedRows, span: Span) -> bool:
    """Whether a span is computed directly; sessions have no beginning that could be known without the tiles."""
    instants = (span.until - span.after) // plan.slide
    return instants <= DIRECT_INSTANTS and not any(aggregate.session for aggregate in rows.aggregates)


def direct_steps(plan: GroupPlan, rows: WindowedRows, span: Span, key: str) -> tuple[list[CommonTable], list[Lowered]]:
    """The steps from `events` to `frames`, which has every aggregate at every point; `key` is SQL.

    A point holds one partial of the whole window, so that there is nothing left to merge but itself.
    """
    lowered = lower_aggregates(rows.aggregates, lambda aggregate: _since(aggregate.window))
    partials = [f"{sql} AS {name}" for name, sql in partials_of(lowered)]
    snapshot = plan.group.emits == "snapshot"
    changed = "" if snapshot else f"\nHAVING {_changed(plan.slide, rows, span)}"
    merged = [f"{feature.merged('whole')} AS {quote(feature.name)}" for feature in lowered]
    return [
        ("instants", _instants(plan.slide, None if snapshot else rows.windows[-1], span, seen(rows))),
        ("points", f"SELECT {listed([key, '_t AS t', *partials])}\nFROM instants\nGROUP BY {key}, _t{changed}"),
        ("frames", f"SELECT {listed([key, 't', *merged])}\nFROM points\nWINDOW whole AS (PARTITION BY {key}, t)"),
    ], lowered


def _instants(slide: int, longest: int | None, span: Span, counts: str) -> str:
    """Each event once for every instant of the span at which it counts or has just left the longest window."""
    if span.until - span.after == slide:
        return f"SELECT *, {span.until}L AS _t\nFROM events\nWHERE {counts}"
    end = f"_at - pmod(_at, {slide}L) + {slide}L"
    first = f"greatest({end}, {span.after + slide}L)"
    last = f"{span.until}L" if longest is None else f"least({end} + {longest}L, {span.until}L)"
    return f"SELECT *, explode(sequence({first}, {last}, {slide}L)) AS _t\nFROM events\nWHERE {counts}"


def _changed(slide: int, rows: WindowedRows, span: Span) -> str:
    """That an event entered or left at t, or that the group's history begins there and something counts."""
    moves = [f"count_if(_at >= _t - {slide}L) > 0"]
    for window in rows.windows:
        if window is not None:
            left = f"_at >= _t - {window + slide}L AND _at < _t - {window}L"
            moves.append(f"count_if(({seen_by(rows, window)}) AND {left}) > 0")
        if span.first:
            alive = " AND ".join([f"({seen_by(rows, window)})", *([_since(window)] if window is not None else [])])
            moves.append(f"_t = {span.after + slide}L AND count_if({alive}) > 0")
    return "\n  OR ".join(moves)


def _since(window: int | None) -> str:
    return "" if window is None else f"_at >= _t - {window}L"
