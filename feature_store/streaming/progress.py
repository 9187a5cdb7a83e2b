"""How far a job has come: its watermark, lag, throughput and checkpoints, as Flink and Kafka tell, for people to see.

How far a group is loaded, and whether it is fresh, follows from the marks of its job (`marks.py`): Flink's REST metrics
can keep the watermark of a subtask that was lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from feature_store.compile.flink import consumer_group
from feature_store.errors import NotFoundError
from feature_store.streaming.cluster import FlinkCluster
from feature_store.streaming.jobs import Streams
from feature_store.streaming.topics import Topics
from feature_store.streaming.wanted import Wanted

_OUTPUT = "updates"
"""Part of the name of the vertex that writes to the topic of updates."""
_COMMITTED = "Committer"
"""Part of the names of those that commit to tables, which are all that a log's job has."""


@dataclass(frozen=True)
class Progress:
    """A job at one moment.

    Args:
        state: Flink's word; "MISSING" without a job, "STARTING" while a part of it does not run yet.
        watermark: all rows up to this instant have been written; None if no event was seen yet, or not all of it runs.
        lag: messages in Kafka that no committed checkpoint has passed; None if unknown.
        checkpoint: when the last one was complete.
        checkpoint_bytes: size of the state in it.
        checkpoint_ms: how long it took.
        records_in, records_out: since the job's start: messages read, rows written.
        restarts: of the job by Flink itself.
    """

    job_id: str
    state: str
    watermark: datetime | None = None
    lag: int | None = None
    checkpoint: datetime | None = None
    checkpoint_bytes: int = 0
    checkpoint_ms: int = 0
    records_in: int = 0
    records_out: int = 0
    restarts: int = 0


@dataclass(frozen=True)
class JobState:
    """One wanted job: what the registry wants of it and what Flink has of it."""

    name: str
    desired: str
    state: str
    starts: int
    progress: Progress | None
    note: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the job is as it should be."""
        return not self.note and self.state == ("RUNNING" if self.desired == "running" else "STOPPED")


def job_states(streams: Streams) -> list[JobState]:
    """Every wanted job as it is now."""
    recorded = streams.records.read()
    alive = {job.name: job for job in streams.flink.jobs(streams.wanted)}
    found = []
    for wanted in streams.wanted.values():
        record, job = recorded.get(wanted.name), alive.get(wanted.name)
        desired, starts = (record.desired, record.starts) if record is not None else ("running", 0)
        note = record.message if record is not None and record.is_instead_of(wanted.fingerprint) else ""
        if job is not None:
            now = progress(streams.flink.cluster_of(wanted.name), streams.topics, wanted, job.id)
            found.append(JobState(wanted.name, desired, now.state, starts, now, note))
        else:
            state = "STOPPED" if desired == "stopped" else "MISSING"
            found.append(JobState(wanted.name, desired, state, starts, None, note))
    return found


def progress(cluster: FlinkCluster, topics: Topics, wanted: Wanted, job_id: str) -> Progress:
    """Everything about a job that is worth showing."""
    job = cluster.get(f"/jobs/{job_id}")
    begins = job["state"] == "INITIALIZING"  # nobody is there to answer for its checkpoints
    checkpoints = {} if begins else cluster.get(f"/jobs/{job_id}/checkpoints")
    latest: dict[str, Any] = (checkpoints.get("latest") or {}).get("completed") or {}
    vertices = job["vertices"]
    sources = [vertex for vertex in vertices if vertex["name"].startswith("Source: messages")]
    return Progress(
        job_id=job_id,
        state=_state(job),
        watermark=_watermark(cluster, job),
        lag=_lag(topics, wanted),
        checkpoint=_instant(latest["latest_ack_timestamp"]) if latest else None,
        checkpoint_bytes=latest.get("state_size", 0),
        checkpoint_ms=latest.get("end_to_end_duration", 0),
        records_in=sum(vertex["metrics"]["read-records"] for vertex in sources),
        records_out=sum(v["metrics"]["read-records"] for v in vertices if _OUTPUT in v["name"]),
        restarts=max(0, (checkpoints.get("counts") or {}).get("restored", 0)),
    )


def _state(job: dict[str, Any]) -> str:
    runs = all(vertex["status"] in ("RUNNING", "FINISHED") for vertex in job["vertices"])
    return "STARTING" if job["state"] == "RUNNING" and not runs else str(job["state"])


def _watermark(cluster: FlinkCluster, job: dict[str, Any]) -> datetime | None:
    if _state(job) != "RUNNING":
        return None
    marks = []
    last = [vertex for vertex in job["vertices"] if _OUTPUT in vertex["name"]]
    for vertex in last or [vertex for vertex in job["vertices"] if _COMMITTED in vertex["name"]]:
        marks += [int(m["value"]) for m in cluster.get(f"/jobs/{job['jid']}/vertices/{vertex['id']}/watermarks")]
    return _instant(min(marks)) if marks and min(marks) > 0 else None


def _lag(topics: Topics, wanted: Wanted) -> int | None:
    try:
        kept = topics.offsets(wanted.stream.topic)
    except NotFoundError:
        return None
    done = topics.committed(consumer_group(wanted.name), wanted.stream.topic, list(kept))
    return sum(place.end - max(done.get(number, 0), place.first) for number, place in kept.items())


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=min(milliseconds, 253_402_300_799_000))
