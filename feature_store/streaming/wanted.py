"""The Flink jobs that a project's streams need: one for each streaming group, one for the event log of each source."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property

from feature_store.compile.flink import NOWHERE, FlinkJob, Start, Target, group_job, log_job, log_name
from feature_store.dsl.source import StreamSource
from feature_store.duration import MINUTE
from feature_store.plan.nodes import GroupPlan

LOG_COMMIT = MINUTE


@dataclass(frozen=True)
class Wanted:
    """A job that the definitions ask for: that of a group, or of a source's event log where `plan` is None.

    Args:
        stream: where the events come from.
        plan: of the group.
        commit: how often rows are committed (microseconds), which is how often Flink makes a checkpoint.
    """

    stream: StreamSource
    plan: GroupPlan | None
    commit: int

    @property
    def name(self) -> str:
        """The job's name in Flink and in the registry."""
        return self.plan.group.id if self.plan is not None else log_name(self.stream)

    @property
    def parallelism(self) -> int:
        """How many parallel parts the job has."""
        return self.plan.group.parallelism if self.plan is not None else 1

    @cached_property
    def fingerprint(self) -> str:
        """Changes with everything that makes the job another one. Its texts are compiled once."""
        texts = asdict(self.job(NOWHERE, Start()))
        return _digest([texts, self.parallelism, self.commit])

    @property
    def state_fingerprint(self) -> str:
        """Changes with everything that the job's state depends on."""
        if self.plan is not None:
            return self.plan.state_fingerprint
        return _digest([self.stream.topic, str(self.stream.log.table)])

    def job(self, target: Target, start: Start) -> FlinkJob:
        """The job's texts."""
        if self.plan is not None:
            return group_job(self.plan, target, start)
        return log_job(self.stream, target, start)

    def config(self, state: str) -> dict[str, str]:
        """Flink's settings for the job; its checkpoints and savepoints lie below `state`, a URL."""
        settings = {
            "parallelism.default": str(self.parallelism),
            "execution.checkpointing.interval": f"{self.commit // 1000} ms",
            "execution.checkpointing.mode": "EXACTLY_ONCE",
            "execution.checkpointing.dir": f"{state}/checkpoints",
            "execution.checkpointing.savepoint-dir": f"{state}/savepoints",
            "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
            "execution.state-recovery.claim-mode": "CLAIM",
            "state.backend.type": "rocksdb",
            "execution.checkpointing.incremental": "true",
            # what is new is read again at once: unpacking it cost a fifth of the throughput
            "state.backend.rocksdb.compression.per.level": "NO_COMPRESSION;NO_COMPRESSION;SNAPPY_COMPRESSION",
            "restart-strategy.type": "exponential-delay",
            "restart-strategy.exponential-delay.initial-backoff": "1 s",
            "restart-strategy.exponential-delay.max-backoff": "30 s",
            "restart-strategy.exponential-delay.attempts-before-reset-backoff": "2147483647",
            "pipeline.auto-watermark-interval": "50 ms",
            "pipeline.object-reuse": "true",
            "execution.buffer-timeout.interval": "20 ms",
            "table.exec.iceberg.use-v2-sink": "true",  # the older sink lost rows
        }
        if not self.stream.heartbeats:
            settings["table.exec.source.idle-timeout"] = "10 s"  # else one silent partition would stop all time
        return settings


def wanted_jobs(plans: Iterable[GroupPlan]) -> tuple[Wanted, ...]:
    """The jobs of all streaming groups among some plans: their sources' logs first."""
    groups = [plan for plan in plans if plan.stream is not None]
    commits: dict[StreamSource, int] = {}
    for plan in groups:
        assert plan.stream is not None
        commits[plan.stream] = min(commits.get(plan.stream, LOG_COMMIT), plan.group.commit_size)
    logs = [Wanted(stream, None, commit) for stream, commit in commits.items()]
    return (*logs, *(Wanted(plan.stream, plan, plan.group.commit_size) for plan in groups if plan.stream is not None))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
