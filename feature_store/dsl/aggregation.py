"""Aggregations, written `agg.count()`, `agg.mean("amount")`, `agg.top_k("category", k=3, by="seconds")`."""

from __future__ import annotations

from typing import Literal

from pydantic.dataclasses import dataclass

from feature_store.dsl.definition import STRICT, Definition

Function = Literal[
    "count", "sum", "mean", "min", "max", "stddev", "variance", "percentile", "count_distinct", "approx_count_distinct",
    "first", "last", "first_n", "last_n", "collect_set", "top_k",
]  # fmt: skip


@dataclass(frozen=True, eq=False, config=STRICT)
class Aggregation(Definition):
    """One aggregate function and its input columns; build it through `agg`.

    Args:
        column: input column; none for `count()`, which counts rows.
        k: how many values `top_k`, `first_n` and `last_n` give.
        by: column of weights of `top_k`.
        q: the share of values below a `percentile`, 0 to 1.
    """

    function: Function
    column: str | None = None
    k: int | None = None
    by: str | None = None
    q: float | None = None

    def __str__(self) -> str:
        name = "n" if self.function in ("first_n", "last_n") else "k"
        extra = [f"{name}={self.k}"] if self.k is not None else []
        extra += [f"by={self.by}"] if self.by is not None else []
        extra += [f"q={self.q:g}"] if self.q is not None else []
        return f"{self.function}({', '.join([self.column or '', *extra]).removeprefix(', ')})"


class agg:  # noqa: N801 - a namespace that reads as a word in definitions
    """The aggregations. All ignore NULL inputs but `count()`, which counts rows; of nothing, counts and sums are 0."""

    @staticmethod
    def count(column: str | None = None) -> Aggregation:
        """Number of rows, or of non-NULL values of a column. INT."""
        return Aggregation("count", column)

    @staticmethod
    def sum(column: str) -> Aggregation:
        """Sum of a numeric column, of its own type; INT overflow is an error of the run."""
        return Aggregation("sum", column)

    @staticmethod
    def mean(column: str) -> Aggregation:
        """Arithmetic mean of a numeric column. FLOAT."""
        return Aggregation("mean", column)

    @staticmethod
    def min(column: str) -> Aggregation:
        """Smallest value; strings compare by UTF-8 bytes."""
        return Aggregation("min", column)

    @staticmethod
    def max(column: str) -> Aggregation:
        """Greatest value; strings compare by UTF-8 bytes."""
        return Aggregation("max", column)

    @staticmethod
    def stddev(column: str) -> Aggregation:
        """Sample standard deviation of a numeric column, NULL for fewer than two values. FLOAT."""
        return Aggregation("stddev", column)

    @staticmethod
    def variance(column: str) -> Aggregation:
        """Sample variance of a numeric column, NULL for fewer than two values. FLOAT."""
        return Aggregation("variance", column)

    @staticmethod
    def percentile(column: str, q: float) -> Aggregation:
        """Exact quantile (q from 0 to 1) of a numeric column, linear between neighbours: SQL's percentile_cont. FLOAT.

        Keeps every value of the window.
        """
        return Aggregation("percentile", column, q=q)

    @staticmethod
    def count_distinct(column: str) -> Aggregation:
        """Exact number of different values; keeps each of them. INT."""
        return Aggregation("count_distinct", column)

    @staticmethod
    def approx_count_distinct(column: str) -> Aggregation:
        """Number of different values of a STRING or INT column: exact below 1,024, then within about 3 %. INT.

        Keeps at most 1,024 hashes, and is the same number on every engine: the estimate from the k least hashes
        (Bar-Yossef et al., 2002; standard error 1 / sqrt(k - 2)).
        """
        return Aggregation("approx_count_distinct", column)

    @staticmethod
    def first(column: str) -> Aggregation:
        """Value of the earliest event by event time; of simultaneous ones the smallest."""
        return Aggregation("first", column)

    @staticmethod
    def last(column: str) -> Aggregation:
        """Value of the latest event by event time; of simultaneous ones the greatest."""
        return Aggregation("last", column)

    @staticmethod
    def first_n(column: str, n: int) -> Aggregation:
        """The n earliest values, the oldest first, simultaneous ones by value ascending. LIST of the column."""
        return Aggregation("first_n", column, n)

    @staticmethod
    def last_n(column: str, n: int) -> Aggregation:
        """The n latest values, the newest first, simultaneous ones by value descending. LIST of the column."""
        return Aggregation("last_n", column, n)

    @staticmethod
    def collect_set(column: str) -> Aggregation:
        """The different values, ascending; all of them, so for columns with few. LIST of the column."""
        return Aggregation("collect_set", column)

    @staticmethod
    def top_k(column: str, k: int, by: str | None = None) -> Aggregation:
        """The k values with most rows (or the greatest sum of the column `by`), ties by value. LIST of the column."""
        return Aggregation("top_k", column, k, by)
