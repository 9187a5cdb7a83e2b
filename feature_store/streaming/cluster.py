"""A Flink cluster: what runs there, and stopping a job with its state kept."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import urlsplit

from feature_store.errors import NotFoundError, StackError
from feature_store.streaming.failures import root_cause

ANSWER_SECONDS = 10.0
SAVEPOINT_SECONDS = 120.0
_SAVEPOINT_RETRIES = 2
_RESTART_SECONDS = 30.0
"""How long a job whose savepoint failed may take to be up again."""
_POLL_SECONDS = 0.1
_BROKEN = frozenset(["RESTARTING", "FAILING", "FAILED"])
_ALIVE = frozenset(["INITIALIZING", "CREATED", "RUNNING", "FAILING", "CANCELLING", "RESTARTING", "RECONCILING"])
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the cluster is in the same network


@dataclass(frozen=True)
class RunningJob:
    """A job that Flink has not finished with. `state` is Flink's word."""

    id: str
    name: str
    state: str
    started_ms: int


@dataclass(frozen=True)
class JobHealth:
    """How far the start of a job has come; `cause` says why it fails."""

    stage: Literal["starting", "up", "failing"]
    cause: str


class _SavepointError(StackError):
    """Flink says that a savepoint failed."""


class FlinkCluster:
    """The REST interface of a cluster.

    Args:
        url: the cluster's address.

    All methods raise StackError when the cluster does not answer, and NotFoundError when it does not know the job.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def jobs(self) -> list[RunningJob]:
        """The jobs that are alive, the oldest first."""
        found = self.get("/jobs/overview")["jobs"]
        alive = [
            RunningJob(job["jid"], job["name"], job["state"], job["start-time"])
            for job in found
            if job["state"] in _ALIVE
        ]
        return sorted(alive, key=lambda job: job.started_ms)

    def health(self, job_id: str) -> JobHealth:
        """Whether a job that was just started has come up: all its tasks run, with their state restored."""
        job = self.get(f"/jobs/{job_id}")
        if job["state"] in _BROKEN:
            return JobHealth("failing", self.last_failure(job_id) or str(job["state"]))
        runs = job["state"] in ("RUNNING", "FINISHED")
        runs = runs and all(vertex["status"] in ("RUNNING", "FINISHED") for vertex in job["vertices"])
        return JobHealth("up" if runs else "starting", "")

    def last_failure(self, job_id: str) -> str:
        """The innermost cause of a job's last failure, in one line; empty if it has not failed or Flink forgot."""
        try:
            found = self.get(f"/jobs/{job_id}/exceptions?maxExceptions=1")
        except StackError:
            return ""
        entries = (found.get("exceptionHistory") or {}).get("entries") or []
        return root_cause(entries[0]["stacktrace"]) if entries else ""

    def stop(self, job_id: str, folder: str) -> str:
        """Stops a job with a savepoint below `folder` (a URL) and gives the savepoint's path.

        A savepoint that fails is tried again when the job is up: a task that ends while the savepoint begins, such as
        the source of a log's past that was just read, makes it fail once, and Flink restarts the job.

        Raises:
            StackError: if the savepoint fails again and again; the job then goes on.
        """
        deadline = time.monotonic() + SAVEPOINT_SECONDS
        for _ in range(_SAVEPOINT_RETRIES):
            try:
                return self._stop(job_id, folder, deadline)
            except _SavepointError:
                if not self._is_up(job_id, min(deadline, time.monotonic() + _RESTART_SECONDS)):
                    raise
        return self._stop(job_id, folder, deadline)

    def _stop(self, job_id: str, folder: str, deadline: float) -> str:
        trigger = self._send("POST", f"/jobs/{job_id}/stop", {"targetDirectory": folder, "drain": False})["request-id"]
        while time.monotonic() < deadline:
            answer = self.get(f"/jobs/{job_id}/savepoints/{trigger}")
            if answer["status"]["id"] == "COMPLETED":
                operation = answer["operation"]
                if "location" in operation:
                    return str(operation["location"])
                cause = root_cause(str(operation["failure-cause"]["stack-trace"]))
                raise _SavepointError(
                    f"the savepoint failed: {cause}", where=f"job {job_id}", remedy="see ./fs logs", code="savepoint"
                )
            time.sleep(_POLL_SECONDS)
        raise StackError(
            "the savepoint is not finished",
            where=f"job {job_id}",
            remedy="see the job in Flink's page",
            code="savepoint",
        )

    def _is_up(self, job_id: str, deadline: float) -> bool:
        """Whether a job runs with all its tasks before a time of the monotonic clock."""
        while self.health(job_id).stage != "up":
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def cancel(self, job_id: str) -> None:
        """Ends a job at once; its last checkpoint stays."""
        self._send("PATCH", f"/jobs/{job_id}?mode=cancel")

    def get(self, path: str) -> Any:
        """What the cluster answers to a path of its REST interface."""
        return self._send("GET", path)

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{path}", data=data, headers=headers, method=method)
        try:
            with _DIRECT.open(request, timeout=ANSWER_SECONDS) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            words = error.read().decode("utf-8", "replace")
            if error.code == HTTPStatus.NOT_FOUND:
                raise NotFoundError(f"Flink has nothing at {path}", where=self.url, code="flink-refused") from error
            raise StackError(
                f"Flink answers {error.code} to {path}: {words[:300]}", where=self.url, code="flink-refused"
            ) from error
        except (OSError, ValueError) as error:
            raise StackError(
                f"Flink does not answer: {getattr(error, 'reason', error)}",
                where=self.url,
                remedy="start it with ./fs up, or correct FS_FLINK_URL",
                code="flink-down",
            ) from error


def rest_options(url: str) -> dict[str, str]:
    """What tells Flink's own clients of the cluster that has this address."""
    address = urlsplit(url)
    encrypted = address.scheme == "https"
    return {
        "rest.address": str(address.hostname),
        "rest.port": str(address.port or (443 if encrypted else 80)),
        "security.ssl.rest.enabled": str(encrypted).lower(),
    }
