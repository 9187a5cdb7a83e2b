"""What Flink leaves in the snapshots it makes, and how its committer finds it again."""

from __future__ import annotations

from pyiceberg.table import Table

from feature_store.offline.snapshots import FLINK_JOB, FLINK_OPERATOR

CHECKPOINT = "flink.max-committed-checkpoint-id"


def flink_summary(job: str, checkpoint: int, operator: str = "op") -> dict[str, str]:
    """The properties of a snapshot that a job made for a checkpoint."""
    return {FLINK_JOB: job, FLINK_OPERATOR: operator, CHECKPOINT: str(checkpoint)}


def found_by_flink(table: Table, job: str, operator: str = "op") -> int | None:
    """The newest committed checkpoint of a job: from snapshot to parent, until one is the job's or is not there."""
    snapshot = table.refresh().current_snapshot()
    while snapshot is not None:
        summary = snapshot.summary
        if summary is not None and (summary.get(FLINK_JOB), summary.get(FLINK_OPERATOR)) == (job, operator):
            return int(str(summary[CHECKPOINT]))
        parent = snapshot.parent_snapshot_id
        snapshot = None if parent is None else table.snapshot_by_id(parent)
    return None
