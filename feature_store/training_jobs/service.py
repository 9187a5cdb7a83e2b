"""Training jobs for those who ask: submitted, followed, cancelled. Lost workers are seen here, whoever looks."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import pyarrow as pa
from pyiceberg.catalog import Catalog

from feature_store.datasets.dataset import StoredDataset
from feature_store.errors import ConflictError, FeatureStoreError, InputError, StackError
from feature_store.offline.catalog import open_catalog
from feature_store.pit.content_hash import content_hash
from feature_store.pit.dataset import TrainingDataset, check_options
from feature_store.pit.label_sources import LabelQuery, LabelTable
from feature_store.pit.repeating import repeat
from feature_store.pit.semantics import KnownBy
from feature_store.plan.schema import ViewSchema
from feature_store.registry.database import service_errors
from feature_store.registry.lifecycle import check_training
from feature_store.registry.store import Registry
from feature_store.registry.training_jobs import ACTIVE, LOST_SECONDS, NewJob, TrainingJobRecord, TrainingJobs
from feature_store.registry.training_tables import JobState
from feature_store.settings import Settings
from feature_store.training_jobs.checks import check_labels, pinned_snapshots
from feature_store.training_jobs.labels import (
    AnyLabels,
    drop_staged,
    label_source,
    rows_of,
    stage_rows,
    state_of,
)
from feature_store.training_jobs.request import (
    Asker,
    DatasetLabels,
    Engine,
    GivenLabels,
    Labels,
    StagedLabels,
    TrainingRequest,
)
from feature_store.training_jobs.results import Json, dataset_from_json, error_to_json, is_there
from feature_store.training_jobs.runs import TrainingRuns
from feature_store.training_jobs.target import TrainingTarget

SILENT_SECONDS = 20.0
"""After so long without a word of a worker, Dagster is asked for its run."""
MOST_LAUNCHES = 3
DAGSTER_SECONDS = 600.0
"""How long a job waits for a Dagster that does not answer."""
_log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """What somebody asks for, besides the view.

    Attributes:
        labels: where they are, or rows.
        fresh: whether it is made even if there is one.
        like: a dataset to make again, of its labels unless others are given.
    """

    labels: Labels | AnyLabels | None
    name: str
    model: str = ""
    known_by: str | None = None
    snapshots: Mapping[str, int | None] = {}
    fresh: bool = False
    like: StoredDataset | None = None


class Submitted(NamedTuple):
    """A job, whether it is a new one, and the rows that only this process has."""

    job: TrainingJobRecord
    is_new: bool
    given: AnyLabels | None = None


class TrainingService:
    """The jobs of one registry.

    Args:
        settings: where labels, tables and datasets are.
        registry: has the jobs.
        most: how many jobs of one token may be active at once; None: any number.
    """

    def __init__(self, settings: Settings, registry: Registry, most: int | None = None) -> None:
        self.jobs = TrainingJobs(registry.engine)
        self.runs = TrainingRuns(settings.dagster_url)
        self._settings = settings
        self._registry = registry
        self._most = most

    def submit(
        self,
        target: TrainingTarget,
        asked: Asked,
        engine: Engine,
        *,
        masked: frozenset[str] = frozenset(),
        asked_by: str = "",
        token: Asker | None = None,
    ) -> Submitted:
        """Records a job for a dataset, or finds the one that makes the same or has made it.

        Args:
            masked: what whoever asks must not see.

        Raises:
            InputError: if the labels, the name or the snapshots do not fit.
            NotFoundError: if a group was never materialized, or a snapshot is gone.
            ConflictError: if the view or a group it reads is deprecated, or a table does not fit its definition.
            StackError: if too many jobs of the token are active; if a service does not answer.
        """
        record, groups = target.record, () if target.kind == "group" else target.groups
        check_training(record, groups, self._registry.usage(record.id, kind=target.kind), asked.model)
        if asked.like is not None:
            target, asked = self._again(target, asked, asked.like)
        check_options(target.view, asked.name, asked.known_by, asked.snapshots)
        job_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        with self._catalog() as catalog:
            snapshots = pinned_snapshots(target.view, catalog, asked.snapshots)
            labels, given = self._labels(target, asked.labels, engine, catalog, job_id)
            try:
                request = TrainingRequest(
                    view=record.id,
                    name=asked.name,
                    labels=labels,
                    snapshots=snapshots,
                    kind=target.kind,
                    model=asked.model,
                    known_by="label" if asked.known_by else None,
                    engine=engine,
                    masked=tuple(sorted(masked)),
                    asked_by=asked_by,
                    token=token,
                    like="" if asked.like is None else asked.like.url,
                )
                state = None if asked.fresh else state_of(labels, catalog)
                job, is_new = self._create(_new_job(job_id, request, request.fingerprint(target.definition, state)))
            except BaseException:
                drop_staged(labels, catalog)
                raise
            if not is_new:
                drop_staged(labels, catalog)
        if job.state is JobState.SUCCEEDED and asked.model:
            self._registry.record_usage(record.id, asked.model, "training", kind=target.kind)
        return Submitted(job, is_new, given)

    def dataset(self, result: Json, view: ViewSchema) -> TrainingDataset:
        """The dataset of a job, by its result.

        Raises:
            NotFoundError: if it is not there any more.
            StackError: if the bucket that it is in does not answer.
        """
        return dataset_from_json(result, view, self._settings.object_storage)

    def follow(self, job: TrainingJobRecord, *, may_be_lost: bool = True) -> TrainingJobRecord:
        """Does what a job needs that nobody works on: launches its run, or gives a lost worker's work to another one.

        Args:
            may_be_lost: whether workers had the time to be heard of: the registry has answered long enough.

        Raises:
            StackError: if the registry does not answer.
        """
        if job.is_over:
            return job
        silent = job.age if job.silent is None else job.silent
        is_lost = may_be_lost and silent > LOST_SECONDS
        if job.engine == "local":
            if is_lost:
                self._give_up(job, _lost(job, "the process that asked has ended, or is not heard of"))
        elif job.state is JobState.QUEUED:
            if job.launched_at is None:
                self._launch(job)
            elif (job.waiting or 0.0) > SILENT_SECONDS:
                self._look_at_run(job, is_lost=False)
        elif silent > SILENT_SECONDS:
            self._look_at_run(job, is_lost=is_lost)
        return self.jobs.get(job.id)

    def follow_all(self, *, may_be_lost: bool = True) -> int:
        """Follows every job that is not over; gives how many these are.

        Args:
            may_be_lost: whether workers had the time to be heard of: the registry has answered long enough.
        """
        active = self.jobs.find(states=ACTIVE)
        for job in active:
            self.follow(job, may_be_lost=may_be_lost)
        return len(active)

    def cancel(self, job_id: str) -> TrainingJobRecord:
        """Ends a job that is not over; `end_runs` ends its Dagster run.

        Raises:
            NotFoundError: if there is none of this id.
            ConflictError: if it has ended otherwise.
        """
        job = self.jobs.cancel(job_id)
        if job.state is not JobState.CANCELLED:
            raise ConflictError(
                f"the training job {job.id} is {job.state} already",
                remedy="a dataset that is there stays there",
                code="training-job-over",
            )
        self._drop_staged(job)
        return job

    def end_runs(self, job: TrainingJobRecord) -> None:
        """Ends the Dagster runs of a cancelled job; if that fails, their worker learns it from the registry."""
        if job.engine == "dagster" and self.runs.is_known:
            try:
                self.runs.terminate(job.id)
            except FeatureStoreError as error:
                _log.warning("the run of training job %s was not terminated: %s", job.id, error)

    def _again(self, target: TrainingTarget, asked: Asked, like: StoredDataset) -> tuple[TrainingTarget, Asked]:
        """The target as it was defined for a dataset, and what is asked for as that was made."""
        packages = self._settings.definition_packages
        known_by: KnownBy = "label" if asked.known_by else None
        again = repeat(like, target.view, None, known_by, asked.snapshots or None, packages)
        labels = DatasetLabels(like.labels_hash) if asked.labels is None else asked.labels
        return (
            replace(target, view=again.view),
            asked._replace(labels=labels, snapshots=again.snapshots, known_by=again.known_by),
        )

    def _labels(
        self, target: TrainingTarget, labels: Labels | AnyLabels | None, engine: Engine, catalog: Catalog, job_id: str
    ) -> tuple[Labels, AnyLabels | None]:
        """The reference of labels, and the rows themselves where they are only in this process."""
        assert labels is not None
        if isinstance(labels, DatasetLabels):
            return labels, None
        if isinstance(labels, Labels):
            check_labels(label_source(labels, catalog), target.view, catalog, self._settings.pg_url)
            return labels, None
        if engine == "local" and isinstance(labels, pa.RecordBatchReader):
            return GivenLabels(None), labels  # it can be read once
        if isinstance(labels, LabelTable | LabelQuery):
            if engine == "dagster":
                raise _unreachable()
            check_labels(labels, target.view, catalog, self._settings.pg_url)
            return GivenLabels(None), labels
        rows = rows_of(labels, target.view)
        check_labels(rows, target.view, catalog, self._settings.pg_url)
        if engine == "local":
            return GivenLabels(content_hash(rows)), rows
        return stage_rows(rows, catalog, self._settings.warehouse, job_id), None

    def _create(self, new: NewJob) -> tuple[TrainingJobRecord, bool]:
        while True:
            job, is_new = self.jobs.create(new, self._most)
            if is_new:
                return job, True
            if job.engine == "local" or job.state is JobState.RUNNING:
                job = self.follow(job)  # its worker may be lost
            if job.state is JobState.SUCCEEDED and (job.result is None or not self._is_there(job.result)):
                self.jobs.forget(job.id)
            elif job.state in (*ACTIVE, JobState.SUCCEEDED):
                return job, False

    def _is_there(self, result: Json) -> bool:
        return is_there(result, self._settings.object_storage)

    def _launch(self, job: TrainingJobRecord) -> None:
        if not self.runs.is_known:
            self._give_up(job, _no_dagster())
        elif job.launches >= MOST_LAUNCHES:
            self._give_up(job, _lost(job, f"{job.launches} runs have not done it"))
        elif self.jobs.take_launch(job.id):
            try:
                self.jobs.note_run(job.id, self.runs.launch(job.kind, job.view, job.id))
            except StackError as error:
                self.jobs.give_launch_back(job.id, f"wait for Dagster: {error.message}", counts=False)
                if error.code == "dagster-down" and job.age > DAGSTER_SECONDS:
                    self._give_up(job, error)
            except FeatureStoreError as error:
                self._give_up(job, error)

    def _look_at_run(self, job: TrainingJobRecord, *, is_lost: bool) -> None:
        """Whether Dagster still has a run of a job of which nothing is heard."""
        if not self.runs.is_known and not is_lost:
            return
        try:
            runs = self.runs.of_job(job.id)
            if runs.alive and not is_lost:
                return
            self.runs.terminate(job.id)
        except FeatureStoreError as error:
            if not is_lost:
                return
            _log.warning("Dagster does not say where the run of training job %s is: %s", job.id, error)
        else:
            if not runs.alive and runs.ended[:1] == ("CANCELED",):
                self.jobs.cancel(job.id)
                self._drop_staged(job)
                return
        why = "its worker is not heard of any more"
        if job.launches >= MOST_LAUNCHES:
            self._give_up(job, _lost(job, why))
        elif job.state is JobState.RUNNING:
            self.jobs.requeue(job.id, job.attempt, f"again: {why}")
        else:
            self.jobs.give_launch_back(job.id, f"again: {why}", counts=True)

    def _give_up(self, job: TrainingJobRecord, error: FeatureStoreError) -> None:
        if self.jobs.fail(job.id, job.attempt, error_to_json(error), job.state):
            self._drop_staged(job)

    def _drop_staged(self, job: TrainingJobRecord) -> None:
        labels = TrainingRequest.from_json(job.request).labels
        if isinstance(labels, StagedLabels):
            with self._catalog() as catalog:
                drop_staged(labels, catalog)

    @contextmanager
    def _catalog(self) -> Iterator[Catalog]:
        """The catalog, and one line where it or the storage of its tables does not answer.

        Raises:
            StackError: if one of them does not.
        """
        try:
            with service_errors(self._registry.engine), closing(open_catalog(self._settings)) as catalog:
                yield catalog
        except OSError as error:
            raise StackError(
                f"the tables cannot be read: {error}",
                where=self._settings.warehouse,
                remedy="see whether the storage answers, and FS_WAREHOUSE is right",
                code="warehouse-down",
            ) from error


def _new_job(job_id: str, request: TrainingRequest, fingerprint: str | None) -> NewJob:
    return NewJob(
        id=job_id,
        kind=request.kind,
        view=request.view,
        name=request.name,
        engine=request.engine,
        request=request.to_json(),
        fingerprint=fingerprint,
        token=None if request.token is None else (request.token.id, request.token.name),
        asked_by=request.asked_by,
    )


def _lost(job: TrainingJobRecord, why: str) -> StackError:
    return StackError(
        f"nobody works on the training job {job.id} any more: {why}",
        remedy="ask again; look at the log of the run, or of the process that asked",
        code="training-worker-lost",
    )


def _no_dagster() -> StackError:
    return StackError(
        "it is not known where Dagster is, whose runs make training datasets",
        where="FS_DAGSTER_URL",
        remedy='set it, or run ./fs up; or make the dataset in your own process: engine="local"',
        code="no-dagster",
    )


def _unreachable() -> InputError:
    return InputError(
        "a run of Dagster cannot read labels that need a password or rows of this process",
        where="labels",
        remedy='give files, tables of the store or rows by themselves, or engine="local"',
        code="labels-of-process",
    )
