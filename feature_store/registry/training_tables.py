"""The registry's table of training jobs, beside those of `tables.py`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Index, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from feature_store.registry.tables import Base, Json


class JobState(StrEnum):
    """Life of a training job; the last three are final."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class TrainingJobRow(Base):
    """A training dataset that was asked for: what exactly, by whom, how far it is, what became of it.

    Of one fingerprint there is one job that is not over or has a dataset.
    """

    __tablename__ = "training_jobs"
    __table_args__ = (
        Index(
            "uq_training_jobs_fingerprint",
            "fingerprint",
            unique=True,
            postgresql_where=text("state IN ('QUEUED', 'RUNNING', 'SUCCEEDED')"),
        ),
        CheckConstraint("state IN ('QUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')", name="state"),
        CheckConstraint("progress BETWEEN 0 AND 1", name="progress"),
        Index(None, "state"),
        Index(None, "created_at"),
    )

    job_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    view: Mapped[str]
    name: Mapped[str]
    engine: Mapped[str]
    request: Mapped[Json] = mapped_column(JSONB)
    fingerprint: Mapped[str | None]
    state: Mapped[str] = mapped_column(server_default=JobState.QUEUED)
    progress: Mapped[float] = mapped_column(server_default=text("0"))
    step: Mapped[str] = mapped_column(server_default="")
    row_count: Mapped[int | None]
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    launches: Mapped[int] = mapped_column(server_default=text("0"))
    dagster_run_id: Mapped[str | None]
    dataset_id: Mapped[str | None]
    error: Mapped[Json | None] = mapped_column(JSONB(none_as_null=True))
    explanation: Mapped[Json | None] = mapped_column(JSONB(none_as_null=True))
    result: Mapped[Json | None] = mapped_column(JSONB(none_as_null=True))
    token_id: Mapped[int | None]
    token_name: Mapped[str | None]
    asked_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    launched_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
