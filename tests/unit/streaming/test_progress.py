"""What is said of a job, from what Flink has answered about it."""

from __future__ import annotations

from typing import Any

import pytest

from feature_store import STRING, TIMESTAMP, StreamSource
from feature_store.duration import MINUTE
from feature_store.errors import NotFoundError, StackError
from feature_store.streaming.cluster import FlinkCluster
from feature_store.streaming.progress import Progress, progress
from feature_store.streaming.topics import Offsets, Topics
from feature_store.streaming.wanted import Wanted

VISITS = StreamSource(
    "visits", topic="visits", schema={"user_id": STRING, "ts": TIMESTAMP}, event_timestamp="ts", time_format="us"
)


class Answers(FlinkCluster):
    """A cluster that has given these answers, and refused everything else as Flink 2.1 did."""

    def __init__(self, **answers: Any) -> None:
        super().__init__("http://flink")
        self.answers = answers

    def get(self, path: str) -> Any:
        part = path.removeprefix("/jobs/7bf0").strip("/") or "job"
        if part not in self.answers:
            raise StackError(
                f"Flink answers 500 to {path}: UnavailableDispatcherOperationException", code="flink-refused"
            )
        return self.answers[part]


class NoTopics(Topics):
    """Kafka before the source's topic was made."""

    def offsets(self, topic: str) -> dict[int, Offsets]:
        raise NotFoundError(f"Kafka has no topic {topic!r}", code="no-topic")


def seen(cluster: FlinkCluster) -> Progress:
    return progress(cluster, NoTopics("127.0.0.1:9"), Wanted(VISITS, None, MINUTE), "7bf0")


def test_a_job_that_is_initializing_has_no_checkpoints_to_ask_for() -> None:
    """As after a restart of the JobManager: it answers 500 until its JobMaster is there."""
    initializing = Answers(job={"jid": "7bf0", "state": "INITIALIZING", "vertices": []})
    assert seen(initializing) == Progress("7bf0", "INITIALIZING")


def test_a_job_that_runs_is_asked_for_them() -> None:
    counts = {"restored": 2, "completed": 5}
    latest = {"completed": {"latest_ack_timestamp": 1_000, "state_size": 7, "end_to_end_duration": 3}}
    runs = Answers(
        job={"jid": "7bf0", "state": "RUNNING", "vertices": []}, checkpoints={"counts": counts, "latest": latest}
    )
    found = seen(runs)
    assert (found.state, found.restarts, found.checkpoint_bytes, found.checkpoint_ms) == ("RUNNING", 2, 7, 3)
    with pytest.raises(StackError, match="500"):
        seen(Answers(job={"jid": "7bf0", "state": "RUNNING", "vertices": []}))
