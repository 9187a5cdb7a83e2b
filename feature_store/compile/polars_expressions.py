"""Expressions as Polars expressions: the same values as the plain Python reference, for all rows at once.

INT arithmetic runs in 128 bits, so that a result beyond 64 is seen and becomes NULL; each expression comes with a
second one that says on which rows that happened (`plan.overflow`).

Constants are whole columns of the frame, made by `constant_columns`, never Polars literals: Polars divides by a literal
by multiplying with its inverse, which is another last digit, and gives one row instead of all for some conditionals
over literals. FLOAT columns hold no NaN and no infinity: `clean` sees to it.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from feature_store.dtypes import BOOL, FLOAT, INT, DType, Value, to_micros
from feature_store.plan.expression_nodes import NULL, Expression
from feature_store.plan.overflow import null_on_overflow, overflow_of
from feature_store.plan.polars_types import polars_type


@dataclass(frozen=True)
class Constant:
    """A value that an expression reads from a column of this name."""

    dtype: DType
    value: Value

    @property
    def name(self) -> str:
        """Unlike any name of a feature, and unlike that of another constant."""
        return f"constant {self.dtype}: {self.value!r}"


@dataclass(frozen=True)
class Lowered:
    """An expression's value, NULL on the rows on which it overflows, and which these are; None: none ever.

    `overflow` is never NULL. Besides the expression's own columns both read `constants`, by their columns' names.
    """

    value: pl.Expr
    overflow: pl.Expr | None
    constants: dict[str, Constant]


def lower(expression: Expression) -> Lowered:
    """The Polars form of an expression over columns of the types of `polars_type`."""
    lowering, overflow = _Lowering(), overflow_of(expression)
    lowered = None if overflow is None else lowering.lower(overflow)
    return Lowered(lowering.lower(null_on_overflow(expression)), lowered, lowering.constants)


def constant_columns(constants: Iterable[Constant], height: int) -> list[pl.Series]:
    """The columns of some constants, for a frame of so many rows."""
    return [
        pl.Series(constant.name, [_stored(constant.value)], dtype=_stored_type(constant))
        .new_from_index(0, height)
        .cast(_type(constant))
        for constant in constants
    ]


def clean(column: pl.Series) -> pl.Series:
    """A FLOAT column with NULL for NaN and infinities; any other column as it is."""
    if column.dtype != pl.Float64 or math.isfinite(column.sum()):  # quick: a sum with one of them is not finite
        return column
    return column.set(~column.is_finite(), None)


class _Lowering:
    """Lowers one expression, and collects the constants it needs."""

    def __init__(self) -> None:
        self.constants: dict[str, Constant] = {}  # by name, for 0.0 equals -0.0

    def constant(self, dtype: DType, value: Value) -> pl.Expr:
        constant = Constant(dtype, value)
        self.constants[constant.name] = constant
        return pl.col(constant.name)

    def lower(self, expression: Expression) -> pl.Expr:
        if expression.op == "column":
            return pl.col(str(expression.value))
        if expression.op == "literal":
            return self.constant(expression.dtype, expression.value)
        values = [self.lower(arg) for arg in expression.args]
        if expression.dtype == INT and expression.op in _EXACT:
            return _EXACT[expression.op](*(value.cast(pl.Int128) for value in values)).cast(pl.Int64, strict=False)
        return self._operation(expression, values)

    def _operation(self, expression: Expression, values: list[pl.Expr]) -> pl.Expr:
        may_be_nan = any(_may_be_nan(arg) for arg in expression.args)
        match expression.op:
            case "eq" | "ne" | "lt" | "le" | "gt" | "ge":
                return self._compared(expression.op, *values, may_be_nan=may_be_nan)
            case "nullif":
                equal = self._compared("eq", *values, may_be_nan=may_be_nan)
                return pl.when(equal).then(self.constant(expression.dtype, None)).otherwise(values[0])
            case "div":
                quotient = pl.when(values[1] != self.constant(FLOAT, 0.0)).then(values[0] / values[1])
                return quotient.otherwise(self.constant(FLOAT, None))
            case "mod":
                return self._remainder(*values)
            case "finite":
                # + 0.0 leaves one zero instead of two
                number = pl.when(values[0].is_finite()).then(values[0] + self.constant(FLOAT, 0.0))
                return number.otherwise(self.constant(FLOAT, None))
            case _:
                return _OPERATIONS[expression.op](*values)

    def _compared(self, op: str, left: pl.Expr, right: pl.Expr, *, may_be_nan: bool) -> pl.Expr:
        """A comparison in which NaN is not equal to, before or after anything; to Polars it is the greatest number."""
        compared = _COMPARISONS[op](left, right)
        if not may_be_nan:
            return compared
        is_nan = (left.is_nan() | right.is_nan()) & compared.is_not_null()
        return pl.when(is_nan).then(self.constant(BOOL, op == "ne")).otherwise(compared)

    def _remainder(self, left: pl.Expr, right: pl.Expr) -> pl.Expr:
        """The remainder with the sign of what is divided; in 128 bits, where the least INT has an absolute value."""
        zero, null = self.constant(INT, 0).cast(pl.Int128), self.constant(INT, None).cast(pl.Int128)
        left, right = left.cast(pl.Int128), right.cast(pl.Int128)
        rest = pl.when(right != zero).then(left.abs() % right.abs()).otherwise(null)
        return pl.when(left < zero).then(zero - rest).otherwise(rest).cast(pl.Int64)


def _case(*parts: pl.Expr) -> pl.Expr:
    result = parts[-1]
    for i in range(len(parts) - 3, -1, -2):
        result = pl.when(parts[i]).then(parts[i + 1]).otherwise(result)
    return result


def _overflows(value: pl.Expr, *operands: pl.Expr) -> pl.Expr:
    """Exact operations give NULL where their result does not fit."""
    return functools.reduce(lambda found, operand: found & operand.is_not_null(), operands, value.is_null())


def _may_be_nan(expression: Expression) -> bool:
    return expression.dtype == FLOAT and expression.op not in ("column", "literal", "finite", "to_float")


def _hash_bucket(text: pl.Expr, buckets: pl.Expr) -> pl.Expr:
    def crc32(column: pl.Series) -> pl.Series:
        return pl.Series(column.name, [None if t is None else zlib.crc32(t.encode()) for t in column], dtype=pl.Int64)

    return text.map_batches(crc32, return_dtype=pl.Int64, is_elementwise=True) % buckets


def _type(constant: Constant) -> pl.DataType:
    return pl.Boolean() if constant.dtype == NULL else polars_type(constant.dtype)


def _stored_type(constant: Constant) -> pl.DataType:
    return pl.Int64() if isinstance(constant.value, datetime) else _type(constant)


def _stored(value: Value) -> Value:
    return to_micros(value) if isinstance(value, datetime) else value


_EXACT: dict[str, Callable[..., pl.Expr]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "neg": lambda x: pl.lit(0, dtype=pl.Int128) - x,  # Polars has no negation of 128 bits
    "abs": lambda x: x.abs(),
}
_COMPARISONS: dict[str, Callable[..., pl.Expr]] = {
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y,
}
_OPERATIONS: dict[str, Callable[..., pl.Expr]] = {
    "case": _case,
    "coalesce": lambda *parts: pl.coalesce(*parts),
    "overflows": _overflows,
    "and": lambda x, y: x & y,
    "or": lambda x, y: x | y,
    "not": lambda x: x.not_(),
    "is_null": lambda x: x.is_null(),
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "neg": lambda x: -x,
    "abs": lambda x: x.abs(),
    "micros_between": lambda x, y: (x - y).dt.total_microseconds(),
    "lower": lambda x: x.str.to_lowercase(),
    "upper": lambda x: x.str.to_uppercase(),
    "length": lambda x: x.str.len_chars().cast(pl.Int64),
    "trim": lambda x: x.str.strip_chars(" "),
    "concat": lambda x, y: x + y,
    "hash_bucket": _hash_bucket,
    "hour_of_day": lambda x: x.dt.hour().cast(pl.Int64),
    "iso_weekday": lambda x: x.dt.weekday().cast(pl.Int64),
    "dot": lambda x, y: (x.cast(pl.List(pl.Float64)) * y.cast(pl.List(pl.Float64))).list.sum(),
    "sqrt": lambda x: x.sqrt(),
    "to_float": lambda x: x.cast(pl.Float64),
}
