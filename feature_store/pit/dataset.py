"""Training datasets: the labels of a model with the features known at each of them, stored with their record."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from feature_store.errors import InputError
from feature_store.offline.catalog import open_catalog
from feature_store.pit.join import join_view
from feature_store.pit.labels import read_labels
from feature_store.pit.on_demand import with_on_demand
from feature_store.pit.planning import GroupPlan, current_snapshot_id, open_table, plan_group
from feature_store.pit.semantics import LABEL_TIMESTAMP, KnownBy
from feature_store.pit.tags import tag_of, tagged
from feature_store.plan.schema import ViewSchema
from feature_store.settings import JOIN_ROWS, Settings

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from feature_store.pit.labels import LabelSource

ENGINE = "native"
RECORD = "dataset.json"

_ROWS_PER_FILE = 500_000
_ROWS_PER_ROW_GROUP = 125_000


@dataclass(frozen=True)
class TrainingDataset:
    """A stored training dataset: label rows in their order with all their columns, then the features of the view, then
    its on-demand features.

    Attributes:
        path: the folder of its Parquet files, whose names sort in the order of the rows, and of its record.
        snapshots: the snapshot of each group's table that was read, by group id; None: nothing was written to it yet.
            They are tagged, and kept as long as the tag is.
        labels_hash: hash of the label rows.
        engine: what ran the join.
        seconds: how long it took, from reading the labels to the stored result.
        null_rates: by feature, the share of labels that found no value, or NULL; they hold the default if there is one.
            Of an on-demand feature, the share for which it gave NULL.
        masked: the features that whoever made it must not see: they are NULL on all rows.
    """

    name: str
    id: str
    path: Path
    view: ViewSchema
    row_count: int
    snapshots: dict[str, int | None]
    labels_hash: str
    engine: str
    known_by: KnownBy
    seconds: float
    null_rates: dict[str, float]
    created: datetime
    masked: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """The tag of the snapshots that it read, in each group's table."""
        return tag_of(self.name, self.id)

    @cached_property
    def table(self) -> pa.Table:
        """All rows, read when first asked for."""
        return pa.concat_tables(pq.ParquetFile(path).read() for path in sorted(self.path.glob("*.parquet")))

    def to_arrow(self) -> pa.Table:
        return self.table

    def to_polars(self) -> pl.DataFrame:
        import polars as pl

        frame = pl.from_arrow(self.table)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def to_pandas(self) -> pd.DataFrame:
        return self.table.to_pandas()


def build_training_dataset(
    settings: Settings,
    view: ViewSchema,
    labels: LabelSource,
    *,
    name: str,
    known_by: KnownBy = None,
    snapshots: Mapping[str, int | None] | None = None,
    masked: Set[str] = frozenset(),
) -> TrainingDataset:
    """Joins label rows with the features of a view as of each label, and stores the result with its record.

    Args:
        labels: the view's key columns, its request values, `label_timestamp` with a time zone, and any other columns.
        name: what the dataset is for; its files lie under `<home>/training/<name>/<id>/`.
        known_by: "label" hides rows that were written after the label, late and recomputed ones included.
        snapshots: by group id, the table snapshots to read, as an earlier dataset's record has them; a group that is
            not named is read as it is now. The same labels and view give the same rows, whatever was written since.
        masked: the features that are NULL on all rows, because the reader must not see them (`registry.access`).

    Raises:
        InputError: if the labels, the name or the snapshots do not fit, or the function of an on-demand feature fails.
        NotFoundError: if a group was never materialized, or a snapshot is gone.
        ConflictError: if a table does not fit its group's definition.
    """
    with closing(open_catalog(settings)) as catalog:
        return build_in(
            catalog,
            settings.home / "training",
            view,
            labels,
            name=name,
            known_by=known_by,
            snapshots=snapshots,
            masked=masked,
            rows_at_once=settings.join_rows,
        )


def build_in(
    catalog: Catalog,
    folder: Path,
    view: ViewSchema,
    labels: LabelSource,
    *,
    name: str,
    known_by: KnownBy = None,
    snapshots: Mapping[str, int | None] | None = None,
    masked: Set[str] = frozenset(),
    rows_at_once: int = JOIN_ROWS,
) -> TrainingDataset:
    """`build_training_dataset` from the tables of any Iceberg catalog into `<folder>/<name>/<id>/`.

    Args:
        rows_at_once: how many rows of the groups' tables may be in memory.
    """
    started, created = time.perf_counter(), datetime.now(UTC)
    _check(view, name, known_by, snapshots or {})
    rows = read_labels(labels, view)
    tables = {viewed.group.id: open_table(catalog, viewed.group) for viewed in view.groups}
    plans = _plans(tables, view, rows.table, snapshots or {})
    dataset_id = f"{created:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    path = folder / name / dataset_id
    with tagged(tables, plans, tag_of(name, dataset_id)), _appearing(path) as unfinished:
        joined = with_on_demand(view, rows.table, join_view(rows.table, view, plans, known_by, rows_at_once))
        joined = joined.without(masked)
        _write_rows(unfinished, rows.table, joined.features)
        dataset = TrainingDataset(
            name=name,
            id=dataset_id,
            path=path,
            view=view,
            row_count=rows.table.num_rows,
            snapshots={plan.group.id: plan.snapshot_id for plan in plans},
            labels_hash=rows.hash,
            engine=ENGINE,
            known_by=known_by,
            seconds=round(time.perf_counter() - started, 3),
            null_rates={feature: missing / max(rows.table.num_rows, 1) for feature, missing in joined.missing.items()},
            created=created,
            masked=tuple(column.name for column in view.outputs if column.name in masked),
        )
        _write_record(unfinished, dataset)
    return dataset


def _check(view: ViewSchema, name: str, known_by: object, snapshots: Mapping[str, int | None]) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise InputError(
            f"{name!r} cannot name a training dataset",
            where="name",
            remedy="use letters, digits, '_', '-' and '.'",
            code="dataset-name",
        )
    if known_by not in (None, "label"):
        raise InputError(
            f"{known_by!r} is not a cut-off", where="known_by", remedy="leave it out, or give 'label'", code="known-by"
        )
    groups = dict.fromkeys(viewed.group.id for viewed in view.groups)
    unknown = sorted(set(snapshots) - set(groups))
    if unknown:
        raise InputError(
            f"view {view.id} has no group {', '.join(unknown)}",
            where="snapshots",
            remedy=f"its groups are {', '.join(groups)}",
            code="snapshot-group",
        )


def _plans(
    tables: Mapping[str, Table], view: ViewSchema, labels: pa.Table, snapshots: Mapping[str, int | None]
) -> list[GroupPlan]:
    times = pc.min_max(labels[LABEL_TIMESTAMP].cast(pa.int64()))
    label_times = (times["min"].as_py(), times["max"].as_py()) if labels.num_rows else None
    plans = []
    for viewed in view.groups:
        group, table = viewed.group, tables[viewed.group.id]
        snapshot_id = snapshots[group.id] if group.id in snapshots else current_snapshot_id(table)
        plans.append(plan_group(table, viewed, snapshot_id, label_times))
    return plans


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A folder to write to that gets its name when all is written, so that no half-written dataset is ever seen."""
    folder = path.with_name(f".{path.name}")
    folder.mkdir(parents=True)
    try:
        yield folder
        folder.rename(path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write_rows(folder: Path, labels: pa.Table, features: pa.Table) -> None:
    """Files of equal length, several at a time; even no rows at all make one file, with typed columns."""
    table = labels
    for name, column in zip(features.column_names, features.columns, strict=True):
        table = table.append_column(name, column)
    text = [field.name for field in table.schema if pa.types.is_string(field.type)]

    def write(start: int) -> None:
        pq.write_table(
            table.slice(start, _ROWS_PER_FILE),
            folder / f"part-{start // _ROWS_PER_FILE:05}.parquet",
            row_group_size=_ROWS_PER_ROW_GROUP,
            compression="snappy",
            use_dictionary=text,  # numbers rarely repeat: trying to find out that they do not takes half of the time
        )

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, range(0, max(table.num_rows, 1), _ROWS_PER_FILE)))


def _write_record(folder: Path, dataset: TrainingDataset) -> None:
    record = {
        "name": dataset.name,
        "id": dataset.id,
        "view": dataset.view.id,
        "snapshots": dataset.snapshots,
        "labels_hash": dataset.labels_hash,
        "engine": dataset.engine,
        "known_by": dataset.known_by,
        "rows": dataset.row_count,
        "null_rates": dataset.null_rates,
        "masked": [*dataset.masked],
        "seconds": dataset.seconds,
        "created": dataset.created.isoformat(),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
