"""The logical plan as one Spark SQL statement.

Windowed features go from the rows that count, the events, to a vector at every point where something changes: over
tiles (`spark_tiles`), or directly where instants are few (`spark_direct`). A query is evaluated at every slide over its
sources joined with the grid.
"""

from __future__ import annotations

from collections.abc import Iterable

from feature_store.compile.span import Span
from feature_store.compile.spark_counting import seen
from feature_store.compile.spark_direct import direct_steps, is_direct
from feature_store.compile.spark_expressions import cleaned_sql, quote, spark_sql, spark_type
from feature_store.compile.spark_tiles import tile_columns, tile_steps, tiles_sql
from feature_store.compile.sql_layout import CommonTable, all_of, indented, listed, nested
from feature_store.dsl.source import BatchSource
from feature_store.plan.clock import AS_OF
from feature_store.plan.event_inputs import event_inputs
from feature_store.plan.expression_nodes import Expression
from feature_store.plan.nodes import GroupPlan, QueriedRows, WindowedRows
from feature_store.plan.overflow import null_on_overflow
from feature_store.plan.query import GRID
from feature_store.plan.schema import FEATURE_TIMESTAMP


def compile_spark(plan: GroupPlan, span: Span, tiles: str | None = None) -> str:
    """The statement whose result are the rows of a group in a span: keys, feature_timestamp, features.

    Every source is read from a view of its own name with the columns and types of its schema.

    Args:
        tiles: a statement whose result are the tiles, if they are there already (`spark_shared`).
    """
    span.check(plan.slide)
    rows = plan.rows
    steps = _queried(plan, rows, span) if isinstance(rows, QueriedRows) else _windowed(plan, rows, span, tiles)
    return f"{with_steps(steps)}\nSELECT {listed(row_columns(plan))}\nFROM vectors\n"


def row_columns(plan: GroupPlan) -> list[str]:
    """The columns of a group's rows, of the keys, `t` (microseconds) and the features of a vector."""
    derived = [f"{spark_sql(null_on_overflow(expression))} AS {quote(name)}" for name, expression in plan.derived]
    features = [quote(feature.name) for feature in plan.group.features]
    return [*map(quote, plan.keys), f"timestamp_micros(t) AS {FEATURE_TIMESTAMP}", *features, *derived]


def with_steps(steps: Iterable[CommonTable]) -> str:
    """The WITH of a statement."""
    return "WITH " + ",\n".join(f"{name} AS (\n{indented(text)}\n)" for name, text in steps)


def events_after(plan: GroupPlan, span: Span) -> int | None:
    """The instant (microseconds) before which no event matters to a span; None if all do."""
    if isinstance(plan.rows, QueriedRows) or plan.group.emits == "snapshot":
        return None
    longest = plan.rows.windows[-1]
    sessions = any(aggregate.session for aggregate in plan.rows.aggregates)  # they begin any time ago
    return None if longest is None or sessions else span.after - longest


def rows_after(plan: GroupPlan, span: Span) -> int | None:
    """The instant (microseconds) before which no row is read for a span; None if all are.

    Rows before the events that matter tell which of these are copies.
    """
    after = events_after(plan, span)
    return after if isinstance(plan.rows, QueriedRows) else read_after(plan.rows.source, after)


def read_after(source: BatchSource, after: int | None) -> int | None:
    """From when on (microseconds) rows are read for the events from an instant on."""
    return after - source.deduplicate_size if after is not None and source.event_id is not None else after


def _windowed(plan: GroupPlan, rows: WindowedRows, span: Span, tiles: str | None) -> list[CommonTable]:
    key = ", ".join(map(quote, plan.keys))
    direct = tiles is None and is_direct(plan, rows, span)
    beginning = event_steps(plan, rows, span) if direct else steps_to_tiles(plan, rows, span, tiles)
    aggregated, lowered = (direct_steps if direct else tile_steps)(plan, rows, span, key)
    values = [f"{feature.value} AS {quote(feature.name)}" for feature in lowered]
    vectors = f"SELECT {listed([key, 't', *values])}\nFROM frames\nWHERE t > {span.after}"
    return [*beginning, *aggregated, ("vectors", vectors)]


def steps_to_tiles(plan: GroupPlan, rows: WindowedRows, span: Span, tiles: str | None) -> list[CommonTable]:
    """The steps to `tiles`, from the source or from a statement that has them."""
    if tiles is not None:
        return [("tiles", tiles)]
    key = ", ".join(map(quote, plan.keys))
    made = tiles_sql(key, plan.slide, seen(rows), tile_columns(rows))
    return [*event_steps(plan, rows, span), ("tiles", made)]


def by_entity(plan: GroupPlan) -> str:
    """The end of a statement over tiles: all of an entity's in one partition, one after the other."""
    key = ", ".join(map(quote, plan.keys))
    return f"DISTRIBUTE BY {key}\nSORT BY {key}, tile_end\n"


def event_steps(plan: GroupPlan, rows: WindowedRows, span: Span) -> list[CommonTable]:
    """The steps to `events`: the rows that count, with what is computed of them and their time as `_at`."""
    cleaned = _cleaned(rows.source, plan.keys, events_after(plan, span), span.until)
    return [("cleaned", cleaned), ("events", _events(rows, "cleaned"))]


def events_sql(keys: Iterable[str], rows: WindowedRows, after: int | None, until: int) -> str:
    """`events` as one SELECT, of rows with a time in `[after, until)` (microseconds)."""
    return _events(rows, nested(_cleaned(rows.source, keys, after, until)))


def _cleaned(source: BatchSource, keys: Iterable[str], after: int | None, until: int) -> str:
    """The rows of a source that count: with keys and time, no copies, FLOATs finite or NULL."""
    time, read = quote(source.event_timestamp), read_after(source, after)
    columns = [
        _named(cleaned_sql(quote(name), dtype), name)
        for name, dtype in source.schema.items()
        if name != source.event_timestamp
    ]
    conditions = [f"{quote(key)} IS NOT NULL" for key in keys if key in source.schema]
    conditions += [f"{time} >= timestamp_micros({read})"] if read is not None else []
    conditions.append(f"{time} < timestamp_micros({until})")
    text = (
        f"SELECT {listed([*columns, time, f'unix_micros({time}) AS _at'])}\n"
        f"FROM {quote(source.name)}\nWHERE {all_of(conditions)}"
    )
    if source.event_id is None:
        return text
    return _without_copies(source, keys, after, text)


def _without_copies(source: BatchSource, keys: Iterable[str], after: int | None, rows: str) -> str:
    """The rows from an instant on (microseconds) that are no copies: none of their id is before them and near them.

    Of an entity where there are keys. In the canonical order NULLs come first and strings are compared by their bytes,
    which is how Spark sorts.
    """
    event_id = quote(source.event_id or "")
    entity = ", ".join([*(quote(key) for key in keys if key in source.schema), event_id])
    order = ", ".join(["_at", *(quote(name) for name in source.schema if name != source.event_timestamp)])
    numbered = f"SELECT *, lag(_at) OVER (PARTITION BY {entity} ORDER BY {order}) AS _before\nFROM {nested(rows)}"
    near = f"({event_id} IS NULL OR _before IS NULL OR _before < _at - {source.deduplicate_size}L)"
    counts = [near, *([f"_at >= {after}"] if after is not None else [])]
    return f"SELECT * EXCEPT (_before)\nFROM {nested(numbered)}\nWHERE {all_of(counts)}"


def _named(text: str, name: str) -> str:
    return text if text == quote(name) else f"{text} AS {quote(name)}"


def _events(rows: WindowedRows, cleaned: str) -> str:
    computed = [f"{spark_sql(expression)} AS {quote(name)}" for name, expression in rows.computed]
    overflow = event_inputs(rows).overflow
    conditions = [spark_sql(rows.where)] if rows.where is not None else []
    conditions += [f"NOT {spark_sql(overflow)}"] if overflow is not None else []
    where = f"\nWHERE {all_of(conditions)}" if conditions else ""
    return f"SELECT {listed(['*', *computed])}\nFROM {cleaned}{where}"


def _queried(plan: GroupPlan, rows: QueriedRows, span: Span) -> list[CommonTable]:
    """The lifted query over sources joined with the grid."""
    instants = f"SELECT explode(sequence({span.after + plan.slide}L, {span.until}L, {plan.slide}L)) AS t"
    steps = [(GRID, f"SELECT t, timestamp_micros(t) AS {AS_OF}\nFROM (\n{indented(instants)}\n)")]
    for source in rows.sources:
        cleaned = _cleaned(source, (), None, span.until)
        known = _known(source, rows.deletions.get(source.name))
        steps.append((quote(source.name), f"WITH cleaned AS (\n{indented(cleaned)}\n)\n{known}"))
    steps.append(("answers", rows.lifted))
    columns = [*map(quote, plan.keys), f"unix_micros({AS_OF}) AS t"]
    for feature in plan.group.features:
        value = f"CAST({quote(feature.name)} AS {spark_type(feature.dtype)})"
        columns.append(f"{cleaned_sql(value, feature.dtype)} AS {quote(feature.name)}")
    with_keys = [f"{quote(key)} IS NOT NULL" for key in plan.keys]
    steps.append(("vectors", f"SELECT {listed(columns)}\nFROM answers\nWHERE {all_of(with_keys)}"))
    return steps


def _known(source: BatchSource, deletion: Expression | None) -> str:
    """The rows before each instant; of states only the newest ones, without what is deleted."""
    dated = f"cleaned.* EXCEPT (_at), grid.{AS_OF}"
    conditions = ["cleaned._at < grid.t"]
    if source.changes_of:
        assert source.event_id is not None
        keys, order = list(map(quote, source.changes_of)), f"_at DESC, {quote(source.event_id)} DESC"
        conditions += [f"{key} IS NOT NULL" for key in (*keys, quote(source.event_id))]
        newest = f"row_number() OVER (PARTITION BY {', '.join([*keys, 'grid.t'])} ORDER BY {order})"
    else:
        newest = "rank() OVER (PARTITION BY grid.t ORDER BY _at DESC)"
    columns = [dated, f"{newest} AS _newest"] if source.holds_states else [dated]
    rows = f"SELECT {listed(columns)}\nFROM grid JOIN cleaned ON {all_of(conditions)}"
    if not source.holds_states:
        return rows
    alive = f" AND NOT coalesce({spark_sql(null_on_overflow(deletion))}, FALSE)" if deletion is not None else ""
    return f"SELECT * EXCEPT (_newest) FROM (\n{indented(rows)}\n)\nWHERE _newest = 1{alive}"
