"""What the routes of training jobs take and answer with; the OpenAPI document describes these types."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from feature_store.registry.training_jobs import TrainingJobRecord
from feature_store.training_jobs.request import LabelReference


class TrainingBody(msgspec.Struct, forbid_unknown_fields=True):
    """A training dataset that is asked for; either labels or a time range.

    Attributes:
        name: what to call it: letters, digits, "_", "-" and ".".
        labels: rows with the view's key columns, its request values, label_timestamp and any others; or where they are.
        time_range: start and end: a label for each entity and instant from start on, before end, at which a row of the
            view's groups becomes available.
        model: what is trained on it.
        known_by: "label": only rows that had been written by the time of the label.
        snapshots: of the groups' tables, by group id, from an earlier dataset; the current ones unless given.
        fresh: whether it is made even if there is the same one already.
    """

    name: str
    labels: list[dict[str, Any]] | LabelReference | None = None
    time_range: tuple[datetime, datetime] | None = None
    model: str = ""
    known_by: Literal["label"] | None = None
    snapshots: dict[str, int | None] = {}
    fresh: bool = False


class JobError(msgspec.Struct):
    """What a job failed with; `/errors/{code}` explains the code."""

    detail: str
    code: str
    where: str
    remedy: str


class JobResult(msgspec.Struct):
    """The dataset of a job.

    Attributes:
        path: where its Parquet files are.
        labels_hash: of the rows of the labels.
        null_rates: by feature, the share of labels that found no value, or NULL.
        masked: features that whoever asked must not see: NULL on all rows.
        warnings: what is odd about the labels.
    """

    dataset: str
    path: str
    rows: int
    snapshots: dict[str, int | None]
    labels_hash: str
    null_rates: dict[str, float]
    masked: list[str]
    warnings: list[str]
    seconds: float


class TrainingJobDocument(msgspec.Struct):
    """A training job.

    Attributes:
        kind: what `view` is the id of: "view" or "group".
        progress: from 0 to 1; `step` says what is being done, or waited for.
        rows: of the labels; null before they were read.
        run: the page of its Dagster run.
    """

    id: str
    state: Literal["QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]
    kind: str
    view: str
    name: str
    model: str
    progress: float
    step: str
    rows: int | None
    error: JobError | None
    result: JobResult | None
    asked_by: str
    run: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class TrainingJobPage(msgspec.Struct):
    """The latest of the jobs that were asked for and may be seen."""

    training_datasets: list[TrainingJobDocument]


def document_of(job: TrainingJobRecord, run: str | None) -> TrainingJobDocument:
    """A job as it is told."""
    return TrainingJobDocument(
        id=job.id,
        state=job.state.value,
        kind=job.kind,
        view=job.view,
        name=job.name,
        model=job.request["model"],
        progress=job.progress,
        step=job.step,
        rows=job.row_count,
        error=None if job.error is None else msgspec.convert(job.error, JobError),
        result=None if job.result is None else _result_of(job.result),
        asked_by=job.asked_by,
        run=run,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
    )


def _result_of(result: dict[str, Any]) -> JobResult:
    explanation = result["explanation"]
    named = {"dataset": result["id"], "rows": result["row_count"], "warnings": explanation["warnings"]}
    return msgspec.convert({**result, **named}, JobResult)
