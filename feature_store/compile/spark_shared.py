"""Tiles that several groups are computed from: one statement makes them, each group reads its part.

They have every column that one of the groups needs, each once, whatever the groups call it. The tiles of a group are
those in which something happened that it looks at, as far back as its longest window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from feature_store.compile.span import Span
from feature_store.compile.spark import by_entity, events_after, events_sql, read_after
from feature_store.compile.spark_counting import seen
from feature_store.compile.spark_direct import is_direct
from feature_store.compile.spark_expressions import quote
from feature_store.compile.spark_tiles import hits_column, tile_columns, tiles_sql
from feature_store.compile.sql_layout import listed, nested
from feature_store.plan.nodes import GroupPlan, WindowedRows
from feature_store.plan.sharing import computed_for


def has_tiles(plan: GroupPlan, span: Span) -> bool:
    """Whether the rows of a span are computed from tiles."""
    return isinstance(plan.rows, WindowedRows) and not is_direct(plan, plan.rows, span)


def compile_shared_tiles(plans: Sequence[GroupPlan], span: Span) -> str:
    """The statement whose result are the tiles of some groups (`plan.sharing`), in the order that `compile_tiles` has.

    The source is read from a view of its own name. It is one SELECT in the other: Spark does not find what it has
    cached of a statement with a WITH in another one with a WITH.
    """
    plan, every = plans[0], [_windowed(each) for each in plans]
    aggregates = tuple(aggregate for rows in every for aggregate in rows.aggregates)
    rows = WindowedRows(every[0].source, computed_for(plans), every[0].where, aggregates)
    events = nested(events_sql(plan.keys, rows, shared_after(plans, span), span.until))
    columns = [(name, sql) for sql, name in _columns(plans).items()]
    tiles = tiles_sql(", ".join(map(quote, plan.keys)), plan.slide, seen(rows), columns, events)
    return f"SELECT *\nFROM {nested(tiles)}\n{by_entity(plan)}"


def shared_after(plans: Iterable[GroupPlan], span: Span) -> int | None:
    """The instant (microseconds) before which no event matters to a span of any of some groups; None if all do."""
    needed = [events_after(plan, span) for plan in plans]
    known = [after for after in needed if after is not None]
    return min(known) if len(known) == len(needed) else None


def shared_rows_after(plans: Sequence[GroupPlan], span: Span) -> int | None:
    """The instant (microseconds) before which no row is read for a span of some groups; None if all are."""
    return read_after(_windowed(plans[0]).source, shared_after(plans, span))


def own_tiles(plans: Sequence[GroupPlan], plan: GroupPlan, span: Span, view: str) -> str:
    """The statement whose result are the tiles of one of some groups, from a view of the tiles of all of them."""
    rows, columns = _windowed(plan), _columns(plans)
    mine = {name: columns[sql] for name, sql in tile_columns(rows)}
    happened = " OR ".join(f"{mine[hits_column(window)]} > 0" for window in rows.windows)
    after = events_after(plan, span)
    recent = f"tile_end > {after} AND ({happened})" if after is not None else happened
    named = [f"{column} AS {name}" for name, column in mine.items()]
    return f"SELECT {listed([*map(quote, plan.keys), 'tile_end', *named])}\nFROM {quote(view)}\nWHERE {recent}"


def _columns(plans: Iterable[GroupPlan]) -> dict[str, str]:
    """By the SQL of a column of the tiles its name: the same for the same groups in the same order."""
    texts = dict.fromkeys(sql for plan in plans for _, sql in tile_columns(_windowed(plan)))
    return {sql: quote(f"tile:{number}") for number, sql in enumerate(texts)}


def _windowed(plan: GroupPlan) -> WindowedRows:
    assert isinstance(plan.rows, WindowedRows)
    return plan.rows
