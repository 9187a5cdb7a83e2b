"""INT results that do not fit 64 bits: where they happen, as conditions of the expression language itself.

The rule is the same on every engine. An operation whose result does not fit overflows, and so does every operation that
computes one of its arguments: overflow is never hidden by NULL, AND, OR or a comparison. Only what is computed counts:
CASE computes its conditions up to the first that holds, and that one's value; coalesce its arguments up to the first
that is not NULL; all others compute all of their arguments.
"""

from __future__ import annotations

from collections.abc import Iterable

from feature_store.dtypes import BOOL, INT
from feature_store.plan.expression_nodes import Expression

EXACT = frozenset({"add", "sub", "mul", "neg", "abs", "micros_between"})
"""Operations whose INT result may not fit; engines give NULL then."""

_TRUE, _FALSE = Expression("literal", BOOL, value=True), Expression("literal", BOOL, value=False)
_HIDES_NULL = frozenset({"case", "coalesce", "is_null", "and", "or", "nullif"})


def overflow_of(expression: Expression) -> Expression | None:
    """The condition, never NULL, that an expression overflows on a row; None if it never does.

    Its operation "overflows" is of an exact operation and those of its operands that may be NULL: that the former is
    NULL while none of the latter is.
    """
    if expression.op == "case":
        return _of_case(expression)
    if expression.op == "coalesce":
        return _of_coalesce(expression)
    inside = [overflow_of(arg) for arg in expression.args]
    if _is_exact(expression):
        operands = tuple(arg for arg in expression.args if arg.op != "literal" or arg.value is None)
        inside.append(Expression("overflows", BOOL, (expression, *operands)))
    return any_of(inside)


def null_on_overflow(expression: Expression) -> Expression:
    """The expression with NULL where it overflows."""
    if _becomes_null(expression):
        return expression
    overflow = overflow_of(expression)
    assert overflow is not None
    return Expression("case", expression.dtype, (overflow, Expression("literal", expression.dtype), expression))


def any_of(conditions: Iterable[Expression | None]) -> Expression | None:
    """That one of some conditions holds; None of none."""
    found: Expression | None = None
    for condition in conditions:
        if condition is not None:
            found = condition if found is None else Expression("or", BOOL, (found, condition))
    return found


def _of_case(expression: Expression) -> Expression | None:
    *branches, default = expression.args
    steps: list[Expression] = []
    for condition, value in zip(branches[::2], branches[1::2], strict=True):
        overflow = overflow_of(condition)
        steps += [overflow, _TRUE] if overflow is not None else []
        steps += [condition, overflow_of(value) or _FALSE]
    return _first_of(steps, overflow_of(default))


def _of_coalesce(expression: Expression) -> Expression | None:
    *tried, last = expression.args
    steps: list[Expression] = []
    for arg in tried:
        overflow = overflow_of(arg)
        steps += [overflow, _TRUE] if overflow is not None else []
        steps += [Expression("not", BOOL, (Expression("is_null", BOOL, (arg,)),)), _FALSE]
    return _first_of(steps, overflow_of(last))


def _first_of(steps: list[Expression], otherwise: Expression | None) -> Expression | None:
    if otherwise is None and all(value == _FALSE for value in steps[1::2]):
        return None
    return Expression("case", BOOL, (*steps, otherwise or _FALSE))


def _becomes_null(expression: Expression) -> bool:
    """Whether NULL instead of an operation that overflows makes the whole expression NULL."""
    if not _may_overflow(expression):
        return True
    return expression.op not in _HIDES_NULL and all(_becomes_null(arg) for arg in expression.args)


def _may_overflow(expression: Expression) -> bool:
    return _is_exact(expression) or any(_may_overflow(arg) for arg in expression.args)


def _is_exact(expression: Expression) -> bool:
    return expression.op in EXACT and expression.dtype == INT
