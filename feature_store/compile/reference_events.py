"""The rows of a source that count, for the reference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from feature_store.compile.reference_expressions import finite_or_none, ordered
from feature_store.dsl.source import BatchSource
from feature_store.dtypes import FLOAT, DType, to_micros

Row = dict[str, Any]
"""Column to value; timestamps are aware datetimes."""


def _cleaned(value: Any, dtype: DType) -> Any:
    """A value with NULL for what is not finite; of an EMBEDDING, for the whole of it."""
    if value is None:
        return None
    if dtype == FLOAT:
        return finite_or_none(float(value))
    if dtype.kind == "EMBEDDING":
        return value if all(x is not None and math.isfinite(x) for x in value) else None
    return [_cleaned(x, dtype.item) for x in value] if dtype.item is not None else value


def clean_events(source: BatchSource, rows: Iterable[Row], keys: Sequence[str] = ()) -> list[Row]:
    """The rows of a source that count: with an event time, no copies, FLOATs finite or NULL.

    Args:
        source: whose rows.
        rows: in any order.
        keys: columns of the entity, within whose rows event ids are compared; without them within all rows.
    """
    events: list[Row] = []
    for given in rows:
        row = {name: given.get(name) for name in source.schema}
        for name, dtype in source.schema.items():
            value = row[name]
            row[name] = _cleaned(value, dtype)
        if row[source.event_timestamp] is not None:
            events.append(row)
    return events if source.event_id is None else _without_copies(source, source.event_id, events, keys)


def _without_copies(source: BatchSource, event_id: str, events: Iterable[Row], keys: Sequence[str]) -> list[Row]:
    """The rows that are no copies: none of their id and entity is before them by `deduplicate_within` or less.

    Of simultaneous rows the first in canonical order is before the others.
    """
    counted: list[Row] = []
    newest: dict[Any, int] = {}
    for row in sorted(events, key=lambda row: (row[source.event_timestamp], canonical(source, row))):
        if row[event_id] is None:
            counted.append(row)
            continue
        identity, at = (row[event_id], *(row[key] for key in keys)), to_micros(row[source.event_timestamp])
        if identity not in newest or at - newest[identity] > source.deduplicate_size:
            counted.append(row)
        newest[identity] = at
    return counted


def canonical(source: BatchSource, row: Row) -> tuple[Any, ...]:
    """What rows are put into canonical order by: their columns as the schema has them, NULL first."""
    return tuple(_canonical(row[name]) for name in source.schema)


def _canonical(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return (tuple(map(_canonical, value)) if isinstance(value, list | tuple) else ordered(value),)
