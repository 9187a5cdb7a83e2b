"""Expressions evaluated in plain Python, one row at a time."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, timedelta
from typing import Any

from feature_store.dtypes import INT, INT_MAX, INT_MIN
from feature_store.plan.expression_nodes import Expression


class IntOverflowError(ArithmeticError):
    """An INT result does not fit 64 bits."""


OVERFLOWED = object()
"""What a row has instead of a computed value that does not fit."""


def evaluate(expression: Expression, row: Mapping[str, Any]) -> Any:
    """The value of an expression for one row; NULL is None.

    Raises:
        IntOverflowError: if an INT result leaves 64 bits, or if a column that is read is `OVERFLOWED`.
    """
    if expression.op == "column":
        value = row[str(expression.value)]
        if value is OVERFLOWED:
            raise IntOverflowError(f"{expression.value} does not fit 64 bits")
        return value
    if expression.op == "literal":
        return expression.value
    if expression.op in _LAZY:
        return _LAZY[expression.op](expression, row)
    values = [evaluate(arg, row) for arg in expression.args]
    if any(value is None for value in values):
        return None
    result = _STRICT[expression.op](*values)
    if expression.dtype == INT and result is not None and int_or_none(result) is None:
        raise IntOverflowError(f"{result} does not fit 64 bits")
    return result


def evaluate_or(otherwise: Any, expression: Expression, row: Mapping[str, Any]) -> Any:
    """The value of an expression for one row, or something else if it overflows."""
    try:
        return evaluate(expression, row)
    except IntOverflowError:
        return otherwise


def int_or_none(value: int) -> int | None:
    """None for an integer that does not fit 64 bits."""
    return value if INT_MIN <= value <= INT_MAX else None


def finite_or_none(value: float | None) -> float | None:
    """None for NaN and infinities; also one zero instead of two."""
    return value + 0.0 if value is not None and math.isfinite(value) else None


def _and(expression: Expression, row: Mapping[str, Any]) -> bool | None:
    left, right = (evaluate(arg, row) for arg in expression.args)
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def _or(expression: Expression, row: Mapping[str, Any]) -> bool | None:
    left, right = (evaluate(arg, row) for arg in expression.args)
    if left is True or right is True:
        return True
    return None if left is None or right is None else False


def _case(expression: Expression, row: Mapping[str, Any]) -> Any:
    *branches, default = expression.args
    for condition, value in zip(branches[::2], branches[1::2], strict=True):
        if evaluate(condition, row) is True:
            return evaluate(value, row)
    return evaluate(default, row)


def _coalesce(expression: Expression, row: Mapping[str, Any]) -> Any:
    for arg in expression.args:
        value = evaluate(arg, row)
        if value is not None:
            return value
    return None


def _nullif(expression: Expression, row: Mapping[str, Any]) -> Any:
    value, other = (evaluate(arg, row) for arg in expression.args)
    return None if value == other else value


def _overflows(expression: Expression, row: Mapping[str, Any]) -> bool:
    operation, *operands = expression.args
    return evaluate_or(None, operation, row) is None and None not in [evaluate_or(None, arg, row) for arg in operands]


def _float_op(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Floats follow IEEE 754: a result too large is infinite, not an error."""

    def apply(*values: Any) -> Any:
        try:
            return operation(*values)
        except OverflowError:
            return math.inf

    return apply


def _dot(left: list[float], right: list[float]) -> float | None:
    """Summed from the first element on; NULL if an element is missing."""
    total = 0.0
    for a, b in itertools.zip_longest(left, right):
        if a is None or b is None:
            return None
        total += a * b
    return total


_LAZY: dict[str, Callable[[Expression, Mapping[str, Any]], Any]] = {
    "and": _and,
    "or": _or,
    "case": _case,
    "coalesce": _coalesce,
    "nullif": _nullif,
    "overflows": _overflows,
    "is_null": lambda expression, row: evaluate(expression.args[0], row) is None,
}

_STRICT: dict[str, Callable[..., Any]] = {
    "not": lambda x: not x,
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "lt": lambda x, y: ordered(x) < ordered(y),
    "le": lambda x, y: ordered(x) <= ordered(y),
    "gt": lambda x, y: ordered(x) > ordered(y),
    "ge": lambda x, y: ordered(x) >= ordered(y),
    "add": _float_op(lambda x, y: x + y),
    "sub": _float_op(lambda x, y: x - y),
    "mul": _float_op(lambda x, y: x * y),
    "div": _float_op(lambda x, y: None if y == 0 else x / y),
    "mod": lambda x, y: None if y == 0 else x - y * (abs(x) // abs(y)) * (1 if (x < 0) == (y < 0) else -1),
    "micros_between": lambda x, y: (x - y) // timedelta(microseconds=1),
    "neg": lambda x: -x,
    "abs": abs,
    "lower": str.lower,
    "upper": str.upper,
    "length": len,
    "trim": lambda text: text.strip(" "),
    "concat": lambda x, y: x + y,
    "hash_bucket": lambda text, buckets: zlib.crc32(text.encode()) % buckets,
    "hour_of_day": lambda instant: instant.astimezone(UTC).hour,
    "iso_weekday": lambda instant: instant.astimezone(UTC).isoweekday(),
    "dot": _float_op(_dot),
    "sqrt": math.sqrt,
    "to_float": float,
    "finite": finite_or_none,
}


def ordered(value: Any) -> Any:
    """What a value is compared by: strings by their UTF-8 bytes."""
    return value.encode() if isinstance(value, str) else value
