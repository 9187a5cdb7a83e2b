"""What is looked at before anything is computed: labels that cannot be joined are refused when they are named."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from pyiceberg.catalog import Catalog

from feature_store.dtypes import arrow_type
from feature_store.errors import InputError
from feature_store.offline.refs import snapshot_of
from feature_store.pit.label_postgres import look_at
from feature_store.pit.label_sources import LabelQuery, LabelTable, raw_labels
from feature_store.pit.labels import open_labels
from feature_store.pit.planning import current_snapshot_id, open_table
from feature_store.pit.time_range import TimeRange
from feature_store.plan.schema import ViewSchema
from feature_store.training_jobs.labels import AnyLabels


def check_labels(source: AnyLabels, view: ViewSchema, catalog: Catalog, postgres: str) -> None:
    """Opens labels and reads the first of them; the rest is checked by whoever reads it.

    Args:
        postgres: the server that has the tables that name none.

    Raises:
        InputError: if there are no rows, a column is missing, has the wrong type or no time zone, or if the source
            cannot be read.
    """
    if isinstance(source, LabelQuery):
        for table in source.tables.values():
            if isinstance(table, LabelTable):
                look_at(table, postgres)
            else:
                raw_labels(table, view, catalog)
    elif isinstance(source, LabelTable):
        types, has_rows = look_at(source, postgres)
        schema = pa.schema([(name, arrow_type(dtype)) for name, dtype in types.items()])
        open_labels(schema.empty_table(), view)
        _require(has_rows)
    elif not isinstance(source, TimeRange):
        _require(any(table.num_rows for table in open_labels(source, view, catalog).tables))


def pinned_snapshots(view: ViewSchema, catalog: Catalog, given: Mapping[str, int | None]) -> dict[str, int | None]:
    """The snapshot of each group's table that is to be read: the one that is given, or the current one.

    Raises:
        NotFoundError: if a group was never materialized, or there is no such snapshot (any more).
    """
    found: dict[str, int | None] = {}
    for viewed in view.groups:
        group = viewed.group.id
        table = open_table(catalog, viewed.group)
        found[group] = given[group] if group in given else current_snapshot_id(table)
        snapshot_of(table, found[group], f"group {group}")
    return found


def _require(has_rows: bool) -> None:
    if not has_rows:
        raise InputError(
            "there are no rows",
            where="labels",
            remedy="give one row for each time at which a model is to be trained",
            code="no-labels",
        )
