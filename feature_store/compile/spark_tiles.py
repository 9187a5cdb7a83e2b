"""The change-point plan: events -> tiles -> points -> frames.

A tile is the partial aggregates of an entity and slide step; it ends at `tile_end`. It enters the windows at its end
and leaves one a window later; nothing else changes a value, so these are the points. An OVER window with a RANGE frame
over the points recomputes every aggregate from its live tiles. A session is a frame too: that of the points since it
began (gaps and islands over the first and last event of each tile).
"""

from __future__ import annotations

from collections.abc import Iterable

from feature_store.compile.span import Span
from feature_store.compile.spark_aggregates import Lowered, lower_aggregates, partials_of
from feature_store.compile.spark_counting import seen_by
from feature_store.compile.spark_expressions import quote
from feature_store.compile.spark_sessions import Session, number_sessions, sessions_of
from feature_store.compile.sql_layout import CommonTable, listed
from feature_store.duration import format_duration
from feature_store.plan.nodes import GroupPlan, WindowedRows


def tile_steps(plan: GroupPlan, rows: WindowedRows, span: Span, key: str) -> tuple[list[CommonTable], list[Lowered]]:
    """The steps from `tiles` to `frames`, which has every merged aggregate at every point; `key` is SQL."""
    lowered, sessions = lower_aggregates(rows.aggregates), sessions_of(rows)
    names = [name for name, _ in _partials(rows)]
    steps: list[CommonTable] = []
    if plan.group.emits == "snapshot":
        steps.append(("grid", _grid(key, plan.slide, span)))
        steps.append(("points", _points_of_grid(key, names)))
    else:
        steps.append(("moves", _moves(key, plan.slide, rows, names, span)))
        steps.append(("points", _points(key, names)))
    if sessions:
        steps.append(("sessions", number_sessions(key, sessions)))
    steps.append(("frames", _frames(key, plan.slide, rows, lowered, sessions)))
    return steps, lowered


def tiles_sql(key: str, slide: int, counts: str, columns: Iterable[tuple[str, str]], events: str = "events") -> str:
    """One row per entity and slide step with an event that counts, with columns given as names and SQL."""
    computed = [f"{sql} AS {name}" for name, sql in columns]
    end = f"_at - pmod(_at, {slide}L) + {slide}L"
    return (
        f"SELECT {listed([key, f'{end} AS tile_end', *computed])}\nFROM {events}\nWHERE {counts}\nGROUP BY {key}, {end}"
    )


def tile_columns(rows: WindowedRows) -> list[tuple[str, str]]:
    """The columns of a tile by name with their SQL: how many events each window has seen, and the partials."""
    hits = [(hits_column(window), f"count_if({seen_by(rows, window)})") for window in rows.windows]
    return hits + _partials(rows)


def _partials(rows: WindowedRows) -> list[tuple[str, str]]:
    of_sessions = [partial for session in sessions_of(rows) for partial in session.partials]
    return partials_of(lower_aggregates(rows.aggregates)) + of_sessions


def _moves(key: str, slide: int, rows: WindowedRows, partials: list[str], span: Span) -> str:
    """Each tile once where it enters and once where it leaves each window it was seen by."""
    moves = ["struct(tile_end AS t, TRUE AS enters)"]
    for window in rows.windows:
        if window is not None:
            leaves = f"tile_end + {window}L"
            leaving = f"struct({leaves} AS t, FALSE AS enters)"
            moves.append(f"CASE WHEN {hits_column(window)} > 0 AND {leaves} > {span.after} THEN {leaving} END")
    if span.first:
        begin = span.after + slide
        alive = [
            f"{hits_column(window)} > 0"
            if window is None
            else f"{hits_column(window)} > 0 AND tile_end > {begin - window}"
            for window in rows.windows
        ]
        standing = f"struct({begin}L AS t, FALSE AS enters)"
        moves.append(f"CASE WHEN tile_end < {begin} AND ({' OR '.join(alive)}) THEN {standing} END")
    return (
        f"SELECT {listed([key, 'move.t', 'move.enters', *partials])}\nFROM (\n"
        f"  SELECT *, explode(filter(array({listed(moves, 4)}), x -> x IS NOT NULL)) AS move\n  FROM tiles\n)\n"
        f"WHERE move.t <= {span.until}"
    )


def _points(key: str, partials: list[str]) -> str:
    """The moves of one entity at one instant as one row: at most one tile enters there."""
    merged = [f"first(CASE WHEN enters THEN {name} END, TRUE) AS {name}" for name in partials]
    return f"SELECT {listed([key, 't', *merged])}\nFROM moves\nGROUP BY {key}, t"


def _grid(key: str, slide: int, span: Span) -> str:
    """Every instant of the span for every entity that has been seen by then."""
    first = f"greatest(min(tile_end), {span.after + slide}L)"
    return f"SELECT {key}, explode(sequence({first}, {span.until}L, {slide}L)) AS t\nFROM tiles\nGROUP BY {key}"


def _points_of_grid(key: str, partials: list[str]) -> str:
    merged = [f"first({name}, TRUE) AS {name}" for name in partials]
    nothing = [f"NULL AS {name}" for name in partials]
    return (
        f"SELECT {listed([key, 't', *merged])}\nFROM (\n"
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
    return f"SELECT {listed([key, 't', *features])}\nFROM {points}\nWINDOW {listed(frames)}"


def hits_column(window: int | None) -> str:
    """The column of how many events of a tile a window has seen."""
    return f"hits_{_label(window)}"


def _frame(window: int | None) -> str:
    return f"last_{_label(window)}"


def _label(window: int | None) -> str:
    return "all_time" if window is None else format_duration(window)
