"""Each aggregation as Spark SQL: partials of a tile, and how the tiles in a frame merge into the value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from feature_store.compile.distinct_sketch import HASH_BITS, HASHES, SHARE_OF_HASHES
from feature_store.compile.spark_expressions import finite_sql, quote, spark_sql
from feature_store.dtypes import FLOAT, INT
from feature_store.plan.nodes import Aggregate


@dataclass(frozen=True)
class Lowered:
    """A feature as SQL: named partial aggregates over the rows of a tile, their merge over a window frame, the value.

    `merged` takes the name of a window; `value` is over the merged column, which is called like the feature.
    """

    name: str
    partials: tuple[tuple[str, str], ...]
    merged: Callable[[str], str]
    value: str

    @property
    def columns(self) -> list[str]:
        """The names of the partials, as they are."""
        return [name.strip("`") for name, _ in self.partials]


def lower_aggregates(
    aggregates: Iterable[Aggregate], since: Callable[[Aggregate], str] = lambda _: ""
) -> list[Lowered]:
    """The SQL of aggregated features; what several of them need of a tile is one column, called like the first one's.

    `since` is a condition more, over which rows an aggregate is computed; "" for none.
    """
    columns: dict[str, str] = {}
    return [_lowered(aggregate, since(aggregate), columns) for aggregate in aggregates]


def partials_of(lowered: Iterable[Lowered]) -> list[tuple[str, str]]:
    """The columns of a tile that features need, each once, with their SQL."""
    return list(dict.fromkeys(partial for feature in lowered for partial in feature.partials))


def _lowered(aggregate: Aggregate, since: str, columns: dict[str, str]) -> Lowered:
    column = quote(aggregate.column) if aggregate.column is not None else ""
    conditions = [spark_sql(aggregate.where)] if aggregate.where is not None else []
    where = " AND ".join([*conditions, *([since] if since else [])])
    partials, merged = _LOWERINGS[aggregate.function](aggregate, _Input(column, where))
    names = tuple(
        (columns.setdefault(sql, quote(f"{aggregate.name}:{suffix}")), sql) for suffix, sql in partials.items()
    )
    value = quote(aggregate.name)
    return Lowered(
        name=aggregate.name,
        partials=names,
        merged=lambda frame: merged(frame, *(name for name, _ in names)),
        value=_FINISHED[aggregate.function](aggregate, value) if aggregate.function in _FINISHED else value,
    )


@dataclass(frozen=True)
class _Input:
    """The rows that count in a feature."""

    column: str
    where: str

    def only(self, value: str) -> str:
        """A value, or NULL for a row that does not count."""
        return f"CASE WHEN {self.where} THEN {value} END" if self.where else value

    @property
    def dated(self) -> str:
        """The value with its time, which order by time and then by value; NULL for a row that does not count."""
        counts = f"{self.column} IS NOT NULL{f' AND {self.where}' if self.where else ''}"
        return f"CASE WHEN {counts} THEN struct(_at AS at, {self.column} AS value) END"


_LOW = "4294967295L"

Partials = dict[str, str]
Merge = Callable[..., str]


def _count(aggregate: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
    counted = f"count({rows.only(rows.column or '1')})"
    return {"n": counted}, lambda frame, n: f"coalesce(sum({n}) OVER {frame}, 0L)"


def _sum(aggregate: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
    value = rows.only(rows.column)
    if aggregate.dtype == FLOAT:
        return {"sum": f"sum({value})"}, lambda frame, s: finite_sql(f"coalesce(sum({s}) OVER {frame}, 0D)")
    partials = {"high": f"sum(shiftright({value}, 32))", "low": f"sum({value} & {_LOW})"}
    return (
        partials,
        lambda frame, high, low: f"struct(sum({high}) OVER {frame} AS high, sum({low}) OVER {frame} AS low)",
    )


def _sum_of_halves(aggregate: Aggregate, halves: str) -> str:
    """The sum of INTs from those of their upper and lower 32 bits; NULL where it does not fit 64 bits."""
    if aggregate.dtype == FLOAT:
        return halves
    high = f"({halves}.high + shiftright({halves}.low, 32))"
    joined = f"shiftleft({high}, 32) | ({halves}.low & {_LOW})"
    return f"CASE WHEN {halves}.high IS NULL THEN 0L WHEN {high} BETWEEN {-(2**31)}L AND {2**31 - 1}L THEN {joined} END"


def _mean(aggregate: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
    value = rows.only(rows.column)
    partials = {"sum": f"sum(CAST({value} AS DOUBLE))", "n": f"count({value})"}
    return partials, lambda frame, s, n: finite_sql(f"(sum({s}) OVER {frame} / nullif(sum({n}) OVER {frame}, 0L))")


def _extreme(function: str) -> Callable[[Aggregate, _Input], tuple[Partials, Merge]]:
    def lower(aggregate: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
        partial = f"{function}({rows.only(rows.column)})"
        return {function: partial}, lambda frame, value: f"{function}({value}) OVER {frame}"

    return lower


def _moments(aggregate: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
    """Number, mean and sum of squared distances from it: these merge without the loss of digits of a sum of squares."""
    value = f"CAST({rows.only(rows.column)} AS DOUBLE)"
    number = f"count({value})"
    moments = f"struct({number} AS n, avg({value}) AS mean, var_pop({value}) * {number} AS m2)"
    return {"moments": f"CASE WHEN {number} > 0 THEN {moments} END"}, lambda frame, m: f"collect_list({m}) OVER {frame}"


def _spread_of_moments(aggregate: Aggregate, moments: str) -> str:
    """The moments of all tiles merged in pairs (Chan, Golub, LeVeque), and the variance or deviation of the sample."""
    delta, share = "(b.mean - a.mean)", "(b.n / (a.n + b.n))"
    merged = (
        f"struct(a.n + b.n AS n, a.mean + {delta} * {share} AS mean, "
        f"a.m2 + b.m2 + {delta} * ({delta} * (a.n * {share})) AS m2)"
    )
    variance = "(x.m2 / (x.n - 1L))"
    spread = finite_sql(variance if aggregate.function == "variance" else f"sqrt{variance}")
    return (
        f"aggregate({moments}, struct(0L AS n, 0D AS mean, 0D AS m2), (a, b) -> {merged}, "
        f"x -> CASE WHEN x.n > 1 THEN {spread} END)"
    )


def _at_end(function: str) -> Callable[[Aggregate, _Input], tuple[Partials, Merge]]:
    """The earliest (min) or the latest (max) value."""

    def lower(aggregate: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
        partial = f"{function}({rows.dated})"
        return {aggregate.function: partial}, lambda frame, value: f"({function}({value}) OVER {frame}).value"

    return lower


def _several(aggregate: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
    """The first n or last n of a tile; the first n or last n of all are among them."""
    kept = _ends(aggregate, f"collect_list({rows.dated})")
    return {aggregate.function: kept}, lambda frame, e: f"flatten(collect_list({e}) OVER {frame})"


def _several_of_entries(aggregate: Aggregate, entries: str) -> str:
    values = f"transform({_ends(aggregate, entries)}, x -> x.value)"
    return f"CASE WHEN size({entries}) > 0 THEN {values} END"


def _ends(aggregate: Aggregate, entries: str) -> str:
    ascending = "true" if aggregate.function == "first_n" else "false"
    return f"slice(sort_array({entries}, {ascending}), 1, {aggregate.k})"


def _set(finish: str) -> Callable[[Aggregate, _Input], tuple[Partials, Merge]]:
    """A function of the different values."""

    def lower(_: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
        values = f"collect_set({rows.only(rows.column)})"
        return {"set": values}, lambda frame, s: f"{finish}(array_distinct(flatten(collect_list({s}) OVER {frame})))"

    return lower


def _all_values(aggregate: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
    values = f"collect_list(CAST({rows.only(rows.column)} AS DOUBLE))"
    return {"values": values}, lambda frame, v: f"sort_array(flatten(collect_list({v}) OVER {frame}))"


def _percentile(aggregate: Aggregate, values: str) -> str:
    """The value at the place q of the way through the sorted ones, counted from 0, linear between two."""
    low, high = f"{values}[int(floor(p))]", f"{values}[int(ceil(p))]"
    between = f"{low} + ({high} - {low}) * (p - floor(p))"
    found = finite_sql(f"transform(array({float(aggregate.q or 0)!r}D * (size({values}) - 1)), p -> {between})[0]")
    return f"CASE WHEN size({values}) > 0 THEN {found} END"


def _least_hashes(_: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
    text = f"CAST(CAST({rows.column} AS STRING) AS BINARY)"
    hashed = f"CAST(conv(substr(md5({rows.only(text)}), 1, {HASH_BITS // 4}), 16, 10) AS BIGINT)"
    least = f"slice(sort_array(collect_set({hashed})), 1, {HASHES})"
    return {"least": least}, lambda frame, h: f"sort_array(array_distinct(flatten(collect_list({h}) OVER {frame})))"


def _number_of_hashes(_: Aggregate, least: str) -> str:
    estimate = f"CAST(floor({SHARE_OF_HASHES!r}D / {least}[{HASHES - 1}]) AS BIGINT)"
    return f"CASE WHEN size({least}) < {HASHES} THEN CAST(size({least}) AS BIGINT) ELSE {estimate} END"


def _values_if_any(_: Aggregate, values: str) -> str:
    return f"CASE WHEN size({values}) > 0 THEN {values} END"


def _top_k(aggregate: Aggregate, rows: _Input) -> tuple[Partials, Merge]:
    weight = quote(aggregate.by) if aggregate.by is not None else "1L"
    counts = f"{rows.column} IS NOT NULL AND {weight} IS NOT NULL{f' AND {rows.where}' if rows.where else ''}"
    entries = f"collect_list(CASE WHEN {counts} THEN struct({rows.column} AS value, {weight} AS weight) END)"
    return {"entries": entries}, lambda frame, e: f"flatten(collect_list({e}) OVER {frame})"


def _top_k_of_entries(aggregate: Aggregate, entries: str) -> str:
    """The k values with the greatest sum of weights; of no entries NULL."""
    zero, added = {None: "0L", FLOAT: "0D"}.get(aggregate.by_dtype, "CAST(0 AS DECIMAL(38, 0))"), "total + x.weight"
    if aggregate.by_dtype == INT:  # a sum of them may be beyond 64 bits, and still be compared
        added = f"CAST({added} AS DECIMAL(38, 0))"
    total = f"aggregate(filter({entries}, x -> x.value = v), {zero}, (total, x) -> {added})"
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
    "stddev": _moments,
    "variance": _moments,
    "first": _at_end("min"),
    "last": _at_end("max"),
    "first_n": _several,
    "last_n": _several,
    "percentile": _all_values,
    "count_distinct": _set("size"),
    "approx_count_distinct": _least_hashes,
    "collect_set": _set("sort_array"),
    "top_k": _top_k,
}

# what is left to do once the tiles of a frame are merged
_FINISHED: dict[str, Callable[[Aggregate, str], str]] = {
    "sum": _sum_of_halves,
    "stddev": _spread_of_moments,
    "variance": _spread_of_moments,
    "percentile": _percentile,
    "approx_count_distinct": _number_of_hashes,
    "collect_set": _values_if_any,
    "first_n": _several_of_entries,
    "last_n": _several_of_entries,
    "top_k": _top_k_of_entries,
}
