"""What the window kernel is told: its aggregates as JSON, over the inputs that Flink SQL computes for each event.

Of `event_inputs` the conditions are the columns p0, p1, … of the kernel's input, and the values v0, v1, …. Of a source
with event ids the kernel gets every event, since copies are found before any condition: whether an event counts at all
is then one more condition, the last.
"""

from __future__ import annotations

import json
from typing import Any

from feature_store.duration import parse_duration
from feature_store.plan.event_inputs import EventInputs, event_inputs, inlined, value_of, written_out
from feature_store.plan.expression_nodes import Expression
from feature_store.plan.nodes import Aggregate, GroupPlan, WindowedRows


def in_kernel_order(rows: WindowedRows) -> tuple[Aggregate, ...]:
    """The aggregates by name: the kernel's state must not depend on the order in which features are written down."""
    return tuple(sorted(rows.aggregates, key=lambda aggregate: aggregate.name))


def kernel_spec(plan: GroupPlan, *, cut: int | None = None, standing: bool = False) -> str:
    """The kernel's parameters for a streaming group, as JSON (durations and instants in microseconds).

    Args:
        plan: of a group whose source is a stream.
        cut: rows with a feature timestamp up to this one are written by batch; None if there are none.
        standing: whether history begins at the cut, where every entity whose windows hold something gets a row.
    """
    stream, rows = plan.stream, plan.rows
    assert stream is not None
    assert isinstance(rows, WindowedRows)
    computed, inputs = written_out(rows), event_inputs(rows)
    spec: dict[str, Any] = {
        "format": 1,
        "slide": plan.slide,
        "lateness": parse_duration(stream.allowed_lateness),
        "cut": cut,
        "standing": standing,
        **_copies(rows, inputs),
        "aggregates": [_aggregate(rows, aggregate, inputs, computed) for aggregate in in_kernel_order(rows)],
    }
    return json.dumps(spec, separators=(",", ":"))


def _copies(rows: WindowedRows, inputs: EventInputs) -> dict[str, Any]:
    """Whether events have ids, how near copies are, and which condition tells the events that count."""
    if rows.source.event_id is None:
        return {"event_id": False}
    selective = inputs.where is not None or inputs.overflow is not None
    counts = len(inputs.conditions) if selective else None
    return {"event_id": True, "deduplicate_within": rows.source.deduplicate_size, "row_pass": counts}


def _aggregate(
    rows: WindowedRows, aggregate: Aggregate, inputs: EventInputs, computed: dict[str, Expression]
) -> dict[str, Any]:
    def position(name: str | None) -> int | None:
        return None if name is None else inputs.values.index(value_of(rows, name, computed))

    def dtype(name: str | None) -> str | None:
        return None if name is None else str(value_of(rows, name, computed).dtype)

    where = aggregate.where
    return {
        "name": aggregate.name,
        "function": aggregate.function,
        "type": dtype(aggregate.column),
        "window": aggregate.window,
        "session": aggregate.session,
        "value": position(aggregate.column),
        "weight": position(aggregate.by),
        "weight_type": dtype(aggregate.by),
        "pass": None if where is None else inputs.conditions.index(inlined(where, computed)),
        "k": aggregate.k,
        **({} if aggregate.q is None else {"q": aggregate.q}),
    }
