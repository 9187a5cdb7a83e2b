"""Training datasets: the labels of a model with the features known at each of them, stored with their record."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
from pyiceberg.catalog import Catalog

from feature_store.datasets.code_version import code_version
from feature_store.datasets.dataset import StoredDataset
from feature_store.datasets.manifest import MANIFEST, DatasetColumn, Manifest
from feature_store.datasets.storage import Folder, appearing
from feature_store.datasets.windows import longest_window
from feature_store.dsl.packages import DEFINITION_PACKAGES
from feature_store.dsl.view import FeatureView
from feature_store.errors import InputError
from feature_store.offline.catalog import open_catalog
from feature_store.pit.budget import JoinBudget
from feature_store.pit.explanation import ENGINE, JoinExplanation, explain
from feature_store.pit.gathering import first_and_last, gather_labels
from feature_store.pit.label_sources import LabelQuery, LabelSource, LabelTable
from feature_store.pit.labels import open_labels
from feature_store.pit.pieces import join_pieces
from feature_store.pit.planning import current_snapshot_id, open_table, plan_group
from feature_store.pit.repeating import check_labels, repeat
from feature_store.pit.scratch import Scratch
from feature_store.pit.semantics import KnownBy
from feature_store.pit.tags import tag_of, tagged
from feature_store.pit.time_range import TimeRange, labels_in
from feature_store.pit.writing import write_rows
from feature_store.plan.schema import ViewSchema
from feature_store.settings import JOIN_MEMORY, Settings

Explained: TypeAlias = Callable[[JoinExplanation], None]
Labels: TypeAlias = "LabelSource | LabelTable | LabelQuery | TimeRange"


@dataclass(frozen=True)
class TrainingDataset(StoredDataset):
    """A training dataset that was just made.

    Attributes:
        view: what its features are.
        explanation: what was read and how it was joined.
    """

    view: ViewSchema = field(kw_only=True)
    explanation: JoinExplanation = field(kw_only=True)


def build_training_dataset(
    settings: Settings,
    view: ViewSchema,
    labels: Labels | None,
    *,
    name: str,
    known_by: KnownBy = None,
    snapshots: Mapping[str, int | None] | None = None,
    masked: Set[str] = frozenset(),
    explained: Explained = lambda _: None,
    definitions: Sequence[FeatureView] = (),
    requested_by: str = "",
    like: StoredDataset | None = None,
) -> TrainingDataset:
    """Joins label rows with the features of a view as of each label, and stores the result with its record.

    Args:
        labels: the view's key columns, its request values, `label_timestamp` with a time zone, and any other columns;
            or the query or the span that gives them. None: those of the dataset `like`.
        name: what the dataset is for; its files lie under `<warehouse>/training/<name>/<id>/`.
        known_by: "label" hides rows that were written after the label, late and recomputed ones included.
        snapshots: by group id, the table snapshots to read, as an earlier dataset's record has them; a group that is
            not named is read as it is now. The same labels and view give the same rows, whatever was written since.
        masked: the features that are NULL on all rows, because the reader must not see them (`registry.access`).
        definitions: that of the view, for the manifest.
        requested_by: who asks, for the manifest.
        like: a dataset to make again: its view as it was defined then, its snapshots, and its labels, which may be
            given from elsewhere. The rows are the same ones, whatever happened to the groups since.

    Raises:
        InputError: if the labels, the name or the snapshots do not fit, or the function of an on-demand feature fails.
        NotFoundError: if a group was never materialized, or a snapshot is gone.
        ConflictError: if a table does not fit its group's definition, or the labels are not those of `like`.
        StackError: if the warehouse cannot be written to.
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
            datasets=datasets_folder(settings),
            definitions=definitions,
            requested_by=requested_by,
            like=like,
            packages=settings.definition_packages,
        )


def datasets_folder(settings: Settings) -> Folder:
    """Where the warehouse has training datasets, as `<name>/<id>/`."""
    return Folder.of(settings.warehouse, settings.object_storage).inside("training")


def build_in(
    catalog: Catalog,
    folder: Path,
    view: ViewSchema,
    labels: Labels | None,
    *,
    name: str,
    known_by: KnownBy = None,
    snapshots: Mapping[str, int | None] | None = None,
    masked: Set[str] = frozenset(),
    memory: int = JOIN_MEMORY,
    postgres: str = "",
    explained: Explained = lambda _: None,
    datasets: Folder | None = None,
    definitions: Sequence[FeatureView] = (),
    requested_by: str = "",
    like: StoredDataset | None = None,
    packages: Collection[str] = DEFINITION_PACKAGES,
) -> TrainingDataset:
    """`build_training_dataset` from the tables of any Iceberg catalog.

    Args:
        folder: on this machine, for scratch files.
        memory: how many bytes may be in memory, beside what the caller has there.
        postgres: the server that has the tables of labels that name none.
        explained: is told what will be done, when that is known.
        datasets: gets the dataset, as `<name>/<id>/`; the folder of scratch files unless given.
        packages: those that functions of on-demand features may be imported from.
    """
    started, created = time.perf_counter(), datetime.now(UTC)
    if like is not None:
        again = repeat(like, view, labels, known_by, snapshots, packages)
        view, labels, snapshots, known_by = again.view, again.labels, again.snapshots, again.known_by
        masked = {*masked, *like.masked}
    check_options(view, name, known_by, snapshots or {})
    dataset_id = f"{created:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    place = (datasets or Folder.of(folder)).inside(name, dataset_id)
    with Scratch(folder / ".scratch") as scratch:
        if isinstance(labels, LabelTable | LabelQuery):
            labels = _run(labels, view, catalog, scratch, postgres, memory)
        stream = None if labels is None or isinstance(labels, TimeRange) else open_labels(labels, view, catalog)
        tables = {viewed.group.id: open_table(catalog, viewed.group) for viewed in view.groups}
        pinned = {group: current_snapshot_id(table) for group, table in tables.items()} | dict(snapshots or {})
        if isinstance(labels, TimeRange):
            stream = open_labels(labels_in(labels, view, tables, pinned), view)
        assert stream is not None
        rows, budget = gather_labels(stream, partial(JoinBudget.of, memory, view), scratch)
        labels_hash = rows.hash
        if like is not None:
            check_labels(like, labels_hash)
        times = first_and_last(rows)
        plans = [plan_group(tables[v.group.id], v, pinned[v.group.id], times) for v in view.groups]
        explanation = explain(rows, view, plans, budget, times, created)
        explained(explanation)
        tag = tag_of(name, dataset_id)
        with tagged(tables, plans, tag), appearing(place) as unfinished:
            pieces = join_pieces(rows, view, plans, known_by, budget, masked)
            written = write_rows(unfinished, pieces, budget.workers, [column.name for column in view.outputs])
            manifest = Manifest(
                name=name,
                id=dataset_id,
                view=view.id,
                definitions=like.manifest.definitions if like else tuple(each.to_json() for each in definitions),
                columns=_columns(stream.schema, view),
                snapshots={plan.group.id: plan.snapshot_id for plan in plans},
                tag=tag,
                labels_hash=labels_hash,
                known_by=known_by,
                engine=ENGINE,
                rows=rows.row_count,
                files=written.files,
                null_rates={
                    c.name: 1.0 if c.name in masked else written.missing[c.name] / rows.row_count for c in view.outputs
                },
                statistics=written.features.statistics(),
                masked=tuple(column.name for column in view.outputs if column.name in masked),
                warnings=explanation.warnings,
                longest_window=like.manifest.longest_window if like else longest_window(definitions),
                requested_by=requested_by,
                code_version=code_version(),
                spilled=explanation.spilled,
                seconds=round(time.perf_counter() - started, 3),
                created=created,
            )
            unfinished.write(MANIFEST, manifest.to_json())
    return TrainingDataset(manifest, place, view=view, explanation=explanation)


def check_options(view: ViewSchema, name: str, known_by: object, snapshots: Mapping[str, int | None]) -> None:
    """Whether a dataset can be asked for like this.

    Raises:
        InputError: if it cannot have the name, there is no such cut-off, or the view has no such group.
    """
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


def _columns(labels: pa.Schema, view: ViewSchema) -> tuple[DatasetColumn, ...]:
    return (
        *(DatasetColumn(column.name, str(column.type), "label") for column in labels),
        *(DatasetColumn(column.name, str(column.dtype), "feature") for column in view.features),
        *(DatasetColumn(column.name, str(column.dtype), "on_demand") for column in view.on_demand),
    )
