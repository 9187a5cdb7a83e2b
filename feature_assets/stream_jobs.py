"""What `./fs stream` does, as Dagster jobs, and the daily reconcile of all streaming groups."""

from collections.abc import Iterable, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from feature_assets.jobs import AssetJob
from feature_assets.keys import offline_key, reconcile_key
from feature_store.plan.nodes import GroupPlan
from resources.store import FeatureStoreResource

RECONCILE = "reconcile_streams"


class StreamNames(dg.Config):
    """Which jobs: names as `./fs stream status` shows them; all of them if none is given."""

    names: list[str] = Field(default_factory=list)


class DeadLetters(dg.Config):
    """Which dead letters: of a source, for a reason, recorded since an instant."""

    source: str
    reason: str = "malformed"
    since: str | None = None


@dg.op
def start_streams(context: dg.OpExecutionContext, config: StreamNames, store: FeatureStoreResource) -> None:
    """Lets jobs run that were stopped, from their savepoints."""
    for name in config.names or store.streams.wanted:
        for outcome in store.streams.start(name):
            context.log.info(f"{outcome.name}: {outcome.did}")


@dg.op
def stop_streams(context: dg.OpExecutionContext, config: StreamNames, store: FeatureStoreResource) -> None:
    """Stops jobs with a savepoint; they stay stopped."""
    for name in config.names or store.streams.wanted:
        record = store.streams.stop(name)
        context.log.info(f"{name}: {'was never started' if record is None else f'stopped at {record.state_path}'}")


@dg.op
def restart_streams(context: dg.OpExecutionContext, config: StreamNames, store: FeatureStoreResource) -> None:
    """Stops jobs with a savepoint and goes on from it."""
    for name in config.names or store.streams.wanted:
        store.streams.stop(name)
        for outcome in store.streams.start(name):
            context.log.info(f"{outcome.name}: {outcome.did}")


@dg.op
def replay_dead_letters(context: dg.OpExecutionContext, config: DeadLetters, store: FeatureStoreResource) -> None:
    """Sends dead letters to their topic again."""
    from feature_store.streaming.dead_letters import replay

    sent = replay(store.streams, config.source, reason=config.reason, since=config.since)
    context.log.info(f"{sent:,} dead letters of {config.source} sent again")


@dg.job
def stream_start() -> None:
    """Start Flink jobs, or go on with them where they were stopped."""
    start_streams()


@dg.job
def stream_stop() -> None:
    """Stop Flink jobs with a savepoint."""
    stop_streams()


@dg.job
def stream_restart() -> None:
    """Restart Flink jobs from a savepoint."""
    restart_streams()


@dg.job
def stream_replay() -> None:
    """Replay dead letters."""
    replay_dead_letters()


def stream_jobs(plans: Sequence[GroupPlan]) -> list[AssetJob]:
    """The jobs of a project with streaming groups: four to steer, one to reconcile, one to backfill; none without."""
    if not plans:
        return []
    return [
        stream_start,
        stream_stop,
        stream_restart,
        stream_replay,
        dg.define_asset_job(
            RECONCILE,
            selection=dg.AssetSelection.assets(*(reconcile_key(plan.group) for plan in plans)),
            description="Compare what streams wrote with what batch computes, and correct what differs.",
        ),
        dg.define_asset_job(
            "backfill_streams",
            selection=dg.AssetSelection.assets(*(offline_key(plan.group) for plan in plans)),
            description="Compute partitions of streaming groups from their event logs.",
        ),
    ]


def stream_schedules(jobs: Iterable[AssetJob]) -> list[Any]:
    """The reconcile at 00:30 UTC, when events of the day before can no longer be late."""
    return [
        dg.build_schedule_from_partitioned_job(
            job, hour_of_day=0, minute_of_hour=30, default_status=dg.DefaultScheduleStatus.RUNNING
        )
        for job in jobs
        if job.name == RECONCILE
    ]
