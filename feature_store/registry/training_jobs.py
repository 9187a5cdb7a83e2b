"""Training jobs as the registry knows them. Every change of state is a compare-and-set: one worker runs a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, RowMapping, func, insert, select, update
from sqlalchemy.orm import Session

from feature_store.errors import NotFoundError, StackError
from feature_store.registry.database import service_errors
from feature_store.registry.records import Kind, TrainingRecord
from feature_store.registry.training_rows import write_training
from feature_store.registry.training_tables import JobState, TrainingJobRow

ACTIVE = (JobState.QUEUED, JobState.RUNNING)
MOST_JOBS = 1_000
"""Of one answer."""
LOST_SECONDS = 120.0
"""After so long without a word of its worker a job is given up, or to another one."""
_QUOTA = 0x66735F747261696E  # names the lock of those who count a caller's jobs
_JOB = TrainingJobRow
Json = dict[str, Any]


@dataclass(frozen=True)
class NewJob:
    """A job that is to be.

    Attributes:
        view: the id of what is joined, a view or a group, as `kind` says.
        request: what `training_jobs.request.TrainingRequest` writes.
        fingerprint: equal for requests that make the same dataset; None: it is never used again.
        token: id and name of the token that asked; None without one.
    """

    id: str
    kind: Kind
    view: str
    name: str
    engine: str
    request: Json
    fingerprint: str | None
    token: tuple[int, str] | None
    asked_by: str


@dataclass(frozen=True)
class TrainingJobRecord:
    """A recorded job.

    Attributes:
        progress: from 0 to 1; `step` says what is being done.
        row_count: of its labels; None before they were read.
        attempt: how many workers have begun it.
        launches: how many Dagster runs were started for it.
        error: kind, message, where, remedy and code of what it failed with.
        explanation, result: of the join and of the dataset, as `training_jobs.results` writes them.
        silent, waiting, age: seconds since its worker was heard of, since it was launched, since it was asked for.
    """

    id: str
    kind: Kind
    view: str
    name: str
    engine: str
    request: Json
    fingerprint: str | None
    state: JobState
    progress: float
    step: str
    row_count: int | None
    attempt: int
    launches: int
    dagster_run_id: str | None
    dataset_id: str | None
    error: Json | None
    explanation: Json | None
    result: Json | None
    token_id: int | None
    token_name: str | None
    asked_by: str
    created_at: datetime
    launched_at: datetime | None
    started_at: datetime | None
    heartbeat_at: datetime | None
    ended_at: datetime | None
    silent: float | None
    waiting: float | None
    age: float

    @property
    def is_over(self) -> bool:
        """Whether nothing will become of it any more."""
        return self.state not in ACTIVE


class TrainingJobs:
    """The records of all jobs. All methods raise StackError when the database does not answer or has no tables yet."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def create(self, new: NewJob, most: int | None = None) -> tuple[TrainingJobRecord, bool]:
        """Records a job, unless there is one of the same fingerprint that is not over or has a dataset; tells which.

        Args:
            most: how many jobs of the same token may be active at once; None: any number.

        Raises:
            StackError: if there are so many.
        """
        with service_errors(self.engine), Session(self.engine) as session, session.begin():
            session.execute(select(func.pg_advisory_xact_lock(_QUOTA)))  # the count holds until this one is in it
            known = self._same(session, new.fingerprint)
            if known is not None:
                return known, False
            token_id, token_name = new.token or (None, None)
            if most is not None:
                _check_quota(session, token_id, most)
            values = {**vars(new), "job_id": new.id, "token_id": token_id, "token_name": token_name}
            session.execute(insert(_JOB).values({k: v for k, v in values.items() if k not in ("id", "token")}))
            return self._read(session, new.id), True

    def get(self, job_id: str) -> TrainingJobRecord:
        """A job.

        Raises:
            NotFoundError: if there is none of this id.
        """
        with service_errors(self.engine), Session(self.engine) as session:
            return self._read(session, job_id)

    def find(
        self, *, states: Sequence[JobState] = (), view: str = "", kind: Kind | None = None, most: int = MOST_JOBS
    ) -> tuple[TrainingJobRecord, ...]:
        """Jobs by state and by what they are of, the latest first."""
        wanted: list[ColumnElement[bool]] = []
        wanted += [_JOB.state.in_(states)] if states else []
        wanted += [_JOB.view == view.replace("\0", "?")] if view else []
        wanted += [_JOB.kind == kind] if kind else []
        with service_errors(self.engine), Session(self.engine) as session:
            chosen = _SELECTED.where(*wanted).order_by(_JOB.created_at.desc(), _JOB.job_id).limit(most)
            return tuple(_record(row) for row in session.execute(chosen).mappings())

    def claim(self, job_id: str, run_id: str | None = None) -> TrainingJobRecord | None:
        """Makes the caller its worker, with the next attempt; None if it is not queued (any more).

        Args:
            run_id: of the Dagster run that works.
        """
        begun = {"started_at": func.coalesce(_JOB.started_at, func.clock_timestamp()), "row_count": None}
        changed = self._change(
            _of(job_id, JobState.QUEUED),
            {**begun, "state": JobState.RUNNING, "attempt": _JOB.attempt + 1, "heartbeat_at": func.clock_timestamp(),
             "dagster_run_id": run_id, "progress": 0.05, "step": "read the labels"},
        )  # fmt: skip
        return self.get(job_id) if changed else None

    def beat(self, job_id: str, attempt: int, **news: Any) -> bool:
        """Says that a worker is there, and what it has found out; False if the job is not its own (any more)."""
        return self._change(_running(job_id, attempt), {**news, "heartbeat_at": func.clock_timestamp()})

    def succeed(self, job_id: str, attempt: int, made: TrainingRecord, result: Json) -> bool:
        """Records the dataset and that the job is over, both or none; False if the job is not its own (any more)."""
        ended = {
            "state": JobState.SUCCEEDED,
            "progress": 1.0,
            "step": "",
            "row_count": made.row_count,
            "dataset_id": made.id,
            "result": result,
            "ended_at": func.clock_timestamp(),
        }
        with service_errors(self.engine), Session(self.engine) as session, session.begin():
            if session.scalar(_set(_running(job_id, attempt), ended)) is not None:
                write_training(session, made)
                return True
            known = self._read(session, job_id)  # said before, and the answer was lost
            return known.state is JobState.SUCCEEDED and known.dataset_id == made.id

    def fail(self, job_id: str, attempt: int, error: Json, state: JobState = JobState.RUNNING) -> bool:
        """Records what a job failed with; False if it is not as it was seen (any more).

        Args:
            state: in which it was seen.
        """
        ended = {"state": JobState.FAILED, "error": error, "step": "", "ended_at": func.clock_timestamp()}
        return self._change([*_of(job_id, state), _JOB.attempt == attempt], ended)

    def cancel(self, job_id: str) -> TrainingJobRecord:
        """Ends a job that is not over; one that is stays as it is.

        Raises:
            NotFoundError: if there is none of this id.
        """
        ended = {"state": JobState.CANCELLED, "step": "", "ended_at": func.clock_timestamp()}
        self._change(_active(job_id), ended)
        return self.get(job_id)

    def take_launch(self, job_id: str) -> bool:
        """Whether the caller is to launch a Dagster run for a queued job: nobody else will for a while."""
        free = [*_of(job_id, JobState.QUEUED), _JOB.launched_at.is_(None)]
        return self._change(free, {"launched_at": func.clock_timestamp(), "launches": _JOB.launches + 1})

    def give_launch_back(self, job_id: str, step: str, *, counts: bool) -> bool:
        """Lets a queued job be launched again.

        Args:
            step: why it was not.
            counts: whether the launch counts: there was a run.
        """
        launches = _JOB.launches if counts else func.greatest(_JOB.launches - 1, 0)
        return self._change(_of(job_id, JobState.QUEUED), {"launched_at": None, "launches": launches, "step": step})

    def note_run(self, job_id: str, run_id: str) -> None:
        """Notes the Dagster run that was launched for a job."""
        self._change(_of(job_id, JobState.QUEUED), {"dagster_run_id": run_id, "step": "wait for the run"})

    def requeue(self, job_id: str, attempt: int, step: str) -> bool:
        """Takes a job from a worker that is lost, for another one; False if it is not of that attempt (any more)."""
        waiting = {"state": JobState.QUEUED, "launched_at": None, "heartbeat_at": None, "progress": 0.0, "step": step}
        return self._change(_running(job_id, attempt), waiting)

    def forget(self, job_id: str) -> None:
        """Lets the same be asked for anew: the dataset of the job is gone."""
        self._change([_JOB.job_id == job_id], {"fingerprint": None})

    def _same(self, session: Session, fingerprint: str | None) -> TrainingJobRecord | None:
        if fingerprint is None:
            return None
        usable = _JOB.state.in_([*ACTIVE, JobState.SUCCEEDED])
        row = session.execute(_SELECTED.where(_JOB.fingerprint == fingerprint, usable)).mappings().one_or_none()
        return None if row is None else _record(row)

    def _read(self, session: Session, job_id: str) -> TrainingJobRecord:
        wanted = _SELECTED.where(_JOB.job_id == job_id.replace("\0", "?"))  # PostgreSQL has no such character
        row = session.execute(wanted).mappings().one_or_none()
        if row is None:
            raise NotFoundError(
                f"there is no training job {job_id[:200]!r}",
                remedy="GET /training-datasets lists all that you may see",
                code="no-training-job",
            )
        return _record(row)

    def _change(self, where: Sequence[ColumnElement[bool]], values: Mapping[str, Any]) -> bool:
        with service_errors(self.engine), Session(self.engine) as session, session.begin():
            return session.scalar(_set(where, values)) is not None


def _seconds_since(column: Any) -> Any:
    return func.extract("epoch", func.clock_timestamp() - column)


_COLUMNS = [column for column in TrainingJobRow.__table__.columns if column.name != "job_id"]
_SELECTED = select(
    _JOB.job_id.label("id"),
    *_COLUMNS,
    _seconds_since(_JOB.heartbeat_at).label("silent"),
    _seconds_since(_JOB.launched_at).label("waiting"),
    _seconds_since(_JOB.created_at).label("age"),
)


def _record(row: RowMapping) -> TrainingJobRecord:
    spans = {name: None if row[name] is None else float(row[name]) for name in ("silent", "waiting", "age")}
    return TrainingJobRecord(**{**row, **spans, "state": JobState(row["state"])})


def _set(where: Sequence[ColumnElement[bool]], values: Mapping[str, Any]) -> Any:
    changed = update(_JOB).where(*where).values(**values)
    return changed.returning(_JOB.job_id)


def _of(job_id: str, state: JobState) -> list[ColumnElement[bool]]:
    return [_JOB.job_id == job_id, _JOB.state == state]


def _running(job_id: str, attempt: int) -> list[ColumnElement[bool]]:
    return [*_of(job_id, JobState.RUNNING), _JOB.attempt == attempt]


def _active(job_id: str) -> list[ColumnElement[bool]]:
    return [_JOB.job_id == job_id, _JOB.state.in_(ACTIVE)]


def _check_quota(session: Session, token_id: int | None, most: int) -> None:
    mine = _JOB.token_id.is_(None) if token_id is None else _JOB.token_id == token_id
    active = session.scalar(select(func.count()).where(mine, _JOB.state.in_(ACTIVE))) or 0
    if active >= most:
        raise StackError(
            f"{active} training datasets of this token are in the making, {most} at most may be at once",
            where="training datasets",
            remedy="wait until one is done, or cancel one: DELETE /training-datasets/{job}",
            code="training-quota",
        )
