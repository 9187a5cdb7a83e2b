"""The rows of a source that count, for the reference."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from feature_store.compile.reference_expressions import finite_or_none
from feature_store.dsl.source import BatchSource
from feature_store.dtypes import FLOAT, DType

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


def clean_events(source: BatchSource, rows: Iterable[Row]) -> list[Row]:
    """The rows of a source that count: with an event time, one of each event id, FLOATs finite or NULL."""
    events: list[Row] = []
    for given in rows:
        row = {name: given.get(name) for name in source.schema}
        for name, dtype in source.schema.items():
            value = row[name]
            row[name] = _cleaned(value, dtype)
        if row[source.event_timestamp] is not None:
            events.append(row)
    if source.event_id is None:
        return events
    by_id: dict[Any, Row] = {}
    unidentified = []
    for row in sorted(events, key=lambda row: row[source.event_timestamp]):
        if row[source.event_id] is None:
            unidentified.append(row)
        else:
            by_id.setdefault(row[source.event_id], row)
    return [*by_id.values(), *unidentified]
