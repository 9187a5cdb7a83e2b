"""The feature store as a program uses it: apply definitions, read online, make training datasets."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from feature_store.dsl.collect import Project, load_project
from feature_store.dsl.view import FeatureView
from feature_store.errors import InputError
from feature_store.plan.build import build_plan, view_schema
from feature_store.plan.online_stores import check_online_stores
from feature_store.plan.project import compile_project
from feature_store.plan.schema import GroupSchema, ViewSchema
from feature_store.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog.sql import SqlCatalog

    from feature_store.datasets.dataset import StoredDataset
    from feature_store.online.materialize import MaterializeReport
    from feature_store.online.reader import OnlineReader
    from feature_store.online.vectors import OnlineVectors
    from feature_store.pit.label_sources import LabelQuery, LabelSource, LabelTable
    from feature_store.pit.semantics import KnownBy
    from feature_store.registry.access.decision import Guarded
    from feature_store.registry.access.reader import LocalReader
    from feature_store.registry.changes import RegistryPlan
    from feature_store.registry.model_reads import ModelReads
    from feature_store.registry.model_records import ModelRecord
    from feature_store.registry.records import AppliedPlan, Kind, TrainingRecord
    from feature_store.registry.store import Registry
    from feature_store.skew.replay import ReplayReport
    from feature_store.skew.report import SkewReport
    from feature_store.skew.served_table import ServedTable
    from feature_store.training_jobs.job import TrainingJob
    from feature_store.training_jobs.request import Engine
    from feature_store.training_jobs.service import TrainingService
    from feature_store.training_jobs.worker import TrainingWorker


class FeatureStore:
    """One object for all of it; make it once and keep it.

    Args:
        settings: where the services are; from the environment and the running stack unless given.
        token: who reads: its grants decide what may be read and which columns are masked, as on a server; FS_TOKEN
            unless given. Without one everything may be read: whoever has the passwords of the services needs no leave.

    Example:
        >>> store = FeatureStore()
        >>> store.online("ranking@1", [{"user_id": "00042", "product_id": "p0007"}]).to_dicts()
    """

    def __init__(self, settings: Settings | None = None, token: str | None = None) -> None:
        self.settings = settings or Settings.load()
        self._token = os.environ.get("FS_TOKEN", "") if token is None else token
        self._views: dict[str, ViewSchema] = {}
        self._guarded: dict[str, Guarded] = {}
        self._packages = set(self.settings.definition_packages)

    def plan(self, definitions: Project | ModuleType | str = "feature_defs") -> RegistryPlan:
        """What `apply` would change. Groups that were posted to the server belong to every project.

        Raises:
            DefinitionErrors: if a definition is wrong.
        """
        project = definitions if isinstance(definitions, Project) else load_project(definitions)
        self._packages.update(project.packages)
        from feature_store.compile.query_binding import check_queries  # DuckDB takes a while to import
        from feature_store.registry.posted import with_posted

        compiled = compile_project(with_posted(project, self.registry.posted()))
        check_queries(compiled.groups.values())
        check_online_stores(compiled.project.groups, self.settings.online_stores)
        return self.registry.plan(compiled)

    def apply(
        self, definitions: Project | ModuleType | str = "feature_defs", *, by: str = "client"
    ) -> AppliedPlan | None:
        """Records the definitions, all or none; None if nothing changed.

        Raises:
            DefinitionErrors: if a definition is wrong.
            ConflictError: if a change would alter what is recorded under a name and version, or a new view reads what
                is deprecated.
        """
        applied = self.registry.apply(self.plan(definitions), by)
        self._views.clear()
        self._guarded.clear()
        return applied

    def view(self, view_id: str) -> ViewSchema:
        """The recorded view "name@version", as readers see it; remembered by this object until it applies a change.

        Raises:
            NotFoundError: if it is not recorded.
            ConflictError: if it is retired.
        """
        if view_id not in self._views:
            self._views[view_id] = view_schema(self._recorded_view(view_id), sorted(self._packages))
        return self._views[view_id]

    def online(
        self,
        view_id: str = "",
        rows: Sequence[Mapping[str, Any]] = (),
        now: datetime | None = None,
        *,
        model: str = "",
        request: Mapping[str, Any] | None = None,
        features: Sequence[str] | None = None,
    ) -> OnlineVectors:
        """The current vectors of a view for some entities, in one round trip to Redis.

        `FeatureStoreClient.online` gives the same over HTTP.

        Args:
            view_id: "name@version".
            rows: one mapping of key columns to values for each vector wanted; it may have request values of its own.
            now: the instant by which rows expire, and the request_time of on-demand features; the clock's unless given.
            model: in place of a view: a registered model, "ranker@3", or "ranker": its latest version, as of some
                seconds ago at most. Its features are those that it is registered with, in its order.
            request: the view's request values, for all rows.
            features: the names of those that are wanted; all unless given.

        Raises:
            NotFoundError: if the view or the model is not recorded.
            ConflictError: if it is retired.
            InputError: if a key column or a request value is missing or of the wrong type, if the function of an
                on-demand feature fails, or if the view has no feature of a name.
            TokenError, AccessError: if the token is not good; if its bearer may not read this. Features that it must
                not see are None and named in `masked`.
        """
        from feature_store.online.masking import without

        read = self._models.read_by(model, view_id) if model or not view_id else None
        view_id = view_id if read is None else read.view
        view = self.view(view_id)
        masked = self._reads.masked(self._guarded[view_id])
        vectors = self._reader.read(view, rows, now, request=request)
        vectors = vectors if read is None else vectors.of_model(read.feature_names)
        return without(vectors if features is None else vectors.select(features), masked)

    def training_dataset(
        self,
        view_id: str,
        labels: LabelSource | LabelTable | LabelQuery | None = None,
        *,
        name: str,
        time_range: tuple[datetime, datetime] | None = None,
        model: str = "",
        known_by: KnownBy = None,
        snapshots: Mapping[str, int | None] | None = None,
        like: StoredDataset | Path | str | None = None,
        engine: Engine = "local",
        kind: Kind = "view",
        fresh: bool = False,
    ) -> TrainingJob:
        """Starts to join the features of a view to labels, each as of its `label_timestamp`.

        What the view, the labels and the tables are at this moment makes the job: the same asked for again is the same
        job, which has its dataset already or will have it.

        Args:
            view_id: "name@version".
            labels: a DataFrame (polars, pandas, Spark), Arrow table or list of dicts, the path or glob of Parquet or
                CSV files (`LabelFiles` gives types to columns of CSV), an Iceberg table as "namespace.table", a
                `LabelTable` of PostgreSQL, or a `LabelQuery` over these; with the view's key columns, its request
                values, `label_timestamp` and any others. Files and tables are read piece by piece.
            name: what to call the dataset.
            time_range: in place of labels, (start, end): a label for each entity and instant from start on, before end,
                at which a row of the view's groups becomes available.
            model: what is trained on it; recorded with the dataset, and as a user of the view.
            known_by: "label" to see only rows that had been written by the time of the label.
            snapshots: table snapshots by group id, from an earlier dataset's manifest.
            like: a dataset to make again, or the path or URL of its folder or manifest: the same rows, by its
                definitions and its snapshots, whatever was written, compacted, expired or added since. Its labels are
                read from it, unless they are given.
            engine: "local": a thread of this process makes it. "dagster": a run of Dagster does, which goes on when
                this process ends.
            kind: "group" if `view_id` is that of a group, which is joined by itself.
            fresh: whether it is made even if there is one already.

        Raises:
            InputError: if there are both labels and a time range, or none of them without `like`; if the labels do not
                fit.
            NotFoundError: if the view is not recorded; if a group was never materialized, or a snapshot is gone.
            ConflictError: if the view or a group it reads is deprecated, unless `model` is recorded as a user of the
                view; it goes on with a warning. If one of them is retired. If the labels are not those of `like`.
            TokenError, AccessError: if the token is not good; if its bearer may not read this. Features that it must
                not see are NULL and named in `masked`, of the dataset and of its record.
        """
        from feature_store.pit.time_range import TimeRange
        from feature_store.registry.access.reader import current_user
        from feature_store.training_jobs.job import job_of
        from feature_store.training_jobs.labels import reference_of
        from feature_store.training_jobs.request import Asker
        from feature_store.training_jobs.service import Asked
        from feature_store.training_jobs.target import load_target

        if (labels is None) == (time_range is None) if like is None else time_range is not None:
            raise InputError(
                "a training dataset has either labels or a time range, or the labels of the dataset that it is like",
                where="labels, time_range",
                remedy="give one of them",
                code="time-range",
            )
        source = TimeRange(*time_range) if time_range is not None else labels
        before = self.load_dataset(like) if isinstance(like, Path | str) else like
        target = load_target(self.registry, kind, view_id, sorted(self._packages))
        if kind == "view" and engine == "local":
            target = replace(target, view=self.view(view_id))
        token, masked = self._reads.caller(), self._reads.masked(target.guarded, at_once=True)
        labels_asked = None if source is None else reference_of(source) or source
        asked = Asked(labels_asked, name, model, known_by, snapshots or {}, fresh, before)
        submitted = self._training.submit(
            target,
            asked,
            engine,
            masked=masked,
            asked_by=current_user() if token is None else f"{token.principal} (token {token.name})",
            token=None if token is None else Asker(token.id, token.name),
        )
        return job_of(self._training, self._worker, submitted, target.view)

    def training_job(self, job_id: str) -> TrainingJob:
        """A training job that somebody asked for, by its id.

        Raises:
            NotFoundError: if there is none of this id.
            TokenError, AccessError: if the token is not good; if its bearer may not read the view.
        """
        from feature_store.training_jobs.job import TrainingJob
        from feature_store.training_jobs.target import load_target

        job = self._training.jobs.get(job_id)
        target = load_target(self.registry, job.kind, job.view, sorted(self._packages))
        self._reads.masked(target.guarded, at_once=True)
        return TrainingJob(self._training, job, target.view, None)

    def load_dataset(self, place: Path | str) -> StoredDataset:
        """A training dataset that was made before, opened by its manifest; the registry is not asked.

        `feature_store.datasets.dataset.load_dataset` does the same where there is no feature store.

        Args:
            place: the path or URL of its folder, or of its manifest.

        Raises:
            NotFoundError: if there is none.
            InputError: if the manifest cannot be read.
            StackError: if the bucket that it is in does not answer.
        """
        from feature_store.datasets.dataset import load_dataset

        return load_dataset(place, self.settings.object_storage)

    def register_model(
        self,
        name: str,
        version: int,
        dataset: StoredDataset | TrainingRecord | str,
        *,
        features: Sequence[str] | None = None,
        owner: str = "",
        uri: str = "",
        by: str = "client",
    ) -> ModelRecord:
        """Records which view version and which features a version of a model reads; it is served by its name then.

        Nothing happens if the same is recorded already. Grants are those of the view.

        Args:
            dataset: what it was trained on, or its record, or the id of its view, "ranking@1".
            features: the names of those that it takes, in its order; all of the dataset or the view unless given.
            owner: "team:x"; that of the view unless given.
            uri: where the model itself lies.

        Raises:
            NotFoundError, InputError, ConflictError: as `RegisteredModels.register`.
        """
        return self._models.register(name, version, dataset, features, owner, uri, by)

    def models(self) -> tuple[ModelRecord, ...]:
        """All versions of all registered models, by name and version."""
        return self._models.registered.all()

    def model(self, name: str, version: int | None = None) -> ModelRecord:
        """A version of a registered model, the latest unless given; raises as `RegisteredModels.get`."""
        return self._models.registered.get(name, version)

    def read_group(self, group_id: str, *, snapshot: int | str | None = None) -> pa.Table:
        """The rows that stand in a group's offline table: as it is now, or as it was.

        Of an entity and feature_timestamp that is the row that was created last, unless it takes the others back.

        They are its history: a corrected row is there in each version, and a row that is `retracted` takes back the
        rows of its entity and feature_timestamp with an older created_timestamp.

        Args:
            group_id: "name@version".
            snapshot: the id of a snapshot (a dataset's `snapshots` has some), or the name of a tag (a dataset's `tag`)
                or of a branch (where a failed check has left its rows).

        Raises:
            NotFoundError: if the group is not recorded or was never computed, or if there is no such snapshot.
            TokenError, AccessError: if the token is not good; if its bearer may not read this. Columns that it must
                not see are NULL.
        """
        from feature_store.offline.masking import with_nulls
        from feature_store.offline.refs import snapshot_of
        from feature_store.offline.standing import standing_rows
        from feature_store.pit.planning import open_table
        from feature_store.registry.access.decision import guarded_group

        record = self.registry.group(group_id)
        masked = self._reads.masked(guarded_group(record), at_once=True)
        entity = next(entity for entity in self.registry.state().entities if entity.name == record.entity)
        table = open_table(self.catalog, build_plan(record.group(entity)).schema)
        found = snapshot_of(table, snapshot, f"group {group_id}")
        rows = standing_rows(table.scan(snapshot_id=None if found is None else found.snapshot_id).to_arrow())
        return with_nulls(rows, masked)

    def replay(self, view_id: str) -> ReplayReport:
        """Joins the reads that servers have answered again, each as of its own time, and compares value by value.

        Servers keep a sample of what they answer of each view; this takes the newest 10,000 rows of it.

        Raises:
            NotFoundError: if the view is not recorded, or a group was never materialized.
            TokenError, AccessError: if the token is not good; if its bearer may not read this. Features that it must
                not see are left out.
        """
        from feature_store.skew.replay import replay

        view = self.view(view_id)
        masked = self._reads.masked(self._guarded[view_id], at_once=True)
        return replay(self.catalog, view, self._served(view)).without(masked)

    def skew(
        self, view_id: str, *, dataset: str | Path | None = None, days: int = 30, keep: bool = False
    ) -> SkewReport:
        """Whether a view serves what models are trained on: distributions side by side, and the replay.

        Args:
            view_id: "name@version".
            dataset: the folder of a training dataset to compare with; rows of the offline store of the last `days`
                unless given.
            keep: whether the registry keeps the report, for the server's `GET /feature-views/{id}/skew-report`.

        Raises:
            NotFoundError: if the view is not recorded, a group was never materialized, or the folder has no rows.
            InputError: if the dataset lacks a feature of the view.
            TokenError, AccessError: as `replay`.
        """
        from feature_store.registry.skew_reports import SkewReports
        from feature_store.skew.baseline import dataset_baseline, offline_baseline
        from feature_store.skew.document import report_document
        from feature_store.skew.replay import replay
        from feature_store.skew.report import skew_report

        view, now = self.view(view_id), datetime.now(UTC)
        masked = self._reads.masked(self._guarded[view_id], at_once=True)
        served = self._served(view)
        baseline = (
            offline_baseline(self.catalog, view, now, days)
            if dataset is None
            else dataset_baseline(view, Path(dataset))
        )
        report = skew_report(view, served, baseline, replay(self.catalog, view, served), now)
        if keep:
            SkewReports(self.registry.engine).keep(view_id, now, report_document(report))
        return report.without(masked)

    def _served(self, view: ViewSchema) -> ServedTable:
        from feature_store.online.connection import connect
        from feature_store.online.samples import read_samples
        from feature_store.skew.served_table import served_table

        with connect(self.settings.redis_url) as redis:
            return served_table(view, read_samples(redis, "view", view.id))

    def materialize_online(self, group: GroupSchema, *, full: bool = False) -> MaterializeReport:
        """Brings the newest rows of a group's offline table to Redis; only what changed, unless `full`.

        Vectors of pre-joined views that read the group are filled first if Redis does not keep them yet, and made anew
        after a run over the whole table: the group's keys may have been removed by hand before it.
        """
        from feature_store.online.connection import connect
        from feature_store.online.materialize import materialize
        from feature_store.registry.recorded_vectors import keep_recorded_sets

        with connect(self.settings.online_store_url(group.online_store)) as redis:
            keep_recorded_sets(self.registry, redis, [group.id])
            report = materialize(self.catalog, redis, group, full=full, rows_at_once=self.settings.materialize_rows)
            if report.full:
                keep_recorded_sets(self.registry, redis, [group.id], again=True)
            return report

    @cached_property
    def registry(self) -> Registry:
        """The registry, with the tables of this version."""
        from feature_store.registry.store import Registry

        registry = Registry(self.settings.database_url("registry"))
        registry.upgrade()
        return registry

    @cached_property
    def catalog(self) -> SqlCatalog:
        """The Iceberg catalog."""
        from feature_store.offline.catalog import open_catalog

        return open_catalog(self.settings)

    @property
    def _training(self) -> TrainingService:
        from feature_store.training_jobs.service import TrainingService

        return TrainingService(self._training_settings, self.registry)

    @property
    def _worker(self) -> TrainingWorker:
        from feature_store.training_jobs.worker import TrainingWorker

        return TrainingWorker(self._training_settings, self.registry)

    @property
    def _training_settings(self) -> Settings:
        """The settings with the packages of the definitions that this object has applied."""
        return replace(self.settings, definition_packages=tuple(sorted(self._packages)))

    @cached_property
    def _reads(self) -> LocalReader:
        from feature_store.registry.access.reader import LocalReader
        from feature_store.registry.access.store import AccessControl

        return LocalReader(AccessControl(self.registry.engine), self._token)

    @cached_property
    def _models(self) -> ModelReads:
        from feature_store.registry.model_reads import ModelReads

        return ModelReads(self.registry)

    @cached_property
    def _reader(self) -> OnlineReader:
        from feature_store.online.connection import OnlineClients
        from feature_store.online.reader import OnlineReader

        return OnlineReader(OnlineClients(self.settings.online_store_url))

    def _recorded_view(self, view_id: str) -> FeatureView:
        """The definition of a view, put together from the records of the view, its groups and their entities."""
        from feature_store.registry.access.decision import guarded_view
        from feature_store.registry.lifecycle import retired_error
        from feature_store.registry.tables import Status

        record, members = self.registry.readable(view_id)
        self._guarded[view_id] = guarded_view(record, members)
        if record.status is Status.RETIRED:
            raise retired_error(record)
        entities = {entity.name: entity for entity in self.registry.entities()}
        return record.view({member.id: member.group(entities[member.entity]) for member in members})
