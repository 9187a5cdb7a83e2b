"""The logical plan as one Spark SQL statement.

The change-point plan: rows -> tiles (partial aggregates of an entity and slide step; a tile ends at `tile_end`) ->
points (a tile enters at its end and leaves a window later; nothing else changes a value) -> an OVER window with a
RANGE frame over the points, which recomputes every aggregate from its live tiles. A session is a frame too: that of the
points since it began (gaps and islands over the first and last event of each tile).
"""

from __future__ import annotations

from collections.abc import Iterable

from feature_store.compile.span import Span
from feature_store.compile.spark_aggregates import Lowered, lower_aggregate
from feature_store.compile.spark_expressions import finite_sql, quote, spark_sql, spark_type
from feature_store.compile.spark_sessions import Session, number_sessions, sessions_of
from feature_store.dsl.source import BatchSource
from feature_store.dtypes import FLOAT
from feature_store.duration import format_duration
from feature_store.plan.clock import AS_OF
from feature_store.plan.expression_nodes import Expression
from feature_store.plan.nodes import GroupPlan, QueriedRows, WindowedRows
from feature_store.plan.schema import FEATURE_TIMESTAMP

Step = tuple[str, str]


def compile_spark(plan: GroupPlan, span: Span) -> str:
    """The statement whose result are the rows of a group in a span: keys, feature_timestamp, features.

    Every source is read from a view of its own name with the columns and types of its schema.
    """
    span.check(plan.slide)
    rows = plan.rows
    steps = _queried(plan, rows, span) if isinstance(rows, QueriedRows) else _windowed(plan, rows, span)
    derived = [f"{spark_sql(expression)} AS {quote(name)}" for name, expression in plan.derived]
    features = [quote(feature.name) for feature in plan.group.features]
    columns = [*map(quote, plan.keys), f"timestamp_micros(t) AS {FEATURE_TIMESTAMP}", *features, *derived]
    body = ",\n".join(f"{name} AS (\n{_indent(text)}\n)" for name, text in steps)
    return f"WITH {body}\nSELECT {_list(columns)}\nFROM vectors\n"


def events_after(plan: GroupPlan, span: Span) -> int | None:
    """The instant (microseconds) before which no event matters to a span; None if all do."""
    if isinstance(plan.rows, QueriedRows) or plan.group.emits == "snapshot":
        return None
    longest = plan.rows.windows[-1]
    sessions = any(aggregate.session for aggregate in plan.rows.aggregates)  # they begin any time ago
    return None if longest is None or sessions else span.after - longest


def _windowed(plan: GroupPlan, rows: WindowedRows, span: Span) -> list[Step]:
    key = ", ".join(map(quote, plan.keys))
    lowered = [lower_aggregate(aggregate) for aggregate in rows.aggregates]
    sessions = sessions_of(rows)
    partials = [partial for feature in lowered for partial in feature.partials]
    partials += [partial for session in sessions for partial in session.partials]
    names = [name for name, _ in partials]
    steps = [("cleaned", _cleaned(rows.source, plan.keys, events_after(plan, span), span.until))]
    steps.append(("events", _events(rows)))
    steps.append(("tiles", _tiles(key, plan.slide, rows, partials)))
    if plan.group.emits == "snapshot":
        steps.append(("grid", _grid(key, plan.slide, span)))
        steps.append(("points", _points_of_grid(key, names)))
    else:
        steps.append(("moves", _moves(key, plan.slide, rows, names, span)))
        steps.append(("points", _points(key, names)))
    if sessions:
        steps.append(("sessions", number_sessions(key, sessions)))
    steps.append(("frames", _frames(key, plan.slide, rows, lowered, sessions)))
    values = [f"{feature.value} AS {quote(feature.name)}" for feature in lowered]
    steps.append(("vectors", f"SELECT {_list([key, 't', *values])}\nFROM frames\nWHERE t > {span.after}"))
    return steps


def _cleaned(source: BatchSource, keys: Iterable[str], after: int | None, until: int) -> str:
    """The rows of a source that count: with keys and time, one of each event id, FLOATs finite or NULL."""
    time = quote(source.event_timestamp)
    columns = [
        f"{finite_sql(quote(name))} AS {quote(name)}" if dtype == FLOAT else quote(name)
        for name, dtype in source.schema.items()
        if name != source.event_timestamp
    ]
    conditions = [f"{quote(key)} IS NOT NULL" for key in keys if key in source.schema]
    conditions += [f"{time} >= timestamp_micros({after})"] if after is not None else []
    conditions.append(f"{time} < timestamp_micros({until})")
    text = (
        f"SELECT {_list([*columns, time, f'unix_micros({time}) AS _at'])}\n"
        f"FROM {quote(source.name)}\nWHERE {_all(conditions)}"
    )
    if source.event_id is None:
        return text
    ids = quote(source.event_id)
    numbered = text.replace("\nFROM", f",\n  row_number() OVER (PARTITION BY {ids} ORDER BY {time}) AS _copy\nFROM", 1)
    return f"SELECT * FROM (\n{_indent(numbered)}\n)\nWHERE _copy = 1 OR {ids} IS NULL"


def _events(rows: WindowedRows) -> str:
    computed = [f"{spark_sql(expression)} AS {quote(name)}" for name, expression in rows.computed]
    where = f"\nWHERE {spark_sql(rows.where)}" if rows.where is not None else ""
    return f"SELECT {_list(['*', *computed])}\nFROM cleaned{where}"


def _tiles(key: str, slide: int, rows: WindowedRows, partials: list[tuple[str, str]]) -> str:
    """One row per entity and slide step in which something happened that a feature looks at."""
    hits = [f"count_if({_seen_by(rows, window)}) AS {_hits(window)}" for window in rows.windows]
    computed = [f"{sql} AS {name}" for name, sql in partials]
    end = f"_at - pmod(_at, {slide}L) + {slide}L"
    return (
        f"SELECT {_list([key, f'{end} AS tile_end', *hits, *computed])}\n"
        f"FROM events\nWHERE {_seen(a.where for a in rows.aggregates)}\nGROUP BY {key}, {end}"
    )


def _moves(key: str, slide: int, rows: WindowedRows, partials: list[str], span: Span) -> str:
    """Each tile once where it enters and once where it leaves each window it was seen by."""
    moves = ["struct(tile_end AS t, TRUE AS enters)"]
    for window in rows.windows:
        if window is not None:
            leaves = f"tile_end + {window}L"
            leaving = f"struct({leaves} AS t, FALSE AS enters)"
            moves.append(f"CASE WHEN {_hits(window)} > 0 AND {leaves} > {span.after} THEN {leaving} END")
    if span.first:
        begin = span.after + slide
        alive = [
            f"{_hits(window)} > 0" if window is None else f"{_hits(window)} > 0 AND tile_end > {begin - window}"
            for window in rows.windows
        ]
        standing = f"struct({begin}L AS t, FALSE AS enters)"
        moves.append(f"CASE WHEN tile_end < {begin} AND ({' OR '.join(alive)}) THEN {standing} END")
    return (
        f"SELECT {_list([key, 'move.t', 'move.enters', *partials])}\nFROM (\n"
        f"  SELECT *, explode(filter(array({_list(moves, 4)}), x -> x IS NOT NULL)) AS move\n  FROM tiles\n)\n"
        f"WHERE move.t <= {span.until}"
    )


def _points(key: str, partials: list[str]) -> str:
    """The moves of one entity at one instant as one row: at most one tile enters there."""
    merged = [f"first(CASE WHEN enters THEN {name} END, TRUE) AS {name}" for name in partials]
    return f"SELECT {_list([key, 't', *merged])}\nFROM moves\nGROUP BY {key}, t"


def _grid(key: str, slide: int, span: Span) -> str:
    """Every instant of the span for every entity that has been seen by then."""
    first = f"greatest(min(tile_end), {span.after + slide}L)"
    return f"SELECT {key}, explode(sequence({first}, {span.until}L, {slide}L)) AS t\nFROM tiles\nGROUP BY {key}"


def _points_of_grid(key: str, partials: list[str]) -> str:
    merged = [f"first({name}, TRUE) AS {name}" for name in partials]
    nothing = [f"NULL AS {name}" for name in partials]
    return (
        f"SELECT {_list([key, 't', *merged])}\nFROM (\n"
        f"  SELECT {key}, tile_end AS t{''.join(f', {name}' for name in partials)} FROM tiles\n"
        f"  UNION ALL SELECT {key}, t{''.join(f', {none}' for none in nothing)} FROM grid\n)\nGROUP BY {key}, t"
    )


def _frames(key: str, slide: int, rows: WindowedRows, lowered: list[Lowered], sessions: list[Session]) -> str:
    features = []
    for aggregate, feature in zip(rows.aggregates, lowered, strict=True):
        mine = [session.name for session in sessions if session.holds(aggregate)]
        frame = f"of_{mine[0]}" if mine else _frame(aggregate.window)
        features.append(f"{feature.merged(frame)} AS {quote(feature.name)}")
    sliding = {aggregate.window for aggregate in rows.aggregates if not aggregate.session}
    frames = [
        f"{_frame(window)} AS (PARTITION BY {key} ORDER BY t RANGE BETWEEN "
        f"{'UNBOUNDED' if window is None else f'{window - slide}L'} PRECEDING AND CURRENT ROW)"
        for window in rows.windows
        if window in sliding
    ]
    frames += [f"of_{session.name} AS (PARTITION BY {key}, {session.name} ORDER BY t)" for session in sessions]
    points = "sessions" if sessions else "points"
    return f"SELECT {_list([key, 't', *features])}\nFROM {points}\nWINDOW {_list(frames)}"


def _queried(plan: GroupPlan, rows: QueriedRows, span: Span) -> list[Step]:
    """The lifted query over sources joined with the grid."""
    grid = f"SELECT explode(sequence({span.after + plan.slide}L, {span.until}L, {plan.slide}L)) AS t"
    steps = [("grid", grid)]
    for source in rows.sources:
        cleaned = _cleaned(source, (), None, span.until)
        known = _known(source, rows.deletions.get(source.name))
        steps.append((quote(source.name), f"WITH cleaned AS (\n{_indent(cleaned)}\n)\n{known}"))
    steps.append(("answers", rows.lifted))
    columns = [*map(quote, plan.keys), f"unix_micros({AS_OF}) AS t"]
    for feature in plan.group.features:
        value = f"CAST({quote(feature.name)} AS {spark_type(feature.dtype)})"
        columns.append(f"{finite_sql(value) if feature.dtype == FLOAT else value} AS {quote(feature.name)}")
    with_keys = [f"{quote(key)} IS NOT NULL" for key in plan.keys]
    steps.append(("vectors", f"SELECT {_list(columns)}\nFROM answers\nWHERE {_all(with_keys)}"))
    return steps


def _known(source: BatchSource, deletion: Expression | None) -> str:
    """The rows before each instant; of states only the newest ones, without what is deleted."""
    dated = f"cleaned.* EXCEPT (_at), timestamp_micros(grid.t) AS {AS_OF}"
    conditions = ["cleaned._at < grid.t"]
    if source.changes_of:
        assert source.event_id is not None
        keys, order = list(map(quote, source.changes_of)), f"_at DESC, {quote(source.event_id)} DESC"
        conditions += [f"{key} IS NOT NULL" for key in (*keys, quote(source.event_id))]
        newest = f"row_number() OVER (PARTITION BY {', '.join([*keys, 'grid.t'])} ORDER BY {order})"
    else:
        newest = "rank() OVER (PARTITION BY grid.t ORDER BY _at DESC)"
    columns = [dated, f"{newest} AS _newest"] if source.holds_states else [dated]
    rows = f"SELECT {_list(columns)}\nFROM grid JOIN cleaned ON {_all(conditions)}"
    if not source.holds_states:
        return rows
    alive = f" AND NOT coalesce({spark_sql(deletion)}, FALSE)" if deletion is not None else ""
    return f"SELECT * EXCEPT (_newest) FROM (\n{_indent(rows)}\n)\nWHERE _newest = 1{alive}"


def _seen_by(rows: WindowedRows, window: int | None) -> str:
    return _seen(aggregate.where for aggregate in rows.aggregates if aggregate.window == window)


def _seen(conditions: Iterable[Expression | None]) -> str:
    """Whether a row counts in at least one of several features."""
    wanted = list(conditions)
    if any(condition is None for condition in wanted):
        return "TRUE"
    return " OR ".join(sorted({spark_sql(condition) for condition in wanted if condition is not None}))


def _hits(window: int | None) -> str:
    return f"hits_{_label(window)}"


def _frame(window: int | None) -> str:
    return f"last_{_label(window)}"


def _label(window: int | None) -> str:
    return "all_time" if window is None else format_duration(window)


def _list(items: Iterable[str], indent: int = 2) -> str:
    return (",\n" + " " * indent).join(items)


def _all(conditions: Iterable[str]) -> str:
    return "\n  AND ".join(conditions)


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
