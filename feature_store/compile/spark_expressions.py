"""Expressions as Spark SQL text (ANSI mode, session time zone UTC)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from feature_store.dtypes import DType, to_micros
from feature_store.plan.expressions import Expression

SPARK_TYPES = {"STRING": "string", "INT": "bigint", "FLOAT": "double", "BOOL": "boolean", "TIMESTAMP": "timestamp"}


def spark_type(dtype: DType) -> str:
    """The Spark SQL name of a type."""
    if dtype.kind == "EMBEDDING":
        return "array<float>"
    if dtype.item is not None:
        return f"array<{spark_type(dtype.item)}>"
    return SPARK_TYPES[dtype.kind]


def quote(name: str) -> str:
    """A name as a Spark identifier."""
    return "`" + name.replace("`", "``") + "`"


def spark_sql(expression: Expression) -> str:
    """The Spark SQL text of an expression."""
    if expression.op == "column":
        return quote(str(expression.value))
    if expression.op == "literal":
        return _literal(expression)
    return _TEMPLATES[expression.op](*(spark_sql(arg) for arg in expression.args))


def finite_sql(text: str) -> str:
    """NULL instead of NaN or an infinity; also one zero instead of two."""
    return f"CASE WHEN abs({text}) < double('Infinity') THEN {text} + 0D END"


def _literal(expression: Expression) -> str:
    value = expression.value
    if value is None:
        return f"CAST(NULL AS {SPARK_TYPES.get(expression.dtype.kind, 'void')})"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, datetime):
        return f"timestamp_micros({to_micros(value)})"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if isinstance(value, float):
        return f"{value!r}D"
    return f"{value}L" if value != -(2**63) else "(-9223372036854775807L - 1L)"


def _infix(operator: str) -> Callable[..., str]:
    return lambda left, right: f"({left} {operator} {right})"


def _function(name: str) -> Callable[..., str]:
    return lambda *args: f"{name}({', '.join(args)})"


def _case(*args: str) -> str:
    branches = " ".join(f"WHEN {args[i]} THEN {args[i + 1]}" for i in range(0, len(args) - 1, 2))
    return f"CASE {branches} ELSE {args[-1]} END"


_TEMPLATES: dict[str, Callable[..., str]] = {
    "and": _infix("AND"),
    "or": _infix("OR"),
    "not": lambda x: f"(NOT {x})",
    "eq": _infix("="),
    "ne": _infix("<>"),
    "lt": _infix("<"),
    "le": _infix("<="),
    "gt": _infix(">"),
    "ge": _infix(">="),
    "add": _infix("+"),
    "sub": _infix("-"),
    "mul": _infix("*"),
    "div": lambda x, y: f"({x} / nullif({y}, 0D))",
    "mod": lambda x, y: f"({x} % nullif({y}, 0L))",
    "micros_between": lambda x, y: f"(unix_micros({x}) - unix_micros({y}))",
    "neg": lambda x: f"(- {x})",
    "is_null": lambda x: f"({x} IS NULL)",
    "case": _case,
    "coalesce": _function("coalesce"),
    "nullif": _function("nullif"),
    "abs": _function("abs"),
    "lower": _function("lower"),
    "upper": _function("upper"),
    "length": _function("char_length"),
    "trim": _function("trim"),
    "concat": _infix("||"),
    "hash_bucket": lambda text, buckets: f"pmod(crc32(CAST({text} AS BINARY)), {buckets})",
    "to_float": lambda x: f"CAST({x} AS DOUBLE)",
    "finite": finite_sql,
}
