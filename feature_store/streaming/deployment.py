"""Where Flink runs the jobs: all in one session cluster, or each in an application cluster of its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Protocol

from feature_store.compile.flink import FlinkJob
from feature_store.errors import NotFoundError, StackError
from feature_store.flink_clusters import JOB_PLACE
from feature_store.secret_files import without_secrets, write_kafka, write_pgpass
from feature_store.settings import Settings
from feature_store.streaming.cluster import FlinkCluster, RunningJob, rest_options
from feature_store.streaming.failures import root_cause
from feature_store.streaming.translator import Translator

START_SECONDS = 180.0
_LOOK_SECONDS = 0.5
_NAME_LENGTH = 45  # Kubernetes takes no longer names of Flink clusters
_TRANSLATOR_MEMORY = "-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
_TRANSLATOR = Translator()
_RUNNER = Path(__file__).with_name("run_job.py")


class Deployment(Protocol):
    """The clusters of a project's jobs. All methods raise StackError when what they need does not work."""

    def cluster_of(self, name: str, /) -> FlinkCluster:
        """The cluster of a job."""

    def jobs(self, names: Iterable[str]) -> list[RunningJob]:
        """The jobs of these names that are alive."""

    def check(self, job: FlinkJob, config: Mapping[str, str]) -> None:
        """Translates a job without running it; raises if Flink would refuse it."""

    def submit(self, job: FlinkJob, config: Mapping[str, str]) -> str:
        """Starts a job and gives its id."""

    def release(self, name: str, /) -> None:
        """Makes sure that nothing writes for a job that is not alive; what it has left behind is final then."""


def deployment(settings: Settings) -> Deployment:
    """The way of deployment that the settings ask for."""
    return ApplicationClusters(settings) if settings.flink_deploy else SessionCluster(settings)


class SessionCluster:
    """One cluster for all jobs. They are translated on this machine, by Flink's own Python environment."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.cluster = FlinkCluster(settings.flink_url)

    def cluster_of(self, _name: str, /) -> FlinkCluster:
        return self.cluster

    def jobs(self, names: Iterable[str]) -> list[RunningJob]:
        wanted = set(names)
        return [job for job in self.cluster.jobs() if job.name in wanted]

    def check(self, job: FlinkJob, config: Mapping[str, str]) -> None:
        self._translate("check", job, config)

    def submit(self, job: FlinkJob, config: Mapping[str, str]) -> str:
        """Starts a job and gives its id.

        Raises:
            StackError: also if Flink refuses a statement; with Flink's reason.
        """
        return self._translate("submit", job, config)

    def release(self, _name: str, /) -> None:
        """A session cluster lets go of a job by itself."""

    def _translate(self, execute: Literal["submit", "check"], job: FlinkJob, config: Mapping[str, str]) -> str:
        command = (str(self.settings.flink_python), str(_RUNNER), "--serve")
        spec = job_spec(job, {"execution.target": "remote", **rest_options(self.cluster.url), **config})
        environment = {**without_secrets(os.environ), **translator_environment(self.settings)}
        return _TRANSLATOR.run(execute, spec, command, environment, f"job {job.name}", START_SECONDS)


class ApplicationClusters:
    """A cluster for each job, which a command of the platform's starts and ends; docs/streaming.md tells what it gets.

    A cluster that does not answer is taken for one that is not there: before its job is started again the command
    ends it, so that there are never two.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.url = settings.flink_url
        self.command = shlex.split(settings.flink_deploy)

    def cluster_of(self, name: str, /) -> FlinkCluster:
        return FlinkCluster(self.url.replace(JOB_PLACE, cluster_name(name)))

    def jobs(self, names: Iterable[str]) -> list[RunningJob]:
        found = []
        for name in names:
            with suppress(StackError, NotFoundError):  # a gateway answers 404 or 503 for a cluster that is not there
                found += [job for job in self.cluster_of(name).jobs() if job.name == name]
        return found

    def submit(self, job: FlinkJob, config: Mapping[str, str]) -> str:
        """Starts a cluster with a job and gives the job's id.

        Raises:
            StackError: also if the command fails, or the job has not come up in `START_SECONDS`.
        """
        self._deploy("start", job.name, json.dumps(job_spec(job, config)))
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if alive := self.jobs([job.name]):
                return alive[-1].id
            time.sleep(_LOOK_SECONDS)
        raise StackError(
            f"the job has not come up within {START_SECONDS:.0f} s",
            where=self.cluster_of(job.name).url,
            remedy="see the logs of its cluster; if it runs, correct FS_FLINK_URL",
            code="job-start",
        )

    def check(self, job: FlinkJob, config: Mapping[str, str]) -> None:
        self._deploy("check", job.name, json.dumps(job_spec(job, config)))

    def release(self, name: str, /) -> None:
        self._deploy("stop", name, "")

    def _deploy(self, verb: str, name: str, spec: str) -> None:
        failure = f"the command does not {verb} the cluster of {name}"
        environment = {**without_secrets(os.environ), "PGPASSFILE": str(_written_secrets(self.settings))}
        try:
            done = subprocess.run(
                [*self.command, verb, cluster_name(name)],
                input=spec, text=True, capture_output=True, env=environment, timeout=START_SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _failed(failure, str(error)) from None
        if done.returncode:
            raise _failed(failure, root_cause(done.stderr) or "no reason given")


def translator_environment(settings: Settings) -> dict[str, str]:
    """The environment in which the Flink Python of this machine translates a job, beside that of the process."""
    java = settings.java_home / "bin"
    return {
        "JAVA_HOME": str(settings.java_home),
        "FLINK_HOME": str(settings.flink_home),
        "FLINK_LIB_DIR": str(settings.flink_home / "lib"),
        "FLINK_CONF_DIR": str(settings.flink_home / "conf"),
        "FLINK_LOG_DIR": str(settings.home / "logs"),
        "HADOOP_CLASSPATH": "",
        "JVM_ARGS": _TRANSLATOR_MEMORY,
        "PGPASSFILE": str(_written_secrets(settings)),
        "PATH": f"{settings.flink_python.parent}{os.pathsep}{java}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": "",
        "_python_worker_execution_mode": "process",  # else pyflink loads Apache Beam, for Python functions in a job
    }


def cluster_name(name: str) -> str:
    """What the application cluster of a job is called: at most 45 letters, digits and `-`, another for each job."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    readable = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"{readable[: _NAME_LENGTH - 7].rstrip('-')}-{digest}"


def job_spec(job: FlinkJob, config: Mapping[str, str]) -> dict[str, Any]:
    """What `run_job.py` executes; without passwords."""
    steps = [{name: value for name, value in asdict(step).items() if value} for step in job.steps]
    named = {"pipeline.name": job.name, "table.local-time-zone": "UTC", **config}
    return {"config": named, "steps": steps, "inserts": list(job.inserts)}


def _written_secrets(settings: Settings) -> Path:
    """Writes the files that Flink's processes on this machine look passwords up in; returns that of PostgreSQL."""
    write_kafka(settings.home, settings.kafka_servers)
    return write_pgpass(settings.home, settings.pg_url)


def _failed(failure: str, reason: str) -> StackError:
    return StackError(f"{failure}: {reason}", where="FS_FLINK_DEPLOY", remedy="see ./fs logs", code="job-start")
