"""A training job in the hands of the program that asked for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from feature_store.errors import ConflictError
from feature_store.pit.dataset import TrainingDataset
from feature_store.pit.explanation import JoinExplanation
from feature_store.plan.schema import ViewSchema
from feature_store.registry.training_jobs import TrainingJobRecord
from feature_store.registry.training_tables import JobState
from feature_store.training_jobs.results import error_from_json, explanation_from_json
from feature_store.training_jobs.service import Submitted, TrainingService
from feature_store.training_jobs.worker import TrainingWorker

_FIRST_LOOK, _LONGEST_LOOK = 0.05, 1.0


@dataclass(frozen=True)
class _Work:
    """What this process does for the job."""

    dataset: Future[TrainingDataset]
    explained: Future[JoinExplanation]


class TrainingJob:
    """A training dataset in the making, or made.

    Its record is in the registry: it outlives this object, and `FeatureStore.training_job(id)` finds it again.

    Attributes:
        id: of the record.
    """

    def __init__(self, service: TrainingService, job: TrainingJobRecord, view: ViewSchema, work: _Work | None) -> None:
        self.id = job.id
        self._service = service
        self._view = view
        self._work = work

    def __repr__(self) -> str:
        return f"TrainingJob({self.id!r})"

    def record(self) -> TrainingJobRecord:
        """What the registry has of it at this moment: state, progress, step, rows, error."""
        return self._service.jobs.get(self.id)

    def status(self) -> JobState:
        """Where the job is: QUEUED, RUNNING, SUCCEEDED, FAILED or CANCELLED."""
        return self.record().state

    def cancel(self) -> None:
        """Ends it, and its Dagster run.

        Raises:
            ConflictError: if it is over.
        """
        self._service.end_runs(self._service.cancel(self.id))

    def explain(self, timeout: float | None = None) -> JoinExplanation:
        """What the job reads of each group, where it joins, and what is odd about the labels; `print` shows it.

        It is known as soon as the labels were read; raises what the job raised before that, or TimeoutError.
        """
        if self._work is not None:
            return self._work.explained.result(timeout)
        job = self._await(timeout, lambda job: job.explanation is not None or job.is_over)
        if job.explanation is None:
            raise _error_of(job)
        return explanation_from_json(job.explanation)

    def wait(self, timeout: float | None = None) -> TrainingDataset:
        """The finished dataset, after at most `timeout` seconds; raises what the job raised, or TimeoutError."""
        if self._work is not None:
            return self._work.dataset.result(timeout)
        job = self._await(timeout, lambda job: job.is_over)
        if job.result is None:
            raise _error_of(job)
        return self._service.dataset(job.result, self._view)

    def _await(self, timeout: float | None, is_enough: Callable[[TrainingJobRecord], bool]) -> TrainingJobRecord:
        """The job as soon as it is far enough; a job that nobody works on is looked after meanwhile."""
        ends, pause = None if timeout is None else time.monotonic() + timeout, _FIRST_LOOK
        while True:
            job = self._service.follow(self.record())
            if is_enough(job):
                return job
            if ends is not None and time.monotonic() + pause > ends:
                raise TimeoutError(f"training job {self.id} is {job.state}: {job.step}")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK)


def job_of(service: TrainingService, worker: TrainingWorker, submitted: Submitted, view: ViewSchema) -> TrainingJob:
    """The job, which this process begins if it is a new one that it is to do itself."""
    job, is_new, given = submitted
    if not is_new or job.engine != "local":
        return TrainingJob(service, service.follow(job), view, None)
    explained: Future[JoinExplanation] = Future()

    def work() -> TrainingDataset:
        try:
            return worker.work(job.id, view=view, given=given, explained=lambda found: _tell(explained, found))
        except BaseException as error:
            if not explained.done():
                explained.set_exception(error)
            raise

    executor = ThreadPoolExecutor(1, thread_name_prefix=f"training-{job.name}")
    future = executor.submit(work)
    executor.shutdown(wait=False)
    return TrainingJob(service, job, view, _Work(future, explained))


def _tell(explained: Future[JoinExplanation], found: JoinExplanation) -> None:
    if not explained.done():  # another attempt reads the same labels
        explained.set_result(found)


def _error_of(job: TrainingJobRecord) -> Exception:
    if job.error is not None:
        return error_from_json(job.error)
    return ConflictError(
        f"the training job {job.id} was cancelled", remedy="ask again for the dataset", code="training-cancelled"
    )
