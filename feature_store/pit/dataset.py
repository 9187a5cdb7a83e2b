"""Training datasets: the labels of a model with the features known at each of them, stored with their record."""

from __future__ import annotations

import json
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog

from feature_store.errors import InputError
from feature_store.offline.catalog import open_catalog
from feature_store.pit.budget import JoinBudget
from feature_store.pit.explanation import ENGINE, JoinExplanation, explain
from feature_store.pit.gathering import first_and_last, gather_labels
from feature_store.pit.label_sources import LabelQuery, LabelSource, LabelTable
from feature_store.pit.labels import open_labels
from feature_store.pit.pieces import join_pieces
from feature_store.pit.planning import current_snapshot_id, open_table, plan_group
from feature_store.pit.scratch import Scratch
from feature_store.pit.semantics import KnownBy
from feature_store.pit.tags import tag_of, tagged
from feature_store.pit.time_range import TimeRange, labels_in
from feature_store.pit.writing import write_rows
from feature_store.plan.schema import ViewSchema
from feature_store.settings import JOIN_MEMORY, Settings

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


RECORD = "dataset.json"

Explained: TypeAlias = Callable[[JoinExplanation], None]


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
        explanation: what was read and how it was joined.
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
    explanation: JoinExplanation
    masked: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was odd about the labels: how many lie before the rows of a group, or in the future."""
        return self.explanation.warnings

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
    labels: LabelSource | LabelTable | LabelQuery | TimeRange,
    *,
    name: str,
    known_by: KnownBy = None,
    snapshots: Mapping[str, int | None] | None = None,
    masked: Set[str] = frozenset(),
    explained: Explained = lambda _: None,
) -> TrainingDataset:
    """Joins label rows with the features of a view as of each label, and stores the result with its record.

    Args:
        labels: the view's key columns, its request values, `label_timestamp` with a time zone, and any other columns;
            or the query or the span that gives them.
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
            memory=settings.join_memory,
            postgres=settings.pg_url,
            explained=explained,
        )


def build_in(
    catalog: Catalog,
    folder: Path,
    view: ViewSchema,
    labels: LabelSource | LabelTable | LabelQuery | TimeRange,
    *,
    name: str,
    known_by: KnownBy = None,
    snapshots: Mapping[str, int | None] | None = None,
    masked: Set[str] = frozenset(),
    memory: int = JOIN_MEMORY,
    postgres: str = "",
    explained: Explained = lambda _: None,
) -> TrainingDataset:
    """`build_training_dataset` from the tables of any Iceberg catalog into `<folder>/<name>/<id>/`.

    Args:
        memory: how many bytes may be in memory, beside what the caller has there.
        postgres: the server that has the tables of labels that name none.
        explained: is told what will be done, when that is known.
    """
    started, created = time.perf_counter(), datetime.now(UTC)
    _check(view, name, known_by, snapshots or {})
    dataset_id = f"{created:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    path = folder / name / dataset_id
    with Scratch(folder / ".scratch") as scratch:
        if isinstance(labels, LabelTable | LabelQuery):
            labels = _run(labels, view, catalog, scratch, postgres, memory)
        stream = None if isinstance(labels, TimeRange) else open_labels(labels, view, catalog)
        tables = {viewed.group.id: open_table(catalog, viewed.group) for viewed in view.groups}
        pinned = {group: current_snapshot_id(table) for group, table in tables.items()} | dict(snapshots or {})
        if isinstance(labels, TimeRange):
            stream = open_labels(labels_in(labels, view, tables, pinned), view)
        assert stream is not None
        rows, budget = gather_labels(stream, partial(JoinBudget.of, memory, view), scratch)
        times = first_and_last(rows)
        plans = [plan_group(tables[v.group.id], v, pinned[v.group.id], times) for v in view.groups]
        explanation = explain(rows, view, plans, budget, times, created)
        explained(explanation)
        with tagged(tables, plans, tag_of(name, dataset_id)), _appearing(path) as unfinished:
            pieces = join_pieces(rows, view, plans, known_by, budget, masked)
            missing = write_rows(unfinished, pieces, budget.workers)
            dataset = TrainingDataset(
                name=name,
                id=dataset_id,
                path=path,
                view=view,
                row_count=rows.row_count,
                snapshots={plan.group.id: plan.snapshot_id for plan in plans},
                labels_hash=rows.hash,
                engine=ENGINE,
                known_by=known_by,
                seconds=round(time.perf_counter() - started, 3),
                null_rates={
                    c.name: 1.0 if c.name in masked else missing[c.name] / rows.row_count for c in view.outputs
                },
                created=created,
                explanation=explanation,
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


def _run(
    labels: LabelTable | LabelQuery, view: ViewSchema, catalog: Catalog, scratch: Scratch, postgres: str, memory: int
) -> LabelSource:
    """The rows of a table of PostgreSQL or of a query."""
    from feature_store.pit.label_postgres import without_postgres
    from feature_store.pit.label_query import run_query  # DuckDB takes a while to import

    copied = without_postgres(labels, postgres, scratch)
    return run_query(copied, view, catalog, scratch, memory // 4) if isinstance(copied, LabelQuery) else copied


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
        "warnings": list(dataset.warnings),
        "spilled": dataset.explanation.spilled,
        "seconds": dataset.seconds,
        "created": dataset.created.isoformat(),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
