"""Flink jobs as the registry knows them: which are to run, what they started from, where their state is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from sqlalchemy import Engine, func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from feature_store.registry.database import service_errors
from feature_store.registry.tables import StreamJobRow


@dataclass(frozen=True)
class StreamJob:
    """One job.

    Args:
        name: of the job in Flink: the group's id, or "log of <source>".
        desired: whether it is to run.
        fingerprint: of what it runs.
        state_fingerprint: of what its state depends on: a job of another one cannot take up that state.
        start: where it began: offsets, snapshot, cut (see `compile.flink.Start`).
        flink_job_id: of its last start, in hex; recorded before the job is there.
        state_path: a savepoint or checkpoint to go on from; empty to begin as `start` says.
        starts: how many times Flink has taken it, since it began as `start` says.
        message: why it does not run, or not as defined, if it should.
        texts: what Flink was given: steps, inserts and configuration; without passwords.
        previous: the record of the job that this one replaced, until this one has come up.
        refused: the fingerprint of a job that was to replace this one and did not come up.
    """

    name: str
    desired: Literal["running", "stopped"]
    fingerprint: str
    state_fingerprint: str
    start: dict[str, Any] = field(default_factory=dict)
    flink_job_id: str = ""
    state_path: str = ""
    starts: int = 0
    message: str = ""
    texts: dict[str, Any] = field(default_factory=dict)
    previous: dict[str, Any] = field(default_factory=dict)
    refused: str = ""

    def answers(self, fingerprint: str) -> bool:
        """Whether this is the job that is asked for, or goes on because that one did not come up."""
        return fingerprint in (self.fingerprint, self.refused)

    def is_instead_of(self, fingerprint: str) -> bool:
        """Whether this job goes on because the one that is asked for did not come up."""
        return fingerprint == self.refused != self.fingerprint


class StreamJobs:
    """The records of all jobs. All methods raise StackError when the database does not answer or has no tables yet."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def read(self) -> dict[str, StreamJob]:
        """Every recorded job by its name."""
        with service_errors(self.engine), Session(self.engine) as session:
            return {row.name: _job(row) for row in session.scalars(select(StreamJobRow).order_by(StreamJobRow.name))}

    def write(self, job: StreamJob) -> StreamJob:
        """Records a job as given."""
        with service_errors(self.engine), Session(self.engine) as session, session.begin():
            values = asdict(job)
            given = {name: value for name, value in values.items() if name != "name"}
            statement = upsert(StreamJobRow).values(**values)
            session.execute(
                statement.on_conflict_do_update(index_elements=["name"], set_={**given, "updated_at": func.now()})
            )
        return job

    def note(self, job: StreamJob, **changes: Any) -> StreamJob:
        """Records a job with some fields changed, if any is."""
        changed = replace(job, **changes)
        return job if changed == job else self.write(changed)

    @contextmanager
    def only_one(self, name: str) -> Iterator[bool]:
        """True for one caller at a time and job, for as long as the block lasts: two would start it twice."""
        number = func.hashtextextended(name, _SUPERVISOR)
        with service_errors(self.engine), self.engine.connect() as connection:
            held = bool(connection.scalar(select(func.pg_try_advisory_lock(number))))
            try:
                yield held
            finally:
                if held:
                    connection.execute(select(func.pg_advisory_unlock(number)))


_SUPERVISOR = 0x66735F73747265


def _job(row: StreamJobRow) -> StreamJob:
    return StreamJob(
        name=row.name,
        desired="running" if row.desired == "running" else "stopped",
        fingerprint=row.fingerprint,
        state_fingerprint=row.state_fingerprint,
        start=row.start,
        flink_job_id=row.flink_job_id,
        state_path=row.state_path,
        starts=row.starts,
        message=row.message,
        texts=row.texts,
        previous=row.previous,
        refused=row.refused,
    )
