"""Each aggregation as Spark SQL: partials of a tile, and how the tiles in a frame merge into the value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from feature_store.compile.spark_expressions import finite_sql, quote, spark_sql
from feature_store.dtypes import FLOAT
from feature_store.plan.nodes import Aggregate


@dataclass(frozen=True)
class Lowered:
    """A feature as SQL: named partial aggregates over the rows of a tile, their merge over a window frame, the value.

    `merged` takes the name of a window; `value` is over the merged column, which is called like the feature.
    """

    name: str
    window: int | None
    partials: tuple[tuple[str, str], ...]
    merged: Callable[[str], str]
    value: str


def lower_aggregate(aggregate: Aggregate) -> Lowered:
    """The SQL of one aggregated feature."""
    column = quote(aggregate.column) if aggregate.column is not None else ""
    where = spark_sql(aggregate.where) if aggregate.where is not None else ""
    partials, merged = _LOWERINGS[aggregate.function](aggregate, _Input(column, where))
    names = tuple((quote(f"{aggregate.name}:{suffix}"), sql) for suffix, sql in partials.items())
    value = quote(aggregate.name)
    return Lowered(
        name=aggregate.name,
        window=aggregate.window,
        partials=names,
        merged=lambda frame: merged(frame, *(name for name, _ in names)),
        value=_top_k_of_entries(aggregate, value) if aggregate.function == "top_k" else value,
    )


@dataclass(frozen=True)
class _Input:
    """The rows that count in a feature."""

    column: str
    where: str

    def only(self, value: str) -> str:
        """A value, or NULL for a row that does not count."""
        return f"CASE WHEN {self.where} THEN {value} END" if self.where else value


Partials = dict[str, str]
Merge = Callable[..., str]


def _count(aggregate: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
    counted = f"count({rows.only(rows.column or '1')})"
    return {"n": counted}, lambda frame, n: f"coalesce(sum({n}) OVER {frame}, 0L)"


def _sum(aggregate: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
    total = f"sum({rows.only(rows.column)})"
    if aggregate.dtype == FLOAT:
        return {"sum": total}, lambda frame, s: finite_sql(f"coalesce(sum({s}) OVER {frame}, 0D)")
    return {"sum": total}, lambda frame, s: f"coalesce(sum({s}) OVER {frame}, 0L)"


def _mean(aggregate: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
    value = rows.only(rows.column)
    partials = {"sum": f"sum(CAST({value} AS DOUBLE))", "n": f"count({value})"}
    return partials, lambda frame, s, n: finite_sql(f"(sum({s}) OVER {frame} / nullif(sum({n}) OVER {frame}, 0L))")


def _extreme(function: str) -> Callable[[Aggregate, _Input], tuple[Partials, Merge]]:
    def lower(aggregate: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
        partial = f"{function}({rows.only(rows.column)})"
        return {function: partial}, lambda frame, value: f"{function}({value}) OVER {frame}"

    return lower


def _last(aggregate: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
    dated = f"CASE WHEN {rows.column} IS NOT NULL{f' AND {rows.where}' if rows.where else ''} "
    dated += f"THEN struct(at, {rows.column} AS value) END"
    return {"last": f"max({dated})"}, lambda frame, value: f"(max({value}) OVER {frame}).value"


def _count_distinct(aggregate: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
    values = f"collect_set({rows.only(rows.column)})"
    return {"set": values}, lambda frame, s: f"size(array_distinct(flatten(collect_list({s}) OVER {frame})))"


def _top_k(aggregate: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
    weight = quote(aggregate.by) if aggregate.by is not None else "1L"
    counts = f"{rows.column} IS NOT NULL AND {weight} IS NOT NULL{f' AND {rows.where}' if rows.where else ''}"
    entries = f"collect_list(CASE WHEN {counts} THEN struct({rows.column} AS value, {weight} AS weight) END)"
    return {"entries": entries}, lambda frame, e: f"flatten(collect_list({e}) OVER {frame})"


def _top_k_of_entries(aggregate: Aggregate, entries: str) -> str:
    """The k values with the greatest sum of weights; of no entries NULL."""
    zero = "0D" if aggregate.by_dtype == FLOAT else "0L"
    total = f"aggregate(filter({entries}, x -> x.value = v), {zero}, (total, x) -> total + x.weight)"
    values = f"array_distinct(transform({entries}, x -> x.value))"
    order = (
        "CASE WHEN a.weight > b.weight THEN -1 WHEN a.weight < b.weight THEN 1 "
        "WHEN a.value < b.value THEN -1 WHEN a.value > b.value THEN 1 ELSE 0 END"
    )
    ranked = f"array_sort(transform({values}, v -> struct({total} AS weight, v AS value)), (a, b) -> {order})"
    return f"CASE WHEN size({entries}) > 0 THEN transform(slice({ranked}, 1, {aggregate.k}), x -> x.value) END"


_LOWERINGS: dict[str, Callable[[Aggregate, _Input], tuple[Partials, Merge]]] = {
    "count": _count,
    "sum": _sum,
    "mean": _mean,
    "min": _extreme("min"),
    "max": _extreme("max"),
    "last": _last,
    "count_distinct": _count_distinct,
    "top_k": _top_k,
}
