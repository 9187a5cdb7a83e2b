"""The sample of served rows of a view as a table: keys, the time of each read, and what each group answered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from feature_store.dtypes import TIMESTAMP, Value, arrow_type
from feature_store.online.codec import wire_of
from feature_store.online.samples import ServedBatch, ServedRow
from feature_store.online.vectors import Status
from feature_store.pit.semantics import LABEL_TIMESTAMP
from feature_store.plan.schema import Column, ViewedSchema, ViewSchema

MOST_ROWS = 10_000


@dataclass(frozen=True)
class ServedGroup:
    """What one group of a view answered, one entry for each sampled row.

    Attributes:
        entities: the values of the group's key columns.
        timestamps: the feature_timestamp of the row that was served (microseconds); None: there was none.
        values: by what the view calls a feature, its values with defaults filled in.
    """

    group: ViewedSchema
    entities: tuple[tuple[Value, ...], ...]
    statuses: tuple[Status, ...]
    timestamps: tuple[int | None, ...]
    values: dict[str, list[Value]]


@dataclass(frozen=True)
class ServedTable:
    """Sampled rows of one view, the newest batch first.

    Attributes:
        labels: the view's key columns and label_timestamp, the instant of each read.
        models: who asked; empty if it did not say.
        groups: one for each group of the view, in its order.
        other_rows: how many rows were left out, because they were read with another definition of the view.
    """

    labels: pa.Table
    models: tuple[str, ...]
    groups: tuple[ServedGroup, ...]
    other_rows: int

    @property
    def rows(self) -> int:
        return int(self.labels.num_rows)


def served_table(view: ViewSchema, batches: Iterable[ServedBatch], most_rows: int = MOST_ROWS) -> ServedTable:
    """The newest sampled rows of a view."""
    names = [[feature.name for feature in viewed.features] for viewed in view.groups]
    keys, groups = [key.name for key in view.keys], [viewed.id for viewed in view.groups]
    rows: list[ServedRow] = []
    other_rows = 0
    for batch in batches:
        if (batch.keys, batch.groups, batch.features) != (keys, groups, names):
            other_rows += len(batch.rows)
        elif len(rows) < most_rows:
            rows.extend(batch.rows[: most_rows - len(rows)])
    return ServedTable(
        labels=_labels(view, rows),
        models=tuple(row.model for row in rows),
        groups=_groups(view, rows),
        other_rows=other_rows,
    )


def _labels(view: ViewSchema, rows: Sequence[ServedRow]) -> pa.Table:
    columns = {
        key.name: pa.array([row.keys[i] for row in rows], arrow_type(key.dtype)) for i, key in enumerate(view.keys)
    }
    return pa.table({**columns, LABEL_TIMESTAMP: pa.array([row.instant for row in rows], arrow_type(TIMESTAMP))})


def _groups(view: ViewSchema, rows: Sequence[ServedRow]) -> tuple[ServedGroup, ...]:
    values = [_values(viewed, [row.values[place] for row in rows]) for place, viewed in enumerate(view.groups)]
    known = {key.name: [row.keys[i] for row in rows] for i, key in enumerate(view.keys)}
    for of_group in values:
        known |= of_group
    return tuple(
        ServedGroup(
            group=viewed,
            entities=tuple(zip(*(known[key.name] for key in viewed.keys), strict=True)),
            statuses=tuple(row.statuses[place] for row in rows),
            timestamps=tuple(row.timestamps[place] for row in rows),
            values=values[place],
        )
        for place, viewed in enumerate(view.groups)
    )


def _values(viewed: ViewedSchema, stored: Sequence[Sequence[Any]]) -> dict[str, list[Value]]:
    return {feature.name: _decoded(feature, [row[i] for row in stored]) for i, feature in enumerate(viewed.features)}


def _decoded(feature: Column, stored: list[Any]) -> list[Value]:
    decode = wire_of(feature.dtype).decode
    return stored if decode is None else [None if value is None else decode(value) for value in stored]
