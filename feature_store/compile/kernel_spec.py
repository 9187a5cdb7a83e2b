"""What the window kernel is told: its aggregates as JSON, and the inputs that Flink SQL computes for each event."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from feature_store.dtypes import DType
from feature_store.duration import parse_duration
from feature_store.plan.expression_nodes import Expression, column
from feature_store.plan.nodes import Aggregate, GroupPlan, WindowedRows


@dataclass(frozen=True)
class KernelInputs:
    """What the kernel needs of each event: conditions (columns p0, p1, … of its input) and values (v0, v1, …).

    Both are over the columns of the source alone: computed columns are written out in full.
    """

    where: Expression | None
    conditions: tuple[Expression, ...]
    values: tuple[Expression, ...]


def in_kernel_order(rows: WindowedRows) -> tuple[Aggregate, ...]:
    """The aggregates by name: the kernel's state must not depend on the order in which features are written down."""
    return tuple(sorted(rows.aggregates, key=lambda aggregate: aggregate.name))


def kernel_inputs(rows: WindowedRows) -> KernelInputs:
    """The different conditions and input values of a group's aggregates, in order of their first use."""
    computed, aggregates = _written_out(rows), in_kernel_order(rows)
    conditions = [_inline(a.where, computed) for a in aggregates if a.where is not None]
    values = [_value(rows, name, computed) for a in aggregates for name in (a.column, a.by) if name is not None]
    where = _inline(rows.where, computed) if rows.where is not None else None
    return KernelInputs(where, tuple(dict.fromkeys(conditions)), tuple(dict.fromkeys(values)))


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
    computed, inputs = _written_out(rows), kernel_inputs(rows)
    spec: dict[str, Any] = {
        "format": 1,
        "slide": plan.slide,
        "lateness": parse_duration(stream.allowed_lateness),
        "cut": cut,
        "standing": standing,
        "event_id": rows.source.event_id is not None,
        "aggregates": [_aggregate(rows, aggregate, inputs, computed) for aggregate in in_kernel_order(rows)],
    }
    return json.dumps(spec, separators=(",", ":"))


def _aggregate(
    rows: WindowedRows, aggregate: Aggregate, inputs: KernelInputs, computed: dict[str, Expression]
) -> dict[str, Any]:
    def position(name: str | None) -> int | None:
        return None if name is None else inputs.values.index(_value(rows, name, computed))

    def dtype(name: str | None) -> str | None:
        return None if name is None else str(_value(rows, name, computed).dtype)

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
        "pass": None if where is None else inputs.conditions.index(_inline(where, computed)),
        "k": aggregate.k,
        **({} if aggregate.q is None else {"q": aggregate.q}),
    }


def _written_out(rows: WindowedRows) -> dict[str, Expression]:
    """The computed columns over the source's own: each may read those before it."""
    computed: dict[str, Expression] = {}
    for name, expression in rows.computed:
        computed[name] = _inline(expression, computed)
    return computed


def _value(rows: WindowedRows, name: str, computed: dict[str, Expression]) -> Expression:
    dtype: DType | None = rows.source.schema.get(name)
    return computed[name] if dtype is None else column(name, dtype)


def _inline(expression: Expression, computed: dict[str, Expression]) -> Expression:
    if expression.op == "column":
        return computed.get(str(expression.value), expression)
    args = tuple(_inline(arg, computed) for arg in expression.args)
    return Expression(expression.op, expression.dtype, args, expression.value)
