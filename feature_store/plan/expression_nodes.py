"""Typed expressions, as `expressions` reads them and the engines lower them."""

from __future__ import annotations

from dataclasses import dataclass

from feature_store.dtypes import FLOAT, DType, Value

NULL = DType("NULL")
"""Type of a bare NULL, which takes the type of its surroundings."""


@dataclass(frozen=True)
class Expression:
    """A typed node: a column ("column"), a literal ("literal") or an operation on other nodes."""

    op: str
    dtype: DType
    args: tuple[Expression, ...] = ()
    value: Value = None

    def __str__(self) -> str:
        """A canonical form that does not depend on how the expression was spelt."""
        if self.op == "column":
            return str(self.value)
        if self.op == "literal":
            return f"{self.dtype}:{self.value!r}"
        return f"{self.op}({', '.join(map(str, self.args))})"

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns that are read."""
        if self.op == "column":
            return frozenset([str(self.value)])
        return frozenset(name for arg in self.args for name in arg.columns)


def column(name: str, dtype: DType) -> Expression:
    """A reference to a column."""
    return Expression("column", dtype, value=name)


def finite(expression: Expression) -> Expression:
    """The expression with NaN and infinities of a FLOAT turned to NULL."""
    return Expression("finite", FLOAT, (expression,)) if expression.dtype == FLOAT else expression


def as_float(value: Expression) -> Expression:
    """An INT, or a NULL of no type, as FLOAT."""
    if value.dtype == NULL:
        return Expression("literal", FLOAT)
    if value.dtype == FLOAT:
        return value
    if value.op == "literal" and isinstance(value.value, int):
        return Expression("literal", FLOAT, value=float(value.value))
    return Expression("to_float", FLOAT, (value,))


def comparable(value: Expression) -> Expression:
    """Engines order NaN differently, so a computed FLOAT is compared only when finite."""
    return value if value.op in ("column", "literal", "to_float", "finite") else finite(value)
