"""What everybody has to agree on, by plain loops: the rows that stand, and the row that an entity has at an instant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from feature_store.dtypes import to_micros
from feature_store.duration import DAY
from feature_store.online.vectors import Status
from feature_store.plan.schema import CREATED_TIMESTAMP, FEATURE_TIMESTAMP, RETRACTED, GroupSchema

Row = dict[str, Any]


@dataclass(frozen=True)
class StoredRow:
    """One row of an offline table; times in microseconds, `values` by feature."""

    key: str
    timestamp: int
    created: int
    retracted: bool
    values: Mapping[str, Any]


def stored_row(schema: GroupSchema, row: Row) -> StoredRow:
    """A row of the table as Python values."""
    return StoredRow(
        row[schema.keys[0].name],
        to_micros(row[FEATURE_TIMESTAMP]),
        to_micros(row[CREATED_TIMESTAMP]),
        bool(row.get(RETRACTED)),
        {feature.name: row.get(feature.name) for feature in schema.features},
    )


def standing(rows: Iterable[StoredRow], known_at: int | None = None) -> dict[tuple[str, int], StoredRow]:
    """Of each key and feature timestamp the row that was created last, without those that are taken back.

    Args:
        rows: of one table.
        known_at: rows created after this instant do not count; None: all do.
    """
    newest: dict[tuple[str, int], StoredRow] = {}
    for row in rows:
        if known_at is not None and row.created > known_at:
            continue
        before = newest.get((row.key, row.timestamp))
        if before is None or before.created <= row.created:
            newest[row.key, row.timestamp] = row
    return {place: row for place, row in newest.items() if not row.retracted}


@dataclass(frozen=True)
class Served:
    """What a reader is to get of one entity: the features with defaults, and the statuses that are right."""

    values: Mapping[str, Any]
    statuses: frozenset[Status]


def served(schema: GroupSchema, rows: Iterable[StoredRow], key: str, now: int, known_at: int | None = None) -> Served:
    """The vector of an entity at an instant, by the definition."""
    times = [
        row
        for (owner, at), row in standing(rows, known_at).items()
        if owner == key and at + schema.availability_delay <= now
    ]
    defaults = {feature.name: feature.default for feature in schema.features}
    if not times:
        return Served(defaults, frozenset([Status.NOT_FOUND]))
    newest = max(times, key=lambda row: row.timestamp)
    if schema.ttl is not None and newest.timestamp + schema.ttl < now:
        grace = newest.timestamp + schema.ttl + min(schema.ttl, DAY)
        gone = [Status.NOT_FOUND] if now > grace else []
        return Served(defaults, frozenset([Status.EXPIRED, *gone]))
    values = {name: defaults[name] if value is None else value for name, value in newest.values.items()}
    filled = any(newest.values[name] is None and default is not None for name, default in defaults.items())
    return Served(values, frozenset([Status.DEFAULTED if filled else Status.PRESENT]))


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal, FLOATs to 1e-9 relative."""
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=0.0)
    return bool(left == right)


def same_values(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Whether two rows have the same features with equal values."""
    return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)


def check_rows(stands: Mapping[tuple[str, int], StoredRow], wanted: Iterable[StoredRow]) -> None:
    """The rows that stand, by key and feature timestamp, are the wanted ones."""
    right = {(row.key, row.timestamp): row for row in wanted}
    assert stands.keys() == right.keys(), (sorted(stands), sorted(right))
    for place, row in right.items():
        assert same_values(stands[place].values, row.values), (place, stands[place], row)
