"""A Flink cluster: what runs there, starting a job, and stopping one with its state kept."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from feature_store.compile.flink import FlinkJob
from feature_store.errors import NotFoundError, StackError
from feature_store.settings import Settings
from feature_store.streaming.failures import root_cause

ANSWER_SECONDS = 10.0
SUBMIT_SECONDS = 180.0
SAVEPOINT_SECONDS = 120.0
_ALIVE = frozenset(["INITIALIZING", "CREATED", "RUNNING", "FAILING", "CANCELLING", "RESTARTING", "RECONCILING"])
_RUNNER = Path(__file__).with_name("run_job.py")
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the cluster is in the same network


@dataclass(frozen=True)
class RunningJob:
    """A job that Flink has not finished with. `state` is Flink's word."""

    id: str
    name: str
    state: str
    started_ms: int


class FlinkCluster:
    """The REST interface of a session cluster.

    Args:
        settings: with the cluster's address, and the Python that submits to it.

    All methods raise StackError when the cluster does not answer, and NotFoundError when it does not know the job.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.url = settings.flink_url.rstrip("/")

    def jobs(self) -> list[RunningJob]:
        """The jobs that are alive, the oldest first."""
        found = self.get("/jobs/overview")["jobs"]
        alive = [
            RunningJob(job["jid"], job["name"], job["state"], job["start-time"])
            for job in found
            if job["state"] in _ALIVE
        ]
        return sorted(alive, key=lambda job: job.started_ms)

    def submit(self, job: FlinkJob, config: Mapping[str, str]) -> str:
        """Starts a job and gives its id; the statements are translated by Flink's own Python environment.

        Raises:
            StackError: also if Flink refuses a statement; with Flink's reason.
        """
        address = urlsplit(self.url)
        target = {
            "execution.target": "remote",
            "rest.address": str(address.hostname),
            "rest.port": str(address.port or 8081),
            "pipeline.name": job.name,
            "table.local-time-zone": "UTC",
        }
        steps = [{name: value for name, value in asdict(step).items() if value} for step in job.steps]
        spec = {"config": {**target, **config}, "steps": steps, "inserts": list(job.inserts)}
        command = [str(self.settings.flink_python), str(_RUNNER)]
        try:
            done = subprocess.run(
                command,
                input=json.dumps(spec),  # not an argument: it holds passwords
                text=True,
                capture_output=True,
                env={**os.environ, **self._environment()},
                timeout=SUBMIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StackError(
                f"Flink has not taken the job within {SUBMIT_SECONDS:.0f} s",
                where=f"job {job.name}",
                remedy="see ./fs logs",
            ) from None
        if done.returncode:
            raise StackError(
                f"Flink does not take the job: {root_cause(done.stderr) or 'no reason given'}",
                where=f"job {job.name}",
                remedy="see ./fs logs",
            )
        return done.stdout.split()[-1]

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

        Raises:
            StackError: also if the savepoint fails; the job then goes on.
        """
        trigger = self._send("POST", f"/jobs/{job_id}/stop", {"targetDirectory": folder, "drain": False})["request-id"]
        deadline = time.monotonic() + SAVEPOINT_SECONDS
        while time.monotonic() < deadline:
            answer = self.get(f"/jobs/{job_id}/savepoints/{trigger}")
            if answer["status"]["id"] == "COMPLETED":
                operation = answer["operation"]
                if "location" in operation:
                    return str(operation["location"])
                cause = str(operation["failure-cause"]["stack-trace"]).splitlines()[0]
                raise StackError(f"the savepoint failed: {cause}", where=f"job {job_id}", remedy="see ./fs logs")
            time.sleep(0.1)
        raise StackError("the savepoint is not finished", where=f"job {job_id}", remedy="see the job in Flink's page")

    def cancel(self, job_id: str) -> None:
        """Ends a job at once; its last checkpoint stays."""
        self._send("PATCH", f"/jobs/{job_id}?mode=cancel")

    def get(self, path: str) -> Any:
        """What the cluster answers to a path of its REST interface."""
        return self._send("GET", path)

    def _environment(self) -> dict[str, str]:
        settings = self.settings
        java = settings.java_home / "bin"
        return {
            "JAVA_HOME": str(settings.java_home),
            "FLINK_HOME": str(settings.flink_home),
            "FLINK_LIB_DIR": str(settings.flink_home / "lib"),
            "FLINK_CONF_DIR": str(settings.flink_home / "conf"),
            "FLINK_LOG_DIR": str(settings.home / "logs"),
            "HADOOP_CLASSPATH": "",
            "PATH": f"{settings.flink_python.parent}{os.pathsep}{java}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": "",
        }

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
                raise NotFoundError(f"Flink has nothing at {path}", where=self.url) from error
            raise StackError(f"Flink answers {error.code} to {path}: {words[:300]}", where=self.url) from error
        except (OSError, ValueError) as error:
            raise StackError(
                f"Flink does not answer: {getattr(error, 'reason', error)}",
                where=self.url,
                remedy="start it with ./fs up, or correct FS_FLINK_URL",
                code="flink-down",
            ) from error
