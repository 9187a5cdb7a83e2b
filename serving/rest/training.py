"""The routes of training jobs: asked for, looked at, cancelled. Dagster does the work, never the server."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feature_store.errors import AccessError, FeatureStoreError, InputError
from feature_store.registry.access.tokens import Token
from feature_store.registry.records import Kind
from feature_store.registry.store import Registry
from feature_store.registry.training_jobs import ACTIVE, LOST_SECONDS, MOST_JOBS, TrainingJobRecord, TrainingJobs
from feature_store.registry.training_tables import JobState
from feature_store.training_jobs.request import Asker, SpanLabels
from feature_store.training_jobs.runs import TrainingRuns
from serving.auth import Gate
from serving.definitions import ServedDefinitions, ServedView
from serving.rest.bodies import media_type, read_body
from serving.rest.catalog import number_in
from serving.rest.json_answers import json_answer
from serving.rest.training_documents import TrainingBody, TrainingJobPage, document_of
from serving.training import TrainingLimits

if TYPE_CHECKING:
    from feature_store.training_jobs.service import TrainingService

LOOK_SECONDS = 5.0
"""How often jobs that are not over are looked after."""
MOST_LABEL_ROWS = 10_000
_read_json = msgspec.json.Decoder(TrainingBody).decode
_read_msgpack = msgspec.msgpack.Decoder(TrainingBody).decode
_ANONYMOUS = "rest"
_log = logging.getLogger(__name__)


class TrainingRoutes:
    """Takes training jobs, and looks after those that are not over.

    Args:
        seconds: how long a body may take to arrive.
        limits: how many jobs are taken, and labels from where.
        packages: those that functions of on-demand features may be imported from.
    """

    def __init__(
        self,
        registry: Registry,
        definitions: Callable[[], ServedDefinitions],
        gate: Gate,
        seconds: float,
        limits: TrainingLimits,
        packages: tuple[str, ...],
    ) -> None:
        self._registry = registry
        self._definitions = definitions
        self._gate = gate
        self._seconds = seconds
        self._limits = limits
        self._packages = packages
        self._jobs = TrainingJobs(registry.engine)
        self._runs = TrainingRuns(limits.settings.dagster_url)
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="training")  # a Dagster that hangs holds up nobody else

    @property
    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/feature-groups/{id}/training-dataset", self.of_group, methods=["POST"]),
            Route("/feature-views/{id}/training-dataset", self.of_view, methods=["POST"]),
            Route("/training-datasets", self.show_all),
            Route("/training-datasets/{job}", self.show),
            Route("/training-datasets/{job}", self.cancel, methods=["DELETE"]),
        ]

    @cached_property
    def _service(self) -> TrainingService:
        """What opens tables and labels; imported with the first job, as it takes seconds and memory."""
        from feature_store.training_jobs.service import TrainingService

        return TrainingService(self._limits.settings, self._registry, self._limits.most)

    async def of_group(self, request: Request) -> Response:
        """A job for a dataset of a group by itself."""
        return await self._ask("group", request)

    async def of_view(self, request: Request) -> Response:
        """A job for a dataset of a view."""
        return await self._ask("view", request)

    async def show_all(self, request: Request) -> Response:
        """The latest jobs, by state and by what they are of."""
        query, most = request.query_params, number_in(request, "limit", MOST_JOBS, MOST_JOBS)
        if query.get("state", JobState.QUEUED) not in [*JobState]:
            raise InputError(
                f"there is no state {query['state'][:80]!r}",
                where="state",
                remedy=f"states are {', '.join(JobState)}",
                code="malformed-request",
            )
        states = [JobState(query["state"])] if "state" in query else []
        found = await asyncio.to_thread(self._jobs.find, states=states, view=query.get("view", ""))
        seen = [job for job in found if self._may_see(request.state.token, job)]
        return json_answer(TrainingJobPage([document_of(job, self._run_of(job)) for job in seen[:most]]))

    async def show(self, request: Request) -> Response:
        """One job."""
        return json_answer(document_of(job := await self._job(request), self._run_of(job)))

    async def cancel(self, request: Request) -> Response:
        """Ends a job that is not over."""
        job, token = await self._job(request), request.state.token
        if token is not None and job.token_id != token.id:
            served = self._served(job.kind, job.view)
            if served is None or not self._gate.decide(token, "admin", served.guarded).allowed:
                raise AccessError(
                    f"the training job {job.id} was asked for by {job.asked_by}",
                    remedy=f"let them cancel it, or ask for ./fs grant {token.principal} admin {job.view}",
                    code="access-denied",
                )
        if job.state is not JobState.CANCELLED:
            job = await asyncio.to_thread(lambda: self._service.cancel(job.id))
            self._soon(self._service.end_runs, job)
        return json_answer(document_of(job, self._run_of(job)))

    async def run(self) -> None:
        """Looks after jobs until it is cancelled: after an outage of the registry not before workers could speak."""
        answers_since: float | None = None
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            answers_since = await asyncio.get_running_loop().run_in_executor(self._thread, self._look, answers_since)

    def _look(self, answers_since: float | None) -> float | None:
        """Looks once; gives since when the registry has answered, None if it does not."""
        now = time.monotonic()
        try:
            if self._jobs.find(states=ACTIVE, most=1):
                may_be_lost = answers_since is not None and now - answers_since > LOST_SECONDS
                self._service.follow_all(may_be_lost=may_be_lost)
        except Exception as error:
            if answers_since is not None or not isinstance(error, FeatureStoreError):
                _log.warning("training jobs are not looked after: %s", error)
            return None
        return answers_since or now

    async def _ask(self, kind: Kind, request: Request) -> Response:
        token: Token | None = request.state.token
        served = self._definitions().find(kind, request.path_params["id"])
        masked = self._gate.masked(token, served)
        body = _body(await read_body(request.receive, self._seconds), request.headers.get("content-type", ""))
        model = body.model or (token.model if token is not None else None) or ""

        def submit() -> TrainingJobRecord:
            from feature_store.training_jobs.service import Asked
            from feature_store.training_jobs.target import load_target

            labels = self._labels(body, served)
            asked = Asked(labels, body.name, model, body.known_by, body.snapshots, body.fresh)
            target = load_target(self._registry, kind, served.id, self._packages)
            submitted = self._service.submit(
                target,
                asked,
                "dagster",
                masked=masked,
                asked_by=_ANONYMOUS if token is None else f"{token.principal} (token {token.name})",
                token=None if token is None else Asker(token.id, token.name),
            )
            return submitted.job

        async with self._turn:  # opening tables takes time of the interpreter, which reads of vectors want, too
            job = await asyncio.to_thread(submit)
        if job.state is JobState.QUEUED:
            self._soon(self._service.follow, job)
        headers = {"location": f"/training-datasets/{job.id}"}
        return json_answer(document_of(job, self._run_of(job)), 200 if job.is_over else 202, headers)

    def _soon(self, work: Callable[[TrainingJobRecord], object], job: TrainingJobRecord) -> None:
        """Asks Dagster for something without letting the caller wait; if that fails, `run` sees to it."""
        self._thread.submit(work, job)

    def _labels(self, body: TrainingBody, served: ServedView) -> Any:
        """The labels that a body gives, or the reference of those that it names, if they may be read."""
        from serving.rest.label_rows import label_rows

        if (body.labels is None) == (body.time_range is None):
            raise InputError(
                "a training dataset has either labels or a time range",
                where="labels, time_range",
                remedy="give one of them",
                code="time-range",
            )
        if body.time_range is not None:
            return SpanLabels(*body.time_range)
        assert body.labels is not None
        if isinstance(body.labels, list):
            if len(body.labels) > MOST_LABEL_ROWS:
                raise InputError(
                    f"the request has {len(body.labels)} label rows, {MOST_LABEL_ROWS} at most are taken",
                    where="labels",
                    remedy="put them to a file or a table that the server may read, and name it",
                    code="too-many-labels",
                )
            return label_rows(served.view, body.labels)
        return self._limits.offered.admitted(body.labels)

    async def _job(self, request: Request) -> TrainingJobRecord:
        """The job of a path, if the caller may see it.

        Raises:
            NotFoundError: if there is none.
            AccessError: if its rows are not for the caller.
        """
        job = await asyncio.to_thread(self._jobs.get, request.path_params["job"])
        if not self._may_see(request.state.token, job):
            raise AccessError(
                f"the training job {job.id} is of {job.view}, of which you may not see all that is in its dataset",
                remedy="ask for the dataset yourself: what you must not see is NULL in it",
                code="access-denied",
            )
        return job

    def _may_see(self, token: Token | None, job: TrainingJobRecord) -> bool:
        """Whether a caller could have made the dataset itself."""
        if token is None or job.token_id == token.id:
            return True
        served = self._served(job.kind, job.view)
        with suppress(AccessError):
            return served is not None and self._gate.masked(token, served) <= set(job.request["masked"])
        return False

    def _served(self, kind: Kind, view: str) -> ServedView | None:
        return self._definitions().served.get((kind, view))

    def _run_of(self, job: TrainingJobRecord) -> str | None:
        return None if job.dagster_run_id is None else self._runs.url_of(job.dagster_run_id)


def _body(body: bytes, content_type: str) -> TrainingBody:
    kind = media_type(content_type, "application/json", "application/msgpack")
    try:
        if (b"\0" in body and kind != "application/msgpack") or rb"\u0000" in body:
            raise ValueError("a text has the character U+0000")
        return _read_msgpack(body) if kind == "application/msgpack" else _read_json(body)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"the body cannot be read: {error or type(error).__name__}",
            where="body",
            remedy='send {"name": "…", "labels": […]}; /openapi.json has the form',
            code="malformed-request",
        ) from None
