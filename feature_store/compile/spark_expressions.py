"""Expressions as Spark SQL text (ANSI mode, session time zone UTC)."""

from __future__ import annotations

from datetime import datetime

from feature_store.compile.sql_templates import STANDARD, Template, function
from feature_store.dtypes import DType, Value, to_micros
from feature_store.plan.expression_nodes import Expression

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


def literal(value: Value) -> str:
    """A value as a Spark SQL literal of the type it has in a feature."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, datetime):
        return f"timestamp_micros({to_micros(value)})"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if isinstance(value, float):
        return f"{value!r}D"
    return f"{value}L" if value != -(2**63) else "(-9223372036854775807L - 1L)"


def _literal(expression: Expression) -> str:
    if expression.value is None:
        return f"CAST(NULL AS {SPARK_TYPES.get(expression.dtype.kind, 'void')})"
    return literal(expression.value)


_TEMPLATES: dict[str, Template] = STANDARD | {
    "div": lambda x, y: f"({x} / nullif({y}, 0D))",
    "mod": lambda x, y: f"({x} % nullif({y}, 0L))",
    "micros_between": lambda x, y: f"(unix_micros({x}) - unix_micros({y}))",
    "length": function("char_length"),
    "trim": function("trim"),
    "hash_bucket": lambda text, buckets: f"pmod(crc32(CAST({text} AS BINARY)), {buckets})",
    "hour_of_day": lambda x: f"CAST(hour({x}) AS BIGINT)",
    "iso_weekday": lambda x: f"CAST(weekday({x}) + 1 AS BIGINT)",
    "dot": lambda x, y: f"aggregate(zip_with({x}, {y}, (a, b) -> CAST(a AS DOUBLE) * b), 0D, (sum, p) -> sum + p)",
    "sqrt": function("sqrt"),
    "finite": finite_sql,
}
