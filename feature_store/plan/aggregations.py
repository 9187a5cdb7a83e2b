"""What an aggregation gives over the columns of a source, and which columns it takes."""

from __future__ import annotations

from collections.abc import Mapping

from feature_store.dsl.aggregation import Aggregation
from feature_store.dtypes import FLOAT, INT, LIST, DType
from feature_store.errors import choices
from feature_store.plan.problems import RefusedError

_SCALARS = ("STRING", "INT", "FLOAT", "BOOL", "TIMESTAMP")
_TAKEN: dict[str, tuple[tuple[str, ...], str, str]] = {
    **dict.fromkeys(
        ("sum", "mean", "stddev", "variance", "percentile"),
        (("INT", "FLOAT"), "a number", "aggregate an INT or FLOAT column"),
    ),
    "approx_count_distinct": (("STRING", "INT"), "a STRING or INT", "use count_distinct"),
}
"""The kinds of columns a function takes, unless it takes every scalar; what to call them, and what to do instead."""
_FIXED = {
    **dict.fromkeys(("mean", "stddev", "variance", "percentile"), FLOAT),
    **dict.fromkeys(("count", "count_distinct", "approx_count_distinct"), INT),
}
_LISTS = ("top_k", "first_n", "last_n", "collect_set")


def result_type(function: Aggregation, columns: Mapping[str, DType]) -> DType:
    """The type of the values of an aggregation.

    Raises:
        RefusedError: if a column is unknown or of a type that the function does not take, or a number out of range.
    """
    for name in (function.column, function.by):
        if name is not None and name not in columns:
            message = f"{function} reads a column {name!r} that is not there"
            raise RefusedError("unknown-column", message, choices(name, columns))
    if function.by is not None and not columns[function.by].is_numeric:
        message = f"{function} weighs by {function.by!r}, which is {columns[function.by]}"
        raise RefusedError("type", message, "weigh by an INT or FLOAT column")
    _check_numbers(function)
    if function.function == "count":
        return INT
    assert function.column is not None
    dtype = columns[function.column]
    kinds, called, remedy = _TAKEN.get(function.function, (_SCALARS, "a scalar", "aggregate a scalar column"))
    if dtype.kind not in kinds:
        raise RefusedError("type", f"{function} needs {called}, {function.column!r} is {dtype}", remedy)
    return LIST(dtype) if function.function in _LISTS else _FIXED.get(function.function, dtype)


def _check_numbers(function: Aggregation) -> None:
    if function.k is not None and not 1 <= function.k <= 1000:
        raise RefusedError("type", f"{function} gives {function.k} values", "use 1 to 1000")
    if function.q is not None and not 0 <= function.q <= 1:
        raise RefusedError("type", f"{function} has a share of {function.q:g}", "q=0.95 is the 95th percentile")
