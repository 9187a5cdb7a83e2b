"""Served rows for tests of skew: what a server would have kept of reads whose values are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog

from feature_store.dtypes import to_micros
from feature_store.offline.tables import ensure_table
from feature_store.online.codec import wire_of
from feature_store.online.samples import ServedBatch, ServedRow
from feature_store.online.vectors import Status
from feature_store.pit.semantics import LABEL_TIMESTAMP, Row
from feature_store.plan.schema import Column, GroupSchema, ViewSchema
from feature_store.skew.served_table import ServedTable, served_table
from tests.unit.pit.pit_cases import rows_table


def catalog_with(folder: Path, tables: Sequence[tuple[GroupSchema, Sequence[Row]]]) -> SqlCatalog:
    """The offline store with the rows of some groups."""
    catalog = SqlCatalog("fs", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
    for schema, rows in tables:
        ensure_table(catalog, schema).append(rows_table(schema, rows))
    return catalog


def served(
    view: ViewSchema,
    reads: Sequence[Row],
    values: Sequence[Row],
    rows_at: Mapping[int, Mapping[str, tuple[Status, Any]]] | None = None,
) -> ServedTable:
    """Reads (keys and label_timestamp) that were answered with some values.

    Args:
        rows_at: of some reads, by place and group: the status and the feature_timestamp of the row that was served;
            the row at the instant of the read unless given.
    """
    rows = []
    for place, (read, answer) in enumerate(zip(reads, values, strict=True)):
        of_groups = [
            (rows_at or {}).get(place, {}).get(v.id, (Status.PRESENT, read[LABEL_TIMESTAMP])) for v in view.groups
        ]
        rows.append(
            ServedRow(
                instant=to_micros(read[LABEL_TIMESTAMP]),
                model="churn",
                keys=[read[key.name] for key in view.keys],
                statuses=[status for status, _ in of_groups],
                timestamps=[None if time is None else to_micros(time) for _, time in of_groups],
                values=[[_stored(feature, answer[feature.name]) for feature in v.features] for v in view.groups],
                on_demand=[],
            )
        )
    return served_table(view, [batch_of(view, rows)])


def batch_of(view: ViewSchema, rows: list[ServedRow]) -> ServedBatch:
    features = [[feature.name for feature in viewed.features] for viewed in view.groups]
    return ServedBatch(view.id, [key.name for key in view.keys], [v.id for v in view.groups], features, [], rows)


def _stored(feature: Column, value: Any) -> Any:
    encode = wire_of(feature.dtype).encode
    return value if value is None or encode is None else encode(value)
