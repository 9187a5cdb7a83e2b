"""Flink jobs over a preloaded topic that end by themselves, timed by Flink's own records; and the texts of the rivals.

A run is timed from the moment when all parts of the job run (so without its deployment) to its end: all rows written,
the last timers fired, the last commit made. A job that is not through after its limit is cancelled; how far it came is
the event time that has passed its windows, which Flink's REST interface tells anew every ten seconds or so.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.streaming.setting import BEGIN, PARTITIONS, Load, Workbench
from feature_store.compile.flink import FlinkJob, Step, Target, updates_topic
from feature_store.errors import StackError
from feature_store.offline.tables import ensure_table
from feature_store.plan.nodes import GroupPlan
from feature_store.settings import Settings
from feature_store.streaming.tables import ensure_dead_letters, ensure_log
from feature_store.streaming.takeover import take_over
from feature_store.streaming.wanted import Wanted

POLL_SECONDS = 0.2
PYTHON_WINDOWS = Path(__file__).with_name("pyflink_windows.py")
_EARLIEST = "'scan.startup.mode' = 'earliest-offset'"
_NOTHING = "WITH ('connector' = 'blackhole')"


@dataclass(frozen=True)
class Run:
    """A job that has ended.

    Args:
        seconds: from when all its parts ran to its end, or to when it was last seen getting on.
        share: of the events' time that has come out: 1.0 for all.
        events: read in these seconds, as far as they have come out.
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
        return "" if self.share == 1.0 else f"stopped after {self.seconds:.0f} s at {self.share:.2%} of the event time"


def prepare(bench: Workbench, plan: GroupPlan) -> tuple[Wanted, FlinkJob]:
    """The job of a group as the streams would start it, and its tables and topics, which are made."""
    assert plan.stream is not None
    catalog = bench.store.catalog
    ensure_dead_letters(catalog)
    ensure_log(catalog, plan.stream)
    ensure_table(catalog, plan.schema)
    bench.topics.ensure(updates_topic(plan.schema), PARTITIONS)
    wanted = Wanted(plan.stream, plan, plan.group.commit_size)
    start = take_over(catalog, plan, bench.topics.offsets(plan.stream.topic))
    return wanted, wanted.job(target(bench.store.settings), start)


def target(settings: Settings) -> Target:
    """Where the jobs read and write."""
    catalog = {
        "catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        "uri": settings.jdbc_url("iceberg"),
        "jdbc.user": settings.pg_user,
        "jdbc.password": settings.pg_password,
        "jdbc.schema-version": "V1",
        "warehouse": settings.warehouse,
    }
    return Target(settings.kafka_servers, str(settings.kernel_jar), catalog)


def bounded(job: FlinkJob, events: int) -> FlinkJob:
    """The same job over the first so many events of its topic, after which it ends."""
    ends = ";".join(f"partition:{i},offset:{(events + PARTITIONS - 1 - i) // PARTITIONS}" for i in range(PARTITIONS))
    bound = f"{_EARLIEST}, 'scan.bounded.mode' = 'specific-offsets', 'scan.bounded.specific-offsets' = '{ends}'"
    steps = tuple(replace(step, sql=step.sql.replace(_EARLIEST, bound)) for step in job.steps)
    assert steps != job.steps, "the job does not read its topic from the beginning"
    return replace(job, steps=steps)


def only_parsed(job: FlinkJob) -> FlinkJob:
    """The floor: events are read and parsed, and that is all."""
    table = "CREATE TEMPORARY TABLE nothing (u STRING, i STRING, c STRING, t STRING, a DOUBLE, e BIGINT) " + _NOTHING
    insert = "INSERT INTO nothing SELECT user_id, item_id, category, event_type, amount, event_ts FROM events"
    return FlinkJob(f"{job.name} parsed", (*_until(job, "events"), Step(table)), (insert,))


def only_rows(job: FlinkJob) -> FlinkJob:
    """The group's rows are computed and thrown away."""
    return FlinkJob(
        f"{job.name} rows",
        (*_until(job, "feature_rows"), Step(f"CREATE TEMPORARY TABLE nothing {_NOTHING} LIKE feature_rows (EXCLUDING ALL)"))
        if False
        else (*_until(job, "feature_rows"), Step("")),
        (),
    )


def hop(job: FlinkJob, window_seconds: int) -> FlinkJob:
    """Three of the group's features as Flink SQL has them: a HOP window, thrown away."""
    table = "CREATE TEMPORARY TABLE nothing (u STRING, t TIMESTAMP(3), n BIGINT, s DOUBLE, m DOUBLE) " + _NOTHING
    minutes, rest = divmod(window_seconds, 60)
    size = f"INTERVAL '{window_seconds}' SECOND" if rest or minutes > 99 else f"INTERVAL '{minutes}' MINUTE"
    insert = (
        "INSERT INTO nothing SELECT user_id, window_end, COUNT(*), SUM(amount), AVG(amount)\n"
        f"FROM TABLE(HOP(TABLE events, DESCRIPTOR(_ts), INTERVAL '1' SECOND, {size}))\n"
        "GROUP BY user_id, window_start, window_end"
    )
    return FlinkJob(f"{job.name} hop", (*_until(job, "events"), Step(table)), (insert,))
