"""What a windowed group evaluates of each event of its source, over the columns of the source alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from feature_store.dtypes import BOOL, DType
from feature_store.plan.expression_nodes import Expression, column
from feature_store.plan.nodes import Aggregate, WindowedRows
from feature_store.plan.overflow import any_of, overflow_of


@dataclass(frozen=True)
class EventInputs:
    """The condition on an event to count at all, and the conditions and input values of the aggregates."""

    where: Expression | None
    conditions: tuple[Expression, ...]
    values: tuple[Expression, ...]

    @property
    def overflow(self) -> Expression | None:
        """The condition, never NULL, that an event is left out because one of them overflows; None if none can.

        `where` is evaluated first; then, of an event for which it holds, all others.
        """
        found = {overflow for input_ in (*self.conditions, *self.values) if (overflow := overflow_of(input_))}
        of_inputs = any_of(sorted(found, key=str))
        if self.where is None or of_inputs is None:
            return of_inputs if self.where is None else overflow_of(self.where)
        wanted = Expression("and", BOOL, (self.where, of_inputs))
        counted = Expression("coalesce", BOOL, (wanted, Expression("literal", BOOL, value=False)))
        return any_of([overflow_of(self.where), counted])


def event_inputs(rows: WindowedRows) -> EventInputs:
    """The different conditions and values of a group's aggregates, in order of their names."""
    computed = written_out(rows)
    aggregates = sorted(rows.aggregates, key=lambda aggregate: aggregate.name)
    conditions = [inlined(a.where, computed) for a in aggregates if a.where is not None]
    values = [value_of(rows, name, computed) for a in aggregates for name in _columns(a)]
    where = inlined(rows.where, computed) if rows.where is not None else None
    return EventInputs(where, tuple(dict.fromkeys(conditions)), tuple(dict.fromkeys(values)))


def written_out(rows: WindowedRows) -> dict[str, Expression]:
    """The computed columns over the source's own: each may read those before it."""
    computed: dict[str, Expression] = {}
    for name, expression in rows.computed:
        computed[name] = inlined(expression, computed)
    return computed


def value_of(rows: WindowedRows, name: str, computed: Mapping[str, Expression]) -> Expression:
    """A column of the source, or a computed one as `written_out` has it."""
    dtype: DType | None = rows.source.schema.get(name)
    return computed[name] if dtype is None else column(name, dtype)


def inlined(expression: Expression, columns: Mapping[str, Expression]) -> Expression:
    """An expression with other expressions instead of some of its columns."""
    if expression.op == "column":
        return columns.get(str(expression.value), expression)
    args = tuple(inlined(arg, columns) for arg in expression.args)
    return Expression(expression.op, expression.dtype, args, expression.value)


def _columns(aggregate: Aggregate) -> list[str]:
    return [name for name in (aggregate.column, aggregate.by) if name is not None]
