"""Expressions as Spark SQL text (ANSI mode, session time zone UTC)."""

from __future__ import annotations

from datetime import datetime

from feature_store.compile.sql_templates import STANDARD, Template, function
from feature_store.dtypes import FLOAT, INT, DType, Value, to_micros
from feature_store.plan.expression_nodes import Expression
from feature_store.plan.overflow import EXACT

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
    templates = _EXACT if expression.op in EXACT and expression.dtype == INT else _TEMPLATES
    return templates[expression.op](*(spark_sql(arg) for arg in expression.args))


def finite_sql(text: str) -> str:
    """NULL instead of NaN or an infinity; also one zero instead of two."""
    return f"CASE WHEN abs({text}) < double('Infinity') THEN {text} + 0D END"


def cleaned_sql(text: str, dtype: DType) -> str:
    """A value of a source as it counts: FLOATs finite or NULL, elements of lists too; an EMBEDDING as a whole."""
    if dtype == FLOAT:
        return finite_sql(text)
    if dtype.kind == "EMBEDDING":
        return f"CASE WHEN forall({text}, x -> coalesce({_IS_FINITE}, FALSE)) THEN {text} END"
    if dtype.item == FLOAT:
        return f"transform({text}, x -> {finite_sql('x')})"
    return text


def odd_sql(text: str, dtype: DType) -> str:
    """How many numbers of a value are NaN or infinite; "" where there can be none."""
    if dtype == FLOAT:
        return f"int(coalesce(NOT abs({text}) < double('Infinity'), FALSE))"
    if dtype.kind == "EMBEDDING" or dtype.item == FLOAT:
        return f"coalesce(size(filter({text}, x -> NOT {_IS_FINITE})), 0)"
    return ""


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
    return f"{value}L" if value != -(2**63) else _LEAST


def _literal(expression: Expression) -> str:
    if expression.value is None:
        return f"CAST(NULL AS {SPARK_TYPES.get(expression.dtype.kind, 'void')})"
    return literal(expression.value)


_IS_FINITE = "abs(x) < double('Infinity')"
_LEAST = "(-9223372036854775807L - 1L)"
_EXACT: dict[str, Template] = {
    "add": function("try_add"),
    "sub": function("try_subtract"),
    "mul": function("try_multiply"),
    "neg": lambda x: f"(- nullif({x}, {_LEAST}))",
    "abs": lambda x: f"abs(nullif({x}, {_LEAST}))",
    "micros_between": lambda x, y: f"try_subtract(unix_micros({x}), unix_micros({y}))",
}
"""INT arithmetic, NULL where the result does not fit 64 bits."""

_TEMPLATES: dict[str, Template] = STANDARD | {
    "div": lambda x, y: f"({x} / nullif({y}, 0D))",
    "mod": lambda x, y: f"({x} % nullif({y}, 0L))",
    "length": function("char_length"),
    "trim": function("trim"),
    "hash_bucket": lambda text, buckets: f"pmod(crc32(CAST({text} AS BINARY)), {buckets})",
    "hour_of_day": lambda x: f"CAST(hour({x}) AS BIGINT)",
    "iso_weekday": lambda x: f"CAST(weekday({x}) + 1 AS BIGINT)",
    "dot": lambda x, y: f"aggregate(zip_with({x}, {y}, (a, b) -> CAST(a AS DOUBLE) * b), 0D, (sum, p) -> sum + p)",
    "sqrt": function("sqrt"),
    "finite": finite_sql,
}
