"""Expressions as Flink SQL text. A TIMESTAMP is a BIGINT of microseconds from the parser to the sinks.

Where Flink would decide differently (overflow wraps, infinities stay) or fails, a function of the kernel's jar is
called instead.
"""

from __future__ import annotations

from datetime import UTC, datetime

from feature_store.compile.sql_templates import STANDARD, Template, function
from feature_store.dtypes import INT, TIMESTAMP, DType, to_micros
from feature_store.duration import DAY, HOUR
from feature_store.plan.expression_nodes import Expression

FLINK_TYPES = {"STRING": "STRING", "INT": "BIGINT", "FLOAT": "DOUBLE", "BOOL": "BOOLEAN", "TIMESTAMP": "BIGINT"}

FUNCTIONS = {
    "fs_parse": "ParseEvent",
    "fs_event_time": "EventTime",
    "fs_windows": "SlideWindows",
    "fs_timestamp": "MicrosToTimestamp",
    "fs_timestamps": "MicrosToTimestamps",
    "fs_micros": "TimestampToMicros",
    "fs_finite": "Finite",
    "fs_add": "AddExact",
    "fs_subtract": "SubtractExact",
    "fs_multiply": "MultiplyExact",
    "fs_divide": "Divide",
    "fs_negate": "NegateExact",
    "fs_abs": "AbsExact",
    "fs_hash_bucket": "HashBucket",
    "fs_trim": "TrimBlanks",
    "fs_canonical": "CanonicalOrder",
}
"""The functions of the kernel's jar: name in SQL to class."""


def flink_type(dtype: DType) -> str:
    """The Flink SQL name of a type between the parser and the sinks."""
    return f"ARRAY<{flink_type(dtype.item)}>" if dtype.item is not None else FLINK_TYPES[dtype.kind]


def quote(name: str) -> str:
    """A name as a Flink identifier."""
    return "`" + name.replace("`", "``") + "`"


def text(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("'", "''") + "'"


def flink_sql(expression: Expression) -> str:
    """The Flink SQL text of an expression."""
    if expression.op == "column":
        return quote(str(expression.value))
    if expression.op == "literal":
        return _literal(expression)
    args = [flink_sql(arg) for arg in expression.args]
    exact = _EXACT.get(expression.op)
    if exact is not None and expression.dtype == INT:
        return f"{exact}({', '.join(args)})"
    return _TEMPLATES[expression.op](*args)


def _literal(expression: Expression) -> str:
    value = expression.value
    if value is None:
        return f"CAST(NULL AS {FLINK_TYPES.get(expression.dtype.kind, 'STRING')})"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, datetime):
        return f"CAST({to_micros(value)} AS BIGINT)"
    if isinstance(value, str):
        return text(value)
    if isinstance(value, float):
        return f"{value:.17e}".replace("e+", "E").replace("e", "E")
    return f"CAST({value} AS BIGINT)" if value != -(2**63) else "CAST('-9223372036854775808' AS BIGINT)"


_EXACT = {
    "add": "fs_add",
    "sub": "fs_subtract",
    "mul": "fs_multiply",
    "neg": "fs_negate",
    "abs": "fs_abs",
    "micros_between": "fs_subtract",
}
"""INT arithmetic, NULL where the result does not fit 64 bits and Flink's own wraps."""


def _coalesce(*args: str) -> str:
    """Flink's own evaluates every argument, and fails with one that is not asked for."""
    *tried, last = args
    return f"CASE {' '.join(f'WHEN {arg} IS NOT NULL THEN {arg}' for arg in tried)} ELSE {last} END"


_MONDAY = to_micros(datetime(1970, 1, 5, tzinfo=UTC))


def _floor_mod(micros: str, size: int) -> str:
    """The remainder that is never negative, before 1970 either."""
    length = f"CAST({size} AS BIGINT)"
    return f"mod(mod({micros}, {length}) + {length}, {length})"


_TEMPLATES: dict[str, Template] = STANDARD | {
    "coalesce": _coalesce,
    "div": function("fs_divide"),
    "mod": lambda x, y: f"mod({x}, nullif({y}, CAST(0 AS BIGINT)))",
    "length": lambda x: f"CAST(char_length({x}) AS BIGINT)",
    "trim": function("fs_trim"),
    "hour_of_day": lambda x: f"({_floor_mod(x, DAY)} / CAST({HOUR} AS BIGINT))",
    "iso_weekday": lambda x: f"({_floor_mod(f'({x} - {_MONDAY})', 7 * DAY)} / CAST({DAY} AS BIGINT) + 1)",
    "finite": function("fs_finite"),
    "hash_bucket": function("fs_hash_bucket"),
}


def sink_sql(column: str, dtype: DType) -> str:
    """A column as a table in Iceberg stores it: microseconds become an instant again."""
    if dtype.item == TIMESTAMP:
        return f"fs_timestamps({column})"
    return f"fs_timestamp({column})" if dtype == TIMESTAMP else column
