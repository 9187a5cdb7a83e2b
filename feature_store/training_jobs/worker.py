"""Whoever works on a training job: claims it, makes the dataset, says that it is alive, records what came of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from pyiceberg.catalog import Catalog
from sqlalchemy.exc import DBAPIError

from feature_store.datasets.dataset import load_dataset
from feature_store.errors import ConflictError, FeatureStoreError, StackError
from feature_store.offline.catalog import open_catalog
from feature_store.pit.dataset import TrainingDataset, build_training_dataset
from feature_store.pit.explanation import JoinExplanation
from feature_store.plan.schema import ViewSchema
from feature_store.registry.access.store import AccessControl
from feature_store.registry.store import Registry
from feature_store.registry.training_jobs import TrainingJobRecord, TrainingJobs
from feature_store.settings import Settings
from feature_store.training_jobs.discard import discard_dataset
from feature_store.training_jobs.labels import AnyLabels, drop_staged, label_source, state_of
from feature_store.training_jobs.request import DatasetLabels, TrainingRequest
from feature_store.training_jobs.results import (
    dataset_to_json,
    error_to_json,
    explanation_to_json,
    training_record,
)
from feature_store.training_jobs.target import TrainingTarget, load_target, masked_for

BEAT_SECONDS = 5.0
MOST_ATTEMPTS = 3
"""How many workers may begin a job, before it fails for good."""
OUTAGE_SECONDS = 120.0
"""How long a worker waits for a database that does not answer, before it gives up."""
_PAUSE_SECONDS = 1.0
Explained = Callable[[JoinExplanation], None]
T = TypeVar("T")


class TrainingWorker:
    """Works on jobs, one after the other or in several threads.

    Args:
        registry: has the jobs.
    """

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._jobs = TrainingJobs(registry.engine)

    def work(
        self,
        job_id: str,
        run_id: str | None = None,
        *,
        view: ViewSchema | None = None,
        given: AnyLabels | None = None,
        explained: Explained = lambda _: None,
    ) -> TrainingDataset:
        """Makes the dataset of a job, and records it; again, while a database does not answer.

        Args:
            run_id: of the Dagster run that works.
            view: as whoever asks remembers it; as it is recorded now unless given.
            given: labels that are in this process only.
            explained: is told what will be done, when that is known.

        Raises:
            ConflictError: if somebody else works on the job, or it is over.
            FeatureStoreError: what it fails with; the job has it, too.
        """
        while True:
            job = _patiently(partial(self._jobs.claim, job_id, run_id))
            if job is None:
                raise _taken(_patiently(partial(self._jobs.get, job_id)))
            try:
                return self._attempt(job, view, given, explained)
            except _PassingError as error:
                time.sleep(_PAUSE_SECONDS)
                _patiently(partial(self._jobs.requeue, job.id, job.attempt, str(error)))

    def _attempt(
        self, job: TrainingJobRecord, view: ViewSchema | None, given: AnyLabels | None, explained: Explained
    ) -> TrainingDataset:
        request = TrainingRequest.from_json(job.request)
        pulse = _Pulse(self._jobs, job)
        try:
            with closing(open_catalog(self._settings)) as catalog, pulse.beating():
                target = self._target(request, view)
                made = self._build(request, target, catalog, pulse, given, explained)
                pulse.progress, pulse.step = 0.95, "record the dataset"
                self._record(job, request, target, made, catalog)
                drop_staged(request.labels, catalog)
                return made
        except Exception as error:  # an interruption is none: whoever watches the job sees what became of the run
            if _is_passing(error) and job.attempt < MOST_ATTEMPTS:
                raise _PassingError(f"a database did not answer: {error}") from error
            self._fail(job, request, error)
            raise

    def _fail(self, job: TrainingJobRecord, request: TrainingRequest, error: Exception) -> None:
        if _patiently(partial(self._jobs.fail, job.id, job.attempt, error_to_json(error))):
            with closing(open_catalog(self._settings)) as catalog:
                drop_staged(request.labels, catalog)

    def _target(self, request: TrainingRequest, view: ViewSchema | None = None) -> TrainingTarget:
        target = load_target(self._registry, request.kind, request.view, self._settings.definition_packages)
        return target if view is None else replace(target, view=view)

    def _build(
        self,
        request: TrainingRequest,
        target: TrainingTarget,
        catalog: Catalog,
        pulse: _Pulse,
        given: AnyLabels | None,
        explained: Explained,
    ) -> TrainingDataset:
        masked = masked_for(AccessControl(self._registry.engine), request.token, target)

        def tell(explanation: JoinExplanation) -> None:
            explained(explanation)
            pulse.progress, pulse.step = 0.3, "join"
            pulse.beat(row_count=explanation.label_count, explanation=explanation_to_json(explanation))
            if pulse.is_lost:
                raise _taken(self._jobs.get(pulse.job.id))

        like = load_dataset(request.like, self._settings.object_storage) if request.like else None
        if given is None and not isinstance(request.labels, DatasetLabels):
            given = label_source(request.labels, catalog)
        return build_training_dataset(
            self._settings,
            target.view,
            given,
            name=request.name,
            known_by=request.known_by,
            snapshots=request.snapshots,
            masked=masked.union(request.masked),
            explained=tell,
            definitions=[target.recorded],
            requested_by=request.asked_by,
            like=like,
        )

    def _record(
        self,
        job: TrainingJobRecord,
        request: TrainingRequest,
        target: TrainingTarget,
        made: TrainingDataset,
        catalog: Catalog,
    ) -> None:
        """Records a dataset as that of its job, or removes it: somebody has cancelled the job, or taken it over."""
        record = training_record(made, request.kind, request.model)
        is_recorded = _patiently(partial(self._jobs.succeed, job.id, job.attempt, record, dataset_to_json(made)))
        if not is_recorded:
            discard_dataset(made, catalog)
            raise _taken(self._jobs.get(job.id))
        if job.fingerprint is not None and not _is_as_asked(job, request, target, catalog):
            self._jobs.forget(job.id)


def _is_as_asked(job: TrainingJobRecord, request: TrainingRequest, target: TrainingTarget, catalog: Catalog) -> bool:
    """Whether labels and definition are what they were when the job was asked for."""
    try:
        return request.fingerprint(target.definition, state_of(request.labels, catalog)) == job.fingerprint
    except (FeatureStoreError, OSError):
        return False


class _PassingError(Exception):
    """An attempt failed that may go well the next time."""


@dataclass
class _Pulse:
    """Says regularly that a worker is there and how far it is; learns that the job is not its own any more."""

    jobs: TrainingJobs
    job: TrainingJobRecord
    progress: float = 0.05
    step: str = "read the labels"
    is_lost: bool = False
    _ended: threading.Event = field(default_factory=threading.Event)

    def beat(self, **news: object) -> None:
        try:
            is_ours = self.jobs.beat(self.job.id, self.job.attempt, progress=self.progress, step=self.step, **news)
        except StackError:
            return  # the database may be back at the next one
        self.is_lost = self.is_lost or not is_ours

    @contextmanager
    def beating(self) -> Iterator[None]:
        thread = threading.Thread(target=self._beat_on, name=f"pulse-{self.job.id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _beat_on(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            self.beat()


def _patiently(asked: Callable[[], T]) -> T:
    """What the registry says, as soon as it answers."""
    ends = time.monotonic() + OUTAGE_SECONDS
    while True:
        try:
            return asked()
        except StackError as error:
            if error.code != "registry-down" or time.monotonic() > ends:
                raise
            time.sleep(_PAUSE_SECONDS)


def _is_passing(error: Exception) -> bool:
    return isinstance(error, DBAPIError) or (isinstance(error, FeatureStoreError) and error.code == "registry-down")


def _taken(job: TrainingJobRecord) -> ConflictError:
    return ConflictError(
        f"the training job {job.id} is {job.state}, and not this worker's to do",
        remedy="look at it: GET /training-datasets/{job}; ask again for another one",
        code="training-job-taken",
    )
