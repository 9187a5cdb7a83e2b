"""Why a job does not run: the last failure that Flink remembers of it."""

from __future__ import annotations

from feature_store.errors import StackError
from feature_store.streaming.cluster import FlinkCluster

_LONGEST = 300


def last_failure(cluster: FlinkCluster, job_id: str) -> str:
    """The first cause of a job's last failure, in one line; empty if it has not failed or Flink has forgotten."""
    try:
        found = cluster.get(f"/jobs/{job_id}/exceptions?maxExceptions=1")
    except StackError:
        return ""
    entries = (found.get("exceptionHistory") or {}).get("entries") or []
    return root_cause(entries[0]["stacktrace"]) if entries else ""


def root_cause(trace: str) -> str:
    """The innermost cause of a Java stack trace."""
    lines = [line.strip() for line in trace.splitlines()]
    causes = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (causes or lines or [""])[-1 if causes else 0][:_LONGEST]
