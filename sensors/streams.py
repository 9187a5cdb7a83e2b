"""One sensor for each Flink job: starts it, resumes it, redeploys it, has batch compute what was before it, and tells
Dagster how far it has come.

A tick is skipped, with the reason, while something is not there yet: the stack, the topic. It fails, and is red in
Dagster, when Flink refuses the job, and when a job fails again and again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from feature_assets.chunks import in_chunks
from feature_assets.keys import log_key, offline_key, online_key
from feature_assets.partitions import last_over, partition_of
from feature_assets.stream_jobs import backfill_job
from feature_store.dtypes import from_micros
from feature_store.errors import FeatureStoreError, NotFoundError, StackError
from feature_store.plan.nodes import GroupPlan
from feature_store.streaming.wanted import Wanted, wanted_jobs
from resources.store import FeatureStoreResource

if TYPE_CHECKING:
    from feature_store.registry.streams import StreamJob
    from feature_store.streaming.jobs import Streams
    from feature_store.streaming.progress import Progress

LOOK_SECONDS = 30
_NOT_THERE = frozenset(["flink-down", "kafka-down", "registry-down", "registry-busy", "no-registry"])
_FAILING = frozenset(["RESTARTING", "FAILING", "FAILED"])


@dataclass(frozen=True)
class Seen:
    """What the last looks found; the sensor's cursor.

    Args:
        job: Flink's id of it.
        watermark: up to which materializations were reported, in ISO form.
        records_in: messages read by then.
        at: when that was, in ISO form.
        backfilled: the last start for which a backfill was asked for, or was not needed.
        failing: whether the job was failing at the last look.
    """

    job: str = ""
    watermark: str = ""
    records_in: int = 0
    at: str = ""
    backfilled: str = ""
    failing: bool = False

    def lacks(self, now: Progress) -> bool:
        """Whether a job has come further; Flink tells its watermark before its counts."""
        return now.watermark is not None and (now.watermark.isoformat(), now.records_in) != (
            self.watermark,
            self.records_in,
        )


def stream_sensors(plans: Iterable[GroupPlan]) -> list[dg.SensorDefinition]:
    """A sensor for the job of each streaming group and of each event log."""
    return [_sensor(wanted) for wanted in wanted_jobs(plans)]


def sensor_name(job: str) -> str:
    """The name of a job's sensor: "stream_user_activity_1"."""
    return f"stream_{re.sub(r'[^a-z0-9]+', '_', job)}"


def _sensor(wanted: Wanted) -> dg.SensorDefinition:
    @dg.sensor(
        name=sensor_name(wanted.name),
        description=f"Keeps the Flink job {wanted.name!r} running, one at a time, from its newest state.",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        job_name=None if wanted.plan is None else backfill_job(wanted.plan.group),
    )
    def supervise(context: dg.SensorEvaluationContext, store: FeatureStoreResource) -> dg.SensorResult | dg.SkipReason:
        try:
            streams = store.streams
        except StackError as error:  # without Kafka and Flink
            return dg.SkipReason(str(error))
        try:
            outcomes = streams.supervise([wanted.name])
        except FeatureStoreError as error:
            if isinstance(error, NotFoundError) or error.code in _NOT_THERE:
                return dg.SkipReason(str(error))
            raise
        if not outcomes:
            return dg.SkipReason("another process is at the job")
        (outcome,) = outcomes
        if outcome.did != "runs":
            context.log.info(f"{outcome.name}: {outcome.did}")
        if outcome.record.desired == "stopped":
            return dg.SkipReason("the job was stopped on purpose: ./fs stream start lets it run")
        return _look(context, streams, wanted, outcome.record)

    return supervise


def _look(context: dg.SensorEvaluationContext, streams: Streams, wanted: Wanted, record: StreamJob) -> dg.SensorResult:
    """What a job that is to run has done since the last look, and the backfill that it needs."""
    from feature_store.streaming.progress import progress

    seen = Seen(**json.loads(context.cursor or "{}"))
    key = f"{wanted.name} {record.state_fingerprint} cut {record.start.get('cut')} log {record.start.get('snapshot')}"
    asked = [] if key == seen.backfilled else _backfill(streams, wanted, record, key)
    seen = replace(seen, backfilled=key)
    cluster = streams.flink.cluster_of(wanted.name)
    try:
        now = progress(cluster, streams.topics, wanted, record.flink_job_id)
    except FeatureStoreError as error:  # it may just be ending
        return _result(asked, seen, [], str(error))
    if now.state in _FAILING:
        reason = f"{now.state}: {cluster.last_failure(now.job_id)}"
        if seen.failing and not asked:
            raise StackError(
                f"the job fails again and again: {reason}",
                where=f"job {wanted.name}",
                remedy="correct the cause; Flink goes on trying",
                code="job-failing",
            )
        return _result(asked, replace(seen, failing=True), [], reason)
    seen = replace(seen, failing=False)
    if now.watermark is None or not seen.lacks(now):
        return _result(asked, seen, [], f"{now.state}: nothing new was read")
    events = _events(wanted, now, seen, record.start.get("cut"))
    clock = datetime.now(UTC).isoformat()
    seen = replace(seen, job=now.job_id, watermark=now.watermark.isoformat(), records_in=now.records_in, at=clock)
    return _result(asked, seen, events, "")


def _result(
    asked: list[dg.RunRequest], seen: Seen, events: list[dg.AssetMaterialization], reason: str
) -> dg.SensorResult:
    return dg.SensorResult(
        run_requests=asked,
        asset_events=events,
        cursor=json.dumps(asdict(seen)),
        skip_reason=None if asked or events else reason,
    )


def _backfill(streams: Streams, wanted: Wanted, record: StreamJob, key: str) -> list[dg.RunRequest]:
    """The runs that compute what a group's stream did not, when it took over; none if it did all.

    They follow from what is recorded of the start, not from having just started the job: a tick that dies in between
    loses nothing. The run keys keep Dagster from a second run, whatever becomes of the cursor.
    """
    from feature_store.streaming.backfill import span_before_cut

    if wanted.plan is None:
        return []
    span = span_before_cut(streams.catalog, wanted.plan, record.start, datetime.now(UTC))
    if span is None:
        return []
    group = wanted.plan.group
    first, last = partition_of(group, span[0]), partition_of(group, span[1] - timedelta(microseconds=1))
    return [
        dg.RunRequest(run_key=f"{key} {' '.join(tags.values())}", job_name=backfill_job(group), tags=tags)
        for tags in in_chunks(wanted.plan, first, last)
    ]


def _events(wanted: Wanted, now: Progress, seen: Seen, cut: int | None) -> list[dg.AssetMaterialization]:
    """That the job's tables were written up to the watermark.

    Dagster has partitions that are over only, so the table's is the last of these, if the stream wrote all of it: batch
    reports those before the cut (microseconds).
    """
    metadata = _metadata(wanted, now, seen)
    if wanted.plan is None:
        return [dg.AssetMaterialization(log_key(wanted.stream), metadata=metadata)]
    group = wanted.plan.group
    assert now.watermark is not None
    over = last_over(group, now.watermark)
    of_stream = over is not None and over >= partition_of(group, from_micros(cut or 0))
    table = dg.AssetMaterialization(offline_key(group), metadata=metadata, partition=over if of_stream else None)
    return [table, dg.AssetMaterialization(online_key(group), metadata=metadata)]


def _metadata(wanted: Wanted, now: Progress, seen: Seen) -> dict[str, Any]:
    clock = datetime.now(UTC)
    metadata: dict[str, Any] = {
        "state": now.state,
        "flink job": now.job_id,
        "watermark": dg.MetadataValue.timestamp(now.watermark) if now.watermark is not None else "none",
        "watermark age (s)": round((clock - now.watermark).total_seconds(), 1) if now.watermark is not None else -1.0,
        "messages read": now.records_in,
        "checkpoint age (s)": round((clock - now.checkpoint).total_seconds(), 1) if now.checkpoint else -1.0,
        "checkpoint (ms)": now.checkpoint_ms,
        "state bytes": now.checkpoint_bytes,
        "restarts": now.restarts,
    }
    if wanted.plan is not None:
        metadata["rows written"] = now.records_out
    if now.lag is not None:
        metadata["lag"] = now.lag
    if seen.job == now.job_id and now.records_in >= seen.records_in:
        seconds = (clock - datetime.fromisoformat(seen.at)).total_seconds()
        metadata["messages per second"] = round((now.records_in - seen.records_in) / max(seconds, 1e-3), 1)
    return metadata
