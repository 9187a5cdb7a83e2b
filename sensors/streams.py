"""The sensor that keeps every Flink job running, and the one that tells Dagster how far they have come.

One of each for all streams: a tick asks the registry once and each Flink cluster once, and looks closer only at what is
not as it should be. `streams` starts jobs, resumes and redeploys them. A tick is skipped, with the reasons, while
something is not there yet: the stack, a topic. It fails, and is red in Dagster, when Flink refuses a job, and when a
job fails again and again; all other jobs have been looked at by then. `stream_progress` reports, and has batch compute
what was before a stream.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from feature_assets.chunks import in_chunks
from feature_assets.jobs import AssetJob
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
    from feature_store.streaming.jobs import Outcome, Streams
    from feature_store.streaming.progress import Progress

SUPERVISOR = "streams"
PROGRESS = "stream_progress"
LOOK_SECONDS = 30
STARTING_SECONDS = 40.0
"""A tick starts no further job after this time: each takes some ten seconds, and Dagster waits a minute for a tick."""
MOST_REPORTS = 20
"""Jobs whose progress one tick asks Flink and Kafka for: those that were reported longest ago."""
_NOT_THERE = frozenset(["flink-down", "kafka-down", "registry-down", "registry-busy", "no-registry", "no-streams"])
_FAILING = frozenset(["RESTARTING", "FAILING", "FAILED"])


@dataclass(frozen=True)
class Seen:
    """What the last report of a job said.

    Args:
        job: Flink's id of it.
        watermark: up to which materializations were reported, in ISO form.
        records_in: messages read by then.
        at: when that was, in ISO form.
        backfilled: the last start for which a backfill was asked for, or was not needed.
        looked: when the job was last asked for its progress, in ISO form.
    """

    job: str = ""
    watermark: str = ""
    records_in: int = 0
    at: str = ""
    backfilled: str = ""
    looked: str = ""

    def lacks(self, now: Progress) -> bool:
        """Whether a job has come further; Flink tells its watermark before its counts."""
        return now.watermark is not None and (now.watermark.isoformat(), now.records_in) != (
            self.watermark,
            self.records_in,
        )


def stream_sensors(plans: Iterable[GroupPlan], jobs: Iterable[AssetJob]) -> list[dg.SensorDefinition]:
    """The two sensors of all streaming groups and event logs; none without such groups.

    Args:
        plans: of the streaming groups.
        jobs: of the project, with the backfill of each of these groups.
    """
    given = tuple(plans)
    wanted = wanted_jobs(given)
    names = {backfill_job(plan.group) for plan in given}
    backfills = [job for job in jobs if job.name in names]
    return [_supervisor(wanted), _reporter(wanted, backfills)] if wanted else []


def _supervisor(wanted: Sequence[Wanted]) -> dg.SensorDefinition:
    @dg.sensor(
        name=SUPERVISOR,
        description="Keeps every Flink job running, one of each at a time, from its newest state.",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def supervise(context: dg.SensorEvaluationContext, store: FeatureStoreResource) -> dg.SensorResult | dg.SkipReason:
        try:
            streams = store.streams_of(wanted)
            settled = streams.settled()
        except FeatureStoreError as error:
            if error.code in _NOT_THERE:
                return dg.SkipReason(str(error))
            raise
        said, problems = _set_right(context, streams, settled)
        failing = [name for name, outcome in settled.items() if outcome.state in _FAILING]
        before: list[str] = json.loads(context.cursor or "[]")
        if problems or set(failing) & set(before):
            problems += [streams.failure(settled[name]) for name in failing]
            raise problems[0] if len(problems) == 1 else _together(problems)
        said += [f"{name} is {settled[name].state}" for name in failing]
        return dg.SensorResult(
            skip_reason="; ".join(said) or f"{len(settled)} jobs are as they should be", cursor=json.dumps(failing)
        )

    return supervise


def _set_right(
    context: dg.SensorEvaluationContext, streams: Streams, settled: Mapping[str, Outcome]
) -> tuple[list[str], list[FeatureStoreError]]:
    """Brings the jobs that are not settled to what they should be; what is to be said of jobs, and what went wrong."""
    said: list[str] = []
    problems: list[FeatureStoreError] = []
    deadline = time.monotonic() + STARTING_SECONDS
    for name in streams.wanted:
        if name in settled:
            if settled[name].did == "kept":
                problems.append(_kept(settled[name]))
            if settled[name].did == "is stopped":
                said.append(f"{name} was stopped on purpose: ./fs stream start lets it run")
            continue
        if time.monotonic() > deadline:
            said.append(f"{name} waits for the next tick")
            continue
        try:
            outcomes = streams.supervise([name])
        except FeatureStoreError as error:
            if isinstance(error, NotFoundError) or error.code in _NOT_THERE:
                said.append(f"{name}: {error}")
            else:
                problems.append(error)
            continue
        problems += [_kept(outcome) for outcome in outcomes if outcome.did == "kept"]
        did = outcomes[0].did if outcomes else "another process is at the job"
        said.append(f"{name}: {did}")
        context.log.info(said[-1])
    return said, problems


def _kept(outcome: Outcome) -> StackError:
    return StackError(
        outcome.record.message,
        where=f"job {outcome.name}",
        remedy="correct the definition; or try it again: ./fs stream restart",
        code="job-kept",
    )


def _together(problems: Sequence[FeatureStoreError]) -> StackError:
    told = "; ".join(str(problem) for problem in problems)
    return StackError(f"{len(problems)} jobs do not run: {told}", remedy="see ./fs stream status", code="job-failing")


def _reporter(wanted: Sequence[Wanted], backfills: Sequence[AssetJob]) -> dg.SensorDefinition:
    @dg.sensor(
        name=PROGRESS,
        description="Tells how far each Flink job has come, and has batch compute what was before a stream.",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        jobs=backfills,
    )
    def report(context: dg.SensorEvaluationContext, store: FeatureStoreResource) -> dg.SensorResult | dg.SkipReason:
        try:
            streams = store.streams_of(wanted)
            recorded = streams.records.read()
        except FeatureStoreError as error:
            if error.code in _NOT_THERE:
                return dg.SkipReason(str(error))
            raise
        running = [job for job in wanted if job.name in recorded and recorded[job.name].desired == "running"]
        cursor: dict[str, dict[str, Any]] = json.loads(context.cursor or "{}")
        seen = {job.name: Seen(**cursor.get(job.name, {})) for job in running}
        asked: list[dg.RunRequest] = []
        for job in running:
            key = _start_of(job, recorded[job.name])
            if key != seen[job.name].backfilled:
                asked += _backfill(streams, job, recorded[job.name], key)
                seen[job.name] = replace(seen[job.name], backfilled=key)
        events: list[dg.AssetMaterialization] = []
        said: list[str] = []
        for job in sorted(running, key=lambda job: seen[job.name].looked)[:MOST_REPORTS]:
            seen[job.name], found, reason = _look(streams, job, recorded[job.name], seen[job.name])
            events += found
            said += [f"{job.name}: {reason}"] if reason else []
        return dg.SensorResult(
            run_requests=asked,
            asset_events=events,
            cursor=json.dumps({name: asdict(each) for name, each in seen.items()}),
            skip_reason=None if asked or events else "; ".join(said) or "no job is to run",
        )

    return report


def _start_of(wanted: Wanted, record: StreamJob) -> str:
    """What tells one start of a job from another: a restart from its state is none."""
    return f"{wanted.name} {record.state_fingerprint} cut {record.start.get('cut')} log {record.start.get('snapshot')}"


def _look(
    streams: Streams, wanted: Wanted, record: StreamJob, seen: Seen
) -> tuple[Seen, list[dg.AssetMaterialization], str]:
    """What is known of a job now, what to report of it, and why that is nothing."""
    from feature_store.streaming.progress import progress

    clock = datetime.now(UTC).isoformat()
    seen_now = replace(seen, looked=clock)
    try:
        now = progress(streams.flink.cluster_of(wanted.name), streams.topics, wanted, record.flink_job_id)
    except FeatureStoreError as error:  # it may just be ending
        return seen_now, [], str(error)
    if now.watermark is None or now.state in _FAILING or not seen.lacks(now):
        return seen_now, [], f"{now.state}: nothing new was read"
    events = _events(wanted, now, seen, record.start.get("cut"))
    told = replace(seen_now, job=now.job_id, watermark=now.watermark.isoformat(), records_in=now.records_in, at=clock)
    return told, events, ""


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
