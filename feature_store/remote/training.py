"""Training datasets from a server: asked for, followed, cancelled, over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from feature_store.errors import ConflictError, FeatureStoreError, InputError
from feature_store.remote.address import ServerAddress
from feature_store.remote.calls import OnlineCalls, Steps
from feature_store.remote.http_messages import unsendable
from feature_store.remote.messages import RequestWriter, Response
from feature_store.remote.problems import unexpected

DEADLINE_SECONDS = 30.0
"""Of one call: the server opens labels and tables before it answers."""
_FIRST_LOOK, _LONGEST_LOOK = 0.2, 2.0
Run = Callable[[Steps[Any]], Any]
RemoteLabels = Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""Rows, or a reference such as {"kind": "files", "path": "labels/*.parquet"}; see the server's /openapi.json."""


class RemoteError(msgspec.Struct, frozen=True):
    """What a job failed with."""

    detail: str
    code: str
    where: str
    remedy: str


class RemoteDataset(msgspec.Struct, frozen=True):
    """A dataset as the server tells of it; its Parquet files are at `path`, which this machine may or may not see."""

    dataset: str
    path: str
    rows: int
    snapshots: dict[str, int | None]
    labels_hash: str
    null_rates: dict[str, float]
    masked: list[str]
    warnings: list[str]
    seconds: float


class RemoteJobState(msgspec.Struct, frozen=True):
    """A job at one moment."""

    id: str
    state: Literal["QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]
    progress: float
    step: str
    rows: int | None
    error: RemoteError | None
    result: RemoteDataset | None

    @property
    def is_over(self) -> bool:
        return self.state not in ("QUEUED", "RUNNING")


_read = msgspec.json.Decoder(RemoteJobState).decode


class RemoteTrainingJob:
    """A training job of a server. It goes on when this object, or the process, is gone."""

    def __init__(self, calls: TrainingCalls, run: Run, job_id: str) -> None:
        self.id = job_id
        self._calls = calls
        self._run = run

    def __repr__(self) -> str:
        return f"RemoteTrainingJob({self.id!r})"

    def record(self) -> RemoteJobState:
        """What the server says of it at this moment."""
        found: RemoteJobState = self._run(self._calls.job("GET", self.id))
        return found

    def status(self) -> str:
        """QUEUED, RUNNING, SUCCEEDED, FAILED or CANCELLED."""
        return self.record().state

    def cancel(self) -> None:
        """Ends it, and its Dagster run.

        Raises:
            ConflictError: if it is over.
            AccessError: if somebody else has asked for it.
        """
        self._run(self._calls.job("DELETE", self.id))

    def wait(self, timeout: float | None = None) -> RemoteDataset:
        """The dataset, after at most `timeout` seconds.

        Raises:
            FeatureStoreError: what the job failed with.
            ConflictError: if it was cancelled.
            TimeoutError: if it is not over in time.
        """
        ends, pause = None if timeout is None else time.monotonic() + timeout, _FIRST_LOOK
        while True:
            job = self.record()
            if job.result is not None:
                return job.result
            if (error := job.error) is not None:
                raise FeatureStoreError(error.detail, where=error.where, remedy=error.remedy, code=error.code)
            if job.is_over:
                raise ConflictError(
                    f"the training job {self.id} was cancelled", remedy="ask again for it", code="training-cancelled"
                )
            if ends is not None and time.monotonic() + pause > ends:
                raise TimeoutError(f"training job {self.id} is {job.state}: {job.step}")
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK)


class TrainingCalls:
    """The calls of one client."""

    def __init__(self, calls: OnlineCalls) -> None:
        self._calls = calls
        self._writer = RequestWriter(calls.server)

    def ask(self, kind: Literal["view", "group"], name: str, asked: Mapping[str, Any]) -> Steps[RemoteJobState]:
        """Asks for a dataset. The same twice is the same job, so it is tried again like a read."""
        given = {each: value for each, value in asked.items() if value not in (None, "", {}, False)}
        try:
            body = msgspec.msgpack.encode(given)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise unsendable(error) from None
        return self._answered("POST", f"/feature-{kind}s/{quote(name, '@')}/training-dataset", body)

    def job(self, method: Literal["GET", "DELETE"], job_id: str) -> Steps[RemoteJobState]:
        """Looks at a job, or cancels it."""
        return self._answered(method, f"/training-datasets/{quote(job_id, '')}")

    def _answered(self, method: str, path: str, body: bytes = b"") -> Steps[RemoteJobState]:
        server = self._calls.server
        _require_http(server)
        ends = time.monotonic() + DEADLINE_SECONDS
        response: Response = yield from self._calls.answered(
            self._writer.write(method, path, body), ends, DEADLINE_SECONDS
        )
        try:
            return _read(response.body)
        except msgspec.DecodeError as error:
            raise unexpected(f"a training job that cannot be read: {error}", server) from None


def labels_of(labels: RemoteLabels | None, time_range: tuple[datetime, datetime] | None) -> dict[str, Any]:
    """Labels as they are sent."""
    if isinstance(labels, Mapping):
        return {"labels": dict(labels)}
    if labels is not None:
        return {"labels": [dict(row) for row in labels]}
    return {"time_range": time_range}


def _require_http(server: ServerAddress) -> None:
    if server.is_grpc:
        raise InputError(
            "training datasets are asked for over HTTP",
            where=str(server),
            remedy="give the server's http:// address",
            code="malformed-request",
        )
