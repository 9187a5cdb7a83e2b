"""Flink jobs over a preloaded topic that end by themselves, timed by Flink's own records; and the texts of the rivals.

A run is timed from the moment when all parts of the job run (so without its deployment) to its end: all rows written,
the last timers fired, the last commit made. A job that is not through after its limit is cancelled. It is credited
with the events up to its watermark, though their windows have still to be emptied, and not charged with the ten
seconds for which Flink may not have told of its progress: its rate is an upper bound.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.streaming.setting import BEGIN, PARTITIONS, Load, Workbench
from feature_store.compile.flink import FlinkJob, Step, updates_topic
from feature_store.compile.flink_expressions import flink_type, quote
from feature_store.errors import StackError
from feature_store.local.flink_environment import package_of
from feature_store.offline.tables import ensure_table
from feature_store.plan.nodes import GroupPlan
from feature_store.streaming.jobs import target_of
from feature_store.streaming.offsets import write_start
from feature_store.streaming.tables import ensure_dead_letters, ensure_log
from feature_store.streaming.takeover import take_over
from feature_store.streaming.wanted import Wanted

POLL_SECONDS = 0.2
METRICS_SECONDS = 10.0
"""How old the watermark can be that Flink tells."""
PYTHON_WINDOWS = Path(__file__).with_name("pyflink_windows.py")
_START = "'scan.startup.mode' = 'group-offsets'"
_NOTHING = "WITH ('connector' = 'blackhole')"


@dataclass(frozen=True)
class Run:
    """A job that has ended.

    Args:
        seconds: from when all its parts ran to its end, or to the last time that Flink is sure to have told of it.
        share: of the events' time that its watermark has passed; 1.0 for all.
        events: up to that watermark.
        ended_ms: when, by Flink's clock.
        state_bytes: of the largest checkpoint, all of it.
        checkpoint_bytes: the most that a checkpoint had to write.
        checkpoint_ms: durations of the checkpoints: the middle one and the longest.
        checkpoints: how many were made.
    """

    seconds: float
    share: float
    events: float
    ended_ms: int
    state_bytes: int
    checkpoint_bytes: int
    checkpoint_ms: tuple[int, int]
    checkpoints: int

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds if self.seconds else 0.0

    @property
    def note(self) -> str:
        """How far it came, if not to the end."""
        return "" if self.share == 1.0 else f"at {self.share:.2%} of the event time after {self.seconds:.0f} s; stopped"


def prepare(bench: Workbench, plan: GroupPlan) -> tuple[Wanted, FlinkJob]:
    """The job of a group as the streams would start it, and its tables and topics, which are made."""
    assert plan.stream is not None
    catalog = bench.store.catalog
    ensure_dead_letters(catalog)
    ensure_log(catalog, plan.stream)
    ensure_table(catalog, plan.schema)
    bench.topics.ensure(updates_topic(plan.schema), PARTITIONS)
    wanted = Wanted(plan.stream, plan, plan.group.commit_size)
    start = take_over(catalog, plan, bench.topics.offsets(plan.stream.topic), {})
    write_start(bench.topics, wanted, start, has_state=False)
    return wanted, wanted.job(target_of(bench.store.settings), start)


def bounded(job: FlinkJob) -> FlinkJob:
    """The same job over all that its topic has now, after which it ends."""
    whole = "'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset'"
    steps = tuple(replace(step, sql=step.sql.replace(_START, whole)) for step in job.steps)
    assert steps != job.steps, "the job does not say where it begins"
    return replace(job, steps=steps)


def only_parsed(job: FlinkJob) -> FlinkJob:
    """The floor: events are read and parsed, and that is all."""
    table = "CREATE TEMPORARY TABLE nothing (u STRING, i STRING, c STRING, t STRING, a DOUBLE, e BIGINT) " + _NOTHING
    insert = "INSERT INTO nothing SELECT user_id, item_id, category, event_type, amount, event_ts FROM events"
    return FlinkJob(f"{job.name} parsed", (*_until(job, "events"), Step(table)), (insert,))


def only_rows(job: FlinkJob, plan: GroupPlan) -> FlinkJob:
    """The group's rows are computed and thrown away."""
    columns = [*plan.schema.keys, *plan.schema.features]
    typed = ", ".join(f"{quote(column.name)} {flink_type(column.dtype)}" for column in columns)
    names = ", ".join(quote(column.name) for column in columns)
    table = f"CREATE TEMPORARY TABLE nothing (feature_us BIGINT, {typed}) {_NOTHING}"
    insert = f"INSERT INTO nothing SELECT _feature, {names} FROM feature_rows"
    return FlinkJob(f"{job.name} rows", (*_until(job, "feature_rows"), Step(table)), (insert,))


def hop(job: FlinkJob, window_minutes: int) -> FlinkJob:
    """Three of the group's features as Flink SQL has them: a HOP window, thrown away."""
    table = "CREATE TEMPORARY TABLE nothing (u STRING, t TIMESTAMP(3), n BIGINT, s DOUBLE, m DOUBLE) " + _NOTHING
    size = f"INTERVAL '{window_minutes}' MINUTE"
    insert = (
        "INSERT INTO nothing SELECT user_id, window_end, COUNT(*), SUM(amount), AVG(amount)\n"
        f"FROM TABLE(HOP(TABLE events, DESCRIPTOR(_ts), INTERVAL '1' SECOND, {size}))\n"
        "GROUP BY user_id, window_start, window_end"
    )
    return FlinkJob(f"{job.name} hop", (*_until(job, "events"), Step(table)), (insert,))


def _until(job: FlinkJob, view: str) -> tuple[Step, ...]:
    """The steps of a job up to one of its views."""
    place = next(number for number, step in enumerate(job.steps) if step.view == view)
    return job.steps[: place + 1]


def run(bench: Workbench, wanted: Wanted, job: FlinkJob, load: Load, limit: float = 1800.0) -> Run:
    """Submits a job over a preloaded topic and waits for its end, at most so many seconds."""
    # The embedded cluster has no memory for two buffers of SQL windows; no other job has any.
    config = wanted.config(bench.store.settings.flink_state) | {"table.optimizer.agg-phase-strategy": "ONE_PHASE"}
    return watch(bench, bench.flink.submit(job, config), load, limit)


def run_python(bench: Workbench, wanted: Wanted, job: FlinkJob, load: Load, limit: float) -> Run:
    """The change-point algorithm as a PyFlink process function in thread mode, over the events of a job."""
    settings = bench.store.settings
    address = urlsplit(settings.flink_url)
    python = str(settings.flink_python)
    config = wanted.config(settings.flink_state) | {
        "execution.target": "remote",
        "rest.address": str(address.hostname),
        "rest.port": str(address.port or 8081),
        "pipeline.name": f"{job.name} python",
        "table.local-time-zone": "UTC",
        "python.execution-mode": "thread",
        "python.executable": python,
        "python.client.executable": python,
        "python.pythonpath": str(package_of(settings.flink_python).parent),  # Java does not see what the venv has
    }
    steps = [{"sql": step.sql, "view": step.view} for step in _until(job, "events")]
    java = settings.java_home
    environment = {
        "JAVA_HOME": str(java),
        "FLINK_HOME": str(settings.flink_home),
        "FLINK_LIB_DIR": str(settings.flink_home / "lib"),
        "FLINK_CONF_DIR": str(settings.flink_home / "conf"),
        "FLINK_LOG_DIR": str(settings.home / "logs"),
        "HADOOP_CLASSPATH": "",
        "PYTHONPATH": "",
        "PATH": f"{settings.flink_python.parent}{os.pathsep}{java / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    done = subprocess.run(
        [python, str(PYTHON_WINDOWS)],
        input=json.dumps({"config": config, "steps": steps}),
        text=True,
        capture_output=True,
        env={**os.environ, **environment},
        timeout=180,
        check=False,
    )
    if done.returncode:
        raise StackError(f"PyFlink does not take the job: {done.stderr[-2000:]}", code="benchmark")
    return watch(bench, done.stdout.split()[-1], load, limit)


def watch(bench: Workbench, job_id: str, load: Load, limit: float) -> Run:
    """Waits for the end of a job, and cancels it after so many seconds.

    Raises:
        StackError: if it fails, even if Flink would start it again.
    """
    bench.jobs.append(job_id)
    began: float | None = None
    came, seen_at = 0, 0.0
    while True:
        job = bench.cluster.get(f"/jobs/{job_id}")
        now = time.time()
        if job["state"] == "FINISHED":
            ended = int(job["end-time"])
            seconds = (ended - _all_running_since(bench, job)) / 1000
            return _result(bench, job_id, seconds, 1.0, load.events, ended)
        _check_good(bench, job)
        if began is None and all(vertex["status"] in ("RUNNING", "FINISHED") for vertex in job["vertices"]):
            began = now
        if began is not None:
            mark = min(_watermark(bench, job), load.end // 1000)
            if mark > came:
                came, seen_at = mark, now
            if now - began > limit:
                share = max(0.0, (came * 1000 - BEGIN) / (load.end - BEGIN))
                seconds = max(seen_at - began, limit - METRICS_SECONDS)
                found = _result(bench, job_id, seconds, share, load.events * share, int(now * 1000))
                bench.cluster.cancel(job_id)
                return found
        time.sleep(POLL_SECONDS)


def _check_good(bench: Workbench, job: dict[str, Any]) -> None:
    entries = bench.cluster.get(f"/jobs/{job['jid']}/exceptions")["exceptionHistory"]["entries"]
    if entries or job["state"] not in ("INITIALIZING", "CREATED", "RUNNING"):
        cause = entries[0]["stacktrace"][:1500] if entries else "no reason given"
        raise StackError(f"the job is {job['state']}: {cause}", where=job["name"], code="benchmark")


def _all_running_since(bench: Workbench, job: dict[str, Any]) -> int:
    """When the last part of a finished job began to run (milliseconds)."""
    since = []
    for vertex in job["vertices"]:
        subtasks = bench.cluster.get(f"/jobs/{job['jid']}/vertices/{vertex['id']}")["subtasks"]
        since += [int(part["end-time"]) - int(part["status-duration"]["RUNNING"]) for part in subtasks]
    return max(since)


def _watermark(bench: Workbench, job: dict[str, Any]) -> int:
    """The lowest watermark (milliseconds) that has come into the parts behind the source."""
    marks = []
    for vertex in job["vertices"]:
        if not vertex["name"].startswith("Source:"):
            found = bench.cluster.get(f"/jobs/{job['jid']}/vertices/{vertex['id']}/watermarks")
            marks += [int(mark["value"]) for mark in found]
    return min(marks, default=0)


def _result(bench: Workbench, job_id: str, seconds: float, share: float, events: float, ended: int) -> Run:
    checkpoints = bench.cluster.get(f"/jobs/{job_id}/checkpoints")
    made = int(checkpoints["counts"]["completed"])
    size, written, times = (
        checkpoints["summary"][n] for n in ("state_size", "checkpointed_size", "end_to_end_duration")
    )
    return Run(
        seconds=seconds,
        share=share,
        events=events,
        ended_ms=ended,
        state_bytes=int(size["max"]),
        checkpoint_bytes=int(written["max"]),
        checkpoint_ms=(int(float(times["p50"])), int(times["max"])) if made else (0, 0),
        checkpoints=made,
    )
