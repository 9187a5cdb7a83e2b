"""One sensor for each Flink job: starts it, resumes it, redeploys it, and tells Dagster how far it has come."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from feature_assets.keys import log_key, offline_key, online_key
from feature_assets.partitions import partitions_of
from feature_store.errors import FeatureStoreError
from feature_store.plan.nodes import GroupPlan
from feature_store.streaming.progress import Progress, progress
from feature_store.streaming.wanted import Wanted, wanted_jobs
from resources.store import FeatureStoreResource

LOOK_SECONDS = 30


def stream_sensors(plans: Iterable[GroupPlan]) -> list[dg.SensorDefinition]:
    """A sensor for the job of each streaming group and of each event log."""
    return [_sensor(wanted) for wanted in wanted_jobs(plans)]


def _sensor(wanted: Wanted) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"stream_{re.sub(r'[^a-z0-9]+', '_', wanted.name)}",
        description=f"Keeps the Flink job {wanted.name!r} running, one at a time, from its newest state.",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def supervise(context: dg.SensorEvaluationContext, store: FeatureStoreResource) -> dg.SensorResult | dg.SkipReason:
        try:
            streams = store.streams
            outcomes = streams.supervise([wanted.name])
            if not outcomes:
                return dg.SkipReason("another process is starting the job")
            (outcome,) = outcomes
            if outcome.did != "runs":
                context.log.info(f"{outcome.name}: {outcome.did}")
            if outcome.record.desired == "stopped":
                return dg.SkipReason("the job was stopped on purpose: ./fs stream start lets it run")
            now = progress(streams.cluster, streams.topics, wanted, outcome.record.flink_job_id)
        except FeatureStoreError as error:
            return dg.SkipReason(str(error))
        mark = now.watermark.isoformat() if now.watermark is not None else ""
        seen = json.loads(context.cursor or "{}")
        if not mark or mark == seen.get("watermark"):
            return dg.SkipReason(f"{now.state}: the watermark has not moved")
        cursor = json.dumps({"watermark": mark, "records_in": now.records_in, "at": datetime.now(UTC).isoformat()})
        return dg.SensorResult(asset_events=_events(wanted, now, seen), cursor=cursor)

    return supervise


def _events(wanted: Wanted, now: Progress, seen: Mapping[str, Any]) -> list[dg.AssetMaterialization]:
    """That the job's tables were written up to the watermark, in the partition that the watermark is in."""
    metadata = _metadata(now, seen)
    if wanted.plan is None:
        return [dg.AssetMaterialization(log_key(wanted.stream), metadata=metadata)]
    group = wanted.plan.group
    assert now.watermark is not None
    known = partitions_of(group).get_partition_keys(now.watermark)
    table = dg.AssetMaterialization(offline_key(group), metadata=metadata, partition=known[-1] if known else None)
    return [table, dg.AssetMaterialization(online_key(group), metadata=metadata)]


def _metadata(now: Progress, seen: Mapping[str, Any]) -> dict[str, Any]:
    clock = datetime.now(UTC)
    metadata: dict[str, Any] = {
        "state": now.state,
        "flink job": now.job_id,
        "watermark": dg.MetadataValue.timestamp(now.watermark) if now.watermark is not None else "none",
        "watermark age (s)": round((clock - now.watermark).total_seconds(), 1) if now.watermark is not None else -1.0,
        "messages read": now.records_in,
        "rows written": now.records_out,
        "checkpoint age (s)": round((clock - now.checkpoint).total_seconds(), 1) if now.checkpoint else -1.0,
        "checkpoint (ms)": now.checkpoint_ms,
        "state bytes": now.checkpoint_bytes,
        "restarts": now.restarts,
    }
    if now.lag is not None:
        metadata["lag"] = now.lag
    if seen.get("at") and now.records_in >= seen.get("records_in", 0):
        seconds = (clock - datetime.fromisoformat(seen["at"])).total_seconds()
        metadata["messages per second"] = round((now.records_in - seen["records_in"]) / max(seconds, 1e-3), 1)
    return metadata
