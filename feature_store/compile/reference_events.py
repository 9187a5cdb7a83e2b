"""The rows of a source that count, for the reference."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from feature_store.compile.reference_expressions import finite_or_none
from feature_store.dsl.source import BatchSource
from feature_store.dtypes import FLOAT

Row = dict[str, Any]
"""Column to value; timestamps are aware datetimes."""


def clean_events(source: BatchSource, rows: Iterable[Row]) -> list[Row]:
    """The rows of a source that count: with an event time, one of each event id, FLOATs finite or NULL."""
    events: list[Row] = []
    for given in rows:
        row = {name: given.get(name) for name in source.schema}
        for name, dtype in source.schema.items():
            value = row[name]
            if dtype == FLOAT and value is not None:
                row[name] = finite_or_none(float(value))
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
