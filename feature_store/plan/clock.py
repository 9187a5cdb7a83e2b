"""The clock in SQL: what reads it, and the two names under which definitions may have an instant instead."""

from __future__ import annotations

from sqlglot import expressions as exp

AS_OF = "as_of"
"""In a query group: the instant that the features describe."""
REQUEST_TIME = "request_time"
"""In an on-demand feature: the instant of a request; in training the label's."""

_NODES = (
    exp.CurrentDate, exp.CurrentDatetime, exp.CurrentTime, exp.CurrentTimestamp, exp.Localtime, exp.Localtimestamp,
)  # fmt: skip
_WORDS = frozenset(
    [
        "clock_timestamp", "curdate", "current_date", "current_time", "current_timestamp", "get_current_timestamp",
        "getdate", "localtime", "localtimestamp", "now", "statement_timestamp", "sysdate", "today",
        "transaction_timestamp", AS_OF, REQUEST_TIME,
    ]
)  # fmt: skip


def clock_read(node: exp.Expr) -> str:
    """How a node reads the clock, in its own words; "" if it does not. A column may also really have that name."""
    if isinstance(node, exp.Anonymous) and node.name.lower() == "age":
        reads = len(node.expressions) == 1  # age(then) is up to now, age(later, then) is not
    else:
        reads = isinstance(node, _NODES) or (
            isinstance(node, exp.Anonymous | exp.Column) and node.name.lower() in _WORDS
        )
    return node.sql(dialect="duckdb") if reads else ""
