"""What the summary of a snapshot says, and what it does not."""

from __future__ import annotations

from pyiceberg.table.snapshots import Operation, Snapshot, Summary

from feature_store.offline.snapshots import FLINK_JOB, summary_entry


def snapshot(**entries: str) -> Snapshot:
    summary = Summary(Operation.APPEND, **entries)
    return Snapshot(snapshot_id=1, manifest_list="", timestamp_ms=0, summary=summary)  # type: ignore[call-arg]


def test_a_commit_of_batch_is_not_one_of_a_stream() -> None:
    assert summary_entry(snapshot(), FLINK_JOB) is None
    assert summary_entry(snapshot(**{FLINK_JOB: "7bf0"}), FLINK_JOB) == "7bf0"
    assert summary_entry(Snapshot(snapshot_id=1, manifest_list="", timestamp_ms=0), FLINK_JOB) is None  # type: ignore[call-arg]
